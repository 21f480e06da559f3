"""Limits that hold by themselves: the kernel's, and what is seen within milliseconds."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pluginapi import PluginRegistry, ResourceLimits, Violation, ViolationType
from pluginapi.errors import HookError, PluginError
from pluginapi.process import (
    EndReason,
    PluginProcess,
    PluginProcessManager,
    ProcessSettings,
    ProcessState,
)
from pluginapi.sandbox.cgroups import CgroupConfig
from pluginapi.sandbox.cgroups.hierarchy import read_layout
from pluginapi.sandbox.config import FilesystemConfig, SandboxConfig
from process.conftest import SLOWER
from support import Forge

MIB = 1 << 20
LIMITS = ResourceLimits(
    max_heap_bytes=32 * MIB,
    # The processor of the virtual machine is emulated.
    max_cpu_time_ms=100 * SLOWER,
    max_threads=3,
    max_file_descriptors=20,
    max_connections=5,
)
DOER = """
def register_hooks(self, hooks):
    self.kept = []
    hooks.register("shout", 200, self.do)
def do(self, line):
    space = {**globals(), "kept": self.kept}
    exec(line, space)
    return str(space.get("answer", "done"))
"""
ASYNC = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.do)
async def do(self, line):
    spent = 0
    while spent < 0.07:
        began = time.process_time()
        sum(range(20000))
        spent += time.process_time() - began
        await asyncio.sleep(0.001)
    return line
"""
IMPORTS = "import asyncio, os, threading, time"
READ = """
with open({!r}, "rb") as file:
    while file.read(1 << 20):
        pass
"""
SPIN = "until = time.process_time() + {}\nwhile time.process_time() < until: pass"


@pytest.fixture
def shared() -> Iterator[Path]:
    """Make a directory that sandboxes show; below /tmp they have files of their own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pluginapi-") as directory:
        made = Path(directory)
        made.chmod(0o755)
        yield made


@pytest.fixture
def sandbox(request: pytest.FixtureRequest, shared: Path) -> SandboxConfig | None:
    if getattr(request, "param", "none") == "none":
        return None
    if os.getuid() != 0:
        pytest.skip("the registry's sandbox is root's here")
    return SandboxConfig(
        cgroup=CgroupConfig(memory_limit_bytes=128 * MIB, pids_limit=64),
        filesystem=FilesystemConfig(read_only_paths=(str(shared),)),
    )


@pytest.fixture
def manager(
    nothing_left: None, settings: ProcessSettings, sandbox: SandboxConfig | None
) -> Iterator[PluginProcessManager]:
    with PluginProcessManager(settings, sandbox=sandbox) as made:
        yield made


def may_set_limits() -> bool:
    """Tell whether this process has CAP_SYS_RESOURCE, number 24."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    (effective,) = (line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 24 & 1)


class Doer:
    """A plugin that does what it is told, and the violations that were seen of it."""

    def __init__(self, registry: PluginRegistry, name: str, process: PluginProcess) -> None:
        self.registry = registry
        self.name = name
        self.process = process

    async def do(self, line: str) -> str:
        return str(await self.registry.hooks.execute("shout", line))

    def violations(self, kind: ViolationType) -> list[Violation]:
        return [each for each in self.registry.get_violations(self.name) if each.type is kind]

    async def seen(self, kind: ViolationType, count: int = 1) -> list[Violation]:
        deadline = time.monotonic() + 10 * SLOWER
        while len(self.violations(kind)) < count and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return self.violations(kind)


async def load(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager, methods: str = DOER
) -> Doer:
    values = ", ".join(f"{name}={value}" for name, value in LIMITS.to_dict().items())
    extra = f"resource_limits=ResourceLimits({values}),"
    path = forge.plugin("acme.doer", methods, top_level=IMPORTS, extra=extra)
    name = await registry.load_plugin(path, isolation="process")
    process = manager.get(name)
    assert process is not None
    return Doer(registry, name, process)


