"""What measures processes, however the platform tells."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pluginapi.monitor.usage import ProcessUsage, UsageBounds
    from pluginapi.sandbox.cgroups.usage import GroupFiles

__all__ = ["ProcessSampler", "SampledProcess", "open_sampler"]


class SampledProcess(Protocol):
    """One process of a sampler; it goes on meaning that process, whatever becomes of its number."""

    @property
    def pid(self) -> int:
        """Its process id. For messages: it may be another process's by now."""

    @property
    def started(self) -> float:
        """When it started, in seconds since the epoch."""

    def read(self) -> ProcessUsage:
        """Return what was found the last time; before the first time, nothing is known."""

    def measure(self) -> ProcessUsage:
        """Measure it alone, now, but its connections, which are those of the last pass."""

    def bound(self, bounds: UsageBounds) -> None:
        """Say what it may use."""

    def attach(self, files: GroupFiles) -> None:
        """Measure its control group too; the descriptors are taken."""

    def close(self) -> None:
        """Measure it no more; idempotent."""


class ProcessSampler(Protocol):
    """Measure any number of processes. Everything may be called from any thread."""

    @property
    def name(self) -> str:
        """How it measures: ``native``, ``procfs`` or ``psutil``."""

    def add(self, pid: int) -> SampledProcess:
        """Measure the process that has this number now, from now on.

        Whether it is the one that is meant is for the caller to know: one that has not ended yet
        has its number.

        Raises:
            ProcessLookupError: When there is none, or it has ended.
            OSError: When it cannot be opened.
        """

    def sample(
        self, *, connections: bool = True, peak: bool = False, switches: bool = False
    ) -> Sequence[SampledProcess]:
        """Measure all processes once, and return those that are above their bounds."""

    def pass_seconds(self) -> float | None:
        """Return how long the latest call of `sample` took, or None before the first."""

    def __len__(self) -> int:
        """Count the processes."""

    def abandon(self) -> None:
        """Let go of all processes in a process that was forked from this one, taking no lock."""

    def close(self) -> None:
        """Let go of all processes; idempotent."""


def open_sampler() -> ProcessSampler:
    """Return what measures processes best on this platform: the one place where that is chosen."""
    if sys.platform == "linux":
        from pluginapi.monitor.native import NativeSampler  # noqa: PLC0415 - Linux only

        return NativeSampler()
    else:  # noqa: RET505 - the type checker sees by it which platform is meant
        from pluginapi.monitor.psutil_sampler import PsutilSampler  # noqa: PLC0415 - elsewhere only

        return PsutilSampler()
