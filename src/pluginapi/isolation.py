"""Where a plugin's code runs."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

__all__ = ["Isolation", "IsolationPolicy"]


class Isolation(Enum):
    """Where a plugin's code runs: what its faults can reach."""

    IN_PROCESS = "in-process"
    """In the host's own process: a call costs next to nothing, a crash takes the host with it."""
    PROCESS = "process"
    """In a process of its own, which may crash, leak and hang. This alone confines nothing."""


IsolationPolicy: TypeAlias = Callable[[str], Isolation]
"""Says for the name of a plugin where it runs."""
