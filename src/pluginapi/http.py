"""The HTTP request and response that the predefined hooks carry."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from pluginapi.errors import HookTypeError

__all__ = ["MAX_BODY_BYTES", "MAX_HEADERS", "HttpRequest", "HttpResponse"]

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""The largest body that a hook carries, 64 MiB."""

MAX_HEADERS: Final = 1024
"""The most header lines of one message."""

_MAX_TEXT_CHARS: Final = 64 * 1024
_MAX_METHOD_CHARS: Final = 64
_MAX_ID_CHARS: Final = 256
_MAX_HEADER_NAME_CHARS: Final = 1024
_STATUS: Final = range(100, 600)

# RFC 9110, section 5.6.2: the characters of a method and of a field name.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110, section 5.5 forbids CR, LF and NUL in a field value: they would start another line.
_BREAKS_LINE: Final = re.compile(r"[\r\n\0]")


class _Message:
    """What a request and a response have in common."""

    __slots__ = ()

    if TYPE_CHECKING:
        headers: tuple[tuple[str, str], ...]
        body: bytes

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the value of the first header of this name, in any case, or the default."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), default)

    def header_list(self, name: str) -> tuple[str, ...]:
        """Return the values of all headers of this name, in any case and in their order."""
        wanted = name.lower()
        return tuple(value for key, value in self.headers if key.lower() == wanted)

    def _check_message(self) -> None:
        headers = _checked_headers(self.headers)
        if headers is not self.headers:
            msgspec.structs.force_setattr(cast("msgspec.Struct", self), "headers", headers)
        if not isinstance(self.body, bytes):
            raise _invalid(f"the body is {type(self.body).__name__}, not bytes", "encode the body")
        if len(self.body) > MAX_BODY_BYTES:
            raise _invalid(
                f"the body has {len(self.body)} bytes, more than {MAX_BODY_BYTES}",
                "stream large bodies past the hooks",
            )


class HttpRequest(_Message, msgspec.Struct, frozen=True, tag_field="type", tag="request"):
    """Hold one HTTP request. Immutable; `msgspec.structs.replace` makes a changed copy.

    Crosses to native and confined plugins as a msgpack map whose ``type`` is ``request``.

    Attributes:
        method: ``GET``, ``POST``, or any other token.
        path: The path of the target, percent-encoded as it was received.
        query: What follows the question mark, percent-encoded, without the question mark.
        headers: Name and value pairs in the order received, at most 1024; any iterable of pairs
            is accepted and kept as a tuple.
        client: Address of the peer, or empty where it is not known.
        body: At most 64 MiB.
        request_id: The same for a request and its response, unique within the host.

    Raises:
        HookTypeError: With code ``http.invalid`` when a field is malformed or out of bounds.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    client: str = ""
    body: bytes = b""
    request_id: str = ""

    def __post_init__(self) -> None:
        _check_text("method", self.method, _MAX_METHOD_CHARS)
        if not _TOKEN.fullmatch(self.method):
            raise _invalid(f"method {self.method!r} is not an HTTP token", "write 'GET' or 'POST'")
        _check_text("path", self.path, _MAX_TEXT_CHARS)
        _check_text("query", self.query, _MAX_TEXT_CHARS)
        _check_text("client", self.client, _MAX_ID_CHARS)
        _check_text("request_id", self.request_id, _MAX_ID_CHARS)
        self._check_message()

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    # A body or an Authorization header has no place in a log line or a traceback.
    def __repr__(self) -> str:
        return (
            f"<HttpRequest {self.method} {self.path!r}, {len(self.headers)} headers, "
            f"{len(self.body)} bytes>"
        )


class HttpResponse(_Message, msgspec.Struct, frozen=True, tag_field="type", tag="response"):
    """Hold one HTTP response. Immutable; `msgspec.structs.replace` makes a changed copy.

    Crosses to native and confined plugins as a msgpack map whose ``type`` is ``response``.

    Attributes:
        status: 100 to 599.
        headers: Name and value pairs in their order, at most 1024; any iterable of pairs is
            accepted and kept as a tuple.
        body: At most 64 MiB.
        request: The request that it answers, where the host knows it.

    Raises:
        HookTypeError: With code ``http.invalid`` when a field is malformed or out of bounds.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    request: HttpRequest | None = None

    def __post_init__(self) -> None:
        if type(self.status) is not int or self.status not in _STATUS:
            raise _invalid(f"status {self.status!r} is not from 100 to 599", "give an HTTP status")
        if self.request is not None and not isinstance(self.request, HttpRequest):
            raise _invalid(
                f"request is {type(self.request).__name__}, not HttpRequest",
                "give the request that is answered, or None",
            )
        self._check_message()

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status}, {len(self.headers)} headers, {len(self.body)} bytes>"


def _checked_headers(headers: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(headers, Iterable) or isinstance(headers, str | bytes):
        raise _invalid("headers are not a sequence of pairs", "write (('Accept', '*/*'),)")
    pairs = headers if isinstance(headers, tuple) else tuple(headers)
    if len(pairs) > MAX_HEADERS:
        raise _invalid(f"{len(pairs)} headers, more than {MAX_HEADERS}", "send fewer headers")
    if any(type(pair) is not tuple for pair in pairs):
        pairs = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in pairs)
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:  # noqa: PLR2004 - a pair
            raise _invalid(f"header {str(pair)[:80]!r} is not a pair", "write ('Accept', '*/*')")
        name, value = pair
        _check_text("header name", name, _MAX_HEADER_NAME_CHARS)
        if not _TOKEN.fullmatch(name):
            raise _invalid(f"header name {name[:80]!r} is not an HTTP token", "use letters and '-'")
        _check_text(f"header {name}", value, _MAX_TEXT_CHARS)
    return pairs


def _check_text(what: str, text: object, limit: int) -> None:
    if not isinstance(text, str):
        raise _invalid(f"{what} is {type(text).__name__}, not text", f"give {what} as text")
    if len(text) > limit:
        raise _invalid(f"{what} has {len(text)} characters, more than {limit}", "shorten it")
    if _BREAKS_LINE.search(text):
        raise _invalid(f"{what} contains CR, LF or NUL", "percent-encode or remove them")


def _invalid(message: str, hint: str) -> HookTypeError:
    return HookTypeError(message, code="http.invalid", hint=hint)
