"""What the registry tells about a plugin: its status and its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from pluginapi.errors import PluginError
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginManifest
from pluginapi.security import TrustedPluginEntry, TrustLevel

__all__ = ["PluginInfo", "PluginStatus", "ScanReport", "UnloadReport"]


class PluginStatus(Enum):
    """Name the five states of a plugin.

    ========= ==================================================================
    AVAILABLE Discovered, allowed by the policy, not loaded.
    ACTIVE    Loaded; its handlers are called.
    INACTIVE  Loaded and paused: its handlers are kept but not called.
    FAILED    Its load, `init` or `register_hooks` failed; `PluginInfo.error` says how.
    UNTRUSTED Discovered and refused by the policy.
    ========= ==================================================================
    """

    AVAILABLE = "available"
    ACTIVE = "active"
    INACTIVE = "inactive"
    FAILED = "failed"
    UNTRUSTED = "untrusted"


class PluginInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one plugin file at one moment.

    Attributes:
        path: Where the file was found.
        hash: SHA3-512 of the file, 128 hexadecimal digits.
        size: Bytes.
        modified: Modification time of the file, seconds since the epoch.
        trust_info: The entry of the trust list that names this hash, if any.
        error: Why it is FAILED or UNTRUSTED.
        resource_limits: The limits in force when it is loaded, else the declared ones.
        manifest: Everything the plugin says about itself.
    """

    name: str
    version: str
    author: str
    description: str | None
    status: PluginStatus
    trust_level: TrustLevel
    path: Path
    hash: str
    size: int
    modified: float | None
    trust_info: TrustedPluginEntry | None
    error: PluginError | None
    resource_limits: ResourceLimits | None
    manifest: PluginManifest

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON-representable values."""
        return {
            **self.manifest.to_dict(),
            "status": self.status.value,
            "trust_level": self.trust_level.name.lower(),
            "path": str(self.path),
            "hash": self.hash,
            "size": self.size,
            "modified": self.modified,
            "trust_info": msgspec.to_builtins(self.trust_info),
            "error": None if self.error is None else self.error.to_dict(),
            "resource_limits": None
            if self.resource_limits is None
            else self.resource_limits.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ScanReport:
    """Say what a scan of a directory found.

    Attributes:
        plugins: Every readable plugin, loadable or refused, sorted by path.
        problems: The error of every file that is no readable plugin, by path.
    """

    plugins: tuple[PluginInfo, ...]
    problems: Mapping[Path, PluginError]

    def __len__(self) -> int:
        return len(self.plugins)


@dataclass(frozen=True, slots=True)
class UnloadReport:
    """Say what `PluginRegistry.unload_all` did.

    Attributes:
        unloaded: Names of the plugins that are gone, in the order they went.
        failed: The error of each plugin whose shutdown failed; those are gone as well.
    """

    unloaded: tuple[str, ...]
    failed: Mapping[str, PluginError]
