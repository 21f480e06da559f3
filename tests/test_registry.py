"""Life cycle, states and queries of PluginRegistry, with real signed Python plugins."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluginapi import (
    AlreadyLoaded,
    ContextKey,
    InitializationError,
    InvalidState,
    LoadError,
    NotFound,
    PluginEvent,
    PluginInfo,
    PluginRegistry,
    PluginStatus,
    PluginTimeout,
    ResourceLimits,
    ShutdownError,
    TrustLevel,
    UnmountBehavior,
    UntrustedPlugin,
    Violation,
    ViolationType,
)
from support import Forge


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture
def registry(forge: Forge) -> PluginRegistry:
    return forge.registry()


def status_of(registry: PluginRegistry, name: str) -> PluginStatus:
    return registry.get_plugin_info(name).status


async def shout(registry: PluginRegistry, value: str = "x") -> Any:
    return await registry.hooks.execute("shout", value)


SHOUTER = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, value):
    return value + "!"
"""


async def test_the_whole_life_of_a_plugin(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin("echo", SHOUTER)
    info = registry.discover_plugin(path)
    assert (info.name, info.status, info.trust_level) == (
        "echo",
        PluginStatus.AVAILABLE,
        TrustLevel.TRUSTED,
    )
    assert not registry.is_loaded("echo")

    assert await registry.load_plugin(path) == "echo"
    assert registry.is_loaded("echo")
    assert status_of(registry, "echo") is PluginStatus.ACTIVE
    assert await shout(registry) == "x!"

    registry.deactivate_plugin("echo")
    assert status_of(registry, "echo") is PluginStatus.INACTIVE
    assert registry.is_loaded("echo")
    assert await shout(registry) == "x"

    registry.activate_plugin("echo")
    assert status_of(registry, "echo") is PluginStatus.ACTIVE
    assert await shout(registry) == "x!"

    await registry.unload_plugin("echo")
    assert status_of(registry, "echo") is PluginStatus.AVAILABLE
    assert not registry.is_loaded("echo")
    assert await shout(registry) == "x"

    assert await registry.load_plugin_by_name("echo") == "echo"
    assert await shout(registry) == "x!"
    await registry.unload_all()


async def test_info_describes_file_manifest_and_trust(
    forge: Forge, registry: PluginRegistry
) -> None:
    path = forge.plugin("echo", SHOUTER, version="1.2.3", author="Ada", description="Echoes.")
    info = registry.discover_plugin(path)
    assert info.version == "1.2.3"
    assert info.author == "Ada"
    assert info.description == "Echoes."
    assert info.path == path
    assert info.size == path.stat().st_size
    assert info.modified == path.stat().st_mtime
    assert info.trust_info is not None
    assert info.trust_info.hash == info.hash
    assert info.error is None
    as_dict = info.to_dict()
    assert as_dict["status"] == "available"
    assert as_dict["trust_level"] == "trusted"


async def test_scan_lists_queries_and_counts(forge: Forge, registry: PluginRegistry) -> None:
    forge.plugin("good")
    forge.plugin("other")
    forge.plugin("stranger", trust=False)
    (forge.plugins / "broken.py").write_text("this is not python (")
    (forge.plugins / "notes.txt").write_text("no plugin")
    (forge.plugins / "_private.py").write_text("no plugin")
    (forge.plugins / ".hidden.py").write_text("no plugin")

    report = registry.scan_directory(forge.plugins)
    assert [info.name for info in report.plugins] == ["good", "other", "stranger"]
    assert len(report) == 3
    assert [path.name for path in report.problems] == ["broken.py"]
    assert registry.total_plugin_count() == 3
    assert registry.plugin_count() == 0
    assert names(registry.get_available_plugins()) == ["good", "other"]
    assert names(registry.get_untrusted_plugins()) == ["stranger"]
    refusal = registry.get_plugin_info("stranger").error
    assert refusal is not None
    assert refusal.code == "trust.not_listed"
    assert refusal.hint

    await registry.load_plugin_by_name("good")
    assert registry.plugin_count() == 1
    assert names(registry.list_loaded_plugins()) == ["good"]
    assert names(registry.get_available_plugins()) == ["other"]
    assert names(registry.get_all_plugins()) == ["good", "other", "stranger"]
    await registry.unload_all()


def names(infos: list[PluginInfo]) -> list[str]:
    return [info.name for info in infos]


async def test_a_second_scan_forgets_files_that_are_gone(
    forge: Forge, registry: PluginRegistry
) -> None:
    gone = forge.plugin("gone")
    loaded = forge.plugin("kept")
    registry.scan_directory(forge.plugins)
    await registry.load_plugin_by_name("kept")
    gone.unlink()
    loaded.unlink()
    registry.scan_directory(forge.plugins)
    assert names(registry.get_all_plugins()) == ["kept"]
    await registry.unload_plugin("kept")
    registry.scan_directory(forge.plugins)
    assert registry.get_all_plugins() == []


def test_scanning_a_missing_directory_is_an_error(registry: PluginRegistry, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        registry.scan_directory(tmp_path / "nowhere")
    assert caught.value.code == "registry.no_directory"


async def test_an_untrusted_plugin_does_not_run(forge: Forge, registry: PluginRegistry) -> None:
    marker = forge.root / "ran"
    top_level = f"open({str(marker)!r}, 'w').close()\n"
    path = forge.plugin("sneaky", trust=False, top_level=top_level)
    with pytest.raises(UntrustedPlugin) as caught:
        await registry.load_plugin(path)
    assert caught.value.plugin == "sneaky"
    assert not marker.exists()
    assert status_of(registry, "sneaky") is PluginStatus.UNTRUSTED

    # The control: trusted, the very same file does run.
    forge.trust(path)
    await registry.load_plugin(path)
    assert marker.exists()
    await registry.unload_all()


async def test_loading_twice_is_refused(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin("echo", SHOUTER)
    await registry.load_plugin(path)
    with pytest.raises(AlreadyLoaded) as caught:
        await registry.load_plugin(path)
    assert caught.value.code == "registry.already_loaded"
    assert await shout(registry) == "x!"
    await registry.unload_all()


async def test_loading_twice_at_once_loads_once(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin("slow", "async def init(self, context):\n    await asyncio.sleep(0.05)")
    first, second = await asyncio.gather(
        registry.load_plugin(path), registry.load_plugin(path), return_exceptions=True
    )
    outcomes = {type(first), type(second)}
    assert outcomes == {str, AlreadyLoaded}
    assert registry.plugin_count() == 1
    await registry.unload_all()


async def test_two_files_of_one_name(forge: Forge, registry: PluginRegistry) -> None:
    one = forge.plugin("twin", file="one.py")
    two = forge.plugin("twin", file="two.py", version="2.0.0")
    registry.scan_directory(forge.plugins)
    assert registry.total_plugin_count() == 2
    with pytest.raises(InvalidState) as caught:
        await registry.load_plugin_by_name("twin")
    assert caught.value.code == "registry.ambiguous"
    assert "one.py" in str(caught.value)
    assert "two.py" in str(caught.value)

    await registry.load_plugin(two)
    with pytest.raises(AlreadyLoaded):
        await registry.load_plugin(one)
    info = registry.get_plugin_info("twin")
    assert (info.path, info.version, info.status) == (two, "2.0.0", PluginStatus.ACTIVE)
    assert names(registry.get_available_plugins()) == ["twin"]
    await registry.unload_all()


async def test_a_refused_file_cannot_take_the_name_of_an_allowed_one(
    forge: Forge, registry: PluginRegistry
) -> None:
    good = forge.plugin("filter", SHOUTER)
    forge.plugin("filter", file="a-squatter.py", sign=False, trust=False)
    registry.scan_directory(forge.plugins)
    await registry.load_plugin_by_name("filter")
    assert registry.get_plugin_info("filter").path == good
    assert await shout(registry) == "x!"
    await registry.unload_all()


@pytest.mark.parametrize(
    ("methods", "where"),
    [
        ("def init(self, context):\n    raise RuntimeError('boom')", "init"),
        ("async def init(self, context):\n    raise RuntimeError('boom')", "init"),
        ("def register_hooks(self, hooks):\n    raise RuntimeError('boom')", "register_hooks"),
        ("async def register_hooks(self, hooks):\n    raise RuntimeError('boom')", "hooks"),
    ],
)
async def test_a_failing_start_leaves_nothing(
    forge: Forge, registry: PluginRegistry, methods: str, where: str
) -> None:
    modules = set(sys.modules)
    path = forge.plugin("bad", methods)
    with pytest.raises(InitializationError) as caught:
        await registry.load_plugin(path)
    assert caught.value.plugin == "bad"
    assert "boom" in str(caught.value)
    assert not registry.is_loaded("bad")
    info = registry.get_plugin_info("bad")
    assert info.status is PluginStatus.FAILED
    assert info.error is caught.value
    assert set(sys.modules) == modules

    # FAILED survives a scan of the unchanged file and ends with a changed one.
    registry.scan_directory(forge.plugins)
    assert status_of(registry, "bad") is PluginStatus.FAILED
    forge.plugin("bad", SHOUTER)
    registry.scan_directory(forge.plugins)
    assert status_of(registry, "bad") is PluginStatus.AVAILABLE
    await registry.load_plugin_by_name("bad")
    await registry.unload_all()


async def test_handlers_registered_before_a_failure_never_run(
    forge: Forge, registry: PluginRegistry
) -> None:
    path = forge.plugin(
        "half",
        SHOUTER.replace(
            'hooks.register("shout", 200, self.shout)',
            'hooks.register("shout", 200, self.shout)\n    raise RuntimeError("late")',
        ),
    )
    with pytest.raises(InitializationError):
        await registry.load_plugin(path)
    assert await shout(registry) == "x"
    assert len(registry.hooks.hook("shout")) == 0


async def test_handlers_appear_all_at_once(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin(
        "two-step",
        """
async def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
    await asyncio.sleep(0.05)
    hooks.register("whisper", 200, self.shout)
def shout(self, value):
    return value + "!"
""",
    )
    load = asyncio.create_task(registry.load_plugin(path))
    seen = set()
    while not load.done():
        seen.add((await shout(registry), await registry.hooks.execute("whisper", "x")))
        await asyncio.sleep(0.005)
    seen.add((await shout(registry), await registry.hooks.execute("whisper", "x")))
    assert seen == {("x", "x"), ("x!", "x!")}
    await registry.unload_all()


async def test_a_failure_after_init_shuts_the_plugin_down(
    forge: Forge, registry: PluginRegistry
) -> None:
    marker = forge.root / "shut"
    path = forge.plugin(
        "tidy",
        f"""
def register_hooks(self, hooks):
    raise RuntimeError("no")
def shutdown(self):
    open({str(marker)!r}, "w").close()
""",
    )
    with pytest.raises(InitializationError):
        await registry.load_plugin(path)
    assert marker.exists()


async def test_a_failing_import_is_a_load_error(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin("bad", top_level="raise RuntimeError('at import')\n")
    with pytest.raises(LoadError) as caught:
        await registry.load_plugin(path)
    assert "at import" in str(caught.value)
    assert status_of(registry, "bad") is PluginStatus.FAILED


HANGS = {
    "sync init": "def init(self, context):\n    time.sleep(1.0)",
    "async init": "async def init(self, context):\n    await asyncio.sleep(60)",
    "register_hooks": "async def register_hooks(self, hooks):\n    await asyncio.sleep(60)",
}


@pytest.mark.parametrize("methods", HANGS.values(), ids=HANGS)
async def test_a_hanging_start_is_ended(forge: Forge, methods: str) -> None:
    registry = forge.registry(init_timeout=0.2)
    path = forge.plugin("hang", methods)
    with pytest.raises(PluginTimeout) as caught:
        await registry.load_plugin(path)
    assert caught.value.code == "lifecycle.init_timeout"
    assert not registry.is_loaded("hang")
    assert status_of(registry, "hang") is PluginStatus.FAILED


async def test_a_hanging_import_is_ended(forge: Forge) -> None:
    registry = forge.registry(init_timeout=0.2)
    path = forge.plugin("hang", top_level="import time\ntime.sleep(1.0)\n")
    with pytest.raises(PluginTimeout):
        await registry.load_plugin(path)
    assert status_of(registry, "hang") is PluginStatus.FAILED


@pytest.mark.parametrize(
    "methods",
    [
        "async def init(self, context):\n    await asyncio.sleep(60)",
        """
async def register_hooks(self, hooks):
    hooks.register('shout', 200, str)
    await asyncio.sleep(60)
""",
    ],
    ids=["init", "register_hooks"],
)
async def test_cancelling_a_load_leaves_nothing(
    forge: Forge, registry: PluginRegistry, methods: str
) -> None:
    modules = set(sys.modules)
    path = forge.plugin("slow", methods)
    task = asyncio.create_task(registry.load_plugin(path))
    await asyncio.sleep(0.2)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not registry.is_loaded("slow")
    assert status_of(registry, "slow") is PluginStatus.AVAILABLE
    assert len(registry.hooks.hook("shout")) == 0
    assert set(sys.modules) == modules
    # The name is free again.
    forge.plugin("slow", SHOUTER)
    await registry.load_plugin(path)
    await registry.unload_all()


async def test_a_failing_shutdown_is_reported_and_unloads(
    forge: Forge, registry: PluginRegistry
) -> None:
    path = forge.plugin("rude", SHOUTER + "def shutdown(self):\n    raise RuntimeError('never')\n")
    await registry.load_plugin(path)
    with pytest.raises(ShutdownError) as caught:
        await registry.unload_plugin("rude")
    assert "never" in str(caught.value)
    assert not registry.is_loaded("rude")
    assert await shout(registry) == "x"


async def test_a_hanging_shutdown_is_ended(forge: Forge) -> None:
    registry = forge.registry(shutdown_timeout=0.1)
    path = forge.plugin("stay", "async def shutdown(self):\n    await asyncio.sleep(60)")
    await registry.load_plugin(path)
    with pytest.raises(PluginTimeout) as caught:
        await registry.unload_plugin("stay")
    assert caught.value.code == "lifecycle.shutdown_timeout"
    assert not registry.is_loaded("stay")


async def test_cancelling_an_unload_still_unloads(forge: Forge, registry: PluginRegistry) -> None:
    marker = forge.root / "done"
    path = forge.plugin(
        "slow",
        f"""
async def shutdown(self):
    await asyncio.sleep(0.1)
    open({str(marker)!r}, "w").close()
""",
    )
    await registry.load_plugin(path)
    task = asyncio.create_task(registry.unload_plugin("slow"))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert marker.exists()
    assert not registry.is_loaded("slow")


async def test_unload_all_reports_what_failed_and_unloads_everything(
    forge: Forge, registry: PluginRegistry
) -> None:
    await registry.load_plugin(forge.plugin("a"))
    await registry.load_plugin(forge.plugin("b", "def shutdown(self):\n    raise OSError('x')"))
    await registry.load_plugin(forge.plugin("c"))
    report = await registry.unload_all()
    assert report.unloaded == ("c", "b", "a")
    assert list(report.failed) == ["b"]
    assert isinstance(report.failed["b"], ShutdownError)
    assert registry.plugin_count() == 0


async def test_unload_all_waits_for_a_load_under_way(
    forge: Forge, registry: PluginRegistry
) -> None:
    path = forge.plugin("slow", "async def init(self, context):\n    await asyncio.sleep(0.1)")
    load = asyncio.create_task(registry.load_plugin(path))
    async with asyncio.timeout(10):
        # It is discovered and reserved in one step.
        while not registry.get_all_plugins():  # noqa: ASYNC110 - another object's state
            await asyncio.sleep(0.001)
    report = await registry.unload_all()
    assert report.unloaded == ("slow",)
    assert await load == "slow"
    assert registry.plugin_count() == 0


async def test_unknown_and_unloaded_names(forge: Forge, registry: PluginRegistry) -> None:
    forge.plugin("idle")
    registry.scan_directory(forge.plugins)
    with pytest.raises(NotFound) as caught:
        await registry.unload_plugin("nobody")
    assert caught.value.code == "registry.not_found"
    with pytest.raises(NotFound) as caught:
        await registry.unload_plugin("idle")
    assert caught.value.code == "registry.not_loaded"
    with pytest.raises(NotFound):
        await registry.load_plugin_by_name("nobody")
    with pytest.raises(NotFound):
        registry.get_plugin_info("nobody")
    for query in (
        registry.get_resource_limits,
        registry.get_violation_count,
        registry.reset_violations,
        registry.get_plugin_metrics,
        registry.deactivate_plugin,
        registry.activate_plugin,
    ):
        with pytest.raises(NotFound):
            query("idle")


async def test_hot_unload_while_hooks_run(forge: Forge, registry: PluginRegistry) -> None:
    path = forge.plugin(
        "echo",
        """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
async def shout(self, value):
    await asyncio.sleep(0.001)
    return value + "!"
""",
    )
    stop = False
    answers = set()

    async def caller() -> None:
        while not stop:
            answers.add(await shout(registry))
            await asyncio.sleep(0)

    callers = [asyncio.create_task(caller()) for _ in range(8)]
    for _ in range(10):
        await registry.load_plugin(path)
        await asyncio.sleep(0.01)
        await registry.unload_plugin("echo")
        await asyncio.sleep(0.002)
    stop = True
    await asyncio.gather(*callers)
    assert answers == {"x", "x!"}
    assert len(registry.hooks.hook("shout")) == 0


async def test_an_unloaded_plugin_is_freed(forge: Forge, registry: PluginRegistry) -> None:
    keep: list[weakref.ref[object]] = []
    registry.context.set(ContextKey.custom("keep"), keep)
    path = forge.plugin(
        "leaf",
        extra='requirements=PluginRequirements(context_read=("keep",)),',
        methods=SHOUTER
        + """
def init(self, context):
    from pluginapi import ContextKey
    import weakref
    context.get(ContextKey.custom("keep")).append(weakref.ref(self))
""",
    )
    await registry.load_plugin(path)
    assert keep[0]() is not None
    await registry.unload_plugin("leaf")
    gc.collect()
    assert keep[0]() is None


async def test_configuration_reaches_its_plugin_only(forge: Forge) -> None:
    body = """
def init(self, context):
    from pluginapi import ContextKey
    self.config = dict(context.get(ContextKey.Configuration))
def register_hooks(self, hooks):
    hooks.register("shout", 200, lambda value: f"{value}{self.config.get('mark', '?')}")
"""
    registry = forge.registry(configs={"a": {"mark": "A"}})
    await registry.load_plugin(forge.plugin("a", body))
    await registry.load_plugin(forge.plugin("b", body))
    assert await shout(registry, "") == "A?"
    await registry.unload_all()


async def test_declared_limits_are_capped(forge: Forge) -> None:
    registry = forge.registry(ceiling=ResourceLimits(max_cpu_time_ms=50, max_threads=2))
    path = forge.plugin(
        "greedy",
        extra="resource_limits=ResourceLimits(max_cpu_time_ms=9000, max_heap_bytes=1048576),",
    )
    await registry.load_plugin(path)
    limits = registry.get_resource_limits("greedy")
    assert (limits.max_cpu_time_ms, limits.max_heap_bytes, limits.max_threads) == (50, 1048576, 2)
    await registry.unload_all()


def violation(source: str = "host") -> Violation:
    return Violation.now(ViolationType.THREADS, 9, 4, source)


async def test_violations_are_counted_and_reset(forge: Forge) -> None:
    registry = forge.registry(violation_threshold=3)
    await registry.load_plugin(forge.plugin("a"))
    assert not registry.record_violation("a", violation())
    assert not registry.record_violation("a", violation())
    assert registry.get_violation_count("a") == 2
    assert len(registry.get_violations("a")) == 2
    registry.reset_violations("a")
    assert registry.get_violation_count("a") == 0
    await registry.unload_all()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition is another object's state
            await asyncio.sleep(0.005)


async def test_the_threshold_unmounts(forge: Forge, caplog: pytest.LogCaptureFixture) -> None:
    registry = forge.registry(violation_threshold=2)
    await registry.load_plugin(forge.plugin("a", SHOUTER))
    assert not registry.record_violation("a", violation())
    assert registry.record_violation("a", violation("monitor"))
    await until(lambda: not registry.is_loaded("a"))
    await until(lambda: status_of(registry, "a") is PluginStatus.FAILED)
    assert await shout(registry) == "x"
    error = registry.get_plugin_info("a").error
    assert error is not None
    assert error.code == "limits.unmounted"
    assert "max_threads" in error.message
    assert "violation_threshold" in (error.hint or "")
    assert "max_threads: used 9 threads, limit 4" in caplog.text


async def test_the_threshold_does_not_unmount_when_told_so(forge: Forge) -> None:
    registry = forge.registry(violation_threshold=1)
    await registry.load_plugin(forge.plugin("a"))
    await registry.load_plugin(forge.plugin("b"))
    registry.set_unmount_behavior(UnmountBehavior(auto_unmount=False), "a")
    assert not registry.record_violation("a", violation())
    await asyncio.sleep(0.05)
    assert registry.is_loaded("a")
    # The control: the other plugin keeps the default and goes.
    assert registry.record_violation("b", violation())
    await until(lambda: not registry.is_loaded("b"))
    await registry.unload_all()


async def test_cpu_time_of_a_handler_is_a_violation(forge: Forge) -> None:
    registry = forge.registry(violation_threshold=2)
    burn = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.burn)
def burn(self, value):
    end = time.thread_time() + float(value)
    while time.thread_time() < end:
        pass
"""
    limit = "resource_limits=ResourceLimits(max_cpu_time_ms=20),"
    await registry.load_plugin(forge.plugin("burner", burn, extra=limit))
    await shout(registry, "0")
    assert registry.get_violation_count("burner") == 0
    await shout(registry, "0.03")
    (seen,) = registry.get_violations("burner")
    assert seen.type is ViolationType.CPU_TIME
    assert seen.used > seen.limit == 20
    assert seen.source == "hook:shout"
    metrics = registry.get_plugin_metrics("burner")
    assert metrics.calls == 2
    assert metrics.cpu_time_ms is not None
    assert metrics.cpu_time_ms >= 30
    assert metrics.violation_count == 1
    await shout(registry, "0.03")
    await until(lambda: not registry.is_loaded("burner"))


async def test_metrics_that_cannot_be_attributed_are_none(
    forge: Forge, registry: PluginRegistry
) -> None:
    await registry.load_plugin(forge.plugin("a"))
    metrics = registry.get_plugin_metrics("a")
    assert metrics.name == "a"
    assert metrics.heap_bytes is not None
    assert metrics.thread_count is None
    assert metrics.fd_count is None
    assert metrics.connection_count is None
    await registry.unload_all()


async def test_the_monitor_watches_and_stops(forge: Forge, registry: PluginRegistry) -> None:
    await registry.load_plugin(forge.plugin("a"))
    threads = threading.active_count()
    monitor = registry.start_resource_monitor(interval=0.01)
    await asyncio.sleep(0.05)
    await monitor.stop()
    # A large host makes no plugin violate its limit.
    assert registry.get_violation_count("a") == 0
    assert threading.active_count() <= threads
    await registry.unload_all()


async def test_load_and_unload_are_announced(forge: Forge, registry: PluginRegistry) -> None:
    seen: list[tuple[str, str, str]] = []

    def note(hook: str) -> Callable[[PluginEvent], None]:
        return lambda event: seen.append((hook, event.name, event.version))

    for hook in ("on_plugin_load", "on_plugin_unload"):
        registry.hooks.register(hook, 200, note(hook))
    await registry.load_plugin(forge.plugin("a"))
    await registry.unload_plugin("a")
    assert seen == [
        ("on_plugin_load", "a", "1.0.0"),
        ("on_plugin_unload", "a", "1.0.0"),
    ]


async def test_the_least_trust_can_be_raised_above_the_policy(forge: Forge) -> None:
    registry = forge.registry(only_trusted=False)
    path = forge.plugin("guest", sign=False, trust=False)
    with pytest.raises(UntrustedPlugin) as caught:
        await registry.load_plugin(path, TrustLevel.TRUSTED)
    assert caught.value.code == "trust.level"
    assert await registry.load_plugin(path) == "guest"
    assert registry.get_plugin_info("guest").trust_level is TrustLevel.UNTRUSTED
    await registry.unload_all()
