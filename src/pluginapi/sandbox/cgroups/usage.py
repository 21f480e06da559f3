"""What a control group has used, and what has happened to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CgroupEvents", "CgroupUsage", "GroupFiles"]

_OLDER: Final = {
    "memory": ("memory", "memory.usage_in_bytes"),
    "stat": ("memory", "memory.stat"),
    "cpu": ("cpuacct", "cpuacct.usage"),
    "tasks": ("pids", "pids.current"),
}
_NEWER: Final = {
    "memory": "memory.current",
    "stat": "memory.stat",
    "cpu": "cpu.stat",
    "tasks": "pids.current",
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFiles:
    """Descriptors of the files that tell what a group uses; -1 where there is no such file.

    They go on meaning that group; once it is removed, reading fails with ENODEV.

    Attributes:
        memory: The memory that it is charged with, in bytes.
        stat: What that memory is.
        cpu: Processor time.
        tasks: Processes and threads.
        cpu_unit_ns: Nanoseconds of what ``cpu`` counts in.
    """

    memory: int = -1
    stat: int = -1
    cpu: int = -1
    tasks: int = -1
    cpu_unit_ns: int = 1

    def close(self) -> None:
        """Close them."""
        for fd in (self.memory, self.stat, self.cpu, self.tasks):
            if fd >= 0:
                os.close(fd)

    @classmethod
    def open(cls, places: dict[str, Path], unified: Path | None) -> GroupFiles:
        """Open them in the directories of a group, of version 1 first."""
        opened: dict[str, int] = {}
        unit = 1
        for name, (controller, file) in _OLDER.items():
            fd = -1
            if controller in places:
                fd = _open(places[controller] / file)
            if fd < 0 and unified is not None:
                fd = _open(unified / _NEWER[name])
                unit = 1000 if name == "cpu" else unit
            opened[name] = fd
        return cls(**opened, cpu_unit_ns=unit)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
