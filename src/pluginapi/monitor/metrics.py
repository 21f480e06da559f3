"""What one plugin uses, as the host's queries and exports tell it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from pluginapi.hooks.latency import LatencyHistogram
from pluginapi.limits import ResourceLimits, Violation, ViolationType

__all__ = ["HookMetrics", "PluginMetrics", "PluginUsage"]

_MEASURED: Final = {
    ViolationType.HEAP_MEMORY: "heap_bytes",
    ViolationType.THREADS: "thread_count",
    ViolationType.FILE_DESCRIPTORS: "fd_count",
    ViolationType.CONNECTIONS: "connection_count",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginUsage:
    """What a plugin uses of the machine; None is what cannot be had, or told from the host's.

    Of a plugin in a process of its own, heap, threads and descriptors are what it has besides what
    its worker had before it was loaded.

    Attributes:
        heap_bytes: Memory: of its control group, of its process, or through accounted allocators.
        heap_peak_bytes: The most of it since the look of the monitor before.
        cpu_time_ms: Processor time of its processes so far, also of those that ended.
        thread_count: Threads, and processes where its control group counts them.
        fd_count: Open file descriptors.
        connection_count: TCP connections.
        resident_bytes: Resident memory of its process as a whole.
        pid: Its process id.
        uptime_seconds: How long its process has run.
        restarts: How often its process was started again.
        thread_refusals: How often the kernel refused its present process a thread or another
            process.
    """

    heap_bytes: int | None = None
    heap_peak_bytes: int | None = None
    cpu_time_ms: float | None = None
    thread_count: int | None = None
    fd_count: int | None = None
    connection_count: int | None = None
    resident_bytes: int | None = None
    pid: int | None = None
    uptime_seconds: float | None = None
    restarts: int | None = None
    thread_refusals: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookMetrics:
    """What the handlers of one plugin for one hook did so far.

    Attributes:
        hook: The hook.
        calls: Calls that ended.
        errors: Calls among them that failed.
        wall_time_ms: How long they took together, waiting included.
        cpu_time_ms: Processor time of the host's threads in them. For a plugin in a process of its
            own that is the cost of calling it.
        latency: How long calls took, waiting included.
    """

    hook: str
    calls: int
    errors: int
    wall_time_ms: float
    cpu_time_ms: float
    latency: LatencyHistogram

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON-representable values."""
        return {
            "hook": self.hook,
            "calls": self.calls,
            "errors": self.errors,
            "wall_time_ms": self.wall_time_ms,
            "cpu_time_ms": self.cpu_time_ms,
            "latency": self.latency.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginMetrics:
    """Hold what one plugin uses at one moment.

    None means that the resource cannot be had, or cannot be told apart from the host's: a plugin
    that shares the host's process has no threads or descriptors of its own. The host's numbers are
    never given instead, and 0 is never given for what is not known.

    Attributes:
        name: The plugin.
        heap_bytes: Bytes that it holds through accounted allocators, or the memory of its process
            or control group besides what its worker had before it was loaded.
        cpu_time_ms: Processor time so far, in milliseconds: of its processes, or in the host's
            process of all its operations.
        thread_count: Threads of its process besides its worker's own.
        fd_count: Open file descriptors of its process besides its worker's own.
        connection_count: Open TCP connections of its process.
        violation_count: Violations that count against its threshold.
        calls: Calls of its hook handlers so far.
        errors: Calls among them that failed.
        service_calls: Calls of services of the host that it made so far.
        service_errors: Calls among them that failed.
        service_refusals: Calls of service methods that do not exist for it.
        heap_peak_bytes: The most of `heap_bytes` since the look of the monitor before.
        resident_bytes: Resident memory of its process as a whole.
        cpu_percent: Processor time since these metrics were taken before, in percent of one
            processor; None the first time.
        calls_per_second: Calls since these metrics were taken before; None the first time.
        pid: Its process id, for messages.
        uptime_seconds: How long its process has run.
        restarts: How often its process was started again since it was loaded.
        thread_refusals: How often the kernel refused its present process a thread or another
            process, because it had as many as it may.
        hooks: What its handlers did, by hook.
    """

    name: str
    heap_bytes: int | None = None
    cpu_time_ms: float | None = None
    thread_count: int | None = None
    fd_count: int | None = None
    connection_count: int | None = None
    violation_count: int = 0
    calls: int = 0
    errors: int = 0
    service_calls: int = 0
    service_errors: int = 0
    service_refusals: int = 0
    heap_peak_bytes: int | None = None
    resident_bytes: int | None = None
    cpu_percent: float | None = None
    calls_per_second: float | None = None
    pid: int | None = None
    uptime_seconds: float | None = None
    restarts: int | None = None
    thread_refusals: int | None = None
    hooks: tuple[HookMetrics, ...] = ()

    @classmethod
    def of_usage(cls, name: str, usage: PluginUsage) -> PluginMetrics:
        """Return metrics that know what a plugin uses of the machine, and nothing of its calls."""
        return cls(
            name=name,
            heap_bytes=usage.heap_bytes,
            thread_count=usage.thread_count,
            fd_count=usage.fd_count,
            connection_count=usage.connection_count,
        )

    def violations_of(self, limits: ResourceLimits) -> tuple[Violation, ...]:
        """Return a violation for each measured resource that exceeds its limit now.

        Processor time is not among them: its limit is per operation, and this is the sum of all.
        """
        return tuple(
            Violation.now(kind, amount, limit, "monitor")
            for kind in _MEASURED
            if (amount := self.amount_of(kind)) is not None
            and amount > (limit := getattr(limits, kind.value))
        )

    def amount_of(self, kind: ViolationType) -> int | None:
        """Return what is used of a resource now; None of processor time, and when not known."""
        name = _MEASURED.get(kind)
        return None if name is None else getattr(self, name)

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON-representable values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "hooks": [each.to_dict() for each in self.hooks]}
