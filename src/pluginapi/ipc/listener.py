"""A named socket for workers that somebody else starts."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final, NamedTuple, Self

from pluginapi.errors import IpcError, IpcProtocolError, PluginTimeout
from pluginapi.ipc.peer import Credentials, peer_credentials

__all__ = ["Accepted", "IpcListener"]

_LONGEST_PATH: Final = 100  # sun_path has 104 bytes on macOS, 108 on Linux


class Accepted(NamedTuple):
    """A connection from a worker that may connect.

    Attributes:
        sock: For `IpcChannel.accept`.
        credentials: Who connected, as the kernel knows it.
        pidfd: The process that connected, or -1 where the platform has none; the caller's to close.
    """

    sock: socket.socket
    credentials: Credentials
    pidfd: int


class IpcListener:
    """Wait for workers on a Unix socket that only one user can reach.

    The directory is made with mode 0700, or must be this user's alone already; the socket has mode
    0600. Who connects is checked by the kernel's word and refused unless it is an allowed user. A
    socket that a host left behind is replaced, one that is listened on is not.

    Args:
        path: Where the socket shall be; its directory is used for nothing else.
        uids: Users that may connect; that of this process by default.
        purpose: Who connects, for messages.

    Raises:
        IpcError: With code ``ipc.address`` when the place is not safe, or taken.
    """

    def __init__(
        self, path: Path, *, uids: frozenset[int] | None = None, purpose: str = "workers"
    ) -> None:
        self.path = path
        self._purpose = purpose
        self.uids = frozenset({os.geteuid()}) if uids is None else uids
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise self._unsafe(
                f"{path} is longer than {_LONGEST_PATH} bytes", "choose a shorter path"
            )
        self._prepare_directory()
        self._remove_stale()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody else can enter the directory: the mode of the socket comes second.
            sock.bind(os.fspath(path))
            path.chmod(0o600)
            sock.listen(16)
        except OSError as err:
            sock.close()
            raise self._unsafe(
                f"{path}: {err}", "choose a directory that this user can write"
            ) from err
        self._sock = sock
        self._inode = path.stat().st_ino

    def _prepare_directory(self) -> None:
        directory = self.path.parent
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            found = directory.lstat()
        except OSError as err:
            raise self._unsafe(f"{directory}: {err}", "make the directory above it first") from err
        if not stat.S_ISDIR(found.st_mode):
            raise self._unsafe(f"{directory} is no directory", "remove it, or choose another path")
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise self._unsafe(
                f"{directory} belongs to user {found.st_uid} with mode "
                f"{stat.S_IMODE(found.st_mode):04o}; others could put a socket of their own there",
                f"chmod 0700 {directory}, or let the host make a directory of its own",
            )

    def _remove_stale(self) -> None:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise self._unsafe(f"{self.path} is there and is no socket", "remove it")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(os.fspath(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
                return
            except OSError as err:
                raise self._unsafe(f"{self.path}: {err}", "remove it if no host uses it") from err
        raise self._unsafe(f"another process listens on {self.path}", "choose another path")

    def accept(self, timeout: float | None = None) -> Accepted:
        """Wait for a worker.

        Raises:
            PluginTimeout: With code ``ipc.handshake_timeout`` when none came in time.
            IpcProtocolError: With code ``ipc.identity`` when one came that may not.
        """
        self._sock.settimeout(timeout)
        try:
            sock, _ = self._sock.accept()
        except TimeoutError as err:
            raise PluginTimeout(
                f"no worker connected to {self.path} within {timeout} seconds",
                code="ipc.handshake_timeout",
                hint="start the worker, or look into its log",
            ) from err
        try:
            credentials, pidfd = peer_credentials(sock)
        except BaseException:
            sock.close()
            raise
        if credentials.uid not in self.uids:
            sock.close()
            if pidfd >= 0:
                os.close(pidfd)
            raise IpcProtocolError(
                f"process {credentials.pid} of user {credentials.uid} connected to {self.path}",
                code="ipc.identity",
                hint="start the worker as a user that the host allows",
            )
        return Accepted(sock, credentials, pidfd)

    def fileno(self) -> int:
        """Return the listening socket: readable when a worker waits."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop listening and remove the socket; idempotent."""
        if self._sock.fileno() < 0:
            return
        self._sock.close()
        try:
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            return

    def _unsafe(self, what: str, hint: str) -> IpcError:
        return IpcError(
            f"no socket for {self._purpose} can be made: {what}", code="ipc.address", hint=hint
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
