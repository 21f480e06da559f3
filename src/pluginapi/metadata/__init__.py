"""Read what a plugin says about itself from its bytes, without running any of them.

Every reader takes hostile input: time and memory are bounded by the size of the file, and what
comes out is a validated `PluginManifest` or an error of `pluginapi.errors` that says where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginapi.manifest import PluginKind
from pluginapi.metadata.native_blob import read_native_blob
from pluginapi.metadata.python_source import read_python_source
from pluginapi.metadata.python_zip import read_archive

if TYPE_CHECKING:
    from pluginapi.manifest import PluginManifest
    from pluginapi.plugin_file import PluginFile

__all__ = ["read_manifest"]


def read_manifest(file: PluginFile) -> PluginManifest:
    """Read the manifest of a plugin file; nothing of the plugin is executed.

    Raises:
        InvalidManifest: The metadata is missing, malformed or out of bounds (``manifest.*``).
        InvalidPlugin: A ``.pyz`` is not an archive that may be loaded (``archive.*``).
    """
    if file.kind is PluginKind.NATIVE:
        return read_native_blob(file.data)
    if file.kind is PluginKind.PYTHON:
        return read_python_source(file.data, file.path.name)
    entry = read_archive(file.data, file.path.name).entry
    return read_python_source(entry.source, entry.label, kind=PluginKind.PYTHON_ZIP)
