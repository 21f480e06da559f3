"""`pluginapi profile`: where a running plugin process spends its time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from pluginapi.cli._host import host_options, one_plugin, socket_of
from pluginapi.cli._output import Output, json_option
from pluginapi.control.client import ask
from pluginapi.errors import InvalidState, PluginError, UnsupportedPlatform
from pluginapi.manifest import PluginKind
from pluginapi.profiling.flame_graph import flame_graph
from pluginapi.profiling.stacks import Stacks

__all__ = ["profile_command"]

_SHOWN: Final = 10


@click.command(
    "profile",
    epilog="Example: pluginapi profile acme.slow --config pluginapi.toml --seconds 10",
)
@click.argument("name")
@host_options
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to look.",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 1000),
    default=99,
    show_default=True,
    metavar="HERTZ",
    help="Samples in a second.",
)
@click.option(
    "--output",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the flame graph goes; without it NAME.svg.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("svg", "collapsed")),
    default="svg",
    show_default=True,
    help="A picture, or a line for each stack, as flame graph tools read it.",
)
@click.option(
    "--no-pause",
    is_flag=True,
    help="Do not stop a Python plugin for each sample; some stacks are wrong then.",
)
@json_option
def profile_command(
    name: str,
    config_file: Path | None,
    path: Path | None,
    seconds: float,
    rate: int,
    target: Path | None,
    form: str,
    no_pause: bool,
    as_json: bool,
) -> int:
    """Draw a flame graph of the process of plugin NAME in a running host.

    Samples are taken from outside: the plugin takes no part in it, and cannot tell. It takes root,
    or the user that the host runs as, and `pip install 'pluginapi[profile]'`. A plugin that runs
    in its host's process has none of its own.
    """
    plugin = one_plugin(ask(socket_of(config_file, path), "snapshot"), name)
    pid = _process_of(plugin)
    output = Output(as_json=as_json)
    with output.working(f"sampling {name}, process {pid}, for {seconds:g} s"):
        stacks = _sample(plugin, pid, seconds, rate, pause=not no_pause)
    target = Path(f"{name}.{'svg' if form == 'svg' else 'txt'}") if target is None else target
    title = f"{name} {plugin['version']}"
    subtitle = f"{stacks.samples} samples in {seconds:g} s, process {pid}"
    text = flame_graph(stacks, title, subtitle) if form == "svg" else stacks.collapsed()
    _write(target, text)
    functions = stacks.functions()
    output.result(
        {
            "plugin": name,
            "pid": pid,
            "seconds": seconds,
            "samples": stacks.samples,
            "lost": stacks.lost,
            "output": str(target),
            "functions": [
                {"name": each.name, "own": each.own, "total": each.total} for each in functions
            ],
        }
    )
    _show(output, stacks, subtitle, target)
    return 0


def _process_of(plugin: dict[str, Any]) -> int:
    pid = plugin["pid"]
    if pid is None:
        raise InvalidState(
            f"plugin {plugin['name']} has no process of its own now",
            code="profile.no_process",
            plugin=plugin["name"],
            hint='load it with isolation = "process"; what runs in the host\'s process is profiled '
            "with the host: py-spy record --pid PID",
        )
    return int(pid)


def _sample(plugin: dict[str, Any], pid: int, seconds: float, rate: int, *, pause: bool) -> Stacks:
    if plugin["kind"] != PluginKind.NATIVE.value:
        from pluginapi.profiling.python_process import sample_python  # noqa: PLC0415 - one of two

        return sample_python(pid, seconds, rate, pause=pause)
    try:
        from pluginapi.profiling.native_process import sample_native  # noqa: PLC0415 - as above
    except ImportError as err:
        raise UnsupportedPlatform(
            "native plugins are profiled on Linux alone",
            hint="profile the process with the system's own tools",
        ) from err
    return sample_native(pid, Path(plugin["path"]), seconds, rate)


def _write(target: Path, text: str) -> None:
    try:
        target.write_text(text, "utf-8")
    except OSError as err:
        raise PluginError(
            f"{target} cannot be written: {err.strerror or err}",
            code="profile.failed",
            hint="name another file with --output",
            path=os.fspath(target),
        ) from err


def _show(output: Output, stacks: Stacks, subtitle: str, target: Path) -> None:
    if not stacks.samples:
        output.text("no samples: the plugin used no processor time meanwhile")
    else:
        rows = [
            [
                f"{100 * each.own / stacks.samples:.1f} %",
                f"{100 * each.total / stacks.samples:.1f} %",
                each.name,
            ]
            for each in stacks.functions()[:_SHOWN]
        ]
        output.table(("OWN", "TOTAL", "FUNCTION"), rows, for_people=True, right=(0, 1))
    lost = f", {stacks.lost} lost" if stacks.lost else ""
    output.text(f"{subtitle}{lost}: {target}")
