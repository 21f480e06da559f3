"""Give verified bytes a path that ``dlopen`` accepts and that nobody else can change."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from pluginapi.errors import InvalidPlugin, IoError, UnsupportedPlatform
from pluginapi.security.hashing import hash_file

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PrivateCopy", "SealedCopy", "SealedMemfd", "make_sealed_copy", "read_sealed"]

# <linux/memfd.h>, Linux 6.3: no execute permission on the file, so that nothing can be started
# from it. Mapping it executable, which is what dlopen does, does not need that permission.
_MFD_NOEXEC_SEAL: Final = 0x0008


class SealedCopy(Protocol):
    """Hold an unchangeable copy of some bytes until `close`.

    The path is valid in this process only, and only until then.
    """

    @property
    def path(self) -> Path:
        """Where to open the copy."""

    def fileno(self) -> int:
        """Return the descriptor of the copy, read-only in effect."""

    def close(self) -> None:
        """Release the copy; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class _Copy:
    """The descriptor that both kinds of copy own."""

    _fd: int = -1

    def fileno(self) -> int:
        """Return the descriptor of the copy; ValueError after `close`."""
        if self._fd < 0:
            raise ValueError("the copy is closed")
        return self._fd

    def close(self) -> None:
        """Release the copy; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


if sys.platform == "linux":
    import fcntl

    _SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

    class SealedMemfd(_Copy):
        """Hold bytes in an anonymous file that the kernel lets nobody change (memfd_create(2)).

        Sealed against writing, growing, shrinking and further seals (fcntl(2), F_ADD_SEALS), not
        inherited by children. The seals are read back: a kernel that did not apply them is an
        error.

        Raises:
            IoError: The kernel refused a call.
        """

        def __init__(self, data: bytes, name: str = "plugin") -> None:
            try:
                self._fd = _memfd(name)
                with open(self._fd, "wb", closefd=False) as stream:
                    stream.write(data)
                fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
                seals = fcntl.fcntl(self._fd, fcntl.F_GET_SEALS)
                size = os.fstat(self._fd).st_size
            except OSError as err:
                self.close()
                raise IoError(
                    f"no sealed memory file of {len(data)} bytes: {err}",
                    hint="see memfd_create(2): free memory and descriptors, sysctl vm.memfd_noexec",
                ) from err
            if seals & _SEALS != _SEALS or size != len(data):
                self.close()
                raise IoError(
                    f"the memory file has seals {seals:#x} and {size} bytes, "
                    f"not {_SEALS:#x} and {len(data)}",
                    hint="the kernel did not seal it: report its version",
                )

        @property
        def path(self) -> Path:
            """``/proc/self/fd/N``, valid in this process until `close`."""
            return Path(f"/proc/self/fd/{self.fileno()}")

    def read_sealed(handoff: socket.socket) -> bytes:
        """Receive a `SealedMemfd` over a socket, which is closed, and return its bytes.

        Raises:
            IoError: Nothing was handed over, or a file that somebody could still change.
        """
        try:
            with handoff:
                _, fds, _, _ = socket.recv_fds(handoff, 1, 1)
            if fds:
                with open(fds[0], "rb", buffering=0) as stream:  # noqa: PTH123 - a descriptor
                    seals = fcntl.fcntl(stream, fcntl.F_GET_SEALS)
                    if seals & _SEALS == _SEALS:
                        stream.seek(0)
                        return stream.readall()
        except OSError as err:
            raise IoError(
                f"the plugin was not handed over: {err}", hint="this is a fault of the library"
            ) from err
        found = f"a file with the seals {seals:#x}, not {_SEALS:#x}" if fds else "no file"
        raise IoError(f"{found} was handed over", hint="this is a fault of the library")

    def _memfd(name: str) -> int:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        try:
            return os.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
        except OSError:
            # EINVAL before Linux 6.3, which has no such flag and no such permission to lose.
            return os.memfd_create(name, flags)


else:

    def read_sealed(handoff: socket.socket) -> bytes:
        """Refuse: there are no sealed memory files here."""
        raise UnsupportedPlatform(
            f"{sys.platform} has no sealed memory files to receive from {handoff!r}",
            hint="run plugins inside of the host's process",
        )


class PrivateCopy(_Copy):
    """Hold bytes in a file (0500) of a fresh directory (0700) of this user.

    For platforms without sealed memory files. The copy is hashed again through the descriptor that
    stays open, after it was made read-only; what differs is refused. Another process of the same
    user, and root, can still change it: a sealed memory file is stronger.

    Raises:
        IoError: The file could not be written.
        InvalidPlugin: Code ``file.changed`` when the copy does not have the expected hash.
    """

    def __init__(self, data: bytes, sha3_512: str, name: str = "plugin.so") -> None:
        self._directory: Path | None = None
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="pluginapi-"))
            target = self._directory / Path(name).name
            with os.fdopen(os.open(target, _WRITE_FLAGS, 0o600), "wb") as stream:
                stream.write(data)
            target.chmod(0o500)
            self._fd = os.open(target, _READ_FLAGS)
            self._path = target
            found = hash_file(self._fd)
        except OSError as err:
            self.close()
            raise IoError(
                f"no private copy of {len(data)} bytes in {tempfile.gettempdir()}: {err}",
                hint="free space there, or set TMPDIR to a directory that you can write",
            ) from err
        if found != sha3_512:
            self.close()
            raise InvalidPlugin(
                f"the private copy has the hash {found[:16]}…, not {sha3_512[:16]}…",
                code="file.changed",
                hint="another process of this user changed it: find out which",
            )

    @property
    def path(self) -> Path:
        """The path of the copy, valid until `close`."""
        self.fileno()
        return self._path

    def close(self) -> None:
        """Delete the copy and its directory; a second call does nothing."""
        super().close()
        directory, self._directory = self._directory, None
        if directory is not None:
            for entry in directory.iterdir():
                entry.unlink()
            directory.rmdir()


_READ_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)
_WRITE_FLAGS: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def make_sealed_copy(
    data: bytes, sha3_512: str, name: str, *, private_copy: bool = False
) -> SealedCopy:
    """Copy bytes to where only this process can reach them.

    A `SealedMemfd` on Linux, a `PrivateCopy` elsewhere or when ``private_copy`` asks for it. Which
    one depends on the platform only: a failure is an error, never a weaker copy.
    """
    if sys.platform == "linux" and not private_copy:
        return SealedMemfd(data, name)
    return PrivateCopy(data, sha3_512, name)
