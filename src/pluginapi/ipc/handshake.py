"""How a host receives a worker: its greeting, who it is, and the welcome.

The layout of both messages is told in `src/_native/kernels/channel/join.h`.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, NamedTuple

from pluginapi._native import _channel
from pluginapi.errors import IpcError, IpcProtocolError
from pluginapi.ipc.peer import (
    check_child,
    check_user,
    forbid_descriptors,
    peer_credentials,
    receive_exactly,
)
from pluginapi.ipc.settings import ChannelSettings

__all__ = ["Greeting", "Memory", "greeted", "welcome"]

_HEADER: Final = struct.Struct("<IBBHQ")
_HELLO: Final = struct.Struct("<IHHII")
_WELCOME: Final = struct.Struct("<IHHIIQQQQ")
_HELLO_HEADER: Final = (_HELLO.size, 1, 0, 0, 0)
_HINT: Final = "start the worker that comes with this version of pluginapi"


class Greeting(NamedTuple):
    """What a worker said of itself, and who it is.

    Attributes:
        features: Bits of what it can do.
        pid: Its process id, or None where the platform does not tell.
    """

    features: int
    pid: int | None


class Memory(NamedTuple):
    """What host and worker share: a memory file, or -1, and its capacities.

    Attributes:
        fd: The memory file.
        capacity: Bytes of each ring.
        area_capacity: Bytes of each payload area.
        spin_ns: How long both sides spin.
    """

    fd: int
    capacity: int
    area_capacity: int
    spin_ns: int


def greeted(sock: socket.socket, pidfd: int | None, uid: int | None) -> Greeting:
    """Receive a worker's greeting and check who sent it.

    Raises:
        IpcProtocolError: When it is another process or user, or says anything else.
    """
    data, sender = receive_exactly(sock, _HEADER.size + _HELLO.size, credentials=True)
    if sender is None:
        sender, found = peer_credentials(sock)
        if found >= 0:
            os.close(found)
    if pidfd is not None:
        check_child(sender, pidfd)
    if pidfd is None or uid is not None:
        check_user(sender, os.geteuid() if uid is None else uid)
    magic, lowest, highest, features, _ = _HELLO.unpack_from(data, _HEADER.size)
    if _HEADER.unpack_from(data) != _HELLO_HEADER or magic != _channel.MAGIC:
        raise IpcProtocolError("the worker's first message is no greeting", hint=_HINT)
    if not lowest <= _channel.PROTOCOL_VERSION <= highest:
        raise IpcProtocolError(
            f"the worker speaks versions {lowest} to {highest} of the protocol, this host "
            f"speaks {_channel.PROTOCOL_VERSION}",
            code="ipc.version",
            hint=_HINT,
        )
    return Greeting(features, sender.pid or None)


def welcome(sock: socket.socket, greeting: Greeting, settings: ChannelSettings) -> Memory:
    """Answer a greeting; the memory file that is returned is the caller's to close."""
    shared = settings.shared and _channel.CAN_SHARE and bool(greeting.features & _channel.SHARED)
    capacity, area = (settings.ring_bytes, settings.area_bytes) if shared else (0, 0)
    spin_ns = settings.spin_ns(greeting.pid)
    body = _WELCOME.pack(
        *(_channel.MAGIC, _channel.PROTOCOL_VERSION, 0, _channel.SHARED if shared else 0),
        *(settings.max_message_bytes, capacity, area, spin_ns, 0),
    )
    data = _HEADER.pack(len(body), *_HELLO_HEADER[1:]) + body
    if hasattr(socket, "SO_PASSCRED"):
        # It costs something with every message, and was needed for the first one only.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    forbid_descriptors(sock)
    fd = _channel.make_memory(_channel.ring_bytes(capacity, area)) if shared else -1
    try:
        _send(sock, data, fd)
    except BaseException:
        if fd >= 0:
            os.close(fd)
        raise
    return Memory(fd, capacity, area, spin_ns)


def _send(sock: socket.socket, data: bytes, fd: int) -> None:
    sent = sock.send(data) if fd < 0 else socket.send_fds(sock, [data], [fd])
    # So few bytes are taken whole by a socket that nothing was written to.
    if sent != len(data):
        raise IpcError("the welcome was not sent whole", hint="this is a fault of the kernel")
