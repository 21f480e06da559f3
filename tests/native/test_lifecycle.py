"""From verified bytes to a live plugin and back, and every refusal on the way."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pluginapi.errors import (
    AbiIncompatible,
    ConfigError,
    InitializationError,
    InvalidPlugin,
    InvalidState,
    LoadError,
    NotFound,
    ShutdownError,
    SymbolNotFound,
    UnsupportedPlatform,
)
from pluginapi.limits import ResourceLimits
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.runtime.native import load_native

if TYPE_CHECKING:
    from native.support import Native


async def test_a_plugin_lives_and_is_released(
    native: Native, probe: PluginFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    active = await native.activate(probe)
    assert str(active.plugin.manifest.version) == "1.2.3"
    assert active.call("echo", {"a": [1, None, 2.5, b"x", "é"]}) == {"a": [1, None, 2.5, b"x", "é"]}
    await active.plugin.shutdown()
    with pytest.raises(InvalidState, match="the plugin is stopped") as stopped:
        active.call("echo", 1)
    assert stopped.value.code == "abi.call_state"
    active.plugin.close()
    active.plugin.close()
    assert [record.message for record in caplog.records] == ["destroyed"]
    with pytest.raises(InvalidState, match="the plugin is gone"):
        active.call("echo", 1)
    with pytest.raises(InvalidState, match="after close"):
        await active.plugin.init(active.context)


def test_the_macro_writes_the_manifest(probe: PluginFile) -> None:
    manifest = read_manifest(probe)
    assert manifest.name == "test.probe"
    assert manifest.author == 'The "probe" authors, é\\'
    assert manifest.abi == (1, 0)
    assert manifest.resource_limits == ResourceLimits(max_heap_bytes=65_536)


async def test_priorities_and_names_arrive(native: Native, probe: PluginFile) -> None:
    active = await native.activate(probe)
    assert [entry.priority for entry in active.scope.registered.values()] == list(
        range(200, 200 + len(active.scope.registered))
    )
    assert active.call("name") == "name"
    assert repr(active.scope.registered["name"].handler) == (
        "<native handler of test.probe for name>"
    )


async def test_a_released_plugin_leaves_no_object(native: Native, probe: PluginFile) -> None:
    active = await native.activate(probe)
    plugin = weakref.ref(active.plugin)
    instance = weakref.ref(active.plugin._instance)
    await active.plugin.shutdown()
    active.plugin.close()
    native.loaded.clear()
    del active
    _join_threads()
    gc.collect()
    assert plugin() is None
    assert instance() is None


async def test_close_shuts_an_active_plugin_down(
    native: Native, probe: PluginFile, caplog: pytest.LogCaptureFixture
) -> None:
    active = await native.activate(probe, config={"fail": "shutdown"})
    active.plugin.close()
    assert "the queue is not empty" in caplog.text
    assert active.plugin.heap_bytes() == 0


async def test_two_loads_of_one_file_are_two_plugins(native: Native, probe: PluginFile) -> None:
    first = await native.activate(probe)
    second = await native.activate(probe)
    assert first.call("keep", 1000) is True
    assert (first.plugin.heap_bytes(), second.plugin.heap_bytes()) == (1048, 0)


def test_descriptor_numbers_are_reused_without_confusion(
    native: Native, probe: PluginFile, tmp_path: Path
) -> None:
    # The linker knows libraries by name: the second /proc/self/fd/N must not give the first.
    mark = tmp_path / "mark"
    other = native.file("constructor.c", f'-DMARK_PATH="{mark}"')
    with probe.sealed_copy() as copy:
        number = copy.fileno()
    native.load(probe)
    with other.sealed_copy() as copy:
        assert copy.fileno() == number
    assert native.load(other).manifest.name == "test.constructor"


def test_constructors_run_when_a_library_is_loaded(native: Native, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    file = native.file("constructor.c", f'-DMARK_PATH="{mark}"')
    manifest = read_manifest(file)
    assert not mark.exists()
    native.load(file, manifest=manifest)
    assert mark.read_text() == "the constructor ran\n"


def test_an_unloadable_library_is_unmapped(native: Native, tmp_path: Path) -> None:
    file = native.file("constructor.c", f'-DMARK_PATH="{tmp_path / "mark"}"')
    before = _mappings(file.path.name)
    plugin = native.load(file)
    assert _mappings(file.path.name) > before
    plugin.close()
    assert _mappings(file.path.name) == before


def test_a_library_that_is_not_unloadable_stays(native: Native) -> None:
    file = native.file("probe.c")
    plugin = native.load(file)
    plugin.close()
    assert _mappings(file.path.name) > 0


def _join_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("pluginapi-"):
            thread.join()


def _mappings(name: str) -> int:
    return Path("/proc/self/maps").read_text(encoding="utf-8").count(f"memfd:{name}")


def test_nothing_stays_open(native: Native, probe: PluginFile) -> None:
    native.load(probe).close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        native.load(probe).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_without_create_plugin(native: Native) -> None:
    with pytest.raises(SymbolNotFound, match="does not export create_plugin") as refused:
        native.load(native.file("no_symbol.c"))
    assert refused.value.code == "abi.symbol_missing"
    assert "PA_EXPORT" in str(refused.value.hint)


def test_manifest_of_another_abi_runs_nothing(native: Native, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    file = native.file("constructor.c", f'-DMARK_PATH="{mark}"')
    for abi, found in (((2, 0), "ABI 2.0"), (None, "no ABI")):
        with pytest.raises(AbiIncompatible, match=f"built for {found}; this host runs ABI 1.0"):
            native.load(file, manifest=replace(read_manifest(file), abi=abi))
    assert not mark.exists()
    native.load(file)
    assert mark.exists()


@pytest.mark.parametrize(
    ("flag", "code", "message"),
    [
        ("-DPROBE_ABI_MAJOR=2", "abi.incompatible", "abi_major: the plugin was built for ABI 2.0"),
        ("-DPROBE_STRUCT_SIZE=16", "abi.plugin_struct", "struct_size: pa_plugin has 16 bytes"),
        ("-DPROBE_WITHOUT_PLUGIN=1", "abi.plugin_struct", "handed out no plugin"),
        ("-DPROBE_WITHOUT_INIT=1", "abi.plugin_struct", "init: this callback is required"),
        (
            '-DPROBE_NAME="test.other"',
            "abi.identity",
            "name: the plugin reports 'test.other', its manifest says 'test.probe'",
        ),
        (
            '-DPROBE_VERSION="1.2"',
            "abi.identity",
            "version: the plugin reports '1.2', its manifest says '1.2.3'",
        ),
    ],
)
def test_a_structure_that_breaks_the_abi(
    native: Native, flag: str, code: str, message: str
) -> None:
    with pytest.raises(AbiIncompatible) as refused:
        native.load(native.file("probe.c", flag))
    assert refused.value.code == code
    assert message in str(refused.value)
    assert refused.value.hint


async def test_a_larger_structure_is_accepted(native: Native) -> None:
    active = await native.activate(native.file("probe.c", "-DPROBE_LARGER"))
    assert active.call("echo", 1) == 1


def test_create_fails(native: Native, probe: PluginFile) -> None:
    with pytest.raises(LoadError, match="create refused") as refused:
        native.load(probe, config={"fail": "create"})
    assert refused.value.code == "abi.create_failed"


def test_the_linker_refuses(native: Native) -> None:
    file = native.file("no_symbol.c")
    source = native.directory / "broken.c"
    source.write_text("extern int nowhere(void); int use(void) { return nowhere(); }\n")
    broken = PluginFile.open(native.compile(source))
    with pytest.raises(LoadError, match="nowhere") as refused:
        native.load(broken, manifest=read_manifest(file))
    assert refused.value.code == "abi.load_failed"


def test_other_kinds_and_platforms(native: Native, probe: PluginFile, tmp_path: Path) -> None:
    python = tmp_path / "plugin.py"
    python.write_text("pass\n")
    with pytest.raises(InvalidPlugin, match="not a native one"):
        native.load(PluginFile.open(python), manifest=read_manifest(probe))
    assert probe.library is not None
    foreign = replace(probe, library=replace(probe.library, container="pe"))
    with pytest.raises(UnsupportedPlatform):
        native.load(foreign, manifest=read_manifest(probe))


@pytest.mark.parametrize("config", [b"", b"{}", b"\x90", b"\xc1", b"\x81\xa1\xff\x01"])
def test_a_configuration_is_a_msgpack_map(probe: PluginFile, config: bytes) -> None:
    with pytest.raises(ConfigError, match="not a msgpack map"):
        load_native(probe, read_manifest(probe), limits=ResourceLimits(), config=config)


async def test_init_fails(native: Native, probe: PluginFile) -> None:
    plugin = native.load(probe, config={"fail": "init"})
    with pytest.raises(InitializationError) as failed:
        await plugin.init(_Nothing())
    # The text of a plugin cannot forge log lines or move the cursor.
    assert "init failed in plugin test.probe with PA_ERR_FAIL: no disk in the drive\\n\\x1b[2J" in (
        str(failed.value)
    )
    assert failed.value.plugin == "test.probe"
    with pytest.raises(InvalidState, match="the plugin is failed"):
        await plugin.shutdown()


async def test_init_fails_for_want_of_a_key(native: Native, probe: PluginFile) -> None:
    plugin = native.load(probe, config={"fail": "init-context"})
    with pytest.raises(InitializationError, match="PA_ERR_NOT_FOUND") as failed:
        await plugin.init(_Nothing())
    assert isinstance(failed.value.__cause__, KeyError)


class _Nothing:
    def get_bytes(self, name: str) -> bytes:
        raise KeyError(name)

    def set_bytes(self, name: str, data: bytes) -> None:
        raise KeyError(name)

    def has(self, name: str) -> bool:
        return False

    def call_service(self, service: str, method: str, arguments: bytes) -> bytes:
        raise KeyError(service)


async def test_register_fails(native: Native, probe: PluginFile) -> None:
    with pytest.raises(InitializationError, match="PA_ERR_NOT_FOUND") as failed:
        await native.activate(probe, config={"fail": "register"})
    assert isinstance(failed.value.__cause__, NotFound)
    with pytest.raises(InitializationError, match="PA_ERR_BAD_ARG"):
        await native.activate(probe, config={"fail": "register-null"})


async def test_shutdown_fails_and_the_plugin_is_released(native: Native, probe: PluginFile) -> None:
    active = await native.activate(probe, config={"fail": "shutdown"})
    with pytest.raises(ShutdownError, match="the queue is not empty"):
        await active.plugin.shutdown()
    active.plugin.close()
    assert active.plugin._instance.state.name == "GONE"


async def test_calls_out_of_order(native: Native, probe: PluginFile) -> None:
    active = await native.activate(probe)
    with pytest.raises(InvalidState, match="init was refused: the plugin is active"):
        await active.plugin.init(active.context)
    with pytest.raises(InvalidState, match="register_hooks was refused: the plugin is active"):
        await active.plugin.register_hooks(active.scope)


@pytest.mark.parametrize("where", ["init", "register", "shutdown"])
async def test_a_hanging_plugin_is_given_up_and_left_alone(
    native: Native, probe: PluginFile, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    caplog.set_level(logging.DEBUG)
    waits, releases = os.pipe()
    plugin = native.load(probe, config={"fail": f"{where}-block", "fd": waits})

    async def live() -> None:
        await plugin.init(_Nothing())
        await plugin.register_hooks(_Anything())
        await plugin.shutdown()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(live(), 0.05)
    plugin.close()
    assert "is not released" in caplog.text
    assert "destroyed" not in caplog.text
    os.write(releases, b"g")  # The thread goes on, and ends by itself.
    await asyncio.to_thread(_join_threads)
    assert "stopped waiting" in caplog.text
    assert "destroyed" not in caplog.text
    os.close(waits)
    os.close(releases)


class _Anything:
    def hook(self, name: str) -> object:
        raise KeyError(name)

    def register(self, name: str, priority: int, handler: object) -> None:
        pass


def test_load_waits_for_nothing_it_started(native: Native, probe: PluginFile) -> None:
    waits, releases = os.pipe()
    os.write(releases, b"g")
    native.load(probe, config={"fail": "create-block", "fd": waits})
    os.close(waits)
    os.close(releases)
