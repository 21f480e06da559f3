"""Read typed values out of a TOML document; every complaint names the line and the key."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pluginapi.config_lines import TomlPath, key_lines
from pluginapi.errors import ConfigError

__all__ = ["Document", "Table"]

_N = TypeVar("_N", int, float)

_POSITION: Final = re.compile(
    r"^(.*) \((?:at line (\d+), column (\d+)|at end of document)\)$", re.DOTALL
)
_SIZE: Final = re.compile(r"(\d{1,15}) ?(B|KiB|MiB|GiB)")
_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_MAX_DEPTH: Final = 16
_SHOWN_CHARS: Final = 60


class Document:
    """Hold a parsed TOML document together with the line of each of its keys.

    Args:
        text: The document, TOML 1.0.
        name: How error messages call the file.
        base: Directory that relative paths in the document are resolved against.

    Raises:
        ConfigError: With code ``config.syntax`` when the text is not TOML.
    """

    def __init__(self, text: str, name: str, base: Path) -> None:
        self.name = name
        self.base = base
        # Line ends count as tomllib counts them.
        text = text.replace("\r\n", "\n")
        try:
            self.values = tomllib.loads(text)
            self._lines = key_lines(text)
        except tomllib.TOMLDecodeError as err:
            line, what = _syntax_position(str(err), text)
            raise self._syntax_error(line, what) from err
        except RecursionError as err:
            raise self._syntax_error(1, "arrays or tables are nested too deep") from err
        except ValueError as err:
            # The only other ValueError: int() refuses numbers of thousands of digits.
            raise self._syntax_error(1, f"a number cannot be read: {err}") from err

    def root(self) -> Table:
        """Return the outermost table."""
        return Table(self, (), self.values)

    def line(self, path: TomlPath) -> int:
        """Return the line of the key, or of the nearest table around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def error(self, path: TomlPath, what: str, hint: str, code: str) -> ConfigError:
        """Make the error about the key at `path`; the message starts with file, line and key."""
        line = self.line(path)
        key = key_name(path)
        return ConfigError(
            f"{self.name}:{line}: {key}: {what}",
            code=code,
            hint=hint,
            file=str(self.base / self.name),
            line=line,
            key=key,
        )

    def _syntax_error(self, line: int, what: str) -> ConfigError:
        return ConfigError(
            f"{self.name}:{line}: {what}",
            code="config.syntax",
            hint="correct the line; the format is TOML 1.0 (https://toml.io/en/v1.0.0)",
            file=str(self.base / self.name),
            line=line,
        )


