"""Metrics of plugins for Prometheus; needs the extra ``prometheus``."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from pluginapi.errors import UnsupportedPlatform
from pluginapi.export.snapshot import PluginSnapshot, snapshots
from pluginapi.limits import ViolationType

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError as err:
    raise UnsupportedPlatform(
        "the package prometheus_client is not installed",
        hint="run: pip install 'pluginapi[prometheus]'",
    ) from err

if TYPE_CHECKING:
    from pluginapi.registry import PluginRegistry

__all__ = ["PluginCollector"]

_PLUGIN = ("plugin",)


class PluginCollector(Collector):
    """Collect the metrics of a host's plugins when Prometheus asks.

    Register it: ``REGISTRY.register(PluginCollector(host.registry))``. Each scrape measures all
    processes, in one pass. Labels name the plugin, never its process id, so that series go on over
    restarts; counters add up over restarts and loads. What is not known is absent, never 0.
    Thread-safe.

    Args:
        registry: The plugins.
    """

    def __init__(self, registry: PluginRegistry) -> None:
        self._registry = registry

    def describe(self) -> list[Metric]:
        """Return nothing, so that nothing is measured when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return all families; see the reference of monitoring for what each means."""
        plugins = snapshots(self._registry)
        yield from self._processes(plugins)
        yield from self._limits(plugins)
        yield from self._hooks(plugins)
        seconds = self._registry.pass_seconds()
        family = GaugeMetricFamily(
            "plugin_monitor_pass_seconds", "How long the latest pass over all processes took."
        )
        if seconds is not None:
            family.add_metric([], seconds)
        yield family

    @staticmethod
    def _processes(plugins: list[PluginSnapshot]) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "plugin_process_cpu_seconds", "Processor time of the plugin.", labels=_PLUGIN
        )
        for plugin in plugins:
            cpu.add_metric([plugin.name], plugin.totals.cpu_time_ms / 1000)
        yield cpu
        now = time.time()
        gauges = {
            "plugin_process_resident_memory_bytes": (
                "Resident memory of the plugin's process.",
                "resident_bytes",
            ),
            "plugin_heap_bytes": (
                "Memory that the plugin uses, as its limit counts it.",
                "heap_bytes",
            ),
            "plugin_process_peak_memory_bytes": (
                "The most memory that the plugin used since the pass before.",
                "heap_peak_bytes",
            ),
            "plugin_process_threads": ("Threads of the plugin.", "thread_count"),
            "plugin_process_open_fds": ("Open descriptors of the plugin.", "fd_count"),
        }
        for name, (text, field) in gauges.items():
            family = GaugeMetricFamily(name, text, labels=_PLUGIN)
            for plugin in plugins:
                value = getattr(plugin.metrics, field, None)
                if value is not None:
                    family.add_metric([plugin.name], value)
            yield family
        connections = GaugeMetricFamily(
            "plugin_process_tcp_connections",
            "TCP connections of the plugin's process.",
            labels=("plugin", "state"),
        )
        started = GaugeMetricFamily(
            "plugin_process_start_time_seconds",
            "When the plugin's process started, since the epoch.",
            labels=_PLUGIN,
        )
        info = GaugeMetricFamily(
            "plugin_process_info",
            "1 for each loaded plugin.",
            labels=("plugin", "version", "pid"),
        )
        for plugin in plugins:
            metrics = plugin.metrics
            if metrics is None or plugin.info is None:
                continue
            if metrics.connection_count is not None:
                connections.add_metric([plugin.name, "connected"], metrics.connection_count)
            if metrics.uptime_seconds is not None:
                started.add_metric([plugin.name], now - metrics.uptime_seconds)
            pid = "" if metrics.pid is None else str(metrics.pid)
            info.add_metric([plugin.name, plugin.info.version, pid], 1)
        yield from (connections, started, info)

    @staticmethod
    def _limits(plugins: list[PluginSnapshot]) -> Iterator[Metric]:
        limits = GaugeMetricFamily(
            "plugin_limit", "Limits in force.", labels=("plugin", "resource")
        )
        max_fds = GaugeMetricFamily(
            "plugin_process_max_fds", "Descriptors that the plugin may have.", labels=_PLUGIN
        )
        violations = CounterMetricFamily(
            "plugin_limit_violations",
            "Violations of limits, and what followed.",
            labels=("plugin", "resource", "action"),
        )
        unmounts = CounterMetricFamily(
            "plugin_unmounts",
            "Unmounts, by the resource that was violated.",
            labels=("plugin", "reason"),
        )
        for plugin in plugins:
            if plugin.limits is not None:
                for kind in ViolationType:
                    limits.add_metric(
                        [plugin.name, resource_name(kind)], getattr(plugin.limits, kind.value)
                    )
                max_fds.add_metric([plugin.name], plugin.limits.max_file_descriptors)
            for (kind, action), count in plugin.totals.violations.items():
                violations.add_metric([plugin.name, resource_name(kind), action], count)
            for kind, count in plugin.totals.unmounts.items():
                unmounts.add_metric([plugin.name, resource_name(kind)], count)
        yield from (limits, max_fds, violations, unmounts)

    @staticmethod
    def _hooks(plugins: list[PluginSnapshot]) -> Iterator[Metric]:
        labels = ("plugin", "hook")
        calls = CounterMetricFamily("plugin_hook_calls", "Calls of handlers.", labels=labels)
        errors = CounterMetricFamily("plugin_hook_errors", "Calls that failed.", labels=labels)
        for plugin in plugins:
            for hook, count in plugin.totals.calls.items():
                calls.add_metric([plugin.name, hook], count)
                errors.add_metric([plugin.name, hook], plugin.totals.errors.get(hook, 0))
        took = HistogramMetricFamily(
            "plugin_hook_seconds", "How long calls of handlers took.", labels=labels
        )
        for plugin in plugins:
            for hook, latency in plugin.totals.latency.items():
                below = accumulate(latency.counts)
                buckets = [
                    ("+Inf" if math.isinf(bound) else repr(bound), count)
                    for bound, count in zip(latency.bounds, below, strict=True)
                ]
                if buckets:
                    seconds = plugin.totals.wall_time_ms[hook] / 1000
                    took.add_metric([plugin.name, hook], buckets, seconds)
        yield from (calls, errors, took)


def resource_name(kind: ViolationType) -> str:
    """Return the name of a resource as metrics have it: ``heap_memory``, ``cpu_time``, ..."""
    return kind.name.lower()
