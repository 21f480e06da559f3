"""Descriptors that a process sends to the host while it is being started."""

from __future__ import annotations

import socket

from pluginapi.errors import SandboxError

__all__ = ["receive_descriptor"]


def receive_descriptor(over: socket.socket, what: str) -> int:
    """Take the one descriptor that was sent over a socket.

    Raises:
        SandboxError: With code ``sandbox.failed`` when there is none.
    """
    try:
        _, fds, _, _ = socket.recv_fds(over, 1, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    except OSError as err:
        raise _not_sent(what) from err
    if len(fds) != 1:
        raise _not_sent(what)
    return fds[0]


def _not_sent(what: str) -> SandboxError:
    return SandboxError(
        f"{what} was not sent to the host",
        layer="network",
        hint="the process may have been ended while it was started",
    )
