"""Measure processes with the compiled sampler: thousands in one call, without the GIL."""

from __future__ import annotations

import os
import resource
import threading
import time
from typing import TYPE_CHECKING, Final

from pluginapi._native import _procfs
from pluginapi.monitor.usage import ProcessLife, ProcessUsage

if TYPE_CHECKING:
    from pluginapi.monitor.usage import UsageBounds
    from pluginapi.sandbox.cgroups.usage import GroupFiles

__all__ = ["NativeSampler"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_MOST_64: Final = (1 << 64) - 1
_MOST_32: Final = (1 << 32) - 1

_LIVES: Final = {
    _procfs.LIVE: ProcessLife.LIVE,
    _procfs.ZOMBIE: ProcessLife.ZOMBIE,
    _procfs.LEADER_GONE: ProcessLife.LEADER_GONE,
    _procfs.GONE: ProcessLife.GONE,
}
_NOTHING: Final = ProcessUsage(life=ProcessLife.GONE)


def _keepable_descriptors() -> int:
    """Return how many descriptors may be held open to be quick: half of what is allowed."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_32, max(0, soft // 2) if soft != resource.RLIM_INFINITY else 1 << 20)


class NativeProcess:
    """One process of a `NativeSampler`."""

    __slots__ = ("_owner", "_place", "pid", "started")

    def __init__(self, owner: NativeSampler, pid: int, place: int, start_ticks: int) -> None:
        self.pid = pid
        self.started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + start_ticks / _TICKS
        self._owner = owner
        self._place: int | None = place

    def __repr__(self) -> str:
        return f"<measured process {self.pid}>"

    def read(self) -> ProcessUsage:
        place = self._place
        return _NOTHING if place is None else _usage(self._owner.core.read(place))

    def measure(self) -> ProcessUsage:
        place = self._place
        if place is None:
            return _NOTHING
        try:
            self._owner.core.sample_one(place, 0)
        except ProcessLookupError:
            # Another thread closed it meanwhile.
            return _NOTHING
        return _usage(self._owner.core.read(place))

    def bound(self, bounds: UsageBounds) -> None:
        place = self._place
        if place is not None:
            self._owner.core.bound(
                place,
                min(bounds.memory_before, _MOST_64),
                min(bounds.memory, _MOST_64),
                min(bounds.threads_before, _MOST_32),
                min(bounds.threads, _MOST_32),
                min(bounds.descriptors_before, _MOST_32),
                min(bounds.descriptors, _MOST_32),
                min(bounds.connections, _MOST_32),
            )

    def attach(self, files: GroupFiles) -> None:
        place = self._place
        if place is None:
            files.close()
            return
        self._owner.core.attach(
            place, files.memory, files.stat, files.cpu, files.tasks, files.cpu_unit_ns
        )

    def close(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            self._owner.remove(place)


class NativeSampler:
    """Measure through `_native._procfs`; see `pluginapi.monitor.sampler.ProcessSampler`.

    Args:
        keep: Descriptors that may be held open to be quick; None for half of what the process may
            have. Without any, one is held for each process, and each measurement takes more.
    """

    name: Final = "native"

    def __init__(self, keep: int | None = None) -> None:
        self.core = _procfs.Sampler(_keepable_descriptors() if keep is None else keep)
        self._lock = threading.Lock()
        self._at: dict[int, NativeProcess] = {}

    def __len__(self) -> int:
        return len(self._at)

    def add(self, pid: int) -> NativeProcess:
        """Measure a process from now on."""
        place, start = self.core.add(pid)
        made = NativeProcess(self, pid, place, start)
        with self._lock:
            self._at[place] = made
        return made

    def remove(self, place: int) -> None:
        """Forget what is at a place; another process may be there afterwards."""
        with self._lock:
            self._at.pop(place, None)
        self.core.remove(place)

    def sample(
        self, *, connections: bool = True, peak: bool = False, switches: bool = False
    ) -> list[NativeProcess]:
        """Measure all processes once, and return those that are above their bounds."""
        what = _procfs.CONNECTIONS if connections else 0
        what |= _procfs.PEAK | _procfs.RESET_PEAK if peak else 0
        what |= _procfs.SWITCHES if switches else 0
        over = self.core.sample(what)
        with self._lock:
            return [self._at[place] for place in over if place in self._at]

    def pass_seconds(self) -> float | None:
        """Return how long the latest pass took, or None before the first."""
        *_, passes, took = self.core.facts()
        return took / 1e9 if passes else None

    def abandon(self) -> None:
        """Let go of everything in a process that was forked from this one."""
        self._lock = threading.Lock()
        self._at = {}
        # The one before goes, and its descriptors with it.
        self.core = _procfs.Sampler(0)

    def close(self) -> None:
        """Let go of all processes."""
        with self._lock:
            left = tuple(self._at.values())
        for process in left:
            process.close()


def _usage(found: tuple[int, ...]) -> ProcessUsage:
    known, _, state, memory, cpu, peak, voluntary, involuntary = found[:8]
    group_memory, group_cpu, group_tasks, threads, descriptors, connections, error = found[8:]
    return ProcessUsage(
        life=_LIVES[state],
        memory_bytes=memory if known & _procfs.MEMORY else None,
        cpu_ns=cpu if known & _procfs.CPU else None,
        threads=threads if known & _procfs.THREADS else None,
        descriptors=descriptors if known & _procfs.DESCRIPTORS else None,
        connections=connections if known & _procfs.CONNECTIONS else None,
        peak_bytes=peak if known & _procfs.PEAK else None,
        voluntary_switches=voluntary if known & _procfs.SWITCHES else None,
        involuntary_switches=involuntary if known & _procfs.SWITCHES else None,
        group_memory_bytes=group_memory if known & _procfs.GROUP_MEMORY else None,
        group_cpu_ns=group_cpu if known & _procfs.GROUP_CPU else None,
        group_tasks=group_tasks if known & _procfs.GROUP_TASKS else None,
        error=os.strerror(error) if error else None,
    )
