"""What a process uses, and what it may use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["ProcessLife", "ProcessUsage", "UsageBounds"]


class ProcessLife(Enum):
    """What is left of a process."""

    LIVE = "live"
    ZOMBIE = "zombie"
    """It has ended, and its parent has not heard of it."""
    LEADER_GONE = "leader-gone"
    """Its first thread has ended and others go on, so that tools take it for a zombie.

    No well-behaved plugin does that: it hides memory, descriptors and threads from `ps` and
    psutil. What is measured of it is measured through a thread that is still there.
    """
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUsage:
    """What one process uses at one moment; None is what could not be had, never 0.

    Attributes:
        life: What is left of it.
        memory_bytes: Resident memory.
        cpu_ns: Processor time of all threads so far, in nanoseconds where the platform tells.
        threads: Threads.
        descriptors: Open file descriptors; on Windows handles.
        connections: TCP connections, in whichever network; not sockets that listen.
        peak_bytes: The most resident memory since the pass before, or so far where that is all
            that the platform tells; None unless asked for.
        voluntary_switches: Context switches because it waited; None unless asked for.
        involuntary_switches: Context switches because its time was up; None unless asked for.
        group_memory_bytes: Memory that its control group is charged with: of all its processes,
            and of files that they made in memory; not what the kernel keeps of files on disks.
        group_cpu_ns: Processor time of its control group.
        group_tasks: Processes and threads of its control group.
        error: Why something is not known, or None.
    """

    life: ProcessLife
    memory_bytes: int | None = None
    cpu_ns: int | None = None
    threads: int | None = None
    descriptors: int | None = None
    connections: int | None = None
    peak_bytes: int | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    group_memory_bytes: int | None = None
    group_cpu_ns: int | None = None
    group_tasks: int | None = None
    error: str | None = None

    @property
    def memory_of_all(self) -> int | None:
        """Memory of its control group where that is known, else its own."""
        return self.memory_bytes if self.group_memory_bytes is None else self.group_memory_bytes

    @property
    def threads_of_all(self) -> int | None:
        """Processes and threads of its control group where that is known, else its threads."""
        return self.threads if self.group_tasks is None else self.group_tasks

    @property
    def cpu_ns_of_all(self) -> int | None:
        """Processor time of its control group where that is known, else its own."""
        return self.cpu_ns if self.group_cpu_ns is None else self.group_cpu_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBounds:
    """What a process may use, above what it used before its plugin was loaded.

    Attributes:
        memory_before: `ProcessUsage.memory_of_all` before.
        memory: Bytes that it may use besides.
        threads_before: `ProcessUsage.threads_of_all` before.
        threads: Threads that it may have besides.
        descriptors_before: `ProcessUsage.descriptors` before.
        descriptors: Descriptors that it may have besides.
        connections: Connections that it may have.
    """

    memory_before: int
    memory: int
    threads_before: int
    threads: int
    descriptors_before: int
    descriptors: int
    connections: int

    def exceeded_by(self, usage: ProcessUsage) -> bool:
        """Tell whether anything is above its bound; what is not known is not."""
        used = (
            (usage.memory_of_all, self.memory_before + self.memory),
            (usage.threads_of_all, self.threads_before + self.threads),
            (usage.descriptors, self.descriptors_before + self.descriptors),
            (usage.connections, self.connections),
        )
        return any(amount is not None and amount > bound for amount, bound in used)
