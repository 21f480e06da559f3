"""Read plugin files and the signature files beside them, each whole and through one open.

Symbolic links are followed once, by that open: what counts are the bytes it gave. Reading never
waits for a pipe or device, and no byte is read before the size is known to fit.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from pluginapi._native import _reading
from pluginapi._native._reading import ReadStatus
from pluginapi.errors import InvalidPlugin, IoError, PluginError

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "FileReader",
    "NativeReader",
    "PythonReader",
    "ReadFile",
    "check_size",
    "make_reader",
    "read_file",
]

MAX_ENVELOPE_BYTES: Final = 64 * 1024
"""The largest signature file that is read, 64 KiB."""

# O_NONBLOCK: opening a pipe that nobody writes to returns at once. O_NOCTTY: opening a terminal
# never makes it the controlling one.
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_FILE_TYPES: Final = {
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class ReadFile(NamedTuple):
    """A file as it was read.

    Attributes:
        data: The whole file.
        modified: Time of its last change in seconds since the epoch.
        envelope: The bytes of the signature file beside it, or None when there is none.
    """

    data: bytes | memoryview
    modified: float
    envelope: bytes | None


_Result: TypeAlias = "ReadFile | PluginError"
# What `Arena.read` tells of a file and of the signature file beside it.
_Pair: TypeAlias = "tuple[ReadStatus, int, memoryview | None, float, ReadStatus, int, bytes | None]"


def read_file(place: str, max_bytes: int) -> ReadFile:
    """Read a file and the signature file beside it.

    Raises:
        InvalidPlugin: The file cannot be a plugin; the code says why (``file.*``).
        IoError: There is no such file (``file.not_found``), or the system refused.
    """
    data, modified = _read(place, max_bytes)
    return ReadFile(data, modified, _read_envelope(place))


class FileReader(Protocol):
    """Reads many files into memory that it uses again."""

    @property
    def is_free(self) -> bool:
        """Whether nothing holds on to what was read last, so that more can be read."""

    def read(self, places: list[str], max_bytes: int, enough: int) -> list[_Result]:
        """Read files in order until they have `enough` bytes, one at least.

        Returns for each that was looked at what `read_file` returns, or the error that it raises.
        """


def make_reader() -> FileReader:
    """Return the reader for this platform."""
    return NativeReader() if os.name == "posix" else PythonReader()


class PythonReader:
    """Reads files one after the other; works on every platform."""

    is_free: Final = True

    def read(self, places: list[str], max_bytes: int, enough: int) -> list[_Result]:
        """Read files; see `FileReader`."""
        results: list[_Result] = []
        held = 0
        for place in places:
            if held >= enough:
                break
            try:
                found = read_file(place, max_bytes)
            except PluginError as err:
                results.append(err)
            else:
                results.append(found)
                held += len(found.data) + len(found.envelope or b"")
        return results


class NativeReader:
    """Reads files without the interpreter lock; what is read is viewed where it lies."""

    def __init__(self) -> None:
        self._arena = _reading.Arena()

    @property
    def is_free(self) -> bool:
        """Whether nothing holds on to what was read last, so that more can be read."""
        return not self._arena.is_viewed

    def read(self, places: list[str], max_bytes: int, enough: int) -> list[_Result]:
        """Read files; see `FileReader`."""
        found = self._arena.read(places, max_bytes, MAX_ENVELOPE_BYTES, enough)
        return [_result(place, max_bytes, pair) for place, pair in zip(places, found, strict=False)]


def _result(place: str, max_bytes: int, pair: _Pair) -> _Result:
    status, number, data, modified, envelope_status, envelope_number, envelope = pair
    if data is None:
        return _error_of(place, max_bytes, status, number, of_envelope=False)
    if envelope is not None or (
        envelope_status is ReadStatus.REFUSED and envelope_number in _MISSING
    ):
        return ReadFile(data, modified, envelope)
    place = _envelope_of(place)
    error = _error_of(place, MAX_ENVELOPE_BYTES, envelope_status, envelope_number, of_envelope=True)
    return _unusable_envelope(place, error) if isinstance(error, InvalidPlugin) else error


def _error_of(
    place: str, limit: int, status: ReadStatus, number: int, *, of_envelope: bool
) -> PluginError:
    error: PluginError | None
    match status:
        case ReadStatus.NOT_REGULAR:
            error = _not_regular(place, number)
        case ReadStatus.SIZE:
            error = _wrong_size(place, number, limit, of_envelope=of_envelope)
        case ReadStatus.CHANGED:
            error = _changed(place)
        case ReadStatus.NO_PATH:
            error = _no_path(place)
        case ReadStatus.REFUSED:
            refusal = OSError(number, os.strerror(number), place)
            error = _refused(place, refusal)
            error.__cause__ = refusal
        case _:
            error = None
    if error is None:
        raise AssertionError(f"reading {place} ended as {status.name} ({number})")
    return error


def check_size(path: str | Path, size: int, limit: int, *, of_envelope: bool = False) -> None:
    """Refuse an empty file and one that is larger than the limit."""
    error = _wrong_size(path, size, limit, of_envelope=of_envelope)
    if error is not None:
        raise error


def _wrong_size(
    path: str | Path, size: int, limit: int, *, of_envelope: bool
) -> InvalidPlugin | None:
    if size == 0:
        return InvalidPlugin(
            f"{path} is empty",
            code="file.envelope" if of_envelope else "file.empty",
            hint="the file is incomplete: copy or download it again",
            path=str(path),
        )
    if size > limit:
        hint = f"the limit is {limit} bytes"
        return InvalidPlugin(
            f"{path} has {size} bytes, more than {limit}",
            code="file.envelope" if of_envelope else "file.too_large",
            hint=f"{hint} for signature files" if of_envelope else f"{hint}; raise max_bytes",
            path=str(path),
            size=size,
            limit=limit,
        )
    return None


def _not_regular(path: str, mode: int) -> InvalidPlugin:
    return InvalidPlugin(
        f"{path} is a {_FILE_TYPES.get(stat.S_IFMT(mode), 'special file')}, not a file",
        code="file.not_regular",
        hint="name the plugin file itself",
        path=path,
    )


def _changed(path: str) -> InvalidPlugin:
    return InvalidPlugin(
        f"{path} changed while it was read",
        code="file.changed",
        hint="wait until it is written, or install it by renaming a finished file into place",
        path=path,
    )


_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


def _refused(path: str, err: OSError | ValueError) -> IoError:
    if isinstance(err, OSError) and err.errno in _MISSING:
        return IoError(
            f"there is no file {path}",
            code="file.not_found",
            hint="check the path",
            path=path,
        )
    reason = err.strerror if isinstance(err, OSError) else err
    return IoError(
        f"{path} cannot be read: {reason}",
        hint="check the path and the permissions of the file and its directories",
        path=path,
    )


def _no_path(place: str) -> IoError:
    """Return the error of a text that no path can be, in the words of `os.stat`."""
    try:
        os.stat(place)  # noqa: PTH116 - its refusal is what is wanted, before any system call
    except ValueError as err:
        error = _refused(place, err)
        error.__cause__ = err
        return error
    raise AssertionError(f"{place!r} is a path")


def _envelope_of(path: str) -> str:
    return f"{path}.sig"


def _unusable_envelope(place: str, err: InvalidPlugin) -> InvalidPlugin:
    error = InvalidPlugin(
        f"the signature file cannot be used: {err.message}",
        code="file.envelope",
        hint=f"sign the plugin again, or remove {place}",
        path=place,
    )
    error.__cause__ = err
    return error


def _read_envelope(path: str) -> bytes | None:
    """Read the signature file; only its absence gives None, everything else is an error."""
    place = _envelope_of(path)
    try:
        return _read(place, MAX_ENVELOPE_BYTES, of_envelope=True)[0]
    except IoError as err:
        if err.code == "file.not_found":
            return None
        raise
    except InvalidPlugin as err:
        raise _unusable_envelope(place, err) from err


def _read(path: str, limit: int, *, of_envelope: bool = False) -> tuple[bytes, float]:
    """Read a regular file of bounded size; return its bytes and the time of its last change."""
    try:
        # Opening a device can have effects (a watchdog starts, a tape rewinds), so the type is
        # looked at first as well. What decides is the look through the descriptor.
        mode = os.stat(path).st_mode  # noqa: PTH116 - text is what is fast here
        fd = os.open(path, _FLAGS) if stat.S_ISREG(mode) else -1
    except (OSError, ValueError) as err:
        raise _refused(path, err) from err
    if fd < 0:
        raise _not_regular(path, mode)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise _not_regular(path, before.st_mode)
        check_size(path, before.st_size, limit, of_envelope=of_envelope)
        data = _read_exactly(fd, before.st_size)
        after = os.fstat(fd)
    except OSError as err:
        raise _refused(path, err) from err
    finally:
        os.close(fd)
    if len(data) != before.st_size or (before.st_size, before.st_mtime_ns) != (
        after.st_size,
        after.st_mtime_ns,
    ):
        raise _changed(path)
    return data, after.st_mtime


def _read_exactly(fd: int, size: int) -> bytes:
    """Read up to ``size`` bytes; one more is asked for, which shows a file that has grown.

    One call gives a regular file as a whole. Whether it ended there is seen by its size after.
    """
    data = os.read(fd, size + 1)
    if len(data) >= size or not data:
        return data
    parts = [data]
    missing = size + 1 - len(data)
    while missing and (part := os.read(fd, missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
