"""The C kernels of the broker alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from native.kernel_programs import ADDRESS, THREAD, build, check_alone, run, run_random
from native.support import HARNESS, KERNELS

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(sys.platform != "linux", reason="seccomp is of Linux"),
]

BROKER = sorted((KERNELS / "broker").glob("*.c"))


@pytest.mark.parametrize("path", BROKER, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    check_alone(compiler, path, tmp_path)


@pytest.mark.skipif(
    os.getuid() != 0 and "PLUGINAPI_MUST_SANDBOX" not in os.environ,
    reason="a network namespace of its own may take root",
)
@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_a_process_behind_a_filter_connects_without_python(
    compiler: str, tmp_path: Path, sanitizer: tuple[str, ...]
) -> None:
    program = build(compiler, tmp_path, HARNESS / "broker_harness.c", BROKER, sanitizer)
    assert run(program) == "ok\n"


def test_random_addresses_and_decisions(compiler: str, tmp_path: Path) -> None:
    run_random(compiler, tmp_path, "broker_fuzz.c", BROKER)
