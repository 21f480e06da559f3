"""Messages of netlink(7), by which links and rules of the firewall are made."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable
from typing import Final, Self

from pluginapi.errors import SandboxError

__all__ = ["ACK", "CREATE", "EXCLUSIVE", "Netlink", "attribute", "message", "nested", "text"]

# <linux/netlink.h>
_REQUEST: Final = 0x1
ACK: Final = 0x4
EXCLUSIVE: Final = 0x200
CREATE: Final = 0x400
_ERROR: Final = 2
_NESTED: Final = 0x8000
_SOL_NETLINK: Final = 270
_EXT_ACK: Final = 11
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CAPPED: Final = 0x100
_HAS_TEXT: Final = 0x200
_MESSAGE_ATTRIBUTE: Final = 1
_BUFFER: Final = 1 << 20
_SECONDS: Final = 10.0


def attribute(kind: int, data: bytes) -> bytes:
    """Return an attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a text and the byte 0 behind it."""
    return attribute(kind, value.encode() + b"\0")


def message(kind: int, flags: int, body: bytes) -> bytes:
    """Return a request; ``flags`` are those of netlink(7) besides NLM_F_REQUEST."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 0, 0) + body


class Netlink:
    """A socket of netlink; not thread-safe.

    Args:
        protocol: NETLINK_*.
    """

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.settimeout(_SECONDS)
        with contextlib.suppress(OSError):
            # Where the kernel is too old for texts in its answers, there are none.
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    def ask(self, what: str, *messages: bytes, awaited: int | None = None) -> None:
        """Send requests in one go, of which those with ACK are answered, and await the answers.

        Args:
            what: What failed, for the error.
            messages: One request each, or several where ``awaited`` is given.
            awaited: How many of the requests have ACK.

        Raises:
            SandboxError: With code ``network.netlink`` for the first that failed; the message has
                what the kernel says of it.
        """
        error = self.attempt(*messages, awaited=awaited)
        if error is not None:
            number, told = error
            raise SandboxError(
                f"{what}: {os.strerror(number)}" + (f" ({told})" if told else ""),
                code="network.netlink",
                layer="network",
                hint="links and rules of the firewall take root, veth and nf_tables",
                errno=number,
            )

    def attempt(self, *messages: bytes, awaited: int | None = None) -> tuple[int, str] | None:
        """Do as `ask`; return the errno value and text of the first that failed, or None."""
        if awaited is None:
            awaited = sum(_HEADER.unpack_from(each)[2] & ACK != 0 for each in messages)
        try:
            self._socket.sendto(b"".join(messages), (0, 0))
        except OSError as err:
            return err.errno or 0, ""
        while awaited:
            try:
                data = self._socket.recv(_BUFFER)
            except OSError as err:
                return err.errno or errno.ETIMEDOUT, ""
            for number, told in _answers(data):
                awaited -= 1
                if number:
                    # A batch that fails has no other answers than its errors.
                    self._drain()
                    return number, told
        return None

    def _drain(self) -> None:
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(_BUFFER)
        self._socket.settimeout(_SECONDS)

    def close(self) -> None:
        """Close it; idempotent."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answers(data: bytes) -> Iterable[tuple[int, str]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        if kind == _ERROR:
            (number,) = struct.unpack_from("=i", data, at + _HEADER.size)
            yield -number, _told(data[at : at + size], flags)
        at += size + (-size % 4)


def _told(answer: bytes, flags: int) -> str:
    """Return the text of an answer: behind the request, which may be there whole."""
    if not flags & _HAS_TEXT:
        return ""
    at = _HEADER.size + 4
    (request,) = struct.unpack_from("=I", answer, at)
    at += _HEADER.size if flags & _CAPPED else request + (-request % 4)
    while at + _ATTRIBUTE.size <= len(answer):
        size, kind = _ATTRIBUTE.unpack_from(answer, at)
        if size < _ATTRIBUTE.size:
            break
        if kind == _MESSAGE_ATTRIBUTE:
            return answer[at + 4 : at + size].rstrip(b"\0").decode("ascii", "replace")
        at += size + (-size % 4)
    return ""
