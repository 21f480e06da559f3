"""A program that core dumps go to runs as root: what keeps a plugin from starting it, core(5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.programs import run_program

pytestmark = pytest.mark.vm_only

KERNEL = Path("/proc/sys/kernel")
CRASH = """
import codecs, os, sys
from pluginapi.sandbox.capabilities import CapabilitiesConfig
from pluginapi.sandbox.plan import Plan, apply_plan
from pluginapi.sandbox.rlimits import RlimitsConfig

core, dumpable = int(sys.argv[1]), sys.argv[2] == "dumpable"
plan = Plan().rlimits(RlimitsConfig(core_bytes=core)).become(54321, 54321)
plan.capabilities(CapabilitiesConfig()).dumpable(on=dumpable)
apply_plan(plan)
os.abort()
"""


@pytest.fixture
def handled(tmp_path: Path) -> Iterator[Path]:
    """Have core dumps go to a program that says in a file who it is."""
    told, program = tmp_path / "told", tmp_path / "handler"
    program.write_text(f"#!/bin/sh\nid -u >{told}\n")
    program.chmod(0o755)
    settings = {"core_pattern": f"|{program}", "core_pipe_limit": "4"}  # It waits for up to 4.
    before = {name: (KERNEL / name).read_text() for name in settings}
    for name, value in settings.items():
        (KERNEL / name).write_text(value)
    yield told
    for name, value in before.items():
        (KERNEL / name).write_text(value)


@pytest.mark.parametrize(
    ("core_bytes", "dumpable", "who"),
    [
        # The attack: root's program runs, told by a process that is nobody.
        (1 << 30, "dumpable", "0\n"),
        # No size at all does not stop it.
        (0, "dumpable", "0\n"),
        # Each of the two that a plugin's process gets does.
        (1, "dumpable", None),
        (1 << 30, "not dumpable", None),
        (1, "not dumpable", None),
    ],
)
def test_who_runs_for_a_core_dump(
    handled: Path, core_bytes: int, dumpable: str, who: str | None
) -> None:
    done = run_program(CRASH, str(core_bytes), dumpable)
    assert done.returncode == -6, done.stderr
    assert (handled.read_text() if handled.exists() else None) == who
