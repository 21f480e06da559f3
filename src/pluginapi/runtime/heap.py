"""Count the Python heap of plugins that run in the host's process."""

from __future__ import annotations

import logging
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, TypeVarTuple

from pluginapi._native import _heap, _hooks

__all__ = ["HeapAccount", "why_not_counted"]

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")

_log = logging.getLogger("pluginapi.runtime")
_lock: Final = threading.Lock()


def why_not_counted() -> str | None:
    """Return why the Python heap of plugins cannot be counted here, or None when it can.

    Counting puts an allocator over the interpreter's own, for ever. It must stay on top of what
    was there before: `tracemalloc` would take it away again when it stops, with blocks that
    only it can free.
    """
    if not _heap.counts() and tracemalloc.is_tracing():
        return "tracemalloc was started before the first plugin was loaded"
    return None


def _count() -> str | None:
    """Begin to count, if that can be; return why not."""
    with _lock:
        why = why_not_counted()
        if why is not None or _heap.counts():
            return why
        try:
            _heap.count()
        except NotImplementedError as err:
            return str(err)
        _hooks.count_memory(_heap.entrance())
        return None


class HeapAccount:
    """The memory of one plugin in this process: objects that its own code made, while they last.

    Counted is what the interpreter's allocator gives (objects, lists, strings, buffers), 16 bytes
    a block besides, while the plugin's code runs: its top-level code, `init`, `register_hooks`,
    `shutdown` and its handlers. Not counted is what its own threads and tasks make, and what
    extension modules take from the C library. Thread-safe.

    Args:
        plugin: Name of the plugin.
        limit: Bytes beyond which its requests fail with MemoryError.

    Attributes:
        limit: As given, or None when nothing is counted.
    """

    def __init__(self, plugin: str, limit: int) -> None:
        self._account: _heap.Account | None = None
        why = _count()
        if why is None:
            try:
                self._account = _heap.Account(limit)
            except RuntimeError as err:
                why = str(err)
        self.limit = None if self._account is None else limit
        if why is not None:
            _log.warning(
                "the memory of the plugin %s is neither counted nor limited: %s. A process of its "
                'own has a limit: set isolation = "process"',
                plugin,
                why,
            )

    @property
    def number(self) -> int:
        """What its handlers are registered with; 0 when nothing is counted."""
        return 0 if self._account is None else self._account.number

    def used(self) -> int | None:
        """Return the bytes that it holds, or None when nothing is counted."""
        return None if self._account is None else self._account.usage()[0]

    def peak(self) -> int | None:
        """Return the most bytes that it held so far, or None when nothing is counted."""
        return None if self._account is None else self._account.usage()[1]

    def refused(self) -> int:
        """Return how many requests were refused because they went beyond the limit."""
        return 0 if self._account is None else self._account.usage()[2]

    def call(self, function: Callable[[*_Args], _T], *args: *_Args) -> _T:
        """Call a function of the plugin and return what it returns."""
        if self._account is None:
            return function(*args)
        return self._account.call(function, *args)

    def awaited(self, awaitable: Awaitable[_T]) -> Awaitable[_T]:
        """Return what awaits something of the plugin's."""
        return awaitable if self._account is None else self._account.steps(awaitable)

    def close(self) -> None:
        """Refuse nothing any more: what is left is freed in its own time. Idempotent."""
        if self._account is not None:
            self._account.close()
