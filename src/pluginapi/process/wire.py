"""The messages between a host and the processes that start its workers.

The layout is that of `src/_native/worker/nursery.h`: one SOCK_SEQPACKET message each, in the byte
order of the machine, with descriptors where it says so.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from enum import IntFlag
from typing import Final, NamedTuple

__all__ = [
    "APPLY",
    "CELL",
    "ENDED",
    "FAILED",
    "MADE",
    "MESSAGE",
    "MOST_FDS",
    "READY",
    "REFUSED",
    "SPARE",
    "SPAWN",
    "STARTED",
    "TEMPLATE",
    "Message",
    "SpawnFlag",
    "receive",
    "send",
]

MESSAGE: Final = struct.Struct("=IIiii28s")
SPAWN: Final = 1
READY: Final = 2
STARTED: Final = 3
FAILED: Final = 4
ENDED: Final = 5
CELL: Final = 6
TEMPLATE: Final = 7
APPLY: Final = 8
MADE: Final = 9
REFUSED: Final = 10
MOST_FDS: Final = 200
"""Descriptors that a message has at most."""

SPARE: Final = 1
"""``code`` of a SPAWN for a worker that nobody waits for."""


class SpawnFlag(IntFlag):
    """``status`` of a SPAWN: which descriptors follow the first three, in this order."""

    PLAN = 1
    COMMAND = 2
    LOCKED = 4
    CGROUP = 8
    CELL = 16
    PID = 32
    """No descriptor: the process is of the cell's PID namespace."""
    SHOWN = 64
    """No descriptor: the root shows the worker's program."""
    STRICT = 128
    """No descriptor: what it is locked by leaves the worker read, write and its end."""


class Message(NamedTuple):
    """One message.

    Attributes:
        op: What it says.
        id: Of the SPAWN that it is about.
        pid: The worker, where there is one. CELL: CLONE_NEW*. FAILED, REFUSED: 1 more than the
            number of the plan's step, or 0.
        code: SPAWN: 0, or SPARE. CELL: a user. ENDED: ``si_code`` of waitid(2).
        status: SPAWN: `SpawnFlag`. CELL: a group. ENDED: ``si_status``; FAILED, REFUSED: an errno
            value.
        text: FAILED, REFUSED: what failed.
    """

    op: int
    id: int = 0
    pid: int = 0
    code: int = 0
    status: int = 0
    text: str = ""

    def pack(self) -> bytes:
        """Return the message as it is sent."""
        text = self.text.encode("ascii", "replace")[:27]
        return MESSAGE.pack(self.op, self.id, self.pid, self.code, self.status, text)

    @classmethod
    def unpack(cls, data: bytes) -> Message:
        """Read a message of the right size."""
        op, id_, pid, code, status, text = MESSAGE.unpack(data)
        return cls(op, id_, pid, code, status, text.partition(b"\0")[0].decode("ascii", "replace"))


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send a message with descriptors, without waiting; raises OSError."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([message.pack()], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def receive(sock: socket.socket, most_fds: int) -> tuple[Message | None, list[int]]:
    """Take a message and its descriptors, which are not inheritable, without waiting.

    Returns None in its place at the end of the socket, or for what is no message. Raises OSError.
    """
    # Not socket.recv_fds: it passes no flags on (CPython 3.11).
    space = socket.CMSG_LEN(most_fds * 4)
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    data, ancillary, _, _ = sock.recvmsg(MESSAGE.size + 1, space, flags)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % 4])
            fds += numbers
    if len(data) != MESSAGE.size:
        for fd in fds:
            os.close(fd)
        return None, []
    return Message.unpack(data), fds
