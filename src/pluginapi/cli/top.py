"""`pluginapi top`: what the plugins of a running host use."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pluginapi.cli._host import host_options, one_plugin, socket_of
from pluginapi.cli._output import Output, json_option, printable
from pluginapi.cli._top_views import (
    HEADINGS,
    SORTS,
    chosen,
    detail,
    hook_rows,
    rows,
    summary,
)
from pluginapi.control.client import ask

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["top_command"]

_HOOK_HEADINGS: Final = ("HOOK", "CALLS", "ERRORS", "TOOK", "MEAN", "P99 BELOW")
_ORDERS: Final = ("name", *SORTS)
_RATE_SECONDS: Final = 0.3


@click.command(
    "top",
    epilog="Example: pluginapi top --config pluginapi.toml --sort heap",
)
@host_options
@click.option(
    "--sort",
    type=click.Choice(_ORDERS),
    default="cpu",
    show_default=True,
    help="What stands first.",
)
@click.option("--filter", "text", default="", metavar="TEXT", help="Only names that hold this.")
@click.option("--plugin", metavar="NAME", help="Show one plugin: limits, violations, hooks.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.option("--once", is_flag=True, help="Look once and end; so it is when not on a terminal.")
@json_option
def top_command(
    config_file: Path | None,
    path: Path | None,
    sort: str,
    text: str,
    plugin: str | None,
    interval: float,
    once: bool,
    as_json: bool,
) -> int:
    """Show what the plugins of a running host use, again and again.

    The host listens where `control_socket` in section [monitoring] of its pluginapi.toml says, for
    its own user and root. On a terminal, q ends, s sorts by the next column.
    """
    path = socket_of(config_file, path)
    output = Output(as_json=as_json)
    if once or as_json or not output.is_terminal:
        # Rates are over the time since the host was asked before.
        ask(path, "snapshot")
        time.sleep(_RATE_SECONDS)
        answer = ask(path, "snapshot")
        _show_once(output, answer, sort, text, plugin)
        return 0
    _show_live(path, sort, text, plugin, interval)
    return 0


def _show_once(
    output: Output, answer: dict[str, Any], sort: str, text: str, plugin: str | None
) -> None:
    if plugin is not None:
        one = one_plugin(answer, plugin)
        output.result({**answer, "plugins": [one]})
        for line in detail(one):
            output.text(line)
        output.text()
        output.table(_HOOK_HEADINGS, hook_rows(one), for_people=True, indent=3, right=range(1, 6))
        return
    plugins = chosen(answer["plugins"], sort, text)
    output.result({**answer, "plugins": plugins})
    output.text(summary(answer))
    output.table(HEADINGS, rows(plugins), for_people=True, right=range(2, len(HEADINGS)))


def _show_live(path: Path, sort: str, text: str, plugin: str | None, interval: float) -> None:
    from rich.console import Console  # noqa: PLC0415 - --help does without it
    from rich.live import Live  # noqa: PLC0415 - as above

    console = Console(highlight=False, markup=False, emoji=False)
    with _keys() as keys, Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(_drawn(ask(path, "snapshot"), sort, text, plugin), refresh=True)
            until = time.monotonic() + interval
            while (left := until - time.monotonic()) > 0:
                key = keys(left)
                if key == "q":
                    return
                if key == "s":
                    sort = _ORDERS[(_ORDERS.index(sort) + 1) % len(_ORDERS)]
                    break


def _drawn(answer: dict[str, Any], sort: str, text: str, plugin: str | None) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    if plugin is not None:
        one = one_plugin(answer, plugin)
        lines = [Text(printable(line)) for line in detail(one)]
        return Group(*lines, Text(), _table(_HOOK_HEADINGS, hook_rows(one), 1))
    plugins = chosen(answer["plugins"], sort, text)
    return Group(
        Text(printable(summary(answer)), style="bold"),
        Text(f"sorted by {sort}; s: by the next column, q: end", style="dim"),
        _table(HEADINGS, rows(plugins), 2),
    )


def _table(headings: tuple[str, ...], cells: list[list[str]], first_right: int) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number >= first_right else "left")
    for row in cells:
        table.add_row(*map(printable, row))
    return table


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """Give a function that waits for a key, for so many seconds; None when none was pressed."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds)  # noqa: PLW0108 - it returns None
        return
    import termios  # noqa: PLC0415 - not on Windows
    import tty  # noqa: PLC0415 - as above

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def key(seconds: float) -> str | None:
        ready, _, _ = select.select([fd], [], [], seconds)
        return sys.stdin.read(1) if ready else None

    try:
        tty.setcbreak(fd)
        yield key
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
