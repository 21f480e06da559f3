"""What a plugin uses that has a process of its own: its worker's process, less the worker."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pluginapi.monitor.metrics import PluginUsage
from pluginapi.monitor.usage import ProcessLife, ProcessUsage, UsageBounds

if TYPE_CHECKING:
    from pluginapi.limits import ResourceLimits
    from pluginapi.monitor.sampler import ProcessSampler, SampledProcess
    from pluginapi.process.child import Worker

__all__ = ["WorkerUsage"]

# The socket that it is handed its plugin through, which it closes then.
_CLOSED_AT_LOAD: Final = 1


class WorkerUsage:
    """Measure one worker from before its plugin is loaded until `close`. Thread-safe.

    Args:
        sampler: Measures processes.
        worker: The worker, which has no plugin yet: what it uses now is its own.
        limits: What the plugin may use besides; None bounds nothing.

    Raises:
        OSError: When the process cannot be measured, since it has ended.

    Attributes:
        before: What the worker uses by itself.
    """

    def __init__(
        self, sampler: ProcessSampler, worker: Worker, limits: ResourceLimits | None
    ) -> None:
        self._worker = worker
        self._last_cpu_ms = 0.0
        self.process: SampledProcess = sampler.add(worker.pid)
        try:
            self._begin(limits)
        except BaseException:
            self.process.close()
            raise

    def _begin(self, limits: ResourceLimits | None) -> None:
        if self._worker.wait(0):
            # The number may have been another process's.
            raise ProcessLookupError(f"process {self._worker.pid} has ended")
        confinement = self._worker.confinement
        if confinement is not None and confinement.cgroup is not None:
            self.process.attach(confinement.cgroup.open_usage())
        before = self.process.measure()
        descriptors = max(0, (before.descriptors or 0) - _CLOSED_AT_LOAD)
        self.before = before = replace(before, descriptors=descriptors)
        if limits is not None:
            self.process.bound(
                UsageBounds(
                    memory_before=before.memory_of_all or 0,
                    memory=limits.max_heap_bytes,
                    threads_before=before.threads_of_all or 0,
                    threads=limits.max_threads,
                    descriptors_before=descriptors,
                    descriptors=limits.max_file_descriptors,
                    connections=limits.max_connections,
                )
            )

    def now(self) -> PluginUsage:
        """Measure the process and return what the plugin uses; connections are the last pass's."""
        return self._of(self.process.measure())

    def latest(self) -> PluginUsage:
        """Return what the latest pass of the sampler found."""
        return self._of(self.process.read())

    def close(self) -> float:
        """Stop measuring; return the processor time that it took, as far as it is known, in ms."""
        # The clock of its control group goes on to tell when the process has ended.
        self._of(self.process.measure())
        self.process.close()
        return self._last_cpu_ms

    def _of(self, usage: ProcessUsage) -> PluginUsage:
        before = self.before
        cpu_ns = usage.cpu_ns_of_all
        if cpu_ns is not None:
            self._last_cpu_ms = max(self._last_cpu_ms, cpu_ns / 1e6)
        heap = _besides(usage.memory_of_all, before.memory_of_all)
        peak = _besides(usage.peak_bytes, before.memory_bytes)
        ended = usage.life in (ProcessLife.GONE, ProcessLife.ZOMBIE)
        return PluginUsage(
            heap_bytes=heap,
            heap_peak_bytes=peak if heap is None or peak is None else max(peak, heap),
            cpu_time_ms=self._last_cpu_ms if cpu_ns is not None or self._last_cpu_ms else None,
            thread_count=_besides(usage.threads_of_all, before.threads_of_all),
            fd_count=_besides(usage.descriptors, before.descriptors),
            connection_count=usage.connections,
            resident_bytes=usage.memory_bytes,
            pid=None if ended else self._worker.pid,
            uptime_seconds=None if ended else time.monotonic() - self._worker.started,
        )


def _besides(now: int | None, before: int | None) -> int | None:
    return None if now is None else max(0, now - (before or 0))
