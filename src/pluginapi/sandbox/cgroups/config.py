"""What a control group is to bound."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from pluginapi.errors import SandboxConfigError

__all__ = ["CgroupConfig"]

_BOUNDS: Final = {
    "memory_limit_bytes": (1 << 20, 1 << 60),
    "swap_limit_bytes": (0, 1 << 60),
    "cpu_quota_us": (1000, 1 << 40),
    "cpu_period_us": (1000, 1_000_000),
    "cpu_weight": (1, 10_000),
    "pids_limit": (1, 4 << 20),
    "io_weight": (1, 10_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupConfig:
    """Bound what the processes of one plugin use together; None leaves a thing unbounded.

    A bound that the machine cannot set is an error when the group is made, never left out.

    Attributes:
        memory_limit_bytes: Memory, page cache and kernel memory among it, at least 1 MiB. Beyond
            it, the kernel ends the whole group.
        swap_limit_bytes: Swap space on top of the memory; 0 forbids it.
        cpu_quota_us: Microseconds of processor time in each period, at least 1000; more than the
            period for more than one processor.
        cpu_period_us: Microseconds of a period, 1000 to 1,000,000.
        cpu_weight: Share among groups that compete for processors, 1 to 10,000; 100 is normal.
        pids_limit: Processes and threads.
        io_weight: Share among groups that compete for disks, 1 to 10,000; 100 is normal.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` when a value is out of bounds.
    """

    memory_limit_bytes: int | None = None
    swap_limit_bytes: int | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int = 100_000
    cpu_weight: int | None = None
    pids_limit: int | None = None
    io_weight: int | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name != "cpu_period_us":
                continue
            if type(value) is not int or not least <= value <= most:
                raise SandboxConfigError(
                    f"{name} of a control group is {value!r}, not a number from {least} to {most}",
                    hint=f"choose {name} within these bounds, or leave it out",
                )

        if self.swap_limit_bytes is not None and self.memory_limit_bytes is None:
            raise SandboxConfigError(
                "swap_limit_bytes of a control group is set, memory_limit_bytes is not",
                hint="bound the memory too: without it, swap space is no bound",
            )

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers that these bounds need: ``memory``, ``cpu``, ``pids``, ``io``."""
        needs = {
            "memory_limit_bytes": "memory",
            "swap_limit_bytes": "memory",
            "cpu_quota_us": "cpu",
            "cpu_weight": "cpu",
            "pids_limit": "pids",
            "io_weight": "io",
        }
        set_ = {each.name for each in fields(self) if getattr(self, each.name) is not None}
        return frozenset(needs[name] for name in set_ & needs.keys())
