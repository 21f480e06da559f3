# ruff: noqa: SLF001, T201 - it looks at the parts, and prints
"""What a plugin's process costs: to start it, to keep it, to call it.

    python benchmarks/bench_process.py

Prints the figures of this machine, each beside its target, and where there is a peer the ratio to
it in the same run, taking turns. "Ready" is the whole of `PluginProcess.start`: from the call until
a small plugin has registered its handlers. A worker is "at hand" when it has joined its channel.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil
from ipc_worker import HttpCall

from pluginapi import get_include
from pluginapi._native import _channel, _spawn
from pluginapi.ipc.protocol import Initialize, Ping, Success
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcess, PluginProcessManager, ProcessSettings
from pluginapi.process.child import Worker
from pluginapi.process.source import plugin_source

SELF = __file__
ROUNDS = 60
IDLE_WORKERS = 200
TRUE = b"/bin/true"
PLUGIN = """
from pluginapi import Plugin, make_plugin

@make_plugin(name="bench.echo", version="1.0.0", author="pluginapi")
class Echo(Plugin):
    def register_hooks(self, hooks):
        hooks.register("echo", 200, self.echo)

    def echo(self, text: str) -> str:
        return text
"""
CALL = HttpCall(
    *("GET", "/items/42", "page=2", "shop.example", "192.0.2.7", "curl/8", "4f1c", 443, True, 120)
)

Kind = Literal["native", "python"]


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def spread(values: list[float], unit: str = "ms") -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):8.3f}, min {ordered[0]:8.3f} {unit}"


def line(what: str, values: list[float], target: str = "", unit: str = "ms") -> None:
    print(f"{what:44} {spread(values, unit)}{f'; target {target}' if target else ''}")


def ratio(what: str, peers: list[float], ours: list[float]) -> None:
    """Print how many times longer a peer took."""
    times = statistics.median(peers) / statistics.median(ours)
    print(f"  {what:42} {spread(peers)}; {times:.2f}x as long")


class Plugins:
    """The small plugin, in Python and in C."""

    def __init__(self, directory: Path) -> None:
        python = directory / "bench_echo.py"
        python.write_text(PLUGIN)
        source = Path(SELF).parents[1] / "tests" / "native_plugins" / "probe.c"
        native = directory / "probe.so"
        command = ["cc", "-shared", "-fPIC", "-O2", f"-I{get_include()}", "-o", str(native)]
        subprocess.run([*command, str(source)], check=True)
        self.files: dict[Kind, PluginFile] = {
            "python": PluginFile.open(python),
            "native": PluginFile.open(native),
        }

    def process(self, manager: PluginProcessManager, kind: Kind) -> PluginProcess:
        """Return a process of it, not started."""
        file = self.files[kind]
        manifest = read_manifest(file)
        initialize = Initialize(
            manifest.name,
            str(manifest.version),
            limits={"max_heap_bytes": 65536},
            source=plugin_source(file.path.name, manifest),
        )
        copy = file.sealed_copy()
        return manager.create(kind, kind, copy, initialize, on_request=lambda *_: None)


# ---- Starts ----


def popened(ends: list[Callable[[], object]]) -> None:
    """Start an interpreter the usual way, until it has said that it runs."""
    command = [sys.executable, "-I", "-S", "-c", "print('ready', flush=True); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    ends.append(lambda: child.communicate(b"\n"))


def forked(context: Any, ends: list[Callable[[], object]]) -> None:
    """Start a process of multiprocessing's fork server, until it has said that it runs."""
    ours, theirs = context.Pipe()
    # A function of the standard library: nothing is imported for it.
    process = context.Process(target=type(theirs).send_bytes, args=(theirs, b"ready"))
    process.start()
    assert ours.recv_bytes() == b"ready"
    ends.append(process.join)


def run_true() -> None:
    subprocess.run([TRUE], check=True)


