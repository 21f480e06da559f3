"""What a sandboxed program could change of its host, or take from another one, without a file."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from escape.conftest import NOBODY, Arena
from escape.runner import config_of
from pluginapi.sandbox.config import SandboxConfig
from pluginapi.sandbox.launcher import Launcher
from pluginapi.sandbox.rlimits import RlimitsConfig

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(os.getuid() != 0, reason="it is about users, which root alone makes"),
]
PR_GET_DUMPABLE = 3


@pytest.fixture
def config(arena: Arena) -> SandboxConfig:
    made = config_of("root", str(arena.directory))
    return replace(made, rlimits=RlimitsConfig(open_files=1024))


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    with Launcher() as made:
        yield made


def test_21_the_host_can_be_dumped_as_before(
    arena: Arena, config: SandboxConfig, launcher: Launcher
) -> None:
    libc = ctypes.CDLL(None)
    before = libc.prctl(PR_GET_DUMPABLE)
    launcher.run(config, ["/bin/true"])
    assert libc.prctl(PR_GET_DUMPABLE) == before == 1
    # The control: a careless way to start a program as another user.
    assert arena.unconfined(("hide",)) == 0


def test_27_the_host_waits_as_before(
    arena: Arena, config: SandboxConfig, launcher: Launcher
) -> None:
    read, write = os.pipe()
    try:
        arena.unconfined(("nonblock",), stdout=write)
        assert not os.get_blocking(write)  # The control.
    finally:
        os.close(read)
        os.close(write)
    before = [os.get_blocking(fd) for fd in range(3)]
    done = launcher.run(config, [f"{arena.directory}/attack", "nonblock"])
    assert done.exit_status == 0
    assert [os.get_blocking(fd) for fd in range(3)] == before


def test_30_what_a_user_may_have_is_not_taken_from_another(
    arena: Arena, config: SandboxConfig, launcher: Launcher
) -> None:
    attack = str(arena.directory / "attack")
    # The control: two programs of one user.
    with subprocess.Popen(
        [attack, "watch-all"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=NOBODY
    ) as greedy:
        assert greedy.stdout is not None
        assert int(greedy.stdout.readline()) > 0
        assert arena.unconfined(("watch",), user=NOBODY) == 1
        greedy.communicate()
    inputs, outputs = os.pipe(), os.pipe()
    program = launcher.start(config, [attack, "watch-all"], fds=(inputs[0], outputs[1], 2))
    try:
        assert int(os.read(outputs[0], 100)) > 0
        assert launcher.run(config, [attack, "watch"]).exit_status == 0
    finally:
        launcher.finish(program)
        for fd in (*inputs, *outputs):
            os.close(fd)
