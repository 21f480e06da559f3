from __future__ import annotations

import asyncio
import contextvars
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest

from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks import ErrorPolicy, Hook, HookRegistry


async def add_one(n: int) -> int:
    return n + 1


async def slow_add_one(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


class AddOne:
    async def __call__(self, n: int) -> int:
        return n + 1


class Plain:
    """An awaitable whose iterator has neither send, throw nor close."""

    def __init__(self, future: asyncio.Future[int]) -> None:
        self.future = future

    def __await__(self) -> Iterator[Any]:
        return PlainIterator(self.future)


class PlainIterator:
    def __init__(self, future: asyncio.Future[int]) -> None:
        self.future = future

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> object:
        if self.future.done():
            raise StopIteration(self.future.result())
        self.future._asyncio_future_blocking = True
        return self.future


def define(*handlers: Callable[[int], object], **options: Any) -> Hook[int, int]:
    hook = HookRegistry().define("h", int, int, **options)
    for handler in handlers:
        hook.register(handler, owner="acme")
    assert isinstance(hook, Hook)
    return hook


async def test_sync_and_async_handlers_mix() -> None:
    hook = define(lambda n: n * 2, add_one, slow_add_one, AddOne())
    assert await hook(1) == 5


async def test_no_task_is_made_whether_handlers_suspend_or_not() -> None:
    tasks: list[object] = []

    async def note(n: int) -> int:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        assert len(asyncio.all_tasks()) == 1
        return n

    await define(note, add_one)(1)
    assert set(tasks) == {asyncio.current_task()}


def test_a_chain_that_does_not_suspend_needs_no_event_loop() -> None:
    hook = define(add_one, AddOne(), lambda n: n * 2)
    assert hook.call(1) == 6
    running = hook(1)
    with pytest.raises(StopIteration) as done:
        running.send(None)
    assert done.value.value == 6


async def test_futures_and_other_awaitables_are_awaited() -> None:
    loop = asyncio.get_running_loop()

    def future(n: int) -> asyncio.Future[int]:
        made = loop.create_future()
        loop.call_soon(made.set_result, n + 1)
        return made

    @types.coroutine
    def generator_based(n: int) -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return n + 1

    hook = define(future, lambda n: Plain(future(n)), generator_based)
    assert await hook(1) == 4


async def test_an_exception_thrown_into_a_plain_iterator_propagates() -> None:
    pending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = define(lambda n: Plain(pending))(1)
    running.send(None)
    with pytest.raises(OSError, match="thrown"):
        running.throw(OSError("thrown"))
    running = define(lambda n: Plain(pending))(1)
    running.send(None)
    running.close()
    assert not pending.done()


@pytest.mark.parametrize("policy", list(ErrorPolicy))
async def test_cancellation_reaches_the_innermost_coroutine(policy: ErrorPolicy) -> None:
    entered = asyncio.Event()
    events: list[str] = []

    async def inner() -> None:
        try:
            entered.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled inside")
            raise

    async def handler(_: int) -> None:
        await inner()

    task = asyncio.create_task(_await(define(handler, on_error=policy)(1)))
    await entered.wait()
    task.cancel("by the test")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["cancelled inside"]


async def test_a_handler_may_catch_a_cancellation_and_go_on() -> None:
    entered = asyncio.Event()

    async def stubborn(n: int) -> int:
        try:
            entered.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return n + 1

    task = asyncio.create_task(_await(define(stubborn, add_one)(1)))
    await entered.wait()
    task.cancel()
    assert await task == 3


async def test_exceptions_after_a_suspension_propagate() -> None:
    async def fail(_: int) -> None:
        await asyncio.sleep(0)
        raise OSError("after the pause")

    with pytest.raises(OSError, match="after the pause") as caught:
        await define(fail)(1)
    assert "plugin 'acme'" in caught.value.__notes__[0]


async def test_a_timeout_around_the_call_works() -> None:
    async def hang(_: int) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await define(hang)(1)


async def test_context_variables_are_the_callers() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []

    async def change(_: int) -> None:
        seen.append(variable.get())
        await asyncio.sleep(0)
        variable.set("from the handler")

    variable.set("from the caller")
    await define(change)(1)
    assert seen == ["from the caller"]
    assert variable.get() == "from the handler"


async def test_calls_of_one_hook_run_at_the_same_time() -> None:
    barrier = asyncio.Barrier(10)

    async def meet(n: int) -> int:
        async with barrier:
            return n * 2

    hook = define(meet)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(hook(n) for n in range(10))) == [n * 2 for n in range(10)]


def test_a_synchronous_call_refuses_a_handler_that_waits_and_closes_it() -> None:
    events: list[str] = []

    async def waits(_: int) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            events.append("closed")

    hook = define(add_one, waits)
    with pytest.raises(HookTypeError, match="waits of plugin 'acme' on hook 'h'") as caught:
        hook.call(1)
    assert caught.value.code == "hook.suspended"
    assert caught.value.plugin == "acme"
    assert events == ["closed"]


def test_a_handler_that_refuses_to_be_closed_is_reported_too() -> None:
    async def stubborn(_: int) -> None:
        for _attempt in range(2):
            try:
                await asyncio.sleep(0)
            except GeneratorExit:
                await asyncio.sleep(0)

    with pytest.raises(HookTypeError) as caught:
        define(stubborn).call(1)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_exceptions_of_a_synchronous_call_propagate() -> None:
    async def fail(_: int) -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        define(fail).call(1)


async def test_a_handler_may_call_its_own_hook_again() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)

    async def down(n: int) -> int:
        return await hook(n - 1) if n else 0

    hook.register(down)
    assert await hook(5) == 0
    assert registry.stats()[0].calls == 6


async def test_a_call_into_a_closed_registry_is_refused() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    hook.register(add_one)
    assert await hook(1) == 2
    registry.close()
    registry.close()
    for attempt in (lambda: hook.call(1), lambda: registry.register("h", 0, add_one)):
        with pytest.raises(HookError) as caught:
            attempt()
        assert caught.value.code == "hook.closed"
    assert registry.closed
    assert registry.stats() == []


async def _await(awaitable: Awaitable[int]) -> int:
    return await awaitable
