"""Nothing is left of plugins that came and went: descriptors, threads, modules, memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest

from native_build import compile_plugin
from pluginapi import PluginError, PluginRegistry
from pluginapi.context import ContextKey, PluginContext
from pluginapi.hooks import ErrorPolicy, Hook, HookMode, HookRegistry, StopChain
from pluginapi.security import sha3_512
from support import Forge

pytestmark = [
    pytest.mark.skipif(
        not Path("/proc/self/fd").is_dir(), reason="descriptors are counted in /proc"
    ),
    pytest.mark.skipif(
        "pytest_cov" in sys.modules and coverage.Coverage.current() is not None,
        reason="coverage keeps data of every file it sees run; `make test` runs these without it",
    ),
]

WARM_UP = 20
CYCLES = 200
BATCHES = 5


@dataclass(frozen=True)
class Footprint:
    """What a process holds that a plugin can make it hold."""

    descriptors: int
    memfds: int
    threads: int
    modules: frozenset[str]
    mappings: int
    tasks: int

    @classmethod
    def now(cls) -> Footprint:
        gc.collect()
        links = []
        for entry in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(entry.readlink()))
            except FileNotFoundError:  # The descriptor that iterdir itself used.
                continue
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        return cls(
            descriptors=len(links),
            memfds=sum("memfd:" in link for link in links),
            # The event loop's own pool grows by need and is shared by all.
            threads=sum(not t.name.startswith("asyncio_") for t in threading.enumerate()),
            modules=frozenset(sys.modules),
            mappings=sum("memfd:" in line for line in maps.splitlines()),
            tasks=len(asyncio.all_tasks()),
        )


async def settled() -> None:
    """Wait for the threads of plugins to end; those of asyncio's own pool stay."""
    async with asyncio.timeout(30):
        while any(  # noqa: ASYNC110 - what threads do is no event
            thread.name.startswith("plugin") for thread in threading.enumerate()
        ):
            await asyncio.sleep(0.005)


