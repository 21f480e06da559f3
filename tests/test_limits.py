from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest

from pluginapi.errors import InvalidResourceLimits
from pluginapi.limits import (
    MAX_HEAP_BYTES,
    ResourceLimits,
    UnmountBehavior,
    Violation,
    ViolationTracker,
    ViolationType,
)

EDGES = [(name, low, high) for name, (low, high) in ResourceLimits.BOUNDS.items()]


def violation(at: float | None = None, used: int = 2) -> Violation:
    when = time.time() if at is None else at
    return Violation(ViolationType.THREADS, used, 1, when)


def test_defaults_are_the_documented_ones() -> None:
    assert ResourceLimits().to_dict() == {
        "max_heap_bytes": 50 * 1024 * 1024,
        "max_cpu_time_ms": 1000,
        "max_threads": 4,
        "max_file_descriptors": 32,
        "max_connections": 10,
    }
    assert MAX_HEAP_BYTES == 4 * 1024**3


@pytest.mark.parametrize(("name", "low", "high"), EDGES)
def test_both_ends_of_the_bounds_are_allowed_and_no_more(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(ResourceLimits(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(InvalidResourceLimits) as caught:
            ResourceLimits(**{name: value})
        assert caught.value.code == "limits.invalid"
        assert caught.value.details == {"limit": name, "value": value, "bounds": [low, high]}
        assert str(low) in str(caught.value.hint)


@pytest.mark.parametrize(("name", "low", "high"), EDGES)
@pytest.mark.parametrize("wrong", [True, 5.0, "5", None, math.nan])
def test_what_is_no_integer_is_refused(name: str, low: int, high: int, wrong: Any) -> None:
    with pytest.raises(InvalidResourceLimits, match=name):
        ResourceLimits(**{name: wrong})


def test_limits_are_capped_resource_by_resource() -> None:
    declared = ResourceLimits(max_threads=2, max_connections=100)
    ceiling = ResourceLimits(max_threads=8, max_connections=5)
    assert declared.capped_by(ceiling) == ResourceLimits(max_threads=2, max_connections=5)


def test_each_violation_type_names_a_limit_and_a_unit() -> None:
    assert {kind.value for kind in ViolationType} == set(ResourceLimits.BOUNDS)
    assert all(kind.unit for kind in ViolationType)


def test_a_violation_says_what_was_used_and_who_measured() -> None:
    before = time.time()
    found = Violation.now(ViolationType.CPU_TIME, 1500, 1000, "hook:on_request")
    assert before <= found.at <= time.time()
    assert str(found) == ("max_cpu_time_ms: used 1500 ms, limit 1000 (measured by hook:on_request)")
    assert found.to_dict() == {
        "type": "max_cpu_time_ms",
        "used": 1500,
        "limit": 1000,
        "unit": "ms",
        "at": found.at,
        "source": "hook:on_request",
    }


def test_the_threshold_is_reached_with_the_last_violation_it_takes() -> None:
    tracker = ViolationTracker(3)
    assert [tracker.record(violation()) for _ in range(4)] == [False, False, True, True]
    assert tracker.count() == 4
    before = tracker.threshold_reached
    tracker.reset()
    assert (before, tracker.threshold_reached, tracker.count()) == (True, False, 0)
    assert tracker.violations() == ()


def test_the_default_threshold_is_ten() -> None:
    tracker = ViolationTracker()
    assert [tracker.record(violation()) for _ in range(10)] == [False] * 9 + [True]


def test_a_window_forgets_old_violations() -> None:
    now = time.time()
    tracker = ViolationTracker(2, window_seconds=60)
    assert not tracker.record(violation(now - 3600))
    assert not tracker.record(violation(now))
    assert tracker.count() == 1
    assert tracker.record(violation(now))


def test_the_history_is_bounded_and_the_count_is_not() -> None:
    tracker = ViolationTracker(2, history=3)
    for used in range(10):
        tracker.record(violation(used=used))
    assert [item.used for item in tracker.violations()] == [7, 8, 9]
    assert tracker.count() == 10


@pytest.mark.parametrize("threshold", [0, -1, True, 1.5, "3", None])
def test_thresholds_below_one_are_refused(threshold: Any) -> None:
    with pytest.raises(InvalidResourceLimits, match="violation_threshold"):
        ViolationTracker(threshold)
    assert ViolationTracker(1).record(violation())


@pytest.mark.parametrize("window", [0, -1.0, math.nan])
def test_windows_must_be_positive(window: float) -> None:
    with pytest.raises(InvalidResourceLimits, match="window_seconds"):
        ViolationTracker(window_seconds=window)


def test_no_violation_is_lost_between_threads() -> None:
    tracker = ViolationTracker(4000)
    reached: list[bool] = []

    def record() -> None:
        reached.extend(tracker.record(violation()) for _ in range(500))

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.count() == 4000
    assert reached.count(True) == 1


def test_unmounting_and_logging_are_the_default() -> None:
    assert UnmountBehavior() == UnmountBehavior(auto_unmount=True, log_violations=True)
