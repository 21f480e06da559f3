"""The Python heap of plugins in the host's process: whose it is, and no more than it may be."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pluginapi import PluginRegistry
from pluginapi.errors import LoadError
from pluginapi.limits import ResourceLimits, ViolationType
from pluginapi.runtime.heap import HeapAccount
from support import Forge

MIB = 1 << 20
SLACK = 256 * 1024

KEEPER = """
def init(self, context):
    self.kept = []
def register_hooks(self, hooks):
    hooks.register("shout", 100, self.keep)
    hooks.register("whisper", 100, self.keep_slowly)
def keep(self, text):
    if text == "drop":
        self.kept.clear()
    elif text:
        self.kept.append(bytearray(int(text)))
async def keep_slowly(self, text):
    import asyncio
    self.kept.append(bytearray(int(text)))
    await asyncio.sleep(0)
    self.kept.append(bytearray(int(text)))
    try:
        await asyncio.sleep(30 if text == "1000003" else 0)
    finally:
        self.kept.append(bytearray(int(text)))
"""


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


async def held(registry: PluginRegistry, name: str) -> int:
    found = registry.get_plugin_metrics(name).heap_bytes
    assert found is not None
    return found


async def call(registry: PluginRegistry, hook: str, text: str) -> None:
    await registry.hooks.execute(hook, text)


async def test_what_a_plugin_keeps_is_its_own_and_falls_when_it_drops_it(forge: Forge) -> None:
    registry = forge.registry()
    await registry.load_plugin(forge.plugin("keeper", KEEPER))
    await registry.load_plugin(forge.plugin("other"))
    before = await held(registry, "keeper"), await held(registry, "other")
    assert min(before) > 0
    ours = bytearray(40 * MIB)
    await call(registry, "shout", str(5 * MIB))
    grown = await held(registry, "keeper") - before[0]
    assert 5 * MIB <= grown < 5 * MIB + SLACK
    assert abs(await held(registry, "other") - before[1]) < SLACK
    metrics = registry.get_plugin_metrics("keeper")
    assert (metrics.heap_peak_bytes or 0) >= 5 * MIB
    await call(registry, "shout", "drop")
    assert await held(registry, "keeper") - before[0] < SLACK
    assert len(ours) == 40 * MIB
    await registry.unload_all()


async def test_steps_of_a_handler_that_waits_are_its_owners(forge: Forge) -> None:
    registry = forge.registry()
    await registry.load_plugin(forge.plugin("keeper", KEEPER))
    await call(registry, "whisper", "0")
    before = await held(registry, "keeper")
    await asyncio.gather(*(call(registry, "whisper", str(MIB)) for _ in range(3)))
    assert 9 * MIB <= await held(registry, "keeper") - before < 9 * MIB + SLACK
    waiting = asyncio.create_task(call(registry, "whisper", "1000003"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    grown = await held(registry, "keeper") - before - 9 * MIB
    assert 3 * 1000003 <= grown < 3 * 1000003 + SLACK
    await registry.unload_all()


async def test_beyond_its_limit_a_plugin_gets_memory_errors_and_nobody_else(forge: Forge) -> None:
    registry = forge.registry(ceiling=ResourceLimits(max_heap_bytes=4 * MIB))
    await registry.load_plugin(forge.plugin("keeper", KEEPER))
    (limit,) = (
        each
        for each in registry.get_limits_in_force("keeper")
        if each.resource is ViolationType.HEAP_MEMORY
    )
    assert (limit.mechanism, limit.limit) == ("allocator", 4 * MIB)
    for _ in range(3):
        await call(registry, "shout", str(MIB))
    with pytest.raises(MemoryError):
        await registry.hooks.hook("shout")(str(MIB))
    # It goes on, and so does its host.
    assert len(bytearray(50 * MIB)) == 50 * MIB
    await call(registry, "shout", "drop")
    await call(registry, "shout", str(MIB))
    assert await held(registry, "keeper") <= 4 * MIB
    # What was refused is no violation: the limit was kept.
    assert registry.get_violation_count("keeper") == 0
    await registry.unload_all()


async def test_the_control_without_a_limit_that_is_reached(forge: Forge) -> None:
    registry = forge.registry()
    await registry.load_plugin(forge.plugin("keeper", KEEPER))
    for _ in range(8):
        await call(registry, "shout", str(MIB))
    assert await held(registry, "keeper") >= 8 * MIB
    await registry.unload_all()


async def test_top_level_code_is_bounded(forge: Forge) -> None:
    registry = forge.registry(ceiling=ResourceLimits(max_heap_bytes=2 * MIB))
    greedy = forge.plugin("greedy", top_level="KEPT = [bytearray(1 << 20) for _ in range(9)]")
    with pytest.raises(LoadError, match="MemoryError"):
        await registry.load_plugin(greedy)


async def test_init_counts_whether_it_waits_or_not(forge: Forge) -> None:
    registry = forge.registry()
    for kind, how in (("plain", ""), ("waiting", "async ")):
        body = f"{how}def init(self, context):\n    self.kept = bytearray(3 << 20)\n"
        await registry.load_plugin(forge.plugin(kind, body))
        assert await held(registry, kind) >= 3 * MIB
    await registry.unload_all()


def test_accounts_tell_blocks_apart_on_all_threads() -> None:
    accounts = [HeapAccount(f"p{i}", 100 * MIB) for i in range(4)]
    kept: list[list[Any]] = [[] for _ in accounts]

    def work(number: int) -> None:
        for i in range(2000):
            accounts[number].call(kept[number].append, f"{i}" * (i % 50))
            accounts[number].call(fill, kept[number], (number + 1) * 100)

    def fill(into: list[Any], size: int) -> None:
        into.append(bytearray(size))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, account in enumerate(accounts):
        used = account.used()
        assert used is not None
        assert used >= 2000 * (number + 1) * 100
        kept[number].clear()
        assert (account.used() or 0) < 64 * 1024
        account.close()
        account.close()


_TRACED = """
import tracemalloc
tracemalloc.start()
from pluginapi.runtime.heap import HeapAccount
account = HeapAccount("p", 1000)
print(account.limit, account.number, account.used(), account.call(len, bytes(5000)))
tracemalloc.stop()
account = HeapAccount("p", 1 << 20)
kept = account.call(bytearray, 5000)
# Started later, tracemalloc is above, and may go again.
tracemalloc.start()
more = account.call(bytearray, 6000)
tracemalloc.stop()
print(account.used() >= 11000)
del kept, more
print(account.used() < 1000)
"""


def test_memory_is_not_counted_where_it_could_not_be_freed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TRACED], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["None 0 None 5000", "True", "True"]
    assert "tracemalloc was started before" in done.stderr


_FREED = """
from pluginapi.runtime.heap import HeapAccount
account = HeapAccount("p", 1 << 24)
kept = account.call(lambda: [str(i) * (i % 700) for i in range(5000)])
assert account.used() > 1_000_000
kept = [text + "x" for text in kept]
print(account.used() < 100_000)
"""


@pytest.mark.parametrize("allocator", ["debug", "malloc", "pymalloc_debug"])
def test_any_allocator_of_the_interpreter_is_fine_below(allocator: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FREED],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONMALLOC": allocator},
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
