"""Write the parts of the reference that the code itself knows, so that they cannot drift.

A page of the reference holds a line ``<!-- generated: NAME -->``; when Sphinx reads the page, the
line is replaced by Markdown made from the click commands, the table of error codes or the table of
escapes that the tests try.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pluginapi import errors
from pluginapi.cli import cli
from pluginapi.error_codes import CODES

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["GENERATORS", "setup"]

_ESCAPES: Final = Path(__file__).parents[2] / "tests" / "escape" / "cases.py"


def command_line() -> Iterator[str]:
    """Describe every command with its help text, as it is printed."""
    for context in _commands(click.Context(cli, info_name="pluginapi", max_content_width=100)):
        path = context.command_path
        level = len(path.split()) + 1
        yield f"{'#' * level} `{path}`\n"
        yield "```text"
        yield context.get_help()
        yield "```\n"


def _commands(context: click.Context) -> Iterator[click.Context]:
    command = context.command
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is None:
                raise LookupError(f"{context.command_path} lists {name!r} and does not have it")
            yield from _commands(
                click.Context(found, info_name=name, parent=context, max_content_width=100)
            )


def error_codes() -> Iterator[str]:
    """Describe every error code, grouped by what stands before its dot."""
    by_default = {kind.default_code: kind.__name__ for kind in _classes()}
    for group, codes in groupby(sorted(CODES), key=lambda code: code.partition(".")[0]):
        yield f"### {group}\n"
        yield "| code | meaning | class that has it by default |"
        yield "|---|---|---|"
        for code in codes:
            kind = f"`{by_default[code]}`" if code in by_default else ""
            yield f"| `{code}` | {CODES[code]} | {kind} |"
        yield ""


def _classes() -> Iterator[type[errors.PluginError]]:
    # The later class of two with one default code is the more specific one.
    for name in errors.__all__:
        yield getattr(errors, name)


def escapes() -> Iterator[str]:
    """List what the tests try to escape by, and which tier does not stop it."""
    table = runpy.run_path(str(_ESCAPES))
    tiers = table["TIERS"]
    yield "| attack | " + " | ".join(tiers) + " | why it is not stopped |"
    yield "|---|" + "---|" * len(tiers) + "---|"
    for case in table["CASES"]:
        number, _, name = case.name.partition("-")
        marks = ("**works**" if tier in case.open_in else "stopped" for tier in tiers)
        text = f"{int(number)}: {name.replace('-', ' ')}"
        yield f"| {text} | {' | '.join(marks)} | {case.why} |"
    yield ""


GENERATORS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "command-line": command_line,
    "error-codes": error_codes,
    "escapes": escapes,
}


def _fill_in(_app: Sphinx, _page: str, source: list[str]) -> None:
    for name, generate in GENERATORS.items():
        marker = f"<!-- generated: {name} -->"
        if marker in source[0]:
            source[0] = source[0].replace(marker, "\n".join(generate()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", _fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
