"""Debian's kernels for the virtual machine, from its packages.

The archive is Debian's of this module, whatever distribution the machine has: apt works on lists of
its own below the cache, so nothing of the machine's changes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vm.errors import MachineError

MIRROR = "http://deb.debian.org"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Series:
    """A series of kernels; its newest package is used.

    Attributes:
        name: What the command line calls it.
        package: A pattern for the names of its packages. Cloud kernels have no 9p.
        suites: The suites of Debian that have it.
    """

    name: str
    package: str
    suites: tuple[str, ...]


SERIES = {
    each.name: each
    for each in (
        Series("6.1", r"linux-image-6\.1\.0-(\d+)-amd64", ("bookworm", "bookworm-security")),
        Series("6.12", r"linux-image-6\.12\.(\d+)\+deb12-amd64", ("bookworm-backports",)),
    )
}


@dataclass(frozen=True)
class Kernel:
    """A kernel with its modules, unpacked.

    Attributes:
        release: What it calls itself, such as ``6.1.0-44-amd64``.
        image: The kernel.
        modules: The directory of its modules, with ``modules.dep``.
    """

    release: str
    image: Path
    modules: Path


def fetch(series: Series, cache: Path) -> Path:
    """Return the package of a series: that of the cache, or else the newest one of Debian.

    Raises:
        MachineError: When it cannot be had.
    """
    directory = cache / series.name
    directory.mkdir(parents=True, exist_ok=True)
    if found := sorted(directory.glob("linux-image-*.deb")):
        return found[-1]
    if not KEYRING.exists():
        raise MachineError(f"{KEYRING} is missing", packages=["debian-archive-keyring"])
    options = _private_lists(series, directory)
    _run(["apt-get", *options, "-qq", "update"])
    listed = _run(["apt-cache", *options, "pkgnames", "linux-image-"]).split()
    numbers = {
        int(match[1]): name for name in listed if (match := re.fullmatch(series.package, name))
    }
    if not numbers:
        raise MachineError(
            f"no kernel of the series {series.name} is among Debian's packages of "
            f"{', '.join(series.suites)} at {MIRROR}"
        )
    _run(["apt-get", *options, "-qq", "download", numbers[max(numbers)]], cwd=directory)
    # The lists are of no more use, and larger than the package.
    shutil.rmtree(directory / "apt")
    return next(directory.glob("linux-image-*.deb"))


def unpack(package: Path, directory: Path) -> Kernel:
    """Unpack a package of a kernel and find out what its modules depend on.

    Raises:
        MachineError: When that fails.
    """
    _run(["dpkg-deb", "--extract", str(package), str(directory)])
    (modules,) = (directory / "lib" / "modules").iterdir()
    _run([depmod(), "-b", str(directory), modules.name])
    return Kernel(modules.name, directory / "boot" / f"vmlinuz-{modules.name}", modules)


def depmod() -> str:
    """Return the path of depmod, which is not on everybody's PATH."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return shutil.which("depmod", path=path) or "depmod"


def _private_lists(series: Series, directory: Path) -> list[str]:
    """Return options for apt that leave the machine's sources, lists and cache alone."""
    apt = directory / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text(
        "".join(
            f"deb [arch=amd64 signed-by={KEYRING}] {MIRROR}/"
            f"{'debian-security' if suite.endswith('-security') else 'debian'} {suite} main\n"
            for suite in series.suites
        )
    )
    (apt / "status").touch()
    settings = {
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def _run(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    except FileNotFoundError as err:
        raise MachineError(f"{command[0]} is missing") from err
    if done.returncode != 0:
        shown = " ".join(part for part in command if "::" not in part and part != "-o")
        raise MachineError(f"`{shown}` failed:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout
