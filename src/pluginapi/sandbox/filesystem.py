"""The tree of files that a plugin sees, as steps of a plan."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pluginapi.errors import SandboxError
from pluginapi.sandbox.config import FilesystemConfig
from pluginapi.sandbox.plan import Mount, Plan

__all__ = ["build_root"]

_SYSTEM: Final = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
)
# <linux/major.h>, Documentation/admin-guide/devices.txt: major and minor numbers.
_DEVICES: Final = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
}
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
# What is the sandbox's own in any root.
_OWN: Final = ("dev", "proc", "sys", "tmp")
_ROOT_BYTES: Final = 4 << 20
_ROOT_INODES: Final = 4096
_READ_ONLY: Final = Mount.READ_ONLY | Mount.RECURSIVE | Mount.PLAIN
_WRITABLE: Final = Mount.RECURSIVE | Mount.PLAIN | Mount.NO_EXEC
_DEVICE: Final = Mount.NO_SUID | Mount.NO_EXEC


class _Shown(NamedTuple):
    """Something of the host, and where it is shown."""

    source: str
    target: str
    flags: Mount


def build_root(
    config: FilesystemConfig,
    plan: Plan,
    *,
    extra_read_only: Sequence[str] = (),
    program: tuple[str, str] | None = None,
    first_descriptor: int,
    own_proc: bool,
) -> list[int]:
    """Add the steps that make a root; the plan ends up in it.

    Sources are opened here, links followed, and once more when the plan is run: a name that leads
    to another file by then is an error, so that nobody who can swap names gets anything else shown.
    /tmp is an empty directory that may be mounted on.

    Args:
        config: What is shown.
        plan: Where steps are added.
        extra_read_only: Directories that are shown besides, if they are not yet.
        program: A file that is shown besides, and where.
        first_descriptor: The number in the plan's list of the first descriptor that is returned.
        own_proc: Whether /proc is that of the PID namespace in which the plan is run; otherwise it
            is the host's, read-only.

    Returns:
        The descriptors that the plan needs, which are the caller's to close.

    Raises:
        SandboxError: With code ``sandbox.path`` when a path is not there or no file or directory.
    """
    plan.root(size_bytes=_ROOT_BYTES, inodes=_ROOT_INODES)
    fds: list[int] = []
    try:
        links, shown = _base(config)
        for path, target in links.items():
            plan.link(path, target)
        shown += [_Shown(path, path, _READ_ONLY) for path in config.read_only_paths]
        shown += [_Shown(each.path, each.path, _READ_ONLY) for each in config.overlays]
        shown += [_Shown(path, path, _WRITABLE) for path in config.writable_paths]
        shown += [
            _Shown(mount.source, mount.target, _READ_ONLY if mount.readonly else _WRITABLE)
            for mount in config.bind_mounts
        ]
        given = [each.target for each in shown if each.source == each.target]
        shown += [
            _Shown(path, path, _READ_ONLY)
            for path in extra_read_only
            if not any(path == other or path.startswith(other + "/") for other in given)
        ]
        if program is not None:
            shown.append(_Shown(*program, _READ_ONLY))
        # A directory before what is mounted in it.
        before: list[str] = []
        for each in sorted(shown, key=lambda item: item.target.count("/")):
            inside = any(each.target.startswith(other + "/") for other in before)
            _bind(plan, each, fds, first_descriptor, inside=inside)
            before.append(each.target)
        for name, number in _DEVICES.items():
            path = f"/dev/{name}"
            _bind(plan, _Shown(path, path, _DEVICE), fds, first_descriptor, device=number)
        for name, target in _DEVICE_LINKS.items():
            plan.link(f"dev/{name}", target)
        plan.directory("tmp", 0o1777)
        plan.directory("proc", 0o555)
        if own_proc:
            # Another one is mounted over it for each process. Without one that shows all, a user
            # namespace may mount none.
            plan.proc()
        else:
            _bind(plan, _Shown("/proc", "/proc", _READ_ONLY), fds, first_descriptor)
        plan.pivot()
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def _base(config: FilesystemConfig) -> tuple[dict[str, str], list[_Shown]]:
    if config.root_path is not None:
        return _top_of(config.root_path)
    return _system() if config.system_paths else ({}, [])


def _top_of(root: str) -> tuple[dict[str, str], list[_Shown]]:
    """Return what is at the top of a root of the operator's: links, and what is shown."""
    links: dict[str, str] = {}
    shown: list[_Shown] = []
    try:
        entries = sorted(Path(root).iterdir())
    except OSError as err:
        raise _cannot_be_shown(root, err.strerror or str(err)) from err
    for source in entries:
        name = source.name
        if name in _OWN:
            continue
        if source.is_symlink():
            links[name] = str(source.readlink())
        elif source.is_dir() or source.is_file():
            shown.append(_Shown(str(source), f"/{name}", _READ_ONLY))
    return links, shown


def _system() -> tuple[dict[str, str], list[_Shown]]:
    """Return what of the system is there: links among its own paths, and what is shown."""
    links: dict[str, str] = {}
    shown: list[_Shown] = []
    for path in _SYSTEM:
        target = Path(path)
        if target.is_symlink() and path.count("/") == 1:
            links[path] = str(target.readlink())
        elif target.exists():
            shown.append(_Shown(path, path, _READ_ONLY))
    return links, shown


def _bind(
    plan: Plan,
    shown: _Shown,
    fds: list[int],
    first: int,
    *,
    inside: bool = False,
    device: tuple[int, int] | None = None,
) -> None:
    real = os.path.realpath(shown.source)
    try:
        fd = os.open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as err:
        raise _cannot_be_shown(shown.source, err.strerror or str(err)) from err
    fds.append(fd)
    found = os.fstat(fd)
    if device is not None:
        number = (os.major(found.st_rdev), os.minor(found.st_rdev))
        if not stat.S_ISCHR(found.st_mode) or number != device:
            raise _cannot_be_shown(shown.source, f"it is not the character device {device}")
    elif not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise _cannot_be_shown(shown.source, "it is neither a file nor a directory")
    if not inside:
        # Within something of the host the place has to be there: nothing is made in it.
        if stat.S_ISDIR(found.st_mode):
            plan.directory(shown.target)
        else:
            if above := shown.target.rpartition("/")[0]:
                plan.directory(above)
            plan.file(shown.target)
    plan.bind(first + len(fds) - 1, real, shown.target, shown.flags)


def _cannot_be_shown(path: str, why: str) -> SandboxError:
    return SandboxError(
        f"{path} cannot be shown in a sandbox: {why}",
        code="sandbox.path",
        layer="filesystem",
        hint="name files and directories that are there",
        path=path,
    )
