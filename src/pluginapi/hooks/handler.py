"""One handler of one hook: its callable, its owner, its place in the order and its counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pluginapi._native import _hooks
from pluginapi.hooks.latency import LatencyHistogram
from pluginapi.hooks.signatures import name_of

__all__ = ["CpuObserver", "HandlerInfo", "HandlerStats", "HookHandler"]

CpuObserver = Callable[["str | None", str, int], object]
"""Called after a handler call with the owner, the hook's name and its CPU time in ns."""


@dataclass(frozen=True, slots=True)
class HandlerInfo:
    """Describe a registered handler.

    Attributes:
        owner: Plugin of the handler, or None for the host.
        name: Name of its callable.
        priority: Lower runs first.
        before: Owners that it wants to run before.
        after: Owners that it wants to run after.
        paused: Whether its owner is paused, so that calls pass it over.
        wrapper: Whether it runs around the handlers after it.
    """

    owner: str | None
    name: str
    priority: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    paused: bool
    wrapper: bool = False


@dataclass(frozen=True, slots=True)
class HandlerStats:
    """Count what one handler did since it was registered.

    Times are measured with the processor's own counter, without asking the system each time. CPU
    time is exact to 0.25 ms a call: what takes less than 0.05 ms counts as CPU time as a whole.
    On a hook that is not timed both times stay 0.

    Attributes:
        owner: Plugin of the handler, or None for the host.
        hook: Name of the hook.
        handler: Name of its callable.
        priority: Lower runs first.
        calls: Calls that ended, well or badly.
        errors: Calls that ended with an `Exception` or with a result of the wrong type.
        wall_ns: Time from call to end in nanoseconds, time spent suspended included; of a
            wrapper, without what it runs around.
        cpu_ns: CPU time in nanoseconds of the threads that ran it, suspensions not included.
        latency: How long calls took, from call to end.
    """

    owner: str | None
    hook: str
    handler: str
    priority: int
    calls: int
    errors: int
    wall_ns: int
    cpu_ns: int
    latency: LatencyHistogram


class HookHandler(_hooks.Handler):
    """Hold one registration; `HookRegistry.register` makes and returns it.

    Immutable but for its counts, which may be read from any thread. It stays valid after it was
    unregistered and keeps its callable alive: drop it to free the plugin.

    Attributes:
        hook: Name of the hook.
        owner: Plugin of the handler, or None for the host.
        name: Name of the callable, for messages.
        function: The callable.
        priority: Lower runs first.
        before: Owners in the same band that it runs before.
        after: Owners in the same band that it runs after.
        sequence: Place in the order of registration.
        wrapper: Whether it runs around the handlers after it.
        deadline: Seconds that it may take once it waits; 0 for no limit.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """Name of the callable, for messages."""
        return name_of(self.function)

    @property
    def label(self) -> str:
        """Who this is, for messages and notes."""
        of = "the host" if self.owner is None else f"plugin {self.owner!r}"
        kind = "wrapper" if self.wrapper else "handler"
        return f"{kind} {self.name} of {of} on hook {self.hook!r}"

    def holds(self, function: object) -> bool:
        """Tell whether this is the registration of that callable, or that registration itself."""
        return _hooks.holds((self,), self.owner, function)

    def passed_through(self, error: BaseException) -> bool:
        """Tell whether a wrapper's error is one of the handlers that it runs around."""
        if not self.wrapper:
            return False
        notes: list[str] = getattr(error, "__notes__", [])
        if any(note.startswith("raised by ") for note in notes):
            return True
        return isinstance(error, BaseExceptionGroup) and all(
            self.passed_through(part) for part in error.exceptions
        )

    def blame(self, error: Exception) -> bool:
        """Note on an error that it came from here; tell whether it counts as this handler's."""
        if self.passed_through(error):
            return False
        error.add_note(f"raised by {self.label}")
        return True

    def stats(self) -> HandlerStats:
        """Return the counts as they are now, consistent with each other."""
        return HandlerStats(
            *(self.owner, self.hook, self.name, self.priority),
            *self.counted(),
            LatencyHistogram.of(self),
        )

    def info(self, *, paused: bool) -> HandlerInfo:
        """Return a description that does not keep the callable alive."""
        return HandlerInfo(
            self.owner,
            self.name,
            self.priority,
            self.before,
            self.after,
            paused,
            self.wrapper,
        )

    def __repr__(self) -> str:
        return f"<{self.label}, priority {self.priority}>"
