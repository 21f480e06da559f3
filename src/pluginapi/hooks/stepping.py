"""Run an awaitable in place, step by step, and count the CPU time of each step."""

from __future__ import annotations

import inspect
import time
import types
from collections.abc import Awaitable, Generator
from typing import Any, TypeGuard, cast

__all__ = ["CpuMeter", "is_awaitable", "metered"]


class CpuMeter:
    """Add up the CPU time of the threads that ran the steps of one operation."""

    __slots__ = ("nanoseconds",)

    def __init__(self) -> None:
        self.nanoseconds = 0


def is_awaitable(value: object) -> TypeGuard[Awaitable[Any]]:
    """Tell whether a handler's result has to be awaited to get the value.

    Coroutines, futures, objects with ``__await__`` and coroutines made by `types.coroutine` are.
    """
    return value is not None and inspect.isawaitable(value)


@types.coroutine
def metered(awaitable: Awaitable[Any], meter: CpuMeter) -> Generator[Any, Any, Any]:
    """Await, adding the CPU time spent inside to the meter.

    What the awaitable yields, is sent, and has thrown into it passes through unchanged, as PEP 380
    describes for ``yield from``: no task is made, cancellation reaches the innermost coroutine
    and context variables are the caller's.
    """
    steps = _steps_of(awaitable)
    advance: Any = getattr(steps, "send", None)
    argument: Any = None
    while True:
        started = time.thread_time_ns()
        try:
            # A plain iterator has no send(); there is nothing but None to send to it.
            yielded = next(steps) if advance is None else advance(argument)
        except StopIteration as stop:
            return stop.value
        finally:
            meter.nanoseconds += time.thread_time_ns() - started
        try:
            argument = yield yielded
        except GeneratorExit:
            close = getattr(steps, "close", None)
            if close is not None:
                close()
            raise
        except BaseException as err:  # Whatever is thrown in goes to it.
            throw = getattr(steps, "throw", None)
            if throw is None:
                raise
            advance, argument = throw, err
        else:
            advance = getattr(steps, "send", None)


def _steps_of(awaitable: Any) -> Generator[Any, Any, Any]:
    # A coroutine made by types.coroutine is a generator and has no __await__.
    steps = awaitable if isinstance(awaitable, types.GeneratorType) else awaitable.__await__()
    return cast("Generator[Any, Any, Any]", steps)