def starts(manager: PluginProcessManager, plugins: Plugins) -> None:
    context = multiprocessing.get_context("forkserver")
    python, native = (plugins.process(manager, kind) for kind in ("python", "native"))
    times: dict[str, list[float]] = {}
    for number in range(ROUNDS + 1):
        for what, process in (("python", python), ("native", native)):
            took = timed(lambda process=process: process.start(10))  # type: ignore[misc]
            process.stop()
            if number:
                times.setdefault(what, []).append(took)
        for kind in ("python", "native"):
            made: list[Worker] = []
            nursery = manager._nursery(kind)
            took = timed(lambda: made.append(Worker(nursery, manager.settings)))  # noqa: B023
            manager._dismiss(made[0])
            times.setdefault(f"{kind} at hand", []).append(took)
        peers: dict[str, Callable[[list[Callable[[], object]]], None]] = {
            "forkserver": lambda ends: forked(context, ends),
            "popen": popened,
            "true": lambda _: run_true(),
        }
        for name, peer in peers.items():
            ends: list[Callable[[], object]] = []
            took = timed(lambda peer=peer, ends=ends: peer(ends))  # type: ignore[misc]
            for end in ends:
                end()
            if number:
                times.setdefault(name, []).append(took)
    line("python worker ready, from the zygote", times["python"], "1.5 ms")
    line("  of that, until it is at hand", times["python at hand"])
    ratio("multiprocessing fork server, bare function", times["forkserver"], times["python"])
    ratio("subprocess, a bare Python", times["popen"], times["python"])
    line("native worker ready", times["native"], "1.2 ms")
    line("  of that, until it is at hand", times["native at hand"])
    ratio("subprocess, /bin/true until its end", times["true"], times["native"])
    for process in (python, native):
        manager.discard(process)


def spares(plugins: Plugins) -> None:
    with PluginProcessManager(ProcessSettings(spares=1, health_interval=0)) as manager:
        manager.prepare("python")
        taken, ready = [], []
        process = plugins.process(manager, "python")
        for _ in range(ROUNDS):
            wait_for_spare(manager)
            made: list[Worker | None] = []
            taken.append(timed(lambda: made.append(manager._spare())))  # noqa: B023
            assert made[0] is not None
            manager._dismiss(made[0])
            wait_for_spare(manager)
            ready.append(timed(lambda: process.start(10)))
            process.stop()
        line("python worker at hand, from the spares", taken, "0.1 ms")
        line("python worker ready, from the spares", ready)


def wait_for_spare(manager: PluginProcessManager) -> None:
    while not manager._spares:
        time.sleep(0.005)
    # Until it has prepared itself.
    time.sleep(0.03)


# ---- Memory ----


def private_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def memory(manager: PluginProcessManager, plugins: Plugins) -> None:
    for kind, target in (("python", "1.5"), ("native", "0.5")):
        worker = Worker(manager._nursery(kind), manager.settings)
        worker.channel.request(Ping(), Success)
        idle = private_mib(worker.pid)
        manager._dismiss(worker)
        process = plugins.process(manager, "python" if kind == "python" else "native")
        process.start(10)
        loaded = private_mib(process.pid or 0)
        process.stop()
        manager.discard(process)
        what = f"{kind} worker, private memory"
        print(f"{what:44} {idle:.2f} MiB, {loaded:.2f} with a plugin; target {target} MB")
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    child = context.Process(target=type(theirs).recv_bytes, args=(theirs,))
    child.start()
    # Until it waits.
    time.sleep(0.5)
    what = "multiprocessing fork server, bare function"
    print(f"  {what:42} {private_mib(child.pid or 0):.2f} MiB")
    ours.send_bytes(b"end")
    child.join()


# ---- Large hosts ----


def spawn_true() -> None:
    _, pidfd = _spawn.spawn(TRUE, (b"true",), (), (-1, -1, -1))
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def fork_true() -> None:
    pid = os.fork()
    if pid == 0:
        os.execv(TRUE, [b"true"])  # noqa: S606 - the peer
    os.waitpid(pid, 0)


def be_host(gigabytes: str) -> None:
    """Be a host with so much memory in use, and time what standard input asks for."""
    ballast = bytearray(int(float(gigabytes) * 1024**3))
    ballast[::4096] = b"1" * len(ballast[::4096])
    print("ready", flush=True)
    for line in sys.stdin:
        print(timed(fork_true if line.strip() == "fork" else spawn_true), flush=True)


