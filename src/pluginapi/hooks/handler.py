"""One handler of one hook: its callable, its owner, its place in the order and its counts."""

from __future__ import annotations

import functools
import inspect
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pluginapi.errors import HookTypeError
from pluginapi.hooks.stepping import CpuMeter, is_awaitable, metered

__all__ = ["CpuObserver", "HandlerInfo", "HandlerStats", "HookHandler", "check_handler"]

CpuObserver = Callable[["str | None", str, int], object]
"""Called after each handler call with the owner, the hook's name and its CPU time in ns."""

_METHODS = types.MethodType | types.BuiltinMethodType


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
    """

    owner: str | None
    name: str
    priority: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    paused: bool


@dataclass(frozen=True, slots=True)
class HandlerStats:
    """Count what one handler did since it was registered.

    Attributes:
        owner: Plugin of the handler, or None for the host.
        hook: Name of the hook.
        handler: Name of its callable.
        priority: Lower runs first.
        calls: Calls that ended, well or badly.
        errors: Calls that ended with an `Exception` or with a result of the wrong type.
        wall_ns: Time from call to end in nanoseconds, time spent suspended included.
        cpu_ns: CPU time in nanoseconds of the threads that ran it, suspensions not included.
    """

    owner: str | None
    hook: str
    handler: str
    priority: int
    calls: int
    errors: int
    wall_ns: int
    cpu_ns: int


class HookHandler:
    """Hold one registration; `HookRegistry.register` makes and returns it.

    It stays valid after it was unregistered and keeps its callable alive: drop it to free the
    plugin. Its counts may be read and written from any thread.

    Attributes:
        hook: Name of the hook.
        owner: Plugin of the handler, or None for the host.
        name: Name of the callable, for messages.
        function: The callable.
        priority: Lower runs first.
        before: Owners in the same band that it runs before.
        after: Owners in the same band that it runs after.
        sequence: Place in the order of registration.
    """

    __slots__ = (
        "__weakref__",
        "_calls",
        "_cpu_ns",
        "_errors",
        "_lock",
        "_wall_ns",
        "after",
        "before",
        "function",
        "hook",
        "name",
        "owner",
        "priority",
        "sequence",
    )

    def __init__(
        self,
        hook: str,
        function: Callable[[Any], object],
        *,
        owner: str | None,
        priority: int,
        before: tuple[str, ...],
        after: tuple[str, ...],
        sequence: int,
    ) -> None:
        self.hook = hook
        self.function = function
        self.owner = owner
        self.name = _name_of(function)
        self.priority = priority
        self.before = before
        self.after = after
        self.sequence = sequence
        self._lock = threading.Lock()
        self._calls = self._errors = self._wall_ns = self._cpu_ns = 0

    @property
    def label(self) -> str:
        """Who this is, for messages and notes."""
        of = "the host" if self.owner is None else f"plugin {self.owner!r}"
        return f"handler {self.name} of {of} on hook {self.hook!r}"

    def holds(self, function: object) -> bool:
        """Tell whether this is the registration of that callable, or that registration itself."""
        if function is self or function is self.function:
            return True
        # Every access to obj.method makes a new object; they are equal by object and function.
        return (
            isinstance(function, _METHODS)
            and type(function) is type(self.function)
            and function == self.function
        )

    async def run(
        self, value: Any, accept: Callable[[HookHandler, Any], Any], observer: CpuObserver | None
    ) -> Any:
        """Call the handler, await its result if need be, and count.

        `accept` checks the result and gives the value that is returned. Exceptions of the handler
        and of the check pass through with a note that names this handler.
        """
        meter = CpuMeter()
        failed = False
        started = time.perf_counter_ns()
        cpu_started = time.thread_time_ns()
        try:
            try:
                result = self.function(value)
            finally:
                meter.nanoseconds = time.thread_time_ns() - cpu_started
            if is_awaitable(result):
                result = await metered(result, meter)
            return accept(self, result)
        except Exception as err:
            failed = True
            err.add_note(f"raised by {self.label}")
            raise
        finally:
            wall = time.perf_counter_ns() - started
            with self._lock:
                self._calls += 1
                self._errors += failed
                self._wall_ns += wall
                self._cpu_ns += meter.nanoseconds
            if observer is not None:
                observer(self.owner, self.hook, meter.nanoseconds)

    def stats(self) -> HandlerStats:
        """Return the counts as they are now, consistent with each other."""
        with self._lock:
            counts = (self._calls, self._errors, self._wall_ns, self._cpu_ns)
        return HandlerStats(self.owner, self.hook, self.name, self.priority, *counts)

    def info(self, *, paused: bool) -> HandlerInfo:
        """Return a description that does not keep the callable alive."""
        return HandlerInfo(self.owner, self.name, self.priority, self.before, self.after, paused)

    def __repr__(self) -> str:
        return f"<{self.label}, priority {self.priority}>"


def check_handler(hook: str, function: object, owner: str | None) -> None:
    """Refuse what a hook cannot call with one positional argument.

    Raises:
        HookTypeError: When it is not callable, takes another number of arguments, or is a
            generator function, whose body a call would not run.
    """
    name = _name_of(function)
    if not callable(function):
        raise HookTypeError(
            f"handler for hook {hook!r} is {type(function).__name__}, which cannot be called",
            plugin=owner,
            hint="give a function or a method, without calling it",
            hook=hook,
        )
    if _is_generator_function(function):
        raise HookTypeError(
            f"handler {name} for hook {hook!r} is a generator function: a call would not run it",
            plugin=owner,
            hint="return the value instead of yielding it",
            hook=hook,
        )
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # Some built-in callables have no signature to look at.
    try:
        signature.bind(None)
    except TypeError as err:
        raise HookTypeError(
            f"handler {name}{signature} for hook {hook!r} cannot be called with one argument, "
            f"the hook's value: {err}",
            plugin=owner,
            hint=f"write it as: def {name.rpartition('.')[2]}(value)",
            hook=hook,
        ) from err


def _is_generator_function(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    candidates = (function, type(function).__call__)
    return any(
        inspect.isasyncgenfunction(item)
        # types.coroutine makes generator functions that are awaited: those are fine.
        or (inspect.isgeneratorfunction(item) and not item.__code__.co_flags & _ITERABLE)
        for item in candidates
    )


_ITERABLE = inspect.CO_ITERABLE_COROUTINE


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__
