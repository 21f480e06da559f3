"""What a call into a plugin process costs, against C, grpcio, ZeroMQ and asyncio streams.

Every contestant runs in turn, so many bursts of calls each; the table shows the median over the
bursts of each burst's median. The C ping-pong is what the machine allows: it has no framing, no
ids, no checks and no Python. Spinning and parked figures stand side by side.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ipc_worker import KEYS, SAMPLE, HttpCall
from racing import Race, Result

from pluginapi._native import _channel
from pluginapi.context import PluginContext
from pluginapi.context_key import ContextKey
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.context_push import ContextPush
from pluginapi.ipc.handler import RemoteHandler
from pluginapi.ipc.protocol import HandlerSpec
from pluginapi.ipc.settings import ChannelSettings

HERE = Path(__file__).parent
BURSTS = 11
MEBIBYTE = 1 << 20
GAP = 300e-6

Burst = Callable[[], float]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="pins host and worker to processors",
)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("peer") / "ipc_peer"
    subprocess.run(
        ["cc", "-O2", "-std=gnu11", "-o", str(program), str(HERE / "ipc_peer.c")], check=True
    )
    return program


@pytest.fixture(autouse=True)
def affinity() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def c_burst(peer: Path, mode: str, size: int, rounds: int, *, gap: float = 0.0) -> Burst:
    # "stream": both on one processor, "parked" and "memory": on two.
    cpus = (0, 0) if mode == "stream" else (0, 1)
    kind = "memory" if mode == "memory" else "stream"
    arguments = [kind, *map(str, (size, rounds, *cpus, round(gap * 1e9)))]

    def burst() -> float:
        done = subprocess.run([peer, *arguments], check=True, capture_output=True, text=True)
        return int(done.stdout.split()[0]) / 1e9

    return burst


def timed(call: Callable[[], Any], rounds: int, gap: float = 0.0) -> Burst:
    clock = time.perf_counter_ns
    gap_ns = round(gap * 1e9)

    def burst() -> float:
        times = []
        for _ in range(rounds):
            began = clock()
            call()
            times.append(clock() - began)
            if gap_ns:
                until = clock() + gap_ns
                while clock() < until:
                    pass
        return statistics.median(times) / 1e9

    return burst


def contest(race: Race, title: str, baseline: str, bursts: dict[str, Burst]) -> None:
    taken: dict[str, list[float]] = {name: [] for name in bursts}
    for burst in bursts.values():
        burst()
    for _ in range(BURSTS):
        for name, burst in bursts.items():
            taken[name].append(burst())
    medians = {name: statistics.median(times) for name, times in taken.items()}
    race.results.append(Result(title, baseline, medians))


@contextmanager
def connected(cpus: tuple[int, int], **settings: Any) -> Iterator[IpcChannel]:
    """Start a worker, pinned, with this process pinned too."""
    os.sched_setaffinity(0, {cpus[0]})
    host, worker = IpcChannel.pair()
    process = subprocess.Popen(
        [sys.executable, HERE / "ipc_worker.py", "channel", str(cpus[1]), str(worker.fileno())],
        pass_fds=[worker.fileno()],
    )
    worker.close()
    try:
        with IpcChannel.accept(host, settings=ChannelSettings(**settings)) as channel:
            yield channel
    finally:
        process.wait()


@contextmanager
def server(kind: str, cpu: int | str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        process = subprocess.Popen(
            [sys.executable, HERE / "ipc_worker.py", kind, str(cpu), path],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield path
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def typed(channel: IpcChannel, handler: int = 2, context: Any = None) -> Callable[[Any], Any]:
    return RemoteHandler(
        channel,
        HandlerSpec(handler, "on_call"),
        output_type=lambda: HttpCall,
        timeout=5.0,
        context=context,
    )


def echo(channel: IpcChannel) -> Callable[[], Any]:
    """Bytes there and back through a handler in Python: what the transport costs by itself.

    Called as `RemoteHandler` calls it. A host's end looks through every payload, so it is msgpack.
    """
    payload = msgspec.msgpack.encode(b"x" * 62)
    call = channel.core.call
    return lambda: call(_channel.CALL, 1, payload, None, 5_000_000_000)


def test_same_core(race: Race, peer: Path) -> None:
    with ExitStack() as stack:
        socket = stack.enter_context(connected((0, 0), shared=False))
        ring = stack.enter_context(connected((0, 0)))
        over_socket, over_ring = typed(socket), typed(ring)
        contest(
            race,
            "64 B, one core, both sides sleep: the ring's and socket's doorbell against C",
            "C stream ping-pong",
            {
                "C stream ping-pong": c_burst(peer, "stream", 64, 3000),
                "echo, Python handler, socket": timed(echo(socket), 1500),
                "echo, Python handler, ring": timed(echo(ring), 1500),
                "typed call of 10 fields, socket": timed(lambda: over_socket(SAMPLE), 1500),
                "typed call of 10 fields, ring": timed(lambda: over_ring(SAMPLE), 1500),
            },
        )


def test_two_cores_spinning(race: Race, peer: Path) -> None:
    with connected((0, 1)) as ring:
        over_ring = typed(ring)
        contest(
            race,
            "64 B, two cores, both sides spin",
            "C shared memory ping-pong",
            {
                "C shared memory ping-pong": c_burst(peer, "memory", 64, 10000),
                "echo, Python handler, ring": timed(echo(ring), 3000),
                "typed call of 10 fields, ring": timed(lambda: over_ring(SAMPLE), 3000),
            },
        )


def test_two_cores_parked(race: Race, peer: Path) -> None:
    with connected((0, 1)) as ring:
        over_ring = typed(ring)
        contest(
            race,
            f"two cores, the worker asleep: calls {GAP * 1e6:.0f} us apart",
            "C stream ping-pong, parked",
            {
                "C stream ping-pong, parked": c_burst(peer, "parked", 64, 300, gap=GAP),
                "typed call, worker parked": timed(lambda: over_ring(SAMPLE), 300, GAP),
                "typed call, spinning": timed(lambda: over_ring(SAMPLE), 3000),
            },
        )


def test_blocking_peers(race: Race) -> None:
    import grpc  # noqa: PLC0415 - a peer
    import zmq  # noqa: PLC0415 - a peer

    payload = msgspec.msgpack.encode(SAMPLE)
    decode = msgspec.msgpack.Decoder(HttpCall).decode
    encode = msgspec.msgpack.Encoder().encode
    with ExitStack() as stack:
        ring = stack.enter_context(connected((0, 1)))
        over_ring = typed(ring)
        grpc_path = stack.enter_context(server("grpc", 1))
        connection = stack.enter_context(grpc.insecure_channel(f"unix:{grpc_path}"))
        grpc_echo = connection.unary_unary("/Plugin/Echo")
        grpc_typed = connection.unary_unary("/Plugin/Typed")
        pair: Any = zmq.Context.instance().socket(zmq.PAIR)
        pair.connect(f"ipc://{stack.enter_context(server('zmq', 1))}")

        def zmq_typed() -> HttpCall:
            pair.send(encode(SAMPLE))
            return decode(pair.recv())

        contest(
            race,
            "blocking calls, two cores; ours spins, the others sleep (they cannot spin)",
            "typed call, ring",
            {
                "typed call, ring": timed(lambda: over_ring(SAMPLE), 3000),
                "typed call, ring, worker parked": timed(lambda: over_ring(SAMPLE), 200, GAP),
                "grpcio unix, bytes echoed": timed(lambda: grpc_echo(payload), 200),
                "grpcio unix, typed": timed(lambda: decode(grpc_typed(encode(SAMPLE))), 200),
                "pyzmq PAIR ipc, typed": timed(zmq_typed, 300),
            },
        )
        pair.close(linger=0)


def awaited(
    runner: Callable[[Any], float], call: Callable[[], Awaitable[Any]], rounds: int
) -> Burst:
    async def run() -> float:
        clock = time.perf_counter_ns
        times = []
        for _ in range(rounds):
            began = clock()
            await call()
            times.append(clock() - began)
        return statistics.median(times) / 1e9

    return lambda: runner(run())


def callers(runner: Callable[[Any], float], call: Callable[[], Awaitable[Any]], each: int) -> Burst:
    async def one() -> None:
        for _ in range(each):
            await call()

    async def run() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(64)))
        return (time.perf_counter() - began) / (64 * each)

    return lambda: runner(run())


class Streams:
    """Many calls in flight over one asyncio stream, by id: the best that streams can do."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.waiting: dict[int, asyncio.Future[bytes]] = {}
        self.next = 0
        self.decode = msgspec.msgpack.Decoder(HttpCall).decode
        self.encode = msgspec.msgpack.Encoder().encode

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(self.path)
        self.task = asyncio.create_task(self.receive())

    async def receive(self) -> None:
        try:
            while True:
                size, call = struct.unpack("<IQ", await self.reader.readexactly(12))
                self.waiting.pop(call).set_result(await self.reader.readexactly(size))
        except asyncio.IncompleteReadError:
            return

    async def call(self) -> HttpCall:
        payload = self.encode(SAMPLE)
        self.next += 1
        future = self.waiting[self.next] = asyncio.get_running_loop().create_future()
        self.writer.write(struct.pack("<IQ", len(payload), self.next) + payload)
        return self.decode(await future)

    async def close(self) -> None:
        self.writer.close()
        await self.task


