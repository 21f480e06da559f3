"""Which connections of this network are open, by the inodes of their sockets: sock_diag(7)."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from pluginapi.errors import SandboxError

__all__ = ["open_sockets"]

# <linux/netlink.h>, <linux/sock_diag.h>, <linux/inet_diag.h>
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")
_TCP: Final = 6
# Not those that wait for the other side alone, nor those that listen: states 6, 7 and 10.
_STATES: Final = 0xFFF & ~(1 << 6 | 1 << 7 | 1 << 10)
_INODE_AT: Final = 68
_MESSAGE: Final = 72
_ROOM: Final = 1 << 16


def open_sockets() -> frozenset[int]:
    """Return the inodes of the TCP sockets of this network namespace that somebody has open.

    A socket whose last descriptor was closed has none, though the connection may last.

    Raises:
        SandboxError: With code ``sandbox.failed`` when the kernel does not say.
    """
    found: set[int] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack("=BBBBI48s", family, _TCP, 0, 0, _STATES, bytes(48))
            head = _HEADER.pack(
                _HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0
            )
            try:
                diag.send(head + request)
                while _take(diag.recv(_ROOM), found):
                    pass
            except OSError as err:
                raise SandboxError(
                    f"the kernel does not tell the open connections: {err.strerror}",
                    code="sandbox.failed",
                    layer="network",
                    hint="the kernel needs CONFIG_INET_DIAG",
                ) from err
    return frozenset(found)


def _take(data: bytes, found: set[int]) -> bool:
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
            found.add(inode)
        at += max(size + 3 & ~3, _HEADER.size)
    return True
