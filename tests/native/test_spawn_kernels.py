"""The C kernel that starts processes alone: strict warnings, sanitizers, no Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from native.kernel_programs import ADDRESS, build, check_alone, run
from native.support import HARNESS, KERNELS

pytestmark = [
    pytest.mark.c_only,
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes the way of Linux"),
]


def _sources(name: str) -> list[Path]:
    place = KERNELS.parent / "worker" if name == "worker" else KERNELS / name
    return list(place.glob("*.c"))


SPAWN = KERNELS / "spawn" / "spawn_linux.c"
SOURCES = sorted(
    path for name in ("broker", "spawn", "confine", "worker") for path in _sources(name)
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_kernels_compile_clean_and_alone(compiler: str, tmp_path: Path, source: Path) -> None:
    check_alone(compiler, source, tmp_path, f"-I{KERNELS.parent / 'worker'}")


# Not ThreadSanitizer: it takes the new process for this one, whose memory it shares.
@pytest.mark.parametrize(
    "flags", [ADDRESS, ("-O0",), ("-O3",)], ids=["address", "plain", "optimised"]
)
def test_processes_start_or_say_which_step_failed(
    compiler: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    program = build(compiler, tmp_path, HARNESS / "spawn_harness.c", [SPAWN], flags)
    assert run(program) == "ok\n"
