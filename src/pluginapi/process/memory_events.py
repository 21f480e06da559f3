"""Hear at once of a plugin's memory that goes through its limit, from its control group."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pluginapi.errors import SandboxError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pluginapi.process.supervisor import Supervisor
    from pluginapi.sandbox.cgroups import Cgroup

__all__ = ["MemoryEvents"]

# Of the limit: below it, memory that was above counts as below again.
_RECOVERED: Final = 0.95
_LOOK_AGAIN_SECONDS: Final = 1.0
# So that one who stays just below its limit is not looked at over and over.
_LEAST_STEP_BYTES: Final = 256 << 10

_log = logging.getLogger("pluginapi.process")


class MemoryEvents:
    """Report when a plugin's memory goes through its limit, until `close`; once each time.

    It goes through it again when it was below 95 % of it in between. Version 1 of control groups
    tells through an eventfd, version 2 by ``memory.events`` with ``memory.high`` as the bound: as
    soon as it was passed, that is lifted, since above it the kernel slows a group down to a crawl.
    Both tell within milliseconds. Thread-safe.

    A group is charged with files that the kernel keeps for it, too, which are not the plugin's:
    when they are what goes through the bound, it is set higher by what the plugin has left.

    Args:
        group: The control group.
        limit: The plugin's limit.
        used: Returns what the plugin uses of it.
        report: Called on the executor's thread with what is used.
        supervisor: Its thread hears the events.
        executor: Looks and sets bounds: in version 1 the kernel takes 8 ms for a bound, which
            neither the start of a plugin nor the supervisor waits for. One thread.
    """

    def __init__(
        self,
        group: Cgroup,
        *,
        limit: int,
        used: Callable[[], int | None],
        report: Callable[[int], object],
        supervisor: Supervisor,
        executor: Executor,
    ) -> None:
        self._group = group
        self._limit = limit
        self._used = used
        self._report = report
        self._supervisor = supervisor
        self._executor = executor
        self._lock = threading.RLock()
        self._fd = -1
        self._closed = False
        self._above = False
        self._planned = False
        self._look_soon()

    def close(self) -> None:
        """Hear of nothing any more; idempotent."""
        with self._lock:
            self._closed = True
            self._disarm()

    def abandon(self) -> None:
        """Let go of it in a process that was forked from this one."""
        self._closed = True
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _charge(self) -> int:
        return self._group.charge() or 0

    def _arm(self, charge: int, left: int) -> bool:
        """Hear of it when the group is charged with so much more; tell whether it is by now.

        The kernel tells of going through a bound, not of being above one.
        """
        bound = charge + max(left, _LEAST_STEP_BYTES)
        fd, is_eventfd = self._group.open_memory_events(bound)
        with self._lock:
            self._disarm()
            if self._closed:
                os.close(fd)
                return False
            self._fd = fd
            events = select.EPOLLIN if is_eventfd else select.EPOLLPRI
            self._supervisor.watch(fd, self._heard, events)
        return self._charge() >= bound

    def _disarm(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._supervisor.unwatch(fd)
            os.close(fd)

    def _heard(self) -> None:
        with self._lock:
            # It is opened anew: what it would tell again and again is told once.
            self._disarm()
        self._look_soon()

    def _look_soon(self) -> None:
        try:
            self._executor.submit(self._look)
        except RuntimeError as err:
            # The manager closes, and the process ends with it.
            _log.debug("memory is not looked at any more: %s", err)

    def _look(self) -> None:
        try:
            while not self._closed and self._passed():
                pass
        except SandboxError as err:
            # When its process ends its group goes, which is no news.
            level = logging.DEBUG if self._closed else logging.WARNING
            _log.log(level, "memory of a plugin is looked at by the monitor alone: %s", err)
        except Exception:  # noqa: BLE001 - nobody asks the executor what became of it
            _log.exception("looking after the memory of a plugin failed")
        if self._above and not self._planned:
            # Nothing tells that it falls.
            self._planned = True
            self._supervisor.call_later(_LOOK_AGAIN_SECONDS, self._look_again)

    def _passed(self) -> bool:
        """Report, or hear of the next time; tell whether that has come meanwhile."""
        # In this order: what it takes in between makes the next time come earlier, not later.
        charge = self._charge()
        used = self._used()
        if used is None:
            return False
        if self._above and used < self._limit * _RECOVERED:
            self._above = False
        if self._above:
            return False
        if used <= self._limit:
            return self._arm(charge, self._limit - used)
        self._above = True
        self._group.lift_high_memory()
        self._report(used)
        return False

    def _look_again(self) -> None:
        self._planned = False
        self._look_soon()
