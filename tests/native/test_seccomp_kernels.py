"""The C kernels of filters for system calls alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from native.kernel_programs import ADDRESS, FLAGS, FUZZ, check_alone, run
from native.support import HARNESS, KERNELS, STRICT

pytestmark = pytest.mark.c_only

SECCOMP = sorted((KERNELS / "seccomp").glob("*.c"))
OTHER = "install_other.c" if sys.platform == "linux" else "install_linux.c"
LINKED = [path for path in SECCOMP if path.name != OTHER]


@pytest.mark.parametrize(
    "path",
    [path for path in SECCOMP if sys.platform == "linux" or path.name != "install_linux.c"],
    ids=lambda path: path.name,
)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    check_alone(compiler, path, tmp_path)


def _build(compiler: str, program: Path, *sources: Path) -> None:
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *ADDRESS, "-o", str(program)),
            *map(str, (*sources, *LINKED)),
        ],
        check=True,
    )


def test_a_filter_is_made_and_put_in_force_without_python(compiler: str, tmp_path: Path) -> None:
    program = tmp_path / "seccomp_harness"
    _build(compiler, program, HARNESS / "seccomp_harness.c")
    assert run(program) == "ok\n"


def test_random_programs_and_policies(compiler: str, tmp_path: Path) -> None:
    program = tmp_path / "seccomp_fuzz"
    _build(compiler, program, HARNESS / "fuzz_driver.c", FUZZ / "seccomp_fuzz.c")
    assert run(program, "5000") == "ok\n"