@pytest.fixture
async def doer(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> AsyncIterator[Doer]:
    yield await load(forge, registry, manager)
    await registry.unload_all()


async def test_descriptors_end_exactly_at_the_limit(doer: Doer) -> None:
    await doer.do("kept += [open('/dev/null') for _ in range(20)]")
    assert doer.registry.get_plugin_metrics(doer.name).fd_count == 20
    with pytest.raises(HookError, match="Too many open files"):
        await doer.do("kept.append(open('/dev/null'))")
    await doer.do("kept.pop()")
    await doer.do("kept.append(open('/dev/null'))")
    # Held is not violated.
    assert doer.registry.get_violation_count(doer.name) == 0


@pytest.mark.parametrize("most", [0, 1, 4])
async def test_a_plugin_that_may_have_next_to_none_can_be_loaded(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager, most: int
) -> None:
    """And import modules; what it keeps open above its limit is a violation."""
    del manager
    path = forge.plugin(
        "acme.few",
        DOER,
        top_level=f"{IMPORTS}, json",
        extra=f"resource_limits=ResourceLimits(max_file_descriptors={most}),",
    )
    await registry.load_plugin(path, isolation="process")
    await registry.hooks.execute("shout", "import decimal, sqlite3")
    await registry.hooks.execute("shout", f"kept += [open('/dev/null') for _ in range({most})]")
    registry.measure()
    assert registry.exceeded() == []
    if most < 4:
        await registry.hooks.execute("shout", "kept.append(open('/dev/null'))")
        registry.measure()
        ((_, violation),) = registry.exceeded()
        assert (violation.type, violation.used) == (ViolationType.FILE_DESCRIPTORS, most + 1)
    await registry.unload_all()


@pytest.mark.vm
@pytest.mark.parametrize("sandbox", ["sandbox"], indirect=True)
async def test_threads_end_exactly_at_the_limit(
    doer: Doer, caplog: pytest.LogCaptureFixture
) -> None:
    start = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    for _ in range(3):
        await doer.do(start)
    assert doer.registry.get_plugin_metrics(doer.name).thread_count == 3
    with pytest.raises(HookError, match="can't start new thread"):
        await doer.do(start)
    with pytest.raises(HookError, match="unavailable"):
        await doer.do("os.fork() or os._exit(0)")
    assert await doer.do("answer = 'well'") == "well"
    # The limit was kept: no violation, but it can be seen.
    metrics = doer.registry.get_plugin_metrics(doer.name)
    assert (metrics.thread_refusals, metrics.violation_count) == (2, 0)
    if read_layout().of("pids").version == 2:
        told = "acme.doer was refused a thread or process"
        deadline = time.monotonic() + 10 * SLOWER
        while told not in caplog.text and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert told in caplog.text


async def test_memory_ends_in_an_error_that_the_plugin_survives(doer: Doer) -> None:
    """Above the limit there is room for stacks of threads; what is beyond that is refused."""
    with pytest.raises(HookError, match=r"^$|MemoryError"):
        await doer.do("kept.append(bytearray(256 << 20))")
    assert await doer.do("answer = 'well'") == "well"


@pytest.mark.vm
@pytest.mark.parametrize("sandbox", ["sandbox"], indirect=True)
async def test_memory_above_the_limit_is_told_at_once(doer: Doer) -> None:
    """No monitor looks."""
    await doer.do("kept.append(bytearray(20 << 20))")
    await asyncio.sleep(0.05)
    assert doer.violations(ViolationType.HEAP_MEMORY) == []
    await doer.do("kept.append(bytearray(20 << 20))")
    (violation,) = await doer.seen(ViolationType.HEAP_MEMORY)
    assert violation.source == "memory-event"
    assert violation.limit == 32 * MIB < violation.used < 64 * MIB
    # Once, however far it goes on.
    await doer.do("kept.append(bytearray(20 << 20))")
    assert len(doer.violations(ViolationType.HEAP_MEMORY)) == 1
    # And again when it was well below in between, which is looked for once a second.
    await doer.do("kept.clear()")
    await asyncio.sleep(1.5 * SLOWER)
    await doer.do("kept.append(bytearray(40 << 20))")
    assert len(await doer.seen(ViolationType.HEAP_MEMORY, 2)) == 2


@pytest.mark.parametrize("sandbox", ["sandbox"], indirect=True)
async def test_files_that_the_kernel_keeps_are_not_the_plugins(doer: Doer, shared: Path) -> None:
    """The control is what the group is charged with. And what is the plugin's is told after it."""
    path = shared / "large"
    with path.open("wb") as file:
        file.write(bytes(40 * MIB))
        os.fsync(file.fileno())
        # Whoever reads it is charged with it then.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    path.chmod(0o644)
    assert doer.process._worker is not None
    confinement = doer.process._worker.confinement
    assert confinement is not None
    assert confinement.cgroup is not None
    before = confinement.cgroup.usage().memory_bytes or 0
    await doer.do(READ.format(str(path)))
    charged = (confinement.cgroup.usage().memory_bytes or 0) - before
    assert charged > 33 * MIB
    await asyncio.sleep(0.1)
    assert doer.violations(ViolationType.HEAP_MEMORY) == []
    assert (doer.registry.get_plugin_metrics(doer.name).heap_bytes or 0) < 10 * MIB
    await doer.do("kept.append(bytearray(36 << 20))")
    (violation,) = await doer.seen(ViolationType.HEAP_MEMORY)
    assert violation.source == "memory-event"


async def test_a_call_that_uses_up_its_time_is_told_while_it_runs(doer: Doer) -> None:
    calling = asyncio.create_task(doer.do(SPIN.format(0.35)))
    seen = await doer.seen(ViolationType.CPU_TIME, 3)
    assert not calling.done() or len(seen) == 3
    await calling
    # It goes on, and uses its budget up again and again.
    for number, violation in enumerate(seen[:3], 1):
        assert violation.source == "cpu-clock"
        assert violation.limit == 100
        assert number * 100 < violation.used <= number * 100 + 60 * SLOWER


async def test_calls_that_keep_to_their_time_are_no_violation(doer: Doer) -> None:
    """Ten of them take four times what one may."""
    await asyncio.gather(*(doer.do(SPIN.format(0.04)) for _ in range(10)))
    await asyncio.sleep(0.02)
    assert doer.violations(ViolationType.CPU_TIME) == []


async def test_waiting_is_not_processor_time(doer: Doer) -> None:
    await doer.do("time.sleep(0.3)")
    assert doer.violations(ViolationType.CPU_TIME) == []


async def test_handlers_that_run_at_the_same_time_have_the_budget_each(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    doer = await load(forge, registry, manager, ASYNC)
    await asyncio.gather(*(doer.do("x") for _ in range(4)))
    assert doer.violations(ViolationType.CPU_TIME) == []
    await registry.unload_all()


async def test_a_plugin_that_does_not_stop_is_unmounted(doer: Doer) -> None:
    """By its tenth violation, though it never answers, and nobody looks at an interval."""
    with pytest.raises(PluginError):
        await doer.do("while True: pass")
    deadline = time.monotonic() + 10 * SLOWER
    while doer.registry.is_loaded(doer.name):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    error = doer.registry.get_plugin_info(doer.name).error
    assert error is not None
    assert error.code == "limits.unmounted"
    assert doer.process.state is ProcessState.STOPPED


@pytest.mark.parametrize("sandbox", ["none", "sandbox"], indirect=True)
async def test_what_keeps_the_limits_is_told(doer: Doer, sandbox: SandboxConfig | None) -> None:
    found = {each.resource: each for each in doer.registry.get_limits_in_force(doer.name)}
    assert {kind: each.limit for kind, each in found.items()} == {
        kind: getattr(LIMITS, kind.value) for kind in ViolationType
    }
    mechanisms = {kind: each.mechanism for kind, each in found.items()}
    threads = "monitor" if sandbox is None else "cgroup"
    assert mechanisms == {
        ViolationType.HEAP_MEMORY: "rlimit" if sandbox is None else "cgroup",
        ViolationType.CPU_TIME: "cpu-clock",
        ViolationType.THREADS: threads,
        # Of another user's process, it takes CAP_SYS_RESOURCE to set it.
        ViolationType.FILE_DESCRIPTORS: (
            "rlimit" if sandbox is None or may_set_limits() else "monitor"
        ),
        ViolationType.CONNECTIONS: "monitor",
    }
    assert "RLIMIT_NOFILE" in str(found[ViolationType.FILE_DESCRIPTORS])


async def test_in_the_hosts_process_it_is_told_what_nothing_keeps(
    forge: Forge, registry: PluginRegistry
) -> None:
    name = await registry.load_plugin(forge.plugin("acme.guest", DOER, top_level=IMPORTS))
    found = {each.resource: each.mechanism for each in registry.get_limits_in_force(name)}
    assert found.pop(ViolationType.CPU_TIME) == "hook-clock"
    assert found.pop(ViolationType.HEAP_MEMORY) == "allocator"
    assert set(found.values()) == {"none"}
    await registry.unload_all()


async def test_limits_hold_after_a_restart(doer: Doer) -> None:
    await asyncio.to_thread(doer.process.restart)
    with pytest.raises(HookError, match="Too many open files"):
        await doer.do("kept += [open('/dev/null') for _ in range(21)]")
    calling = asyncio.create_task(doer.do(SPIN.format(0.15)))
    assert await doer.seen(ViolationType.CPU_TIME)
    await calling


async def test_a_plugin_is_told_what_it_uses(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    """Each time anew: three descriptors are opened in between."""
    del manager
    path = forge.plugin(
        "acme.curious",
        """
def init(self, context):
    self.context = context
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.look)
def look(self, text):
    kept = [open("/dev/null") for _ in range(int(text))]
    return str(self.context.get(ContextKey.Resources)["usage"]["max_file_descriptors"])
""",
        top_level="from pluginapi import ContextKey",
    )
    await registry.load_plugin(path, isolation="process")
    assert [await registry.hooks.execute("shout", text) for text in "030"] == ["0", "3", "0"]
    await registry.unload_all()


@pytest.mark.parametrize(("ignores", "signal"), [(False, "SIGTERM"), (True, "SIGKILL")])
async def test_one_that_does_not_shut_down_is_terminated_then_killed(
    forge: Forge,
    registry: PluginRegistry,
    manager: PluginProcessManager,
    ignores: bool,
    signal: str,
) -> None:
    path = forge.plugin(
        "acme.stubborn",
        f"""
def init(self, context):
    if {ignores}:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
def shutdown(self):
    time.sleep(60)
""",
        top_level="import signal, time",
    )
    name = await registry.load_plugin(path, isolation="process")
    process = manager.get(name)
    assert process is not None
    for _ in range(10):
        registry.record_violation(name, Violation.now(ViolationType.THREADS, 9, 4, "test"))
    deadline = time.monotonic() + 20 * SLOWER
    while registry.is_loaded(name):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    end = process.last_end
    assert end is not None
    assert end.reason is EndReason.LIMITS
    assert signal in str(end)
    assert "reached the threshold 10; the last was max_threads: used 9 threads" in end.detail
