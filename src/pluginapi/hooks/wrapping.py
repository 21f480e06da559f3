"""Wrappers: code around the rest of a hook's handlers."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from pluginapi._native._hooks import PendingCall
from pluginapi.errors import HookTypeError
from pluginapi.hooks.signatures import call_of, name_of, unwrapped

__all__ = ["AsyncWrapper", "GeneratorWrapper", "Rest", "surrounding"]

GeneratorWrapper = Callable[[Any], Generator[Any, Any, Any]]
"""``def wrapper(value): answer = yield value; return answer``"""
AsyncWrapper = Callable[[Any, "Rest"], Awaitable[Any]]
"""``async def wrapper(value, rest): return await rest(value)``"""


class _Startable(Protocol):
    def start(self, value: Any, /) -> Any:
        """Return the answer, or what has to be awaited for it."""


class Rest:
    """Run the handlers that a wrapper is around; passed to asynchronous wrappers.

    Attributes:
        answer: What they answered last; None before.
    """

    __slots__ = ("_rest", "answer")

    def __init__(self, rest: _Startable) -> None:
        self._rest = rest
        self.answer: Any = None

    async def __call__(self, value: Any) -> Any:
        """Run the handlers on a value and return their answer."""
        answer = self._rest.start(value)
        if _waits(answer):
            answer = await answer
        self.answer = answer
        return answer


def surrounding(hook: str, wrapper: Any, owner: str | None) -> Callable[[Any, _Startable], Any]:
    """Return what a plan calls for a wrapper, with the value and the rest.

    Raises:
        HookTypeError: When it is neither a generator function of one argument nor an async
            function of two.
    """
    plain = unwrapped(wrapper)
    forms = (plain, call_of(plain))
    if any(inspect.isgeneratorfunction(form) for form in forms):
        _check_arguments(hook, wrapper, owner, 1)
        return functools.partial(_drive, wrapper)
    if any(inspect.iscoroutinefunction(form) for form in forms):
        _check_arguments(hook, wrapper, owner, 2)
        return functools.partial(_await, wrapper)
    raise HookTypeError(
        f"wrapper {name_of(wrapper)} for hook {hook!r} is neither a generator function nor an "
        "async function",
        plugin=owner,
        hint="write 'def wrapper(value): answer = yield value; return answer', or "
        "'async def wrapper(value, rest): return await rest(value)'",
        hook=hook,
    )


def _check_arguments(hook: str, wrapper: Any, owner: str | None, count: int) -> None:
    signature = inspect.signature(wrapper)
    try:
        signature.bind(*range(count))
    except TypeError as err:
        takes = "the hook's value" if count == 1 else "the hook's value and the rest"
        raise HookTypeError(
            f"wrapper {name_of(wrapper)}{signature} for hook {hook!r} cannot be called with "
            f"{takes}: {err}",
            plugin=owner,
            hint="write 'def wrapper(value)' with a yield, or 'async def wrapper(value, rest)'",
            hook=hook,
        ) from err


def _waits(answer: object) -> bool:
    return type(answer) is PendingCall or type(answer) is types.CoroutineType


def _await(wrapper: AsyncWrapper, value: Any, rest: _Startable) -> Coroutine[Any, Any, Any]:
    return _awaited(wrapper, value, Rest(rest))


async def _awaited(wrapper: AsyncWrapper, value: Any, rest: Rest) -> Any:
    answer = await wrapper(value, rest)
    return rest.answer if answer is None else answer


def _drive(wrapper: GeneratorWrapper, value: Any, rest: _Startable) -> Any:
    steps = wrapper(value)
    try:
        passed = next(steps)
    except StopIteration as stop:
        return stop.value  # It answers itself: the rest does not run.
    try:
        answer = rest.start(value if passed is None else passed)
    except BaseException as err:  # noqa: BLE001 - the wrapper decides
        return _thrown(wrapper, steps, err)
    if _waits(answer):
        return _later(wrapper, steps, answer)
    return _sent(wrapper, steps, answer)


async def _later(
    wrapper: GeneratorWrapper, steps: Generator[Any, Any, Any], pending: Awaitable[Any]
) -> Any:
    try:
        answer = await pending
    except BaseException as err:  # noqa: BLE001 - the wrapper decides
        return _thrown(wrapper, steps, err)
    return _sent(wrapper, steps, answer)


def _thrown(
    wrapper: GeneratorWrapper, steps: Generator[Any, Any, Any], error: BaseException
) -> Any:
    try:
        steps.throw(error)
    except StopIteration as stop:
        return stop.value
    return _yields_again(wrapper, steps)


def _sent(wrapper: GeneratorWrapper, steps: Generator[Any, Any, Any], answer: Any) -> Any:
    try:
        steps.send(answer)
    except StopIteration as stop:
        return answer if stop.value is None else stop.value
    return _yields_again(wrapper, steps)


def _yields_again(wrapper: GeneratorWrapper, steps: Generator[Any, Any, Any]) -> Any:
    steps.close()
    raise RuntimeError(f"wrapper {name_of(wrapper)} yields a second time")
