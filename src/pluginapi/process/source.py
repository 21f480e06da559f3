"""What a Python worker is told of the plugin that it is handed: `Initialize.source`.

The host has read and checked the file. The worker gets its bytes from sealed memory and what the
host found in them, so that it need not look for the same again: parsing the source takes longer
than running most of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile, plugin_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pluginapi.manifest import PluginManifest

__all__ = ["described_plugin", "plugin_source"]

_MAX_CHARS: Final = 64 * 1024


def plugin_source(name: str, manifest: PluginManifest) -> dict[str, str]:
    """Return what the worker is told.

    Args:
        name: Name of the plugin's file.
        manifest: What was read from it. One that would fill a message is not sent: the worker
            reads it again.
    """
    text = msgspec.json.encode(manifest.to_dict()).decode()
    return {"name": name} if len(text) > _MAX_CHARS else {"name": name, "manifest": text}


def described_plugin(
    source: Mapping[str, str], data: bytes
) -> tuple[PluginFile, Mapping[str, Any]]:
    """Return the plugin's file and its manifest as `PluginManifest.to_dict` gives it.

    The file has no hash: the host has verified the bytes, which nobody could change since.

    Raises:
        PluginError: As `read_manifest`, where the manifest was not sent.
    """
    path = Path(source["name"])
    file = PluginFile(path, plugin_kind(path), data, "", len(data), 0.0)
    text = source.get("manifest")
    return file, read_manifest(file).to_dict() if text is None else msgspec.json.decode(text)
