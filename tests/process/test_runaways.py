"""Plugins that end their process or let go of others, and hosts that fork: in both workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from native.support import Native
from pluginapi.errors import IpcClosed
from pluginapi.plugin_file import PluginFile
from pluginapi.process import EndReason, PluginProcess, PluginProcessManager, ProcessState
from process.conftest import descendants, eventually, kill
from process.test_nothing_left import _runs, make
from support import Forge

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

RUNAWAY = """
def register_hooks(self, hooks):
    for name in ("exit", "crash", "child", "daemon"):
        hooks.register(name, 0, getattr(self, name + "_"))

def exit_(self, value):
    os._exit(7)

def crash_(self, value):
    os.abort()

def child_(self, value):
    return os.fork() or self.sleep_on()

def daemon_(self, value):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork() or self.sleep_on()
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as numbers:
        return int(numbers.read(20))

def sleep_on(self):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.closerange(3, 100)
    while True:
        time.sleep(600)
"""


@pytest.fixture(scope="session")
def native_runaway(tmp_path_factory: pytest.TempPathFactory) -> PluginFile:
    return Native(tmp_path_factory.mktemp("runaway")).file("runaway.c")


@pytest.fixture(params=["native", "python"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def file(kind: str, native_runaway: PluginFile, forge: Forge) -> PluginFile:
    if kind == "native":
        return native_runaway
    return PluginFile.open(forge.plugin("test.runaway", RUNAWAY, top_level="import os, signal"))


@pytest.fixture
def process(manager: PluginProcessManager, file: PluginFile, kind: Any) -> Iterator[PluginProcess]:
    made = make(manager, file, kind, "runaway")
    yield made
    manager.discard(made)
    eventually(lambda: made.pid is None)
    made.closes()  # type: ignore[attr-defined]


def call(process: PluginProcess, hook: str) -> Any:
    """Call a handler of the plugin; what it returns."""
    ready = process._ready
    assert ready is not None
    number = next(spec.id for spec in ready.handlers if spec.hook == hook)
    reply = process.channel.call(number, b"\xc0", timeout=10)
    return msgspec.msgpack.decode(reply[3]) if reply[3] else None


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("hook", "reason", "code", "number"),
    [
        ("exit", EndReason.EXIT, 7, None),
        ("crash", EndReason.SIGNAL, None, signal.SIGABRT),
    ],
)
def test_a_plugin_that_ends_its_process_ends_no_other(  # noqa: PLR0917 - what is expected
    process: PluginProcess,
    manager: PluginProcessManager,
    kind: Any,
    hook: str,
    reason: EndReason,
    code: int | None,
    number: int | None,
) -> None:
    process.start(10)
    first, nursery = process.pid, manager._nurseries[kind].pid
    with pytest.raises(IpcClosed):
        call(process, hook)
    eventually(lambda: process.state is ProcessState.RUNNING and process.pid != first)
    end = process.last_end
    assert end is not None
    assert (end.reason, end.exit_code, end.signal, end.pid) == (reason, code, number, first)
    assert manager._nurseries[kind].pid == nursery
    assert process.health_check()


@pytest.mark.parametrize("how", ["stop", "kill", "exit", "crash"])
@pytest.mark.parametrize("hook", ["child", "daemon"])
def test_what_a_plugin_started_ends_with_it(process: PluginProcess, how: str, hook: str) -> None:
    process.start(10)
    # The control: it is there, and stays there while the plugin runs.
    started = call(process, hook)
    time.sleep(0.3)
    assert _runs(started)
    if how in {"exit", "crash"}:
        with pytest.raises(IpcClosed):
            call(process, how)
    else:
        getattr(process, how)()
    eventually(lambda: ended(started), 5)


@pytest.mark.parametrize("hook", ["child", "daemon"])
def test_what_a_plugin_started_ends_with_a_killed_nursery(
    process: PluginProcess, manager: PluginProcessManager, kind: Any, hook: str
) -> None:
    process.start(10)
    started = call(process, hook)
    time.sleep(0.1)
    assert _runs(started)
    kill(manager._nurseries[kind].pid)
    eventually(lambda: ended(started), 5)
    # Another nursery has another mark: its own are left alone.
    eventually(lambda: process.state is ProcessState.RUNNING)
    again = call(process, hook)
    time.sleep(0.3)
    assert _runs(again)


def test_what_one_plugin_let_go_of_ends_before_the_plugin_next_to_it(
    process: PluginProcess, manager: PluginProcessManager, file: PluginFile, kind: Any
) -> None:
    other = make(manager, file, kind, "other")
    other.start(10)
    process.start(10)
    daemon, others = call(process, "daemon"), call(other, "child")
    process.stop()
    eventually(lambda: ended(daemon), 5)
    assert _runs(others)
    assert other.health_check()
    manager.discard(other)
    eventually(lambda: other.pid is None)
    other.closes()  # type: ignore[attr-defined]


def test_a_worker_and_its_nursery_outlive_the_thread_that_started_them(
    process: PluginProcess, manager: PluginProcessManager, kind: Any
) -> None:
    thread = threading.Thread(target=process.start, args=(10,))
    thread.start()
    thread.join()
    nursery, first = manager._nurseries[kind].pid, process.pid
    # The kernel would tell of the thread's end at once.
    time.sleep(0.3)
    assert (process.state, process.pid) == (ProcessState.RUNNING, first)
    assert process.health_check()
    thread = threading.Thread(target=process.restart)
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert process.health_check()
    assert manager._nurseries[kind].pid == nursery
    assert process.status().ends[0].reason is not EndReason.SIGNAL


def test_a_fork_of_the_host_has_no_part_in_them(
    process: PluginProcess, manager: PluginProcessManager
) -> None:
    process.start(10)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            process.channel.call(1, b"\xc0", timeout=5)
        except IpcClosed as err:
            said = str(err)
        finally:
            with contextlib.suppress(BaseException):
                # The end of the fork's own manager ends nobody either.
                manager.close()
            os.write(writer, said.encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert "belongs to the process that this one was forked from" in answer.read()
    assert process.state is ProcessState.RUNNING
    assert process.health_check()
    before = process.pid
    process.restart()
    assert process.pid != before


_HOST = """
import sys, time
sys.path.insert(0, {tests!r})
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcessManager
from process.test_nothing_left import make
from process.test_runaways import call
manager = PluginProcessManager()
process = make(manager, PluginFile.open({path!r}), {kind!r}, "runaway")
process.start(20)
pids = [process.pid, call(process, "child"), call(process, "daemon")]
print(manager._nurseries[{kind!r}].pid, *pids, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["host", "worker"])
def test_daemons_end_with_a_killed_host_or_worker(file: PluginFile, kind: Any, victim: str) -> None:
    text = _HOST.format(tests=str(Path(__file__).parents[1]), path=str(file.path), kind=kind)
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    nursery, worker, *let_go = map(int, host.stdout.readline().split())
    assert all(map(_runs, [nursery, worker, *let_go]))
    kill(host.pid if victim == "host" else worker)
    try:
        gone = [nursery, worker, *let_go] if victim == "host" else [worker, *let_go]
        eventually(lambda: not any(map(_runs, gone)), 5)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    eventually(lambda: not _runs(nursery), 5)
    eventually(lambda: not descendants())
