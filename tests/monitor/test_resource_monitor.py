from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pluginapi.errors import InvalidResourceLimits, InvalidState, NotFound
from pluginapi.limits import ResourceLimits, Violation, ViolationType
from pluginapi.monitor import PluginMetrics, ResourceMonitor

MIB = 1024 * 1024
LIMITS = ResourceLimits(
    max_heap_bytes=MIB, max_cpu_time_ms=5, max_threads=2, max_file_descriptors=3, max_connections=1
)


class Plugins:
    """A registry with given metrics that remembers what was reported."""

    def __init__(self, *metrics: PluginMetrics) -> None:
        self.metrics = list(metrics)
        self.reported: list[tuple[str, Violation]] = []
        self.looks = 0
        self.processes = 0
        self.measured_in: list[threading.Thread] = []
        self.on_look: Callable[[], None] = lambda: None
        self.on_report: Callable[[str], Awaitable[None]] | None = None
        self.changed = asyncio.Event()

    def measured_processes(self) -> int:
        return self.processes

    def measure(self) -> None:
        self.looks += 1
        self.measured_in.append(threading.current_thread())
        self.on_look()

    def exceeded(self) -> list[tuple[str, Violation]]:
        self.changed.set()
        return [(item.name, each) for item in self.metrics for each in item.violations_of(LIMITS)]

    def monitored(self) -> list[PluginMetrics]:
        return self.metrics

    async def report_violation(self, name: str, violation: Violation) -> None:
        self.reported.append((name, violation))
        self.changed.set()
        if self.on_report is not None:
            await self.on_report(name)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def metrics(name: str = "acme", /, **used: Any) -> PluginMetrics:
    return PluginMetrics(name=name, **used)


@pytest.mark.parametrize(
    ("field", "at_limit", "kind"),
    [
        ("heap_bytes", MIB, ViolationType.HEAP_MEMORY),
        ("thread_count", 2, ViolationType.THREADS),
        ("fd_count", 3, ViolationType.FILE_DESCRIPTORS),
        ("connection_count", 1, ViolationType.CONNECTIONS),
    ],
)
async def test_only_what_is_over_its_limit_is_reported(
    field: str, at_limit: int, kind: ViolationType
) -> None:
    plugins = Plugins(metrics(**{field: at_limit}))
    await ResourceMonitor(plugins).tick()
    assert plugins.reported == []
    plugins.metrics = [metrics(**{field: at_limit + 1}), metrics("other")]
    taken = await ResourceMonitor(plugins).tick()
    assert taken == tuple(plugins.metrics)
    ((name, violation),) = plugins.reported
    assert name == "acme"
    assert (violation.type, violation.used, violation.limit, violation.source) == (
        kind,
        at_limit + 1,
        at_limit,
        "monitor",
    )


async def test_what_cannot_be_attributed_is_no_violation() -> None:
    plugins = Plugins(metrics(cpu_time_ms=1e9))
    await ResourceMonitor(plugins).tick()
    assert plugins.reported == []


def test_metrics_are_json_representable() -> None:
    assert metrics(heap_bytes=5, calls=2).to_dict() == {
        "name": "acme",
        "heap_bytes": 5,
        "cpu_time_ms": None,
        "thread_count": None,
        "fd_count": None,
        "connection_count": None,
        "violation_count": 0,
        "calls": 2,
        "errors": 0,
        "service_calls": 0,
        "service_errors": 0,
        "service_refusals": 0,
        "heap_peak_bytes": None,
        "resident_bytes": None,
        "cpu_percent": None,
        "calls_per_second": None,
        "pid": None,
        "uptime_seconds": None,
        "restarts": None,
        "thread_refusals": None,
        "hooks": [],
    }


@pytest.mark.parametrize("interval", [0, -1, 0.009, 86_401, math.nan, math.inf, True, "10", None])
def test_intervals_out_of_bounds_are_refused(interval: Any) -> None:
    with pytest.raises(InvalidResourceLimits) as caught:
        ResourceMonitor(Plugins(), interval)
    assert caught.value.code == "monitor.interval"


@pytest.mark.parametrize("status_every", [-1, 1.0, True])
def test_status_intervals_out_of_bounds_are_refused(status_every: Any) -> None:
    with pytest.raises(InvalidResourceLimits):
        ResourceMonitor(Plugins(), status_every=status_every)


@pytest.mark.parametrize("interval", [0.01, 1, 86_400])
def test_other_intervals_are_fine(interval: float) -> None:
    assert ResourceMonitor(Plugins(), interval).interval == interval


async def test_the_monitor_looks_at_its_interval_until_it_is_stopped() -> None:
    plugins = Plugins(metrics(heap_bytes=2 * MIB))
    monitor = ResourceMonitor(plugins, 0.01)
    async with monitor:
        await plugins.until(lambda: len(plugins.reported) >= 3)
        running = monitor.running
    assert (running, monitor.running) == (True, False)
    assert monitor.ticks == plugins.looks == len(plugins.reported)
    await asyncio.sleep(0.05)
    assert plugins.looks == monitor.ticks
    assert len(asyncio.all_tasks()) == 1
    await monitor.stop()
    async with monitor:
        looks = plugins.looks
        await plugins.until(lambda: plugins.looks > looks)


