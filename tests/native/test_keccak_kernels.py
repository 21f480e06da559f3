"""The SHA3-512 kernels alone, without Python: every path under the sanitizers.

The paths that this machine has run on its own instructions; all of them run on emulated ones.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from native.support import EMULATED, HARNESS, KERNELS, STRICT
from pluginapi._native import _cpu

pytestmark = pytest.mark.c_only

SOURCES = (
    *sorted((KERNELS / "cpu").glob("*.c")),
    *sorted((KERNELS / "keccak").glob("*.c")),
)
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-g", "-O1", f"-I{KERNELS}", *STRICT)
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
    "optimised": ("-O3",),
}
X86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the wide paths are those of x86-64"
)
S390X = "s390x-linux-gnu-gcc"
QEMU = "qemu-s390x"


def _build(compiler: str, program: Path, *flags: str) -> None:
    subprocess.run(
        [
            *(compiler, *FLAGS, *flags, "-o", str(program)),
            *(str(HARNESS / "keccak_harness.c"), *map(str, SOURCES), "-pthread"),
        ],
        check=True,
    )


def _run(directory: Path, *command: str) -> str:
    directory.mkdir()
    # The program brings its own sanitizer; one preloaded for the tests would clash with it.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    finished = subprocess.run(
        [*command, str(directory)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    assert "Python.h" not in path.read_text()
    subprocess.run(
        [
            *(compiler, "-std=c11", *STRICT, f"-I{KERNELS}", "-c", "-o", str(tmp_path / "k.o")),
            str(path),
        ],
        check=True,
    )


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_every_path_agrees_with_the_portable_one(
    compiler: str, tmp_path: Path, sanitizer: str
) -> None:
    program = tmp_path / "keccak_harness"
    _build(compiler, program, *SANITIZERS[sanitizer])
    assert re.fullmatch(r"[1-5] levels ok\n", _run(tmp_path / "files", str(program)))


@X86_64
def test_every_path_agrees_when_the_instructions_are_emulated(
    compiler: str, tmp_path: Path
) -> None:
    program = tmp_path / "keccak_harness"
    _build(compiler, program, *SANITIZERS["address"], *EMULATED)
    printed = _run(tmp_path / "files", str(program))
    assert printed == f"{len(_cpu.LEVELS)} levels ok\n"


def test_the_portable_path_is_right_on_a_big_endian_machine(tmp_path: Path) -> None:
    if shutil.which(S390X) is None or shutil.which(QEMU) is None:
        pytest.skip(f"{S390X} and {QEMU} are not installed")
    program = tmp_path / "keccak_harness"
    _build(S390X, program, "-static")
    assert _run(tmp_path / "files", QEMU, str(program)) == "1 levels ok\n"
