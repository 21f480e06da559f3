"""Hear at once of a plugin's memory that goes through its limit, from its control group."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pluginapi.errors import SandboxError

if TYPE_CHECKING:
    from pluginapi.process.supervisor import Supervisor
    from pluginapi.sandbox.cgroups import Cgroup

__all__ = ["MemoryEvents"]

# Of the limit: below it, memory that was above counts as below again.
_RECOVERED: Final = 0.95
_LOOK_AGAIN_SECONDS: Final = 1.0

_log = logging.getLogger("pluginapi.process")


class MemoryEvents:
    """Report when a plugin's memory goes through its limit, until `close`; once each time.

    It goes through it again when it was below 95 % of it in between. Version 1 of control groups
    tells through an eventfd, version 2 by ``memory.events`` with ``memory.high`` as the bound: as
    soon as it was passed, that is lifted, since above it the kernel slows a group down to a crawl.
    Both tell within milliseconds. Thread-safe.

    Args:
        group: The control group.
        bound: Bytes that the group is charged with when the plugin is at its limit.
        limit: The plugin's limit.
        used: Returns what the plugin uses of it: files that the kernel would take back do not
            count for it, and do for the group.
        report: Called on the supervisor's thread with what is used.
        supervisor: Its thread hears the events.

    Raises:
        SandboxError: With code ``sandbox.cgroup_failed`` when the kernel does not tell.
    """

    def __init__(
        self,
        group: Cgroup,
        bound: int,
        *,
        limit: int,
        used: Callable[[], int | None],
        report: Callable[[int], object],
        supervisor: Supervisor,
    ) -> None:
        self._group = group
        self._bound = bound
        self._limit = limit
        self._used = used
        self._report = report
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._above = False
        self._fd, self._is_eventfd = group.open_memory_events(bound)
        events = select.EPOLLIN if self._is_eventfd else select.EPOLLPRI
        supervisor.watch(self._fd, self._heard, events)

    def close(self) -> None:
        """Hear of nothing any more; idempotent."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            self._supervisor.unwatch(fd)
            os.close(fd)

    def abandon(self) -> None:
        """Let go of it in a process that was forked from this one."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _heard(self) -> None:
        with self._lock:
            if self._fd < 0:
                return
            # Taken note of, so that the next one is told.
            with contextlib.suppress(BlockingIOError):
                if self._is_eventfd:
                    os.eventfd_read(self._fd)
                else:
                    os.pread(self._fd, 4096, 0)
        self._look()

    def _look(self) -> None:
        if self._fd < 0:
            return
        used = self._used()
        try:
            if used is None:
                return
            if not self._above and used > self._limit:
                self._above = True
                if not self._is_eventfd:
                    self._group.bound_high_memory(None)
                self._report(used)
            elif self._above and used < self._limit * _RECOVERED:
                self._above = False
                if not self._is_eventfd:
                    self._group.bound_high_memory(self._bound)
        except SandboxError as err:
            # Its group goes when it ends.
            _log.debug("an event of memory was not looked after: %s", err)
        if self._above and not self._is_eventfd:
            # With the bound lifted, nothing tells that it falls.
            self._supervisor.call_later(_LOOK_AGAIN_SECONDS, self._look)
