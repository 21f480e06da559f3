# ruff: noqa: T201 - it prints
"""What it costs to watch plugins: a pass over many processes, events, limits that are met.

    taskset -c 1 python benchmarks/bench_monitor.py

Prints the figures of this machine, each beside its target; psutil takes turns with what is
measured, asked in the way that is quickest for it. The processes are idle: 4 threads, 12 files and
4 connections each. "Warm" is one pass right after the other; "cold" is one after 100 MB went
through the caches.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from pluginapi import Violation
from pluginapi.ipc.protocol import Initialize
from pluginapi.metadata import read_manifest
from pluginapi.monitor.native import NativeSampler
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcess, PluginProcessManager
from pluginapi.process.source import plugin_source
from pluginapi.sandbox.cgroups import CgroupConfig
from pluginapi.sandbox.config import SandboxConfig

ROUNDS = 9
SIZES = (1, 50, 500, 2000)
# psutil takes a quarter of a minute for five metrics of more.
MOST_FOR_PSUTIL = 500


Seen = list[tuple[float, Violation]]


def timed(function: Callable[[], object]) -> float:
    """Return how long it takes, in microseconds."""
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1e6


def median(values: list[float]) -> float:
    return statistics.median(values)


@contextmanager
def processes(program: Path, count: int) -> Iterator[list[int]]:
    """Run so many idle processes, whose connections somebody accepts."""
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert listener.stdout is not None
    port = listener.stdout.readline().strip()
    peer = subprocess.Popen(
        [str(program), str(count), port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert peer.stdout is not None
    pids = []
    for line in peer.stdout:
        if line == "ready\n":
            break
        pids.append(int(line))
    try:
        assert len(pids) == count
        yield pids
    finally:
        for each in (peer, listener):
            each.communicate()


LISTENER = """
import resource, select, socket, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
server = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(server.getsockname()[1], flush=True)
kept = []
while True:
    ready, _, _ = select.select([server, sys.stdin], [], [])
    if sys.stdin in ready:
        break
    kept.append(server.accept()[0])
"""


def four(peers: list[psutil.Process]) -> None:
    for peer in peers:
        peer.memory_info()
        peer.num_threads()
        peer.cpu_times()
        peer.num_fds()


def five(peers: list[psutil.Process]) -> None:
    for peer in peers:
        peer.memory_info()
        peer.num_threads()
        peer.cpu_times()
        peer.num_fds()
        peer.net_connections("tcp")


def cool() -> None:
    """Let 100 MB go through the processor's caches."""
    block = bytearray(100 << 20)
    sum(block[::64])


def passes(program: Path, count: int) -> None:
    with processes(program, count) as pids:
        sampler = NativeSampler()
        for pid in pids:
            sampler.add(pid)
        peers = [psutil.Process(pid) for pid in pids]
        repeat = max(1, 2000 // count)

        def ours(*, connections: bool) -> float:
            took = timed(lambda: [sampler.sample(connections=connections) for _ in range(repeat)])
            return took / repeat

        # Nothing is known yet: the descriptors of all are searched.
        first = timed(sampler.sample)
        warm: list[float] = []
        cold: list[float] = []
        with_connections: list[float] = []
        cold_connections: list[float] = []
        psutil_four: list[float] = []
        psutil_five: list[float] = []
        for turn in range(ROUNDS):
            ours(connections=False)
            warm.append(ours(connections=False))
            with_connections.append(ours(connections=True))
            cool()
            cold.append(timed(lambda: sampler.sample(connections=False)))
            cool()
            cold_connections.append(timed(lambda: sampler.sample(connections=True)))
            psutil_four.append(timed(lambda: four(peers)))
            if count <= MOST_FOR_PSUTIL and (count < MOST_FOR_PSUTIL or turn < 2):
                psutil_five.append(timed(lambda: five(peers)))
        each = median(warm) / count
        print(
            f"{count:5} processes, 4 metrics: {each:7.2f} us each warm, "
            f"{median(cold) / count:7.2f} cold; psutil {median(psutil_four) / count:8.1f} us: "
            f"{median(psutil_four) / median(warm):6.1f}x, "
            f"{median(psutil_four) / median(cold):6.1f}x cold"
        )
        line = (
            f"{count:5} processes, 5 metrics: {median(with_connections) / 1000:7.2f} ms a pass "
            f"warm, {median(cold_connections) / 1000:7.2f} cold, {first / 1000:7.2f} the first"
        )
        if psutil_five:
            line += (
                f"; psutil {median(psutil_five) / 1000:8.1f} ms: "
                f"{median(psutil_five) / median(with_connections):6.0f}x, "
                f"{median(psutil_five) / median(cold_connections):6.0f}x cold, "
                f"{median(psutil_five) / first:6.0f}x the first"
            )
        print(line)
        if count == SIZES[-1]:
            asyncio.run(stalls(sampler))
            idle(sampler)
        sampler.close()


async def stalls(sampler: NativeSampler) -> None:
    """Print how long the event loop stands still while all are measured beside it."""

    async def longest(work: Callable[[], object] | None) -> float:
        worst = 0.0
        task = None if work is None else asyncio.ensure_future(asyncio.to_thread(work))
        until = time.perf_counter() + 0.08
        while time.perf_counter() < until or (task is not None and not task.done()):
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - began - 0.001)
        return worst * 1000

    idle_, measuring = [], []
    for _ in range(3 * ROUNDS):
        idle_.append(await longest(None))
        measuring.append(await longest(sampler.sample))
    print(
        f"      event loop stands still: {median(measuring):.2f} ms at most while measuring, "
        f"{median(idle_):.2f} ms without: {median(measuring) - median(idle_):+.2f} ms (p50 of "
        f"{len(idle_)}); target +5 ms"
    )


