"""Tell on which line of a TOML document each key stands.

`tomllib` gives values without positions, and an operator wants to be sent to the line. This is a
scanner, not a second parser: it reads documents that `tomllib` has accepted already and keeps
nothing but the line of every key, table header and array item (TOML 1.0, https://toml.io).
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

__all__ = ["TomlPath", "key_lines"]

TomlPath = tuple[str | int, ...]
"""The way to a value: keys, and positions in arrays counted from 0."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BLANK: Final = re.compile(r"[ \t]*")
_BLANK_LINES: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'  # Up to two quotation marks stand before the closing three.
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
# Numbers, booleans and dates; a date may have a blank between day and time.
_PLAIN_VALUE: Final = re.compile(r"[^,\]}#\r\n]+")


def key_lines(text: str) -> dict[TomlPath, int]:
    """Return the line, counted from 1, on which every key, table and array item first appears.

    A table that is only named as a part of others (``a`` in ``[a.b]``) has the line of the first
    of them.

    Args:
        text: A document that `tomllib.loads` accepts; for others the result means nothing.

    Raises:
        ValueError: When the scanner meets something that no valid document contains.
        RecursionError: When arrays or inline tables are nested hundreds deep.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[TomlPath, int] = {}
        self._line = 1
        self._counted = 0
        self._table_counts: dict[TomlPath, int] = {}

    def document(self) -> None:
        table: TomlPath = ()
        self.skip(_BLANK_LINES)
        while self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self.array_of_tables_header()
            elif self.text[self.at] == "[":
                table = self.table_header()
            else:
                self.pair(table)
            self.skip(_BLANK_LINES)

    def table_header(self) -> TomlPath:
        self.expect("[")
        path = self.table_path(self.key())
        self.expect("]")
        return path

    def array_of_tables_header(self) -> TomlPath:
        self.expect("[[")
        *parents, last = self.key()
        array = (*self.table_path(parents), last)
        number = self._table_counts.get(array, 0)
        self._table_counts[array] = number + 1
        self.note(array)
        self.note((*array, number))
        self.expect("]]")
        return (*array, number)

    def table_path(self, keys: list[str]) -> TomlPath:
        """Follow a header's keys; below an array of tables it means the array's last table."""
        path: TomlPath = ()
        for key in keys:
            path = (*path, key)
            self.note(path)
            if path in self._table_counts:
                path = (*path, self._table_counts[path] - 1)
        return path

    def pair(self, table: TomlPath) -> None:
        path = table
        for key in self.key():
            path = (*path, key)
            self.note(path)
        self.expect("=")
        self.skip(_BLANK)
        self.value(path)

    def key(self) -> list[str]:
        keys = []
        while True:
            self.skip(_BLANK)
            if self.text[self.at : self.at + 1] in {'"', "'"}:
                token = self.take(_STRING)
                keys.append(str(tomllib.loads(f"key = {token}")["key"]))
            else:
                keys.append(self.take(_BARE_KEY))
            self.skip(_BLANK)
            if self.text[self.at : self.at + 1] != ".":
                return keys
            self.at += 1

    def value(self, path: TomlPath) -> None:
        match self.text[self.at : self.at + 1]:
            case "[":
                self.array(path)
            case "{":
                self.inline_table(path)
            case '"' | "'":
                self.take(_STRING)
            case _:
                self.take(_PLAIN_VALUE)

    def array(self, path: TomlPath) -> None:
        self.expect("[")
        number = 0
        while not self.closed("]"):
            item = (*path, number)
            self.note(item)
            self.value(item)
            number += 1

    def inline_table(self, path: TomlPath) -> None:
        self.expect("{")
        while not self.closed("}"):
            self.pair(path)

    def closed(self, bracket: str) -> bool:
        """Step over separators, and over the closing bracket if it comes next."""
        self.skip(_BLANK_LINES)
        if self.text.startswith(",", self.at):
            self.at += 1
            self.skip(_BLANK_LINES)
        if self.text.startswith(bracket, self.at):
            self.at += 1
            return True
        return False

    def note(self, path: TomlPath) -> None:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        self.lines.setdefault(path, self._line)

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()

    def take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"character {self.at} begins nothing that a TOML document contains")
        self.at = match.end()
        return match.group()

    def expect(self, sign: str) -> None:
        self.skip(_BLANK)
        if not self.text.startswith(sign, self.at):
            raise ValueError(f"character {self.at} is not the {sign!r} of a TOML document")
        self.at += len(sign)
