"""Making, filling, freezing, ending and removing control groups."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Container
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from pluginapi.errors import SandboxError, UnsupportedPlatform
from pluginapi.sandbox.cgroups import v1, v2
from pluginapi.sandbox.cgroups.config import CgroupConfig
from pluginapi.sandbox.cgroups.files import gone, number, read, write
from pluginapi.sandbox.cgroups.hierarchy import (
    CgroupLayout,
    Hierarchy,
    choose_parent,
    read_layout,
)
from pluginapi.sandbox.cgroups.usage import CgroupEvents, CgroupUsage, GroupFiles

__all__ = ["Cgroup", "CgroupManager"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OURS: Final = re.compile(r"pluginapi-([0-9a-f]+)-([0-9]+)-([0-9]+)")
_TIMEOUT: Final = 10.0
_FREEZE_AGAIN: Final = 0.5
_Figures = TypeVar("_Figures", CgroupUsage, CgroupEvents)


class Cgroup:
    """One control group, with the bounds of a plugin; `CgroupManager.create` makes it.

    It may be several directories: one for each controller in version 1, and one of version 2 beside
    them where there is one, which then ends and freezes the group. Thread-safe, but `remove`.
    """

    def __init__(self, name: str, places: dict[str, Path], unified: Path | None) -> None:
        self.name = name
        self._unified = unified
        self._v1 = places
        self._removed = False

    def __repr__(self) -> str:
        return f"<Cgroup {self.name}>"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Its directories, each once; the one of version 2 last."""
        places = dict.fromkeys(self._v1.values())
        if self._unified is not None:
            places[self._unified] = None
        return tuple(places)

    @property
    def older_directories(self) -> tuple[Path, ...]:
        """Its directories of version 1, each once."""
        return tuple(dict.fromkeys(self._v1.values()))

    def open_unified(self) -> int | None:
        """Open its directory of version 2, for CLONE_INTO_CGROUP; None when it has none.

        The descriptor is the caller's to close.
        """
        if self._unified is None:
            return None
        return os.open(self._unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def attach(self, pid: int) -> None:
        """Move a process into the group, its threads with it. Its children stay where they are.

        Raises:
            SandboxError: With code ``sandbox.cgroup_failed``.
        """
        for directory in self.directories:
            write(directory / "cgroup.procs", pid)

    def processes(self) -> frozenset[int]:
        """Return the ids of its processes."""
        found: set[int] = set()
        for directory in self.directories:
            found.update(map(int, (read(directory / "cgroup.procs") or "").split()))
        return frozenset(found)

    def limits(self) -> dict[str, int]:
        """Return the bounds that are in force, as the kernel says, by names of `CgroupConfig`."""
        found = v1.limits(self._v1)
        if self._unified is not None:
            found |= v2.limits(self._unified)
        return found

    def usage(self) -> CgroupUsage:
        """Return what it uses; what no controller counts is None."""
        older = v1.usage(self._v1)
        return older if self._unified is None else _filled(older, v2.usage(self._unified))

    def charge(self) -> int | None:
        """Return the memory that it is charged with; None when no controller counts it."""
        if "memory" in self._v1:
            return number(self._v1["memory"] / "memory.usage_in_bytes")
        return None if self._unified is None else number(self._unified / "memory.current")

    def open_usage(self) -> GroupFiles:
        """Open the files that tell what it uses; the descriptors are the caller's to close."""
        return GroupFiles.open(self._v1, self._unified)

    def bound_tasks(self, most: int) -> None:
        """Bound its processes and threads anew.

        Raises:
            SandboxError: When the kernel refuses, or nothing bounds them here.
        """
        directory = self._v1.get("pids", self._unified)
        if directory is None:
            raise self._failed("nothing here bounds its processes")
        write(directory / "pids.max", most)

    def open_memory_events(self, bound: int) -> tuple[int, bool]:
        """Open what tells that its memory goes through a bound, in bytes.

        Returns the descriptor, and whether it is an eventfd, which becomes readable: version 1. In
        version 2 it is ``memory.events``, for EPOLLPRI, and ``memory.high`` is set.

        Raises:
            SandboxError: With code ``sandbox.cgroup_failed`` when the kernel refuses, or no
                controller counts its memory.
        """
        if "memory" in self._v1:
            return self._open_threshold(self._v1["memory"], bound), True
        if self._unified is None or not (self._unified / "memory.events").exists():
            raise self._failed("nothing here counts its memory")
        write(self._unified / "memory.high", bound)
        fd = os.open(self._unified / "memory.events", os.O_RDONLY | os.O_CLOEXEC)
        # What was before is no event: the kernel tells of changes since it was read.
        os.pread(fd, 4096, 0)
        return fd, False

    def open_task_events(self) -> tuple[int, bool]:
        """Open ``pids.events``, which counts the threads and processes that were refused.

        Returns the descriptor, and whether it tells of a change, by EPOLLPRI: version 2.

        Raises:
            SandboxError: With code ``sandbox.cgroup_failed`` when nothing bounds its processes.
        """
        directory = self._v1.get("pids", self._unified)
        if directory is None:
            raise self._failed("nothing here bounds its processes")
        try:
            fd = os.open(directory / "pids.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise self._failed(f"its pids.events cannot be opened: {err.strerror}") from err
        return fd, "pids" not in self._v1

    def lift_high_memory(self) -> None:
        """Lift the bound that `open_memory_events` has set in version 2; nothing in version 1.

        Raises:
            SandboxError: When the kernel refuses.
        """
        if "memory" not in self._v1 and self._unified is not None:
            write(self._unified / "memory.high", "max")

    def _open_threshold(self, directory: Path, bound: int) -> int:
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            usage = os.open(directory / "memory.usage_in_bytes", os.O_RDONLY | os.O_CLOEXEC)
            try:
                write(directory / "cgroup.event_control", f"{bell} {usage} {bound}")
            finally:
                os.close(usage)
        except BaseException:
            os.close(bell)
            raise
        return bell

    def events(self) -> CgroupEvents:
        """Return how often its bounds were met."""
        older = v1.events(self._v1)
        return older if self._unified is None else _filled(older, v2.events(self._unified))

    # ---- Freezing and ending ----

    def freeze(self) -> None:
        """Stop all of its processes where they are, and wait until they stand still.

        Raises:
            SandboxError: With code ``sandbox.cgroup_failed`` when there is nothing to freeze it
                with, or it does not stand still within 10 seconds.
        """
        if self._unified is not None:
            write(self._unified / "cgroup.freeze", 1)
        elif "freezer" in self._v1:
            write(self._v1["freezer"] / "freezer.state", "FROZEN")
        else:
            raise self._failed("nothing here can freeze it: no version 2, no freezer")
        again = time.monotonic() + _FREEZE_AGAIN

        def stands_still() -> bool:
            nonlocal again
            if self.frozen():
                return True
            if self._unified is None and time.monotonic() > again:
                # The freezer of version 1 may miss a process for good that starts another program
                # at that moment; what works is to begin anew.
                write(self._v1["freezer"] / "freezer.state", "THAWED")
                write(self._v1["freezer"] / "freezer.state", "FROZEN")
                again = time.monotonic() + _FREEZE_AGAIN
            return False

        self._until(stands_still, "its processes do not stand still")

    def thaw(self) -> None:
        """Let its processes go on."""
        if self._unified is not None:
            write(self._unified / "cgroup.freeze", 0)
        elif "freezer" in self._v1:
            write(self._v1["freezer"] / "freezer.state", "THAWED")

    def frozen(self) -> bool:
        """Tell whether all of its processes stand still."""
        if self._unified is not None:
            return "frozen 1" in (read(self._unified / "cgroup.events") or "").splitlines()
        if "freezer" in self._v1:
            return read(self._v1["freezer"] / "freezer.state") == "FROZEN"
        return False

    def kill(self) -> None:
        """End all of its processes by SIGKILL, those that they are about to make among them.

        Does not wait for them to be gone. Without version 2 the group is frozen meanwhile, so that
        no process can escape by forking, and no number can become another process's.
        """
        if self._unified is not None and (self._unified / "cgroup.kill").exists():
            write(self._unified / "cgroup.kill", 1)
            return
        self.freeze()
        try:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            self.thaw()

    def remove(self) -> None:
        """End what is left in it, and in groups below it, and remove it; idempotent.

        Raises:
            SandboxError: With code ``sandbox.cgroup_failed`` when it is not empty, or cannot be
                removed, within 10 seconds.
        """
        if self._removed:
            return
        if self._populated():
            self.kill()
            self._until(lambda: not self._populated(), "its processes do not end")
        for directory in self.directories:
            for below, _, _ in os.walk(directory, topdown=False):
                self._until(partial(_rmdir, Path(below)), f"{below} stays busy")
        self._removed = True

    def _populated(self) -> bool:
        """Tell whether it has processes; version 2 knows of the groups below it too."""
        if self._unified is not None:
            events = read(self._unified / "cgroup.events") or ""
            if "populated 1" in events.splitlines():
                return True
        return bool(self.processes())

    def _until(self, done: Callable[[], bool], what: str) -> None:
        until, pause = time.monotonic() + _TIMEOUT, 0.0002
        while not done():
            if time.monotonic() > until:
                raise self._failed(f"{what} within {_TIMEOUT:g} s")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)

    def _failed(self, what: str) -> SandboxError:
        return SandboxError(
            f"control group {self.name}: {what}",
            code="sandbox.cgroup_failed",
            layer="cgroup",
            hint="see the state of its processes: "
            + " ".join(f"cat {directory}/cgroup.procs" for directory in self.directories[-1:]),
        )


class CgroupManager:
    """Make the control groups of a host's plugins, below one directory of the host's own.

    That directory is named after this process, so that what a host has left behind that was killed
    can be told: `sweep` removes it. Thread-safe.

    Args:
        parent: The group of version 2 below which groups are made; without it, this process's own
            or the one above it.
        layout: The hierarchies, for one who has read them already.

    Raises:
        UnsupportedPlatform: Elsewhere than on Linux.
        SandboxUnavailable: When the hierarchies cannot be found.
    """

    def __init__(self, parent: Path | None = None, layout: CgroupLayout | None = None) -> None:
        if sys.platform != "linux":
            raise UnsupportedPlatform(
                f"control groups need Linux, this is {sys.platform}",
                hint="leave out the bounds that need them",
            )
        self.layout = read_layout() if layout is None else layout
        self._parent = parent
        self._name = f"pluginapi-{_own_namespace():x}-{os.getpid()}-{_start_time(os.getpid())}"
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._tops: dict[Path, frozenset[str]] = {}
        self._groups: list[Cgroup] = []

    def create(self, name: str, config: CgroupConfig) -> Cgroup:
        """Make a group and set its bounds, or nothing.

        Args:
            name: What it is called, letters, digits, ``.``, ``_`` and ``-``; a number is added.
            config: The bounds.

        Raises:
            SandboxUnavailable: When a bound needs a controller or a file that is not there, or this
                process may not make groups; the message says which and why.
            SandboxError: When the kernel refuses a bound.
        """
        if not _NAME.fullmatch(name):
            raise SandboxError(
                f"{name!r} cannot be the name of a control group",
                code="sandbox.cgroup_failed",
                layer="cgroup",
                hint="use letters, digits, '.', '_' and '-'",
            )
        with self._lock:
            name = f"{name}-{next(self._numbers)}"
            made: dict[Path, None] = {}
            try:
                group = self._make(name, config, made)
            except BaseException:
                for directory in made:
                    _rmdir(directory)
                raise
            self._groups.append(group)
        return group

    def _make(self, name: str, config: CgroupConfig, made: dict[Path, None]) -> Cgroup:
        places: dict[str, Path] = {}
        unified = self.layout.unified
        modern: set[str] = set()
        for controller in sorted(config.controllers):
            hierarchy = self.layout.of(controller)
            if hierarchy.version == 1:
                places[controller] = self._directory(hierarchy, name, frozenset(), made)
            else:
                modern.add(controller)
        place = None
        if unified is not None:
            place = self._directory(unified, name, frozenset(modern), made)
        # Beside the bounds: what counts processor time, and what freezes where version 2 cannot.
        extra = ["cpuacct"] if places else []
        if unified is None:
            extra.append("freezer")
        for controller in extra:
            if any(controller in each.controllers for each in self.layout.hierarchies):
                hierarchy = self.layout.of(controller)
                if hierarchy.version == 1:
                    places[controller] = self._directory(hierarchy, name, frozenset(), made)
        v1.apply(places, _part(config, places))
        if place is not None:
            v2.apply(place, _part(config, modern))
        return Cgroup(name, places, place)

    def _directory(
        self, hierarchy: Hierarchy, name: str, controllers: frozenset[str], made: dict[Path, None]
    ) -> Path:
        wanted = self._parent if hierarchy.version != 1 else None
        top = choose_parent(hierarchy, controllers, wanted) / self._name
        if top not in self._tops:
            top.mkdir(exist_ok=True)
            self._tops[top] = frozenset()
        for controller in sorted(controllers - self._tops[top]):
            write(top / "cgroup.subtree_control", f"+{controller}")
        self._tops[top] |= controllers
        directory = top / name
        if directory not in made:
            directory.mkdir()
            made[directory] = None
        return directory

    def close(self) -> None:
        """End and remove all groups, and the host's own directories; idempotent.

        Raises:
            SandboxError: When one cannot be removed; the others are.
        """
        failures: list[SandboxError] = []
        with self._lock:
            for group in self._groups:
                try:
                    group.remove()
                except SandboxError as err:
                    failures.append(err)
            self._groups.clear()
            for top in self._tops:
                _rmdir(top)
            self._tops.clear()
        if failures:
            raise failures[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def discard(self, group: Cgroup) -> None:
        """End and remove one group; raises SandboxError as `Cgroup.remove`."""
        group.remove()
        with self._lock, contextlib.suppress(ValueError):
            self._groups.remove(group)

    def sweep(self) -> tuple[str, ...]:
        """End and remove what hosts of this PID namespace have left that are gone.

        Returns:
            The names of the directories that those hosts had made.

        Raises:
            SandboxError: When something of them cannot be removed.
        """
        tops: dict[str, list[tuple[Hierarchy, Path]]] = {}
        for hierarchy in self.layout.hierarchies:
            for parent in {hierarchy.own, hierarchy.own.parent, self._parent or hierarchy.own}:
                for top in parent.glob("pluginapi-*-*-*"):
                    if _is_left_over(top.name):
                        tops.setdefault(top.name, []).append((hierarchy, top))
        for places in tops.values():
            leaves = {leaf.name for _, top in places for leaf in top.iterdir() if leaf.is_dir()}
            for name in sorted(leaves):
                _left_over(name, places).remove()
            for _, top in places:
                _rmdir(top)
        return tuple(tops)


def _left_over(name: str, tops: list[tuple[Hierarchy, Path]]) -> Cgroup:
    """Return a group that another host has made, as that host had it."""
    places: dict[str, Path] = {}
    unified = None
    for hierarchy, top in tops:
        directory = top / name
        if not directory.is_dir():
            continue
        if hierarchy.version == 1:
            places |= dict.fromkeys(hierarchy.controllers, directory)
        else:
            unified = directory
    return Cgroup(name, places, unified)


def _filled(older: _Figures, newer: _Figures) -> _Figures:
    """Return the figures of version 1, and of version 2 where that has none."""
    missing = {each.name: getattr(newer, each.name) for each in fields(older)}
    return replace(older, **{n: v for n, v in missing.items() if getattr(older, n) is None})


def _part(config: CgroupConfig, controllers: Container[str]) -> CgroupConfig:
    """Return the bounds of these controllers alone."""
    has = controllers.__contains__
    return CgroupConfig(
        memory_limit_bytes=config.memory_limit_bytes if has("memory") else None,
        swap_limit_bytes=config.swap_limit_bytes if has("memory") else None,
        cpu_quota_us=config.cpu_quota_us if has("cpu") else None,
        cpu_period_us=config.cpu_period_us,
        cpu_weight=config.cpu_weight if has("cpu") else None,
        pids_limit=config.pids_limit if has("pids") else None,
        io_weight=config.io_weight if has("io") else None,
    )


def _own_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since the machine did; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may have blanks and brackets: field 22 is the 20th after it; proc_pid_stat(5).
    return int(stat.rpartition(")")[2].split()[19])


def _is_left_over(name: str) -> bool:
    found = _OURS.fullmatch(name)
    if found is None or int(found[1], 16) != _own_namespace():
        return False
    return _start_time(int(found[2])) != int(found[3])


def _rmdir(directory: Path) -> bool:
    """Remove the directory of a group; False while it is busy."""
    try:
        directory.rmdir()
    except OSError as err:
        return gone(err)
    return True