def idle(sampler: NativeSampler) -> None:
    """Print what a pass of the monitor takes, which asks for peaks too."""
    sampler.sample(peak=True)
    taken = []
    for _ in range(ROUNDS):
        cool()
        before = time.process_time()
        sampler.sample(peak=True)
        taken.append(time.process_time() - before)
    print(f"      every 10 s: {median(taken) / 10 * 100:.3f} % of a core; target 0.2 %")


DOER = """
from pluginapi import Plugin, ResourceLimits, make_plugin

@make_plugin(
    name="bench.doer",
    version="1.0.0",
    author="pluginapi",
    resource_limits=ResourceLimits(max_cpu_time_ms=200, max_heap_bytes=33554432),
)
class Doer(Plugin):
    def register_hooks(self, hooks):
        hooks.register("do", 200, self.do)

    def do(self, what: str) -> str:
        import mmap, time
        if what == "spin":
            until = time.process_time() + 0.25
            while time.process_time() < until:
                pass
            return ""
        block = mmap.mmap(-1, 64 << 20)
        for at in range(0, 27 << 20, 4096):
            block[at] = 1
        # Somewhere in what follows it goes through the limit: what is measured is an upper bound.
        began = time.monotonic()
        for at in range(27 << 20, 36 << 20, 4096):
            block[at] = 1
        time.sleep(0.05)
        block.close()
        return repr(began)
"""


def events() -> None:
    """Print how soon a budget that is used up, and memory above its limit, are told."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "bench_doer.py")
        path.write_text(DOER)
        file = PluginFile.open(path)
        manifest = read_manifest(file)
        limits = manifest.resource_limits
        cgroup = CgroupConfig(memory_limit_bytes=256 << 20)
        sandboxes = (None, SandboxConfig(cgroup=cgroup)) if os.getuid() == 0 else (None,)
        for sandbox in sandboxes:
            with PluginProcessManager(sandbox=sandbox) as manager:
                message = Initialize(
                    manifest.name,
                    str(manifest.version),
                    config=msgspec.msgpack.encode({}),
                    source=plugin_source(file.path.name, manifest),
                )
                process = manager.create(
                    *("python", manifest.name, file.sealed_copy(), message),
                    on_request=lambda *_: None,
                    limits=limits,
                )
                handler = process.start().handlers[0]
                seen: Seen = []
                process.on_violation = lambda found, seen=seen: seen.append(
                    (time.monotonic(), found)
                )
                if sandbox is None:
                    cpu_overshoot(process, handler.id, seen)
                else:
                    memory_latency(process, handler.id, seen)


def do(process: PluginProcess, handler: int, what: str) -> str:
    payload = msgspec.msgpack.encode(what)
    return str(msgspec.msgpack.decode(process.channel.call(handler, payload, timeout=10)[3]))


def cpu_overshoot(
    process: PluginProcess, handler: int, seen: list[tuple[float, Violation]]
) -> None:
    taken: list[float] = []
    for _ in range(3 * ROUNDS):
        seen.clear()
        do(process, handler, "spin")
        taken += [found.used - found.limit for _, found in seen[:1]]
        time.sleep(0.01)
    print(
        f"CPU budget of 200 ms: told {median(taken):.0f} ms over it (p50 of {len(taken)}, "
        f"most {max(taken)}); target 10 ms"
    )


def memory_latency(
    process: PluginProcess, handler: int, seen: list[tuple[float, Violation]]
) -> None:
    taken = []
    for _ in range(2 * ROUNDS):
        seen.clear()
        began = float(do(process, handler, "grow"))
        deadline = time.monotonic() + 1
        while not seen and time.monotonic() < deadline:
            time.sleep(0.001)
        taken += [(at - began) * 1000 for at, found in seen[:1]]
        # Whether it has fallen below its limit is looked for once a second.
        time.sleep(1.2)
    print(
        f"memory above its limit: told within {median(taken):.1f} ms (p50 of {len(taken)}, most "
        f"{max(taken):.1f}); target 5 ms"
    )


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"descriptors allowed: {hard} ({soft} before)")
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "monitor_peer")
        source = Path(__file__).with_name("monitor_peer.c")
        subprocess.run(["cc", "-O2", "-pthread", "-o", str(program), str(source)], check=True)
        for count in SIZES:
            passes(program, count)
    events()


if __name__ == "__main__":
    main()
