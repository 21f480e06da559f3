"""The C kernels of the channel alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from native.kernel_programs import ADDRESS, THREAD, build, check_alone, run, run_random
from native.support import HARNESS, KERNELS

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(sys.platform != "linux", reason="uses memory files"),
]

CHANNEL = sorted((KERNELS / "channel").glob("*.c"))
LINKED = [path for path in CHANNEL if path.name != "memory_other.c"]


@pytest.mark.parametrize("path", CHANNEL, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    check_alone(compiler, path, tmp_path)


@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_two_ends_talk_without_python(
    compiler: str, tmp_path: Path, sanitizer: tuple[str, ...]
) -> None:
    program = build(compiler, tmp_path, HARNESS / "channel_harness.c", LINKED, sanitizer)
    assert run(program) == "ok\n"


def test_random_bytes_of_a_hostile_worker(compiler: str, tmp_path: Path) -> None:
    run_random(compiler, tmp_path, "channel_fuzz.c", LINKED)
