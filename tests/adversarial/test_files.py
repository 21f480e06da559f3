"""Things at a plugin's path that are no plugin, or not the one that was checked."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from native_build import compile_plugin
from pluginapi import PluginError, PluginHost, PluginRegistry
from pluginapi.security import sha3_512

from .arena import Arena


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def sparse_4_gib(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4 * 1024**3)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/ptmx")


def unix_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listener:
        # The whole path may be longer than a socket's name.
        os.chdir(path.parent)
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def symlink_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def dangling_symlink(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.py")


def random_bytes(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


DEFECTS: dict[Callable[[Path], None], tuple[str, ...]] = {
    truncated: ("manifest.syntax", "manifest.missing", "signature.mismatch"),
    empty: ("file.empty",),
    sparse_4_gib: ("file.too_large",),
    fifo: ("file.not_regular",),
    directory: ("file.not_regular",),
    device: ("file.not_regular",),
    terminal: ("file.not_regular",),
    unix_socket: ("file.not_regular",),
    symlink_loop: ("io.failed",),
    dangling_symlink: ("file.not_found",),
    random_bytes: ("manifest.syntax",),
}
IDS = [make.__name__ for make in DEFECTS]


@pytest.mark.parametrize(("make", "codes"), DEFECTS.items(), ids=IDS)
async def test_what_is_no_plugin_file_is_refused(
    arena: Arena, make: Callable[[Path], None], codes: tuple[str, ...]
) -> None:
    await arena.sound_ones_run()
    path = arena.armed()
    make(path)
    # A pipe that nobody writes to must not be waited for.
    async with asyncio.timeout(30):
        await arena.refused(path, *codes)
        await arena.host_refuses(path, *codes)
    said = arena.command("explain", path, *arena.state_option)
    failed = [check["code"] for check in said.get("checks", []) if check["outcome"] == "failed"]
    assert (failed[0] if failed else said["error"]["code"]) in codes
    assert arena.steps() == ""


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
async def test_truncated_native_plugins(arena: Arena, share: float) -> None:
    flag = f'-DMARK_PATH="{arena.mark}"'
    path = compile_plugin("constructor.c", arena.plugins / "native.so", flag)
    arena.forge.sign(path)
    arena.forge.trust(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    await arena.refused(
        path, "file.truncated", "file.format", "manifest.missing", "signature.mismatch"
    )
    path.write_bytes(data)
    await arena.loads(path)
    assert arena.mark.exists()


@pytest.mark.parametrize("make", [truncated, empty, sparse_4_gib, fifo, directory, symlink_loop])
async def test_signature_files_that_are_none(arena: Arena, make: Callable[[Path], None]) -> None:
    await arena.sound_ones_run()
    path = arena.armed()
    make(path.with_name("victim.py.sig"))
    codes = ("file.envelope", "signature.malformed", "io.failed")
    async with asyncio.timeout(30):
        await arena.refused(path, *codes)
        await arena.host_refuses(path, *codes)


async def test_a_plugin_larger_than_the_policy(arena: Arena) -> None:
    path = arena.armed(top_level_end="#" * 8192)
    await arena.runs(path)
    text = arena.config.read_text()
    arena.config.write_text(text.replace("= 16777216", "= 8192"))
    await arena.host_refuses(path, "file.too_large")
    arena.config.write_text(text)
    async with PluginHost.from_config(arena.config) as host:
        assert host.registry.is_loaded("victim")


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Repeat an action in a thread as fast as it goes."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            action()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def attempts(registry: PluginRegistry, path: Path, number: int) -> tuple[int, set[str]]:
    """Load and unload repeatedly; count the loads and collect the refusals."""
    loads, codes = 0, set()
    for _ in range(number):
        try:
            await registry.unload_plugin(await registry.load_plugin(path))
        except PluginError as err:
            codes.add(err.code)
        else:
            loads += 1
    return loads, codes


def twins(arena: Arena) -> tuple[Path, Path]:
    """Make a harmless trusted plugin and an armed untrusted one of the same name."""
    good = arena.forge.plugin("twin", file="good.py")
    store = arena.root / "store"
    store.mkdir()
    evil = arena.armed("twin", file="evil.py", trust=False)
    for path in (good, evil):
        for name in (path.name, f"{path.name}.sig"):
            shutil.move(path.with_name(name), store / name)
    return store / "good.py", store / "evil.py"


async def test_a_symlink_swapped_between_check_and_load(arena: Arena) -> None:
    good, evil = twins(arena)
    link = arena.plugins / "twin.py"
    link.symlink_to(good)
    # The signature beside the link is the good one's all the time: only the plugin is swapped.
    shutil.copy(good.with_name("good.py.sig"), arena.plugins / "twin.py.sig")
    aside = arena.plugins / "aside"
    targets = [evil, good]

    def swap() -> None:
        aside.symlink_to(targets[0])
        aside.replace(link)
        targets.reverse()

    registry = arena.registry()
    with meanwhile(swap):
        loads, codes = await attempts(registry, link, 400)
    assert arena.steps() == "", "the untrusted plugin ran"
    # Both were met, so the swap did hit the loads.
    assert loads > 0
    assert codes == {"signature.mismatch"}
    assert registry.plugin_count() == 0
    await arena.loads(arena.bystander)

    # The control: trusted, the other one runs through the same link.
    arena.forge.trust(evil)
    link.unlink()
    link.symlink_to(evil)
    shutil.copy(evil.with_name("evil.py.sig"), arena.plugins / "twin.py.sig")
    await arena.runs(link)


async def test_a_native_symlink_swapped_between_check_and_load(arena: Arena) -> None:
    store = arena.root / "store"
    store.mkdir()
    good_mark = arena.root / "good ran"
    good = compile_plugin("constructor.c", store / "good.so", f'-DMARK_PATH="{good_mark}"')
    evil = compile_plugin("constructor.c", store / "evil.so", f'-DMARK_PATH="{arena.mark}"')
    arena.forge.sign(good)
    arena.forge.trust(good)
    link = arena.plugins / "twin.so"
    link.symlink_to(good)
    shutil.copy(good.with_name("good.so.sig"), arena.plugins / "twin.so.sig")
    aside = arena.plugins / "aside"
    targets = [evil, good]

    def swap() -> None:
        aside.symlink_to(targets[0])
        aside.replace(link)
        targets.reverse()

    with meanwhile(swap):
        loads, codes = await attempts(arena.registry(), link, 300)
    assert not arena.mark.exists(), "the constructor of the untrusted library ran"
    assert good_mark.exists()
    assert loads > 0
    assert codes == {"signature.mismatch"}


async def test_a_file_rewritten_in_place_while_it_is_loaded(arena: Arena) -> None:
    good, evil = twins(arena)
    path = arena.plugins / "twin.py"
    shutil.copy(good, path)
    shutil.copy(good.with_name("good.py.sig"), arena.plugins / "twin.py.sig")
    contents = [evil.read_bytes(), good.read_bytes()]

    def rewrite() -> None:
        with path.open("r+b") as file:
            file.write(contents[0])
            file.truncate()
        contents.reverse()

    with meanwhile(rewrite):
        loads, codes = await attempts(arena.registry(), path, 400)
    assert arena.steps() == "", "the untrusted plugin ran"
    assert loads + len(codes) > 0
    # A torn read is one of these as well: some bytes of each.
    assert codes <= {
        *("signature.mismatch", "file.changed", "file.empty"),
        *("manifest.syntax", "manifest.missing", "manifest.ambiguous", "manifest.not_top_level"),
        *("manifest.not_literal", "manifest.field"),
    }
    assert "signature.mismatch" in codes


async def test_a_file_rewritten_between_inspect_and_start(arena: Arena) -> None:
    good, evil = twins(arena)
    path = arena.plugins / "twin.py"
    shutil.copy(good, path)
    shutil.copy(good.with_name("good.py.sig"), arena.plugins / "twin.py.sig")
    loader = arena.registry().loader
    inspection = loader.inspect(path)
    loader.require(inspection)
    path.write_bytes(evil.read_bytes())
    live = await loader.start(inspection, {})
    assert arena.steps() == ""
    assert inspection.file.sha3_512 == sha3_512(good.read_bytes()).hexdigest()
    assert live.manifest.name == "twin"
    live.close()


async def test_a_rewritten_file_of_a_loaded_plugin_changes_nothing(arena: Arena) -> None:
    path = arena.forge.plugin("steady")
    registry = arena.registry()
    await registry.load_plugin(path)
    running = registry.get_plugin_info("steady")
    path.write_text(arena.armed("usurper", trust=False).read_text())
    registry.scan_directory(arena.plugins)
    assert registry.get_plugin_info("steady") == running
    assert [info.name for info in registry.list_loaded_plugins()] == ["steady"]
    assert registry.plugin_count() == 1
    listed = [(info.name, info.path.name) for info in registry.get_all_plugins()]
    assert listed == [
        ("bystander", "bystander.py"),
        ("steady", "steady.py"),
        ("usurper", "steady.py"),
        ("usurper", "usurper.py"),
    ]
    assert registry.total_plugin_count() == len(listed)
    path.unlink()
    registry.scan_directory(arena.plugins)
    assert registry.is_loaded("steady")
    assert registry.get_plugin_info("steady") == running
    await registry.unload_plugin("steady")
    assert arena.steps() == ""
