"""Build the compiled modules of pluginapi; all metadata is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
NATIVE = "src/_native"
HEADERS = [str(p.relative_to(ROOT)) for p in (ROOT / "src").rglob("*.h")]

# PLUGINAPI_SANITIZE=1 builds the natives with AddressSanitizer and UndefinedBehaviorSanitizer;
# run the tests with the sanitizer run-times preloaded (see CONTRIBUTING.md, `make test-sanitize`).
SANITIZE = os.environ.get("PLUGINAPI_SANITIZE") == "1"
SANITIZE_FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# Debug information is ten times the size of the code; profilers set CFLAGS themselves.
COMPILE_FLAGS = [] if sys.platform == "win32" else ["-std=c11", "-fvisibility=hidden", "-g0"]
if SANITIZE:
    COMPILE_FLAGS = ["-std=c11", "-g", "-O1", "-fno-omit-frame-pointer", *SANITIZE_FLAGS]
LINK_FLAGS = SANITIZE_FLAGS if SANITIZE else []


def native(name: str, *kernels: str) -> Extension:
    """Describe `pluginapi._native.<name>`: one Cython face over the C files of its kernels."""
    return Extension(
        f"pluginapi._native.{name}",
        [f"{NATIVE}/{name}.pyx", *(f"{NATIVE}/kernels/{kernel}" for kernel in kernels)],
        include_dirs=[f"{NATIVE}/kernels", "src/pluginapi/include"],
        depends=HEADERS,
        extra_compile_args=COMPILE_FLAGS,
        extra_link_args=LINK_FLAGS,
    )


class BuildWithExamples(build_py):
    """Ship examples/ inside the wheel: `pluginapi demo` works without the source tree."""

    def run(self) -> None:
        """Build the package, then copy the examples beside it."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "pluginapi" / "_examples"
        shutil.copytree(
            ROOT / "examples",
            target,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.o"),
        )


setup(
    cmdclass={"build_py": BuildWithExamples},
    ext_modules=cythonize(
        [
            native(
                "_abi",
                "abi/instance.c",
                "abi/library_posix.c",
                "abi/memory.c",
                "abi/services.c",
                "abi/sink.c",
            ),
            native("_cpu", "cpu/cpu.c"),
            native(
                "_sha3",
                "keccak/avx2_x4.c",
                "keccak/avx512_x1.c",
                "keccak/avx512_x2.c",
                "keccak/avx512_x4.c",
                "keccak/avx512_x8.c",
                "keccak/bmi2.c",
                "keccak/buffers.c",
                "keccak/dispatch.c",
                "keccak/files_posix.c",
                "keccak/many.c",
                "keccak/portable.c",
                "keccak/sha3_512.c",
            ),
        ],
        build_dir="build/cython",
        include_path=["src", NATIVE],
        language_level=3,
        compiler_directives={
            "autotestdict": False,
            "auto_pickle": False,
            "binding": False,
            "embedsignature": False,
        },
    ),
)
