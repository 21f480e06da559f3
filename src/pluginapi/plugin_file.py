"""Read a plugin file exactly once; everything later works on the bytes that were read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pluginapi.errors import InvalidPlugin
from pluginapi.manifest import PluginKind
from pluginapi.object_format import LibraryFormat, read_library_format
from pluginapi.reading import MAX_ENVELOPE_BYTES, ReadFile, check_size, read_file
from pluginapi.sealed_copy import SealedCopy, make_sealed_copy
from pluginapi.security.hashing import sha3_512

__all__ = [
    "DEFAULT_MAX_PLUGIN_BYTES",
    "MAX_ENVELOPE_BYTES",
    "SUFFIXES",
    "PluginContents",
    "PluginFile",
    "contents_of",
    "plugin_kind",
    "read_contents",
]

DEFAULT_MAX_PLUGIN_BYTES: Final = 256 * 1024 * 1024
"""The largest plugin file that is read unless the caller says otherwise, 256 MiB."""

SUFFIXES: Final = {
    ".so": PluginKind.NATIVE,
    ".dll": PluginKind.NATIVE,
    ".dylib": PluginKind.NATIVE,
    ".py": PluginKind.PYTHON,
    ".pyz": PluginKind.PYTHON_ZIP,
}
"""The kind of plugin by the suffix of its file, in lower case."""

_ZIP_STARTS: Final = (b"PK\x03\x04", b"#!")


class PluginContents(NamedTuple):
    """What one look at the disk gave: everything of a `PluginFile` but the hash."""

    path: Path
    kind: PluginKind
    data: bytes | memoryview
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
        contents = read_contents(Path(path), max_bytes)
        return cls._of(contents, sha3_512(contents.data).hexdigest())

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
        kind = plugin_kind(place)
        check_size(place, len(data), max_bytes)
        if envelope is not None:
            check_size(place, len(envelope), MAX_ENVELOPE_BYTES, of_envelope=True)
        library = _check_format(place, kind, data)
        contents = PluginContents(place, kind, bytes(data), modified, envelope, library)
        return cls._of(contents, sha3_512(contents.data).hexdigest())

    @classmethod
    def _of(cls, contents: PluginContents, digest: str) -> PluginFile:
        path, kind, data, modified, envelope, library = contents
        return cls(path, kind, bytes(data), digest, len(data), modified, envelope, library)

    def sealed_copy(self, *, private_copy: bool = False) -> SealedCopy:
        """Return a copy of the bytes that has a path and that nobody can change.

        On Linux a sealed memory file with the path ``/proc/self/fd/N``, elsewhere a private file
        that was hashed again. Use it as a context manager or close it; see
        `pluginapi.sealed_copy`.

        Args:
            private_copy: Take the private file on Linux too.
        """
        return make_sealed_copy(self.data, self.sha3_512, self.path.name, private_copy=private_copy)


def read_contents(path: Path, max_bytes: int) -> PluginContents:
    """Read a plugin file and the signature file beside it, each through one open.

    Raises:
        InvalidPlugin: As `PluginFile.open`.
        IoError: As `PluginFile.open`.
    """
    # The suffix is looked at first: what cannot be a plugin is never opened.
    kind = plugin_kind(path)
    return contents_of(path, kind, read_file(str(path), max_bytes))


def contents_of(path: Path, kind: PluginKind, read: ReadFile) -> PluginContents:
    """Return what was read as the contents of a plugin of this kind.

    Raises:
        InvalidPlugin: When its first bytes or its extent do not agree with its suffix.
    """
    data, modified, envelope = read
    return PluginContents(path, kind, data, modified, envelope, _check_format(path, kind, data))


def plugin_kind(path: Path) -> PluginKind:
    """Return the kind of plugin that a path names.

    Raises:
        InvalidPlugin: With code ``file.unknown_kind`` when it has no suffix of a plugin.
    """
    kind = SUFFIXES.get(path.suffix) or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise InvalidPlugin(
            f"{path} has the suffix {path.suffix!r}, which no plugin has",
            code="file.unknown_kind",
            hint=f"plugins end in {', '.join(SUFFIXES)}",
            path=str(path),
        )
    return kind


def _check_format(path: Path, kind: PluginKind, data: bytes | memoryview) -> LibraryFormat | None:
    if kind is PluginKind.NATIVE:
        return read_library_format(data, path.suffix.lower())
    if kind is PluginKind.PYTHON_ZIP and not bytes(data[:4]).startswith(_ZIP_STARTS):
        raise InvalidPlugin(
            f"{path} is not a zip archive: it starts with {data[:4].hex(' ')}",
            code="file.format",
            hint="pack the plugin with `python -m zipfile -c plugin.pyz <package>/`",
            path=str(path),
        )
    return None
