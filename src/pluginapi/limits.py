"""Resource limits, violations of them, and what follows from violations."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, ClassVar, Final

from pluginapi.errors import InvalidResourceLimits

__all__ = [
    "MAX_HEAP_BYTES",
    "LimitInForce",
    "ResourceLimits",
    "UnmountBehavior",
    "Violation",
    "ViolationTracker",
    "ViolationType",
    "limits_in_process",
]

_MIB: Final = 1024 * 1024

MAX_HEAP_BYTES: Final = 4096 * _MIB
"""The largest heap limit that a plugin may declare, 4 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Bound what one plugin may use.

    Limits are validated on construction. They count what the plugin itself uses, never what its
    host uses.

    Attributes:
        max_heap_bytes: Heap memory in bytes, 64 KiB to 4 GiB.
        max_cpu_time_ms: CPU time of one operation (one hook call, `init`, `shutdown`) in
            milliseconds, 1 ms to 1 h.
        max_threads: Threads, 1 to 4096.
        max_file_descriptors: Open file descriptors, 0 to 65 536.
        max_connections: Open network connections, 0 to 65 536.

    Raises:
        InvalidResourceLimits: When a value is not an integer or lies outside its bounds.
    """

    BOUNDS: ClassVar[dict[str, tuple[int, int]]] = {
        "max_heap_bytes": (64 * 1024, MAX_HEAP_BYTES),
        "max_cpu_time_ms": (1, 3_600_000),
        "max_threads": (1, 4096),
        "max_file_descriptors": (0, 65_536),
        "max_connections": (0, 65_536),
    }

    max_heap_bytes: int = 50 * _MIB
    max_cpu_time_ms: int = 1000
    max_threads: int = 4
    max_file_descriptors: int = 32
    max_connections: int = 10

    def __post_init__(self) -> None:
        for name, (low, high) in self.BOUNDS.items():
            value = getattr(self, name)
            # bool is an int in Python; `max_threads=True` is a mistake, not one thread.
            if type(value) is not int:
                raise InvalidResourceLimits(
                    f"{name} is {value!r}, not an integer",
                    hint=f"give a whole number from {low} to {high}",
                    limit=name,
                )
            if not low <= value <= high:
                raise InvalidResourceLimits(
                    f"{name} is {value}, outside {low} to {high}",
                    hint=f"give a whole number from {low} to {high}",
                    limit=name,
                    value=value,
                    bounds=[low, high],
                )

    def capped_by(self, ceiling: ResourceLimits) -> ResourceLimits:
        """Return the smaller of both limits, resource by resource."""
        return ResourceLimits(
            **{name: min(getattr(self, name), getattr(ceiling, name)) for name in self.BOUNDS}
        )

    def to_dict(self) -> dict[str, int]:
        """Return the limits as plain integers by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class ViolationType(Enum):
    """Name the resource of a violation; the value is the matching field of `ResourceLimits`."""

    HEAP_MEMORY = "max_heap_bytes"
    CPU_TIME = "max_cpu_time_ms"
    THREADS = "max_threads"
    FILE_DESCRIPTORS = "max_file_descriptors"
    CONNECTIONS = "max_connections"

    @property
    def unit(self) -> str:
        """The unit that `Violation.used` and `Violation.limit` are counted in."""
        return _UNITS[self]


