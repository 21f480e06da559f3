"""`pluginapi sandbox`: run any program as plugins are run, in a sandbox."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pluginapi.cli._output import Output, json_option
from pluginapi.errors import SandboxError
from pluginapi.network_target import NetworkTarget
from pluginapi.sandbox.cgroups import CgroupConfig
from pluginapi.sandbox.config import (
    FilesystemConfig,
    NetworkConfig,
    NetworkMode,
    Overlay,
    SandboxConfig,
)
from pluginapi.sandbox.launcher import Completed, Launcher, Program
from pluginapi.sandbox.network.publishing import PublishedPort
from pluginapi.sandbox.report import SandboxReport
from pluginapi.sandbox.seccomp import SeccompMode

__all__ = ["sandbox_command"]

_MIB = 1 << 20


@click.group("sandbox", epilog="Example: pluginapi sandbox run -- python3 -c 'print(1)'")
def sandbox_command() -> None:
    """Try what confines plugins on a program of your own."""


@sandbox_command.command(
    "run",
    epilog="Example: pluginapi sandbox run --read /srv/data --report -- sh -c 'ls /srv; sleep 1'",
    context_settings={"ignore_unknown_options": True},
)
@click.option(
    "--minimal",
    is_flag=True,
    help="Without namespaces and control group: Landlock, seccomp, limits.",
)
@click.option(
    "--seccomp",
    type=click.Choice([mode.value for mode in SeccompMode]),
    default=SeccompMode.MODERATE.value,
    show_default=True,
    help="The system calls it may make, besides starting programs.",
)
@click.option("--read", multiple=True, metavar="PATH", help="Show a path, read-only. Repeatable.")
@click.option("--write", multiple=True, metavar="PATH", help="Show a path, writable. Repeatable.")
@click.option(
    "--overlay",
    multiple=True,
    metavar="PATH",
    help="Show a directory, writable; the changes are gone when it ends. Repeatable.",
)
@click.option(
    "--root", metavar="PATH", help="Show what is in a directory in place of the system's files."
)
@click.option("--network", is_flag=True, help="Leave it the network of this machine.")
@click.option(
    "--allow",
    multiple=True,
    metavar="TARGET",
    help="Let it connect to HOST[:PORT], a name, *.suffix, address or range. Repeatable.",
)
@click.option(
    "--publish",
    multiple=True,
    metavar="PORT",
    help="Let it listen on [ADDRESS:[HOST_PORT:]]PORT of this host. Repeatable.",
)
@click.option("--memory-mb", type=click.IntRange(1), default=256, show_default=True)
@click.option("--pids", type=click.IntRange(1), default=64, show_default=True)
@click.option("--no-cgroup", is_flag=True, help="Without a control group and its bounds.")
@click.option("--report", is_flag=True, help="Say on standard error what confines it.")
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, help="Seconds, with --json."
)
@json_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(
    minimal: bool,
    seccomp: str,
    read: tuple[str, ...],
    write: tuple[str, ...],
    overlay: tuple[str, ...],
    root: str | None,
    network: bool,
    allow: tuple[str, ...],
    publish: tuple[str, ...],
    memory_mb: int,
    pids: int,
    no_cgroup: bool,
    report: bool,
    timeout: float,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Run a program in a sandbox; the exit code is the program's, 128 and the signal if killed.

    It sees the system's files read-only, an empty /tmp, and what --read and --write show; no other
    process, no network but what --allow and --publish name, nothing of the environment. What cannot
    be had is an error that says why: there is no sandbox with less than was asked for. With --json
    its output is part of the object, and so is what confined it, or null when it ended before the
    kernel could be asked.
    """
    output = Output(as_json=as_json)
    if (allow or publish) and (network or minimal):
        raise click.UsageError(
            "--allow and --publish restrict a network of its own, which there is not with "
            + ("--network" if network else "--minimal")
        )
    config = SandboxConfig(
        seccomp=SeccompMode(seccomp),
        filesystem=FilesystemConfig(
            read_only_paths=read,
            writable_paths=write,
            overlays=tuple(Overlay(path) for path in overlay),
            root_path=root,
        ),
        cgroup=None
        if no_cgroup
        else CgroupConfig(memory_limit_bytes=memory_mb * _MIB, pids_limit=pids),
    )
    if network:
        full = NetworkConfig(mode=NetworkMode.FULL)
        config = replace(config, network=full, enable_network_namespace=False)
    if allow or publish:
        restricted = NetworkConfig(
            mode=NetworkMode.RESTRICTED,
            allow=tuple(map(NetworkTarget.parse, allow)),
            publish=tuple(map(PublishedPort.parse, publish)),
        )
        config = replace(config, network=restricted)
    if minimal:
        config = SandboxConfig.without_namespaces(
            seccomp=config.seccomp, filesystem=config.filesystem
        )
    arguments = [_found(command[0]), *command[1:]]
    with Launcher() as launcher:
        if as_json:
            facts, done = _captured(launcher, config, arguments, timeout)
            output.result(_result(done, facts))
            return done.exit_status
        program = launcher.start(config, arguments, fds=(0, 1, 2))
        try:
            if report:
                _print_report(program)
            return _waited(program)
        finally:
            launcher.finish(program)


def _found(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SandboxError(
            f"there is no program {name!r}",
            code="sandbox.command",
            layer="start",
            hint="name a program that is in PATH, or its path",
        )
    return str(Path(found).absolute())


def _waited(program: Program) -> int:
    ended = program.wait()
    if ended is None:
        return 1
    return Completed(ended.code, ended.status, b"", b"").exit_status


def _captured(
    launcher: Launcher, config: SandboxConfig, arguments: list[str], timeout: float
) -> tuple[SandboxReport | None, Completed]:
    found: list[SandboxReport | None] = []

    def look(program: Program) -> None:
        found.append(_report(program))

    done = launcher.run(config, arguments, timeout=timeout, started=look)
    return found[0], done


def _report(program: Program) -> SandboxReport | None:
    """Return what confines a program; None when it has ended, which a short one may at any time."""
    try:
        return program.report()
    except SandboxError as err:
        if err.code != "sandbox.report":
            raise
        return None


def _result(done: Completed, report: SandboxReport | None) -> dict[str, Any]:
    return {
        "exit_status": done.exit_status,
        "code": done.code,
        "status": done.status,
        "stdout": done.stdout.decode("utf-8", "replace"),
        "stderr": done.stderr.decode("utf-8", "replace"),
        "report": None if report is None else report.to_dict(),
    }


def _print_report(program: Program) -> None:
    report = _report(program)
    lines = ["it ended before it could be looked at"] if report is None else report.lines()
    for line in lines:
        click.echo(line, err=True)
