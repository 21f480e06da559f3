"""Build and run the fuzz targets, tests/fuzz/*_fuzz.c, with clang's libFuzzer and sanitizers.

Exits 0 when nothing was found, 1 when something was, 2 when the tools are missing. A target names
the kernels that it is linked with in its first comment: "Kernels: cpu keccak". Each is built twice,
with the instructions that this processor has and with all of them emulated. What the fuzzer learnt
stays in .fuzz, so that the next run goes on from there.

Standard library only.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "src" / "_native" / "kernels"
TARGETS = ROOT / "tests" / "fuzz"
EMULATION = ROOT / "tests" / "native_harness" / "emulation"
STATE = ROOT / ".fuzz"
COMPILERS = ("clang", *(f"clang-{version}" for version in range(30, 13, -1)))
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
FLAGS = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wno-macro-redefined",
    "-O2",
    "-g1",
    SANITIZERS,
    "-fno-sanitize-recover=all",
)
INSTRUCTIONS = {
    "native": (),
    "emulated": ("-DPA_CPU_EMULATED", f"-I{EMULATION}"),
}
# One input; kernels need microseconds, the emulated ones a few milliseconds.
TIMEOUT_SECONDS = 20


def find_compiler() -> str | None:
    """Return a clang that can link libFuzzer, or None."""
    named = os.environ.get("CLANG")
    for name in [named] if named else COMPILERS:
        if shutil.which(name) is not None and _links_fuzzer(name):
            return name
    return None


def _links_fuzzer(compiler: str) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "empty.c"
        source.write_text(
            "#include <stddef.h>\n#include <stdint.h>\n"
            "int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {\n"
            "    (void)data;\n    return size > 0 ? 0 : 0;\n}\n"
        )
        built = subprocess.run(
            [compiler, SANITIZERS, "-o", str(source.with_suffix("")), str(source)],
            check=False,
            capture_output=True,
        )
    return built.returncode == 0


def build(compiler: str, target: Path, instructions: str, program: Path) -> None:
    """Compile one target with the kernels that it names."""
    named = re.search(r"Kernels: ([a-z0-9_ ]+)", target.read_text())
    if named is None:
        raise SystemExit(f'{target}: the comment "Kernels: ..." is missing')
    sources = [
        path
        for name in named[1].split()
        for path in sorted((KERNELS / name).glob("*.c"))
        # The same functions for platforms without their own; fuzzing is for Linux.
        if not path.stem.endswith("_other")
    ]
    subprocess.run(
        [
            *(compiler, *FLAGS, *INSTRUCTIONS[instructions], f"-I{KERNELS}"),
            *("-o", str(program), str(target), *map(str, sources), "-pthread", "-lm"),
        ],
        check=True,
    )


def run(program: Path, directory: Path, seconds: int) -> bool:
    """Fuzz for so long; print speed and coverage. Return whether nothing was found."""
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    # The program brings its own sanitizer; one preloaded for the tests would clash with it.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    finished = subprocess.run(
        [
            *(
                str(program),
                str(corpus),
                f"-max_total_time={seconds}",
                f"-timeout={TIMEOUT_SECONDS}",
            ),
            *("-print_final_stats=1", f"-artifact_prefix={directory}/", "-max_len=2048"),
        ],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
    )
    if finished.returncode != 0:
        print(finished.stderr, file=sys.stderr)
        print(f"found: run {program} with the file named above", file=sys.stderr)
        return False
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", finished.stderr))
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", finished.stderr)
    edges, features, inputs = covered[-1]
    print(
        f"{program.name}: {stats['number_of_executed_units']} executions, "
        f"{stats['average_exec_per_sec']} a second; "
        f"coverage {edges} edges, {features} features; corpus {inputs} inputs; nothing found"
    )
    return True


def main() -> int:
    """Run the targets that were named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="*", help="the name before _fuzz.c; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each program")
    parser.add_argument("--instructions", choices=[*INSTRUCTIONS], action="append")
    parser.add_argument("--targets", type=Path, default=TARGETS, help="where the sources are")
    parser.add_argument("--state", type=Path, default=STATE, help="corpus and findings")
    arguments = parser.parse_args()
    compiler = find_compiler()
    if compiler is None:
        print("missing: clang with libFuzzer and its sanitizers", file=sys.stderr)
        print("Debian, Ubuntu:  sudo apt-get install clang-19 libclang-rt-19-dev", file=sys.stderr)
        print("Fedora, RHEL:    sudo dnf install clang compiler-rt", file=sys.stderr)
        return 2
    chosen = arguments.instructions or [*INSTRUCTIONS]
    if platform.machine() != "x86_64":
        chosen = ["native"]  # There is nothing to emulate: the wide paths are those of x86-64.
    sources = sorted(arguments.targets.glob("*_fuzz.c"))
    names = [path.name.removesuffix("_fuzz.c") for path in sources]
    unknown = [name for name in arguments.target if name not in names]
    if unknown or not sources:
        print(f"no such target: {' '.join(unknown)}; there are: {' '.join(names)}", file=sys.stderr)
        return 2
    clean = True
    for name, source in zip(names, sources, strict=True):
        if arguments.target and name not in arguments.target:
            continue
        for instructions in chosen:
            directory = arguments.state / name
            directory.mkdir(parents=True, exist_ok=True)
            program = directory / f"{name}_{instructions}"
            build(compiler, source, instructions, program)
            clean = run(program, directory, arguments.seconds) and clean
    return 0 if clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
