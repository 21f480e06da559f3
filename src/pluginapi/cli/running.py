"""`pluginapi run`: load plugins as a host would and run requests through their hooks."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pluginapi.cli._examples import examples_directory
from pluginapi.cli._logging import log_to_stderr, reported_here
from pluginapi.cli._output import Output, json_option
from pluginapi.cli._security import SecurityOptions, forget_secrets, security_options
from pluginapi.cli._serving import handler_facts, metrics_facts, print_handlers, serve
from pluginapi.config import HostConfig
from pluginapi.errors import NotFound
from pluginapi.host import PluginHost, StartReport
from pluginapi.recorded import load_recorded

if TYPE_CHECKING:
    from pluginapi.http import HttpRequest
    from pluginapi.info import UnloadReport

__all__ = ["run_command"]


@click.command("run", epilog="Example: pluginapi run --config pluginapi.toml --json")
@click.option(
    "--plugins",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Load the plugins of this directory (default: `plugins`), without a --config.",
)
@security_options
@click.option(
    "--requests",
    "requests_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Recorded requests, JSON lines (default: the recording that comes with the library).",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1_000_000),
    default=1,
    metavar="N",
    help="Run all requests N times.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show what plugins log, on standard error.")
@json_option
def run_command(
    directory: Path | None,
    security: SecurityOptions,
    requests_file: Path | None,
    repeat: int,
    verbose: bool,
    as_json: bool,
) -> int:
    """Load plugins, run recorded requests through on_request and on_response, and unload.

    Says what became of the requests, and what each handler and plugin cost. Plugins that are
    refused are named and left out. Exit code 1 when nothing could be loaded, when a plugin named
    in `[plugins] load` was refused, and when a handler or a shutdown failed.
    """
    if directory is not None and security.config is not None:
        raise click.UsageError("--config says where the plugins are: drop it, or --plugins.")
    output = Output(as_json=as_json)
    path = requests_file or examples_directory() / "data" / "requests.jsonl"
    requests = load_recorded(path)
    if not requests:
        raise NotFound(f"{path} holds no request", code="recorded.invalid", hint="record some")
    config = security.config or HostConfig()
    if security.config is None:
        place = directory or security.plugin_directory()
        config = replace(config, plugins=replace(config.plugins, directory=place))
    host = PluginHost(config, security=security.open())
    # Plugins run in this process: they shall not find the key of the trust list.
    forget_secrets(security.config)
    with log_to_stderr(verbose=verbose):
        report = asyncio.run(_run(host, requests, repeat, output))
    output.result(report)
    return 1 if report["failed"] or report["unload_failures"] else 0


async def _run(
    host: PluginHost, requests: list[HttpRequest], rounds: int, output: Output
) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        # Also when the command is interrupted; after a stop it does nothing.
        stack.push_async_callback(host.stop)
        with output.working("loading"), reported_here("pluginapi.host", "pluginapi.registry"):
            started = await host.start()
        _print_start(output, host, started)
        if not started.loaded:
            raise _nothing_loaded(host, started)
        with output.progress("requests", rounds * len(requests)) as advance:
            served = await serve(host, requests, rounds=rounds, advance=advance)
        handlers, metrics = handler_facts(host), metrics_facts(host)
        output.text()
        output.text(f"{served.requests:,} requests: {', '.join(served.outcomes())}", style="bold")
        for message, code in served.failures.items():
            output.text(f"   error[{code}] {message}", style="red")
        print_handlers(output, handlers, metrics)
        output.text(
            f"   a request took {served.percentile_us(50):.1f} µs (median), "
            f"{served.percentile_us(99):.1f} µs (99 %); {served.per_second:,.0f} requests a second"
        )
        for item in metrics:
            if item["violation_count"]:
                output.text(f"   {item['name']}: {item['violation_count']} violations", "red")
        stopped = await host.stop()
    output.text()
    _print_stop(output, stopped)
    return {
        "loaded": list(started.loaded),
        "refused": [
            {"path": str(path), **error.to_dict()} for path, error in started.refused.items()
        ],
        **served.to_dict(),
        "handlers": handlers,
        "plugins": metrics,
        "unloaded": list(stopped.unloaded),
        "unload_failures": [error.to_dict() for error in stopped.failed.values()],
    }


def _print_start(output: Output, host: PluginHost, started: StartReport) -> None:
    for name in started.loaded:
        info = host.registry.get_plugin_info(name)
        output.text(f"loaded   {name} {info.version} ({info.manifest.kind.value})", style="green")
    for path, error in started.refused.items():
        output.text(f"refused  {path.name} [{error.code}] {error.message}", style="yellow")
        if error.hint:
            output.text(f"         hint: {error.hint}")


def _nothing_loaded(host: PluginHost, started: StartReport) -> NotFound:
    directory = host.config.plugins.directory
    return NotFound(
        f"no plugin was loaded from {directory}: {len(started.refused)} were refused",
        code="run.nothing_loaded",
        hint=f"see why with `pluginapi list {directory}`",
        refused=[{"path": str(path), **err.to_dict()} for path, err in started.refused.items()],
    )


def _print_stop(output: Output, stopped: UnloadReport) -> None:
    output.text(f"unloaded {', '.join(stopped.unloaded)}", style="green")
    for name, error in stopped.failed.items():
        output.text(f"{name} did not shut down: [{error.code}] {error.message}", style="red")
