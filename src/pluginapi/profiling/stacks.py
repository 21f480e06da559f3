"""What samples of a process add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["FunctionShare", "Stacks"]

_MOST_FRAMES: Final = 256
_MOST_CHARS: Final = 256
_MOST_STACKS: Final = 100_000


@dataclass(frozen=True, slots=True)
class FunctionShare:
    """Count the samples of one function.

    Attributes:
        name: The function, with where it is.
        own: Samples in its own code.
        total: Samples in its code or in what it called.
    """

    name: str
    own: int
    total: int


@dataclass(slots=True)
class Stacks:
    """Count samples by stack, the outermost frame first.

    Names are text of the plugin: at most 256 characters of each of the innermost 256 frames are
    kept, unprintable ones escaped, and at most 100,000 different stacks.

    Attributes:
        counts: Samples of each stack.
        lost: Samples that were taken and could not be kept.
    """

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    lost: int = 0

    def add(self, frames: Iterable[str], samples: int = 1) -> None:
        """Add samples of a stack."""
        stack = tuple(_clean(frame) for frame in frames)[-_MOST_FRAMES:]
        if not stack or samples <= 0:
            return
        if stack not in self.counts and len(self.counts) >= _MOST_STACKS:
            self.lost += samples
            return
        self.counts[stack] += samples

    @property
    def samples(self) -> int:
        """Samples of all stacks."""
        return self.counts.total()

    def collapsed(self) -> str:
        """Return a line for each stack, its frames and how often, as flame graph tools read it."""
        return "".join(
            f"{';'.join(stack)} {count}\n" for stack, count in sorted(self.counts.items())
        )

    def functions(self) -> list[FunctionShare]:
        """Return all functions, those with the most samples of their own first."""
        own: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for stack, count in self.counts.items():
            own[stack[-1]] += count
            for name in set(stack):
                total[name] += count
        shares = [FunctionShare(name, own[name], count) for name, count in total.items()]
        return sorted(shares, key=lambda share: (-share.own, -share.total, share.name))


def _clean(frame: str) -> str:
    text = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in frame[:_MOST_CHARS]
    )
    # What divides the frames of a line.
    return text.replace(";", ":") or "?"
