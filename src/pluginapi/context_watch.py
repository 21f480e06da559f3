"""Tell who watches a key of the shared context that it changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["ContextChange", "ContextWatch", "Watchers"]

_log = logging.getLogger("pluginapi.context")


@dataclass(frozen=True, slots=True)
class ContextChange:
    """Tell of one change in the context.

    Attributes:
        name: Name of the key.
        value: Its new value; None when it was removed.
        removed: Whether it was removed.
        by: The plugin that made the change, or None for the host.
    """

    name: str
    value: Any
    removed: bool
    by: str | None


class ContextWatch:
    """Keep a callback in force; `PluginContext.watch` makes it.

    Attributes:
        name: Name of the key that is watched.
    """

    __slots__ = ("_callback", "_forget", "name")

    def __init__(
        self,
        name: str,
        callback: Callable[[ContextChange], object],
        forget: Callable[[ContextWatch], object],
    ) -> None:
        self.name = name
        self._callback: Callable[[ContextChange], object] | None = callback
        self._forget = forget

    @property
    def closed(self) -> bool:
        """Whether the callback is out of force."""
        return self._callback is None

    def close(self) -> None:
        """Take the callback out of force. Idempotent; one that runs already ends."""
        self._callback = None
        self._forget(self)

    def tell(self, change: ContextChange) -> None:
        """Call back; what the callback raises is logged."""
        callback = self._callback
        if callback is None:
            return
        try:
            callback(change)
        except Exception:  # noqa: BLE001 - who watches must not fail who sets
            _log.exception("a watch of context key %r failed", self.name)


class Watchers:
    """The watches of one context, by name. Changed under the context's lock, read without."""

    __slots__ = ("_watches",)

    def __init__(self) -> None:
        # Tuples are swapped as a whole, so that whoever tells keeps the ones it found.
        self._watches: dict[str, tuple[ContextWatch, ...]] = {}

    def watched(self, name: str) -> bool:
        """Tell whether anybody watches a name."""
        return name in self._watches

    def add(self, watch: ContextWatch) -> None:
        """Add a watch."""
        self._watches[watch.name] = (*self._watches.get(watch.name, ()), watch)

    def remove(self, watch: ContextWatch) -> None:
        """Remove a watch, if it is there."""
        left = tuple(item for item in self._watches.get(watch.name, ()) if item is not watch)
        if left:
            self._watches[watch.name] = left
        else:
            self._watches.pop(watch.name, None)

    def tell(self, change: ContextChange) -> None:
        """Tell all who watch the name that changed."""
        for watch in self._watches.get(change.name, ()):
            watch.tell(change)
