"""Calls that wait behave as a coroutine that awaits the handlers one by one would."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from pluginapi.hooks import ErrorPolicy, Hook, HookMode, HookRegistry, PendingCall, Veto, VetoResult

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def define(*handlers: Callable[..., object], **options: Any) -> Hook[Any, Any]:
    registry = HookRegistry()
    hook = registry.define("h", int, int, **options)
    for handler in handlers:
        registry.register("h", 200, handler, owner="acme")
    return hook


def run(loop: Callable[[], asyncio.AbstractEventLoop], main: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(30):
            return await main

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(bounded())


def add_one(n: int) -> int:
    return n + 1


async def later(n: int) -> int:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return n + 1


async def no_wait(n: int) -> int:
    return n + 1


def future(n: int) -> asyncio.Future[int]:
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    loop.call_soon(made.set_result, n + 1)
    return made


def task(n: int) -> asyncio.Task[int]:
    return asyncio.get_running_loop().create_task(later(n))


class Awaited:
    def __init__(self, n: int) -> None:
        self.n = n

    def __await__(self) -> Any:
        return later(self.n).__await__()


KINDS: list[Any] = [add_one, later, no_wait, future, task, Awaited]


async def by_hand(handlers: list[Any], value: Any) -> Any:
    """What a chain does, written out."""
    for handler in handlers:
        result = handler(value)
        if inspect.isawaitable(result):
            result = await result
        if result is not None:
            value = result
    return value


async def start(hook: Hook[Any, Any], value: Any) -> Any:
    answer = hook.start(value)
    if type(answer) is PendingCall:
        answer = await answer
    return answer


@LOOPS
@pytest.mark.parametrize("timed", [True, False])
def test_all_kinds_of_awaitables_on_both_loops(loop: Any, timed: bool) -> None:
    async def main() -> None:
        hook = define(*KINDS, timed=timed)
        calls: list[Callable[[Any], Awaitable[Any]]] = [hook, lambda value: start(hook, value)]
        for call in calls:
            answers = await asyncio.gather(*(call(n) for n in range(20)))
            assert answers == [n + len(KINDS) for n in range(20)]
        assert await by_hand(KINDS, 1) == await hook(1)

    run(loop, main())


@LOOPS
def test_cancellation_and_exceptions_on_both_loops(loop: Any) -> None:
    async def main() -> None:
        seen: list[str] = []
        entered = asyncio.Event()

        async def waits(_: int) -> None:
            try:
                entered.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError as err:
                seen.append(str(err))
                raise

        running = asyncio.ensure_future(start(define(waits), 1))
        await entered.wait()
        running.cancel("from outside")
        with pytest.raises(asyncio.CancelledError):
            await running
        assert seen == ["from outside"]
        assert running.cancelled()

        async def fails(_: int) -> None:
            await asyncio.sleep(0)
            raise OSError("after the pause")

        with pytest.raises(OSError, match="after the pause"):
            await start(define(fails), 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await define(lambda n: asyncio.sleep(10))(1)

    run(loop, main())


@pytest.mark.parametrize(
    ("mode", "results", "answer"),
    [
        (HookMode.NOTIFY, [1, None, 3], None),
        (HookMode.COLLECT, [1, None, 3], [1, 3]),
        (HookMode.FIRST, [None, 2, 3], 2),
        (HookMode.VETO, [None, True, Veto("no")], "no"),
        (HookMode.VETO, [None, True, None], ""),
    ],
)
async def test_all_modes_wait(mode: HookMode, results: list[Any], answer: Any) -> None:
    def returning(result: Any) -> Callable[[int], Awaitable[Any]]:
        async def handler(_: int) -> Any:
            await asyncio.sleep(0)
            return result

        return handler

    hook = define(*map(returning, results), mode=mode)
    found = await start(hook, 1)
    assert (found.reason if isinstance(found, VetoResult) else found) == answer
    assert found == await hook(1)


@pytest.mark.parametrize("policy", list(ErrorPolicy))
async def test_error_policies_hold_after_a_wait(policy: ErrorPolicy) -> None:
    async def fails(_: int) -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    hook = define(fails, later, add_one, on_error=policy)
    if policy is ErrorPolicy.ISOLATE:
        assert await start(hook, 1) == 3
        return
    with pytest.raises((ValueError, ExceptionGroup)):
        await start(hook, 1)


def test_a_call_that_does_not_wait_is_its_answer() -> None:
    assert define(add_one, no_wait).start(1) == 3
    assert isinstance(define(add_one, later).start(1), PendingCall)


def test_what_is_sent_and_yielded_passes_through() -> None:
    class Steps:
        def __init__(self) -> None:
            self.got: list[Any] = []

        def __await__(self) -> Any:
            self.got.append((yield "first"))
            self.got.append((yield "second"))
            return 7

    steps = Steps()
    pending = define(lambda n: steps, add_one).start(1)
    assert pending.send(None) == "first"
    assert pending.send("a") == "second"
    with pytest.raises(StopIteration) as done:
        pending.send("b")
    assert done.value.value == 8
    assert steps.got == ["a", "b"]


@pytest.mark.parametrize("answer", [(1, 2), ValueError("a value"), None, StopIteration(3)])
def test_answers_that_look_like_exceptions_come_whole(answer: Any) -> None:
    class Steps:
        def __await__(self) -> Any:
            yield
            return answer

    registry = HookRegistry()
    hook = registry.define("h", object, object, mode=HookMode.FIRST)
    hook.register(lambda n: Steps())

    async def wait(pending: Any) -> Any:
        return await pending

    waiting = wait(hook.start(1))
    waiting.send(None)
    with pytest.raises(StopIteration) as done:
        waiting.send(None)
    assert done.value.value is answer
    for step in (next, lambda pending: pending.send(None)):
        pending: Any = hook.start(1)
        step(pending)
        with pytest.raises(StopIteration) as done:
            step(pending)
        assert done.value.value is answer


def test_a_handler_that_raises_stop_iteration_fails_as_a_coroutine_would() -> None:
    def stops(_: int) -> None:
        raise StopIteration(5)

    for call in (define(stops).call, define(stops).start):
        with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
            call(1)
        assert isinstance(caught.value.__cause__, StopIteration)


def test_a_pending_call_is_awaited_once() -> None:
    hook = define(later)
    pending: Any = hook.start(1)
    pending.close()
    pending.close()
    uses: list[Callable[[], object]] = [
        lambda: pending.send(None),
        lambda: pending.throw(OSError()),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="cannot reuse"):
            use()
    with pytest.raises(TypeError, match="just-started"):
        hook.start(1).send(5)
    with pytest.raises(TypeError):
        PendingCall()


def test_a_call_cannot_resume_itself() -> None:
    found: list[Any] = []

    class Steps:
        def __await__(self) -> Any:
            yield
            with pytest.raises(ValueError, match="already executing"):
                found[0].send(None)
            return 1

    found.append(define(lambda n: Steps()).start(1))
    found[0].send(None)
    with pytest.raises(StopIteration):
        found[0].send(None)


def test_closing_closes_the_handler_and_counts_the_call() -> None:
    closed: list[int] = []

    async def waits(n: int) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(n)

    registry = HookRegistry()
    hook = registry.define("h", int, int)
    hook.register(waits)
    pending: Any = hook.start(1)
    pending.send(None)
    pending.close()
    pending = hook.start(2)
    with pytest.raises(GeneratorExit):
        pending.throw(GeneratorExit)
    pending = hook.start(3)
    del pending
    assert closed == [1, 2, 3]
    assert registry.stats()[0].calls == 2


async def test_an_exception_that_a_handler_catches_lets_the_chain_go_on() -> None:
    async def catches(n: int) -> int:
        try:
            await asyncio.Event().wait()
        except OSError:
            await asyncio.sleep(0)
        return n + 1

    pending: Any = define(catches, later).start(1)
    pending.send(None)
    assert pending.throw(OSError("caught")) is None
    assert pending.send(None) is None
    pending.close()


@pytest.mark.parametrize("wrong", [3, "text", int])
def test_only_exceptions_can_be_thrown(wrong: Any) -> None:
    with pytest.raises(TypeError, match="BaseException"):
        define(later).start(1).throw(wrong)


def test_a_call_that_is_garbage_in_a_cycle_is_collected() -> None:
    class Plugin:
        pending: Any = None

        async def on_hook(self, _: int) -> None:
            await asyncio.sleep(0)

    plugin = Plugin()
    alive = weakref.ref(plugin)
    hook = define(plugin.on_hook)
    plugin.pending = hook.start(1)
    hook.unregister(plugin.on_hook, owner="acme")
    del plugin
    gc.collect()
    assert alive() is None


async def test_a_call_is_a_coroutine_to_whoever_asks() -> None:
    pending = define(later).start(1)
    assert asyncio.iscoroutine(pending)
    assert inspect.isawaitable(pending)
    assert await asyncio.create_task(pending) == 2
