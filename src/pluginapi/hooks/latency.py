"""How long calls took: a histogram whose buckets double."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, Self

from pluginapi._native import _hooks

__all__ = ["LatencyHistogram"]

_DIGITS: Final = 3


@lru_cache(maxsize=1)
def _bounds() -> tuple[float, ...]:
    # Powers of two of the processor's counter. Rounded, so that they are the same in every run on
    # this machine, whose counter is measured anew each time.
    return tuple(float(f"{bound / 1e9:.{_DIGITS}g}") for bound in _hooks.latency_bounds())


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """Count calls by how long they took, waiting included; each bucket is twice as wide.

    Attributes:
        counts: Calls in each bucket, the quickest first; the last one has no bound.
    """

    counts: tuple[int, ...] = ()

    @property
    def bounds(self) -> tuple[float, ...]:
        """Seconds that the calls of each bucket took less than; infinity for the last."""
        return (*_bounds(), math.inf)[: len(self.counts)]

    @property
    def calls(self) -> int:
        """Calls in all buckets: those that were timed."""
        return sum(self.counts)

    def quantile(self, part: float) -> float | None:
        """Return below how many seconds this part of the calls took; None without calls.

        The bound of a bucket: up to twice as much as it was.
        """
        needed = part * self.calls
        for bound, count in zip(self.bounds, accumulate(self.counts), strict=True):
            if count and count >= needed:
                return bound
        return None

    def __add__(self, other: LatencyHistogram) -> LatencyHistogram:
        if not self.counts or not other.counts:
            return self if self.counts else other
        return LatencyHistogram(tuple(map(sum, zip(self.counts, other.counts, strict=True))))

    @classmethod
    def of(cls, handler: _hooks.Handler) -> Self:
        """Return what is known of a handler."""
        return cls(handler.took())

    def to_dict(self) -> dict[str, Any]:
        """Return the buckets that have calls, as JSON-representable values."""
        return {
            "calls": self.calls,
            "p50_ms": _milliseconds(self.quantile(0.5)),
            "p99_ms": _milliseconds(self.quantile(0.99)),
            "buckets": [
                {"below_ms": _milliseconds(bound), "calls": count}
                for bound, count in zip(self.bounds, self.counts, strict=True)
                if count
            ],
        }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else seconds * 1000
