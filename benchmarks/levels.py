"""Race every set of compiled kernels that this machine can run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pluginapi._native import _cpu

__all__ = ["Kernels", "at_every_level", "use"]


class Kernels(Protocol):
    """A compiled module whose kernels are chosen by CPU level."""

    def paths(self) -> str:
        """Return the names of the kernels in use."""

    def _force_level(self, number: int | None) -> None: ...


def at_every_level(kernels: Kernels, run: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
    """Return a contestant for each set of kernels; levels that share one are not run twice."""
    contestants: dict[str, Callable[[], Any]] = {}
    for level in range(_cpu.detected() + 1):
        use(kernels, level)
        contestants.setdefault(f"pluginapi, {kernels.paths()}", _at(kernels, level, run))
    use(kernels, None)
    return contestants


def use(kernels: Kernels, level: int | None) -> None:
    """Choose the kernels of a level; None goes back to the machine's own."""
    kernels._force_level(level)  # noqa: SLF001 - what tests and benchmarks choose the kernels by


def _at(kernels: Kernels, level: int, run: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> None:
        use(kernels, level)
        run()

    return call
