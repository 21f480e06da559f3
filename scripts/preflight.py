"""Say what this machine lacks to build pluginapi before anything fails half-way.

Standard library only: nothing is installed yet when it runs.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

MINIMUM = (3, 11)


def missing() -> list[str]:
    """Return what is not there, in words."""
    lacks = []
    if sys.version_info < MINIMUM:
        lacks.append(
            f"Python {MINIMUM[0]}.{MINIMUM[1]} or newer (this is {sys.version.split()[0]})"
        )
    if importlib.util.find_spec("ensurepip") is None:
        lacks.append("the venv module (ensurepip)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        lacks.append("Python.h, the headers of this Python")
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        lacks.append("a C compiler (cc, gcc or clang)")
    return lacks


def main() -> int:
    """Print what is missing with the command that installs it; exit 1 if anything is."""
    lacks = missing()
    if not lacks:
        return 0
    print("missing: " + "; ".join(lacks), file=sys.stderr)
    print(
        "Debian, Ubuntu:  sudo apt-get install build-essential python3-dev python3-venv",
        file=sys.stderr,
    )
    print("Fedora, RHEL:    sudo dnf install gcc make python3-devel", file=sys.stderr)
    print("macOS:           xcode-select --install", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
