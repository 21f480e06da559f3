"""However it ends, and whoever is killed: no process, descriptor or file stays behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pluginapi import PluginRegistry
from pluginapi.errors import IpcClosed, PluginError
from pluginapi.ipc.protocol import Initialize
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.process import EndReason, PluginProcess, PluginProcessManager, ProcessState
from pluginapi.process.source import plugin_source
from process.conftest import descendants, eventually, kill, open_fds
from support import Forge

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

ECHO = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    return text + "!"
"""


def make(manager: PluginProcessManager, file: PluginFile, kind: Any, name: str) -> PluginProcess:
    """Return a process of a plugin file that was not started."""
    manifest = read_manifest(file)
    copy = file.sealed_copy()
    initialize = Initialize(
        manifest.name,
        str(manifest.version),
        source=plugin_source(file.path.name, manifest),
        limits={"max_heap_bytes": 1 << 20},
    )
    process = manager.create(kind, name, copy, initialize, on_request=lambda *_: None)
    process.closes = copy.close  # type: ignore[attr-defined]
    return process


@pytest.fixture
def python_file(forge: Forge) -> PluginFile:
    return PluginFile.open(forge.plugin("acme.echo", ECHO))


@pytest.mark.parametrize("kind", ["native", "python"])
def test_a_thousand_starts_and_stops(
    manager: PluginProcessManager, probe: PluginFile, python_file: PluginFile, kind: Any
) -> None:
    process = make(manager, probe if kind == "native" else python_file, kind, "cycle")
    process.start(10)
    before, fds = len(descendants()), len(open_fds())
    for number in range(1000):
        process.stop()
        process.start(10)
        if number % 100 == 99:
            assert (len(descendants()), len(open_fds())) == (before, fds)
    assert process.status().starts == 1001
    process.stop()
    eventually(lambda: len(descendants()) == before - 1)
    process.closes()  # type: ignore[attr-defined]


def test_a_hundred_kills_at_random_moments(
    manager: PluginProcessManager, probe: PluginFile, python_file: PluginFile
) -> None:
    chance = random.Random(5)
    kinds = {"native": probe, "python": python_file}
    for number in range(100):
        kind: Any = chance.choice(sorted(kinds))
        process = make(manager, kinds[kind], kind, f"victim{number}")

        def strike(process: PluginProcess = process, delay: float = chance.random() * 0.02) -> None:
            time.sleep(delay)
            pid = process.pid
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    kill(pid)

        thread = threading.Thread(target=strike)
        thread.start()
        with contextlib.suppress(PluginError):
            process.start(10)
        thread.join()
        manager.discard(process)
        eventually(partial(_is_gone, process))
        process.closes()  # type: ignore[attr-defined]
    # The nurseries alone.
    eventually(lambda: len(descendants()) == len(manager._nurseries))


@pytest.mark.parametrize("kind", ["native", "python"])
def test_a_killed_nursery_takes_its_workers_and_comes_again(
    manager: PluginProcessManager, probe: PluginFile, python_file: PluginFile, kind: Any
) -> None:
    process = make(manager, probe if kind == "native" else python_file, kind, "one")
    process.start(10)
    first = process.pid
    kill(manager._nurseries[kind].pid)
    eventually(lambda: process.state is ProcessState.RUNNING and process.pid != first)
    end = process.last_end
    assert end is not None
    assert end.reason in (EndReason.NURSERY, EndReason.SIGNAL)
    eventually(lambda: not psutil.pid_exists(first or 0))
    assert process.health_check()
    process.stop()
    process.closes()  # type: ignore[attr-defined]


def test_a_worker_outlives_the_thread_that_started_it(
    manager: PluginProcessManager, probe: PluginFile
) -> None:
    process = make(manager, probe, "native", "one")
    thread = threading.Thread(target=process.start, args=(10,))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert process.state is ProcessState.RUNNING
    assert process.health_check()
    process.stop()
    process.closes()  # type: ignore[attr-defined]


@pytest.mark.vm
async def test_daemons_of_a_plugin_end_with_it(
    forge: Forge, registry: PluginRegistry, tmp_path: Path
) -> None:
    mark = tmp_path / "daemon"
    path = forge.plugin(
        "acme.daemon",
        f"""
def init(self, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with open({str(mark)!r}, "w") as file:
                file.write(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists({str(mark)!r}):
        time.sleep(0.01)
""",
        top_level="import os, signal",
    )
    name = await registry.load_plugin(path, isolation="process")
    daemon = int(eventually(lambda: mark.read_text() if mark.exists() else ""))
    await registry.unload_plugin(name)
    eventually(lambda: not psutil.pid_exists(daemon))


async def test_a_fork_of_the_host_has_no_part_in_them(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    reader, writer = os.pipe()
    before = open_fds()
    name = await registry.load_plugin(forge.plugin("acme.echo", ECHO), isolation="process")
    process = manager.get(name)
    assert process is not None
    channel = process.channel
    held = set(open_fds().items()) - set(before.items())
    pid = os.fork()
    if pid == 0:
        try:
            try:
                channel.call(1, b"\xa1x")
            except IpcClosed as err:
                kept = held & set(open_fds().items())
                os.write(writer, f"{err}; descriptors kept: {sorted(kept)}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)  # noqa: ASYNC222 - the loop has nothing else to do
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    assert "belongs to the process that this one was forked from" in said
    assert len(held) >= 6
    assert said.endswith("descriptors kept: []")
    assert await registry.hooks.execute("shout", "x") == "x!"
    assert process.state is ProcessState.RUNNING
    await registry.unload_all()


_HOST = """
import asyncio, os, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcessManager
import process.test_nothing_left as shared
manager = PluginProcessManager()
made = []
for kind, path in (("native", {probe!r}), ("python", {python!r})):
    process = shared.make(manager, PluginFile.open(path), kind, kind)
    process.start(20)
    made.append(process.pid)
made += [nursery.pid for nursery in manager._nurseries.values()]
child = os.fork() if {forks} else -1
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, *made, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_host(
    probe: PluginFile,
    python_file: PluginFile,
    how: signal.Signals,
    forks: bool,
) -> None:
    text = _HOST.format(
        tests=str(Path(__file__).parents[1]),
        probe=str(probe.path),
        python=str(python_file.path),
        forks=forks,
    )
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    child, *pids = map(int, host.stdout.readline().split())
    assert len(pids) == 4
    host.send_signal(how)
    host.wait()
    host.stdout.close()
    try:
        eventually(lambda: not any(map(_runs, pids)), 5)
    finally:
        if forks:
            kill(child)


def _is_gone(process: PluginProcess) -> bool:
    return process.pid is None


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
