from __future__ import annotations

import asyncio
import math
import time
from itertools import pairwise

import pytest

from pluginapi import HookRegistry
from pluginapi.hooks.latency import LatencyHistogram


def took(hooks: HookRegistry) -> LatencyHistogram:
    (stats,) = hooks.stats()
    return stats.latency


def defined(*, timed: bool = True) -> HookRegistry:
    hooks = HookRegistry()
    hooks.define("shout", str, str, timed=timed)
    return hooks


def test_each_call_is_in_the_bucket_of_its_time() -> None:
    hooks = defined()
    waits = {"quick": 0.0, "slow": 0.02, "slower": 0.1}
    hooks.register("shout", 200, lambda text: time.sleep(waits[text]) if waits[text] else None)
    for text, times in (("quick", 50), ("slow", 3), ("slower", 1)):
        for _ in range(times):
            hooks.hook("shout").call(text)
    found = took(hooks)
    assert found.calls == 54
    below = dict(zip(found.bounds, found.counts, strict=True))
    assert sum(count for bound, count in below.items() if bound < 0.005) >= 45
    assert sum(count for bound, count in below.items() if 0.02 < bound <= 0.08) >= 3
    assert sum(count for bound, count in below.items() if bound > 0.1) >= 1
    assert (found.quantile(0.5) or 1) < 0.005
    assert (found.quantile(1.0) or 0) >= 0.1


async def test_waiting_counts() -> None:
    hooks = defined()

    async def wait(text: str) -> None:
        await asyncio.sleep(0.05)

    hooks.register("shout", 200, wait)
    await hooks.execute("shout", "a")
    found = took(hooks)
    assert found.calls == 1
    assert 0.05 <= (found.quantile(0.5) or 0) < 20


def test_calls_that_fail_count_and_untimed_ones_do_not() -> None:
    hooks = defined()

    def fail(text: str) -> None:
        raise ValueError(text)

    hooks.register("shout", 200, fail)
    with pytest.raises(ValueError, match="a"):
        hooks.hook("shout").call("a")
    assert took(hooks).calls == 1
    untimed = defined(timed=False)
    untimed.register("shout", 200, str.upper)
    untimed.hook("shout").call("a")
    assert took(untimed).calls == 0
    assert took(untimed).quantile(0.5) is None


def test_bounds_double_and_the_last_has_none() -> None:
    hooks = defined()
    hooks.register("shout", 200, str.upper)
    bounds = took(hooks).bounds
    assert bounds[-1] == math.inf
    assert all(1.9 < after / before < 2.1 for before, after in pairwise(bounds[:-1]))
    assert bounds[0] < 2e-9
    assert bounds[-2] > 20


def test_histograms_add_up() -> None:
    one, two = LatencyHistogram((1, 0, 2)), LatencyHistogram((0, 3, 1))
    assert (one + two).counts == (1, 3, 3)
    assert (LatencyHistogram() + one) == one == one + LatencyHistogram()
    assert LatencyHistogram().calls == 0
    assert one.to_dict()["calls"] == 3
    assert [each["calls"] for each in one.to_dict()["buckets"]] == [1, 2]
