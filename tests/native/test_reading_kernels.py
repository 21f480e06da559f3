"""The kernels that read files and search in them alone, without Python, under the sanitizers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from native.support import HARNESS, KERNELS, STRICT

SOURCES = tuple(sorted((KERNELS / "reading").glob("*.c")))
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1"),
    "optimised": ("-O3",),
}


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
def test_files_that_change_while_they_are_read(
    compiler: str, tmp_path: Path, sanitizer: str
) -> None:
    program, directory = tmp_path / "reading_harness", tmp_path / "files"
    directory.mkdir()
    # The harness brings files_posix.c with its system calls replaced.
    others = [str(path) for path in SOURCES if path.name != "files_posix.c"]
    subprocess.run(
        [
            *(compiler, "-std=c11", "-D_GNU_SOURCE", "-g", f"-I{KERNELS}", *STRICT),
            *(*SANITIZERS[sanitizer], "-o", str(program)),
            *(str(HARNESS / "reading_harness.c"), *others),
        ],
        check=True,
    )
    # The program brings its own sanitizer; one preloaded for the tests would clash with it.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    environment["ASAN_OPTIONS"] = "allocator_may_return_null=1:detect_leaks=1"
    finished = subprocess.run(
        [str(program), str(directory)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
