"""Build an example plugin with the compiler of the system."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pluginapi
from pluginapi.errors import UnsupportedPlatform

__all__ = ["build_shared_library"]

_SUFFIX: Final = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_COMPILERS: Final = ("cc", "gcc", "clang")
_TIMEOUT_SECONDS: Final = 60


def build_shared_library(source: Path, target: Path) -> Path:
    """Compile one C file into a shared library beside `target` and return its path.

    Raises:
        UnsupportedPlatform: When there is no compiler, or it refuses the file; the message holds
            what it printed.
    """
    compiler = _compiler()
    library = target.with_name(target.name + _SUFFIX)
    command = [
        *compiler,
        "-std=c99",
        "-shared",
        "-fPIC",
        "-O2",
        f"-I{pluginapi.get_include()}",
        "-o",
        str(library),
        str(source),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as err:
        raise _failed(command, f"it was not done after {_TIMEOUT_SECONDS} s") from err
    except OSError as err:
        raise _failed(command, str(err)) from err
    if done.returncode != 0:
        raise _failed(command, done.stderr.strip()[:2000] or f"exit code {done.returncode}")
    return library


def _compiler() -> list[str]:
    """Return the compiler's command: what CC says, as with make, else the first that is there."""
    chosen = shlex.split(os.environ.get("CC", ""))
    names = chosen[:1] or list(_COMPILERS)
    for name in names:
        if shutil.which(name):
            return chosen or [name]
    raise UnsupportedPlatform(
        f"no C compiler was found (looked for {', '.join(names)})",
        code="demo.no_compiler",
        hint="Debian, Ubuntu: sudo apt-get install build-essential",
    )


def _failed(command: list[str], what: str) -> UnsupportedPlatform:
    return UnsupportedPlatform(
        f"`{shlex.join(command)}` failed: {what}",
        code="demo.compile_failed",
        hint="check that the compiler works; on Debian, Ubuntu install build-essential",
    )