_UNITS: Final = {
    ViolationType.HEAP_MEMORY: "bytes",
    ViolationType.CPU_TIME: "ms",
    ViolationType.THREADS: "threads",
    ViolationType.FILE_DESCRIPTORS: "descriptors",
    ViolationType.CONNECTIONS: "connections",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """Record that a plugin used more than its limit.

    Attributes:
        type: Which resource.
        used: What was measured, in the unit of `type`.
        limit: The limit in force when it was measured.
        at: Seconds since the epoch.
        source: What measured it: ``monitor``, ``hook:<name>``, ``allocator``, ``host``.
    """

    type: ViolationType
    used: int
    limit: int
    at: float
    source: str = "host"

    @classmethod
    def now(cls, type: ViolationType, used: int, limit: int, source: str = "host") -> Violation:  # noqa: A002 - the field's name
        """Record a violation at the present time."""
        return cls(type, used, limit, time.time(), source)

    def __str__(self) -> str:
        return (
            f"{self.type.value}: used {self.used} {self.type.unit}, limit {self.limit} "
            f"(measured by {self.source})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the violation as JSON-representable values."""
        return {
            "type": self.type.value,
            "used": self.used,
            "limit": self.limit,
            "unit": self.type.unit,
            "at": self.at,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitInForce:
    """Say what keeps a plugin to one of its limits.

    Attributes:
        resource: Which resource.
        limit: The plugin's limit, in the resource's unit.
        mechanism: What keeps it: ``cgroup``, ``rlimit``, ``broker`` or ``allocator`` refuse what is
            beyond it; ``cpu-clock``, ``hook-clock`` and ``monitor`` see it, within milliseconds,
            after the call, and at the monitor's interval, and count a violation; ``none``: what is
            used cannot be told from what the host uses.
        bound: What that is set to, for the process as a whole, or None.
        detail: The file or limit of the kernel, or why it is not kept by the kernel.
    """

    resource: ViolationType
    limit: int
    mechanism: str
    bound: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        bound = "" if self.bound is None else f" = {self.bound}"
        return (
            f"{self.resource.value} {self.limit}: {self.mechanism}"
            f"{f' ({self.detail}{bound})' if self.detail else ''}"
        )


def limits_in_process(limits: ResourceLimits, heap_limit: int | None) -> tuple[LimitInForce, ...]:
    """Return what keeps a plugin in the host's process to its limits."""
    shared = "it shares the host's process; a process of its own has a limit"
    return tuple(
        LimitInForce(resource=kind, limit=getattr(limits, kind.value), mechanism=how, detail=detail)
        for kind, how, detail in (
            (ViolationType.HEAP_MEMORY, "none", shared)
            if heap_limit is None
            else (
                ViolationType.HEAP_MEMORY,
                "allocator",
                "beyond it MemoryError, or NULL from alloc",
            ),
            (ViolationType.CPU_TIME, "hook-clock", "the clock of the thread, read after each call"),
            (ViolationType.THREADS, "none", shared),
            (ViolationType.FILE_DESCRIPTORS, "none", shared),
            (ViolationType.CONNECTIONS, "none", shared),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmountBehavior:
    """Say what follows when a plugin reaches the violation threshold.

    Attributes:
        auto_unmount: Unload the plugin when the threshold is reached.
        log_violations: Log every violation with level WARNING.
        quarantine: Refuse the plugin for a while after it was unmounted.
    """

    auto_unmount: bool = True
    log_violations: bool = True
    quarantine: bool = True


class ViolationTracker:
    """Count the violations of one plugin against a threshold.

    All violations count until `reset`; the newest `history` of them are kept for inspection, so
    memory stays bounded. Safe to use from several threads.

    Args:
        violation_threshold: The count at which `record` answers True, at least 1.
        window_seconds: Count only violations of the last so many seconds; None counts all.
        history: How many violations are kept, at least `violation_threshold`.
    """

    def __init__(
        self,
        violation_threshold: int = 10,
        *,
        window_seconds: float | None = None,
        history: int = 100,
    ) -> None:
        if type(violation_threshold) is not int or violation_threshold < 1:
            raise InvalidResourceLimits(
                f"violation_threshold is {violation_threshold!r}, not a whole number of at least 1",
                hint="give 1 or more; 10 is the default",
                limit="violation_threshold",
            )
        if window_seconds is not None and not window_seconds > 0:
            raise InvalidResourceLimits(
                f"window_seconds is {window_seconds!r}, not a positive number",
                hint="give a positive number of seconds, or None to count without a window",
                limit="window_seconds",
            )
        self.violation_threshold = violation_threshold
        self.window_seconds = window_seconds
        self._lock = threading.Lock()
        self._kept: deque[Violation] = deque(maxlen=max(history, violation_threshold))
        self._total = 0

    def record(self, violation: Violation) -> bool:
        """Add a violation and tell whether the threshold is reached now."""
        with self._lock:
            self._kept.append(violation)
            self._total += 1
            return self._count(violation.at) >= self.violation_threshold

    def count(self) -> int:
        """Return how many violations count at present."""
        with self._lock:
            return self._count(time.time())

    def _count(self, now: float) -> int:
        if self.window_seconds is None:
            return self._total
        since = now - self.window_seconds
        return sum(1 for violation in self._kept if violation.at > since)

    @property
    def window(self) -> str:
        """Which violations count, for messages."""
        if self.window_seconds is None:
            return "since it was loaded or they were reset"
        return f"within {self.window_seconds:g} s"

    @property
    def threshold_reached(self) -> bool:
        """Whether the count is at or above the threshold."""
        return self.count() >= self.violation_threshold

    def violations(self) -> tuple[Violation, ...]:
        """Return the newest violations, oldest first."""
        with self._lock:
            return tuple(self._kept)

    def reset(self) -> None:
        """Forget all violations."""
        with self._lock:
            self._kept.clear()
            self._total = 0
