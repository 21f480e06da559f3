"""How processes of plugins end: from what the kernel tells to a reason."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from pluginapi.process.child import Worker
from pluginapi.process.nursery import Ended
from pluginapi.process.status import EndReason, ProcessEnd

__all__ = ["Doom", "describe_end", "oom_kills"]


class Doom(NamedTuple):
    """Why this host ends a process, decided before it does."""

    reason: EndReason
    detail: str


def describe_end(worker: Worker, ended: Ended, doom: Doom | None, oom_before: int) -> ProcessEnd:
    """Say how a process ended.

    Args:
        worker: The process.
        ended: What its parent told of it.
        doom: Why it was ended, if this host did it.
        oom_before: `oom_kills` when it started.
    """
    code, status = ended
    if code is None:
        code, status = _asked_of_kernel(worker.pidfd)
    killed = code in (os.CLD_KILLED, os.CLD_DUMPED)
    if doom is None:
        if ended.code is None:
            doom = Doom(EndReason.NURSERY, "the process that started it ended")
        elif killed and status == signal.SIGKILL and oom_kills() > oom_before:
            doom = Doom(EndReason.OUT_OF_MEMORY, "the kernel ran out of memory")
        else:
            doom = Doom(EndReason.SIGNAL if killed else EndReason.EXIT, "")
    return ProcessEnd(
        reason=doom.reason,
        pid=worker.pid,
        exit_code=status if code == os.CLD_EXITED else None,
        signal=status if killed else None,
        core_dumped=code == os.CLD_DUMPED,
        uptime=time.monotonic() - worker.started,
        time=time.time(),
        detail=doom.detail,
    )


def _asked_of_kernel(pidfd: int) -> tuple[int | None, int | None]:
    """Return code and status of a process that nobody waited for on this process's behalf."""
    from pluginapi._native import _spawn  # noqa: PLC0415 - Linux only

    try:
        status = _spawn.ended(pidfd)
    except OSError:
        # Before Linux 6.15 the kernel tells parents alone.
        return None, None
    if status is None:
        return None, None
    if os.WIFEXITED(status):
        return os.CLD_EXITED, os.WEXITSTATUS(status)
    return (os.CLD_DUMPED if os.WCOREDUMP(status) else os.CLD_KILLED), os.WTERMSIG(status)


def oom_kills() -> int:
    """Return how many processes the kernel has ended for want of memory, since it runs."""
    try:
        text = Path("/proc/vmstat").read_text("ascii")
    except OSError:
        return 0
    found = text.partition("\noom_kill ")[2].partition("\n")[0]
    return int(found) if found.isdigit() else 0
