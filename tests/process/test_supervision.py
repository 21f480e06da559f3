"""Hangs, floods, budgets: what the host does about processes that misbehave."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from native.support import Native
from pluginapi import HookRegistry, PluginHost, PluginRegistry
from pluginapi.config import HostConfig
from pluginapi.errors import IpcClosed, PluginError, PluginProcessError, PluginTimeout
from pluginapi.isolation import Isolation
from pluginapi.plugin_file import PluginFile
from pluginapi.process import (
    EndReason,
    PluginProcess,
    PluginProcessManager,
    ProcessSettings,
    ProcessState,
)
from pluginapi.process.budget import RestartBudget
from process.conftest import eventually
from process.test_nothing_left import make
from support import Forge

NAUGHTY = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    if text == "hang":
        while True:
            pass
    if text == "slow":
        time.sleep(0.7)
    if text == "die":
        os._exit(1)
    if text == "close":
        os.closerange(3, 100)
        time.sleep(60)
    if text == "flood":
        for _ in range(400):
            os.write(1, b"x" * 1023 + b"\\n")
    return text + "!"
"""


async def load(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> PluginProcess:
    path = forge.plugin("acme.naughty", NAUGHTY, top_level="import os")
    process = manager.get(await registry.load_plugin(path, isolation="process"))
    assert process is not None
    return process


class TestHangs:
    @pytest.fixture
    def settings(self) -> ProcessSettings:
        return ProcessSettings(
            call_timeout=0.3, hang_grace=0.8, backoff_first=0.01, health_interval=0
        )

    async def test_a_hung_plugin_is_found_by_its_deadline(
        self, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
    ) -> None:
        process = await load(forge, registry, manager)
        first = process.pid
        with pytest.raises(PluginTimeout) as late:
            await registry.hooks.execute("shout", "hang")
        assert late.value.code == "ipc.deadline"
        eventually(lambda: process.state is ProcessState.RUNNING and process.pid != first)
        end = process.last_end
        assert end is not None
        assert (end.reason, end.signal) == (EndReason.DEADLINE, 9)
        assert await registry.hooks.execute("shout", "x") == "x!"
        await registry.unload_all()

    async def test_a_slow_one_is_not(
        self, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
    ) -> None:
        process = await load(forge, registry, manager)
        first = process.pid
        with pytest.raises(PluginTimeout):
            await registry.hooks.execute("shout", "slow")
        await asyncio.sleep(1.2)
        assert (process.state, process.pid) == (ProcessState.RUNNING, first)
        assert await registry.hooks.execute("shout", "x") == "x!"
        await registry.unload_all()


class TestBudget:
    @pytest.fixture
    def settings(self) -> ProcessSettings:
        return ProcessSettings(restarts=2, backoff_first=0.01, health_interval=0)

    async def test_it_is_spent_and_outlives_the_process(
        self,
        forge: Forge,
        registry: PluginRegistry,
        manager: PluginProcessManager,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        process = await load(forge, registry, manager)
        for round_ in (1, 2, 3):
            with pytest.raises(IpcClosed):
                await registry.hooks.execute("shout", "die")
            eventually(partial(_settled, process, round_))
        assert process.state is ProcessState.FAILED
        assert "2 restarts within 300 s are spent" in caplog.text
        with pytest.raises(IpcClosed):
            await registry.hooks.execute("shout", "x")
        with pytest.raises(PluginProcessError, match=r"it is failed; process \d+ exited with 1"):
            _ = process.channel
        await registry.unload_all()
        again = manager.get(await registry.load_plugin_by_name("acme.naughty", isolation="process"))
        assert again is not None
        assert again is not process
        assert again.status().restarts == 2
        with pytest.raises(IpcClosed):
            await registry.hooks.execute("shout", "die")
        eventually(lambda: again.state is ProcessState.FAILED)
        await registry.unload_all()


def _settled(process: PluginProcess, ends: int) -> bool:
    status = process.status()
    done = status.state in (ProcessState.RUNNING, ProcessState.FAILED)
    return done and len(status.ends) >= ends


def test_pauses_double_up_to_their_bound() -> None:
    budget = RestartBudget(ProcessSettings(restarts=5, backoff_first=1, backoff_most=5))
    assert [budget.take() for _ in range(6)] == [1, 2, 4, 5, 5, None]


def test_restarts_are_forgiven_after_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    budget = RestartBudget(ProcessSettings(restarts=1, restart_window=10))
    assert budget.take() is not None
    assert budget.take() is None
    now[0] += 10.5
    assert budget.used() == 0
    assert budget.take() is not None


async def test_a_process_that_closes_its_channel_is_ended(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    process = await load(forge, registry, manager)
    with pytest.raises(PluginError):
        await registry.hooks.execute("shout", "close")
    eventually(lambda: process.last_end)
    end = process.last_end
    assert end is not None
    assert end.reason in (EndReason.PROTOCOL, EndReason.DEADLINE)
    await registry.unload_all()


async def test_a_flood_of_output_is_dropped(
    forge: Forge,
    registry: PluginRegistry,
    manager: PluginProcessManager,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    await load(forge, registry, manager)
    assert await registry.hooks.execute("shout", "flood") == "flood!"
    eventually(lambda: "what follows is dropped" in caplog.text)
    assert sum("xxx" in record.getMessage() for record in caplog.records) <= 128
    await registry.unload_all()


def test_stop_kill_and_restart(manager: PluginProcessManager, probe: PluginFile) -> None:
    process = make(manager, probe, "native", "one")
    with pytest.raises(PluginProcessError, match="is not running: it is stopped"):
        _ = process.channel
    process.start(10)
    with pytest.raises(PluginProcessError, match="is not stopped"):
        process.start(10)
    first = process.pid
    process.restart()
    assert process.pid != first
    assert process.status().restarts == 0
    process.kill()
    assert process.wait_for(ProcessState.STOPPED, timeout=10)
    end = process.last_end
    assert end is not None
    assert (end.reason, end.signal, end.detail) == (EndReason.MANUAL, 9, "killed on request")
    assert str(end).startswith(f"process {end.pid} ended by SIGKILL after ")
    process.stop()
    process.start(10)
    process.stop()
    process.closes()  # type: ignore[attr-defined]


def test_one_that_is_stopped_while_its_worker_is_made_stays_stopped(
    manager: PluginProcessManager, probe: PluginFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make(manager, probe, "native", "late")
    hire, asked, go_on = process._hire, threading.Event(), threading.Event()

    def hire_late() -> Any:
        asked.set()
        assert go_on.wait(30)
        return hire()

    monkeypatch.setattr(process, "_hire", hire_late)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(process.start, 10)
        assert asked.wait(10)
        process.stop()
        go_on.set()
        with pytest.raises(PluginProcessError, match="not wanted any more"):
            starting.result(30)
    end = eventually(lambda: process.last_end)
    assert end.reason is EndReason.MANUAL
    assert not process.wait_for(ProcessState.WAITING, ProcessState.STARTING, timeout=0.3)
    assert process.state is ProcessState.STOPPED
    process.closes()  # type: ignore[attr-defined]


def test_a_worker_of_another_program_is_not_taken(manager: PluginProcessManager) -> None:
    manager.prepare("native")
    nursery = manager._nurseries["native"]
    ours, theirs = os.pipe()
    try:
        spawned = nursery.spawn((theirs, theirs, theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    # What it was given is no channel: it ends by itself, and that is told.
    eventually(lambda: spawned.id not in nursery._alive)
    os.close(spawned.pidfd)


class TestSpares:
    @pytest.fixture
    def settings(self) -> ProcessSettings:
        return ProcessSettings(spares=2, health_interval=0)

    async def test_spares_are_used_and_replaced(
        self, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
    ) -> None:
        manager.prepare()
        spares = {worker.pid for worker in manager._spares}
        assert len(spares) == 2
        process = await load(forge, registry, manager)
        assert process.pid in spares
        eventually(lambda: len(manager._spares) == 2)
        os.kill(manager._spares[0].pid, 9)
        eventually(lambda: len(manager._spares) == 1)
        assert await registry.hooks.execute("shout", "x") == "x!"
        await registry.unload_all()


async def test_the_configuration_says_where_plugins_run(
    forge: Forge, nothing_left: None, tmp_path: Path
) -> None:
    forge.plugin("acme.here", "def init(self, c): pass")
    forge.plugin("acme.there", "def init(self, c): pass")
    config = HostConfig.from_text(
        """
        [security]
        only_trusted = false
        trust_key_source = "none"
        [isolation]
        mode = "process"
        restarts = 3
        [isolation.plugin]
        "acme.here" = "in-process"
        """,
        tmp_path,
    )
    assert config.isolation.processes.restarts == 3
    assert config.isolation.for_plugin("acme.here") is Isolation.IN_PROCESS
    async with PluginHost(config, security=forge.security()) as host:
        manager = host.registry.loader.processes
        assert host.start_report is not None
        assert host.start_report.loaded == ("acme.here", "acme.there")
        assert [process.name for process in manager.processes()] == ["acme.there"]


async def test_a_native_plugin_serves_the_hosts_hooks(
    forge: Forge, manager: PluginProcessManager, tmp_path: Path
) -> None:
    registry = forge.registry(only_trusted=False)
    registry.loader._processes = manager
    hooks: HookRegistry = registry.hooks
    hooks.define("echo", dict, dict)
    path = Native(tmp_path).compile("probe.c")
    name = await registry.load_plugin(path, isolation="process")
    assert await hooks.execute("echo", {"a": 1}) == {"a": 1}
    process = manager.get(name)
    assert process is not None
    first = process.pid
    os.kill(first or 0, 9)
    eventually(lambda: process.state is ProcessState.RUNNING and process.pid != first)
    assert await hooks.execute("echo", {"a": 2}) == {"a": 2}
    end = process.last_end
    assert end is not None
    assert (end.reason, end.signal) == (EndReason.SIGNAL, 9)
    await registry.unload_plugin(name)