class Table:
    """Take the values out of one table, checking type and bounds of each.

    Every key that is asked for is thereby known; `refuse_unknown` then refuses all others.
    Methods return the default when the key is absent, and raise `ConfigError` otherwise.
    """

    def __init__(self, document: Document, path: TomlPath, values: Mapping[str, Any]) -> None:
        self._document = document
        self._path = path
        self._values = values
        self._known: list[str] = []

    @property
    def base(self) -> Path:
        """Directory that relative paths are resolved against."""
        return self._document.base

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def names(self) -> Iterable[str]:
        """Return the keys that are there; all of them count as known."""
        self._known.extend(self._values)
        return tuple(self._values)

    def error(self, key: str, what: str, hint: str, code: str = "config.value") -> ConfigError:
        """Make the error about one key of this table."""
        return self._document.error((*self._path, key), what, hint, code)

    def item_error(
        self, key: str, number: int, what: str, hint: str, code: str = "config.value"
    ) -> ConfigError:
        """Make the error about one item of an array in this table."""
        return self._document.error((*self._path, key, number), what, hint, code)

    def table(self, key: str) -> Table:
        """Return the table under `key`; an absent one is an empty one."""
        value = self._get(key, {})
        if not isinstance(value, dict):
            raise self._type_error(
                key, value, f"write it as a table: [{key_name((*self._path, key))}]"
            )
        return Table(self._document, (*self._path, key), value)

    def boolean(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._type_error(key, value, "write true or false, without quotation marks")
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._get(key, default)
        hint = f"write a whole number from {low} to {high}"
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._type_error(key, value, hint)
        return self._in_range(key, value, low, high, hint)

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """Return a whole number from `low` to `high`, or None when the key is absent."""
        value = self.integer(key, low, low, high)
        return value if key in self else None

    def size(self, key: str, default: int, low: int, high: int) -> int:
        """Return a number of bytes, written as a number or as ``"50 MiB"``."""
        value = self._get(key, default)
        hint = (
            f'write a number of bytes from {low} to {high}, or a text such as "{_size_text(high)}"'
        )
        if isinstance(value, int) and not isinstance(value, bool):
            return self._in_range(key, value, low, high, hint)
        if not isinstance(value, str):
            raise self._type_error(key, value, hint)
        match = _SIZE.fullmatch(value)
        if match is None:
            raise self.error(
                key, f"{_shown(value)} is not a size", f"{hint}; the units are B, KiB, MiB and GiB"
            )
        return self._in_range(key, int(match[1]) * _UNITS[match[2]], low, high, hint)

    def seconds(self, key: str, default: float, low: float, high: float) -> float:
        """Return a duration in seconds from `low` to `high`."""
        value = self._get(key, default)
        hint = f"write a number of seconds from {low:g} to {high:g}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._type_error(key, value, hint)
        # nan is outside of every range; a whole number too large for a float is, too.
        if isinstance(value, int) and not low <= value <= high:
            raise self.error(key, f"{value} is outside {low:g} to {high:g}", hint)
        return self._in_range(key, float(value), low, high, hint)

    def optional_seconds(self, key: str, low: float, high: float) -> float | None:
        """Return a duration in seconds from `low` to `high`, or None when the key is absent."""
        value = self.seconds(key, low, low, high)
        return value if key in self else None

    def text(self, key: str, default: str, *, secret: bool = False) -> str:
        """Return a text; the value of a secret one is not repeated in the error."""
        value = self._get(key, default)
        if not isinstance(value, str):
            hint = "write a text in quotation marks"
            if secret:
                raise self.error(key, "the value is not a text", hint, "config.type")
            raise self._type_error(key, value, hint)
        return value

    def choice(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return one of the texts that are allowed."""
        value = self.text(key, default)
        if value not in allowed:
            raise self.error(
                key,
                f"{_shown(value)} is not one of {', '.join(allowed)}",
                f"write {' or '.join(map(repr, allowed))}{_did_you_mean(value, allowed)}",
            )
        return value

    def path(self, key: str, default: str) -> Path:
        """Return an absolute path; a relative one starts at the directory of the file."""
        text = self.text(key, default)
        complaint = path_complaint(text)
        if complaint is not None:
            raise self.error(key, complaint, "write the whole path, or one relative to this file")
        return self._document.base / text

    def optional_path(self, key: str) -> Path | None:
        """Return an absolute path as `path` does, or None when the key is absent."""
        value = self.path(key, ".")
        return value if key in self else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the texts of an array; absent means none."""
        value = self._get(key, [])
        if not isinstance(value, list):
            raise self._type_error(key, value, 'write an array of texts: ["one", "two"]')
        for number, item in enumerate(value):
            if not isinstance(item, str):
                raise self.item_error(
                    key,
                    number,
                    f"expected a text, found {_described(item)}",
                    "write a text in quotation marks",
                    "config.type",
                )
        return tuple(value)

    def plain_values(self, key: str) -> dict[str, Any]:
        """Return the table under `key` as it stands, if JSON and MessagePack can carry it."""
        table = self.table(key)
        table._check_plain(table._path, table._values)  # noqa: SLF001 - the same class
        return dict(table._values)  # noqa: SLF001 - the same class

    def refuse_unknown(self) -> None:
        """Refuse the first key, in the order of the file, that nobody has asked for."""
        unknown = [key for key in self._values if key not in self._known]
        if not unknown:
            return
        key = min(unknown, key=lambda name: self._document.line((*self._path, name)))
        where = f"[{key_name(self._path)}]" if self._path else "the file"
        raise self.error(
            key,
            f"{where} has no key of this name",
            f"allowed are {', '.join(sorted(self._known))}{_did_you_mean(key, self._known)}",
            "config.unknown_key",
        )

    def _get(self, key: str, default: Any) -> Any:
        self._known.append(key)
        return self._values.get(key, default)

    def _type_error(self, key: str, value: Any, hint: str) -> ConfigError:
        expected = hint.removeprefix("write ").removeprefix("it as ")
        return self.error(
            key, f"expected {expected}; found {_described(value)}", hint, "config.type"
        )

    def _in_range(self, key: str, value: _N, low: _N, high: _N, hint: str) -> _N:
        if not low <= value <= high:
            raise self.error(key, f"{value} is outside {low} to {high}", hint)
        return value

    def _check_plain(self, path: TomlPath, value: Any) -> None:
        """Refuse what neither JSON nor MessagePack can carry to a plugin."""
        if len(path) - len(self._path) > _MAX_DEPTH:
            raise self._document.error(
                path, f"nested deeper than {_MAX_DEPTH} levels", "flatten the table", "config.value"
            )
        if isinstance(value, dict):
            for key, item in value.items():
                self._check_plain((*path, key), item)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._check_plain((*path, number), item)
        elif isinstance(value, float) and not math.isfinite(value):
            raise self._document.error(
                path,
                f"{value} cannot be handed to a plugin",
                "write a finite number",
                "config.value",
            )
        elif type(value) is int and not -(2**63) <= value < 2**64:
            raise self._document.error(
                path,
                "the number does not fit into 64 bits",
                "write a smaller number, or a text",
                "config.value",
            )
        elif not isinstance(value, str | bool | int | float):
            raise self._document.error(
                path,
                f"{_described(value)} cannot be handed to a plugin",
                "write it as a text in quotation marks",
                "config.type",
            )


def path_complaint(text: str) -> str | None:
    """Say what makes a text unfit as a path, or None when it is fit."""
    if not text:
        return "the path is empty"
    if not text.isprintable():
        return "the path has a control character"
    if text.startswith("~"):
        return "'~' has no meaning in this file"
    return None


def key_name(path: TomlPath) -> str:
    """Write a path as a TOML key, with positions of arrays in brackets."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
            continue
        bare = part and all(char.isascii() and (char.isalnum() or char in "-_") for char in part)
        written = (
            part if bare else '"' + part.encode("unicode_escape").decode().replace('"', '\\"') + '"'
        )
        name += f".{written}" if name else written
    return name


def _syntax_position(message: str, text: str) -> tuple[int, str]:
    match = _POSITION.match(message)
    if match is None:
        return 1, message
    if match[2] is None:
        return max(1, len(text.rstrip("\n").split("\n"))), f"{match[1]} at the end of the file"
    return int(match[2]), f"{match[1]} (column {match[3]})"


def _described(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    if isinstance(value, int):
        return f"the whole number {str(value)[:_SHOWN_CHARS]}"
    if isinstance(value, float):
        return f"the number {value}"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "a table"
    return f"a date or time, {value}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")


def _size_text(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]} {unit}"
    return f"{size} B"


def _did_you_mean(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
