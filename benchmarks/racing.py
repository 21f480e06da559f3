"""Measure contestants side by side: interleaved rounds, medians, ratios against a peer.

A pytest plugin (`-p racing`). A benchmark never fails on time; the tables stand at the end of
the run. `PLUGINAPI_BENCH_JSON=FILE` also writes them as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 15
ROUND_SECONDS = 0.02

Clock = Callable[[], float]


class Looped:
    """A contestant of nanoseconds: a statement in a loop of its own, without a call around it.

    Args:
        statement: Python code, run over and over.
        wait: Loop in a coroutine, which this function runs to its end; the statement may await.
        names: What the statement uses.
    """

    def __init__(
        self,
        statement: str,
        *,
        wait: Callable[[Any], object] | None = None,
        **names: Any,
    ) -> None:
        prefix = "" if wait is None else "async "
        body = statement.replace("\n", "\n        ")
        space = dict(names)
        code = f"{prefix}def loop(count):\n    for _ in range(count):\n        {body}\n"
        exec(code, space)  # noqa: S102 - a statement of this directory
        self._loop = space["loop"]
        self._wait = wait

    def loop(self, count: int) -> None:
        """Run the statement so many times."""
        found = self._loop(count)
        if self._wait is not None:
            self._wait(found)


Contestant = Callable[[], Any] | Looped


@dataclass
class Result:
    """Medians of one race, in seconds per call, by contestant."""

    title: str
    baseline: str
    medians: dict[str, float]

    def ratio(self, name: str) -> float:
        """Return how many times the baseline's time is that of a contestant."""
        return self.medians[self.baseline] / self.medians[name]


@dataclass
class Race:
    """Run contestants in turn, so that a slow moment of the machine hits all of them alike."""

    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __call__(
        self,
        title: str,
        baseline: str,
        contestants: Mapping[str, Contestant],
        *,
        clock: Clock = time.perf_counter,
        rounds: int = ROUNDS,
        seconds: float = ROUND_SECONDS,
    ) -> Result:
        """Race them; `time.process_time` as clock leaves out what other processes take away."""
        loops = {name: _loops(run, clock, seconds) for name, run in contestants.items()}
        taken: dict[str, list[float]] = {name: [] for name in contestants}
        collecting = gc.isenabled()
        gc.disable()
        try:
            for _ in range(rounds):
                for name, run in contestants.items():
                    taken[name].append(_time(run, loops[name], clock))
        finally:
            if collecting:
                gc.enable()
        medians = {name: statistics.median(times) for name, times in taken.items()}
        result = Result(title, baseline, medians)
        self.results.append(result)
        return result


def _time(run: Contestant, loops: int, clock: Clock) -> float:
    if isinstance(run, Looped):
        began = clock()
        run.loop(loops)
        return (clock() - began) / loops
    repeat = range(loops)
    began = clock()
    for _ in repeat:
        run()
    return (clock() - began) / loops


def _loops(run: Contestant, clock: Clock, round_seconds: float) -> int:
    loops = 1
    while True:
        # The quickest of three: a neighbour's turn is not taken for the contestant's work.
        seconds = min(_time(run, loops, clock) for _ in range(3)) * loops
        if seconds >= round_seconds / 4:
            return max(1, round(loops * round_seconds / seconds))
        loops *= 4


_RACE = Race()


@pytest.fixture
def race() -> Race:
    """Measure contestants and remember the result for the table."""
    return _RACE


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print every race as a table: median time and ratio against the baseline."""
    if not _RACE.results and not _RACE.notes:
        return
    target = os.environ.get("PLUGINAPI_BENCH_JSON")
    if target is not None:
        Path(target).write_text(json.dumps([asdict(result) for result in _RACE.results], indent=2))
    terminalreporter.section("ratios (higher is better; the baseline is 1.00)")
    terminalreporter.write_line(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, "
        "medians of interleaved rounds"
    )
    for result in _RACE.results:
        terminalreporter.write_line("")
        terminalreporter.write_line(result.title)
        for name, seconds in result.medians.items():
            mark = " (baseline)" if name == result.baseline else ""
            terminalreporter.write_line(
                f"  {name:<44} {_human(seconds):>12}  {result.ratio(name):>7.2f}{mark}"
            )

    for note in _RACE.notes:
        terminalreporter.write_line("")
        terminalreporter.write_line(note)


def _human(seconds: float) -> str:
    for limit, unit in ((1e-6, "ns"), (1e-3, "µs"), (1.0, "ms")):
        if seconds < limit:
            return f"{seconds / limit * 1000:.1f} {unit}"
    return f"{seconds:.2f} s"
