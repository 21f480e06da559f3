"""What a control group has used, and what has happened to it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CgroupEvents", "CgroupUsage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupUsage:
    """What the processes of a group use; None where no controller tells.

    Attributes:
        memory_bytes: Memory now.
        memory_peak_bytes: The most memory so far.
        swap_bytes: Swap space now.
        cpu_us: Microseconds of processor time so far.
        pids: Processes and threads now.
    """

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    swap_bytes: int | None = None
    cpu_us: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupEvents:
    """How often the bounds of a group were met; None where no controller tells.

    Attributes:
        oom_kills: Processes that the kernel ended for want of memory. Version 2, where the whole
            group ends, may count the one that it chose twice.
        pids_refused: Forks that were refused.
        throttled_periods: Periods in which it had used up its processor time.
    """

    oom_kills: int | None = None
    pids_refused: int | None = None
    throttled_periods: int | None = None
