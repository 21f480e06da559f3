"""Know of the threads and processes that the kernel refused a plugin."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pluginapi.process.supervisor import Supervisor
    from pluginapi.sandbox.cgroups import Cgroup

__all__ = ["TaskEvents"]

# Between two reports: a plugin may try again as fast as it can.
_REPORT_SECONDS: Final = 1.0

_log = logging.getLogger("pluginapi.process")


class TaskEvents:
    """Count how often a control group was at its bound of tasks, from now until `close`.

    With control groups of version 2 the kernel tells of it, and it is reported within
    milliseconds, at most once a second; version 1 counts alone. Thread-safe.

    Args:
        group: The control group.
        supervisor: Its thread hears the events.
        report: Called on the supervisor's thread with how often it was since the report before.

    Raises:
        SandboxError: With code ``sandbox.cgroup_failed`` when nothing bounds its tasks.
    """

    def __init__(
        self, group: Cgroup, supervisor: Supervisor, report: Callable[[int], object]
    ) -> None:
        self._supervisor = supervisor
        self._report = report
        self._lock = threading.Lock()
        self._reported = 0
        self._waits = False
        self._last = 0
        self._before = 0
        self._fd, tells = group.open_task_events()
        self._before = self._count()
        if tells:
            supervisor.watch(self._fd, self._heard, select.EPOLLPRI)

    def refused(self) -> int:
        """Return how often a thread or process was refused."""
        with self._lock:
            return self._count()

    def close(self) -> None:
        """Hear of nothing any more; `refused` goes on to say what it said last. Idempotent."""
        with self._lock:
            self._count()
            fd, self._fd = self._fd, -1
        if fd >= 0:
            self._supervisor.unwatch(fd)
            os.close(fd)

    def abandon(self) -> None:
        """Let go of it in a process that was forked from this one."""
        self._lock = threading.Lock()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _count(self) -> int:
        """Read the count, which the kernel takes for having heard of it."""
        try:
            text = os.pread(self._fd, 512, 0) if self._fd >= 0 else b""
        except OSError as err:
            # Its group is gone.
            _log.debug("the refused tasks of a control group are not counted any more: %s", err)
            text = b""
        for line in text.splitlines():
            name, _, count = line.partition(b" ")
            if name == b"max" and count.isdigit():
                self._last = int(count) - self._before
        return self._last

    def _heard(self) -> None:
        with self._lock:
            count = self._count()
            if self._waits or self._fd < 0 or count == self._reported:
                return
            self._waits = True
        self._tell()
        self._supervisor.call_later(_REPORT_SECONDS, self._again)

    def _again(self) -> None:
        with self._lock:
            self._waits = False
        self._heard()

    def _tell(self) -> None:
        with self._lock:
            count, before = self._last, self._reported
            self._reported = count
        self._report(count - before)
