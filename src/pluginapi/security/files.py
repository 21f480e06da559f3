"""Read and write small secret files: bounded, private, atomic, locked."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pluginapi.errors import IoError, SecurityError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "FileRules", "create_file", "make_private_directory", "replace_file"]

_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_READ: Final = os.O_RDONLY | _CLOEXEC | getattr(os, "O_NONBLOCK", 0)
_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class FileRules:
    """How one kind of file is read and which errors it gives.

    Attributes:
        error: The class of the errors.
        prefix: What their codes begin with, for example ``key``.
        missing: The code when there is no file.
        what: The kind of file in words.
        limit: The largest size in bytes.
        private: Refuse a file that its group or others can access in any way.
        missing_hint: What to do when there is no file.
    """

    error: type[SecurityError]
    prefix: str
    missing: str
    what: str
    limit: int
    private: bool
    missing_hint: str

    def read(self, path: Path) -> tuple[bytes, os.stat_result]:
        """Open a file once and return all its bytes with what fstat said about it.

        Raises:
            SecurityError: The class `error`, with the codes ``<missing>``, ``<prefix>.invalid``
                (not a regular file), ``<prefix>.permissions`` and ``<prefix>.too_large``.
            IoError: When the operating system refuses.
        """
        try:
            descriptor = os.open(path, _READ)
        except FileNotFoundError as err:
            raise self.error(
                f"there is no {self.what} at {path}", code=self.missing, hint=self.missing_hint
            ) from err
        except OSError as err:
            raise self._io_error(path, err) from err
        try:
            status = os.fstat(descriptor)
            self._check(path, status)
            data = _read_at_most(descriptor, self.limit + 1)
        except OSError as err:
            raise self._io_error(path, err) from err
        finally:
            os.close(descriptor)
        if len(data) > self.limit:
            raise self._too_large(path)
        return data, status

    def _check(self, path: Path, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self.error(
                f"{path} is not a regular file, so not a {self.what}",
                code=f"{self.prefix}.invalid",
                hint=f"name the {self.what} itself",
            )
        mode = stat.S_IMODE(status.st_mode)
        if self.private and os.name == "posix" and mode & 0o077:
            raise self.error(
                f"{self.what} {path} has mode {mode:04o}: others than its owner have access",
                code=f"{self.prefix}.permissions",
                hint=f"chmod 600 {path}",
                path=str(path),
                mode=f"{mode:04o}",
            )
        if status.st_size > self.limit:
            raise self._too_large(path)

    def _too_large(self, path: Path) -> SecurityError:
        return self.error(
            f"{path} has more than {self.limit} bytes, so it is no {self.what}",
            code=f"{self.prefix}.too_large",
            hint=f"name the {self.what} itself",
        )

    def _io_error(self, path: Path, err: OSError) -> IoError:
        return IoError(
            f"{self.what} {path} cannot be read: {err.strerror}",
            hint="check that this user may read the file and every directory above it",
            path=str(path),
        )


class FileLock:
    """Hold an exclusive advisory lock on a file for the length of a ``with`` block.

    Works between processes and between threads. The lock file is made when missing and never
    removed: removing it would let two holders lock two different files of one name. The lock is
    released by the operating system when the holder dies.

    Args:
        path: The lock file, mode 0600.
        timeout: How many seconds to wait for another holder.
        on_timeout: Makes the error to raise when they are over.
    """

    def __init__(self, path: Path, timeout: float, on_timeout: Callable[[], Exception]) -> None:
        self._path = path
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._descriptor = -1

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | _CLOEXEC | _NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        deadline = time.monotonic() + self._timeout
        try:
            while not _try_lock(descriptor):
                self._wait(deadline)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def _wait(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise self._on_timeout()
        time.sleep(_POLL_SECONDS)

    def __exit__(self, *_: object) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Write a new file that appears whole or not at all and never replaces another.

    The data is on the disk when this returns. The file is written under a temporary name in the
    same directory and linked to its own; on a file system without hard links it is created in
    place and removed again when writing fails.

    Raises:
        FileExistsError: When something stands at the path, even a dangling link.
        OSError: When the operating system refuses; nothing is left behind.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    _write_new(temporary, data, mode)
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            _write_new(path, data, mode)
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Replace a file by a new one, atomically: readers see the old bytes or the new ones.

    The data is on the disk when this returns (write, fsync, rename, fsync of the directory).

    Raises:
        OSError: When the operating system refuses; the old file is intact, nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    _write_new(temporary, data, mode)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
    _sync_directory(path.parent)


def make_private_directory(path: Path) -> None:
    """Make a directory of mode 0700 with the directories above it; one that exists is kept.

    Raises:
        OSError: When it cannot be made; NotADirectoryError when a file stands in its place.
    """
    if path.is_dir():
        return
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as err:
        # The caller may be about to make a file: its name is not the one that is taken.
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from err


def _write_new(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink()
        raise


def _read_at_most(descriptor: int, limit: int) -> bytes:
    pieces: list[bytes] = []
    left = limit
    while left and (piece := os.read(descriptor, left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _sync_directory(path: Path) -> None:
        """Do nothing: NTFS writes directory entries through its journal."""

else:

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _sync_directory(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | _CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
