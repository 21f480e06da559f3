"""Wrappers: code around the rest of the handlers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from pluginapi.errors import HookTypeError
from pluginapi.hooks import (
    ErrorPolicy,
    HookExecutionError,
    HookMode,
    HookRegistry,
    Rest,
    Veto,
    VetoResult,
)


def fail(_: object) -> None:
    raise ValueError("broken")


async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


def add_one(n: int) -> int:
    return n + 1


def passes(value: Any) -> Generator[Any, Any, Any]:
    yield value


async def passes_async(value: Any, rest: Rest) -> Any:
    return await rest(value)


BOTH = pytest.mark.parametrize("wrapper", [passes, passes_async])


@BOTH
@pytest.mark.parametrize(
    ("mode", "answer"),
    [
        (HookMode.CHAIN, 3),
        (HookMode.NOTIFY, None),
        (HookMode.COLLECT, [2, 2]),
        (HookMode.FIRST, 2),
        (HookMode.VETO, VetoResult(False, "a", "objects", "no")),
    ],
)
async def test_a_wrapper_that_does_nothing_changes_nothing(
    wrapper: Any, mode: HookMode, answer: object
) -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int, mode=mode)

    def objects(_: int) -> Veto:
        return Veto("no")

    objects.__qualname__ = "objects"
    if mode is HookMode.VETO:
        hook.register(objects, owner="a")
    else:
        hook.register(later)
        hook.register(add_one)
    assert await hook(1) == answer
    hook.wrap(wrapper, priority=0)
    assert await hook(1) == answer
    hook.wrap(wrapper, priority=250, owner="w")
    assert await hook(1) == answer
    assert len(hook) == len(registry.stats())


async def test_a_wrapper_changes_value_and_answer_of_what_comes_after_it() -> None:
    hook = HookRegistry().define("h", int, int)
    seen: list[tuple[str, int]] = []

    def handler(name: str) -> Callable[[int], int]:
        def take(n: int) -> int:
            seen.append((name, n))
            return n + 1

        return take

    def wrapper(n: int) -> Generator[int, int, int]:
        seen.append(("in", n))
        answer = yield n * 10
        seen.append(("out", answer))
        return answer * 10

    hook.register(handler("before"), priority=100)
    hook.wrap(wrapper, priority=200)
    hook.register(handler("after"), priority=300)
    hook.register(later, priority=301)
    assert await hook(1) == 220
    assert seen == [("before", 1), ("in", 2), ("after", 20), ("out", 22)]


async def test_wrappers_nest_in_the_order_of_handlers() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    seen: list[str] = []

    def wrapper(name: str) -> Callable[[int], Generator[int, int, None]]:
        def around(n: int) -> Generator[int, int, None]:
            seen.append(name)
            yield n
            seen.append(name.upper())

        return around

    hook.wrap(wrapper("b"), owner="b")
    hook.wrap(wrapper("a"), owner="a", before=["b"])
    hook.register(add_one, owner="c", before=["a"])
    hook.register(add_one, owner="d")
    assert hook.call(1) == 3
    assert seen == ["a", "b", "B", "A"]
    assert [item.owner for item in registry.get_hooks("h")[0].handlers] == ["c", "a", "b", "d"]
    assert [item.wrapper for item in registry.get_hooks("h")[0].handlers] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("handler", [fail, later])
async def test_a_wrapper_may_catch_what_the_rest_raises(handler: Any) -> None:
    hook = HookRegistry().define("h", int, int)

    def rescue(n: int) -> Generator[int, int, int]:
        try:
            return (yield n)
        except ValueError:
            return -1

    async def rescue_async(n: int, rest: Rest) -> int:
        try:
            answer: int = await rest(n)
        except ValueError:
            return -2
        return answer

    hook.register(handler, priority=300)
    for wrapper, instead in ((rescue, -1), (rescue_async, -2)):
        entry = hook.wrap(wrapper)
        assert await hook(1) == (instead if handler is fail else 2)
        hook.unregister(entry)


@BOTH
async def test_what_passes_through_a_wrapper_is_not_blamed_on_it(wrapper: Any) -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    hook.wrap(wrapper, priority=0, owner="w")
    hook.register(fail, owner="h")
    with pytest.raises(ValueError, match="broken") as caught:
        await hook(1)
    assert caught.value.__notes__ == ["raised by handler fail of plugin 'h' on hook 'h'"]
    assert [(item.owner, item.errors) for item in registry.stats()] == [("w", 0), ("h", 1)]


async def test_an_error_of_the_wrapper_itself_is_its_own() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)

    def broken(n: int) -> Generator[int, int, int]:
        yield n
        raise OSError("the wrapper's")

    hook.wrap(broken, owner="w")
    with pytest.raises(OSError, match="the wrapper's") as caught:
        await hook(1)
    assert "wrapper" in caught.value.__notes__[0]
    assert registry.stats()[0].errors == 1


@BOTH
async def test_error_policies_hold_inside_of_wrappers(wrapper: Any) -> None:
    for policy in (ErrorPolicy.ISOLATE, ErrorPolicy.COLLECT):
        hook = HookRegistry().define("h", int, int, on_error=policy)
        hook.register(fail, priority=100)
        hook.wrap(wrapper)
        hook.register(fail, priority=300, owner="b")
        hook.register(add_one, priority=301)
        if policy is ErrorPolicy.ISOLATE:
            assert await hook(1) == 2
            continue
        with pytest.raises(ExceptionGroup) as caught:
            await hook(1)
        assert [type(err) for err in caught.value.exceptions] == [ValueError, ValueError]


async def test_a_wrapper_that_does_not_run_the_rest_answers_itself() -> None:
    hook = HookRegistry().define("h", int, int)

    def answers(n: int) -> Generator[int, int, int]:
        if n < 0:
            return 0
        return (yield n)

    async def answers_async(n: int, rest: Rest) -> int:
        return 7

    hook.wrap(answers)
    hook.register(lambda n: pytest.fail("ran") if n < 0 else n + 1, priority=300)
    assert (hook.call(-1), hook.call(1)) == (0, 2)
    hook.wrap(answers_async, priority=0)
    assert await hook(1) == 7


@BOTH
async def test_cancellation_passes_through_a_wrapper(wrapper: Any) -> None:
    hook = HookRegistry().define("h", int, int)
    entered = asyncio.Event()
    seen: list[str] = []

    async def waits(_: int) -> None:
        try:
            entered.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("handler")
            raise

    def outer(n: int) -> Generator[int, int, int]:
        try:
            return (yield n)
        finally:
            seen.append("outer")

    hook.wrap(outer, priority=0)
    hook.wrap(wrapper)
    hook.register(waits, priority=300)

    async def call() -> int:
        return await hook(1)

    task = asyncio.create_task(call())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["handler", "outer"]


async def test_a_wrapper_that_yields_twice_is_an_error() -> None:
    hook = HookRegistry().define("h", int, int)
    closed: list[bool] = []

    def twice(n: int) -> Generator[int, int, int]:
        try:
            yield n
            yield n
        finally:
            closed.append(True)
        return n

    hook.wrap(twice)
    with pytest.raises(RuntimeError, match="twice yields a second time"):
        await hook(1)
    assert closed == [True]


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        (lambda value, rest: rest(value), "neither a generator function nor"),
        (add_one, "neither a generator function nor"),
        (3, "neither a generator function nor"),
    ],
)
def test_what_is_no_wrapper_is_refused(wrapper: Any, message: str) -> None:
    with pytest.raises(HookTypeError, match=message) as caught:
        HookRegistry().wrap("h", 200, wrapper, owner="acme")
    assert caught.value.plugin == "acme"
    assert "yield" in str(caught.value.hint)


def test_a_wrapper_with_other_arguments_is_refused() -> None:
    def two(value: int, other: int) -> Generator[int, int, None]:
        yield value

    async def one(value: int) -> None: ...

    for wrapper in (two, one):
        with pytest.raises(HookTypeError, match="cannot be called with the hook's value"):
            HookRegistry().wrap("h", 200, wrapper)


async def test_an_answer_of_the_wrong_type_is_refused() -> None:
    hook = HookRegistry().define("h", int, int, mode=HookMode.COLLECT)

    def wrong(n: int) -> Generator[int, list[int], object]:
        yield n
        return 5

    hook.wrap(wrong)
    with pytest.raises(HookTypeError, match="returned int, not a list of int"):
        await hook(1)


async def test_execute_all_tells_what_each_did_inside_and_around() -> None:
    hook = HookRegistry().define("h", int, int)
    seen: list[int] = []

    def around(n: int) -> Generator[int, int, int]:
        answer = yield n
        seen.append(answer)
        return answer * 10

    hook.wrap(around, owner="w")
    hook.register(add_one, owner="a", priority=300)
    hook.register(fail, owner="b", priority=301)
    hook.register(later, owner="c", priority=302)
    outcomes = await hook.execute_all(1)
    assert [(item.owner, item.value, item.ok) for item in outcomes] == [
        ("a", 2, True),
        ("b", None, False),
        ("c", 3, True),
        ("w", 30, True),
    ]
    assert seen == [3]
    with pytest.raises(HookExecutionError) as caught:
        await hook.execute_until_error(1)
    assert caught.value.results == (2,)
    assert caught.value.plugin == "b"


async def test_the_time_of_a_wrapper_is_without_that_of_the_rest() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)

    async def busy(n: int) -> int:
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:  # noqa: ASYNC110 - it is to be busy
            await asyncio.sleep(0)
        return n

    hook.wrap(passes, owner="w")
    hook.register(busy, owner="h", priority=300)
    hook.register(lambda n: time.sleep(0.02), owner="h", priority=301)
    await hook(1)
    wrapper, *handlers = registry.stats()
    assert wrapper.owner == "w"
    assert all(item.wall_ns > 19_000_000 for item in handlers)
    assert wrapper.cpu_ns < 10_000_000
