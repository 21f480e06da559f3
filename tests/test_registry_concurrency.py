"""PluginRegistry when several things happen at once, and when they are cut short."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginapi import (
    HookMode,
    HookRegistry,
    InitializationError,
    InvalidState,
    NotFound,
    PluginError,
    PluginEvent,
    PluginLoader,
    PluginRegistry,
    PluginStatus,
    PluginTimeout,
    TrustListError,
    Violation,
    ViolationType,
)
from pluginapi.runtime import tasks
from support import Forge

SHOUTER = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, value):
    return value + "!"
"""


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture
def registry(forge: Forge) -> PluginRegistry:
    return forge.registry()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the condition is another object's state
            await asyncio.sleep(0.005)


class Gate:
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, event: object) -> None:
        self.entered.set()
        await self.opened.wait()


# Cut short


@pytest.mark.parametrize("hook", ["on_plugin_load", "on_plugin_unload"])
async def test_cancelling_an_announcement_leaves_no_plugin(
    forge: Forge, registry: PluginRegistry, hook: str
) -> None:
    path = forge.plugin("a", SHOUTER)
    gate = Gate()
    if hook == "on_plugin_unload":
        await registry.load_plugin(path)
    registry.hooks.register(hook, 200, gate)
    work = registry.load_plugin(path) if hook == "on_plugin_load" else registry.unload_plugin("a")
    task = asyncio.ensure_future(work)
    await gate.entered.wait()
    assert registry.is_loaded("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not registry.is_loaded("a")
    assert await registry.hooks.execute("shout", "x") == "x"
    registry.hooks.unregister(hook, gate)
    # The name is free again.
    await registry.load_plugin(path)
    await registry.unload_plugin("a")


async def test_a_strict_announcement_that_fails_undoes_the_load(forge: Forge) -> None:
    hooks = HookRegistry()
    hooks.define("on_plugin_load", PluginEvent, None, mode=HookMode.NOTIFY)
    hooks.register("on_plugin_load", 200, lambda event: 1 / 0)
    strict = PluginRegistry(PluginLoader(forge.security()), hooks=hooks)
    with pytest.raises(ZeroDivisionError):
        await strict.load_plugin(forge.plugin("a"))
    assert not strict.is_loaded("a")


STUBBORN = """
async def {method}(self, *_):
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if time.monotonic() > self.end:
                return
    return None
def __init__(self):
    self.end = time.monotonic() + 1
"""


@pytest.mark.parametrize("method", ["init", "register_hooks", "shutdown"])
async def test_a_plugin_that_ignores_its_cancellation_is_given_up(
    forge: Forge,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tasks, "GRACE_SECONDS", 0.05)
    registry = forge.registry(init_timeout=0.1, shutdown_timeout=0.1)
    path = forge.plugin("stubborn", STUBBORN.format(method=method))
    async with asyncio.timeout(20):
        if method == "shutdown":
            await registry.load_plugin(path)
            with pytest.raises(PluginTimeout):
                await registry.unload_plugin("stubborn")
        else:
            with pytest.raises(PluginTimeout):
                await registry.load_plugin(path)
    assert not registry.is_loaded("stubborn")
    assert "ignores that it was cancelled" in caplog.text
    # What is left of it ends when it is told again, after its time.
    await asyncio.sleep(1)
    (left,) = [task for task in asyncio.all_tasks() if task.get_name().startswith("plugin-")]
    left.cancel()
    await asyncio.wait({left})


async def test_a_plugin_may_clean_up_when_it_is_cancelled(
    forge: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    mark = forge.root / "cleaned"
    registry = forge.registry(init_timeout=0.1)
    path = forge.plugin(
        "tidy",
        f"""
async def init(self, context):
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        open({str(mark)!r}, "w").close()
""",
    )
    with pytest.raises(PluginTimeout):
        await registry.load_plugin(path)
    assert mark.exists()
    assert "ignores" not in caplog.text


# At once


async def test_many_loads_and_unloads_at_once(forge: Forge, registry: PluginRegistry) -> None:
    paths = [forge.plugin(f"p{number}", SHOUTER) for number in range(8)]
    bad = forge.plugin("bad", "def init(self, context):\n    raise OSError('x')")

    async def live(path: Path) -> None:
        for _ in range(5):
            await registry.unload_plugin(await registry.load_plugin(path))

    async def fail() -> None:
        for _ in range(5):
            with pytest.raises(InitializationError):
                await registry.load_plugin(bad)

    await asyncio.gather(*map(live, paths), fail())
    await registry.unload_all()
    assert registry.plugin_count() == 0
    assert await registry.hooks.execute("shout", "x") == "x"
    for path in paths:
        await registry.load_plugin(path)
    assert await registry.hooks.execute("shout", "x") == "x" + "!" * 8
    assert len((await registry.unload_all()).unloaded) == 8


async def test_loads_of_one_plugin_at_once(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin("a", SHOUTER)
    for _ in range(10):
        outcomes = await asyncio.gather(
            *(registry.load_plugin(path) for _ in range(5)), return_exceptions=True
        )
        assert outcomes.count("a") == 1
        codes = {item.code for item in outcomes if isinstance(item, PluginError)}
        assert codes <= {"registry.busy", "registry.already_loaded"}
        assert await registry.hooks.execute("shout", "x") == "x!"
        await registry.unload_plugin("a")


async def test_two_unloads_at_once(forge: Forge, registry: PluginRegistry) -> None:
    await registry.load_plugin(forge.plugin("a"))
    gate = Gate()
    registry.hooks.register("on_plugin_unload", 200, gate)
    first = asyncio.create_task(registry.unload_plugin("a"))
    await gate.entered.wait()
    with pytest.raises(InvalidState) as caught:
        await registry.unload_plugin("a")
    assert caught.value.code == "registry.busy"
    everything = asyncio.create_task(registry.unload_all())
    await asyncio.sleep(0.02)
    # unload_all has not promised anything yet: the plugin is still there.
    assert not everything.done()
    gate.opened.set()
    await first
    report = await everything
    assert (report.unloaded, report.failed) == ((), {})
    with pytest.raises(NotFound):
        await registry.unload_plugin("a")


async def test_queries_from_threads_while_plugins_come_and_go(
    forge: Forge, registry: PluginRegistry
) -> None:
    paths = [forge.plugin(f"p{number}", SHOUTER) for number in range(3)]
    stop = threading.Event()
    problems: list[BaseException] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                names = [info.name for info in registry.get_all_plugins()]
                assert names == sorted(names)
                loaded = registry.list_loaded_plugins()
                assert all(info.status is PluginStatus.ACTIVE for info in loaded)
                registry.monitored()
                registry.plugin_count()
                registry.total_plugin_count()
                for name in names:
                    registry.get_plugin_info(name)
                    registry.is_loaded(name)
            except BaseException as err:  # noqa: BLE001 - reported by the test
                problems.append(err)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            for path in paths:
                await registry.load_plugin(path)
            await asyncio.to_thread(registry.scan_directory, forge.plugins)
            await registry.unload_all()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []


async def test_scans_in_threads_while_files_come_and_go(
    forge: Forge, registry: PluginRegistry
) -> None:
    forge.plugin("constant")
    passing = forge.plugin("passing")
    sound = passing.read_text()
    stop = threading.Event()

    def flicker() -> None:
        while not stop.is_set():
            passing.unlink()
            passing.write_text(sound)

    def scan() -> set[str]:
        seen: set[str] = set()
        for _ in range(60):
            report = registry.scan_directory(forge.plugins)
            seen.update(info.name for info in report.plugins)
        return seen

    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        results = await asyncio.gather(*(asyncio.to_thread(scan) for _ in range(3)))
    finally:
        stop.set()
        thread.join()
    assert all("constant" in seen for seen in results)
    registry.scan_directory(forge.plugins)
    assert [info.name for info in registry.get_all_plugins()] == ["constant", "passing"]


# Violations


def violation() -> Violation:
    return Violation.now(ViolationType.THREADS, 9, 4, "test")


async def test_a_late_unmount_spares_the_plugin_that_was_loaded_since(forge: Forge) -> None:
    registry = forge.registry(violation_threshold=1)
    path = forge.plugin("a")
    await registry.load_plugin(path)
    # The unmount is only scheduled here, and the plugin is replaced before it begins.
    assert registry.record_violation("a", violation())
    loaded = registry._state.loaded["a"]
    await registry.unload_plugin("a")
    await registry.load_plugin(path)
    await registry._unmount(loaded, violation())
    await asyncio.sleep(0.02)
    assert registry.is_loaded("a")
    assert registry.get_plugin_info("a").status is PluginStatus.ACTIVE
    # The control: a violation of its own does unmount it.
    assert registry.record_violation("a", violation())
    await until(lambda: not registry.is_loaded("a"))


def test_a_violation_after_the_loop_was_closed_is_counted(
    forge: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    registry = forge.registry(violation_threshold=1)
    asyncio.run(load(registry, forge.plugin("a")))
    assert registry.record_violation("a", violation())
    assert registry.get_violation_count("a") == 1
    assert "cannot be unmounted" in caplog.text
    asyncio.run(unload_all(registry))


async def load(registry: PluginRegistry, path: Path) -> None:
    await registry.load_plugin(path)


async def unload_all(registry: PluginRegistry) -> Any:
    return await registry.unload_all()


async def test_an_unmount_with_a_failing_shutdown_still_unmounts(forge: Forge) -> None:
    registry = forge.registry(violation_threshold=1)
    await registry.load_plugin(forge.plugin("a", "def shutdown(self):\n    raise OSError('x')"))
    await registry.report_violation("a", violation())
    assert not registry.is_loaded("a")
    error = registry.get_plugin_info("a").error
    assert error is not None
    assert error.code == "limits.unmounted"


async def test_a_new_file_has_not_failed_for_the_old_one(forge: Forge) -> None:
    registry = forge.registry(violation_threshold=1)
    path = forge.plugin("a")
    await registry.load_plugin(path)
    forge.plugin("a", SHOUTER)
    registry.discover_plugin(path)
    await registry.report_violation("a", violation())
    assert registry.get_plugin_info("a").status is PluginStatus.AVAILABLE


# What cannot be judged


async def test_a_list_that_cannot_be_read_forgets_nothing(
    forge: Forge, registry: PluginRegistry
) -> None:
    path = forge.plugin("a")
    registry.scan_directory(forge.plugins)
    sound = forge.trust_list_path.read_bytes()
    forge.trust_list_path.write_bytes(sound[:-1])
    with pytest.raises(TrustListError):
        registry.scan_directory(forge.plugins)
    with pytest.raises(TrustListError):
        await registry.load_plugin(path)
    assert registry.get_plugin_info("a").status is PluginStatus.AVAILABLE
    forge.trust_list_path.write_bytes(sound)
    assert await registry.load_plugin_by_name("a") == "a"
    await registry.unload_all()
