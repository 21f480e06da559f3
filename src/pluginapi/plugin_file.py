"""Read a plugin file exactly once; everything later works on the bytes that were read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pluginapi.errors import InvalidPlugin, IoError, PluginError
from pluginapi.manifest import PluginKind
from pluginapi.object_format import LibraryFormat, read_library_format
from pluginapi.sealed_copy import SealedCopy, make_sealed_copy
from pluginapi.security.hashing import sha3_512, sha3_512_many

__all__ = ["DEFAULT_MAX_PLUGIN_BYTES", "MAX_ENVELOPE_BYTES", "SUFFIXES", "PluginFile"]

DEFAULT_MAX_PLUGIN_BYTES: Final = 256 * 1024 * 1024
"""The largest plugin file that is read unless the caller says otherwise, 256 MiB."""

MAX_ENVELOPE_BYTES: Final = 64 * 1024
"""The largest signature file that is read, 64 KiB."""

SUFFIXES: Final = {
    ".so": PluginKind.NATIVE,
    ".dll": PluginKind.NATIVE,
    ".dylib": PluginKind.NATIVE,
    ".py": PluginKind.PYTHON,
    ".pyz": PluginKind.PYTHON_ZIP,
}
"""The kind of plugin by the suffix of its file, in lower case."""

# How many bytes of files `open_batches` holds before it hashes them.
_BATCH_BYTES: Final = 64 * 1024 * 1024

_ZIP_STARTS: Final = (b"PK\x03\x04", b"#!")
# O_NONBLOCK: opening a pipe that nobody writes to returns at once. O_NOCTTY: opening a terminal
# never makes it the controlling one.
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


class _Contents(NamedTuple):
    """What one look at the disk gave: everything of a `PluginFile` but the hash."""

    path: Path
    kind: PluginKind
    data: bytes
    modified: float
    envelope: bytes | None
    library: LibraryFormat | None


@dataclass(frozen=True, slots=True)
class PluginFile:
    """Hold the bytes of one plugin file and what is known of them without running them.

    Immutable and safe to share between threads.

    Attributes:
        path: Where the bytes were read from, as given. Nothing is opened there again.
        kind: How the plugin is packaged.
        data: The whole file.
        sha3_512: The SHA3-512 of ``data`` (FIPS 202), 128 lower-case hexadecimal digits.
        size: Length of ``data`` in bytes.
        modified: Time of the last change of the file in seconds since the epoch.
        envelope: The bytes of the signature file beside it (``path`` + ``.sig``), or None when
            there is none.
        library: For native plugins the container and processor it was built for.
    """

    path: Path
    kind: PluginKind
    data: bytes = field(repr=False)
    sha3_512: str
    size: int
    modified: float
    envelope: bytes | None = field(default=None, repr=False)
    library: LibraryFormat | None = None

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_MAX_PLUGIN_BYTES
    ) -> PluginFile:
        """Read a plugin file and the signature file beside it, each through one open.

        Symbolic links are followed once, by that open: what counts are the bytes it gave. The call
        never waits for a pipe or device, and no byte is read before the size is known to fit.

        Args:
            path: The plugin; its suffix and its first bytes must agree.
            max_bytes: Refuse larger files without reading them.

        Raises:
            InvalidPlugin: The file cannot be a plugin; the code says why (``file.*``).
            IoError: There is no such file (``file.not_found``), or the system refused.
        """
        contents = _contents(Path(path), max_bytes)
        return cls._of(contents, sha3_512(contents.data).hexdigest())

    @classmethod
    def open_batches(
        cls,
        paths: Iterable[str | os.PathLike[str]],
        *,
        max_bytes: int = DEFAULT_MAX_PLUGIN_BYTES,
    ) -> Iterator[list[PluginFile | PluginError]]:
        """Read many plugin files as `open` does, and hash those of a batch together.

        Gives for each path, in their order, the file or the error that `open` raises for it. A
        batch ends with the file that takes it over 64 MiB, so that a large directory is never
        held in memory as a whole, as long as the caller does not.
        """
        batch: list[_Contents | PluginError] = []
        held = 0
        for path in paths:
            try:
                contents = _contents(Path(path), max_bytes)
            except PluginError as err:
                batch.append(err)
                continue
            batch.append(contents)
            held += len(contents.data)
            if held > _BATCH_BYTES:
                yield cls._hashed(batch)
                batch, held = [], 0
        if batch:
            yield cls._hashed(batch)

    @classmethod
    def _hashed(cls, batch: list[_Contents | PluginError]) -> list[PluginFile | PluginError]:
        digests = iter(
            sha3_512_many(item.data for item in batch if not isinstance(item, PluginError))
        )
        return [
            item if isinstance(item, PluginError) else cls._of(item, next(digests))
            for item in batch
        ]

    @classmethod
    def from_bytes(
        cls,
        path: str | os.PathLike[str],
        data: bytes,
        *,
        modified: float = 0.0,
        envelope: bytes | None = None,
        max_bytes: int = DEFAULT_MAX_PLUGIN_BYTES,
    ) -> PluginFile:
        """Take bytes that the caller holds already, such as a download, under the same checks.

        ``path`` gives the suffix and the name in messages; nothing is opened there.
        """
        place = Path(path)
        kind = _kind(place)
        _check_size(place, len(data), max_bytes)
        if envelope is not None:
            _check_size(place, len(envelope), MAX_ENVELOPE_BYTES, of_envelope=True)
        library = _check_format(place, kind, data)
        contents = _Contents(place, kind, bytes(data), modified, envelope, library)
        return cls._of(contents, sha3_512(contents.data).hexdigest())

    @classmethod
    def _of(cls, contents: _Contents, digest: str) -> PluginFile:
        path, kind, data, modified, envelope, library = contents
        return cls(path, kind, data, digest, len(data), modified, envelope, library)

    def sealed_copy(self, *, private_copy: bool = False) -> SealedCopy:
        """Return a copy of the bytes that has a path and that nobody can change.

        On Linux a sealed memory file with the path ``/proc/self/fd/N``, elsewhere a private file
        that was hashed again. Use it as a context manager or close it; see
        `pluginapi.sealed_copy`.

        Args:
            private_copy: Take the private file on Linux too.
        """
        return make_sealed_copy(self.data, self.sha3_512, self.path.name, private_copy=private_copy)


def _contents(path: Path, max_bytes: int) -> _Contents:
    # The suffix is looked at first: a directory scan never opens what cannot be a plugin.
    kind = _kind(path)
    data, modified = _read(path, max_bytes)
    envelope = _read_envelope(path)
    return _Contents(path, kind, data, modified, envelope, _check_format(path, kind, data))


def _kind(path: Path) -> PluginKind:
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise InvalidPlugin(
            f"{path} has the suffix {path.suffix!r}, which no plugin has",
            code="file.unknown_kind",
            hint=f"plugins end in {', '.join(SUFFIXES)}",
            path=str(path),
        )
    return kind


def _check_size(path: Path, size: int, limit: int, *, of_envelope: bool = False) -> None:
    if size == 0:
        raise InvalidPlugin(
            f"{path} is empty",
            code="file.envelope" if of_envelope else "file.empty",
            hint="the file is incomplete: copy or download it again",
            path=str(path),
        )
    if size > limit:
        hint = f"the limit is {limit} bytes"
        raise InvalidPlugin(
            f"{path} has {size} bytes, more than {limit}",
            code="file.envelope" if of_envelope else "file.too_large",
            hint=f"{hint} for signature files" if of_envelope else f"{hint}; raise max_bytes",
            path=str(path),
            size=size,
            limit=limit,
        )


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InvalidPlugin(
            f"{path} is a {_FILE_TYPES.get(stat.S_IFMT(mode), 'special file')}, not a file",
            code="file.not_regular",
            hint="name the plugin file itself",
            path=str(path),
        )


_FILE_TYPES: Final = {
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def _read(path: Path, limit: int, *, of_envelope: bool = False) -> tuple[bytes, float]:
    """Read a regular file of bounded size; return its bytes and the time of its last change."""
    try:
        # Opening a device can have effects (a watchdog starts, a tape rewinds), so the type is
        # looked at first as well. What decides is the look through the descriptor.
        _check_regular(path, path.stat().st_mode)
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as err:
        if isinstance(err, InvalidPlugin):
            raise
        raise _refused(path, err) from err
    try:
        before = os.fstat(fd)
        _check_regular(path, before.st_mode)
        _check_size(path, before.st_size, limit, of_envelope=of_envelope)
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
        raise InvalidPlugin(
            f"{path} changed while it was read",
            code="file.changed",
            hint="wait until it is written, or install it by renaming a finished file into place",
            path=str(path),
        )
    return data, after.st_mtime


def _read_exactly(fd: int, size: int) -> bytes:
    """Read up to ``size`` bytes, and one more to see a file that has grown."""
    parts = []
    missing = size + 1
    while missing and (part := os.read(fd, missing)):
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _refused(path: Path, err: OSError | ValueError) -> IoError:
    if isinstance(err, OSError) and err.errno in {errno.ENOENT, errno.ENOTDIR}:
        return IoError(
            f"there is no file {path}",
            code="file.not_found",
            hint="check the path",
            path=str(path),
        )
    reason = err.strerror if isinstance(err, OSError) else err
    return IoError(
        f"{path} cannot be read: {reason}",
        hint="check the path and the permissions of the file and its directories",
        path=str(path),
    )


def _read_envelope(path: Path) -> bytes | None:
    """Read the signature file; only its absence gives None, everything else is an error."""
    place = path.with_name(path.name + ".sig")
    try:
        return _read(place, MAX_ENVELOPE_BYTES, of_envelope=True)[0]
    except IoError as err:
        if err.code == "file.not_found":
            return None
        raise
    except InvalidPlugin as err:
        raise InvalidPlugin(
            f"the signature file cannot be used: {err.message}",
            code="file.envelope",
            hint=f"sign the plugin again, or remove {place}",
            path=str(place),
        ) from err


def _check_format(path: Path, kind: PluginKind, data: bytes) -> LibraryFormat | None:
    if kind is PluginKind.NATIVE:
        return read_library_format(data, path.suffix.lower())
    if kind is PluginKind.PYTHON_ZIP and not data.startswith(_ZIP_STARTS):
        raise InvalidPlugin(
            f"{path} is not a zip archive: it starts with {data[:4].hex(' ')}",
            code="file.format",
            hint="pack the plugin with `python -m zipfile -c plugin.pyz <package>/`",
            path=str(path),
        )
    return None
