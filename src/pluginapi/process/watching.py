"""All that watches over one worker from before its plugin is loaded: usage, limits, events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pluginapi.errors import SandboxError
from pluginapi.limits import LimitInForce, ResourceLimits, Violation, ViolationType
from pluginapi.process.cpu_budget import BudgetedCalls, CpuBudgets
from pluginapi.process.kernel_limits import set_kernel_limits
from pluginapi.process.measuring import WorkerUsage
from pluginapi.process.memory_events import MemoryEvents
from pluginapi.process.task_events import TaskEvents

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pluginapi.monitor.sampler import ProcessSampler
    from pluginapi.process.child import Worker
    from pluginapi.process.supervisor import Supervisor

__all__ = ["Watchers", "WorkerWatch"]

_log = logging.getLogger("pluginapi.process")


@dataclass(frozen=True, slots=True)
class Watchers:
    """What watches over all processes of a manager."""

    sampler: ProcessSampler
    budgets: CpuBudgets
    supervisor: Supervisor
    executor: Executor


class WorkerWatch:
    """Watch over one worker until `close`. Thread-safe.

    Args:
        worker: The worker, which has no plugin yet.
        limits: What its plugin may use; None bounds nothing.
        watchers: What watches.
        report: Called on any thread with each violation that is seen between two looks of the
            monitor.
        refused: Called on any thread with how many threads and processes it was refused, where the
            kernel tells.

    Raises:
        ProcessLookupError: When the process has ended.

    Attributes:
        usage: Measures it.
        limits: What keeps the plugin to each of its limits.
    """

    def __init__(
        self,
        worker: Worker,
        limits: ResourceLimits | None,
        watchers: Watchers,
        report: Callable[[Violation], object],
        refused: Callable[[int], object],
    ) -> None:
        self._report = report
        self._refused = refused
        self._calls: BudgetedCalls | None = None
        self._events: MemoryEvents | None = None
        self._tasks: TaskEvents | None = None
        self.usage = WorkerUsage(watchers.sampler, worker, limits)
        self.limits: tuple[LimitInForce, ...] = ()
        if limits is None:
            return
        try:
            self._begin(worker, limits, watchers)
        except BaseException:
            self.close()
            raise

    def _begin(self, worker: Worker, limits: ResourceLimits, watchers: Watchers) -> None:
        self.limits = set_kernel_limits(worker, self.usage.before, limits)
        self._calls = watchers.budgets.watch(
            worker,
            limits.max_cpu_time_ms,
            lambda used, limit: self._exceeded(ViolationType.CPU_TIME, used, limit, "cpu-clock"),
        )
        group = None if worker.confinement is None else worker.confinement.cgroup
        kept = {each.resource: each.mechanism for each in self.limits}
        if group is not None and kept[ViolationType.THREADS] == "cgroup":
            try:
                self._tasks = TaskEvents(group, watchers.supervisor, self._refused)
            except SandboxError as err:
                _log.warning("what a plugin is refused is not counted: %s", err)
        if group is None or self.usage.before.group_memory_bytes is None:
            return
        most = limits.max_heap_bytes
        self._events = MemoryEvents(
            group,
            limit=most,
            used=lambda: self.usage.now().heap_bytes,
            report=lambda used: self._exceeded(
                ViolationType.HEAP_MEMORY, used, most, "memory-event"
            ),
            supervisor=watchers.supervisor,
            executor=watchers.executor,
        )

    def _exceeded(self, kind: ViolationType, used: int, limit: int, source: str) -> None:
        self._report(Violation.now(kind, used, limit, source))

    @property
    def thread_refusals(self) -> int | None:
        """How often it was refused a thread or process; None where nobody counts."""
        return None if self._tasks is None else self._tasks.refused()

    def allow_concurrent(self) -> None:
        """Say that calls of the plugin may run at the same time."""
        if self._calls is not None:
            self._calls.allow_concurrent()

    def close(self) -> float:
        """Watch no more; return the processor time that it took, as far as it is known, in ms."""
        if self._calls is not None:
            self._calls.close()
        if self._events is not None:
            self._events.close()
        if self._tasks is not None:
            self._tasks.close()
        return self.usage.close()

    def abandon(self) -> None:
        """Let go of it in a process that was forked from this one."""
        if self._events is not None:
            self._events.abandon()
        if self._tasks is not None:
            self._tasks.abandon()
