"""The C kernels alone, without Python: strict warnings, sanitizers, and a plugin run by C only."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from native.kernel_programs import ADDRESS, FLAGS, THREAD, check_alone, run
from native.support import HARNESS, KERNELS, STRICT, Native

pytestmark = pytest.mark.c_only

if TYPE_CHECKING:
    from pathlib import Path

ABI = sorted((KERNELS / "abi").glob("*.c"))
CLOCK = sorted((KERNELS / "clock").glob("*.c"))


def test_there_are_kernels() -> None:
    assert {path.name for path in ABI} >= {"instance.c", "memory.c", "services.c", "sink.c"}


@pytest.mark.parametrize("path", ABI + CLOCK, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path, tmp_path: Path) -> None:
    check_alone(compiler, path, tmp_path)


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
    assert run(program, str(probe)) == "ok\n"


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
    assert run(program) == "ok\n"


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
    said = run(program)
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
    assert run(program) == "ok\n"