@pytest.mark.parametrize("cpus", [(0, 1), (0, 0)], ids=["two-cores", "one-core"])
def test_event_loops(race: Race, cpus: tuple[int, int]) -> None:
    import grpc  # noqa: PLC0415 - a peer
    import uvloop  # noqa: PLC0415 - a peer

    where = "two cores" if cpus[0] != cpus[1] else "one core"
    with ExitStack() as stack:
        plain = asyncio.Runner()
        fast = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        aio = asyncio.Runner()
        for runner in (plain, fast, aio):
            stack.callback(runner.close)
        ours = typed(stack.enter_context(connected(cpus)))
        ours_uvloop = typed(stack.enter_context(connected(cpus)))
        streams = Streams(stack.enter_context(server("asyncio", cpus[1])))
        uv_streams = Streams(stack.enter_context(server("uvloop", cpus[1])))
        path = stack.enter_context(server("grpc.aio", cpus[1]))
        plain.run(streams.open())
        fast.run(uv_streams.open())
        encode = msgspec.msgpack.Encoder().encode
        decode = msgspec.msgpack.Decoder(HttpCall).decode

        async def connect() -> Any:
            return grpc.aio.insecure_channel(f"unix:{path}")

        connection = aio.run(connect())
        remote = connection.unary_unary("/Plugin/Typed")

        async def grpc_call() -> HttpCall:
            return decode(await remote(encode(SAMPLE)))

        async def our_call() -> HttpCall:
            result = ours(SAMPLE)
            return result if type(result) is HttpCall else await result

        async def our_uvloop_call() -> HttpCall:
            result = ours_uvloop(SAMPLE)
            return result if type(result) is HttpCall else await result

        contest(
            race,
            f"awaited typed calls, one at a time, {where}",
            "ours, asyncio",
            {
                "ours, asyncio": awaited(plain.run, our_call, 1000),
                "ours, uvloop": awaited(fast.run, our_uvloop_call, 1000),
                "asyncio streams": awaited(plain.run, streams.call, 200),
                "uvloop streams": awaited(fast.run, uv_streams.call, 200),
                "grpc.aio": awaited(aio.run, grpc_call, 100),
            },
        )
        contest(
            race,
            f"64 callers at a time, time per typed call, {where}",
            "ours, uvloop",
            {
                "ours, asyncio": callers(plain.run, our_call, 30),
                "ours, uvloop": callers(fast.run, our_uvloop_call, 30),
                "asyncio streams": callers(plain.run, streams.call, 10),
                "uvloop streams": callers(fast.run, uv_streams.call, 20),
                "grpc.aio": callers(aio.run, grpc_call, 3),
            },
        )
        plain.run(streams.close())
        fast.run(uv_streams.close())
        aio.run(connection.close())


