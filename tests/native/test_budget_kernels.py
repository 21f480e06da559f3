"""The C kernel that watches over processor time alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from native.kernel_programs import ADDRESS, THREAD, build, check_alone, run
from native.support import HARNESS, KERNELS

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(sys.platform != "linux", reason="clocks of other processes are of Linux"),
]

BUDGET = sorted((KERNELS / "budget").glob("*.c"))


@pytest.mark.parametrize("path", BUDGET, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    check_alone(compiler, path, tmp_path)


@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_budgets_are_watched_without_python(
    compiler: str, tmp_path: Path, sanitizer: tuple[str, ...]
) -> None:
    program = build(compiler, tmp_path, HARNESS / "budget_harness.c", BUDGET, sanitizer)
    assert run(program) == "ok\n"
