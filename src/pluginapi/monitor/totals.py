"""Counters of plugins that outlive their processes and their loads."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pluginapi.hooks.latency import LatencyHistogram
from pluginapi.limits import ViolationType

if TYPE_CHECKING:
    from pluginapi.monitor.metrics import PluginMetrics

__all__ = ["PluginTotals", "Totals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginTotals:
    """What a plugin did since the host runs, in all of its loads; nothing of it goes back.

    Attributes:
        cpu_time_ms: Processor time.
        calls: Calls of its handlers by hook.
        errors: Calls among them that failed, by hook.
        wall_time_ms: How long they took together, by hook.
        latency: How long each took, by hook.
        violations: Violations by resource and action: ``log``, or ``unmount`` for the one that
            reached the threshold.
        unmounts: How often it was unmounted, by the resource that was violated last.
    """

    cpu_time_ms: float
    calls: dict[str, int]
    errors: dict[str, int]
    wall_time_ms: dict[str, float]
    latency: dict[str, LatencyHistogram]
    violations: dict[tuple[ViolationType, str], int]
    unmounts: dict[ViolationType, int]


class _Sums:
    def __init__(self) -> None:
        self.cpu_time_ms = 0.0
        self.calls: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.wall_time_ms: dict[str, float] = {}
        self.latency: dict[str, LatencyHistogram] = {}
        self.violations: Counter[tuple[ViolationType, str]] = Counter()
        self.unmounts: Counter[ViolationType] = Counter()

    def add(self, metrics: PluginMetrics) -> None:
        self.cpu_time_ms += metrics.cpu_time_ms or 0.0
        for hook in metrics.hooks:
            name = hook.hook
            self.calls[name] += hook.calls
            self.errors[name] += hook.errors
            self.wall_time_ms[name] = self.wall_time_ms.get(name, 0.0) + hook.wall_time_ms
            self.latency[name] = self.latency.get(name, LatencyHistogram()) + hook.latency

    def copy(self) -> _Sums:
        made = _Sums()
        made.cpu_time_ms = self.cpu_time_ms
        for name in ("calls", "errors", "wall_time_ms", "latency", "violations", "unmounts"):
            getattr(made, name).update(getattr(self, name))
        return made


class Totals:
    """Add up what plugins did, by name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, _Sums] = {}

    def violated(self, plugin: str, kind: ViolationType, action: str) -> None:
        """Count a violation."""
        with self._lock:
            self._of(plugin).violations[kind, action] += 1

    def unmounted(self, plugin: str, kind: ViolationType) -> None:
        """Count an unmount."""
        with self._lock:
            self._of(plugin).unmounts[kind] += 1

    def unloaded(self, metrics: PluginMetrics) -> None:
        """Keep what a plugin did that is unloaded."""
        with self._lock:
            sums = self._of(metrics.name)
            sums.add(metrics)

    def names(self) -> tuple[str, ...]:
        """Return the plugins of which something is known, sorted."""
        with self._lock:
            return tuple(sorted(self._sums))

    def of(self, plugin: str, now: PluginMetrics | None = None) -> PluginTotals:
        """Return the totals of a plugin, with what it did since it was loaded the last time."""
        with self._lock:
            sums = self._sums.get(plugin, _Sums()).copy()
        if now is not None:
            sums.add(now)
        return PluginTotals(
            cpu_time_ms=sums.cpu_time_ms,
            calls=dict(sums.calls),
            errors=dict(sums.errors),
            wall_time_ms=sums.wall_time_ms,
            latency=sums.latency,
            violations=dict(sums.violations),
            unmounts=dict(sums.unmounts),
        )

    def _of(self, plugin: str) -> _Sums:
        return self._sums.setdefault(plugin, _Sums())
