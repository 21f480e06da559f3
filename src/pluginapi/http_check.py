"""Refuse what plugins put into HTTP messages that no server could send or receive.

`HttpRequest` and `HttpResponse` check themselves that nothing in them can split a message. These
rules are those of a server's wire on top: the characters that are allowed there (RFC 9110 section
5.5, RFC 9112 section 3.2), and final status codes (RFC 9110 section 15). Servers differ in what
they check.
"""

from __future__ import annotations

import re
from typing import Final

from pluginapi.errors import HookTypeError
from pluginapi.http import HttpRequest, HttpResponse

__all__ = ["check_request", "check_response"]

# Visible characters, blanks and obs-text (0x80 to 0xFF); no other control character than the tab.
_FIELD_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PATH: Final = re.compile(r"/[\x21-\x22\x24-\x3e\x40-\x7e]*")  # No blank, no "#", no "?".
_QUERY: Final = re.compile(r"[\x21-\x22\x24-\x7e]*")
_FIRST_FINAL_STATUS: Final = 200
_SHOWN_CHARS: Final = 80


def check_request(request: HttpRequest, *, before: HttpRequest) -> None:
    """Check that what a handler changed in a request can be part of a real one.

    Parts equal to those of `before` came from the server and are not judged.

    Raises:
        HookTypeError: Naming the part and what was found.
    """
    if request.path != before.path:
        _match("path", request.path, _PATH, "a percent-encoded path that starts with '/'")
    if request.query != before.query:
        _match("query", request.query, _QUERY, "a percent-encoded query without '#'")
    if request.headers != before.headers:
        _check_headers(request.headers)


def check_response(response: HttpResponse, *, before: HttpResponse | None = None) -> None:
    """Check that a response can be sent.

    Headers equal to those of `before` came from the application and are not judged.

    Raises:
        HookTypeError: Naming the part and what was found.
    """
    if response.status < _FIRST_FINAL_STATUS:
        raise _refuse("status", response.status, "a final status code from 200 to 599")
    if before is None or response.headers != before.headers:
        _check_headers(response.headers)


def _check_headers(headers: tuple[tuple[str, str], ...]) -> None:
    for name, value in headers:
        _match(
            f"value of header {name}", value, _FIELD_VALUE, "characters up to U+00FF on one line"
        )


def _match(part: str, text: str, pattern: re.Pattern[str], expected: str) -> None:
    if not pattern.fullmatch(text):
        raise _refuse(part, text, expected)


def _refuse(part: str, found: object, expected: str) -> HookTypeError:
    return HookTypeError(
        f"the {part} of the message is {repr(found)[:_SHOWN_CHARS]}, not {expected}",
        code="http.invalid",
        hint="unload the plugin that gave this back, or report it to its author",
    )
