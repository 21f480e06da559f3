"""When a handler runs: priorities, the bands they fall into, and order within a band."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from pluginapi.errors import HookOrderError, HookTypeError

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler

__all__ = ["HookPriority", "band_of", "check_priority", "in_order"]


class HookPriority(IntEnum):
    """Name the start of each priority band; any whole number of at least 0 is a priority.

    Lower runs first. 0 to 99 is critical, 100 to 199 high, 200 to 299 normal, 300 to 399 low,
    400 and above clean-up.
    """

    CRITICAL = 0
    HIGH = 100
    NORMAL = 200
    LOW = 300
    CLEANUP = 400


def check_priority(priority: object) -> int:
    """Return the priority as a plain integer.

    Raises:
        HookTypeError: With code ``hook.priority`` when it is not a whole number of at least 0.
    """
    if type(priority) is int and priority >= 0:
        return priority
    if isinstance(priority, bool) or not isinstance(priority, int) or priority < 0:
        raise HookTypeError(
            f"hook priority is {priority!r}, not a whole number of at least 0",
            code="hook.priority",
            hint="use HookPriority.NORMAL (200) or another number; lower runs first",
        )
    return int(priority)


def band_of(priority: int) -> HookPriority:
    """Return the band that a priority falls into."""
    return HookPriority(min(priority // 100 * 100, HookPriority.CLEANUP))


def in_order(handlers: Iterable[HookHandler], hook: str) -> tuple[HookHandler, ...]:
    """Sort handlers into the order in which they run.

    Bands come first. Within a band ``before`` and ``after`` bind; what they leave open is decided
    by priority, then by the order of registration. A wish about an owner with no handler in the
    same band has no effect: between bands the bands decide.

    Raises:
        HookOrderError: When wishes contradict each other; the message names the cycle.
    """
    bands: dict[HookPriority, list[HookHandler]] = {}
    for handler in sorted(handlers, key=lambda item: (item.priority, item.sequence)):
        bands.setdefault(band_of(handler.priority), []).append(handler)
    return tuple(handler for band in bands.values() for handler in _within_band(band, hook))


def _within_band(band: Sequence[HookHandler], hook: str) -> Sequence[HookHandler]:
    if not any(handler.before or handler.after for handler in band):
        return band
    followers = _followers(band)
    waits_for = [0] * len(band)
    for indices in followers:
        for index in indices:
            waits_for[index] += 1
    # The band is sorted already, so the smallest index is the one that comes first.
    ready = [index for index, count in enumerate(waits_for) if not count]
    done: list[HookHandler] = []
    while ready:
        index = heapq.heappop(ready)
        done.append(band[index])
        for follower in followers[index]:
            waits_for[follower] -= 1
            if not waits_for[follower]:
                heapq.heappush(ready, follower)
    if len(done) < len(band):
        raise _contradiction(band, followers, waits_for, hook)
    return done


def _followers(band: Sequence[HookHandler]) -> list[set[int]]:
    """Return, for each handler, the indices of those that must come later."""
    owned: dict[str, list[int]] = {}
    for index, handler in enumerate(band):
        if handler.owner is not None:
            owned.setdefault(handler.owner, []).append(index)
    followers: list[set[int]] = [set() for _ in band]
    for index, handler in enumerate(band):
        for owner in handler.before:
            followers[index].update(owned.get(owner, ()))
        for owner in handler.after:
            for earlier in owned.get(owner, ()):
                followers[earlier].add(index)
    return followers


def _contradiction(
    band: Sequence[HookHandler], followers: list[set[int]], waits_for: list[int], hook: str
) -> HookOrderError:
    stuck = {index for index, count in enumerate(waits_for) if count}
    # Every stuck handler waits for a stuck one, so walking back from any of them meets a cycle.
    path = [min(stuck)]
    while True:
        earlier = min(index for index in stuck if path[-1] in followers[index])
        if earlier in path:
            break
        path.append(earlier)
    cycle = [earlier, *reversed(path[path.index(earlier) :])]
    names = [band[index].owner or "the host" for index in cycle]
    return HookOrderError(
        f"on hook {hook!r} each must run before the next: {' -> '.join(names)}",
        plugin=band[cycle[0]].owner,
        hint="take one before= or after= out of this circle, or move a handler to another band",
        hook=hook,
        cycle=names,
    )
