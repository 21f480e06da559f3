# ruff: noqa: T201 - it prints
"""What it costs to count the Python heap of plugins in the host's process.

    taskset -c 1 python benchmarks/bench_heap.py

The workloads run in two processes that take turns: one whose interpreter allocates as it came, and
one that counts, on behalf of an account. The switch from one account to another is what a hook call
of a plugin's handler takes longer where memory is counted.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from pluginapi import HookRegistry
from pluginapi.runtime.heap import HeapAccount

TURNS = 15
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


WORK: tuple[Callable[[], int], ...] = (objects, records, texts, tables, numbers)


def serve(*, counts: bool) -> None:
    """Run workloads by name, as asked on standard input, and print how long each took."""
    account = HeapAccount("benchmark", 1 << 30) if counts else None
    by_name = {work.__name__: work for work in WORK}
    for line in sys.stdin:
        work = by_name[line.strip()]
        began = time.perf_counter()
        if account is None:
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
        for how in ("plain", "counted")
    ]
    ratios = []
    for work in WORK:
        for process in processes:
            asked(process, work.__name__)
        pairs = [[asked(process, work.__name__) for process in processes] for _ in range(TURNS)]
        plain, counted = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratios.append(counted / plain)
        print(
            f"{work.__name__:>8}: {plain * 1e3:6.2f} ms, counted {counted * 1e3:6.2f}: "
            f"{(counted / plain - 1) * 100:+.1f} %"
        )
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    mean = statistics.geometric_mean(ratios)
    print(f"all of them: {(mean - 1) * 100:+.1f} %; target +7 %")


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
        serve(counts=sys.argv[1] == "counted")
    else:
        attribution()
        switch()
