"""What the guard checks; knows nothing of HTTP or plugins."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

__all__ = ["Limits", "find_problem"]

TOO_LARGE: Final = 413
BAD_REQUEST: Final = 400

# Strings first, so that brackets inside text are no nesting. A string without end matches up to
# the end of the body: no byte is looked at twice.
_TOKENS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[][{}]', re.DOTALL)


@dataclass(frozen=True)
class Limits:
    """The limits of ``limits.json``.

    Attributes:
        max_bytes: Length of the body.
        max_depth: How deep arrays and objects may be nested.
    """

    max_bytes: int
    max_depth: int


class _Refused(ValueError):
    """A rule of this guard is broken; the message names it."""


def find_problem(body: bytes, limits: Limits) -> tuple[int, str] | None:
    """Return the HTTP status and the reason for a body to refuse, or None for a sound one.

    Size and depth are checked before the parser sees the body. A key that is given twice is
    refused because parsers disagree which of the values counts (RFC 8259, section 4).
    """
    if len(body) > limits.max_bytes:
        return TOO_LARGE, f"the body has more than {limits.max_bytes} bytes"
    depth = 0
    for token in _TOKENS.finditer(body):
        if token[0] in b"[{":
            depth += 1
            if depth > limits.max_depth:
                return BAD_REQUEST, f"the JSON is nested deeper than {limits.max_depth}"
        elif token[0] in b"]}":
            depth -= 1
    try:
        json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _Refused as err:
        return BAD_REQUEST, str(err)
    except ValueError:
        return BAD_REQUEST, "the body is not JSON in UTF-8"
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _Refused(f"the key {key[:40]!r} is given twice")
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not JSON")
