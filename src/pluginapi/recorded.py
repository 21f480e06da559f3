"""Read recorded HTTP requests: the exact bytes that real clients sent, for demo and benchmarks.

A recording is a file of JSON lines, one request each: ``client`` (program and version), ``address``
(where it connected from) and ``raw``, the bytes as received, each byte written as the character of
the same number (ISO 8859-1). ``examples/data/record.py`` makes such a file.

The parser is strict: what RFC 9112 allows a server to repair is refused here, for a recording is
data, and a request that two parsers read differently is an attack (RFC 9112 section 11.2).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pluginapi.errors import HookTypeError, IoError, PluginError
from pluginapi.http import HttpRequest

__all__ = ["RecordedRequestError", "load_recorded", "parse_recorded"]

_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])"
)
_FIELD_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e]*)?")
_LENGTH: Final = re.compile(r"[0-9]{1,12}")
_MAX_FILE_BYTES: Final = 64 * 1024 * 1024


class RecordedRequestError(PluginError, ValueError):
    """A recorded request, or the file of them, is malformed."""

    default_code = "recorded.invalid"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    client: str
    address: str
    raw: str


def parse_recorded(raw: bytes, *, client: str = "", request_id: str = "") -> HttpRequest:
    """Parse the bytes of exactly one HTTP/1.0 or HTTP/1.1 request (RFC 9112).

    Header names come out in lower case and chunked bodies in one piece, as from an ASGI server. Of
    an absolute target only path and query are kept; ``CONNECT`` and ``*`` keep theirs as the path.

    Args:
        raw: The request, with nothing before or after it.
        client: Address of the client.
        request_id: The name that handlers will see.

    Raises:
        RecordedRequestError: For anything else: a bare LF, folded or nameless headers, a missing
            or second Host, conflicting lengths, a short or long body.
    """
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        raise _malformed("the head has no end")
    request_line, *fields = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(request_line)
    if match is None:
        raise _malformed(f"the request line is {request_line[:80]!r}")
    headers = tuple(_parse_field(field) for field in fields)
    if match[3] == b"1" and len(_values(headers, "host")) != 1:
        raise _malformed("an HTTP/1.1 request has exactly one Host header")
    path, _, query = _origin_form(match[1], match[2].decode("latin-1")).partition("?")
    try:
        return HttpRequest(
            method=match[1].decode("ascii"),
            path=path,
            query=query,
            headers=headers,
            client=client,
            body=_parse_body(headers, body),
            request_id=request_id,
        )
    except HookTypeError as err:
        raise _malformed(err.message) from err


def load_recorded(path: str | os.PathLike[str]) -> list[HttpRequest]:
    """Read all requests of a recording of at most 64 MiB, in the order of the file.

    The id of each is ``recorded-`` and its line, counted from 1.

    Raises:
        RecordedRequestError: Naming the file and the line.
        IoError: When the file cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as err:
        raise IoError(
            f"the recording {path} cannot be read: {err.strerror}",
            hint="give the path of a recording, such as examples/data/requests.jsonl",
        ) from err
    if len(data) > _MAX_FILE_BYTES:
        raise RecordedRequestError(
            f"{path.name} is larger than {_MAX_FILE_BYTES} bytes", hint="split the recording"
        )
    requests = []
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = msgspec.json.decode(text, type=_Line)
            raw = line.raw.encode("latin-1")
            request = parse_recorded(raw, client=line.address, request_id=f"recorded-{number}")
        except (msgspec.DecodeError, UnicodeError, RecordedRequestError) as err:
            raise RecordedRequestError(
                f"{path.name}:{number}: {err}",
                hint="record the file again with examples/data/record.py",
            ) from err
        requests.append(request)
    return requests


def _parse_field(field: bytes) -> tuple[str, str]:
    name, colon, value = field.partition(b":")
    if not colon or not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
        raise _malformed(f"the header line {field[:80]!r} is not a name, a colon and a value")
    return name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")


def _values(headers: tuple[tuple[str, str], ...], wanted: str) -> list[str]:
    return [value for name, value in headers if name == wanted]


def _origin_form(method: bytes, target: str) -> str:
    if target.startswith("/") or (target == "*" and method == b"OPTIONS") or method == b"CONNECT":
        return target
    try:
        parts = urlsplit(target)
    except ValueError as err:
        raise _malformed(f"the target is {target[:80]!r}") from err
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise _malformed(f"the target is {target[:80]!r}")
    rest = target.split("://", 1)[1]
    start = min((rest.find(sign) for sign in "/?" if sign in rest), default=len(rest))
    return rest[start:] if rest[start:].startswith("/") else f"/{rest[start:]}"


def _parse_body(headers: tuple[tuple[str, str], ...], body: bytes) -> bytes:
    lengths = _values(headers, "content-length")
    codings = _values(headers, "transfer-encoding")
    if codings:
        if lengths or [coding.lower() for coding in codings] != ["chunked"]:
            raise _malformed("Transfer-Encoding is not 'chunked' alone, without Content-Length")
        return _parse_chunks(body)
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise _malformed(f"Content-Length is {', '.join(lengths)[:80]!r}")
    declared = int(lengths[0]) if lengths else 0
    if len(body) != declared:
        raise _malformed(f"the body has {len(body)} bytes, {declared} were declared")
    return body


def _parse_chunks(data: bytes) -> bytes:
    body = bytearray()
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        match = _CHUNK_SIZE.fullmatch(data[at:end]) if end >= 0 else None
        if match is None:
            raise _malformed(f"byte {at} of the body does not begin a chunk")
        size = int(match[1], 16)
        at = end + 2
        if size == 0:
            break
        if data[at + size : at + size + 2] != b"\r\n":
            raise _malformed(f"the chunk at byte {at} of the body is not as long as it says")
        body += data[at : at + size]
        at += size + 2
    # Trailers are checked and dropped, as ASGI servers do.
    if data[at:] != b"\r\n":
        trailers, separator, rest = data[at:].partition(b"\r\n\r\n")
        if not separator or rest:
            raise _malformed("the last chunk is not the end")
        for field in trailers.split(b"\r\n"):
            _parse_field(field)
    return bytes(body)


def _malformed(what: str) -> RecordedRequestError:
    return RecordedRequestError(what, hint="a recording holds well-formed HTTP/1.1 requests only")
