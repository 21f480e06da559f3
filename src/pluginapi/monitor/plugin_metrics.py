"""Put together what is known of one loaded plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pluginapi.hooks.latency import LatencyHistogram
from pluginapi.monitor.metrics import HookMetrics, PluginMetrics

if TYPE_CHECKING:
    from pluginapi.hooks import HandlerStats
    from pluginapi.lifecycle import RunningPlugin
    from pluginapi.monitor.rates import Rates

__all__ = ["plugin_metrics"]


def plugin_metrics(
    name: str,
    running: RunningPlugin,
    stats: Sequence[HandlerStats],
    violations: int,
    rates: Rates,
    *,
    now: bool,
) -> PluginMetrics:
    """Return the metrics of a plugin.

    Args:
        name: The plugin.
        running: What runs of it.
        stats: What its handlers did.
        violations: How many count against it.
        rates: Knows what its counters were before.
        now: Measure its process; without it, as the monitor found it the last time.
    """
    (services,) = running.context.service_stats()
    usage = running.live.usage(now=now)
    hooks = _by_hook(stats)
    calls = sum(each.calls for each in hooks)
    cpu_ms = usage.cpu_time_ms
    if cpu_ms is None:
        # In this process: what its operations took of the host's threads.
        cpu_ms = sum(each.cpu_time_ms for each in hooks)
    cpu_rate = rates.per_second("cpu", cpu_ms)
    return PluginMetrics(
        name=name,
        heap_bytes=usage.heap_bytes,
        cpu_time_ms=cpu_ms,
        thread_count=usage.thread_count,
        fd_count=usage.fd_count,
        connection_count=usage.connection_count,
        violation_count=violations,
        calls=calls,
        errors=sum(each.errors for each in hooks),
        service_calls=sum(services.calls.values()),
        service_errors=sum(services.errors.values()),
        service_refusals=services.refused,
        heap_peak_bytes=usage.heap_peak_bytes,
        resident_bytes=usage.resident_bytes,
        cpu_percent=None if cpu_rate is None else cpu_rate / 10,
        calls_per_second=rates.per_second("calls", calls),
        pid=usage.pid,
        uptime_seconds=usage.uptime_seconds,
        restarts=usage.restarts,
        thread_refusals=usage.thread_refusals,
        hooks=hooks,
    )


def _by_hook(stats: Sequence[HandlerStats]) -> tuple[HookMetrics, ...]:
    """Add up what the handlers of one plugin did, by hook."""
    hooks: dict[str, list[HandlerStats]] = {}
    for each in stats:
        hooks.setdefault(each.hook, []).append(each)
    return tuple(
        HookMetrics(
            hook=hook,
            calls=sum(each.calls for each in handlers),
            errors=sum(each.errors for each in handlers),
            wall_time_ms=sum(each.wall_ns for each in handlers) / 1e6,
            cpu_time_ms=sum(each.cpu_ns for each in handlers) / 1e6,
            latency=sum((each.latency for each in handlers), LatencyHistogram()),
        )
        for hook, handlers in hooks.items()
    )
