"""How often, and how soon, a plugin is started again."""

from __future__ import annotations

import threading
import time
from collections import deque

from pluginapi.process.settings import ProcessSettings

__all__ = ["RestartBudget"]


class RestartBudget:
    """Count the restarts of one plugin; it outlives its processes, and its loads. Thread-safe."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._times: deque[float] = deque()

    def used(self) -> int:
        """Return how many restarts count now."""
        with self._lock:
            self._forget(time.monotonic())
            return len(self._times)

    def take(self) -> float | None:
        """Take one restart; return the seconds that it has to wait, or None when none is left."""
        settings = self._settings
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            count = len(self._times)
            if count >= settings.restarts:
                return None
            self._times.append(now)
        # 2**64 times any pause is more than any bound.
        return min(settings.backoff_first * 2.0 ** min(count, 64), settings.backoff_most)

    def _forget(self, now: float) -> None:
        while self._times and now - self._times[0] > self._settings.restart_window:
            self._times.popleft()
