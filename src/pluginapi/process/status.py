"""What there is to say of a plugin's process: its state, and how earlier ones ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum

__all__ = ["EndReason", "ProcessEnd", "ProcessState", "ProcessStatus"]


class ProcessState(Enum):
    """Where a plugin's process is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"
    """It ended and will be started again after a pause."""
    FAILED = "failed"
    """It ended and is not started again: the budget of restarts is spent."""


class EndReason(Enum):
    """Why a process ended."""

    EXIT = "exit"
    """It exited by itself."""
    SIGNAL = "signal"
    """A signal ended it: its own fault, or somebody else's."""
    OUT_OF_MEMORY = "out-of-memory"
    """The kernel ended it for want of memory."""
    DEADLINE = "deadline"
    """It was ended since it did not answer a call in time."""
    HEALTH = "health"
    """It was ended since it did not answer when asked for a sign of life."""
    PROTOCOL = "protocol"
    """It was ended since it broke the protocol of its channel, or closed it."""
    START = "start"
    """It was ended since its plugin could not be loaded."""
    LIMITS = "limits"
    """It was ended since its plugin violated its limits too often."""
    MANUAL = "manual"
    """It was stopped or killed on request."""
    NURSERY = "nursery"
    """The process that started it ended, and it with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnd:
    """Say how one process ended.

    Attributes:
        reason: Why.
        pid: Its process id.
        exit_code: What it exited with, or None.
        signal: The signal that ended it, or None.
        core_dumped: Whether the kernel wrote a core file.
        uptime: Seconds that it ran.
        time: When it ended, seconds since the epoch.
        detail: What led to it, for messages.
    """

    reason: EndReason
    pid: int
    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    uptime: float = 0.0
    time: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        if self.signal is not None:
            how = f"ended by {_signal_name(self.signal)}"
            how += ", core dumped" if self.core_dumped else ""
        elif self.exit_code is not None:
            how = f"exited with {self.exit_code}"
        else:
            how = "ended"
        text = f"process {self.pid} {how} after {self.uptime:.1f} s ({self.reason.value})"
        return f"{text}: {self.detail}" if self.detail else text


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """Describe a plugin's process at one moment.

    Attributes:
        name: The plugin.
        state: Where it is in its life.
        pid: Its process id, or None without a process.
        uptime: Seconds since the process started, 0 without one.
        restarts: Restarts that count against the budget now.
        starts: Processes that were started for this plugin so far.
        ends: How the latest ones ended, oldest first, at most 16.
    """

    name: str
    state: ProcessState
    pid: int | None
    uptime: float
    restarts: int
    starts: int
    ends: tuple[ProcessEnd, ...]
