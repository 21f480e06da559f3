"""Python plugins in processes of their own: what they see, and what the host sees of them."""

from __future__ import annotations

import ast
import logging
import os

import pytest

from pluginapi import ContextKey, PluginRegistry
from pluginapi.errors import (
    HookError,
    HookTypeError,
    InitializationError,
    IpcClosed,
    LoadError,
    NotFound,
    PluginProcessError,
    PluginTimeout,
    ShutdownError,
)
from pluginapi.process import EndReason, PluginProcessManager, ProcessState
from process.conftest import eventually
from support import Forge

SHOUT = """
def init(self, context):
    self.context = context
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    return text.upper() + "!"
"""


@pytest.mark.vm
async def test_a_plugin_runs_in_a_process_of_its_own(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    path = forge.plugin(
        "acme.shout",
        """
def register_hooks(self, hooks):
    hooks.register("shout", 200, lambda text: f"{text} {os.getpid()} {os.getppid()}")
""",
        top_level="import os",
    )
    name = await registry.load_plugin(path, isolation="process")
    process = manager.get(name)
    assert process is not None
    text, pid, parent = (await registry.hooks.execute("shout", "hello")).split()
    assert text == "hello"
    assert int(pid) == process.pid != os.getpid()
    assert int(parent) != os.getpid()
    assert process.status().state is ProcessState.RUNNING
    assert process.uptime > 0
    assert process.health_check()
    assert process.metrics()["cpu_ns"] >= 0
    assert (registry.get_plugin_metrics(name).heap_bytes or 0) > 0
    await registry.unload_plugin(name)
    assert process.status().state is ProcessState.STOPPED
    end = process.last_end
    assert end is not None
    assert (end.reason, end.exit_code, end.signal) == (EndReason.MANUAL, 0, None)
    assert await registry.hooks.execute("shout", "hello") == "hello"
    with pytest.raises(NotFound):
        registry.get_plugin_metrics(name)


async def test_sync_and_async_handlers_serve(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin(
        "acme.both",
        """
async def init(self, context):
    self.ready = asyncio.Event()
    self.loop = asyncio.get_running_loop()
    self.ready.set()
def register_hooks(self, hooks):
    hooks.register("shout", 100, self.plain)
    hooks.on("shout", priority=300)(self.waiting)
def plain(self, text):
    return text + "1"
async def waiting(self, text):
    await self.ready.wait()
    await asyncio.sleep(0.001)
    assert asyncio.get_running_loop() is self.loop
    return text + "2"
async def shutdown(self):
    assert asyncio.get_running_loop() is self.loop
""",
    )
    name = await registry.load_plugin(path, isolation="process")
    assert await registry.hooks.execute("shout", "x") == "x12"
    await registry.unload_plugin(name)


async def test_nothing_of_the_host_is_inherited(
    forge: Forge, registry: PluginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "hunter2")
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    path = forge.plugin(
        "acme.spy",
        """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.look)
def look(self, text):
    fds = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                 if os.path.lexists(f"/proc/self/fd/{fd}"))
    with open("/proc/self/environ", "rb") as file:
        environ = file.read().decode()
    return repr([fds, environ, dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid()])
""",
        top_level="import os",
    )
    try:
        await registry.load_plugin(path, isolation="process")
        found = await registry.hooks.execute("shout", "")
    finally:
        os.close(secret)
    fds, environ, variables, directory, leads = ast.literal_eval(found)
    assert "/etc/hostname" not in fds
    # The channel, its memory is mapped, not open; nothing, and where its output goes.
    assert [what.partition(":")[0] for what in fds if not what.startswith("/proc/")] == [
        "/dev/null",
        "pipe",
        "pipe",
        "socket",
    ]
    assert "hunter2" not in environ + repr(variables)
    assert set(variables) <= {"PATH", "LC_ALL", "PYTHONUTF8", "PLUGINAPI_NURSERY"}
    assert (directory, leads) == ("/", True)
    await registry.unload_all()


async def test_siblings_draw_different_random_numbers(
    forge: Forge, registry: PluginRegistry
) -> None:
    for name in ("acme.a", "acme.b"):
        path = forge.plugin(
            name,
            """
def register_hooks(self, hooks):
    hooks.register("shout", 200, lambda text: f"{text} {random.random()}")
""",
            top_level="import random",
        )
        await registry.load_plugin(path, isolation="process")
    first, second = (await registry.hooks.execute("shout", "")).split()
    assert first != second
    await registry.unload_all()


async def test_context_crosses(forge: Forge, registry: PluginRegistry) -> None:
    registry.context.set(ContextKey("acme.tenant", str), "blue")
    registry.context.set(ContextKey("acme.count", int), 1)
    registry.context.set(ContextKey("acme.hidden", str), "secret")
    path = forge.plugin(
        "acme.context",
        """
def init(self, context):
    self.context = context
    self.first = context.get(ContextKey.Configuration)["mode"]
    context.set(ContextKey("acme.count", int), 5)
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    tenant, count = ContextKey("acme.tenant", str), ContextKey("acme.count", int)
    context = self.context
    context.set(count, context.get(count) + 1)
    hidden = context.get(ContextKey("acme.hidden", str), None), context.has("acme.hidden")
    try:
        context.set(tenant, "red")
    except Exception as err:
        refused = err.code
    return repr((self.first, context.get(tenant), context.get(count), hidden, refused))
""",
        top_level="from pluginapi import ContextKey",
        extra="requirements=PluginRequirements(context_read=('acme.tenant', 'acme.count'), "
        "context_write=('acme.count',)),",
    )
    registry.configs["acme.context"] = {"mode": "fast"}
    await registry.load_plugin(path, isolation="process")
    assert registry.context.get(ContextKey("acme.count", int)) == 5
    found = await registry.hooks.execute("shout", "")
    assert ast.literal_eval(found) == ("fast", "blue", 6, (None, False), "context.read_only")
    assert registry.context.get(ContextKey("acme.count", int)) == 6
    assert registry.context.get(ContextKey("acme.tenant", str)) == "blue"
    await registry.unload_all()


async def test_what_it_prints_and_logs_is_the_hosts_to_read(
    forge: Forge, registry: PluginRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = forge.plugin(
        "acme.loud",
        """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    print("printed\\x1b[2J")
    print("complained", file=sys.stderr)
    logging.getLogger("acme.inner").warning("logged %s", 1)
    os.write(1, b"raw\\n")
    return text
""",
        top_level="import logging, os, sys",
    )
    await registry.load_plugin(path, isolation="process")
    await registry.hooks.execute("shout", "x")
    wanted = {"printed\\x1b[2J", "complained", "logged 1", "raw"}
    lines = eventually(
        lambda: wanted <= {r.getMessage() for r in caplog.records} and caplog.records
    )
    for line in lines:
        if line.getMessage() in wanted:
            assert vars(line)["plugin"] == "acme.loud"
            assert line.name == "pluginapi.plugin.acme.loud"
    await registry.unload_all()


@pytest.mark.parametrize(
    ("methods", "top_level", "error", "code", "text"),
    [
        ("", "raise ValueError('no')", LoadError, "load.execution_failed", "ValueError: no"),
        (
            "def init(self, context):\n    1 / 0",
            "",
            InitializationError,
            "lifecycle.init_failed",
            "init of the plugin acme.bad failed: ZeroDivisionError",
        ),
        (
            "async def register_hooks(self, hooks):\n    1 / 0",
            "",
            InitializationError,
            "lifecycle.init_failed",
            "register_hooks of the plugin acme.bad failed: ZeroDivisionError",
        ),
        (
            "def init(self, context):\n    os._exit(3)",
            "import os",
            PluginProcessError,
            "process.ended",
            "exited with 3",
        ),
        (
            "def init(self, context):\n    os.kill(os.getpid(), 11)",
            "import os",
            PluginProcessError,
            "process.ended",
            "ended by SIGSEGV",
        ),
    ],
)
async def test_a_failed_load_leaves_nothing(  # noqa: PLR0917 - parameters
    forge: Forge,
    registry: PluginRegistry,
    manager: PluginProcessManager,
    methods: str,
    top_level: str,
    error: type[Exception],
    code: str,
    text: str,
) -> None:
    path = forge.plugin("acme.bad", methods, top_level=top_level)
    with pytest.raises(error, match=text) as raised:
        await registry.load_plugin(path, isolation="process")
    assert raised.value.code == code  # type: ignore[attr-defined]
    assert manager.processes() == ()
    assert not registry.is_loaded("acme.bad")


async def test_a_hanging_init_is_ended(forge: Forge, manager: PluginProcessManager) -> None:
    registry = forge.registry(init_timeout=0.5)
    registry.loader._processes = manager
    path = forge.plugin("acme.slow", "def init(self, context):\n    time.sleep(60)")
    with pytest.raises(PluginTimeout):
        await registry.load_plugin(path, isolation="process")
    assert manager.processes() == ()


async def test_failures_of_handlers_and_shutdown_arrive(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    path = forge.plugin(
        "acme.bad",
        """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    raise KeyError(text)
def shutdown(self):
    raise ValueError("the queue is not empty")
""",
    )
    name = await registry.load_plugin(path, isolation="process")
    with pytest.raises(HookError, match="lost"):
        await registry.hooks.execute("shout", "lost")
    process = manager.get(name)
    assert process is not None
    assert process.status().state is ProcessState.RUNNING
    with pytest.raises(ShutdownError, match="the queue is not empty"):
        await registry.unload_plugin(name)
    assert process.state is ProcessState.STOPPED


async def test_a_crash_is_the_plugins_alone(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    path = forge.plugin(
        "acme.crash",
        """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    if text == "die":
        os._exit(9)
    return text + "!"
""",
        top_level="import os",
    )
    name = await registry.load_plugin(path, isolation="process")
    process = manager.get(name)
    assert process is not None
    first = process.pid
    with pytest.raises(IpcClosed):
        await registry.hooks.execute("shout", "die")
    eventually(lambda: process.state is ProcessState.RUNNING and process.pid != first)
    assert await registry.hooks.execute("shout", "again") == "again!"
    end = process.last_end
    assert end is not None
    assert (end.reason, end.exit_code) == (EndReason.EXIT, 9)
    assert process.status().restarts == 1
    await registry.unload_all()


REMOVALS = """
def init(self, context):
    self.context = context
def register_hooks(self, hooks):
    hooks.register("shout", 200, getattr(self, type(self).handler))
def removes(self, text):
    context, found = self.context, []
    note = lambda: found.append((context.get(COUNT, None), context.has(COUNT)))
    note()
    context.set(COUNT, 2)
    note()
    context.remove(COUNT)
    note()
    try:
        context.get(COUNT)
    except KeyError as err:
        found.append("KeyError")
    except Exception as err:
        found.append(err.code)
    try:
        context.remove(COUNT)
    except Exception as err:
        found.append(err.code)
    context.set(COUNT, 3)
    note()
    if text == "end removed":
        context.remove(COUNT)
        note()
    return repr(found)
"""


@pytest.mark.parametrize("pushed", [True, False])
async def test_what_a_handler_removed_is_gone_for_it(
    forge: Forge, registry: PluginRegistry, pushed: bool
) -> None:
    count = ContextKey("acme.count", int)
    registry.context.set(count, 1)
    reads = "('acme.count',)" if pushed else "()"
    path = forge.plugin(
        "acme.removes",
        REMOVALS,
        top_level="from pluginapi import ContextKey\nCOUNT = ContextKey('acme.count', int)\n",
        extra=f"requirements=PluginRequirements(context_read={reads}, "
        "context_write=('acme.count',)),",
    )
    path.write_text(path.read_text().replace("made = True", "handler = 'removes'"))
    forge.sign(path)
    forge.trust(path)
    await registry.load_plugin(path, isolation="process")
    # A key that it may write alone cannot be read, so neither can it be told to be there.
    first = (1, True) if pushed else (None, False)
    expected = [
        first,
        (2, True),
        (None, False),
        "context.key_not_found",
        "context.key_not_found",
        (3, True),
    ]
    found = ast.literal_eval(await registry.hooks.execute("shout", ""))
    assert found == expected
    assert registry.context.get(count) == 3
    if pushed:
        found = ast.literal_eval(await registry.hooks.execute("shout", "end removed"))
        assert found[-1] == (None, False)
        assert not registry.context.has(count)
        registry.context.set(count, 1)
        assert ast.literal_eval(await registry.hooks.execute("shout", "")) == expected
    await registry.unload_all()


async def test_a_task_that_outlives_its_call_sees_the_host(
    forge: Forge, registry: PluginRegistry
) -> None:
    count, seen = ContextKey("acme.count", int), ContextKey("acme.seen", list)
    registry.context.set(count, 1)
    registry.context.set(seen, [])
    path = forge.plugin(
        "acme.late",
        """
def init(self, context):
    self.context = context
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
    hooks.register("whisper", 200, self.whisper)
async def shout(self, text):
    self.context.remove(COUNT)
    self.inside = [self.context.has(COUNT)]
    self.task = asyncio.ensure_future(self.later())
    await asyncio.sleep(0)
    return text
async def later(self):
    self.inside.append(self.context.has(COUNT))
    await asyncio.sleep(0.05)
    self.inside.append(self.context.get(COUNT, None))
async def whisper(self, text):
    await self.task
    self.context.set(SEEN, self.inside)
    return text
""",
        top_level="from pluginapi import ContextKey\n"
        "COUNT = ContextKey('acme.count', int)\nSEEN = ContextKey('acme.seen', list)\n",
        extra="requirements=PluginRequirements(context_read=('acme.count',), "
        "context_write=('acme.count', 'acme.seen')),",
    )
    await registry.load_plugin(path, isolation="process")
    await registry.hooks.execute("shout", "x")
    assert not registry.context.has(count)
    registry.context.set(count, 9)
    await registry.hooks.execute("whisper", "x")
    # Gone while the call ran, in its task too; afterwards the host's answer counts.
    assert registry.context.get(seen) == [False, False, 9]
    await registry.unload_all()


async def test_a_handler_that_does_not_fit_is_refused_at_load(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    methods = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text: {taken}) -> {returned}:
    return text
"""
    for taken, returned, line in (
        ("int", "str", "value: it is str, not int"),
        ("Shouted", "str", "value: the handler expects  {loud: bool}"),
        ("str", "bytes", "result: it is bytes, not str"),
    ):
        path = forge.plugin(
            "acme.misfit",
            methods.format(taken=taken, returned=returned),
            top_level="import msgspec\nclass Shouted(msgspec.Struct):\n    loud: bool\n",
        )
        with pytest.raises(HookTypeError) as refused:
            await registry.load_plugin(path, isolation="process")
        assert refused.value.code == "hook.mismatch"
        assert refused.value.plugin == "acme.misfit"
        assert "does not fit the hook shout of the host" in str(refused.value)
        assert line in str(refused.value)
        assert manager.processes() == ()
    for taken, returned in (("str", "str"), ("object", "object"), ("str", "str | None")):
        path = forge.plugin("acme.misfit", methods.format(taken=taken, returned=returned))
        name = await registry.load_plugin(path, isolation="process")
        assert await registry.hooks.execute("shout", "x") == "x"
        await registry.unload_plugin(name)
    plain = methods.replace(": {taken}", "").replace(" -> {returned}", "")
    await registry.load_plugin(forge.plugin("acme.misfit", plain), isolation="process")
    assert await registry.hooks.execute("shout", "x") == "x"
    await registry.unload_all()
