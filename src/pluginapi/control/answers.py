"""What a host answers about its plugins, as JSON-representable values."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pluginapi._version import __version__
from pluginapi.errors import NotFound
from pluginapi.export.snapshot import snapshots

if TYPE_CHECKING:
    from pluginapi.info import PluginInfo
    from pluginapi.registry import PluginRegistry

__all__ = ["snapshot"]


def snapshot(registry: PluginRegistry) -> dict[str, Any]:
    """Measure all plugins and describe them; any thread may.

    Returns:
        ``host``: pid, version and time; ``plugins``: one object for each that is loaded, with
        its metrics, its limits with what keeps them, and its latest violations;
        ``quarantine``: who is in it; ``pass_ms``: how long measuring took.
    """
    plugins = []
    for plugin in snapshots(registry):
        if plugin.metrics is None or plugin.info is None:
            continue
        try:
            plugins.append({**plugin.metrics.to_dict(), **_of(registry, plugin.info)})
        except NotFound:
            # It was unloaded since.
            continue
    seconds = registry.pass_seconds()
    return {
        "host": {"pid": os.getpid(), "pluginapi": __version__, "time": time.time()},
        "plugins": plugins,
        "quarantine": [asdict(each) for each in registry.quarantine.all()],
        "pass_ms": None if seconds is None else round(seconds * 1000, 3),
    }


def _of(registry: PluginRegistry, info: PluginInfo) -> dict[str, Any]:
    name = info.name
    return {
        "version": info.version,
        "status": info.status.value,
        "path": str(info.path),
        "kind": info.manifest.kind.value,
        "limits": {} if info.resource_limits is None else info.resource_limits.to_dict(),
        "limits_in_force": [
            {
                "resource": each.resource.value,
                "limit": each.limit,
                "mechanism": each.mechanism,
                "bound": each.bound,
                "detail": each.detail,
            }
            for each in registry.get_limits_in_force(name)
        ],
        "violation_threshold": registry.violation_threshold,
        "violations": [each.to_dict() for each in registry.get_violations(name)],
    }
