"""Print the Python interpreters of this machine that pluginapi supports, one path a line.

Looks on PATH and, where pyenv manages versions, among those. Standard library only.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13")


def candidates() -> Iterator[str]:
    """Yield executables that may be interpreters, the most explicit first."""
    for version in SUPPORTED:
        found = shutil.which(f"python{version}")
        if found is not None:
            yield found
    yield sys.executable
    pyenv = shutil.which("pyenv")
    if pyenv is not None:
        versions = subprocess.run(
            [pyenv, "versions", "--bare"], capture_output=True, text=True, check=False
        )
        for version in reversed(versions.stdout.split()):
            if version.startswith(SUPPORTED):
                prefix = subprocess.run(
                    [pyenv, "prefix", version], capture_output=True, text=True, check=False
                )
                yield str(Path(prefix.stdout.strip()) / "bin" / "python3")


def version_of(executable: str) -> str | None:
    """Return the minor version of an interpreter, or None when it does not start."""
    command = [executable, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def main() -> int:
    """Print one interpreter for each version but those that are named; exit 1 if one has none."""
    wanted = [version for version in SUPPORTED if version not in sys.argv[1:]]
    found: dict[str, str] = {}
    for executable in candidates():
        version = version_of(executable)
        if version in SUPPORTED and version not in found:
            found[version] = executable
    for version in wanted:
        if version in found:
            print(found[version])
        else:
            print(f"no Python {version} was found", file=sys.stderr)
    return 0 if all(version in found for version in wanted) else 1


if __name__ == "__main__":
    raise SystemExit(main())
