"""Build the compiled modules of pluginapi; all metadata is in pyproject.toml."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
NATIVE = "src/_native"
HEADERS = [str(p.relative_to(ROOT)) for p in (ROOT / "src").rglob("*.h")]

# PLUGINAPI_SANITIZE=1 builds the natives with AddressSanitizer and UndefinedBehaviorSanitizer;
# run the tests with the sanitizer run-times preloaded (see CONTRIBUTING.md, `make test-sanitize`).
SANITIZE = os.environ.get("PLUGINAPI_SANITIZE") == "1"
SANITIZE_FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# PLUGINAPI_EMULATE=1 builds the natives with every intrinsic as a function in standard C:
# all paths then run on every x86-64 machine, slowly; for `make test-emulated` alone.
EMULATE = os.environ.get("PLUGINAPI_EMULATE") == "1"

# Debug information is ten times the size of the code; profilers set CFLAGS themselves.
COMPILE_FLAGS = [] if sys.platform == "win32" else ["-std=c11", "-fvisibility=hidden", "-g0", "-O3"]
if SANITIZE:
    COMPILE_FLAGS = ["-std=c11", "-g", "-O1", "-fno-omit-frame-pointer", *SANITIZE_FLAGS]
LINK_FLAGS = SANITIZE_FLAGS if SANITIZE else []
INCLUDES = [NATIVE, f"{NATIVE}/kernels", "src/pluginapi/include"]
if EMULATE:
    COMPILE_FLAGS = [*COMPILE_FLAGS, "-DPA_CPU_EMULATED", "-Wno-psabi"]
    INCLUDES = ["tests/native_harness/emulation", *INCLUDES]


def native(name: str, *kernels: str) -> Extension:
    """Describe `pluginapi._native.<name>`: one Cython face over the C files of its kernels."""
    return Extension(
        f"pluginapi._native.{name}",
        [f"{NATIVE}/{name}.pyx", *(f"{NATIVE}/kernels/{kernel}" for kernel in kernels)],
        include_dirs=INCLUDES,
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


# Named pipes are bound with cffi, on Windows alone.
WINDOWS: dict[str, Any] = {}
if sys.platform == "win32":
    WINDOWS["cffi_modules"] = [f"{NATIVE}/windows/build_named_pipe.py:ffibuilder"]


# The program that hosts native plugins outside of the host's process. Linux only, as spawning is.
WORKER = "plugin-worker"
WORKER_SOURCES = [
    *(
        f"{NATIVE}/worker/{name}.c"
        for name in sorted(p.stem for p in Path(NATIVE, "worker").glob("*.c"))
    ),
    *(
        f"{NATIVE}/kernels/abi/{name}.c"
        for name in ("instance", "library_posix", "memory", "services", "sink")
    ),
    *(
        f"{NATIVE}/kernels/channel/{name}.c"
        for name in ("frame", "join_posix", "link", "memory_linux", "ring", "scan", "socket_posix")
    ),
    *(
        f"{NATIVE}/kernels/confine/{name}.c"
        for name in sorted(p.stem for p in Path(NATIVE, "kernels", "confine").glob("*.c"))
    ),
    f"{NATIVE}/kernels/spawn/spawn_linux.c",
]


class BuildWithWorker(build_ext):
    """Build the worker program and put it beside the compiled modules."""

    def _worker(self) -> str:
        # In place or not, it goes where the modules go.
        return str(Path(self.get_ext_fullpath("pluginapi._native._spawn")).with_name(WORKER))

    def run(self) -> None:
        """Build the modules, then the program."""
        super().run()
        if sys.platform != "linux":
            return
        objects = self.compiler.compile(
            WORKER_SOURCES,
            output_dir=str(Path(self.build_temp, "worker")),
            include_dirs=[f"{NATIVE}/kernels", f"{NATIVE}/worker", "src/pluginapi/include"],
            extra_postargs=[*COMPILE_FLAGS, "-fPIE"],
            depends=HEADERS,
        )
        path = Path(self._worker())
        path.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_executable(
            objects,
            path.name,
            output_dir=str(path.parent),
            libraries=["dl", "pthread"],
            extra_postargs=[
                *LINK_FLAGS,
                *("-pie", "-Wl,-z,relro,-z,now"),
                *shlex.split(os.environ.get("LDFLAGS", "")),
            ],
        )

    def get_outputs(self) -> list[str]:
        """Name the program too, so that it is installed and uninstalled."""
        return [*super().get_outputs(), *([self._worker()] if sys.platform == "linux" else [])]


setup(
    **WINDOWS,
    cmdclass={"build_py": BuildWithExamples, "build_ext": BuildWithWorker},
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
            native(
                "_channel",
                "budget/calls.c",
                "channel/frame.c",
                "channel/join_posix.c",
                "channel/link.c",
                f"channel/memory_{'linux' if sys.platform == 'linux' else 'other'}.c",
                "channel/ring.c",
                "channel/scan.c",
                "channel/socket_posix.c",
            ),
            *(
                [
                    native(
                        "_broker",
                        "broker/broker.c",
                        "broker/notify.c",
                        "broker/replace.c",
                        "broker/verdicts.c",
                    ),
                    native("_budget", "budget/budget.c", "budget/calls.c"),
                    native(
                        "_confine",
                        "confine/bounds.c",
                        "confine/filters.c",
                        "confine/landlock.c",
                        "confine/mounts.c",
                        "confine/namespaces.c",
                        "confine/network.c",
                        "confine/overlay.c",
                        "confine/plan.c",
                        "confine/privileges.c",
                    ),
                    native("_profile", "profile/profile.c"),
                    native(
                        "_procfs",
                        "procfs/connections.c",
                        "procfs/group.c",
                        "procfs/process.c",
                        "procfs/sampler.c",
                        "procfs/sockets.c",
                        "procfs/tasks.c",
                        "procfs/text.c",
                    ),
                ]
                if sys.platform == "linux"
                else []
            ),
            native("_context"),
            native("_cpu", "cpu/cpu.c"),
            native("_heap", "heap/accounts.c", "heap/edges.c", "heap/owned.c"),
            native("_hooks", "clock/clock_posix.c"),
            native(
                "_ed25519",
                "ed25519/batch.c",
                "ed25519/dispatch.c",
                "ed25519/ed25519.c",
                "ed25519/equation.c",
                "ed25519/half.c",
                "ed25519/lanes_avx2.c",
                "ed25519/lanes_bmi2.c",
                "ed25519/lanes_ifma.c",
                "ed25519/lanes_portable.c",
                "ed25519/point.c",
                "ed25519/scalar25519.c",
                "ed25519/sha512.c",
                "ed25519/sha512_bmi2.c",
                "ed25519/verify_avx2.c",
                "ed25519/verify_bmi2.c",
                "ed25519/verify_ifma.c",
                "ed25519/verify_portable.c",
            ),
            native("_pushed"),
            native(
                "_reading",
                "reading/arena.c",
                "reading/files_posix.c",
                "reading/search.c",
            ),
            native(
                "_seccomp",
                "seccomp/assemble.c",
                "seccomp/cases.c",
                "seccomp/disassemble.c",
                "seccomp/emit.c",
                "seccomp/graph.c",
                f"seccomp/install_{'linux' if sys.platform == 'linux' else 'other'}.c",
                "seccomp/interpret.c",
            ),
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
            *(
                [native("_spawn", "spawn/fork_linux.c", "spawn/spawn_linux.c")]
                if sys.platform == "linux"
                else []
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