def large_host(gigabytes: float) -> dict[tuple[str, float], list[float]]:
    """Start a program from a small and from a large host, taking turns."""
    times: dict[tuple[str, float], list[float]] = {}
    hosts = {}
    for size in (0.0, gigabytes):
        command = [sys.executable, SELF, "host", str(size)]
        hosts[size] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    for host in hosts.values():
        assert host.stdout is not None
        host.stdout.readline()
    for number in range(ROUNDS):
        for size, host in hosts.items():
            assert host.stdin is not None
            assert host.stdout is not None
            for how in ("spawn", "fork") if number < 15 else ("spawn",):
                host.stdin.write(how + "\n")
                host.stdin.flush()
                times.setdefault((how, size), []).append(float(host.stdout.readline()))
    for host in hosts.values():
        host.communicate()
    return times


# ---- Calls ----


@contextmanager
def on_cpus(process: PluginProcess, cpus: tuple[int, int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpus[0]})
    os.sched_setaffinity(process.pid or 0, {cpus[1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def calls(process: PluginProcess, *, typed: bool) -> list[float]:
    """Time calls of the C handler, which returns what it is given, in microseconds."""
    assert process._ready is not None
    number = next(spec.id for spec in process._ready.handlers if spec.hook == "echo")
    call = process.channel.core.call
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(HttpCall).decode
    payload = b"\xc4\x40" + b"x" * 64
    times = []
    for _ in range(60):
        start = time.perf_counter_ns()
        if typed:
            for _ in range(500):
                decode(call(_channel.CALL, number, encode(CALL), None, 0, None)[3])
        else:
            for _ in range(500):
                call(_channel.CALL, number, payload, None, 0, None)
        times.append((time.perf_counter_ns() - start) / 500 / 1000)
    return times


def native_calls(manager: PluginProcessManager, plugins: Plugins) -> None:
    process = plugins.process(manager, "native")
    process.start(10)
    last = (os.cpu_count() or 1) - 1
    for where, cpus in (("two cores", (0, last)), ("one core", (0, 0))):
        with on_cpus(process, cpus):
            target = "1.5 us" if where == "two cores" else ""
            times = calls(process, typed=True)
            line(f"native worker, typed call, {where}", times, target, "us")
            line("  of 64 bytes, not decoded", calls(process, typed=False), unit="us")
    process.stop()
    manager.discard(process)


# ---- Idle ----


def idle(manager: PluginProcessManager) -> None:
    half = IDLE_WORKERS // 2
    workers = [
        Worker(manager._nursery(kind), manager.settings)
        for kind in ("native", "python")
        for _ in range(half)
    ]
    time.sleep(1.0)
    me = psutil.Process()
    everyone = [me, *me.children(recursive=True)]

    def used() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in everyone)

    before, start = used(), time.monotonic()
    time.sleep(10)
    share = (used() - before) / (time.monotonic() - start)
    what = f"{IDLE_WORKERS} idle workers, half of each kind"
    print(f"{what:44} {share:.2%} of a core, the host's and theirs; target 0.5 %")
    for worker in workers:
        manager._dismiss(worker)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        PluginProcessManager(ProcessSettings(health_interval=0)) as manager,
    ):
        plugins = Plugins(Path(directory))
        manager.prepare("python")
        manager.prepare("native")
        starts(manager, plugins)
        spares(plugins)
        memory(manager, plugins)
        native_calls(manager, plugins)
        idle(manager)
    gigabytes = min(4.0, psutil.virtual_memory().available / 1024**3 - 1.5)
    spawns = large_host(gigabytes)
    for how, target in (("spawn", "1.1x"), ("fork", "")):
        small, large = spawns[how, 0.0], spawns[how, gigabytes]
        name = "process started" if how == "spawn" else "  by fork and exec"
        line(f"{name}, host of 40 MB", small)
        line(f"{name}, host of {gigabytes:.1f} GB", large)
        times = statistics.median(large) / statistics.median(small)
        least = min(large) / min(small)
        print(
            f"  {times:.2f}x by p50, {least:.2f}x by min" + (f"; target {target}" if target else "")
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["host"]:
        be_host(sys.argv[2])
    else:
        # The fork server would import this file in each of its processes.
        del __file__
        main()
