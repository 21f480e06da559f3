"""Parse Python source of unknown origin without running it and without exhausting the parser.

The parser's own limits, which catch what the count of brackets and prefixes does not, assume that
the calling thread has a stack of at least 1 MiB. Python's threads have 8 MiB on Linux and 16 MiB on
macOS unless `threading.stack_size` was told otherwise.
"""

from __future__ import annotations

import ast
import re
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Final

from pluginapi.errors import InvalidManifest

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["MAX_NESTING", "SOURCE_NAME_PREFIX", "compile_python", "parse_python"]

MAX_NESTING: Final = 100
"""How deep brackets, and prefix operators in a row, may be nested in a source file."""

SOURCE_NAME_PREFIX: Final = "<plugin "
"""What the file name of every compiled plugin module begins with."""

# Strings and comments, so that brackets inside text do not count.
# Every branch consumes what it looked at, also where a string has no end: linear in the source.
# The loops are unrolled, not possessive: Python 3.11.2 matches possessive groups wrongly. Each
# begins with a plain character, from which `re` knows where a match can begin.
_TEXT_PATTERN: Final = r"""
          \"\"\"[^\"\\]*(?:(?:\\.|\"(?!\"\"))[^\"\\]*)*(?:\"\"\"|\\?\Z)
        | \'\'\'[^\'\\]*(?:(?:\\.|\'(?!\'\'))[^\'\\]*)*(?:\'\'\'|\\?\Z)
        | \"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\"?
        | \'[^\'\\\n]*(?:\\.[^\'\\\n]*)*\'?
        | \#[^\n]*
"""
_PREFIX_WORDS: Final = frozenset({"not", "lambda", "await", "yield", "else"})
# Text as above, words and single characters.
_TOKENS: Final = re.compile(
    rf"""
      (?P<text> {_TEXT_PATTERN} )
    | (?P<word>\w+)
    | (?P<open>[(\[{{])
    | (?P<close>[)\]}}])
    | (?P<prefix>[-+~*])
    | (?P<other>[^\s\\])
    """,
    re.VERBOSE | re.DOTALL,
)
_TEXT: Final = re.compile(_TEXT_PATTERN, re.VERBOSE | re.DOTALL)
# For the quick look: every bracket is an opening or a closing one, all else is left out.
_BRACKETS: Final = bytes.maketrans(b"[{]}", b"(())")
_OPENING: Final = b"("[0]
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"()[]{}")
# Every character that a row of prefix operators can consist of is a minus, all else is a space. A
# question mark stands for what is not ASCII, which may be white space.
_IN_PREFIXES: Final = frozenset(b"-+~*:\\? \t\n\r\f\v\x1c\x1d\x1e\x1f").union(
    *(word.encode() for word in _PREFIX_WORDS)
)
_PREFIXES: Final = bytes(b"-"[0] if byte in _IN_PREFIXES else b" "[0] for byte in range(256))
_TOO_MANY_PREFIXES: Final = b"-" * (MAX_NESTING + 1)

_warning_lock: Final = threading.Lock()


def parse_python(source: str, label: str) -> ast.Module:
    """Return the syntax tree of a source text; nothing is executed.

    Raises:
        InvalidManifest: Code ``manifest.too_deep`` or ``manifest.syntax`` with the place.
    """
    _check_nesting(source, label)
    with _Parsing(label):
        return ast.parse(source, _source_name(label))


def compile_python(source: str, filename: str) -> CodeType:
    """Return the code of a module, compiled from exactly this text.

    Raises:
        InvalidManifest: As `parse_python`.
    """
    _check_nesting(source, filename)
    with _Parsing(filename):
        return compile(source, filename, "exec", dont_inherit=True)


def _source_name(label: str) -> str:
    return label if label.startswith(SOURCE_NAME_PREFIX) else f"{SOURCE_NAME_PREFIX}{label}>"


class _Parsing:
    """Turn whatever the parser and the compiler raise into one error with the place."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> None:
        # A host that turns warnings into errors would refuse what another host loads, since the
        # compiler turns such a warning into a SyntaxError. The filter concerns warnings about the
        # text of plugins only (their "module" is the file name); what plugins warn about while
        # they run stays with the host's filters. It stays installed: to take it out again, as
        # warnings.catch_warnings does, would race with other threads.
        with _warning_lock:
            warnings.filterwarnings("ignore", module=re.escape(SOURCE_NAME_PREFIX))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if isinstance(error, SyntaxError):
            line, column = error.lineno or 1, error.offset or 1
            raise InvalidManifest(
                f"{self._label}:{line}:{column}: not Python {_version()}: {error.msg}",
                code="manifest.syntax",
                hint="correct the source, or load it with the Python version it was written for",
                file=self._label,
                line=line,
                column=column,
            ) from error
        if isinstance(error, (RecursionError, MemoryError)):
            raise InvalidManifest(
                f"{self._label} is nested too deeply for the parser of Python {_version()}",
                code="manifest.too_deep",
                hint="split long expressions and elif chains",
                file=self._label,
            ) from error
        if isinstance(error, (ValueError, OverflowError)):
            raise InvalidManifest(
                f"{self._label} cannot be parsed: {error}",
                code="manifest.syntax",
                hint="correct the source",
                file=self._label,
            ) from error


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _check_nesting(source: str, label: str) -> None:
    """Refuse what would take the parser deeper than its stack, before it sees it.

    The parser has limits of its own, which stay as the second line: this count takes text inside
    f-strings as text.
    """
    if _is_shallow(source):
        return
    depth = prefixes = 0
    for token in _TOKENS.finditer(source):
        kind = token.lastgroup
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(depth - 1, 0)
        if kind == "prefix" or (kind == "word" and token[0] in _PREFIX_WORDS):
            prefixes += 1
        elif kind != "other" or token[0] != ":":
            prefixes = 0
        if depth > MAX_NESTING or prefixes > MAX_NESTING:
            line = source.count("\n", 0, token.start()) + 1
            column = token.start() - (source.rfind("\n", 0, token.start()) + 1) + 1
            raise InvalidManifest(
                f"{label}:{line}:{column}: nested more than {MAX_NESTING} deep",
                code="manifest.too_deep",
                hint="split the expression",
                file=label,
                line=line,
                column=column,
            )


def _is_shallow(source: str) -> bool:
    """Tell of most sources in a fraction of the time that nothing in them is nested too deep."""
    code = _TEXT.sub("'", source).encode("ascii", "replace")
    depth = deepest = 0
    for bracket in code.translate(_BRACKETS, _NO_BRACKETS):
        if bracket == _OPENING:
            depth += 1
            if depth > deepest:  # noqa: PLR1730 - a call of max() takes longer than all of this
                deepest = depth
        elif depth:
            depth -= 1
    return deepest <= MAX_NESTING and _TOO_MANY_PREFIXES not in code.translate(_PREFIXES)
