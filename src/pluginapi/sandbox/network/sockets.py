"""Which connections of this network are open, and what went over them: sock_diag(7)."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, NamedTuple

from pluginapi.errors import SandboxError
from pluginapi.sandbox.network.netlink import message

__all__ = ["Traffic", "open_sockets"]

# <linux/netlink.h>, <linux/sock_diag.h>, <linux/inet_diag.h>
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")
_TCP: Final = 6
# Not those that wait for the other side alone, nor those that listen: states 6, 7 and 10.
_STATES: Final = 0xFFF & ~(1 << 6 | 1 << 7 | 1 << 10)
_INODE_AT: Final = 68
_MESSAGE: Final = 72
_ROOM: Final = 1 << 16
_INFO: Final = 2  # INET_DIAG_INFO
_ATTRIBUTE: Final = struct.Struct("=HH")
# In struct tcp_info: tcpi_bytes_acked and tcpi_bytes_received, Linux 4.1.
_TRAFFIC: Final = struct.Struct("=QQ")
_TRAFFIC_AT: Final = 120


class Traffic(NamedTuple):
    """What went over a connection.

    Attributes:
        sent: Bytes that the other side has acknowledged.
        received: Bytes that came from it.
    """

    sent: int
    received: int


def open_sockets() -> dict[int, Traffic]:
    """Return the TCP sockets of this network namespace that somebody has open, by their inodes.

    A socket whose last descriptor was closed has none, though the connection may last.

    Raises:
        SandboxError: With code ``sandbox.failed`` when the kernel does not say.
    """
    found: dict[int, Traffic] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack(
                "=BBBBI48s", family, _TCP, 1 << (_INFO - 1), 0, _STATES, bytes(48)
            )
            try:
                diag.send(message(_SOCK_DIAG_BY_FAMILY, _DUMP, request))
                while _take(diag.recv(_ROOM), found):
                    pass
            except OSError as err:
                raise SandboxError(
                    f"the kernel does not tell the open connections: {err.strerror}",
                    code="sandbox.failed",
                    layer="network",
                    hint="the kernel needs CONFIG_INET_DIAG",
                ) from err
    return found


def _take(data: bytes, found: dict[int, Traffic]) -> bool:
    """Take the messages of one read; tell whether there are more."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _NLMSG_DONE:
            return False
        if kind == _NLMSG_ERROR:
            (number,) = struct.unpack_from("=i", data, at + _HEADER.size)
            raise OSError(-number, os.strerror(-number))
        if size >= _HEADER.size + _MESSAGE:
            (inode,) = struct.unpack_from("=I", data, at + _HEADER.size + _INODE_AT)
            found[inode] = _traffic(data[at + _HEADER.size : at + size], _MESSAGE)
        at += max(size + 3 & ~3, _HEADER.size)
    return True


def _traffic(told: bytes, at: int) -> Traffic:
    while at + _ATTRIBUTE.size <= len(told):
        size, kind = _ATTRIBUTE.unpack_from(told, at)
        if kind == _INFO and size >= _ATTRIBUTE.size + _TRAFFIC_AT + _TRAFFIC.size:
            acknowledged, received = _TRAFFIC.unpack_from(told, at + _ATTRIBUTE.size + _TRAFFIC_AT)
            # The first is the end of the handshake.
            return Traffic(max(acknowledged - 1, 0), received)
        at += max(size + 3 & ~3, _ATTRIBUTE.size)
    return Traffic(0, 0)
