from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Generator

import pytest
import uvloop

from pluginapi.hooks import HookRegistry, PendingCall

SECONDS = 1.5
THREADS = 4


class Plugin:
    """Fails the test when a call that began after its removal enters it."""

    def __init__(self, late: list[str]) -> None:
        self.removed_at = float("inf")
        self.late = late

    def on_hook(self, started: float) -> None:
        if started > self.removed_at:
            self.late.append("a removed handler was entered by a later call")

    async def on_hook_async(self, started: float) -> None:
        self.on_hook(started)
        await asyncio.sleep(0)

    def around(self, started: float) -> Generator[float, float, None]:
        self.on_hook(started)
        yield started


class Stress:
    def __init__(self, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = loop
        self.registry = HookRegistry()
        self.hook = self.registry.define("h", float, float)
        self.subset = self.hook.subset(without=["churn0"])
        self.late: list[str] = []
        self.failures: list[BaseException] = []
        self.plugins: list[weakref.ref[Plugin]] = []
        self.permanent = 0
        self.calls = [0] * THREADS
        self.lock = threading.Lock()
        # Nobody stops before everybody has done something: a loaded machine starts threads late.
        self.end = float("inf")
        self.ready = threading.Barrier(2 * THREADS, action=self.set_end)
        self.entry = self.registry.register("h", 400, self.count)

    def set_end(self) -> None:
        self.end = time.monotonic() + SECONDS

    def count(self, _: float) -> None:
        with self.lock:
            self.permanent += 1

    def churn(self, index: int) -> None:
        self.round(index)
        self.ready.wait(60)
        while time.monotonic() < self.end:
            self.round(index)

    def round(self, index: int) -> None:
        owner = f"churn{index}"
        plugin = Plugin(self.late)
        self.plugins.append(weakref.ref(plugin))
        self.registry.register("h", 200, plugin.on_hook, owner=owner, after=("other",))
        self.registry.register("h", 100, plugin.on_hook_async, owner=owner)
        self.registry.pause_owner(owner)
        self.registry.resume_owner(owner)
        self.registry.wrap("h", 150, plugin.around, owner=owner)
        # Replaced: gone and there again, at another place.
        self.registry.unregister("h", plugin.on_hook, owner=owner)
        self.registry.register("h", 300, plugin.on_hook, owner=owner)
        assert self.registry.remove_owner(owner) == 3
        plugin.removed_at = time.monotonic()

    def call(self, index: int) -> None:
        async def caller() -> None:
            while time.monotonic() < self.end:
                await one_call()

        async def one_call() -> None:
            await self.registry.execute("h", time.monotonic())
            answer = self.hook.start(time.monotonic())
            if type(answer) is PendingCall:
                answer = await answer
            await self.subset(time.monotonic())
            self.calls[index] += 3
            await asyncio.sleep(0)

        async def callers() -> None:
            await one_call()
            self.ready.wait(60)
            await asyncio.gather(*(caller() for _ in range(8)))

        with asyncio.Runner(loop_factory=self.loop) as runner:
            runner.run(callers())

    def guarded(self, function: Callable[[int], None], index: int) -> None:
        try:
            function(index)
        except BaseException as err:  # noqa: BLE001 - reported by the main thread
            self.failures.append(err)

    def run(self) -> None:
        threads = [
            threading.Thread(target=self.guarded, args=(function, index))
            for function in (self.churn, self.call)
            for index in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_handlers_come_and_go_while_threads_and_tasks_call(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    stress = Stress(loop)
    stress.run()
    assert stress.failures == []
    assert stress.late == []
    assert min(stress.calls) > 0
    assert len(stress.plugins) >= THREADS
    # No call lost the permanent handler, and no count was lost between threads.
    assert stress.permanent == sum(stress.calls) == stress.entry.stats().calls
    assert [item.handler for item in stress.registry.stats()] == [stress.entry.name]
    gc.collect()
    assert [plugin for plugin in stress.plugins if plugin() is not None] == []


def test_registration_pairs_and_calls_do_not_grow_memory() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)

    def handler(n: int) -> int:
        return n

    def rounds(count: int) -> int:
        for n in range(count):
            registry.register("h", 200, handler, owner="acme")
            hook.call(n)
            registry.remove_owner("acme")
        gc.collect()
        return len(gc.get_objects())

    rounds(100)
    before = rounds(100)
    assert rounds(2000) - before < 100
