"""The C kernel that watches over processor time alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from native.support import HARNESS, KERNELS, STRICT
from native.test_kernels import ADDRESS, FLAGS, THREAD, _run

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(sys.platform != "linux", reason="clocks of other processes are of Linux"),
]

BUDGET = sorted((KERNELS / "budget").glob("*.c"))


@pytest.mark.parametrize("path", BUDGET, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    assert "Python.h" not in path.read_text()
    subprocess.run(
        [compiler, "-std=c11", *STRICT, *FLAGS, "-c", "-o", str(tmp_path / "k.o"), str(path)],
        check=True,
    )


@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_budgets_are_watched_without_python(
    compiler: str, tmp_path: Path, sanitizer: tuple[str, ...]
) -> None:
    program = tmp_path / "budget_harness"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *sanitizer, "-o", str(program)),
            *(str(HARNESS / "budget_harness.c"), *map(str, BUDGET), "-pthread"),
        ],
        check=True,
    )
    assert _run(program) == "ok\n"
