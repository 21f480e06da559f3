"""Ports on which a plugin may be connected to: listening sockets of the host that it is given."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

from pluginapi.errors import SandboxConfigError

__all__ = ["PublishedPort", "listening_socket"]

_MOST_PORT: Final = 65_535
_EXAMPLES: Final = "write '8080', '127.0.0.1:8080', '[::1]:8080' or '192.0.2.1:80:8080'"


def _refuse(text: object, what: str) -> SandboxConfigError:
    return SandboxConfigError(f"published port {text!r:.80}: {what}", hint=_EXAMPLES)


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """Let a plugin listen on a TCP port, and say where on this host that is.

    Attributes:
        port: The port that the plugin binds, at whatever address of its own.
        address: The address of the host.
        host_port: The port of the host; 0 is the same.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` when a value is out of bounds.
    """

    port: int
    address: str = "127.0.0.1"
    host_port: int = 0

    def __post_init__(self) -> None:
        for value, least in ((self.port, 1), (self.host_port, 0)):
            if type(value) is not int or not least <= value <= _MOST_PORT:
                raise _refuse(value, f"no port from {least} to {_MOST_PORT}")
        try:
            plain = str(ipaddress.ip_address(self.address))
        except ValueError as err:
            raise _refuse(self.address, "no IP address") from err
        object.__setattr__(self, "address", plain)
        object.__setattr__(self, "host_port", self.host_port or self.port)

    @classmethod
    def parse(cls, text: str) -> PublishedPort:
        """Read ``[ADDRESS:[HOST_PORT:]]PORT``; IPv6 addresses are in brackets.

        Raises:
            SandboxConfigError: It is none.
        """
        if not isinstance(text, str):
            raise _refuse(text, "no text")
        address, rest = "127.0.0.1", text
        if text.startswith("["):
            address, closed, rest = text[1:].partition("]:")
            if not closed:
                raise _refuse(text, "no port after the address")
        elif ":" in text:
            address, _, rest = text.partition(":")
        numbers = rest.split(":")
        if len(numbers) > 2 or not all(  # noqa: PLR2004 - HOST_PORT:PORT
            each.isascii() and each.isdigit() and len(each) <= len(str(_MOST_PORT))
            for each in numbers
        ):
            raise _refuse(text, "no port number")
        host_port = int(numbers[0]) if len(numbers) > 1 else 0
        if len(numbers) > 1 and host_port == 0:
            raise _refuse(text, "no port number")
        return cls(int(numbers[-1]), address, host_port)

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.host_port}:{self.port}"


def listening_socket(published: PublishedPort) -> socket.socket:
    """Return a socket that listens there, not waiting; the caller's to close.

    Raises:
        OSError: Somebody else listens there, or the host may not.
    """
    six = ":" in published.address
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((published.address, published.host_port))
        made.listen(socket.SOMAXCONN)
    except BaseException:
        made.close()
        raise
    return made
