"""Reading and writing the files of a control group, with errors that name them."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from pluginapi.errors import SandboxError, SandboxUnavailable

__all__ = ["flat", "gone", "number", "read", "write"]

_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV})


def gone(err: OSError) -> bool:
    """Tell whether an error means that the group, or its process, is not there any more."""
    return err.errno in _GONE


def write(path: Path, value: str | int) -> None:
    """Write a file of a group.

    Raises:
        SandboxUnavailable: With code ``sandbox.cgroup_file`` when the group has no such file.
        SandboxError: With code ``sandbox.cgroup_failed`` when the kernel refuses.
    """
    try:
        path.write_text(str(value), "ascii")
    except FileNotFoundError as err:
        raise SandboxUnavailable(
            f"control groups here have no {path.name}, which was to be set to {value}",
            code="sandbox.cgroup_file",
            layer="cgroup",
            hint="let the kernel have it, or leave out the bound that needs it",
            path=str(path),
        ) from err
    except OSError as err:
        raise SandboxError(
            f"{path} cannot be set to {value}: {err.strerror}",
            code="sandbox.cgroup_failed",
            layer="cgroup",
            hint="see cgroups(7) for what the kernel demands of this file",
            path=str(path),
        ) from err


def read(path: Path) -> str | None:
    """Return what a file of a group says, or None when the group has no such file.

    Raises:
        SandboxError: With code ``sandbox.cgroup_failed`` when it cannot be read.
    """
    try:
        return path.read_text("ascii").strip()
    except OSError as err:
        if gone(err):
            return None
        raise SandboxError(
            f"{path} cannot be read: {err.strerror}",
            code="sandbox.cgroup_failed",
            layer="cgroup",
            hint="see cgroups(7)",
            path=str(path),
        ) from err


def number(path: Path) -> int | None:
    """Return the number in a file; None when there is no such file, or it says ``max``."""
    text = read(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def flat(path: Path) -> dict[str, int]:
    """Return a file of lines ``key number``; empty when there is no such file."""
    found = {}
    for line in (read(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[key] = int(value)
    return found
