"""One look at all plugins, which exporters turn into their own forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pluginapi.info import PluginInfo
    from pluginapi.limits import ResourceLimits
    from pluginapi.monitor.metrics import PluginMetrics
    from pluginapi.monitor.totals import PluginTotals
    from pluginapi.registry import PluginRegistry

__all__ = ["PluginSnapshot", "snapshots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSnapshot:
    """What is known of one plugin.

    Attributes:
        name: The plugin.
        info: What it is, or None while it is not loaded.
        metrics: What it uses now, or None while it is not loaded.
        totals: What it did since the host runs.
    """

    name: str
    info: PluginInfo | None
    metrics: PluginMetrics | None
    totals: PluginTotals

    @property
    def limits(self) -> ResourceLimits | None:
        """Its limits in force, or None while it is not loaded."""
        return None if self.info is None else self.info.resource_limits


def snapshots(registry: PluginRegistry) -> list[PluginSnapshot]:
    """Look at all plugins that are, or were, loaded, sorted by name.

    Processes are measured now, all in one pass; any thread may.
    """
    registry.measure()
    metrics = {each.name: each for each in registry.monitored()}
    loaded = {info.name: info for info in registry.list_loaded_plugins()}
    found = []
    for name in sorted({*metrics, *registry.totals.names()}):
        now = metrics.get(name)
        found.append(
            PluginSnapshot(
                name=name,
                info=loaded.get(name),
                metrics=now,
                totals=registry.totals.of(name, now),
            )
        )
    return found
