"""Measure what loaded plugins use, and report what exceeds their limits.

`usage`
    What a process uses, and what it may use.
`sampler`
    What measures processes on this platform: compiled on Linux, psutil elsewhere.
`metrics`
    `PluginMetrics`: what one plugin uses.
`resource_monitor`
    `ResourceMonitor`: looks at an interval.
"""

from __future__ import annotations

from pluginapi.monitor.metrics import HookMetrics, PluginMetrics, PluginUsage
from pluginapi.monitor.resource_monitor import MonitoredPlugins, ResourceMonitor

__all__ = ["HookMetrics", "MonitoredPlugins", "PluginMetrics", "PluginUsage", "ResourceMonitor"]
