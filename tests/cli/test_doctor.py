from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pluginapi._native import _cpu, _sha3

from .harness import Cli, installed


def test_what_is_in_use(cli: Cli) -> None:
    report = cli("doctor", "--json").json()
    assert report["platform"]["machine"] == platform.machine()
    assert report["cpu"]["level"] == _cpu.LEVELS[_cpu.level()]
    assert report["cpu"]["features"] == list(_cpu.features())
    assert report["primitives"]["sha3_512"] == {
        "level": _cpu.LEVELS[_sha3.level()],
        "paths": _sha3.paths(),
    }
    assert report["libraries"]["pynacl"] == version("pynacl")
    assert "pytest" not in report["libraries"]


def test_text_says_the_same(cli: Cli) -> None:
    out = cli("doctor").out
    assert f"level {_cpu.LEVELS[_sha3.level()]}" in out
    assert f"pluginapi      {version('pluginapi')}" in out


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
def test_what_sandbox_there_can_be(cli: Cli) -> None:
    found = cli("doctor", "--json").json()["sandbox"]
    assert found["tier"] in {"root", "rootless", "unprivileged", "none"}
    if "PLUGINAPI_MUST_SANDBOX" in os.environ:
        assert found["strict"]["there"], found["strict"]
    for name in ("user namespace", "landlock", "seccomp", "cgroup", "strict", "minimal"):
        assert found[name]["there"] or found[name]["remedy"], name


def test_the_level_can_be_lowered() -> None:
    done = installed("doctor", "--json", environment={"PLUGINAPI_CPU": "portable"})
    report = done.json()
    assert report["cpu"]["level"] == "portable"
    assert report["cpu"]["lowered_by"] == "portable"
    assert report["primitives"]["sha3_512"] == {"level": "portable", "paths": "portable"}


@pytest.mark.parametrize("command", [["doctor"], ["hash", "a"]])
def test_a_level_that_does_not_exist_is_an_error_without_a_traceback(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    done = installed(*command, "--json", environment={"PLUGINAPI_CPU": "fast"}, cwd=tmp_path)
    assert (done.code, done.error()["code"]) == (1, "config.cpu_level")
    assert "Traceback" not in done.err
