"""The C kernel that counts whose memory is whose alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from native.kernel_programs import ADDRESS, build, check_alone, run
from native.support import HARNESS, KERNELS

pytestmark = pytest.mark.c_only

HEAP = sorted((KERNELS / "heap").glob("*.c"))


@pytest.mark.parametrize("path", HEAP, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    check_alone(compiler, path, tmp_path)


def test_blocks_are_counted_without_python(compiler: str, tmp_path: Path) -> None:
    program = build(compiler, tmp_path, HARNESS / "heap_harness.c", HEAP, ADDRESS)
    assert run(program) == "ok\n"
