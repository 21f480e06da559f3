"""Calls over a channel, blocking: from one thread and many, nested, cancelled, in excess."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import msgspec
import pytest

from ipc.peers import CALL, CANCEL, connected, decode, encode, lied_to
from pluginapi._native import _channel
from pluginapi.errors import (
    ContextKeyNotFound,
    HookError,
    IpcClosed,
    IpcError,
    PluginError,
    PluginTimeout,
)
from pluginapi.hooks.results import StopChain
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.protocol import (
    ContextGet,
    GetMetrics,
    Initialize,
    Log,
    Metrics,
    Ping,
    Ready,
    Shutdown,
    Success,
    Value,
)
from pluginapi.ipc.serving import served

Transport = dict[str, Any]


def same(value: Any) -> Any:
    return value


def test_a_call_returns_what_the_handler_made(any_transport: Transport) -> None:
    with connected({1: lambda value: [value, value]}, **any_transport) as (channel, _):
        assert channel.core.shared is any_transport["shared"]
        kind, flags, context, payload = channel.call(1, encode("x"), timeout=5)
        assert (kind, flags, context) == (_channel.RESULT, 0, None)
        assert decode(payload) == ["x", "x"]


def test_none_leaves_the_value_and_stop_ends_the_chain(any_transport: Transport) -> None:
    handlers = {1: lambda _: None, 2: lambda value: StopChain(value + 1)}
    with connected(handlers, **any_transport) as (channel, _):
        assert channel.call(1, encode(1), timeout=5)[1:] == (_channel.UNCHANGED, None, b"")
        _, flags, _, payload = channel.call(2, encode(1), timeout=5)
        assert (flags, decode(payload)) == (_channel.STOP, 2)


@pytest.mark.parametrize("size", [0, 1, 1000, 16_383, 16_384, 70_000, 1 << 20, (16 << 20) - 100])
def test_payloads_of_every_size_cross(any_transport: Transport, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with connected({1: same}, **any_transport) as (channel, _):
        for _ in range(3):
            assert decode(channel.call(1, encode(data), timeout=20)[3]) == data


def test_large_payloads_are_handed_out_in_place() -> None:
    data = encode(b"x" * (1 << 20))
    with connected({1: (same, {"input_type": memoryview})}) as (channel, _):
        payload: Any = channel.call(1, data, timeout=20)[3]
        assert type(payload).__name__ == "Payload"
        assert memoryview(payload).readonly
        assert bytes(payload) == data
        kept: Any = channel.call(1, encode(b"y" * (1 << 20)), timeout=20)[3]
        # What is kept is not written over by the next message.
        assert bytes(payload) == data
        assert bytes(kept) != data


def test_a_message_over_the_limit_is_refused_here(any_transport: Transport) -> None:
    with connected({1: same}, max_message_bytes=65_536, **any_transport) as (channel, _):
        with pytest.raises(IpcError) as caught:
            channel.call(1, encode(b"x" * 65_536), timeout=5)
        assert caught.value.code == "ipc.too_large"
        assert decode(channel.call(1, encode(b"x" * 60_000), timeout=5)[3]) == b"x" * 60_000


def test_a_result_over_the_limit_is_an_error_of_the_handler(any_transport: Transport) -> None:
    with connected({1: lambda size: b"x" * size}, max_message_bytes=65_536, **any_transport) as (
        channel,
        _,
    ):
        with pytest.raises(IpcError) as caught:
            channel.call(1, encode(100_000), timeout=5)
        assert caught.value.code == "ipc.too_large"
        assert decode(channel.call(1, encode(3), timeout=5)[3]) == b"xxx"


def test_errors_of_handlers_arrive_with_their_words(any_transport: Transport) -> None:
    def fail(_: Any) -> None:
        raise KeyError("no such tenant")

    with connected({1: fail}, **any_transport) as (channel, _):
        with pytest.raises(HookError) as caught:
            channel.call(1, encode(1), timeout=5)
        assert "no such tenant" in str(caught.value)
        assert caught.value.plugin == "acme.guard"
        assert caught.value.details["remote_kind"] == "KeyError"
        assert "in fail" in caught.value.details["remote_traceback"]


def test_an_unknown_handler_is_an_error(any_transport: Transport) -> None:
    with connected({}, **any_transport) as (channel, _):
        with pytest.raises(HookError) as caught:
            channel.call(7, encode(1), timeout=5)
        assert caught.value.details["remote_code"] == "hook.unknown"


def test_a_payload_of_the_wrong_type_is_an_error(any_transport: Transport) -> None:
    with (
        connected({1: (same, {"input_type": int, "hook": "on_x"})}, **any_transport) as (
            channel,
            _,
        ),
        pytest.raises(TypeError, match="on_x"),
    ):
        channel.call(1, encode("text"), timeout=5)


def test_control_requests(any_transport: Transport) -> None:
    with connected({}, **any_transport) as (channel, worker):
        assert channel.request(Initialize("p", "1"), Ready, timeout=5).plugin == "plugin"
        assert channel.request(GetMetrics(), Metrics, timeout=5).values == {"calls": 1}
        assert channel.request(Ping(), Success, timeout=5) == Success()
        assert channel.request(Shutdown(), Success, timeout=5) == Success()
        worker.thread.join(5)
        assert not worker.thread.is_alive()


def test_calls_of_many_threads_do_not_mix(any_transport: Transport) -> None:
    wrong: list[Any] = []

    def run(number: int) -> None:
        for count in range(200):
            value = [number, count]
            got = decode(channel.call(1, encode(value), timeout=20)[3])
            if got != value:
                wrong.append((value, got))

    with connected({1: same}, **any_transport) as (channel, _):
        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert channel.stats()["pending"] == 0


def test_more_calls_than_are_in_flight_wait_their_turn(any_transport: Transport) -> None:
    with connected({1: same}, in_flight=2, **any_transport) as (channel, _):
        done: list[int] = []

        def run(number: int) -> None:
            done.append(decode(channel.call(1, encode(number), timeout=20)[3]))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(done) == list(range(20))


def test_more_calls_than_may_wait_are_refused(any_transport: Transport) -> None:
    release = threading.Event()
    with connected({1: lambda _: release.wait(10)}, in_flight=1, queued=1, **any_transport) as (
        channel,
        _,
    ):
        threads = [
            threading.Thread(target=lambda: channel.call(1, encode(0), timeout=20))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 10
        while channel.stats()["pending"] < 2 and time.monotonic() < until:
            time.sleep(0.005)
        with pytest.raises(IpcError) as caught:
            channel.call(1, encode(0), timeout=20)
        assert caught.value.code == "ipc.busy"
        release.set()
        for thread in threads:
            thread.join(10)
        channel.call(1, encode(0), timeout=20)


def test_more_large_messages_than_fit_wait_for_room(any_transport: Transport) -> None:
    data = encode(b"x" * 100_000)
    with connected(
        {1: same}, ring_bytes=4096, area_bytes=262_144, max_message_bytes=131_072, **any_transport
    ) as (channel, _):

        def run() -> None:
            for _ in range(30):
                assert len(decode(channel.call(1, data, timeout=20)[3])) == 100_000

        threads = [threading.Thread(target=run) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert channel.stats()["pending"] == 0
        assert not channel.closed


def test_a_deadline_ends_the_call_and_not_the_channel(any_transport: Transport) -> None:
    with connected({1: time.sleep, 2: same}, **any_transport) as (channel, _):
        with pytest.raises(PluginTimeout) as caught:
            channel.call(1, encode(0.3), timeout=0.05)
        assert caught.value.code == "ipc.deadline"
        assert channel.stats()["abandoned"] == 1
        # Its answer is still due and is dropped when it comes.
        assert decode(channel.call(2, encode("next"), timeout=5)[3]) == "next"
        assert channel.stats()["abandoned"] == 0


def test_the_peer_is_told_the_deadline_and_the_cancellation(transport: Transport) -> None:
    with lied_to(**transport) as (channel, liar):
        with pytest.raises(PluginTimeout):
            channel.call(9, encode(0), timeout=0.05)
        kind, flags, hook, call, body = liar.next_frame()
        assert (kind, flags, hook, body[8:]) == (CALL, 1, 9, encode(0))
        assert int.from_bytes(body[:8], "little") == 50_000_000
        assert liar.next_frame() == (CANCEL, 0, 0, call, b"")


def test_a_handler_asks_the_host_while_it_runs(any_transport: Transport) -> None:
    with connected({}, **any_transport) as (channel, worker):

        def ask(value: Any) -> Any:
            answer = worker.channel.request(ContextGet("key"), Value, timeout=5)
            return [value, decode(answer.value)]

        def serve(message: Any, scope: object) -> Value:
            return Value(encode([message.key, scope, threading.get_ident()]))

        worker.server.add(1, served(ask))
        channel.on_request(serve)
        payload = channel.call(1, encode("x"), timeout=5, scope="of this call")[3]
        # It is served by the thread that waits for the call.
        assert decode(payload) == ["x", ["key", "of this call", threading.get_ident()]]


def test_host_and_plugin_call_each_other_in_turns(any_transport: Transport) -> None:
    with connected({}, **any_transport) as (channel, worker):

        def down(depth: int) -> Any:
            if depth == 0:
                return ["bottom"]
            answer = worker.channel.request(ContextGet(str(depth)), Value, timeout=5)
            return [depth, *decode(answer.value)]

        def serve(message: Any, _: object) -> Value:
            reply = channel.call(1, encode(int(message.key) - 1), timeout=5)
            return Value(bytes(reply[3]))

        worker.server.add(1, served(down))
        channel.on_request(serve)
        assert decode(channel.call(1, encode(5), timeout=10)[3]) == [5, 4, 3, 2, 1, "bottom"]
        # Without an end it is ended.
        with pytest.raises(IpcError, match="nested more than"):
            channel.call(1, encode(100), timeout=10)
        assert decode(channel.call(1, encode(1), timeout=10)[3]) == [1, "bottom"]


def test_what_the_host_does_not_serve_is_refused(any_transport: Transport) -> None:
    with connected({}, **any_transport) as (channel, worker):

        def ask(_: Any) -> Any:
            with pytest.raises(IpcError) as caught:
                worker.channel.request(ContextGet("key"), Value, timeout=5)
            return caught.value.code

        worker.server.add(1, served(ask))
        assert decode(channel.call(1, encode(0), timeout=5)[3]) == "ipc.unsupported"


def test_an_error_of_the_host_reaches_the_plugin(any_transport: Transport) -> None:
    with connected({}, **any_transport) as (channel, worker):

        def ask(_: Any) -> Any:
            with pytest.raises(HookError) as caught:
                worker.channel.request(ContextGet("key"), Value, timeout=5)
            return [caught.value.details["remote_code"], str(caught.value)]

        def serve(message: Any, _: object) -> Value:
            raise ContextKeyNotFound(f"nothing under {message.key}")

        worker.server.add(1, served(ask))
        channel.on_request(serve)
        got = decode(channel.call(1, encode(0), timeout=5)[3])
        assert got == ["context.key_not_found", "nothing under key"]


def test_requests_outside_of_calls_are_served_by_poll(any_transport: Transport) -> None:
    with connected({}, **any_transport) as (channel, worker):
        channel.on_request(lambda message, scope: Value(encode([message.key, scope])))
        got: list[Any] = []

        def ask() -> None:
            got.append(worker.channel.request(ContextGet("free"), Value, timeout=10))

        thread = threading.Thread(target=ask)
        thread.start()
        until = time.monotonic() + 10
        while not got and time.monotonic() < until:
            channel.poll()
            time.sleep(0.001)
        thread.join(10)
        assert decode(got[0].value) == ["free", None]


def test_log_lines_arrive_and_are_rate_limited(any_transport: Transport) -> None:
    lines: list[Log] = []
    with connected({2: same}, logs_per_second=10, **any_transport) as (channel, worker):
        channel.on_log(lines.append)
        for number in range(50):
            assert worker.channel.log(Log(20, f"line {number}", "stdout"))
        channel.call(2, encode(0), timeout=5)
        assert 10 <= len(lines) < 50
        assert lines[0] == Log(20, "line 0", "stdout")
        assert channel.stats()["dropped_logs"] == 50 - len(lines)


def test_close_ends_every_wait_with_the_reason(any_transport: Transport) -> None:
    errors: list[Any] = []
    ends: list[Any] = []
    release = threading.Event()
    with connected({1: lambda _: release.wait(10)}, **any_transport) as (channel, _):
        channel.on_end(ends.append)

        def run() -> None:
            try:
                channel.call(1, encode(0), timeout=20)
            except IpcClosed as err:
                errors.append(err)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 10
        while channel.stats()["pending"] < 3 and time.monotonic() < until:
            time.sleep(0.005)
        assert channel.reason is None
        channel.close(IpcClosed("the plugin was unloaded", plugin="acme.guard"))
        for thread in threads:
            thread.join(10)
        release.set()
        assert [str(err) for err in errors] == ["the plugin was unloaded"] * 3
        assert len(set(map(id, errors))) == 3
        assert [str(err) for err in ends] == ["the plugin was unloaded"]
        assert str(channel.reason) == "the plugin was unloaded"
        assert channel.fileno() == -1
        with pytest.raises(IpcClosed, match="unloaded"):
            channel.call(1, encode(0))
        channel.close()


def test_a_worker_that_is_gone_ends_the_channel(any_transport: Transport) -> None:
    with connected({1: same}, **any_transport) as (channel, worker):
        worker.channel.close()
        with pytest.raises(IpcClosed) as caught:
            channel.call(1, encode(0), timeout=10)
        assert caught.value.code == "ipc.disconnected"
        assert channel.closed


def test_a_signal_handler_that_raises_ends_the_wait(any_transport: Transport) -> None:
    import signal

    class Alarmed(Exception):
        pass

    def alarm(*_: object) -> None:
        raise Alarmed

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        with connected({1: time.sleep, 2: same}, **any_transport) as (channel, _):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Alarmed):
                channel.call(1, encode(0.5), timeout=20)
            assert decode(channel.call(2, encode(3), timeout=20)[3]) == 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_encoded_values_of_structs_cross(any_transport: Transport) -> None:
    class Point(msgspec.Struct, array_like=True):
        x: int
        y: int

    def move(point: Point) -> Point:
        return Point(point.x + 1, point.y)

    with connected({1: (move, {"input_type": Point})}, **any_transport) as (channel, _):
        payload = channel.call(1, encode(Point(1, 2)), timeout=5)[3]
        assert msgspec.msgpack.decode(payload, type=Point) == Point(2, 2)


def test_the_plugin_is_not_told_where_the_host_failed(
    any_transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    with connected({}, **any_transport) as (channel, worker):
        failures: list[Exception] = [
            ZeroDivisionError("of the host's secret"),
            ContextKeyNotFound("nothing there", hint="set it"),
        ]

        def serve(message: Any, _: object) -> Value:
            raise failures[int(message.key)]

        def ask(value: Any) -> Any:
            try:
                worker.channel.request(ContextGet(str(value)), Value, timeout=5)
            except PluginError as err:
                return [err.message, err.details["remote_code"], err.details["remote_traceback"]]

        worker.server.add(1, served(ask))
        channel.on_request(serve)
        found = decode(channel.call(1, encode(0), timeout=5)[3])
        assert found == ["the host could not serve the request", "ipc.failed", ""]
        assert "of the host's secret" in caplog.text  # In the host's log, with the place.
        found = decode(channel.call(1, encode(1), timeout=5)[3])
        assert found == ["nothing there", "context.key_not_found", ""]


def test_what_is_asked_in_a_call_is_given_up_with_it(any_transport: Transport) -> None:
    """A request that the host serves later, of a call whose deadline passes first."""
    started, cancelled, told = threading.Event(), threading.Event(), threading.Event()

    async def later() -> Value:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Value(encode("too late"))

    async def host(channel: IpcChannel) -> None:
        channel.on_request(lambda message, _: later() if message.key == "late" else done())
        with pytest.raises(PluginTimeout):
            await channel.call_async(1, encode("late"), timeout=0.3)
        assert started.is_set()
        await asyncio.wait_for(asyncio.to_thread(cancelled.wait, 10), 20)
        assert await asyncio.to_thread(told.wait, 10)
        # The control: what is asked in a call that goes on is answered.
        reply = await channel.call_async(1, encode("soon"), timeout=10)
        assert decode(reply[3]) == "done"

    async def done() -> Value:
        await asyncio.sleep(0.01)
        return Value(encode("done"))

    with connected({}, **any_transport) as (channel, worker):

        def ask(value: Any) -> Any:
            try:
                return decode(worker.channel.request(ContextGet(value), Value).value)
            except PluginError as err:
                if err.details["remote_code"] == "ipc.closed":
                    told.set()
                raise

        worker.server.add(1, served(ask))
        asyncio.run(host(channel))
        assert channel.stats()["serving"] == 0
