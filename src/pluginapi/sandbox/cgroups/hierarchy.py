"""Where this process may make control groups: mounts, its own group, and what it may delegate."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pluginapi.errors import SandboxUnavailable

__all__ = ["CgroupLayout", "Hierarchy", "choose_parent", "read_layout"]

PROC: Final = Path("/proc/self")

# The names of version 1, by those of version 2 that this package speaks.
_V1_NAMES: Final = {"io": "blkio"}
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy of control groups.

    Attributes:
        version: 1 or 2.
        controllers: Its controllers, by their names of version 2.
        mount: Where it is mounted.
        own: The directory of this process's group.
    """

    version: int
    controllers: frozenset[str]
    mount: Path
    own: Path


@dataclass(frozen=True, slots=True)
class CgroupLayout:
    """The hierarchies that this process sees.

    Attributes:
        hierarchies: All of them; those of version 1 first.
    """

    hierarchies: tuple[Hierarchy, ...]

    @property
    def kind(self) -> str:
        """``v1``, ``v2``, ``hybrid``, or ``none``: which versions there are."""
        versions = {hierarchy.version for hierarchy in self.hierarchies}
        if len(versions) == 2:  # noqa: PLR2004 - both of them
            return "hybrid"
        return f"v{versions.pop()}" if versions else "none"

    @property
    def unified(self) -> Hierarchy | None:
        """The hierarchy of version 2, or None."""
        return next((each for each in self.hierarchies if each.version == 2), None)  # noqa: PLR2004

    def of(self, controller: str) -> Hierarchy:
        """Return the hierarchy that a controller is in.

        Raises:
            SandboxUnavailable: With code ``sandbox.cgroup_controller``.
        """
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        name = _V1_NAMES.get(controller, controller)
        raise SandboxUnavailable(
            f"no control group hierarchy has the controller {controller!r}: "
            f"the layout is {self.kind}, with {self._all() or 'no controllers'}",
            code="sandbox.cgroup_controller",
            layer="cgroup",
            hint=f"let the kernel have it (see {name} in /proc/cgroups) and mount it, or leave out "
            "the bounds that need it",
        )

    def _all(self) -> str:
        return ", ".join(sorted(set().union(*(each.controllers for each in self.hierarchies))))


def read_layout(proc: Path = PROC) -> CgroupLayout:
    """Find the hierarchies from mountinfo and cgroup of a process's directory in /proc.

    A hierarchy that is mounted more than once counts once, at its first mount below which this
    process's own group is visible; one without such a mount is left out.

    Raises:
        SandboxUnavailable: With code ``sandbox.cgroup_layout`` when /proc cannot be read.
    """
    try:
        mounts = (proc / "mountinfo").read_text("utf-8", "surrogateescape")
        groups = (proc / "cgroup").read_text("utf-8", "surrogateescape")
    except OSError as err:
        raise SandboxUnavailable(
            f"control groups cannot be found: {err}",
            code="sandbox.cgroup_layout",
            layer="cgroup",
            hint="mount /proc",
        ) from err
    own = dict(_own_groups(groups))
    found: dict[frozenset[str], Hierarchy] = {}
    for version, names, root, mount in _mounts(mounts):
        path = own.get(names)
        if path is None or names in found:
            continue
        inside = _below(path, root)
        if inside is None:
            continue
        place = mount / inside
        if version == 1:
            controllers = frozenset(_v2_name(name) for name in names)
        else:
            # A group has what the one above hands on, which may be nothing yet: `choose_parent`
            # looks at that. Here it matters what version 1 does not have.
            controllers = _words(place / "cgroup.controllers") | _words(
                mount / "cgroup.controllers"
            )
        found[names] = Hierarchy(version, controllers, mount, place)
    return CgroupLayout(tuple(sorted(found.values(), key=lambda each: each.version)))


