"""PluginLifecycle with runtimes of other makers: whatever they raise, nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pluginapi import (
    HookRegistry,
    InitializationError,
    Inspection,
    PluginLoader,
    PluginRegistry,
    ShutdownError,
)
from pluginapi.lifecycle import finish
from pluginapi.manifest import PluginManifest
from pluginapi.monitor import PluginUsage
from support import Forge


class OtherRuntime:
    """A live plugin whose maker does not keep to the errors that `LivePlugin` promises."""

    def __init__(self, manifest: PluginManifest, fails: str) -> None:
        self.manifest = manifest
        self.fails = fails
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise ValueError(f"{name} of another maker")

    async def init(self, context: Any) -> None:
        self._call("init")

    async def register_hooks(self, hooks: Any) -> None:
        hooks.register("shout", 200, str.upper)
        self._call("register_hooks")

    async def shutdown(self, why: str = "") -> None:
        self._call("shutdown")

    def close(self) -> None:
        self._call("close")

    heap_limit = None
    heap_account = 0

    def on_violation(self, report: Any) -> None:
        pass

    def on_kill(self, report: Any) -> None:
        pass

    def limits_in_force(self) -> tuple[()]:
        return ()

    def usage(self, *, now: bool = True) -> PluginUsage:
        return PluginUsage()


class OtherLoader(PluginLoader):
    fails = ""
    made: OtherRuntime

    async def start(
        self,
        inspection: Inspection,
        config: Mapping[str, Any],
        isolation: object = None,
        *,
        hooks: object = None,
    ) -> Any:
        self.made = OtherRuntime(inspection.manifest, self.fails)
        return self.made


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture
def loader(forge: Forge) -> OtherLoader:
    return OtherLoader(forge.security())


@pytest.fixture
def registry(loader: OtherLoader) -> PluginRegistry:
    hooks = HookRegistry()
    hooks.define("shout", str, str)
    return PluginRegistry(loader, hooks=hooks)


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ("init", ["init", "close"]),
        ("register_hooks", ["init", "register_hooks", "shutdown", "close"]),
    ],
)
async def test_any_error_of_a_start_is_one_of_the_plugin(
    forge: Forge, loader: OtherLoader, registry: PluginRegistry, fails: str, calls: list[str]
) -> None:
    path = forge.plugin("a")
    loader.fails = fails
    with pytest.raises(InitializationError) as caught:
        await registry.load_plugin(path)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.plugin == "a"
    assert loader.made.calls == calls
    assert await registry.hooks.execute("shout", "x") == "x"
    loader.fails = ""
    await registry.load_plugin(path)
    assert await registry.hooks.execute("shout", "x") == "X"
    await registry.unload_all()
    assert loader.made.calls == ["init", "register_hooks", "shutdown", "close"]


async def test_any_error_of_a_shutdown_is_one_of_the_plugin(
    forge: Forge, loader: OtherLoader, registry: PluginRegistry
) -> None:
    loader.fails = "shutdown"
    await registry.load_plugin(forge.plugin("a"))
    with pytest.raises(ShutdownError) as caught:
        await registry.unload_plugin("a")
    assert isinstance(caught.value.__cause__, ValueError)
    assert loader.made.calls[-1] == "close"
    assert not registry.is_loaded("a")
    assert await registry.hooks.execute("shout", "x") == "x"


async def test_a_failing_cleanup_of_a_failed_start_does_not_hide_why(
    forge: Forge,
    loader: OtherLoader,
    registry: PluginRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(self: OtherRuntime, why: str = "") -> None:
        raise OSError("no clean-up either")

    monkeypatch.setattr(OtherRuntime, "shutdown", fail)
    loader.fails = "register_hooks"
    with pytest.raises(InitializationError, match="register_hooks of another maker"):
        await registry.load_plugin(forge.plugin("a"))
    assert "no clean-up either" in caplog.text
    assert loader.made.calls[-1] == "close"


# finish


async def test_finish_ends_the_work_before_it_passes_a_cancellation_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []

    async def work(*, fail: bool) -> None:
        await asyncio.sleep(0.05)
        done.append("work")
        if fail:
            raise OSError("the work failed")

    for fail in (False, True):
        task = asyncio.create_task(finish(work(fail=fail)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == ["work", "work"]
    assert caplog.text.count("the work failed") == 1


async def test_finish_passes_errors_and_cancellations_of_the_work_on() -> None:
    async def fail() -> None:
        raise OSError("the work failed")

    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(OSError, match="the work failed"):
        await finish(fail())
    with pytest.raises(asyncio.CancelledError):
        await finish(give_up())
