"""Fixtures of plugins in processes of their own; each test leaves no process and no descriptor."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from native.support import Native
from pluginapi import PluginRegistry
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcessManager, ProcessSettings
from support import Forge


def open_fds() -> dict[int, str]:
    """Return what the descriptors of this process are."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            continue  # The one that lists the directory.
    return {fd: what for fd, what in found.items() if not what.startswith("/proc/")}


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


# The virtual machine of `make test-vm` is emulated.
SLOWER = 15 if "PLUGINAPI_VM" in os.environ else 1


def eventually(check: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Wait until something is true and return it."""
    until = time.monotonic() + timeout * SLOWER
    while not (found := check()):
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)
    return found


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail when a test leaves processes or descriptors behind."""
    gc.collect()
    before = open_fds()
    yield
    gc.collect()
    eventually(lambda: not descendants())
    left = {fd: what for fd, what in open_fds().items() if before.get(fd) != what}
    assert not left


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture
def settings() -> ProcessSettings:
    return ProcessSettings(
        start_timeout=10.0 * SLOWER,
        call_timeout=2.0 * SLOWER,
        hang_grace=0.3 * SLOWER,
        stop_grace=2.0 * SLOWER,
        backoff_first=0.01,
        health_interval=0,
    )


@pytest.fixture
def manager(nothing_left: None, settings: ProcessSettings) -> Iterator[PluginProcessManager]:
    with PluginProcessManager(settings) as made:
        yield made


@pytest.fixture
def registry(forge: Forge, manager: PluginProcessManager) -> PluginRegistry:
    made = forge.registry(init_timeout=30.0 * SLOWER)
    made.loader._processes = manager  # As one that the loader has made itself.
    return made


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> PluginFile:
    return Native(tmp_path_factory.mktemp("probe")).file("probe.c")


def kill(pid: int) -> None:
    os.kill(pid, 9)
