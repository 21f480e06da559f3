"""Limits of single processes, setrlimit(2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pluginapi.errors import SandboxConfigError

__all__ = ["RESOURCES", "RlimitsConfig"]

RESOURCES: Final = {
    # <asm-generic/resource.h>
    "cpu_seconds": 0,
    "file_size_bytes": 1,
    "data_bytes": 2,
    "stack_bytes": 3,
    "core_bytes": 4,
    "open_files": 7,
    "locked_bytes": 8,
    "address_space_bytes": 9,
    "file_locks": 10,
    "pending_signals": 11,
    "message_queue_bytes": 12,
    "realtime_priority": 14,
}
"""The limits of `RlimitsConfig`, with the numbers that the kernel knows them by."""

_MOST: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class RlimitsConfig:
    """Bound single processes; None leaves a limit as the host has it.

    The soft and the hard limit are the same, so a process cannot raise them again.

    Attributes:
        open_files: Descriptors.
        core_bytes: Size of core dumps. Not 0: where core dumps go to a program, the kernel runs it
            as root for a limit of 0 too, and for 1 it does not; core(5).
        stack_bytes: Size of the stack of the first thread.
        file_size_bytes: Size of a file that is written.
        address_space_bytes: Size of the address space.
        data_bytes: Memory that is the process's own and writable.
        cpu_seconds: Processor time, after which the process is killed.
        locked_bytes: Memory that is locked.
        file_locks: Locks on files.
        pending_signals: Signals that wait.
        message_queue_bytes: POSIX message queues.
        realtime_priority: Priority of real-time scheduling.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` when a value is out of bounds.
    """

    open_files: int | None = None
    core_bytes: int | None = 1
    stack_bytes: int | None = None
    file_size_bytes: int | None = None
    address_space_bytes: int | None = None
    data_bytes: int | None = None
    cpu_seconds: int | None = None
    locked_bytes: int | None = None
    file_locks: int | None = None
    pending_signals: int | None = None
    message_queue_bytes: int | None = None
    realtime_priority: int | None = None

    def __post_init__(self) -> None:
        for name in RESOURCES:
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 0 <= value <= _MOST):
                raise SandboxConfigError(
                    f"the limit {name} is {value!r}, not a number from 0 to {_MOST}",
                    hint=f"choose {name} within these bounds, or leave it out",
                )

    def limits(self) -> dict[str, int]:
        """Return those that are set, by name."""
        found = {name: getattr(self, name) for name in RESOURCES}
        return {name: value for name, value in found.items() if value is not None}
