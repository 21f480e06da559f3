"""PluginLoader on its own: inspect, require, start, in this order and with these bytes."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from native_build import compile_plugin
from pluginapi import (
    InvalidManifest,
    InvalidPlugin,
    LoadError,
    PluginKind,
    PluginLoader,
    ResourceLimits,
    SecurityPolicy,
    TrustLevel,
    UntrustedPlugin,
)
from pluginapi.errors import IoError
from pluginapi.runtime.native import NativePlugin
from pluginapi.security import PluginSecurity
from support import Forge


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture
def loader(forge: Forge) -> PluginLoader:
    return PluginLoader(forge.security())


def native(forge: Forge, source: str = "constructor.c", *, trust: bool = True) -> Path:
    mark = forge.root / "ran"
    path = compile_plugin(source, forge.plugins / "native.so", f'-DMARK_PATH="{mark}"')
    if trust:
        forge.sign(path)
        forge.trust(path)
    return path


async def test_load_gives_a_live_plugin_that_the_caller_closes(
    forge: Forge, loader: PluginLoader
) -> None:
    path = forge.plugin("a", top_level=f"open({str(forge.root / 'ran')!r}, 'w').close()")
    modules = set(sys.modules)
    live = await loader.load(path)
    assert live.manifest.name == "a"
    assert (forge.root / "ran").exists()
    assert set(sys.modules) != modules
    live.close()
    live.close()
    assert set(sys.modules) == modules


async def test_load_refuses_before_anything_runs(forge: Forge, loader: PluginLoader) -> None:
    path = native(forge, trust=False)
    with pytest.raises(UntrustedPlugin) as caught:
        await loader.load(path)
    assert caught.value.code == "signature.missing"
    assert not (forge.root / "ran").exists()
    forge.sign(path)
    forge.trust(path)
    (await loader.load(path)).close()
    assert (forge.root / "ran").exists()


def test_inspect_runs_nothing_and_tells_everything(forge: Forge, loader: PluginLoader) -> None:
    path = native(forge)
    inspection = loader.inspect(str(path))
    assert inspection.file.path == path
    assert inspection.manifest.kind is PluginKind.NATIVE
    assert inspection.verdict.allowed
    assert inspection.verdict.trust_level is TrustLevel.TRUSTED
    assert not (forge.root / "ran").exists()


def test_what_cannot_be_inspected(forge: Forge, loader: PluginLoader) -> None:
    with pytest.raises(IoError) as missing:
        loader.inspect(forge.plugins / "nowhere.py")
    assert missing.value.code == "file.not_found"
    (forge.plugins / "empty.py").touch()
    with pytest.raises(InvalidPlugin):
        loader.inspect(forge.plugins / "empty.py")
    (forge.plugins / "bare.py").write_text("pass\n")
    with pytest.raises(InvalidManifest) as bare:
        loader.inspect(forge.plugins / "bare.py")
    assert bare.value.code == "manifest.missing"


def test_the_largest_size_is_the_policys(forge: Forge) -> None:
    path = forge.plugin("a")
    policy = SecurityPolicy(only_trusted=False, trust_list_path=None, max_plugin_bytes=4096)
    loader = PluginLoader(PluginSecurity(policy))
    assert loader.inspect(path).manifest.name == "a"
    path.write_text(path.read_text() + "#" * 4096)
    with pytest.raises(InvalidPlugin) as caught:
        loader.inspect(path)
    assert caught.value.code == "file.too_large"


def test_the_least_trust(forge: Forge) -> None:
    loader = PluginLoader(forge.security(only_trusted=False))
    guest = loader.inspect(forge.plugin("guest", sign=False, trust=False))
    loader.require(guest)
    loader.require(guest, TrustLevel.UNTRUSTED)
    with pytest.raises(UntrustedPlugin) as caught:
        loader.require(guest, TrustLevel.TRUSTED)
    assert caught.value.code == "trust.level"
    assert "pluginapi trust add" in (caught.value.hint or "")
    loader.require(loader.inspect(forge.plugin("member")), TrustLevel.TRUSTED)


def test_limits_are_those_of_the_policy_or_declared_or_default(forge: Forge) -> None:
    declared = "resource_limits=ResourceLimits(max_threads=2),"
    security = forge.security()
    plain = PluginLoader(security)
    modest = plain.inspect(forge.plugin("modest", extra=declared)).manifest
    silent = plain.inspect(forge.plugin("silent")).manifest
    assert plain.limits_for(modest) == ResourceLimits(max_threads=2)
    assert plain.limits_for(silent) == ResourceLimits()
    asked: list[tuple[str, ResourceLimits | None]] = []

    def limits(name: str, wanted: ResourceLimits | None) -> ResourceLimits:
        asked.append((name, wanted))
        return ResourceLimits(max_threads=1)

    strict = PluginLoader(security, limits=limits)
    assert strict.limits_for(modest).max_threads == 1
    assert strict.limits_for(silent).max_threads == 1
    assert asked == [("modest", ResourceLimits(max_threads=2)), ("silent", None)]


async def test_limits_and_configuration_reach_a_native_plugin(forge: Forge) -> None:
    path = native(forge, "probe.c")
    loader = PluginLoader(
        forge.security(), limits=lambda *_: ResourceLimits(max_heap_bytes=131_072)
    )
    live = await loader.load(path)
    assert isinstance(live, NativePlugin)
    assert live.heap_limit == 131_072
    live.close()
    with pytest.raises(LoadError) as caught:
        await loader.load(path, config={"fail": "create"})
    assert caught.value.code == "abi.create_failed"
    assert caught.value.plugin == "test.probe"


async def test_errors_of_the_start_name_the_plugin(forge: Forge, loader: PluginLoader) -> None:
    with pytest.raises(LoadError) as caught:
        await loader.load(forge.plugin("bad", top_level="1 / 0"))
    assert caught.value.plugin == "bad"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_cancelled_start_releases_what_comes_of_it(
    forge: Forge, loader: PluginLoader
) -> None:
    gate = threading.Event()
    sys.modules["gate_of_the_test"] = gate  # type: ignore[assignment]
    try:
        path = forge.plugin(
            "slow", top_level="import sys\nsys.modules['gate_of_the_test'].wait(30)"
        )
        modules = set(sys.modules)
        task = asyncio.create_task(loader.load(path))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        for thread in threading.enumerate():
            if thread.name.startswith("plugin-slow"):
                await asyncio.to_thread(thread.join, 30)
        assert set(sys.modules) == modules
    finally:
        del sys.modules["gate_of_the_test"]


async def test_an_inspection_is_loaded_from_its_bytes_not_from_its_path(
    forge: Forge, loader: PluginLoader
) -> None:
    path = native(forge)
    inspection = loader.inspect(path)
    path.unlink()
    live = await loader.start(inspection, {})
    assert live.manifest.name == "test.constructor"
    live.close()
