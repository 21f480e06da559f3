"""What confines a process, as the kernel says: read back, never remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pluginapi.errors import SandboxError
from pluginapi.sandbox.capabilities import CapabilitySets, read_capabilities

if TYPE_CHECKING:
    from pluginapi.sandbox.confinement import Confinement

__all__ = ["SandboxReport", "read_report"]

_NAMESPACES: Final = ("pid", "net", "mnt", "ipc", "uts", "user", "cgroup")
_SECCOMP: Final = {0: "off", 1: "strict", 2: "filter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxReport:
    """What the kernel says of a process, from its files in /proc and its control group's.

    Attributes:
        pid: The process, as this host numbers it.
        namespaces: By kind, whether it is another one than this process's; None where the kernel
            does not let this process look.
        pid_in_namespace: Its number in its own PID namespace.
        users: Its real, effective, saved and file system user.
        groups: Its real, effective, saved and file system group, then supplementary ones.
        capabilities: Its sets.
        no_new_privs: Whether executing programs can give no privileges.
        seccomp: ``off``, ``strict`` or ``filter``.
        seccomp_filters: How many filters it has.
        limits: Soft limits of the process by the kernel's names; None is unlimited.
        mounts: What it sees mounted: path, type and options of each.
        cgroup: The bounds of its control group that are in force, by names of `CgroupConfig`.
        landlock: Whether a ruleset was put in force: the kernel shows it to nobody, but the process
            would not have started without.
    """

    pid: int
    namespaces: Mapping[str, bool | None]
    pid_in_namespace: int
    users: tuple[int, ...]
    groups: tuple[int, ...]
    capabilities: CapabilitySets
    no_new_privs: bool
    seccomp: str
    seccomp_filters: int
    limits: Mapping[str, int | None]
    mounts: tuple[tuple[str, str, str], ...]
    cgroup: Mapping[str, int] = field(default_factory=dict)
    landlock: bool = False

    def lines(self) -> list[str]:
        """Return it as lines for people."""
        own = [kind for kind, other in self.namespaces.items() if other]
        unknown = [kind for kind, other in self.namespaces.items() if other is None]
        names = self.capabilities.names()
        caps = "; ".join(f"{kind} {' '.join(held)}" for kind, held in names.items() if held)
        shown = (f"{path} ({options.split(',')[0]})" for path, _, options in self.mounts)
        bounds = (f"{name} {value}" for name, value in self.cgroup.items())
        found = {
            "process": f"{self.pid} here, {self.pid_in_namespace} in its namespace",
            "user": f"{self.users[1]}, group {self.groups[1]}",
            "own namespaces": " ".join(own) or "none",
            "may not be seen": " ".join(unknown),
            "capabilities": caps or "none",
            "new privileges": "never" if self.no_new_privs else "by executing programs",
            "seccomp": f"{self.seccomp}, {self.seccomp_filters} in force",
            "landlock": "yes" if self.landlock else "no",
            "control group": ", ".join(bounds) or "none",
            "mounts": ", ".join(shown),
        }
        return [f"{name:<16} {text}" for name, text in found.items() if text]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-representable values."""
        found = asdict(self)
        found["capabilities"] = self.capabilities.names()
        return found


def read_report(pid: int, confinement: Confinement | None = None) -> SandboxReport:
    """Return what confines a process.

    The caller knows by a pidfd that the number is still the process's.

    Raises:
        SandboxError: With code ``sandbox.report`` when the process has ended.
    """
    base = Path(f"/proc/{pid}")
    try:
        status = _fields((base / "status").read_text("utf-8", "replace"))
        limits = _limits((base / "limits").read_text("ascii", "replace"))
        mounts = _mounts((base / "mountinfo").read_text("utf-8", "surrogateescape"))
        capabilities = read_capabilities(pid)
    except OSError as err:
        raise SandboxError(
            f"the state of process {pid} cannot be read: {err.strerror}",
            code="sandbox.report",
            hint="it may have ended",
        ) from err
    return SandboxReport(
        pid=pid,
        namespaces={kind: _differs(base, kind) for kind in _NAMESPACES},
        pid_in_namespace=int(status.get("NSpid", str(pid)).split()[-1]),
        users=_numbers(status["Uid"]),
        groups=_numbers(status["Gid"]) + _numbers(status["Groups"]),
        capabilities=capabilities,
        no_new_privs=status.get("NoNewPrivs") == "1",
        seccomp=_SECCOMP.get(int(status.get("Seccomp", "0")), "?"),
        seccomp_filters=int(status.get("Seccomp_filters", "0")),
        limits=limits,
        mounts=mounts,
        cgroup={}
        if confinement is None or confinement.cgroup is None
        else confinement.cgroup.limits(),
        landlock=confinement is not None and confinement.policy.config.enable_landlock,
    )


def _fields(text: str) -> dict[str, str]:
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in lines}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


def _differs(base: Path, kind: str) -> bool | None:
    try:
        theirs, ours = (base / "ns" / kind).stat(), Path(f"/proc/self/ns/{kind}").stat()
    except OSError:
        return None
    return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)


def _limits(text: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for line in text.splitlines()[1:]:
        # "Max open files            1024                 4096                 files"
        name, soft = line[:25].strip(), line[25:].split()[0]
        found[name] = None if soft == "unlimited" else int(soft)
    return found


def _mounts(text: str) -> tuple[tuple[str, str, str], ...]:
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        parts = left.split()
        found.append((parts[4], right.split()[0], parts[5]))
    return tuple(found)
