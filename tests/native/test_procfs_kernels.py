"""The C kernels that measure processes alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from native.support import HARNESS, KERNELS, STRICT
from native.test_kernels import ADDRESS, FLAGS, THREAD, _run

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux"),
]

PROCFS = sorted((KERNELS / "procfs").glob("*.c"))
FUZZ = Path(__file__).parents[1] / "fuzz"


@pytest.mark.parametrize("path", PROCFS, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    assert "Python.h" not in path.read_text()
    subprocess.run(
        [compiler, "-std=c11", *STRICT, *FLAGS, "-c", "-o", str(tmp_path / "k.o"), str(path)],
        check=True,
    )


@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_processes_are_measured_without_python(
    compiler: str, tmp_path: Path, sanitizer: tuple[str, ...]
) -> None:
    program = tmp_path / "procfs_harness"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *sanitizer, "-o", str(program)),
            *(str(HARNESS / "procfs_harness.c"), *map(str, PROCFS), "-pthread"),
        ],
        check=True,
    )
    assert _run(program) == "ok\n"


def test_random_texts(compiler: str, tmp_path: Path) -> None:
    program = tmp_path / "procfs_fuzz"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *ADDRESS, "-o", str(program)),
            *(str(HARNESS / "fuzz_driver.c"), str(FUZZ / "procfs_fuzz.c"), *map(str, PROCFS)),
            "-pthread",
        ],
        check=True,
    )
    assert _run(program, "20000") == "ok\n"