async def leaves_nothing(cycle: Callable[[], Awaitable[None]], cycles: int = CYCLES) -> None:
    """Run a cycle often; compare what is held after a warm-up and at the end."""
    for _ in range(WARM_UP):
        await cycle()
    await settled()
    before = Footprint.now()
    growths = []
    tracemalloc.start()
    try:
        for _ in range(BATCHES):
            start = tracemalloc.get_traced_memory()[0]
            for _ in range(cycles // BATCHES):
                await cycle()
            await settled()
            gc.collect()
            growths.append((tracemalloc.get_traced_memory()[0] - start) / (cycles // BATCHES))
    finally:
        tracemalloc.stop()
    assert Footprint.now() == before
    # Caches of the interpreter grow now and then; what leaks grows in every batch, and a manifest
    # alone has more bytes than this.
    assert min(growths) < 500, f"{growths} bytes a cycle"


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture
def registry(forge: Forge) -> PluginRegistry:
    return forge.registry()


BODY = """
def init(self, context):
    self.data = bytearray(100_000)
    self.me = self
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
    hooks.register("whisper", 200, lambda value: self.shout(value))
async def shout(self, value):
    return value + "!"
async def shutdown(self):
    pass
"""


async def test_python_plugins_leave_nothing(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin("a", BODY)

    async def cycle() -> None:
        await registry.load_plugin(path)
        assert await registry.hooks.execute("shout", "x") == "x!"
        await registry.unload_plugin("a")

    await leaves_nothing(cycle)


async def test_native_plugins_leave_nothing(forge: Forge, registry: PluginRegistry) -> None:
    path = compile_plugin(
        "constructor.c", forge.plugins / "n.so", f'-DMARK_PATH="{forge.root / "ran"}"'
    )
    forge.sign(path)
    forge.trust(path)

    async def cycle() -> None:
        await registry.load_plugin(path)
        await registry.unload_plugin("test.constructor")

    await leaves_nothing(cycle)


async def test_native_plugins_that_stay_mapped_leave_only_their_mapping(
    forge: Forge, registry: PluginRegistry
) -> None:
    path = probe(forge)
    define_probe_hooks(registry)

    async def cycle() -> None:
        await registry.load_plugin(path)
        assert await registry.hooks.execute("echo", 1) == 1
        await registry.unload_plugin("test.probe")

    for _ in range(3):
        await cycle()
    await settled()
    before = Footprint.now()
    for _ in range(20):
        await cycle()
    await settled()
    after = Footprint.now()
    assert (after.descriptors, after.memfds) == (before.descriptors, before.memfds)
    assert (after.threads, after.modules) == (before.threads, before.modules)
    # Without PA_F_UNLOADABLE the code stays: that is the contract of pluginapi.h.
    assert after.mappings > before.mappings


def probe(forge: Forge) -> Path:
    path = compile_plugin("probe.c", forge.plugins / "probe.so")
    forge.sign(path)
    forge.trust(path)
    return path


def define_probe_hooks(registry: PluginRegistry) -> None:
    source = (Path(__file__).parent / "native_plugins" / "probe.c").read_text()
    table = source[source.index("} handlers[] = {") :]
    for line in table[: table.index("};")].splitlines()[1:]:
        registry.hooks.define(line.split('"')[1], object, object)


async def refused(registry: PluginRegistry, path: Path, code: str) -> None:
    with pytest.raises(PluginError) as caught:
        await registry.load_plugin(path)
    assert caught.value.code == code


FAILURES = {
    "at import": ("", "raise OSError('x')", "load.execution_failed"),
    "making": ("def __init__(self):\n    raise OSError('x')", "", "load.execution_failed"),
    "init": ("def init(self, context):\n    raise OSError('x')", "", "lifecycle.init_failed"),
    "hooks": (
        "def register_hooks(self, hooks):\n    hooks.register('shout', 200, str)\n    1 / 0\n",
        "",
        "lifecycle.init_failed",
    ),
}


@pytest.mark.parametrize(("methods", "top_level", "code"), FAILURES.values(), ids=FAILURES)
async def test_failing_loads_leave_nothing(
    forge: Forge, registry: PluginRegistry, methods: str, top_level: str, code: str
) -> None:
    path = forge.plugin("bad", methods, top_level=top_level)
    await leaves_nothing(lambda: refused(registry, path, code))


async def test_refused_plugins_leave_nothing(forge: Forge, registry: PluginRegistry) -> None:
    python = forge.plugin("stranger", sign=False, trust=False)
    native = compile_plugin("probe.c", forge.plugins / "n.so")
    broken = forge.plugins / "broken.py"
    broken.write_text("(")

    async def cycle() -> None:
        await refused(registry, python, "signature.missing")
        await refused(registry, native, "signature.missing")
        await refused(registry, broken, "manifest.syntax")

    await leaves_nothing(cycle)


async def test_native_plugins_that_fail_leave_no_descriptor_and_no_thread(forge: Forge) -> None:
    path = probe(forge)
    registries = []
    for where in ("create", "init", "register"):
        registry = forge.registry(configs={"test.probe": {"fail": where}})
        define_probe_hooks(registry)
        registries.append(registry)

    async def cycle() -> None:
        for registry in registries:
            with pytest.raises(PluginError):
                await registry.load_plugin(path)

    for _ in range(5):
        await cycle()
    await settled()
    before = Footprint.now()
    for _ in range(20):
        await cycle()
    await settled()
    after = Footprint.now()
    assert (after.descriptors, after.memfds) == (before.descriptors, before.memfds)
    assert (after.threads, after.modules) == (before.threads, before.modules)


async def test_loads_that_time_out_leave_nothing_once_they_return(forge: Forge) -> None:
    registry = forge.registry(init_timeout=0.01)
    wait = "import threading\nthreading.Event().wait(0.05)"
    plugins = {
        forge.plugin("sync", "def init(self, context):\n    time.sleep(0.05)"): "sync",
        forge.plugin("async", "async def init(self, context):\n    await asyncio.sleep(9)"): "a",
        forge.plugin("top", top_level=wait): "top",
    }

    async def cycle() -> None:
        for path in plugins:
            await refused(registry, path, "lifecycle.init_timeout")
        await settled()

    await leaves_nothing(cycle, cycles=40)


async def test_cancelled_loads_leave_nothing(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin("slow", "async def init(self, context):\n    await asyncio.sleep(9)")
    quick = forge.plugin("quick", BODY)
    step = 0

    async def cycle() -> None:
        nonlocal step
        step += 1
        for plugin in (path, quick):
            task = asyncio.create_task(registry.load_plugin(plugin))
            # Cancelled at a different point of the load each time.
            await asyncio.sleep(step % 20 * 0.0004)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await registry.unload_plugin(task.result())
        assert registry.plugin_count() == 0
        await settled()

    await leaves_nothing(cycle)


async def test_a_registry_leaves_nothing(forge: Forge) -> None:
    forge.plugin("a", BODY)
    forge.plugin("b", BODY)

    async def cycle() -> None:
        registry = forge.registry()
        registry.scan_directory(forge.plugins)
        await registry.load_plugin_by_name("a")
        await registry.load_plugin_by_name("b")
        monitor = registry.start_resource_monitor(interval=0.01)
        await asyncio.sleep(0)
        await monitor.stop()
        await registry.unload_all()

    await leaves_nothing(cycle, cycles=60)


def test_the_file_of_a_refused_plugin_is_not_kept_open(forge: Forge) -> None:
    path = forge.plugin("a", trust=False)
    registry = forge.registry()
    digest = sha3_512(path.read_bytes()).hexdigest()
    for _ in range(3):
        assert registry.discover_plugin(path).hash == digest
    links = {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.exists()}
    assert str(path) not in links


def growth(run: Callable[[int], None], count: int) -> float:
    """Return how many bytes the traced memory grows by in `count` rounds, after as many before."""
    run(count // 10)
    gc.collect()
    tracemalloc.start()
    try:
        run(count // 10)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run(count)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def blocks() -> int:
    """Return how many blocks of the interpreter's allocator are in use."""
    gc.collect()
    return sys.getallocatedblocks()


# One object leaked in every tenth round would be far more.
SLACK = 20_000


class Steps:
    """Waits once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Plugin:
    def method(self, n: int) -> int | None:
        return n + 1000 if n % 3 else None

    async def coroutine(self, n: int) -> None: ...

    async def waits(self, n: int) -> int:
        await Steps()
        return n + 1000


@pytest.mark.parametrize("timed", [True, False])
def test_a_million_hook_calls_leave_nothing(timed: bool) -> None:
    registry = HookRegistry()
    plugin = Plugin()
    hooks: list[Hook[int, Any]] = [
        registry.define(f"h{mode.value}", int, int, mode=mode, timed=timed) for mode in HookMode
    ]
    for hook in hooks[:4]:
        hook.register(plugin.method)
        hook.register(plugin.coroutine)
        hook.register(lambda n: StopChain(n + 1000) if n % 5 == 0 else None)

    def calls(count: int) -> None:
        for n in range(count // 10):
            for hook in hooks:
                hook.call(n)
                hook.start(n)

    before = blocks()
    calls(1_000_000)
    assert blocks() - before < SLACK / 50
    assert growth(calls, 100_000) < SLACK


@pytest.mark.parametrize("timed", [True, False])
def test_calls_that_wait_leave_nothing(timed: bool) -> None:
    plugin = Plugin()
    hook = HookRegistry().define("h", int, int, on_error=ErrorPolicy.ISOLATE, timed=timed)
    hook.register(plugin.waits)
    hook.register(plugin.method)

    def calls(count: int) -> None:
        for n in range(count):
            call: Any = hook.start(n)
            call.send(None)
            if n % 2:
                call.close()
            else:
                with contextlib.suppress(StopIteration):
                    call.send(None)

    before = blocks()
    calls(100_000)
    assert blocks() - before < SLACK / 50
    assert growth(calls, 20_000) < SLACK


def test_a_hundred_thousand_registrations_leave_nothing() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    hook.register(lambda n: n)

    def pairs(count: int) -> None:
        for n in range(count):

            def handler(value: int) -> int:
                return value

            def wrapper(value: int) -> Generator[int, int, None]:
                yield value

            registry.register("h", n % 500, handler, owner="a")
            if n % 10 == 0:
                registry.wrap("h", 200, wrapper, owner="a")
                hook.subset(only=["a"]).call(n)
            hook.call(n)
            registry.remove_owner("a")

    before = blocks()
    pairs(100_000)
    assert blocks() - before < SLACK / 50
    assert growth(pairs, 5_000) < SLACK


def test_failing_calls_leave_nothing() -> None:
    registry = HookRegistry()
    hooks = [registry.define(policy.value, int, int, on_error=policy) for policy in ErrorPolicy]
    for hook in hooks:
        hook.register(lambda n: n // 0)
        hook.register(lambda n: "wrong", owner="b")

    def calls(count: int) -> None:
        logging.disable(logging.CRITICAL)
        try:
            for n in range(count):
                for hook in hooks:
                    with contextlib.suppress(ZeroDivisionError, ExceptionGroup):
                        hook.call(n)
        finally:
            logging.disable(logging.NOTSET)

    assert growth(calls, 5_000) < SLACK


def test_a_million_uses_of_the_context_leave_nothing() -> None:
    context = PluginContext()
    number = ContextKey("number", int)
    text = ContextKey("text", str)

    def uses(count: int) -> None:
        view = context.view("a", read=[number, text], write=[number])
        watch = view.watch(text, lambda change: None)
        for n in range(count // 4):
            view[number] = n
            context[text] = str(n)
            assert view[number] == n
            assert view.get(text) == str(n)
        watch.close()
        context.remove(number)
        view.close()

    before = blocks()
    uses(1_000_000)
    assert blocks() - before < SLACK / 50
    assert growth(uses, 50_000) < SLACK


async def test_calls_of_services_leave_nothing(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin(
        "s",
        """
def init(self, context):
    self.plain = context.service("rows")
    self.later = context.async_service("rows")
async def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
async def shout(self, value):
    for method in ("fail", "absent"):
        try:
            getattr(self.plain, method)()
        except Exception as err:
            value += type(err).__name__[0]
    return value + self.plain.fetch(number=1) + await self.later.slow()
""",
        extra="requirements=PluginRequirements(services=('rows.fetch', 'rows.slow', 'rows.fail')),",
    )

    class Rows:
        def fetch(self, number: int) -> str:
            return "f" * number

        async def slow(self) -> str:
            await asyncio.sleep(0)
            return "s"

        def fail(self) -> None:
            raise ValueError("no")

    registry.context.expose("rows", Rows(), methods=["fetch", "slow", "fail"])
    registry.service_grants["s"] = ("rows.fetch", "rows.slow", "rows.fail")
    logging.getLogger("pluginapi.services").setLevel(logging.CRITICAL)

    async def cycle() -> None:
        await registry.load_plugin(path)
        assert await registry.hooks.execute("shout", "x") == "xSSfs"
        await registry.unload_plugin("s")

    try:
        await leaves_nothing(cycle)
    finally:
        logging.getLogger("pluginapi.services").setLevel(logging.NOTSET)