def choose_parent(hierarchy: Hierarchy, controllers: Iterable[str], wanted: Path | None) -> Path:
    """Return a directory of a hierarchy below which groups with these controllers can be made.

    In version 2 only a group without processes of its own hands controllers on, the root excepted.
    So the candidates are: the one that is wanted; this process's own group, where it hands them on
    already, or is the root; the parent of that, for a group beside it.

    Raises:
        SandboxUnavailable: With code ``sandbox.cgroup_delegation``; it says of each candidate why
            it will not do.
    """
    needed = frozenset(controllers)
    candidates = [wanted] if wanted is not None else [hierarchy.own]
    if wanted is None and hierarchy.version != 1 and hierarchy.own != hierarchy.mount:
        candidates.append(hierarchy.own.parent)
    reasons = []
    for candidate in candidates:
        reason = _why_not(hierarchy, candidate, needed)
        if reason is None:
            return candidate
        reasons.append(f"{candidate}: {reason}")
    raise SandboxUnavailable(
        "no control group can be made: " + "; ".join(reasons),
        code="sandbox.cgroup_delegation",
        layer="cgroup",
        hint="start the host beside the groups that it makes, in a group below a delegated one "
        "(Delegate=yes and DelegateSubgroup=host in its unit; `systemd-run --user --scope -p "
        "Delegate=yes COMMAND`), as root, or name a group that belongs to it",
    )


def _why_not(hierarchy: Hierarchy, candidate: Path, needed: frozenset[str]) -> str | None:
    if not candidate.is_dir():
        return "there is no such group"
    if not os.access(candidate, os.W_OK | os.X_OK):
        return "this process may not make groups there"
    if hierarchy.version == 1:
        return None
    offered = _words(candidate / "cgroup.controllers")
    if missing := needed - offered:
        return f"it has no {', '.join(sorted(missing))}"
    handed = _words(candidate / "cgroup.subtree_control")
    if needed <= handed:
        return None
    control = candidate / "cgroup.subtree_control"
    wish = " ".join(f"+{name}" for name in sorted(needed - handed))
    try:
        control.write_text(wish, "ascii")
    except OSError as err:
        what = ", ".join(sorted(needed - handed))
        if err.errno == errno.EBUSY:
            return f"it has processes of its own, so it cannot hand on {what}"
        return f"it cannot hand on {what} ({err.strerror})"
    return None


def _mounts(text: str) -> Iterator[tuple[int, frozenset[str], str, Path]]:
    """Read the mounts of control groups from mountinfo; proc_pid_mountinfo(5)."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if len(before) < 6 or len(after) < 3 or after[0] not in ("cgroup", "cgroup2"):  # noqa: PLR2004
            continue
        root, mount = _plain(before[3]), Path(_plain(before[4]))
        if after[0] == "cgroup2":
            yield 2, frozenset(), root, mount
            continue
        options = set(after[2].split(","))
        names = frozenset(
            option
            for option in options - {"rw", "ro", "xattr", "clone_children", "noprefix"}
            if "=" not in option
        )
        if names:
            yield 1, names, root, mount


def _own_groups(text: str) -> Iterator[tuple[frozenset[str], str]]:
    """Read the groups that a process is in; cgroups(7)."""
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:  # noqa: PLR2004 - number, controllers, path
            names = frozenset(name for name in parts[1].split(",") if name and "=" not in name)
            if names or parts[0] == "0":
                yield names, parts[2]


def _below(path: str, root: str) -> str | None:
    """Return a group's path below the root of a mount, or None when it is not below it."""
    if root == "/":
        return path.strip("/")
    if path == root or path.startswith(root + "/"):
        return path[len(root) :].strip("/")
    return None


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def _v2_name(name: str) -> str:
    return next((new for new, old in _V1_NAMES.items() if old == name), name)


def _words(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text("ascii").split())
    except OSError:
        # The group has no such file: it offers, or hands on, nothing.
        return frozenset()
