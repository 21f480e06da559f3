"""Plugins in sandboxes: they work as elsewhere, and see nothing but what they are shown."""

from __future__ import annotations

import ast
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pluginapi import PluginRegistry
from pluginapi.errors import IpcClosed, SandboxError
from pluginapi.plugin_file import PluginFile
from pluginapi.process import EndReason, PluginProcess, PluginProcessManager, ProcessSettings
from pluginapi.sandbox.config import FilesystemConfig, SandboxConfig
from pluginapi.sandbox.seccomp import SeccompMode
from process.conftest import (  # noqa: F401 - fixtures
    eventually,
    forge,
    nothing_left,
    probe,
    registry,
    settings,
)
from support import Forge

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="the registry's sandbox is root's here")

SPY = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.look)
def look(self, text):
    return repr(eval(text))
"""
IMPORTS = "import os, random, socket, signal, subprocess, sys, threading, uuid, pathlib"


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxConfig:
    return SandboxConfig()


@pytest.fixture
def manager(
    nothing_left: None,  # noqa: F811
    settings: ProcessSettings,  # noqa: F811
    sandbox: SandboxConfig,
) -> Iterator[PluginProcessManager]:
    with PluginProcessManager(settings, sandbox=sandbox) as made:
        yield made


class Spy:
    """A plugin that evaluates what it is asked."""

    def __init__(self, registry: PluginRegistry, process: PluginProcess) -> None:  # noqa: F811
        self.registry = registry
        self.process = process

    async def __call__(self, expression: str) -> Any:
        return ast.literal_eval(await self.registry.hooks.execute("shout", expression))


async def start_spy(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
    name: str = "acme.spy",
) -> Spy:
    path = forge.plugin(name, SPY, top_level=IMPORTS)
    process = manager.get(await registry.load_plugin(path, isolation="process"))
    assert process is not None
    return Spy(registry, process)


@pytest.fixture
async def spy(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
) -> AsyncIterator[Spy]:
    yield await start_spy(forge, registry, manager)
    await registry.unload_all()


async def test_a_python_plugin_sees_what_it_is_shown(spy: Spy) -> None:
    assert await spy("os.getpid()") == 2
    assert await spy("sorted(os.listdir('/proc'))") == ["1", "2", "self", "thread-self"]
    assert await spy("os.path.exists('/sys') or os.path.exists('/var')") is False
    assert await spy("sorted(os.listdir('/dev'))") == sorted(
        ["fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero"]
    )
    assert await spy("socket.gethostname()") == "plugin"
    uid = await spy("os.getuid()")
    assert uid == spy.process.report().users[0] >= 0x5041_0000
    assert await spy("open('/tmp/a', 'w').write('hello')") == 5
    assert await spy("open('/tmp/a').read()") == "hello"
    assert not Path("/tmp/a").exists()


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd').read()",
        "open('/usr/new', 'w')",
        "socket.socket()",
        "subprocess.run(['/bin/true'])",
        "os.kill(1, 9) or os.kill(-1, 9)",
        "os.setuid(0)",
        "os.mkdir('/new')",
    ],
)
async def test_what_a_plugin_may_not_do_fails_and_it_goes_on(spy: Spy, attempt: str) -> None:
    with pytest.raises(Exception, match="Errno"):
        await spy(attempt)
    assert await spy("1 + 1") == 2


@pytest.mark.vm
async def test_what_is_reported_is_what_the_kernel_says(spy: Spy) -> None:
    report = spy.process.report()
    assert report.pid == spy.process.pid
    assert report.pid_in_namespace == 2
    assert {kind for kind, own in report.namespaces.items() if own} == {
        *("pid", "net", "mnt", "ipc", "uts")
    }
    assert not any(report.capabilities.names().values())
    assert report.no_new_privs
    assert (report.seccomp, report.seccomp_filters) == ("filter", 1)
    assert report.limits["Max core file size"] == 1
    # The plugin's own limit, 4, is less than the sandbox's: and its worker.
    assert report.cgroup["pids_limit"] == 5
    assert report.cgroup["memory_limit_bytes"] == 256 << 20
    assert report.landlock
    assert ("/", "tmpfs") in {(path, kind) for path, kind, _ in report.mounts}
    assert all("ro" in options.split(",") for path, _, options in report.mounts if path == "/usr")
    assert any("seccomp" in line for line in report.lines())
    assert report.to_dict()["pid"] == report.pid


async def test_siblings_are_other_users_and_draw_other_numbers(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
    spy: Spy,
) -> None:
    first = [await spy("os.getuid()"), await spy("random.random()"), await spy("uuid.uuid4().hex")]
    await registry.unload_plugin("acme.spy")
    other = await start_spy(forge, registry, manager, "acme.other")
    second = [
        await other("os.getuid()"),
        await other("random.random()"),
        await other("uuid.uuid4().hex"),
    ]
    assert not set(map(str, first)) & set(map(str, second))


async def test_a_hostile_call_ends_the_plugin_alone(spy: Spy) -> None:
    reboot = "__import__('ctypes').CDLL(None).reboot(0)"
    with pytest.raises(IpcClosed):
        await spy(reboot)
    end = eventually(lambda: spy.process.last_end)
    assert end.reason is EndReason.SIGNAL
    assert end.signal == 31  # SIGSYS


@pytest.mark.vm
async def test_memory_beyond_the_bound_ends_the_plugin(spy: Spy) -> None:
    assert await spy("len(bytearray(50 << 20))") == 50 << 20
    with pytest.raises(IpcClosed):
        await spy("len(bytearray(b'x' * (400 << 20)))")
    end = eventually(lambda: spy.process.last_end)
    assert end.reason is EndReason.OUT_OF_MEMORY


async def test_threads_beyond_the_bound_are_refused(spy: Spy) -> None:
    wait = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    threads = f"len([{wait} for _ in range({{}})])"
    assert await spy(threads.format(4)) == 4
    with pytest.raises(Exception, match="can't start new thread"):
        await spy(threads.format(100))


async def test_processes_that_hide_end_with_the_plugin(spy: Spy) -> None:
    group = spy.process._worker.confinement.cgroup  # type: ignore[union-attr]
    assert group is not None
    # A child that has a session of its own and ignores what it can.
    wait = "(signal.signal(15, signal.SIG_IGN), threading.Event().wait())"
    hide = f"(lambda pid: pid or {wait})(os.fork())"
    assert await spy(hide) > 2
    assert len(group.processes()) == 2
    spy.process.kill()
    eventually(lambda: not group.processes())
    eventually(lambda: not any(each.exists() for each in group.directories))


@pytest.mark.vm
async def test_a_native_plugin(
    probe: PluginFile,  # noqa: F811
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
) -> None:
    forge.sign(probe.path)
    forge.trust(probe.path)
    name = await registry.load_plugin(probe.path, isolation="process")
    process = manager.get(name)
    assert process is not None
    report = process.report()
    assert report.pid_in_namespace == 2
    # The one that it was started under, and the one of its mode.
    assert (report.seccomp, report.seccomp_filters) == ("filter", 2)
    assert not any(report.capabilities.names().values())
    assert process.health_check()
    await registry.unload_plugin(name)
    assert process.last_end is not None
    assert process.last_end.exit_code == 0


@pytest.mark.parametrize("mode", [SeccompMode.BASIC, SeccompMode.MODERATE, SeccompMode.PERMISSIVE])
async def test_the_modes_of_both_workers(
    probe: PluginFile,  # noqa: F811
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
    mode: SeccompMode,
) -> None:
    forge.sign(probe.path)
    forge.trust(probe.path)
    manager.sandbox = SandboxConfig(seccomp=mode)
    await registry.load_plugin(probe.path, isolation="process")
    spy = await start_spy(forge, registry, manager)
    assert await spy("1 + 1") == 2
    await registry.unload_all()


async def test_a_strict_plugin_computes_and_answers(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
) -> None:
    manager.sandbox = SandboxConfig(seccomp=SeccompMode.STRICT)
    spy = await start_spy(forge, registry, manager)
    assert await spy("sum(range(100))") == 4950
    # The one that it joined under, and the strict one.
    assert spy.process.report().seccomp_filters == 2
    for attempt in ("open('/usr/bin/env')", "os.pipe()", "threading.Thread(target=id).start()"):
        with pytest.raises(Exception, match=r"Errno|start new thread"):
            await spy(attempt)
    await registry.unload_all()


async def strict_probe(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
    probe: PluginFile,  # noqa: F811
) -> PluginProcess:
    forge.sign(probe.path)
    forge.trust(probe.path)
    manager.sandbox = SandboxConfig(seccomp=SeccompMode.STRICT)
    for hook in ("echo", "alloc", "big", "thread", "log", "crowd"):
        registry.hooks.define(hook, Any, Any)
    process = manager.get(await registry.load_plugin(probe.path, isolation="process"))
    assert process is not None
    return process


@pytest.mark.vm
async def test_a_strict_native_plugin_reads_writes_and_ends(
    probe: PluginFile,  # noqa: F811
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = await strict_probe(forge, registry, manager, probe)
    assert process.report().seccomp_filters == 2
    with caplog.at_level("INFO"):
        await registry.hooks.execute("log", [20, "from the strict one"])
    eventually(lambda: "from the strict one" in caplog.text)
    for size in (0, 1, 2031, 2032, 2033, 16_384, 65_536, 1 << 20, 8 << 20):
        value = os.urandom(size)
        assert await registry.hooks.execute("echo", value) == value
    assert await registry.hooks.execute("big", 3_000_000) == b"x" * 3_000_000
    # Within its limit, of 64 KiB, and over it; what it gave back is there again.
    for _ in range(3):
        assert await registry.hooks.execute("alloc", [50_000, 64]) is True
        assert await registry.hooks.execute("alloc", [70_000, 64]) is False
    assert process.health_check()
    await registry.unload_all()
    assert process.last_end is not None
    assert (process.last_end.reason, process.last_end.exit_code) == (EndReason.MANUAL, 0)


@pytest.mark.parametrize("hook", ["crowd", "thread"])  # It sleeps; it starts a thread.
async def test_a_strict_native_plugin_that_does_anything_else_is_ended(
    probe: PluginFile,  # noqa: F811
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    manager: PluginProcessManager,
    hook: str,
) -> None:
    process = await strict_probe(forge, registry, manager, probe)
    with pytest.raises(IpcClosed):
        await registry.hooks.execute(hook, 1)
    end = eventually(lambda: process.last_end)
    assert (end.reason, end.signal) == (EndReason.SIGNAL, 31)  # SIGSYS
    await registry.unload_all()
    # Where it may, it goes on.
    manager.sandbox = SandboxConfig(seccomp=SeccompMode.BASIC)
    await registry.load_plugin(probe.path, isolation="process")
    assert isinstance(await registry.hooks.execute(hook, 1), int)
    await registry.unload_all()


async def test_spares_are_confined(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    nothing_left: None,  # noqa: F811
    settings: ProcessSettings,  # noqa: F811
) -> None:
    spares = replace(settings, spares=1)
    with PluginProcessManager(spares, sandbox=SandboxConfig()) as manager:
        registry.loader._processes = manager
        manager.prepare()
        waiting = manager._spares[0]
        spy = await start_spy(forge, registry, manager)
        assert spy.process.pid == waiting.pid
        assert spy.process.report().seccomp == "filter"
        assert await spy("os.getpid()") == 2
        await registry.unload_all()


async def test_a_layer_that_cannot_be_had_is_an_error_and_nothing_runs(
    forge: Forge,  # noqa: F811
    registry: PluginRegistry,  # noqa: F811
    nothing_left: None,  # noqa: F811
    settings: ProcessSettings,  # noqa: F811
    tmp_path: Path,
) -> None:
    missing = SandboxConfig(filesystem=FilesystemConfig(read_only_paths=("/no/such/path",)))
    with PluginProcessManager(settings, sandbox=missing) as manager:
        registry.loader._processes = manager
        ran = tmp_path / "ran"
        path = forge.plugin("acme.ran", "", top_level=f"open({str(ran)!r}, 'w')")
        with pytest.raises(SandboxError) as caught:
            await registry.load_plugin(path, isolation="process")
        assert caught.value.code == "sandbox.path"
        assert "/no/such/path" in caught.value.message
        assert not ran.exists()
        control = forge.plugin("acme.control", "", top_level=f"open({str(ran)!r}, 'w')")
        # The same plugin runs where nothing confines it.
        manager.sandbox = None
        await registry.load_plugin(control, isolation="process")
        assert ran.exists()
        await registry.unload_all()