def test_one_mebibyte(race: Race, peer: Path) -> None:
    data = bytes(MEBIBYTE)
    with ExitStack() as stack:
        socket = stack.enter_context(connected((0, 0), shared=False))
        ring = stack.enter_context(connected((0, 0)))

        def over(channel: IpcChannel) -> Callable[[], Any]:
            remote = RemoteHandler(
                channel, HandlerSpec(4, "blob"), output_type=lambda: memoryview, timeout=5.0
            )
            return lambda: remote(data)

        contest(
            race,
            "1 MiB there and back, decoded in place, one core",
            "C stream ping-pong",
            {
                "C stream ping-pong": c_burst(peer, "stream", MEBIBYTE, 50),
                "bytes, ring": timed(over(ring), 50),
                "bytes, socket": timed(over(socket), 50),
            },
        )


def test_beside_a_busy_thread(race: Race) -> None:
    with connected((0, 1)) as ring:
        over_ring = typed(ring)
        stop = threading.Event()

        def burn() -> None:
            while not stop.is_set():
                sum(range(1000))

        def beside() -> float:
            stop.clear()
            thread = threading.Thread(target=burn)
            thread.start()
            try:
                return timed(lambda: over_ring(SAMPLE), 1000)()
            finally:
                stop.set()
                thread.join()

        contest(
            race,
            "typed call while another thread of the host burns the interpreter lock",
            "alone",
            {"alone": timed(lambda: over_ring(SAMPLE), 1000), "beside a busy thread": beside},
        )


def test_pushed_context(race: Race) -> None:
    context = PluginContext()
    for key in KEYS:
        context.set(ContextKey(key, str), f"value of {key}")
    push = ContextPush(context.view("bench", KEYS, ()), KEYS, ())
    with connected((0, 1)) as ring:
        without, unread, with_keys = typed(ring), typed(ring, 2, push), typed(ring, 3, push)
        contest(
            race,
            "five pushed context keys",
            "without context",
            {
                "without context": timed(lambda: without(SAMPLE), 3000),
                "five keys pushed, none read": timed(lambda: unread(SAMPLE), 3000),
                "five keys pushed, five read": timed(lambda: with_keys(SAMPLE), 3000),
            },
        )


def test_adaptive_spinning(race: Race) -> None:
    with ExitStack() as stack:
        adaptive = typed(stack.enter_context(connected((0, 1))))
        never = typed(stack.enter_context(connected((0, 1), spin_us=0)))
        contest(
            race,
            "two cores, typed call: adaptive spinning, never spinning",
            "never spins",
            {
                "adaptive": timed(lambda: adaptive(SAMPLE), 2000),
                "never spins": timed(lambda: never(SAMPLE), 300),
            },
        )
