"""Calls from an event loop, of asyncio and of uvloop, and handlers on one."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import types
from collections.abc import Callable, Generator
from typing import Any

import pytest
import uvloop

from ipc.peers import connected, decode, encode
from pluginapi import HookRegistry
from pluginapi._native import _channel
from pluginapi.errors import HookError, IpcClosed, IpcError, PluginTimeout
from pluginapi.ipc.handler import RemoteHandler
from pluginapi.ipc.protocol import (
    ContextGet,
    GetMetrics,
    HandlerSpec,
    Metrics,
    Shutdown,
    Success,
    Value,
)
from pluginapi.ipc.serving import served

# The first loop of libuv opens a pipe that stays.
uvloop.new_event_loop().close()

Transport = dict[str, Any]
Run = Callable[[Any], Any]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on a new loop of either kind."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run_it(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(coroutine, 60))

    return run_it


def same(value: Any) -> Any:
    return value


def returned(function: Callable[[Any], Any], value: Any) -> Any:
    return function(value)


async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def test_an_awaited_call_returns_what_the_handler_made(transport: Transport, run: Run) -> None:
    with connected({1: same}, **transport) as (channel, _):

        async def main() -> None:
            for number in range(200):
                reply = await channel.call_async(1, encode(number), timeout=5)
                assert decode(reply[3]) == number

        run(main())


def test_many_calls_are_in_flight(transport: Transport, run: Run) -> None:
    with connected({1: nap}, in_flight=50, **transport) as (channel, _):

        async def main() -> float:
            began = time.monotonic()
            await asyncio.gather(
                *(channel.call_async(1, encode(0.2), timeout=20) for _ in range(100))
            )
            return time.monotonic() - began

        # One after the other they would take 20 seconds.
        assert run(main()) < 10
        assert channel.stats()["pending"] == 0


def test_answers_find_their_callers(transport: Transport, run: Run) -> None:
    with connected({1: same}, in_flight=16, **transport) as (channel, _):

        async def one(number: int) -> None:
            for count in range(20):
                reply = await channel.call_async(1, encode([number, count]), timeout=20)
                assert decode(reply[3]) == [number, count]

        async def main() -> None:
            await asyncio.gather(*(one(number) for number in range(64)))

        run(main())


def test_large_payloads_from_a_loop(transport: Transport, run: Run) -> None:
    data = b"x" * (1 << 20)
    with connected({1: same}, **transport) as (channel, _):

        async def main() -> None:
            replies = await asyncio.gather(
                *(channel.call_async(1, encode(data), timeout=20) for _ in range(8))
            )
            assert all(decode(reply[3]) == data for reply in replies)

        run(main())


def test_a_deadline_and_a_cancellation_end_the_handler(transport: Transport, run: Run) -> None:
    started: list[str] = []
    ended: list[str] = []

    async def long(name: str) -> None:
        started.append(name)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append(name)
            raise

    with connected({1: long, 2: same}, **transport) as (channel, _):

        async def main() -> None:
            # On a busy machine the time may be over before the handler runs: then it never does.
            while "deadline" not in started:
                with pytest.raises(PluginTimeout):
                    await channel.call_async(1, encode("deadline"), timeout=0.05)
            task = asyncio.create_task(channel.call_async(1, encode("cancelled")))
            while "cancelled" not in started:
                await channel.call_async(2, encode(0), timeout=5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while len(ended) < 2:
                await channel.call_async(2, encode(0), timeout=5)
            while channel.stats()["abandoned"]:
                await channel.call_async(2, encode(0), timeout=5)

        run(main())
        assert ended == ["deadline", "cancelled"]


def test_a_call_that_comes_with_its_cancellation_is_answered(
    transport: Transport, run: Run
) -> None:
    async def handler(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    def block(seconds: float) -> None:
        time.sleep(seconds)

    with connected({1: handler, 2: block}, **transport) as (channel, _):

        async def main() -> None:
            # From here on the worker serves on an event loop, which the sync handler then blocks.
            await channel.call_async(1, encode(0), timeout=20)
            blocked = asyncio.create_task(channel.call_async(2, encode(0.3), timeout=20))
            await asyncio.sleep(0.1)
            for _ in range(3):
                with pytest.raises(PluginTimeout):
                    await channel.call_async(1, encode(30), timeout=0.02)
            await blocked
            # A call that nobody answers would stay.
            while channel.stats()["abandoned"]:
                await channel.call_async(1, encode(0), timeout=20)

        run(main())
        assert channel.stats()["pending"] == 0


def test_threads_and_a_loop_call_at_the_same_time(transport: Transport, run: Run) -> None:
    with connected({1: same}, **transport) as (channel, _):
        wrong: list[Any] = []

        def thread_main(number: int) -> None:
            for count in range(100):
                got = decode(channel.call(1, encode([number, count]), timeout=20)[3])
                if got != [number, count]:
                    wrong.append(got)

        async def main() -> None:
            threads = [threading.Thread(target=thread_main, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for count in range(200):
                reply = await channel.call_async(1, encode(["loop", count]), timeout=20)
                assert decode(reply[3]) == ["loop", count]
            for thread in threads:
                await asyncio.to_thread(thread.join, 30)

        run(main())
        assert wrong == []


def test_an_idle_loop_serves_what_the_plugin_asks(transport: Transport, run: Run) -> None:
    with connected({1: same}, **transport) as (channel, worker):

        async def serve(message: Any, scope: object) -> Value:
            await asyncio.sleep(0.01)
            return Value(encode([message.key, scope]))

        async def main() -> list[Any]:
            channel.on_request(serve)
            await channel.call_async(1, encode(0), timeout=5)
            answer = await asyncio.to_thread(
                worker.channel.request, ContextGet("free"), Value, timeout=5
            )
            return list(decode(answer.value))

        assert run(main()) == ["free", None]


def test_async_handlers_ask_the_host(transport: Transport, run: Run) -> None:
    with connected({}, **transport) as (channel, worker):

        async def ask(value: Any) -> Any:
            answer = await worker.channel.request_async(ContextGet("key"), Value, timeout=5)
            return [value, decode(answer.value)]

        async def serve(message: Any, scope: object) -> Value:
            await asyncio.sleep(0)
            return Value(encode([message.key, scope]))

        worker.server.add(1, served(ask))
        channel.on_request(serve)

        async def main() -> None:
            replies = await asyncio.gather(
                *(channel.call_async(1, encode(n), timeout=20, scope=n) for n in range(20))
            )
            assert [decode(reply[3]) for reply in replies] == [[n, ["key", n]] for n in range(20)]

        run(main())
        assert decode(channel.call(1, encode("t"), timeout=5, scope="s")[3]) == ["t", ["key", "s"]]


def test_control_requests_are_awaited(transport: Transport, run: Run) -> None:
    with connected({1: nap}, **transport) as (channel, worker):

        async def main() -> None:
            metrics = await channel.request_async(GetMetrics(), Metrics, timeout=5)
            assert metrics == Metrics({"calls": 1})
            await channel.call_async(1, encode(0.0), timeout=5)
            metrics = await channel.request_async(GetMetrics(), Metrics, timeout=5)
            assert metrics == Metrics({"calls": 1})
            assert await channel.request_async(Shutdown(), Success, timeout=5) == Success()

        run(main())
        worker.thread.join(5)
        assert not worker.thread.is_alive()


def test_a_channel_moves_to_a_new_loop_but_has_one_at_a_time(transport: Transport) -> None:
    with connected({1: same, 2: time.sleep}, **transport) as (channel, _):

        async def call() -> Any:
            return decode((await channel.call_async(1, encode("x"), timeout=5))[3])

        assert asyncio.run(call()) == "x"
        assert asyncio.run(call()) == "x"

        async def main() -> None:
            assert await call() == "x"

            def other() -> None:
                with pytest.raises(IpcError) as caught:
                    asyncio.run(call())
                assert caught.value.code == "ipc.loop"

            await asyncio.to_thread(other)
            assert await call() == "x"

        asyncio.run(main())


def test_the_end_reaches_those_who_await(transport: Transport, run: Run) -> None:
    release = threading.Event()
    with connected({1: lambda _: release.wait(10)}, **transport) as (channel, _):

        async def main() -> None:
            tasks = [asyncio.create_task(channel.call_async(1, encode(0))) for _ in range(3)]
            await asyncio.sleep(0.05)
            channel.close()
            for task in tasks:
                with pytest.raises(IpcClosed):
                    await task
            with pytest.raises(IpcClosed):
                await channel.call_async(1, encode(0))

        run(main())
        release.set()


def test_a_worker_that_dies_is_noticed_by_an_idle_loop(transport: Transport, run: Run) -> None:
    with connected({1: same}, **transport) as (channel, worker):

        async def main() -> None:
            await channel.call_async(1, encode(0), timeout=5)
            ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            channel.on_end(lambda _: loop.call_soon_threadsafe(ended.set))
            worker.channel.close()
            await asyncio.wait_for(ended.wait(), 10)

        run(main())
        assert channel.reason is not None
        assert channel.reason.code == "ipc.disconnected"


def test_a_remote_handler_is_an_entry_of_a_hook(transport: Transport, run: Run) -> None:
    handlers = {1: lambda value: value + 1, 2: nap}
    with connected(handlers, **transport) as (channel, _):
        registry = HookRegistry()
        hook = registry.define("on_value", int, int)
        sleepy = registry.define("on_sleep", float, float)
        for number, name in ((1, "on_value"), (2, "on_sleep")):
            remote = RemoteHandler(
                channel,
                HandlerSpec(number, name),
                output_type=lambda name=name: registry.hook(name).output_type,  # type: ignore[misc]
                timeout=5,
            )
            registry.register(name, 200, remote, owner="acme.guard")

        async def main() -> None:
            assert await hook(1) == 2
            assert await asyncio.gather(*(sleepy(0.01) for _ in range(10))) == [0.01] * 10
            assert await hook(2) == 3

        # Without a loop it blocks.
        assert hook.call(4) == 5
        run(main())


def test_a_sync_handler_that_waits_is_told_to_be_async(transport: Transport) -> None:
    @types.coroutine
    def suspend() -> Generator[None, None, None]:
        yield

    async def wait(_: Any) -> None:
        await suspend()

    with (
        connected({1: functools.partial(returned, wait)}, **transport) as (channel, _),
        pytest.raises(TypeError, match="not marked async"),
    ):
        channel.call(1, encode(0.1), timeout=5)


def test_a_sync_handler_may_return_a_coroutine_that_does_not_wait(transport: Transport) -> None:
    async def now(value: Any) -> Any:
        return [value]

    with connected({1: functools.partial(returned, now)}, **transport) as (channel, _):
        assert decode(channel.call(1, encode(1), timeout=5)[3]) == [1]


def test_errors_of_async_handlers(transport: Transport) -> None:
    async def fail(_: Any) -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def nothing(_: Any) -> None:
        await asyncio.sleep(0)

    with connected({1: fail, 2: nothing}, **transport) as (channel, _):
        with pytest.raises(HookError, match="no"):
            channel.call(1, encode(0), timeout=5)
        assert channel.call(2, encode(0), timeout=5)[1] == _channel.UNCHANGED
