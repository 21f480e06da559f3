"""How fast counters of a plugin grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Rates"]

# Over less, one call more or less is a large part.
_SHORTEST: Final = 0.25


class Rates:
    """Tell how fast counters grew since they were told before. Thread-safe.

    Who asks again within a quarter of a second is told of the time before that.

    Args:
        clock: Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[str, tuple[float, float]] = {}
        self._told: dict[str, float] = {}

    def per_second(self, name: str, value: float | None) -> float | None:
        """Return how much a counter grows in a second; None before it is known.

        A counter that is smaller than before began anew, with a new process.
        """
        now = self._clock()
        with self._lock:
            if value is None:
                self._since.pop(name, None)
                self._told.pop(name, None)
                return None
            before = self._since.get(name)
            if before is None or value < before[1]:
                self._since[name] = (now, value)
                self._told.pop(name, None)
                return None
            passed = now - before[0]
            if passed >= _SHORTEST:
                self._told[name] = (value - before[1]) / passed
                self._since[name] = (now, value)
            return self._told.get(name)
