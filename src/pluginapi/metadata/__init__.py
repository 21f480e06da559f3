"""Read what a plugin says about itself from its bytes, without running any of them.

Every reader takes hostile input: time and memory are bounded by the size of the file, and what
comes out is a validated `PluginManifest` or an error of `pluginapi.errors` that says where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pluginapi.manifest import PluginKind
from pluginapi.metadata.native_blob import read_native_blob
from pluginapi.metadata.python_source import read_python_source
from pluginapi.metadata.python_zip import read_archive

if TYPE_CHECKING:
    from pathlib import Path

    from pluginapi.manifest import PluginManifest

__all__ = ["ReadableFile", "read_manifest"]


class ReadableFile(Protocol):
    """What reading a manifest needs of a plugin file that was read once."""

    @property
    def path(self) -> Path:
        """Where it was read from; gives the name in messages."""

    @property
    def kind(self) -> PluginKind:
        """How the plugin is packaged."""

    @property
    def data(self) -> bytes | memoryview:
        """The whole file."""


def read_manifest(file: ReadableFile) -> PluginManifest:
    """Read the manifest of a plugin file; nothing of the plugin is executed.

    Raises:
        InvalidManifest: The metadata is missing, malformed or out of bounds (``manifest.*``).
        InvalidPlugin: A ``.pyz`` is not an archive that may be loaded (``archive.*``).
    """
    if file.kind is PluginKind.NATIVE:
        return read_native_blob(file.data)
    if file.kind is PluginKind.PYTHON:
        return read_python_source(bytes(file.data), file.path.name)
    entry = read_archive(bytes(file.data), file.path.name).entry
    return read_python_source(entry.source, entry.label, kind=PluginKind.PYTHON_ZIP)
