"""Times and counts of handlers, and who is told of CPU time."""

from __future__ import annotations

import asyncio
import time

import pytest

from pluginapi.errors import HookTypeError
from pluginapi.hooks import HookMode, HookRegistry


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_many_quick_calls_add_up_to_the_time_that_passed() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    hook.register(lambda n: n + 1, owner="a")
    hook.register(lambda n: n + 1, owner="b")
    began = time.perf_counter_ns()
    for n in range(20_000):
        hook.call(n)
    passed = time.perf_counter_ns() - began
    stats = registry.stats()
    assert [item.calls for item in stats] == [20_000, 20_000]
    measured = sum(item.wall_ns for item in stats)
    assert 0 < measured <= passed
    assert all(0 < item.cpu_ns <= item.wall_ns for item in stats)


def test_a_handler_that_sleeps_uses_no_cpu_time_and_one_that_works_does() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, mode=HookMode.NOTIFY)
    hook.register(lambda n: time.sleep(0.05), owner="sleeps")
    hook.register(lambda n: burn(0.03), owner="works")
    hook.call(1)
    sleeps, works = registry.stats()
    assert sleeps.wall_ns > 45_000_000
    assert sleeps.cpu_ns < 5_000_000
    assert works.wall_ns >= works.cpu_ns > 29_000_000


async def test_cpu_time_over_several_waits_is_one_operation() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    heard: list[int] = []
    registry.on_cpu_time = lambda owner, name, ns: heard.append(ns)

    async def works(n: int) -> int:
        for _ in range(3):
            burn(0.01)
            await asyncio.sleep(0.01)
        return n

    hook.register(works)
    await hook(1)
    (stats,) = registry.stats()
    assert heard == [stats.cpu_ns]
    assert 29_000_000 < stats.cpu_ns < stats.wall_ns
    assert stats.wall_ns > 55_000_000


def test_only_long_calls_are_told_when_that_is_asked_for() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, mode=HookMode.NOTIFY)
    heard: list[tuple[str | None, int]] = []
    hook.register(lambda n: burn(n / 1000), owner="a")
    registry.watch_cpu_time(lambda owner, name, ns: heard.append((owner, ns)), at_least_ns=10**7)
    for milliseconds in (0, 1, 20, 2):
        hook.call(milliseconds)
    ((owner, cpu_ns),) = heard
    assert owner == "a"
    assert cpu_ns > 19_000_000
    registry.on_cpu_time = None
    hook.call(20)
    assert len(heard) == 1


def test_a_call_that_fails_is_told_too_and_keeps_its_error() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    heard: list[str | None] = []
    registry.on_cpu_time = lambda owner, name, ns: heard.append(owner)

    def fails(_: int) -> None:
        raise ValueError("broken")

    hook.register(fails, owner="a")
    with pytest.raises(ValueError, match="broken"):
        hook.call(1)
    assert heard == ["a"]


def test_an_untimed_hook_counts_and_measures_nothing() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int, timed=False)
    heard: list[int] = []
    registry.on_cpu_time = lambda owner, name, ns: heard.append(ns)
    hook.register(lambda n: burn(0.001), owner="a")
    hook.register(lambda n: "wrong", owner="b")
    with pytest.raises(HookTypeError):
        hook.call(1)
    assert not hook.timed
    assert heard == []
    found = [(item.calls, item.errors, item.wall_ns, item.cpu_ns) for item in registry.stats()]
    assert found == [(1, 0, 0, 0), (1, 1, 0, 0)]


def test_a_call_within_a_call_is_measured_in_both() -> None:
    registry = HookRegistry()
    inner = registry.define("inner", int, int)
    outer = registry.define("outer", int, int)
    inner.register(lambda n: burn(0.01), owner="inner")
    outer.register(inner.call, owner="outer")
    outer.call(1)
    stats = {item.owner: item for item in registry.stats()}
    assert stats["outer"].cpu_ns >= stats["inner"].cpu_ns > 9_000_000
