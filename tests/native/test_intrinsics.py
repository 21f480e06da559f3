"""The emulated intrinsics that the wide paths are tested with are the processor's own."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from native.support import EMULATED, HARNESS, KERNELS, STRICT

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the intrinsics are those of x86-64"),
]
SOURCE = HARNESS / "intrinsics_check.c"
FLAGS = ("-std=c11", "-fsanitize=undefined", "-fno-sanitize-recover=all", *STRICT)
# Without optimisation GCC's own intrinsics are macros, some of which ignore the mask (GCC 12,
# _mm_mask_alignr_epi64); and its reductions add signed numbers in C, past their bounds.
REAL = ("-O1", "-DINTRINSICS_TABLE=intrinsics_native", "-fno-sanitize=signed-integer-overflow")


@pytest.fixture(scope="module")
def real(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Build what is the same in all comparisons: the processor's own side, and the program."""
    directory = tmp_path_factory.mktemp("intrinsics")
    side, program = directory / "native.o", directory / "program.o"
    _compile(compiler, side, *REAL)
    _compile(compiler, program)
    return side, program


def _compile(compiler: str, target: Path, *flags: str) -> None:
    subprocess.run(
        [compiler, *FLAGS, *flags, f"-I{KERNELS}", "-c", "-o", str(target), str(SOURCE)],
        check=True,
    )


def _compare(
    compiler: str, directory: Path, real: tuple[Path, ...], *emulation: str
) -> subprocess.CompletedProcess[str]:
    side, program = directory / "emulated.o", directory / "intrinsics_check"
    _compile(compiler, side, "-DINTRINSICS_TABLE=intrinsics_emulated", *emulation)
    subprocess.run(
        [
            *(compiler, *FLAGS, f"-I{KERNELS}", "-o", str(program), str(side)),
            *(*map(str, real), str(KERNELS / "cpu" / "cpu.c"), "-lm"),
        ],
        check=True,
    )
    finished = subprocess.run([str(program)], check=False, capture_output=True, text=True)
    if finished.stdout.startswith(("portable", "bmi2")):
        pytest.skip("this processor has none of the intrinsics")
    return finished


def test_emulated_and_real_intrinsics_agree(
    compiler: str, real: tuple[Path, ...], tmp_path: Path
) -> None:
    finished = _compare(compiler, tmp_path, real, *EMULATED)
    found = re.fullmatch(r"\w+: (\d+) of \d+ calls compared, 0 differ\n", finished.stdout)
    assert found is not None, finished.stdout + finished.stderr
    assert finished.returncode == 0
    assert int(found[1]) > 100


def test_a_wrong_emulation_is_found(compiler: str, real: tuple[Path, ...], tmp_path: Path) -> None:
    # Positive control: the same comparison with one operation that is not what it says.
    wrong = tmp_path / "wrong"
    shutil.copytree(HARNESS / "emulation", wrong)
    header = wrong / "immintrin.h"
    right = "EMU_2(unpacklo_epi64, q, i % 2 ? y.q[i - 1] : x.q[i])"
    assert right in header.read_text()
    header.write_text(
        header.read_text().replace(right, "EMU_2(unpacklo_epi64, q, i % 2 ? x.q[i - 1] : y.q[i])")
    )
    finished = _compare(compiler, tmp_path, real, f"-I{wrong}", *EMULATED)
    assert finished.returncode == 1
    assert "vex_unpacklo_epi64_256 differs" in finished.stderr
