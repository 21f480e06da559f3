# ruff: noqa: T201 - it prints
"""What it costs to count the Python heap of plugins in the host's process.

    taskset -c 1 python benchmarks/bench_heap.py

The workloads run in two processes that take turns: one whose interpreter allocates as it came, and
one that counts, on behalf of an account. The switch from one account to another is what a hook call
of a plugin's handler takes longer where memory is counted.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from pluginapi import HookRegistry
from pluginapi.runtime.heap import HeapAccount

TURNS = 41
CALLS = 200_000
HANDLERS = 10


class Point:
    """An object with a dictionary, as most are."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def moved(self, by: int) -> Point:
        """Make another one."""
        return Point(self.x + by, self.y - by)


def objects() -> int:
    """Make and drop objects."""
    point = Point(0, 0)
    for step in range(40_000):
        point = point.moved(step)
    return point.x


def records() -> int:
    """Write and read JSON, as a handler of requests does."""
    record = {"id": 7, "tags": ["a", "b"], "body": {"x": 1.5, "y": None, "text": "hello " * 20}}
    return sum(len(json.loads(json.dumps({**record, "id": i}))) for i in range(2_500))


def texts() -> int:
    """Split, join and search text."""
    line = "GET /index.html?name=value&other=thing HTTP/1.1"
    return sum(len(" ".join(reversed(line.replace("=", "/").split("/")))) for _ in range(40_000))


def tables() -> int:
    """Fill and sort a table."""
    table = {f"key-{i}": [i, -i] for i in range(20_000)}
    return len(sorted(table.items(), key=lambda item: item[1][1]))


def numbers() -> int:
    """Compute, with few objects."""
    total = 0
    for i in range(200_000):
        total = (total * 31 + i) & 0xFFFF_FFFF
    return total


def queens() -> int:
    """Place queens, with generators and sets, as in the benchmark of that name."""
    columns = range(7)
    found = 0
    for rows in itertools.permutations(columns):
        found += 7 == len({rows[i] + i for i in columns}) == len({rows[i] - i for i in columns})
    return found


def flips() -> int:
    """Reverse parts of lists: fannkuch, of the benchmarks game."""
    most = 0
    for order in itertools.permutations(range(1, 8)):
        pile = list(order)
        flips = 0
        while (first := pile[0]) != 1:
            pile[:first] = pile[first - 1 :: -1]
            flips += 1
        most = max(most, flips)
    return most


def spectral() -> float:
    """Multiply matrices that are computed: spectral norm, of the benchmarks game."""

    def times(vector: list[float]) -> list[float]:
        size = len(vector)
        return [
            sum(vector[j] / ((i + j) * (i + j + 1) // 2 + i + 1) for j in range(size))
            for i in range(size)
        ]

    return sum(times(times([1.0] * 220)))


def patterns() -> int:
    """Search and replace by regular expressions."""
    text = "Mozilla/5.0 (X11; Linux x86_64) id=42; name=alice@example.com " * 40
    word = re.compile(r"\b(\w+)@(\w+)\.com\b|id=(\d+)")
    return sum(len(word.sub(r"<\1>", text)) + len(word.findall(text)) for _ in range(25))


WORK: tuple[Callable[[], float], ...] = (
    objects,
    records,
    texts,
    tables,
    numbers,
    queens,
    flips,
    spectral,
    patterns,
)


def serve(how: str) -> None:
    """Run workloads by name, as asked on standard input, and print how long each took."""
    account = None if how == "plain" else HeapAccount("benchmark", 1 << 30)
    by_name = {work.__name__: work for work in WORK}
    for line in sys.stdin:
        work = by_name[line.strip()]
        began = time.perf_counter()
        if account is None or how == "host":
            work()
        else:
            account.call(work)
        print(time.perf_counter() - began, flush=True)


def asked(process: subprocess.Popen[str], name: str) -> float:
    """Let a process run a workload; return the seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(name, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def attribution() -> None:
    """Compare workloads with and without counting."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for how in ("plain", "counted", "host")
    ]
    ratios: tuple[list[float], list[float]] = ([], [])
    for work in WORK:
        for process in processes:
            asked(process, work.__name__)
        turns = [[asked(process, work.__name__) for process in processes] for _ in range(TURNS)]
        # Of neighbours in time: others use the machine too.
        for which, found in enumerate(ratios, 1):
            found.append(statistics.median(turn[which] / turn[0] for turn in turns))
        plain = statistics.median(turn[0] for turn in turns) * 1e3
        print(f"{work.__name__:>8}: {plain:6.2f} ms, {told(ratios[0][-1:], ratios[1][-1:])}")
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    print(f"all of them: {told(*ratios)}; target +7 %")


def told(counted: list[float], host: list[float]) -> str:
    """Say how much longer it takes, in the geometric mean."""
    more = ((statistics.geometric_mean(found) - 1) * 100 for found in (counted, host))
    return "{:+.1f} % for a plugin, {:+.1f} % for the host beside it".format(*more)


def handler(value: str) -> None:
    """Do nothing."""
    del value


def per_call(hooks: HookRegistry) -> float:
    """Return what one handler takes, in nanoseconds."""
    call = hooks.hook("tick").call
    began = time.perf_counter()
    for _ in range(CALLS // HANDLERS):
        call("")
    return (time.perf_counter() - began) / CALLS * 1e9


def hooks_of(account: int) -> HookRegistry:
    """Return a hook with handlers of that many owners."""
    hooks = HookRegistry()
    hooks.define("tick", str, str)
    for number in range(HANDLERS):
        scope = hooks.scope(f"p{number}", heap_account=account)
        scope.register("tick", 100, handler)
    return hooks


def switch() -> None:
    """Compare calls of handlers before and after counting began, in a process of its own."""
    program = (
        "import bench_heap as b, statistics as s\n"
        "hooks = b.hooks_of(0); b.per_call(hooks)\n"
        "before = s.median(b.per_call(hooks) for _ in range(b.TURNS))\n"
        "account = b.HeapAccount('p', 1 << 30)\n"
        "hooks = b.hooks_of(account.number); b.per_call(hooks)\n"
        "print(before, s.median(b.per_call(hooks) for _ in range(b.TURNS)))\n"
    )
    runs = [
        [
            float(text)
            for text in subprocess.run(
                [sys.executable, "-c", program],
                cwd=__file__.rsplit("/", 1)[0],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
        ]
        for _ in range(7)
    ]
    before, after = (statistics.median(times) for times in zip(*runs, strict=True))
    added = statistics.median(after - before for before, after in runs)
    print(f"a handler: {before:.1f} ns, counted {after:.1f}: {added:+.1f} ns; target +10 ns")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1])
    else:
        attribution()
        switch()
