"""Builds small native plugins with the system's compiler for the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["EMULATED", "EXAMPLES", "INCLUDE", "PLUGINS", "STRICT", "compile_plugin"]

_ROOT = Path(__file__).parents[1]
INCLUDE = _ROOT / "src" / "pluginapi" / "include"
PLUGINS = _ROOT / "tests" / "native_plugins"
EXAMPLES = _ROOT / "examples" / "plugins"
# Every intrinsic as a function in standard C, so that every path runs on every x86-64 machine. GCC
# would note that wide registers are passed differently than before its version 4.6.
EMULATED = (
    "-DPA_CPU_EMULATED",
    f"-I{_ROOT / 'tests' / 'native_harness' / 'emulation'}",
    "-Wno-psabi",
)
# Everything a strict author would switch on.
STRICT = (
    *("-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow"),
    *("-pedantic", "-Werror"),
)


def compile_plugin(source: Path | str, target: Path, *flags: str) -> Path:
    """Build a shared library from a source file, C++ when its name says so.

    A relative source is one of tests/native_plugins. The compiler's complaint fails the test.
    """
    path = PLUGINS / source
    command, standard = ("c++", "-std=c++17") if path.suffix == ".cpp" else ("cc", "-std=gnu11")
    subprocess.run(
        [
            *(command, standard, "-shared", "-fPIC", "-O1", *STRICT, f"-I{INCLUDE}", *flags),
            *("-o", str(target), str(path), "-pthread"),
        ],
        check=True,
    )
    return target
