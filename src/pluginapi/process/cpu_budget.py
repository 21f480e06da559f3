"""Processor time of single calls: watched over in milliseconds, whatever the plugin does."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pluginapi._native import _budget

if TYPE_CHECKING:
    from pluginapi.ipc.channel import IpcChannel
    from pluginapi.process.child import Worker
    from pluginapi.process.supervisor import Supervisor

__all__ = ["BudgetedCalls", "CpuBudgets"]

_log = logging.getLogger("pluginapi.process")

Exceeded = Callable[[int, int], object]
"""Called with the milliseconds that running calls have used, rounded up, and their budget."""


class BudgetedCalls:
    """The calls of one process, watched until `close`. Thread-safe."""

    def __init__(
        self, owner: CpuBudgets, number: int, calls: _budget.WatchedCalls, channel: IpcChannel
    ) -> None:
        self._owner = owner
        self._number = number
        self._calls: Final = calls
        channel.core.watch_calls(calls.capsule())

    def allow_concurrent(self) -> None:
        """Say that its calls may run at the same time: each has the budget then."""
        self._calls.allow_concurrent()

    def close(self) -> None:
        """Watch no more; to be called while nobody else can have the process's number."""
        self._owner.forget(self._number, self._calls)


class CpuBudgets:
    """Watch over the processor time of calls of any number of processes. Thread-safe.

    One thread, which sleeps while nobody makes calls, looks every 3 ms which calls do not end, and
    reads the clock of their processes. A call that ends within that costs two stores. What counts
    is never more than the running calls took; a budget that is used up is told within some
    milliseconds, and again each time that it is used up once more while no call ends.

    Args:
        supervisor: Its thread hears of it.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._watcher: _budget.Watcher | None = None
        self._exceeded: dict[int, Exceeded] = {}
        self._closed = False

    def watch(self, worker: Worker, budget_ms: int, exceeded: Exceeded) -> BudgetedCalls | None:
        """Watch the calls that go over a worker's channel; None when this is closed.

        Raises:
            OSError: When there is no memory, or no thread, for it.
        """
        with self._lock:
            if self._closed:
                return None
            if self._watcher is None:
                self._watcher = _budget.Watcher()
                self._supervisor.watch(self._watcher.bell(), self._heard)
            number = next(self._numbers)
            calls = self._watcher.watch(worker.pid, budget_ms * 1_000_000, number)
            self._exceeded[number] = exceeded
        return BudgetedCalls(self, number, calls, worker.channel)

    def forget(self, number: int, calls: _budget.WatchedCalls) -> None:
        """Watch a process no more."""
        with self._lock:
            self._exceeded.pop(number, None)
            if self._watcher is not None:
                self._watcher.forget(calls)

    def close(self) -> None:
        """Watch nothing any more, and end the thread; idempotent."""
        with self._lock:
            self._closed = True
            watcher, self._watcher = self._watcher, None
            self._exceeded.clear()
        if watcher is not None:
            self._supervisor.unwatch(watcher.bell())
            watcher.close()

    def abandon(self) -> None:
        """Forget everything in a process that was forked from this one."""
        self._lock = threading.Lock()
        self._closed = True
        self._exceeded = {}
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.abandon()

    def _heard(self) -> None:
        while True:
            with self._lock:
                event = None if self._watcher is None else self._watcher.next()
                exceeded = None if event is None else self._exceeded.get(event[0])
            if event is None:
                return
            if exceeded is not None:
                _, used, budget, _ = event
                # Rounded up, so that it never reads "used 1000 ms, limit 1000 ms".
                exceeded(-(-used // 1_000_000), budget // 1_000_000)
