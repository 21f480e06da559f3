"""In a Python worker: let a refused connect say which rule it is that refuses it."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any, Final

__all__ = ["explain_refused_connects", "refusal_question"]

_SERVER: Final = ("127.0.0.1", 53)
_SECONDS: Final = 1.0
_MOST_BYTES: Final = 2048
_HEADER: Final = struct.Struct("!6H")
_TAIL: Final = struct.Struct("!2H")
_RECORD: Final = struct.Struct("!3HIH")
_TXT: Final = 16
_INTERNET: Final = 1
_RECURSION_DESIRED: Final = 0x0100


def refusal_question(address: str, port: int) -> bytes:
    """Return the query that asks the broker why a destination was refused: RFC 1035, section 4.

    Raises:
        ValueError: It is no address of IPv4 or IPv6.
    """
    packed = ipaddress.ip_address(address.partition("%")[0]).packed
    labels = (str(port), packed.hex(), "refused", "pluginapi", "invalid")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return _HEADER.pack(0, _RECURSION_DESIRED, 1, 0, 0, 0) + name + _TAIL.pack(_TXT, _INTERNET)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _text_of(answer: bytes, question: bytes) -> str | None:
    """Return the text of an answer to one question, or None when it has none."""
    at = len(question)
    if len(answer) < at + _RECORD.size or _HEADER.unpack_from(answer)[3] != 1:
        return None
    *_, size = _RECORD.unpack_from(answer, at)
    at += _RECORD.size
    parts = []
    end = at + size
    while at < end <= len(answer):
        parts.append(answer[at + 1 : at + 1 + answer[at]])
        at += 1 + answer[at]
    return b"".join(parts).decode("ascii", "replace") or None


def _why_refused(address: Any) -> str | None:
    """Ask the broker; None where there is no broker, or it has nothing to say of it."""
    try:
        host = address[0]
        if not _is_address(host):
            # As connect did itself; a name has the same address each time.
            host = socket.gethostbyname(host)
        question = refusal_question(host, address[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(_SECONDS)
            asking.connect(_SERVER)
            asking.send(question)
            return _text_of(asking.recv(_MOST_BYTES), question)
    except (OSError, ValueError, TypeError, IndexError, AttributeError, struct.error):
        # The refusal stands, and whoever connects gets it; only the reason is not to be had.
        return None


def explain_refused_connects() -> None:
    """Let `socket.connect` raise a PermissionError that names the rule, for this process.

    Whatever connects in Python goes through it: urllib, asyncio and what is built on them.
    """
    connect = socket.socket.connect

    def explained(self: socket.socket, address: Any, /) -> None:
        try:
            connect(self, address)
        except PermissionError as err:
            reason = None if self.family == socket.AF_UNIX else _why_refused(address)
            if reason is None:
                raise
            raise PermissionError(err.errno, reason) from err

    socket.socket.connect = explained  # type: ignore[assignment,method-assign]
