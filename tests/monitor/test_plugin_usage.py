"""What is told of plugins in processes of their own: theirs alone, whatever their worker uses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pluginapi import PluginRegistry, ResourceLimits
from pluginapi.limits import ViolationType
from pluginapi.monitor import PluginMetrics, ResourceMonitor
from pluginapi.monitor.rates import Rates
from pluginapi.process import PluginProcessManager, ProcessSettings
from pluginapi.sandbox.cgroups import CgroupConfig
from pluginapi.sandbox.config import SandboxConfig
from process.conftest import (  # noqa: F401 - fixtures
    eventually,
    forge,
    nothing_left,
    registry,
    settings,
)
from support import Forge

MIB = 1 << 20
DOER = """
def register_hooks(self, hooks):
    self.kept = []
    hooks.register("shout", 200, self.do)
def do(self, line):
    exec(line, {**globals(), "kept": self.kept})
    return "done"
"""
IMPORTS = "import os, socket, threading, time"
LEAKS = {
    ViolationType.HEAP_MEMORY: "kept.append(bytearray(60 << 20))",
    ViolationType.THREADS: (
        "[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(5)]"
    ),
    ViolationType.CONNECTIONS: (
        "kept.append(socket.create_server(('127.0.0.1', 0))); "
        "kept += [socket.create_connection(kept[0].getsockname()) for _ in range(11)]"
    ),
}
FORK = """
ready, told = os.pipe()
if os.fork() == 0:
    block = bytearray(40 << 20)
    os.write(told, b"r")
    time.sleep(60)
