"""Hear at once of a plugin's memory that goes through its limit, from its control group."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pluginapi.errors import SandboxError

if TYPE_CHECKING:
    from pluginapi.process.supervisor import Supervisor
    from pluginapi.sandbox.cgroups import Cgroup

__all__ = ["MemoryEvents"]

# The kernel may tell of the same growth many times.
_QUIET_SECONDS: Final = 0.5

_log = logging.getLogger("pluginapi.process")


class MemoryEvents:
    """Call a function when the memory of a control group goes through a bound, until `close`.

    Version 1 tells through an eventfd, once each time; version 2 by ``memory.events``, with the
    bound as ``memory.high``, above which it slows the group down and takes back what it can. Both
    tell within milliseconds. Thread-safe.

    Args:
        group: The control group.
        bound: Bytes.
        supervisor: Its thread calls the function.
        function: Has to look for itself: files that the kernel would take back count for it.

    Raises:
        SandboxError: With code ``sandbox.cgroup_failed`` when the kernel does not tell.
    """

    def __init__(
        self, group: Cgroup, bound: int, supervisor: Supervisor, function: Callable[[], object]
    ) -> None:
        self._supervisor = supervisor
        self._function = function
        self._lock = threading.Lock()
        self._quiet_until = 0.0
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
            now = time.monotonic()
            if now < self._quiet_until:
                return
            self._quiet_until = now + _QUIET_SECONDS
        try:
            self._function()
        except SandboxError:
            _log.exception("looking after an event of memory failed")
