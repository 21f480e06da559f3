"""The C kernel that samples other processes alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from native.kernel_programs import ADDRESS, build, check_alone, run
from native.support import HARNESS, KERNELS

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(sys.platform != "linux", reason="perf_event_open is of Linux"),
]

PROFILE = sorted((KERNELS / "profile").glob("*.c"))


@pytest.mark.parametrize("path", PROFILE, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    check_alone(compiler, path, tmp_path)


def test_threads_are_sampled_without_python(compiler: str, tmp_path: Path) -> None:
    program = build(compiler, tmp_path, HARNESS / "profile_harness.c", PROFILE, ADDRESS)
    said = run(program)
    if said.startswith("not allowed") and not os.environ.get("PLUGINAPI_MUST_SANDBOX"):
        pytest.skip(f"the kernel does not let this user sample its own processes: {said}")
    assert said == "ok\n"
