"""The C kernels alone, without Python: strict warnings, sanitizers, and a plugin run by C only."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from native.support import HARNESS, INCLUDE, KERNELS, STRICT, Native

pytestmark = pytest.mark.c_only

if TYPE_CHECKING:
    from pathlib import Path

ABI = sorted((KERNELS / "abi").glob("*.c"))
CLOCK = sorted((KERNELS / "clock").glob("*.c"))
FLAGS = ("-g", "-O1", "-fno-omit-frame-pointer", f"-I{INCLUDE}", f"-I{KERNELS}")
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-fsanitize=thread",)


def test_there_are_kernels() -> None:
    assert {path.name for path in ABI} >= {"instance.c", "memory.c", "services.c", "sink.c"}


@pytest.mark.parametrize("path", ABI + CLOCK, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    assert "Python.h" not in path.read_text()
    subprocess.run(
        [compiler, "-std=c11", *STRICT, *FLAGS, "-c", "-o", str(tmp_path / "k.o"), str(path)],
        check=True,
    )


def _run(program: Path, *arguments: str) -> str:
    # The program brings its own sanitizer; one preloaded for the tests would clash with it.
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


@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_a_plugin_runs_without_python(
    native: Native, compiler: str, tmp_path: Path, sanitizer: tuple[str, ...]
) -> None:
    probe = native.compile("probe.c")
    program = tmp_path / "kernel_harness"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *sanitizer, "-o", str(program)),
            *(str(HARNESS / "kernel_harness.c"), *map(str, ABI), "-ldl", "-pthread"),
        ],
        check=True,
    )
    assert _run(program, str(probe)) == "ok\n"


@pytest.mark.parametrize("sanitizer", [ADDRESS, THREAD], ids=["address", "thread"])
def test_handlers_come_through_the_gate_while_it_closes(
    compiler: str, tmp_path: Path, sanitizer: tuple[str, ...]
) -> None:
    program = tmp_path / "gate_harness"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *sanitizer, "-o", str(program)),
            *(str(HARNESS / "gate_harness.c"), *map(str, ABI), "-ldl", "-pthread"),
        ],
        check=True,
    )
    assert _run(program) == "ok\n"


@pytest.mark.parametrize("flags", [(), ("-DPA_CLOCK_PORTABLE",)], ids=["counter", "portable"])
def test_the_clock_tells_time_with_and_without_a_counter(
    compiler: str, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    program = tmp_path / "clock_harness"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *ADDRESS, *flags, "-o", str(program)),
            *(str(HARNESS / "clock_harness.c"), *map(str, CLOCK), "-pthread"),
        ],
        check=True,
    )
    said = _run(program)
    assert said in {"counter\n", "portable\n"}
    if flags:
        assert said == "portable\n"


def test_the_sanitizer_sees_errors(compiler: str, tmp_path: Path) -> None:
    # Positive control: the runs above would fail if there were something to find.
    source = tmp_path / "overrun.c"
    source.write_text(
        "#include <stdlib.h>\n"
        "int main(int argc, char **argv) {\n"
        "    volatile char *block = malloc(8);\n"
        "    (void)argv;\n"
        "    block[7 + argc] = 1;\n"
        "    return block[7 + argc];\n"
        "}\n"
    )
    program = tmp_path / "overrun"
    subprocess.run([compiler, *FLAGS, *ADDRESS, "-o", str(program), str(source)], check=True)
    finished = subprocess.run([str(program)], check=False, capture_output=True, text=True)
    assert finished.returncode != 0
    assert "overrun.c:5" in finished.stderr


def test_the_msgpack_reader_stays_inside_its_input(compiler: str, tmp_path: Path) -> None:
    program = tmp_path / "msgpack_fuzz"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", *STRICT, *FLAGS, *ADDRESS, "-o", str(program)),
            str(HARNESS / "msgpack_fuzz.c"),
        ],
        check=True,
    )
    assert _run(program) == "ok\n"
