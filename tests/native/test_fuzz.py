"""scripts/fuzz.py: a short run over every target, and what it says when something is found."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from native.support import EMULATED, HARNESS, KERNELS, STRICT

pytestmark = pytest.mark.c_only

ROOT = HARNESS.parents[1]
SCRIPT = ROOT / "scripts" / "fuzz.py"
TARGETS = sorted(
    path.name.removesuffix("_fuzz.c") for path in (ROOT / "tests/fuzz").glob("*_fuzz.c")
)


def _fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], check=False, capture_output=True, text=True
    )
    if finished.returncode == 2 and "missing: clang" in finished.stderr:
        pytest.skip("clang with libFuzzer is not installed")
    return finished


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_a_short_run(target: str, tmp_path: Path) -> None:
    # One program, since clang takes minutes with sanitizers: the emulated one has every path.
    finished = _fuzz(
        *(target, "--seconds", "3", "--state", str(tmp_path), "--instructions", "emulated")
    )
    assert finished.returncode == 0, finished.stderr
    (line,) = finished.stdout.splitlines()
    kind = "emulated" if platform.machine() == "x86_64" else "native"
    assert line.startswith(f"{target}_{kind}: ")
    assert line.endswith("nothing found")


def test_a_target_runs_on_random_inputs_without_a_fuzzer(compiler: str, tmp_path: Path) -> None:
    program = tmp_path / "ed25519"
    subprocess.run(
        [
            *(compiler, "-std=c11", "-O1", *STRICT, *EMULATED, "-DINPUTS=16", f"-I{KERNELS}"),
            *("-o", str(program), str(ROOT / "tests/fuzz/random_inputs.c")),
            *(str(ROOT / "tests/fuzz/ed25519_fuzz.c"), *map(str, KERNELS.glob("cpu/*.c"))),
            *(*map(str, KERNELS.glob("ed25519/*.c")), "-lm"),
        ],
        check=True,
    )
    finished = subprocess.run([str(program)], check=True, capture_output=True, text=True)
    best = "avx512ifma" if platform.machine() == "x86_64" else "portable"
    assert finished.stdout == f"16 inputs up to {best}: ok\n"


def test_a_finding_is_an_error_that_names_its_input(tmp_path: Path) -> None:
    (tmp_path / "planted_fuzz.c").write_text(
        "/* Kernels: cpu */\n"
        "#include <stddef.h>\n#include <stdint.h>\n#include <stdlib.h>\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {\n"
        "    volatile char *const block = malloc(4);\n"
        "    if (block != NULL && size > 1 && data[0] == 'a' && data[1] == 'b') {\n"
        "        block[size * 2] = 1;\n"
        "    }\n"
        "    free((void *)block);\n    return 0;\n}\n"
    )
    state = tmp_path / "state"
    finished = _fuzz(
        *("--targets", str(tmp_path), "--state", str(state), "--seconds", "20"),
        *("--instructions", "native"),
    )
    assert finished.returncode == 1
    assert "heap-buffer-overflow" in finished.stderr
    assert list((state / "planted").glob("crash-*"))


def test_a_missing_compiler_is_named_with_the_remedy() -> None:
    finished = subprocess.run(
        [sys.executable, str(SCRIPT)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "CLANG": "no-such-clang"},
    )
    assert finished.returncode == 2
    assert "apt-get install clang" in finished.stderr


def test_an_unknown_target_is_refused() -> None:
    finished = _fuzz("no_such")
    assert finished.returncode == 2
    assert "no such target: no_such" in finished.stderr
