"""Compile the C kernels without Python, and run programs that are made of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from native.support import HARNESS, INCLUDE, KERNELS, STRICT

__all__ = ["ADDRESS", "FLAGS", "FUZZ", "THREAD", "build", "check_alone", "run", "run_random"]

FUZZ = Path(__file__).parents[1] / "fuzz"
FLAGS = ("-g", "-O1", "-fno-omit-frame-pointer", f"-I{INCLUDE}", f"-I{KERNELS}")
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-fsanitize=thread",)


def check_alone(compiler: str, path: Path, directory: Path, *flags: str) -> None:
    """Fail unless a kernel compiles without a warning, and knows no Python."""
    assert "Python.h" not in path.read_text()
    output = str(directory / "k.o")
    subprocess.run(
        [compiler, "-std=c11", *STRICT, *FLAGS, *flags, "-c", "-o", output, str(path)], check=True
    )


def build(
    compiler: str, directory: Path, program: Path, kernels: Iterable[Path], flags: Iterable[str]
) -> Path:
    """Build a C program with kernels; return where it is."""
    output = directory / program.stem
    sources = (str(program), *map(str, kernels))
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *flags, "-o", str(output)),
            *(*sources, "-pthread"),
        ],
        check=True,
    )
    return output


def run(program: Path, *arguments: str) -> str:
    """Run a program that brings its own sanitizer; return what it printed."""
    # One that is preloaded for the tests would clash with it.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    finished = subprocess.run(
        [str(program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def run_random(compiler: str, directory: Path, target: str, kernels: Iterable[Path]) -> None:
    """Run a fuzz target on 20,000 random inputs, under sanitizers."""
    driver = HARNESS / "fuzz_driver.c"
    program = build(compiler, directory, driver, [FUZZ / target, *kernels], ADDRESS)
    assert run(program, "20000") == "ok\n"
