"""Real plugin processes, seen through the command."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from native_build import compile_plugin
from pluginapi import PluginRegistry
from pluginapi.cli.profile import profile_command
from pluginapi.control.answers import snapshot
from pluginapi.control.server import ControlServer
from pluginapi.errors import PluginError
from pluginapi.process import PluginProcessManager, ProcessSettings
from pluginapi.profiling.native_process import sample_native
from pluginapi.profiling.python_process import sample_python
from pluginapi.sandbox.config import FilesystemConfig, SandboxConfig
from support import Forge

BUSY = """
def register_hooks(self, hooks):
    hooks.register("shout", 100, self.busy_outer)
def busy_outer(self, text):
    import time
    until = time.monotonic() + 3
    while time.monotonic() < until:
        self.busy_inner()
def busy_inner(self):
    total = 0
    for i in range(20000):
        total += i * i
    return total
"""


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[PluginRegistry]:
    forge = Forge(tmp_path)
    made = forge.registry()
    await made.load_plugin(forge.plugin("acme.python", BUSY), isolation="process")
    path = compile_plugin("busy.c", forge.plugins / "busy.so", "-fno-omit-frame-pointer")
    forge.sign(path)
    forge.trust(path)
    await made.load_plugin(path, isolation="process")
    await made.load_plugin(forge.plugin("acme.inside"))
    yield made
    await made.unload_all()
    await asyncio.to_thread(made.loader.close)


async def profiled(registry: PluginRegistry, tmp_path: Path, *arguments: str) -> Any:
    """Run the command while both plugins are busy."""
    path = tmp_path / "control" / "socket"
    with ControlServer(path, {"snapshot": lambda _: snapshot(registry)}):
        busy = asyncio.create_task(registry.hooks.execute("shout", "x"))
        await asyncio.sleep(0.05)
        command = [*arguments, "--socket", str(path), "--seconds", "1"]
        result = await asyncio.to_thread(CliRunner().invoke, profile_command, command)
        await busy
    return result


def functions(result: Any) -> dict[str, Any]:
    answer = json.loads(result.stdout)
    assert answer["samples"] > 20
    return {each["name"].partition(" ")[0]: each for each in answer["functions"]} | {"all": answer}


async def test_a_python_plugin_is_profiled(registry: PluginRegistry, tmp_path: Path) -> None:
    target = tmp_path / "python.svg"
    # Whose handler comes first, and takes its time.
    registry.hooks.pause_owner("test.busy")
    result = await profiled(registry, tmp_path, "acme.python", "--json", "--output", str(target))
    assert result.exit_code == 0, result.output
    found = functions(result)
    inner = next(found[name] for name in found if name.endswith("busy_inner"))
    outer = next(found[name] for name in found if name.endswith("busy_outer"))
    assert inner["own"] > found["all"]["samples"] / 2
    assert outer["total"] >= inner["total"] * 0.8
    assert "busy_inner" in "".join(ET.parse(target).getroot().itertext())  # noqa: S314 - as above


async def test_a_native_plugin_is_profiled(registry: PluginRegistry, tmp_path: Path) -> None:
    target = tmp_path / "native.txt"
    registry.hooks.pause_owner("acme.python")
    result = await profiled(
        registry, tmp_path, "test.busy", "--json", "--format", "collapsed", "--output", str(target)
    )
    assert result.exit_code == 0, result.output
    found = functions(result)
    assert found["busy_inner"]["own"] > found["all"]["samples"] / 2
    assert found["busy_outer"]["total"] > found["all"]["samples"] / 2
    assert "on_shout (busy.so);busy_outer (busy.so);busy_inner (busy.so) " in target.read_text()


@pytest.mark.skipif(os.getuid() != 0, reason="the registry's sandbox is root's here")
async def test_a_confined_plugin_is_profiled(tmp_path: Path) -> None:
    # Below /tmp sandboxes have files of their own.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pluginapi-") as directory:
        shared = Path(directory)
        shared.chmod(0o755)
        forge = Forge(shared)
        files = FilesystemConfig(read_only_paths=(str(shared),))
        with PluginProcessManager(
            ProcessSettings(), sandbox=SandboxConfig(filesystem=files)
        ) as manager:
            registry = forge.registry()
            registry.loader._processes = manager
            await registry.load_plugin(forge.plugin("acme.python", BUSY), isolation="process")
            command = ("acme.python", "--json", "--output", str(tmp_path / "confined.svg"))
            result = await profiled(registry, tmp_path, *command)
            await registry.unload_all()
    assert result.exit_code == 0, result.output
    assert any(name.endswith("busy_inner") for name in functions(result))


async def test_what_has_no_process_says_so(registry: PluginRegistry, tmp_path: Path) -> None:
    result = await profiled(registry, tmp_path, "acme.inside")
    assert isinstance(result.exception, PluginError)
    assert result.exception.code == "profile.no_process"
    result = await profiled(registry, tmp_path, "acme.absent")
    assert isinstance(result.exception, PluginError)
    assert result.exception.code == "registry.not_loaded"


async def test_an_idle_plugin_has_no_samples(registry: PluginRegistry, tmp_path: Path) -> None:
    path = registry.get_plugin_info("test.busy").path
    pid = registry.get_plugin_metrics("test.busy").pid
    assert pid is not None
    stacks = await asyncio.to_thread(sample_native, pid, path, 0.3, 99)
    assert stacks.samples <= 3


def test_processes_that_are_not_there_cannot_be_sampled(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(PluginError) as native:
        sample_native(child, tmp_path, 1, 99)
    with pytest.raises(PluginError) as python:
        sample_python(child, 1, 99)
    assert native.value.code == python.value.code == "profile.failed"
    assert str(child) in native.value.message


def test_without_py_spy_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(PluginError) as refused:
        sample_python(os.getpid(), 1, 99)
    assert "pip install 'pluginapi[profile]'" in (refused.value.hint or "")