os.read(ready, 1)
"""
SANDBOXES = ["none", "sandbox"]


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> SandboxConfig | None:
    if getattr(request, "param", "none") == "none":
        return None
    if os.getuid() != 0:
        pytest.skip("the registry's sandbox is root's here")
    return SandboxConfig(cgroup=CgroupConfig(memory_limit_bytes=256 * MIB, pids_limit=64))


@pytest.fixture
def manager(
    nothing_left: None,  # noqa: F811
    settings: ProcessSettings,  # noqa: F811
    sandbox: SandboxConfig | None,
) -> Iterator[PluginProcessManager]:
    with PluginProcessManager(settings, sandbox=sandbox) as made:
        yield made


class Doer:
    """A plugin that does what it is told."""

    def __init__(self, registry: PluginRegistry, name: str) -> None:  # noqa: F811
        self.registry = registry
        self.name = name

    async def do(self, line: str) -> None:
        assert await self.registry.hooks.execute("shout", line) == "done"

    def metrics(self) -> PluginMetrics:
        return self.registry.get_plugin_metrics(self.name)

    def seen(self) -> PluginMetrics:
        """Return what a pass finds."""
        self.registry.measure()
        (found,) = self.registry.monitored()
        return found


@pytest.fixture
async def doer(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
) -> AsyncIterator[Doer]:
    path = forge.plugin("acme.doer", DOER, top_level=IMPORTS)
    yield Doer(registry, await registry.load_plugin(path, isolation="process"))
    await registry.unload_all()


@pytest.mark.parametrize("sandbox", SANDBOXES, indirect=True)
async def test_a_plugin_that_does_nothing_uses_next_to_nothing(doer: Doer) -> None:
    found = doer.seen()
    assert 0 <= (found.heap_bytes or 0) < 8 * MIB
    assert (found.thread_count, found.fd_count, found.connection_count) == (0, 0, 0)
    assert (found.resident_bytes or 0) > 4 * MIB
    assert found.pid is not None
    assert (found.uptime_seconds or 0) > 0
    assert found.restarts == 0
    assert doer.registry.exceeded() == []


@pytest.mark.parametrize(
    ("sandbox", "kind"),
    [
        ("none", ViolationType.HEAP_MEMORY),
        ("sandbox", ViolationType.HEAP_MEMORY),
        # The kernel keeps it to the others: to descriptors, and in a sandbox to threads.
        ("none", ViolationType.THREADS),
        ("none", ViolationType.CONNECTIONS),
    ],
    indirect=["sandbox"],
    ids=str,
)
async def test_what_it_takes_is_seen_and_is_a_violation(doer: Doer, kind: ViolationType) -> None:
    """The limits are the defaults: 50 MiB, 4 threads, 10 connections."""
    await doer.do(LEAKS[kind])
    doer.registry.measure()
    ((name, violation), *others) = doer.registry.exceeded()
    assert name == doer.name
    assert violation.type is kind
    # Connections are descriptors too, but not as many.
    assert others == []
    assert violation.limit < violation.used <= 2 * violation.limit
    assert violation.source == "monitor"


@pytest.mark.parametrize("sandbox", SANDBOXES, indirect=True)
async def test_metrics_of_now_and_of_the_latest_pass(doer: Doer) -> None:
    before = doer.seen()
    await doer.do("kept.append(bytearray(20 << 20)); kept += [open('/dev/null') for _ in 'abc']")
    (stale,) = doer.registry.monitored()
    now = doer.metrics()
    assert stale.fd_count == before.fd_count == 0
    assert now.fd_count == 3
    assert 19 * MIB <= (now.heap_bytes or 0) - (before.heap_bytes or 0) < 30 * MIB
    await doer.do("kept.clear(); bytearray(30 << 20)")
    after = doer.seen()
    assert (after.heap_bytes or 0) < 12 * MIB
    assert (after.heap_peak_bytes or 0) > 27 * MIB


async def test_a_pass_sees_the_calls_and_their_cost(doer: Doer) -> None:
    doer.metrics()
    for _ in range(3):
        await doer.do("until = time.process_time() + 0.05\nwhile time.process_time() < until: pass")
    await asyncio.sleep(0.3)
    found = doer.metrics()
    (hook,) = found.hooks
    assert (hook.hook, hook.calls, hook.errors) == ("shout", 3, 0)
    assert found.calls == 3
    assert (found.cpu_time_ms or 0) >= 150
    assert 0 < (found.cpu_percent or 0) < 150
    assert 0 < (found.calls_per_second or 0) < 30


@pytest.mark.parametrize("sandbox", ["sandbox"], indirect=True)
async def test_processor_time_that_nobody_looked_at_survives_the_process(
    doer: Doer, manager: PluginProcessManager
) -> None:
    """The clock of its control group tells when the process has ended."""
    await doer.do("until = time.process_time() + 0.2\nwhile time.process_time() < until: pass")
    process = manager.get(doer.name)
    assert process is not None
    process.kill()
    eventually(lambda: process.pid is None)
    assert (doer.metrics().cpu_time_ms or 0) >= 200


@pytest.mark.parametrize("sandbox", SANDBOXES, indirect=True)
async def test_processor_time_survives_the_process(
    doer: Doer,
    manager: PluginProcessManager,
) -> None:
    await doer.do("until = time.process_time() + 0.1\nwhile time.process_time() < until: pass")
    before = doer.metrics().cpu_time_ms or 0
    assert before >= 100
    process = manager.get(doer.name)
    assert process is not None
    await asyncio.to_thread(process.restart)
    after = doer.metrics()
    assert after.restarts == 1
    assert (after.cpu_time_ms or 0) >= before
    assert after.heap_bytes is not None
    process.kill()
    eventually(lambda: process.pid is None)
    gone = doer.metrics()
    assert (gone.heap_bytes, gone.thread_count, gone.fd_count, gone.pid) == (None,) * 4
    assert (gone.cpu_time_ms or 0) >= before


@pytest.mark.parametrize("sandbox", ["sandbox"], indirect=True)
async def test_its_children_count(doer: Doer) -> None:
    """The control is its resident memory, which knows nothing of them."""
    before = doer.seen()
    await doer.do(FORK)
    found = doer.seen()
    assert (found.heap_bytes or 0) - (before.heap_bytes or 0) > 39 * MIB
    assert (found.resident_bytes or 0) - (before.resident_bytes or 0) < 10 * MIB
    assert found.thread_count == 1


@pytest.mark.parametrize("sandbox", ["sandbox"], indirect=True)
async def test_files_in_memory_count(doer: Doer, manager: PluginProcessManager) -> None:
    before = doer.seen().heap_bytes or 0
    await doer.do("kept.append(os.memfd_create('x')); os.write(kept[0], bytes(30 << 20))")
    grown = (doer.seen().heap_bytes or 0) - before
    # The kernel charges version 1 in batches, and adds up what is cached now and then.
    assert 29 * MIB <= grown < 45 * MIB
    process = manager.get(doer.name)
    assert process is not None
    assert process.sampled is not None
    usage = process.sampled.read()
    assert usage.group_memory_bytes is not None
    assert usage.group_cpu_ns is not None
    assert usage.group_tasks is not None


async def test_what_hovers_around_its_limit_is_not_told_as_below_it(
    doer: Doer, caplog: pytest.LogCaptureFixture
) -> None:
    """20 is the limit; from 19 on it is below it."""
    caplog.set_level("INFO", "pluginapi.registry")
    doer.registry._state.loaded[doer.name].limits = ResourceLimits(max_file_descriptors=20)
    await doer.do("kept += [open('/dev/null') for _ in range(21)]")

    async def close_to(count: int) -> tuple[int, bool]:
        await doer.do(f"del kept[{count}:]")
        process = doer.registry.loader.processes.get(doer.name)
        assert process is not None
        doer.registry.measure()
        doer.registry._over = (process,)
        return len(doer.registry.exceeded()), "below max_file_descriptors again" in caplog.text

    assert [await close_to(count) for count in (21, 20, 19, 18)] == [
        *((1, False), (0, False), (0, False), (0, True)),
    ]


async def test_a_monitor_unmounts_what_leaks(doer: Doer) -> None:
    """Through the public interface alone: the threshold is ten."""
    await doer.do(LEAKS[ViolationType.THREADS])
    async with ResourceMonitor(doer.registry, 0.02), asyncio.timeout(20):
        while doer.registry.is_loaded(doer.name):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    info = doer.registry.get_plugin_info(doer.name)
    assert info.error is not None
    assert info.error.code == "limits.unmounted"
    assert "max_threads: used 5 threads, limit 4" in str(info.error)


async def test_monitors_come_and_go_and_leave_nothing(doer: Doer) -> None:
    """Ten thousand: what a pass opens is opened once."""

    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    doer.registry.measure()
    before = count()
    for _ in range(10_000):
        monitor = doer.registry.start_resource_monitor(60)
        await asyncio.sleep(0)
        await monitor.stop()
    assert count() == before
    assert len(asyncio.all_tasks()) == 1


# Rates


@pytest.fixture
def clock() -> Callable[..., float]:
    now = [100.0]

    def tell(seconds: float = 0.0) -> float:
        now[0] += seconds
        return now[0]

    return tell


def test_rates_are_over_the_time_since_they_were_told(clock: Callable[..., float]) -> None:
    rates = Rates(clock)
    assert rates.per_second("calls", 10) is None
    clock(2)
    assert rates.per_second("calls", 30) == 10
    clock(0.1)
    # So soon, one call more or less is a large part.
    assert rates.per_second("calls", 31) == 10
    clock(0.4)
    assert rates.per_second("calls", 30) == 0


def test_a_counter_that_begins_anew_has_no_rate(clock: Callable[..., float]) -> None:
    rates = Rates(clock)
    rates.per_second("cpu", 50)
    clock(1)
    assert rates.per_second("cpu", 60) == 10
    clock(1)
    assert rates.per_second("cpu", 1) is None
    assert rates.per_second("cpu", None) is None
    clock(1)
    assert rates.per_second("cpu", 4) is None
