"""How commands print: tables on a terminal, plain text in a pipe, objects with --json."""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console

    from pluginapi.errors import PluginError

__all__ = ["Output", "json_option", "print_error", "printable", "survive_any_encoding"]


@dataclass(frozen=True, slots=True)
class Output:
    """Write one command's result in the form that was asked for.

    Text goes to standard output through rich, which leaves out colours where standard output is
    no terminal or ``NO_COLOR`` is set. Nothing that is printed passes through rich's markup, and
    control characters, line ends included, become visible escapes: the name of a plugin cannot
    style, hide or forge a line.

    Attributes:
        as_json: Print one JSON object instead of text.
    """

    as_json: bool = False
    _consoles: dict[str, Console] = field(default_factory=dict)

    @property
    def is_terminal(self) -> bool:
        """Whether text is printed for a terminal."""
        return not self.as_json and self._console().is_terminal

    def result(self, value: dict[str, Any]) -> None:
        """Print an object with --json; nothing otherwise."""
        if self.as_json:
            encoded = msgspec.json.encode(_encodable(value))
            click.echo(msgspec.json.format(encoded, indent=2))

    def text(self, line: str = "", style: str | None = None) -> None:
        """Print a line of text; nothing with --json."""
        if not self.as_json:
            self._console().print(printable(line), style=style)

    def table(
        self,
        headings: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        for_people: bool = False,
        indent: int = 0,
        right: Sequence[int] = (),
    ) -> None:
        """Print a table on a terminal; tab-separated lines in a pipe; nothing with --json.

        Args:
            headings: One for each column.
            rows: The cells.
            for_people: Align the columns in a pipe, too.
            indent: Blanks before every line on a terminal and for people.
            right: Numbers of the columns that are aligned to the right.
        """
        if self.as_json:
            return
        cells = [[printable(cell) for cell in row] for row in rows]
        if self._console().is_terminal:
            self._rich_table(headings, cells, indent, right)
        elif for_people:
            for line in _aligned([list(headings), *cells], right):
                click.echo(" " * indent + line)
        else:
            for row in [list(headings), *cells]:
                click.echo("\t".join(row))

    def _rich_table(
        self,
        headings: Sequence[str],
        cells: list[list[str]],
        indent: int,
        right: Sequence[int],
    ) -> None:
        from rich.padding import Padding  # noqa: PLC0415 - --help does without it
        from rich.table import Table  # noqa: PLC0415 - --help does without it

        table = Table(box=None, pad_edge=False, header_style="bold")
        for number, heading in enumerate(headings):
            side = "right" if number in right else "left"
            # Folded rather than cut: nothing of a name is ever hidden.
            table.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
        for row in cells:
            table.add_row(*row)
        self._console().print(Padding(table, (0, 0, 0, indent), expand=False), soft_wrap=False)

    def _console(self) -> Console:
        if "stdout" not in self._consoles:
            self._consoles["stdout"] = _make_console(sys.stdout)
        return self._consoles["stdout"]

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show on a terminal's standard error that something takes its time.

        Do not ask for anything inside: a prompt and the indicator would overwrite each other.
        """
        if not self._shows_progress():
            yield
            return
        with _make_console(sys.stderr).status(printable(what)):
            yield

    @contextmanager
    def progress(self, what: str, total: int, *, is_bytes: bool = False) -> Iterator[Advance]:
        """Show a bar on a terminal's standard error; gives the function that moves it on."""
        if not self._shows_progress():
            yield _ignore
            return
        from rich import progress as bars  # noqa: PLC0415 - --help does without it

        amount = bars.DownloadColumn() if is_bytes else bars.MofNCompleteColumn()
        with bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            amount,
            bars.TimeRemainingColumn(),
            console=_make_console(sys.stderr),
            transient=True,
        ) as shown:
            task = shown.add_task(printable(what), total=total)
            yield lambda count: shown.advance(task, count)

    def _shows_progress(self) -> bool:
        return not self.as_json and sys.stderr.isatty()


if TYPE_CHECKING:
    Advance = Callable[[int], object]


def printable(text: str) -> str:
    """Replace what could steer a terminal or end a line by visible escapes."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def print_error(error: PluginError, output: Output) -> None:
    """Print code, message and hint: on standard error, or as an object with --json.

    Further lines of a message, such as a compiler's, are indented, so that none can look like a
    line of ours.
    """
    if output.as_json:
        output.result({"error": error.to_dict()})
        return
    console = _make_console(sys.stderr)
    console.print(f"error[{error.code}]: ", style="bold red", end="")
    console.print(_indented(error.message))
    if error.hint:
        console.print("hint: ", style="bold", end="")
        console.print(_indented(error.hint))


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` to a command; it receives ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result, or the error, as a JSON object."
    )(command)


def survive_any_encoding() -> None:
    """Let standard output and error escape what their encoding lacks, rather than fail.

    File names that are not UTF-8 and terminals that know ASCII alone are the reason.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _make_console(stream: TextIO) -> Console:
    from rich.console import Console  # noqa: PLC0415 - --help does without it

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _escape(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"  # noqa: PLR2004 - one byte


def _indented(text: str) -> str:
    return "\n    ".join(printable(line) for line in text.splitlines())


def _aligned(rows: list[list[str]], right: Sequence[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _encodable(value: Any) -> Any:
    """Copy an object with its text made fit for JSON: a file name may be no Unicode at all."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def _ignore(count: int) -> None:
    del count
