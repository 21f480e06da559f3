"""The names that a TLS client asks for, which are to be the one that it connected to.

On a front end that many names share, a client can connect to one that it may and ask for another
one inside ("domain fronting"). What says so is in the clear: the extension server_name of each
ClientHello, RFC 6066 section 3 and RFC 8446 section 4.1.2.
"""

from __future__ import annotations

from typing import Final

from pluginapi.network_target import normal_name

__all__ = ["ClientHellos", "HelloRefused"]

_HEADER: Final = 5
_MOST_RECORD: Final = (1 << 14) + 2048
_MOST_HELLO: Final = 1 << 15
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION = 20, 21, 22, 23
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_EARLY_DATA: Final = 42
_ENCRYPTED_HELLO: Final = 0xFE0D  # draft-ietf-tls-esni
_FIXED: Final = 34  # legacy_version, random


class HelloRefused(Exception):
    """What a client sends is not what it may: the text says why."""


class ClientHellos:
    """Look at what a client sends until it is encrypted; not thread-safe.

    Args:
        name: The only name that it may ask for, in its normal form.
        allow_encrypted: Whether it may send an encrypted ClientHello beside, in which another name
            can be that nobody but the server sees.
    """

    def __init__(self, name: str, *, allow_encrypted: bool = False) -> None:
        self._name = name
        self._allow_encrypted = allow_encrypted
        self._buffer = b""
        self._held = b""
        self._hello = b""
        self._seen = False
        self._done = False
        self._early = False

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; return what may go on to the server.

        A ClientHello goes on when it is there whole and was looked at. One that comes later in the
        clear, as after a HelloRetryRequest, is looked at like the first.

        Raises:
            HelloRefused: It is not TLS, asks for no name or another one, or for what cannot be
                seen.
        """
        if self._done:
            return data
        self._buffer += data
        passed = b""
        while not self._is_done() and len(self._buffer) >= _HEADER:
            kind = self._buffer[0]
            size = int.from_bytes(self._buffer[3:5], "big")
            if not self._seen and (kind != _HANDSHAKE or self._buffer[1] != 3):  # noqa: PLR2004
                raise HelloRefused("what it sends is not TLS")
            if size > _MOST_RECORD:
                raise HelloRefused("a record of TLS is too large")
            if len(self._buffer) < _HEADER + size:
                break
            record, self._buffer = (
                self._buffer[: _HEADER + size],
                self._buffer[_HEADER + size :],
            )
            self._held += record
            self._look(kind, record[_HEADER:])
            if not self._hello:
                passed, self._held = passed + self._held, b""
        if self._is_done():
            passed, self._buffer = passed + self._buffer, b""
        elif len(self._held) > _MOST_HELLO + _MOST_RECORD:
            raise HelloRefused("its ClientHello is too large")
        return passed

    def _is_done(self) -> bool:
        return self._done

    def _look(self, kind: int, payload: bytes) -> None:
        if kind == _HANDSHAKE and not payload:
            # RFC 8446, section 5.1: there are none.
            raise HelloRefused("a record of TLS is empty")
        if self._hello:
            if kind != _HANDSHAKE:
                raise HelloRefused("its ClientHello is interrupted")
            self._collect(payload)
        elif not self._seen:
            self._collect(payload)
        elif kind == _HANDSHAKE:
            # Another one; or a message of TLS 1.2, encrypted or not, after which there is none in
            # the clear. One that is encrypted looks like a hello once in 262,144 times.
            size = int.from_bytes(payload[1:4], "big")
            if payload[:1] == bytes([_CLIENT_HELLO]) and size <= _MOST_HELLO:
                self._collect(payload)
            else:
                self._done = True
        elif kind in (_CHANGE_CIPHER_SPEC, _ALERT) or (kind == _APPLICATION and self._early):
            # A server that asks for another hello passes over early data, section 4.2.10.
            return
        else:
            self._done = True

    def _collect(self, payload: bytes) -> None:
        self._hello += payload
        if len(self._hello) < 4:  # noqa: PLR2004 - type and length
            return
        size = int.from_bytes(self._hello[1:4], "big")
        if self._hello[0] != _CLIENT_HELLO or size > _MOST_HELLO:
            raise HelloRefused("what it sends first is no ClientHello")
        if len(self._hello) < 4 + size:
            return
        if len(self._hello) > 4 + size:
            raise HelloRefused("something follows its ClientHello")
        try:
            self._check(self._hello[4:])
        except (IndexError, ValueError) as err:
            raise HelloRefused("its ClientHello is malformed") from err
        self._hello = b""
        self._seen = True

    def _check(self, body: bytes) -> None:
        names: list[bytes] = []
        self._early = False
        for kind, data in _extensions(body):
            if kind == _ENCRYPTED_HELLO and not self._allow_encrypted:
                raise HelloRefused("it sends an encrypted ClientHello, whose name cannot be seen")
            self._early = self._early or kind == _EARLY_DATA
            if kind == _SERVER_NAME:
                (listed, rest) = _vector(data, 2)
                kind_of_name, name = listed[0], _vector(listed[1:], 2)
                if rest or name[1] or kind_of_name != 0:
                    raise ValueError("more than one name")
                names.append(name[0])
        if not names:
            raise HelloRefused("it asks for no name by TLS")
        if len(names) > 1:
            raise ValueError("two lists of names")
        try:
            asked = normal_name(names[0].decode("ascii"))
        except ValueError as err:
            raise HelloRefused("it asks for what is no name by TLS") from err
        if asked != self._name:
            raise HelloRefused(f"it asks for {asked} by TLS")


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    """Split off a vector with a length of so many bytes before it."""
    size = int.from_bytes(data[:width], "big")
    if len(data) < width + size:
        raise ValueError("it ends early")
    return data[width : width + size], data[width + size :]


def _extensions(body: bytes) -> list[tuple[int, bytes]]:
    if len(body) < _FIXED:
        raise ValueError("it ends early")
    rest = body[_FIXED:]
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        _, rest = _vector(rest, width)
    if not rest:
        return []
    listed, rest = _vector(rest, 2)
    if rest:
        raise ValueError("something follows its extensions")
    found = []
    while listed:
        kind = int.from_bytes(listed[:2], "big")
        data, listed = _vector(listed[2:], 2)
        found.append((kind, data))
    return found
