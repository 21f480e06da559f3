"""What samplers have in common that measure one process after the other, in Python."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pluginapi.monitor.usage import ProcessLife, ProcessUsage

if TYPE_CHECKING:
    from pluginapi.monitor.usage import UsageBounds
    from pluginapi.sandbox.cgroups.usage import GroupFiles

__all__ = ["OneByOne", "OneProcess"]

_NOTHING = ProcessUsage(life=ProcessLife.GONE)


class OneProcess(ABC):
    """One process; see `pluginapi.monitor.sampler.SampledProcess`."""

    def __init__(self, owner: OneByOne, pid: int, started: float) -> None:
        self.pid = pid
        self.started = started
        self.usage = _NOTHING
        self.bounds: UsageBounds | None = None
        self.closed = False
        self._owner = owner

    def __repr__(self) -> str:
        return f"<measured process {self.pid}>"

    @abstractmethod
    def look(self, *, connections: bool, peak: bool, switches: bool) -> ProcessUsage:
        """Measure it."""

    def read(self) -> ProcessUsage:
        """Return what was found the last time."""
        return _NOTHING if self.closed else self.usage

    def measure(self) -> ProcessUsage:
        """Measure it alone, now."""
        with self._owner.lock:
            if self.closed:
                return _NOTHING
            self.usage = self.look(connections=True, peak=False, switches=False)
            return self.usage

    def bound(self, bounds: UsageBounds) -> None:
        """Say what it may use."""
        self.bounds = bounds

    def attach(self, files: GroupFiles) -> None:
        """Close the files: control groups are measured by the compiled sampler."""
        files.close()

    def close(self) -> None:
        """Measure it no more."""
        with self._owner.lock:
            if not self.closed:
                self.closed = True
                self._owner.forget(self)
                self.release()

    def release(self) -> None:  # noqa: B027 - not all of them hold something
        """Give back what is held of it."""

    def is_over(self) -> bool:
        """Tell whether it is above a bound."""
        return self.bounds is not None and self.bounds.exceeded_by(self.usage)


class OneByOne(ABC):
    """See `pluginapi.monitor.sampler.ProcessSampler`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._processes: dict[OneProcess, None] = {}
        self._took: float | None = None

    def __len__(self) -> int:
        return len(self._processes)

    @abstractmethod
    def open(self, pid: int) -> OneProcess:
        """Open a process; raises `OSError`."""

    def add(self, pid: int) -> OneProcess:
        """Measure a process from now on."""
        if pid <= 0:
            raise ValueError(f"a process id is above 0, not {pid}")
        with self.lock:
            process = self.open(pid)
            self._processes[process] = None
        return process

    def forget(self, process: OneProcess) -> None:
        """Measure it no more."""
        self._processes.pop(process, None)

    def begin(self, *, connections: bool) -> None:  # noqa: B027 - not all of them have to
        """Do what one pass takes for all processes together."""

    def sample(
        self, *, connections: bool = True, peak: bool = False, switches: bool = False
    ) -> list[OneProcess]:
        """Measure all processes once, and return those that are above their bounds."""
        with self.lock:
            began = time.monotonic()
            self.begin(connections=connections)
            for process in self._processes:
                process.usage = process.look(connections=connections, peak=peak, switches=switches)
            self._took = time.monotonic() - began
            return [process for process in self._processes if process.is_over()]

    def pass_seconds(self) -> float | None:
        """Return how long the latest pass took, or None before the first."""
        return self._took

    def abandon(self) -> None:
        """Let go of everything in a process that was forked from this one."""
        self.lock = threading.RLock()
        left, self._processes = tuple(self._processes), {}
        for process in left:
            process.closed = True
            process.release()

    def close(self) -> None:
        """Let go of all processes."""
        with self.lock:
            for process in tuple(self._processes):
                process.close()
