"""Who is at the other end: socket pairs, credentials, and the check against a process.

Linux: a worker inherits one end of a socket pair. SO_PEERCRED of such a socket names who made it,
so the first message is received with SCM_CREDENTIALS, which the kernel fills in, and compared with
the pidfd of the child. Of an accepted connection SO_PEERCRED and SO_PEERPIDFD are right. macOS has
neither: there getpeereid (LOCAL_PEERCRED) tells the user, and that is what is compared.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

from pluginapi.errors import IpcClosed, IpcProtocolError, PluginTimeout, UnsupportedPlatform

__all__ = [
    "Credentials",
    "check_child",
    "check_user",
    "forbid_descriptors",
    "make_pair",
    "peer_credentials",
    "receive_exactly",
]

_SO_PEERPIDFD: Final = 77  # <asm-generic/socket.h>, Linux 6.5
_SO_PASSRIGHTS: Final = 83  # <asm-generic/socket.h>, Linux 6.16
_UCRED: Final = struct.Struct("=iII")  # struct ucred of unix(7)
_SOL_LOCAL: Final = 0  # <sys/un.h> of macOS
_LOCAL_PEERCRED: Final = 1
_XUCRED: Final = struct.Struct("=IIh2x16I")  # struct xucred
_PID_LINE: Final = re.compile(r"^Pid:\s*(-?\d+)$", re.MULTILINE)


class Credentials(NamedTuple):
    """Say who sent a message, as the kernel knows it.

    Attributes:
        pid: Process id in this process's namespace; 0 where the platform does not tell.
        uid: Effective user.
        gid: Effective group.
    """

    pid: int
    uid: int
    gid: int


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return a connected pair: the host's end, and the one to hand to the worker.

    Neither is inherited unless that is asked for. On Linux what is sent to the host's end carries
    the sender's credentials from now on, until the channel is accepted.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise UnsupportedPlatform(
            "this platform has no Unix sockets",
            hint="use pluginapi.ipc.named_pipe on Windows",
        )
    host, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if sys.platform == "linux":
        host.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return host, worker


def forbid_descriptors(sock: socket.socket) -> None:
    """Let the kernel refuse descriptors that are sent to this socket (Linux 6.16).

    Older kernels take and discard them, since nobody here asks for them: nothing is missing there
    but the sender's error.
    """
    if sys.platform != "linux":
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError as err:
        if err.errno != errno.ENOPROTOOPT:
            raise


def receive_exactly(
    sock: socket.socket, size: int, *, credentials: bool
) -> tuple[bytes, Credentials | None]:
    """Receive so many bytes, by the socket's timeout, and who sent the first of them.

    Descriptors that come with them are closed at once.

    Raises:
        IpcClosed: When the peer is gone.
        PluginTimeout: When they did not come in time.
    """
    data = b""
    sender: Credentials | None = None
    while len(data) < size:
        try:
            if credentials and sys.platform == "linux":
                space = socket.CMSG_SPACE(_UCRED.size) + socket.CMSG_SPACE(64 * 4)
                part, ancillary, _, _ = sock.recvmsg(size - len(data), space)
                found = _sender(ancillary)
                sender = sender or found
            else:
                part = sock.recv(size - len(data))
        except TimeoutError as err:
            raise PluginTimeout(
                "the worker did not greet in time",
                code="ipc.handshake_timeout",
                hint="see the worker's log; a slow machine may need a longer start timeout",
            ) from err
        except ConnectionError as err:
            raise _gone() from err
        if not part:
            raise _gone()
        data += part
    return data, sender


def _gone() -> IpcClosed:
    return IpcClosed(
        "the worker ended before it greeted",
        code="ipc.disconnected",
        hint="see the worker's log for why it ended",
    )


def _sender(ancillary: list[tuple[int, int, bytes]]) -> Credentials | None:
    sender = None
    for level, kind, content in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_RIGHTS:
            whole = len(content) - len(content) % 4
            for fd in struct.unpack(f"={whole // 4}i", content[:whole]):
                os.close(fd)
        elif sys.platform == "linux" and kind == socket.SCM_CREDENTIALS:
            sender = Credentials(*_UCRED.unpack(content[: _UCRED.size]))
    return sender


if sys.platform == "linux":

    def peer_credentials(sock: socket.socket) -> tuple[Credentials, int]:
        """Return who connected to a listening socket, and a pidfd of that process or -1.

        The pidfd needs Linux 6.5; it is the caller's to close.
        """
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        credentials = Credentials(*_UCRED.unpack(raw))
        try:
            pidfd = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        except OSError:
            pidfd = -1
        return credentials, pidfd

elif sys.platform == "darwin":

    def peer_credentials(sock: socket.socket) -> tuple[Credentials, int]:
        """Return who connected to a listening socket; there are no pidfds here."""
        raw = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size)
        _, uid, _, *groups = _XUCRED.unpack(raw)
        return Credentials(0, uid, groups[0]), -1

else:

    def peer_credentials(sock: socket.socket) -> tuple[Credentials, int]:
        """Refuse: this platform does not tell who is at the other end of a socket."""
        raise UnsupportedPlatform(
            f"{sys.platform} does not tell who is at the other end of {sock!r}",
            hint="use Linux or macOS, or pluginapi.ipc.named_pipe on Windows",
        )


def check_child(sender: Credentials | None, pidfd: int) -> None:
    """Refuse a peer that is not the process of this pidfd.

    Raises:
        IpcProtocolError: With code ``ipc.identity``.
    """
    text = Path(f"/proc/self/fdinfo/{pidfd}").read_text("ascii")
    found = _PID_LINE.search(text)
    expected = int(found.group(1)) if found else 0
    if sender is None or expected <= 0 or sender.pid != expected:
        raise IpcProtocolError(
            f"the greeting came from process {sender.pid if sender else 'unknown'}, "
            f"not from the worker, process {expected}",
            code="ipc.identity",
            hint="another process holds the worker's end of the channel: find out which",
        )


def check_user(sender: Credentials, uid: int) -> None:
    """Refuse a peer that runs as another user.

    Raises:
        IpcProtocolError: With code ``ipc.identity``.
    """
    if sender.uid != uid:
        raise IpcProtocolError(
            f"the peer, process {sender.pid}, runs as user {sender.uid}, not {uid}",
            code="ipc.identity",
            hint="start the worker as the user that the host expects",
        )
