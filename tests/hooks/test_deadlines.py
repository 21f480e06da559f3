"""Time limits of handlers that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest
import uvloop

from pluginapi.errors import HookError, HookTypeError, PluginTimeout
from pluginapi.hooks import ErrorPolicy, HookRegistry

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
SHORT, LONG = 0.02, 60


def run(loop: Callable[[], asyncio.AbstractEventLoop], main: Any) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


async def hang(_: int) -> None:
    await asyncio.Event().wait()


async def slow(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@LOOPS
@pytest.mark.parametrize("timed", [True, False])
def test_a_handler_that_waits_too_long_is_cancelled_and_fails(loop: Any, timed: bool) -> None:
    async def main() -> None:
        registry = HookRegistry()
        hook = registry.define("h", int, int, timed=timed)
        ended: list[str] = []

        async def hangs(n: int) -> None:
            try:
                await hang(n)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        hook.register(hangs, owner="acme", deadline=SHORT)
        with pytest.raises(PluginTimeout, match=r"did not end within 0\.02 s") as caught:
            await hook(1)
        assert (caught.value.code, caught.value.plugin) == ("hook.deadline", "acme")
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert ended == ["cancelled"]
        assert registry.stats()[0].errors == 1
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(loop, main())


async def test_the_error_policy_applies_and_the_chain_goes_on() -> None:
    hook = HookRegistry().define("h", int, int, on_error=ErrorPolicy.ISOLATE)
    hook.register(hang, deadline=SHORT)
    hook.register(slow, deadline=LONG)
    assert await hook(1) == 2


async def test_each_handler_has_its_own() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int, on_error=ErrorPolicy.ISOLATE)
    for owner, deadline in (("a", SHORT), ("b", None), ("c", SHORT)):

        async def waits(n: int, seconds: float = 0.04) -> int:
            await asyncio.sleep(seconds)
            return n + 1

        hook.register(waits, owner=owner, deadline=deadline)
    assert await hook(0) == 1
    assert [item.errors for item in registry.stats()] == [1, 0, 1]


async def test_a_cancellation_from_outside_stays_one() -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(hang, deadline=LONG)

    async def call() -> int:
        return await hook(1)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_around_the_call_is_told_apart() -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(hang, deadline=LONG)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(SHORT):
            await hook(1)
    assert not isinstance(caught.value, PluginTimeout)


def test_a_handler_that_does_not_wait_arms_nothing() -> None:
    hook = HookRegistry().define("h", int, int)

    async def quick(n: int) -> int:
        return n + 1

    hook.register(quick, deadline=LONG)
    hook.register(lambda n: n + 1, deadline=LONG)
    assert hook.call(1) == 3  # There is no event loop: a timer would be an error.


async def test_time_before_the_first_wait_counts() -> None:
    hook = HookRegistry().define("h", int, int)
    loop = asyncio.get_running_loop()

    async def busy(n: int) -> int:
        end = loop.time() + SHORT
        while loop.time() < end:
            pass
        await asyncio.sleep(LONG)
        return n

    hook.register(busy, deadline=SHORT)
    with pytest.raises(PluginTimeout):
        await hook(1)


def test_a_deadline_outside_of_a_task_is_an_error_that_says_so() -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(slow, deadline=LONG, owner="acme")
    pending: Any = hook.start(1)
    with pytest.raises(HookError, match="no asyncio task can end it") as caught:
        pending.send(None)
    assert (caught.value.code, caught.value.plugin) == ("hook.deadline", "acme")


async def test_a_wrapper_may_have_one_too() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)

    def around(n: int) -> Generator[int, int, None]:
        yield n

    hook.wrap(around, deadline=SHORT, owner="w")
    hook.register(hang, priority=300)
    with pytest.raises(PluginTimeout, match="wrapper"):
        await hook(1)


async def test_timers_do_not_pile_up() -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(slow, deadline=LONG)
    loop: Any = asyncio.get_running_loop()
    for n in range(300):
        assert await hook(n) == n + 1
    live = [timer for timer in loop._scheduled if not timer.cancelled()]
    assert len(live) < 5


@pytest.mark.parametrize("end", ["close", "drop"])
async def test_a_call_that_is_given_up_leaves_no_timer(end: str) -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(hang, deadline=SHORT)
    pending: Any = hook.start(1)
    pending.send(None)
    if end == "close":
        pending.close()
    del pending
    await asyncio.sleep(2 * SHORT)  # The timer would cancel this task.


@pytest.mark.parametrize("deadline", [0, -1, "1", True, float("nan")])
def test_what_is_no_time_is_refused(deadline: Any) -> None:
    registry = HookRegistry()
    with pytest.raises(HookTypeError, match="not a number of seconds"):
        registry.register("h", 200, slow, deadline=deadline)
    assert "h" not in registry