async def test_a_second_start_is_refused() -> None:
    async with ResourceMonitor(Plugins()) as monitor:
        with pytest.raises(InvalidState) as caught:
            monitor.start()
        assert caught.value.code == "monitor.state"
        assert monitor.running


def test_start_needs_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        ResourceMonitor(Plugins()).start()


async def test_a_look_that_fails_is_logged_and_does_not_end_the_monitor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugins = Plugins(metrics(heap_bytes=2 * MIB))

    def fail_twice() -> None:
        if plugins.looks <= 2:
            raise OSError("cannot look")

    plugins.on_look = fail_twice
    async with ResourceMonitor(plugins, 0.01):
        await plugins.until(lambda: len(plugins.reported) >= 2)
    failures = [item for item in caplog.records if item.levelno == logging.ERROR]
    assert len(failures) == 2
    assert all("cannot look" in str(item.exc_info and item.exc_info[1]) for item in failures)


async def test_a_report_that_fails_does_not_keep_others_from_being_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugins = Plugins(*(metrics(name, heap_bytes=2 * MIB) for name in ("a", "b", "c")))

    async def fail(name: str) -> None:
        if name == "a":
            raise OSError("cannot record")
        if name == "b":
            raise NotFound("gone")

    plugins.on_report = fail
    await ResourceMonitor(plugins).tick()
    assert [name for name, _ in plugins.reported] == ["a", "b", "c"]
    (record,) = [item for item in caplog.records if item.levelno == logging.ERROR]
    assert "plugin a" in record.getMessage()


async def test_a_status_line_every_few_looks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pluginapi.monitor")
    plugins = Plugins(
        metrics("a", heap_bytes=MIB // 2, cpu_time_ms=12.4, calls=7, errors=1, violation_count=2),
        metrics("b", calls=1),
    )
    monitor = ResourceMonitor(plugins, status_every=3)
    for _ in range(7):
        await monitor.tick()
    assert [item.getMessage() for item in caplog.records] == [
        "2 plugins: heap 0.5 MiB in 1 measured, CPU 12 ms, 8 calls, 1 errors, 2 violations"
    ] * 2
    caplog.clear()
    silent = ResourceMonitor(plugins, status_every=0)
    await silent.tick()
    assert caplog.records == []
    await ResourceMonitor(Plugins(metrics()), status_every=1).tick()
    assert "heap not measured" in caplog.text


async def test_many_processes_are_measured_beside_the_loop() -> None:
    plugins = Plugins(metrics(heap_bytes=2 * MIB))
    monitor = ResourceMonitor(plugins)
    await monitor.tick()
    plugins.processes = 2000
    await monitor.tick()
    here = threading.main_thread()
    assert [thread is here for thread in plugins.measured_in] == [True, False]
    assert len(plugins.reported) == 2


# Stopping


async def test_stop_lets_a_report_end_first() -> None:
    plugins = Plugins(metrics(heap_bytes=2 * MIB))
    entered, leave = asyncio.Event(), asyncio.Event()
    events: list[str] = []

    async def unload(_: str) -> None:
        entered.set()
        await leave.wait()
        events.append("unloaded")

    plugins.on_report = unload
    monitor = ResourceMonitor(plugins, 0.01)
    monitor.start()
    await entered.wait()
    stopping = asyncio.create_task(monitor.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    leave.set()
    await stopping
    assert events == ["unloaded"]
    assert len(plugins.reported) == 1


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
async def test_stop_cancels_a_report_that_hangs(how: str) -> None:
    plugins = Plugins(metrics(heap_bytes=2 * MIB))
    entered, ended = asyncio.Event(), asyncio.Event()

    async def hang(_: str) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    plugins.on_report = hang
    monitor = ResourceMonitor(plugins, 0.01)
    monitor.start()
    await entered.wait()
    if how == "timeout":
        await monitor.stop(0.01)
    else:
        stopping = asyncio.create_task(monitor.stop(3600))
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        async with asyncio.timeout(10):
            await ended.wait()
        await asyncio.sleep(0)
    assert ended.is_set()
    assert not monitor.running


async def test_stop_from_within_a_report_does_not_lock_up() -> None:
    plugins = Plugins(metrics("a", heap_bytes=2 * MIB))
    monitor = ResourceMonitor(plugins, 0.01)
    stopped = asyncio.Event()

    async def stop(_: str) -> None:
        await monitor.stop()
        stopped.set()

    plugins.on_report = stop
    monitor.start()
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait({task}, timeout=10)
    assert stopped.is_set()
    assert not monitor.running
    assert plugins.looks == 1


async def test_a_cancelled_monitor_ends() -> None:
    monitor = ResourceMonitor(Plugins(), 3600)
    monitor.start()
    await asyncio.sleep(0)
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert not monitor.running
    await monitor.stop()
    assert task.cancelled()
