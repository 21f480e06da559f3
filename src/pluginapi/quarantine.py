"""Keep plugins that were unmounted for their violations from being loaded again at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pluginapi.errors import ResourceViolation

__all__ = ["Quarantine", "Quarantined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Describe one plugin in quarantine.

    Attributes:
        name: The plugin.
        sha3_512: Hash of the file that was unmounted; another file of the plugin may be loaded.
        times: How often it was unmounted in a row.
        reason: What for.
        remaining: Seconds until it may be loaded.
    """

    name: str
    sha3_512: str
    times: int
    reason: str
    remaining: float


@dataclass(slots=True)
class _Case:
    sha3_512: str
    times: int
    reason: str
    until: float


class Quarantine:
    """Refuse plugins for a while after each time that they were unmounted. Thread-safe.

    The first time for ``first`` seconds, each further time for twice as long, at most ``most``.
    One that has not been unmounted again for ``most`` seconds after its quarantine begins anew.
    Kept in memory: it ends with the host.

    Args:
        first: Seconds; 0 refuses nothing.
        most: Seconds.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        first: float = 60.0,
        most: float = 3600.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.first = first
        self.most = max(first, most)
        self._clock = clock
        self._lock = threading.Lock()
        self._cases: dict[str, _Case] = {}

    def add(self, name: str, sha3_512: str, reason: str) -> float:
        """Put a plugin into quarantine; return for how many seconds."""
        if self.first <= 0:
            return 0.0
        now = self._clock()
        with self._lock:
            case = self._cases.get(name)
            times = 1
            if case is not None and case.sha3_512 == sha3_512 and now < case.until + self.most:
                times = case.times + 1
            # Beyond 64 doublings the most is reached whatever the first was.
            seconds = min(self.most, self.first * 2.0 ** min(times - 1, 64))
            self._cases[name] = _Case(sha3_512, times, reason, now + seconds)
        return seconds

    def check(self, name: str, sha3_512: str) -> None:
        """Refuse a plugin that is in quarantine.

        Raises:
            ResourceViolation: With code ``limits.quarantined``; it says for how long, and why.
        """
        now = self._clock()
        with self._lock:
            case = self._cases.get(name)
            if case is None or case.sha3_512 != sha3_512 or now >= case.until:
                return
            remaining, times, reason = case.until - now, case.times, case.reason
        raise ResourceViolation(
            f"plugin {name!r} is in quarantine for {remaining:.0f} s more: it was unmounted "
            f"{times} time{'s' if times > 1 else ''} for its violations; {reason}",
            code="limits.quarantined",
            plugin=name,
            hint=f"wait, load another version, or await registry.release_quarantine({name!r}); "
            "`quarantine_secs` in section [monitoring] of pluginapi.toml says how long it is",
            remaining=round(remaining, 3),
            times=times,
        )

    def release(self, name: str) -> bool:
        """Let a plugin out, and forget it; tell whether it was in."""
        with self._lock:
            case = self._cases.pop(name, None)
        return case is not None and self._clock() < case.until

    def all(self) -> tuple[Quarantined, ...]:
        """Describe who is in quarantine now, sorted by name."""
        now = self._clock()
        with self._lock:
            return tuple(
                Quarantined(
                    name=name,
                    sha3_512=case.sha3_512,
                    times=case.times,
                    reason=case.reason,
                    remaining=case.until - now,
                )
                for name, case in sorted(self._cases.items())
                if now < case.until
            )
