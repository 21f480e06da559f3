"""Plans: what a process gives up before it runs a plugin, as bytes for the native part.

The layout is that of `src/_native/kernels/confine/plan.h`.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final

from pluginapi._native import _confine
from pluginapi.errors import SandboxConfigError, SandboxError
from pluginapi.sandbox.capabilities import SECUREBITS, CapabilitiesConfig
from pluginapi.sandbox.rlimits import RESOURCES, RlimitsConfig

__all__ = ["Mount", "Plan", "apply_plan", "step_failed"]

_MAGIC: Final = 0x314E4C50
_RLIMIT, _KEYRING, _SETNS, _UNSHARE, _HOSTNAME, _IDS = 1, 2, 3, 4, 5, 6
_CAPS, _NO_NEW_PRIVS, _LANDLOCK, _SECCOMP, _DUMPABLE = 7, 8, 9, 10, 11
_ROOT, _DIR, _FILE, _LINK, _BIND, _TMPFS, _PROC, _SEAL, _PIVOT = range(12, 21)
_CGROUP, _RULES, _DIES_WITH_PARENT, _USERNS, _OVERLAY, _NAMESERVER = range(21, 27)
_NEW_LISTENER: Final = 8
_MOST_HOSTNAME: Final = 64
_MOST_PATH: Final = 4095
_PAGE: Final = 4096

_HINTS: Final = {
    "start": "namespaces take root, or a user namespace: see `pluginapi doctor`",
    "rlimit": "a limit above the host's hard limit takes root: lower it, or raise the host's",
    "setns": "entering a namespace takes root, or a user namespace of one's own",
    "unshare": "making a namespace takes root, or a user namespace of one's own",
    "root": "a root of its own takes a mount namespace of its own: make or enter one before",
    "bind": "what is shown must be there, and its place in the root, by paths without links",
    "proc": "/proc takes a PID namespace of one's own, in which this process is",
    "overlay": "an overlay takes a kernel that has overlayfs, and a directory that it can be over",
    "pivot": "a root must have been begun, and mounts not be shared",
    "user namespace": "a user namespace takes a machine that allows them: see `pluginapi doctor`",
    "cgroup": "see who may write to the group, and whether it may have processes; cgroups(7)",
    "ids": "becoming another user takes root, or a user namespace that maps it",
    "capabilities": "only what the host has can be kept: see CapPrm in its /proc/self/status",
    "landlock": "set no_new_privs, and see that no more than 16 rulesets are on top of each other",
    "nameserver": "a name server takes a network namespace of one's own, and the rights in it",
    "seccomp": "set no_new_privs, and see that the program is one that the kernel takes",
}


class Mount(IntFlag):
    """Flags of mounts, mount_setattr(2)."""

    READ_ONLY = 1
    NO_EXEC = 2
    NO_DEV = 4
    NO_SUID = 8
    RECURSIVE = 16
    """The mounts below it too; when something is bound, they come along."""

    PLAIN = NO_DEV | NO_SUID
    """What every mount of a plugin has."""


@dataclass(slots=True)
class Plan:
    """Collect steps, in the order in which they are done; `build` makes a plan of them.

    Steps that others take away the right to do come last: seccomp after Landlock, both after
    no_new_privs, capabilities after the user. Not thread-safe.
    """

    steps: list[tuple[str, int, bytes]] = field(default_factory=list)

    def rlimits(self, config: RlimitsConfig) -> Plan:
        """Set limits of the process."""
        for name, value in config.limits().items():
            data = struct.pack("=IIQQ", RESOURCES[name], 0, value, value)
            self.steps.append(("rlimit", _RLIMIT, data))
        return self

    def new_keyring(self) -> Plan:
        """Leave the session keyring of the host, keyrings(7)."""
        self.steps.append(("keyring", _KEYRING, b""))
        return self

    def enter_namespaces(self, descriptor: int, kinds: int) -> Plan:
        """Enter a namespace, or with its pidfd those of a process; setns(2).

        Args:
            descriptor: The number of a descriptor in the list that the plan is run with.
            kinds: CLONE_NEW*; of a PID namespace, children alone will be.
        """
        self.steps.append(("setns", _SETNS, struct.pack("=II", descriptor, kinds)))
        return self

    def new_user_namespace(self, uid: int, gid: int) -> Plan:
        """Make a user namespace in which the process is this user and group; it cannot be root."""
        self._check_ids(uid, gid)
        self.steps.append(("user namespace", _USERNS, struct.pack("=II", uid, gid)))
        return self

    def join_cgroup(self, descriptor: int) -> Plan:
        """Join the control group whose cgroup.procs this descriptor is open on, for writing.

        Of a process with one thread, tasks of version 1 will do.
        """
        self.steps.append(("cgroup", _CGROUP, struct.pack("=II", descriptor, 0)))
        return self

    def die_with_parent(self) -> Plan:
        """Be killed when the parent ends; a later change of the user undoes it."""
        self.steps.append(("dies_with_parent", _DIES_WITH_PARENT, b""))
        return self

    def new_namespaces(self, kinds: int) -> Plan:
        """Make namespaces: CLONE_NEW* of unshare(2)."""
        self.steps.append(("unshare", _UNSHARE, struct.pack("=II", kinds, 0)))
        return self

    def hostname(self, name: str) -> Plan:
        """Set the name of the host, in a UTS namespace of its own."""
        data = name.encode("ascii", "strict") if name.isascii() else b""
        if not 0 < len(data) <= _MOST_HOSTNAME:
            raise SandboxConfigError(
                f"{name!r} cannot be the name of a host",
                hint="use 1 to 64 ASCII characters",
            )
        self.steps.append(("hostname", _HOSTNAME, data))
        return self

    def become(self, uid: int, gid: int) -> Plan:
        """Become another user and group, without supplementary groups; never root."""
        self._check_ids(uid, gid)
        self.steps.append(("ids", _IDS, struct.pack("=II", uid, gid)))
        return self

    @staticmethod
    def _check_ids(*numbers: int) -> None:
        for number in numbers:
            if not 0 < number < (1 << 32) - 1:
                raise SandboxConfigError(
                    f"{number} cannot be the user or group of a plugin",
                    hint="use an unprivileged one of its own",
                )

    def capabilities(self, config: CapabilitiesConfig) -> Plan:
        """Drop capabilities and, when the configuration says so, the way to get new ones."""
        if config.drop_all:
            inheritable = config.ambient
            sets = (config.allowed, config.allowed, inheritable, config.ambient)
            data = struct.pack("=QQQQII", *sets, SECUREBITS, 0)
            self.steps.append(("capabilities", _CAPS, data))
        if config.no_new_privs:
            self.no_new_privs()
        return self

    def no_new_privs(self) -> Plan:
        """Never get more privileges by executing a program; PR_SET_NO_NEW_PRIVS."""
        self.steps.append(("no_new_privs", _NO_NEW_PRIVS, b""))
        return self

    def dumpable(self, *, on: bool) -> Plan:
        """Let the process be dumped and traced by its own user, or not."""
        self.steps.append(("dumpable", _DUMPABLE, struct.pack("=II", on, 0)))
        return self

    def landlock(self, descriptor: int) -> Plan:
        """Apply a ruleset: the number of a descriptor in the list that the plan is run with."""
        self.steps.append(("landlock", _LANDLOCK, struct.pack("=II", descriptor, 0)))
        return self

    def landlock_rules(
        self, rules: Sequence[tuple[str, int]], *, files: int, network: int = 0, scoped: int = 0
    ) -> Plan:
        """Make a Landlock ruleset of paths as the process finds them, and apply it.

        Args:
            rules: Absolute paths without ``..`` and what is allowed at and below each.
            files: What of files is denied unless a rule allows it, LANDLOCK_ACCESS_FS_*.
            network: What of TCP ports is denied, LANDLOCK_ACCESS_NET_*.
            scoped: LANDLOCK_SCOPE_*.
        """
        data = struct.pack("=QQQII", files, network, scoped, len(rules), 0)
        for path, access in rules:
            encoded = b"/" + (_path(path) if path.strip("/") else b"")
            data += struct.pack("=QII", access, len(encoded), 0) + encoded
        self.steps.append(("landlock", _RULES, data))
        return self

    def seccomp(self, program: bytes, *, flags: int = 0, listener_over: int | None = None) -> Plan:
        """Install a filter: the program as the kernel takes it, 8 bytes for each instruction.

        Args:
            program: The program.
            flags: SECCOMP_FILTER_FLAG_*.
            listener_over: The number of the descriptor of a SOCK_SEQPACKET socket over which the
                filter's listener is sent, with one byte; seccomp_unotify(2).
        """
        over = 0
        if listener_over is not None:
            flags |= _NEW_LISTENER
            over = listener_over + 1
        data = struct.pack("=II", flags, over) + program
        self.steps.append(("seccomp", _SECCOMP, data))
        return self

    def nameserver(self, descriptor: int) -> Plan:
        """Bring the loopback up, and send a socket on its port 53 for UDP over a socket.

        In a network namespace of one's own, before its rights are given up.

        Args:
            descriptor: The number of the descriptor of a SOCK_SEQPACKET socket.
        """
        self.steps.append(("nameserver", _NAMESERVER, struct.pack("=II", descriptor, 0)))
        return self

    # ---- The tree of files, in a mount namespace of one's own ----

    def root(self, *, size_bytes: int, inodes: int, mode: int = 0o755) -> Plan:
        """Begin a new root: an empty file system in memory.

        Nothing mounted from now on is seen outside of the mount namespace, nor the other way round.
        """
        self.steps.append(("root", _ROOT, _tmpfs(size_bytes, inodes, mode, Mount.PLAIN)))
        return self

    def directory(self, path: str, mode: int = 0o755) -> Plan:
        """Make a directory in the root, and those above it."""
        self.steps.append(("directory", _DIR, struct.pack("=II", mode, 0) + _path(path)))
        return self

    def file(self, path: str, mode: int = 0o644) -> Plan:
        """Make an empty file in the root, to bind a file onto."""
        self.steps.append(("file", _FILE, struct.pack("=II", mode, 0) + _path(path)))
        return self

    def link(self, path: str, target: str) -> Plan:
        """Make a symbolic link in the root."""
        encoded = _path(path)
        data = struct.pack("=II", len(encoded), 0) + encoded + os.fsencode(target)
        self.steps.append(("link", _LINK, data))
        return self

    def bind(self, descriptor: int, source: str, path: str, flags: Mount = Mount.PLAIN) -> Plan:
        """Show a file or directory of the host in the root.

        The source has to be what the descriptor was opened on when the plan is run, whoever has
        swapped names meanwhile; the place in the root is found without following links.

        Args:
            descriptor: The number of a descriptor in the list that the plan is run with.
            source: An absolute path without links on the way.
            path: Where, in the root; it must be there.
            flags: How. Without `Mount.RECURSIVE` the mounts below it are left out.
        """
        if not source.startswith("/"):
            raise SandboxConfigError(
                f"the source of a mount is {source!r}, which is not absolute",
                hint="name it from the root",
            )
        encoded = _path(path)
        origin = b"/" + (_path(source) if source.strip("/") else b"")
        data = struct.pack("=IIII", descriptor, flags, len(encoded), 0) + encoded + origin
        self.steps.append(("bind", _BIND, data))
        return self

    def tmpfs(
        self,
        path: str,
        *,
        size_bytes: int,
        inodes: int,
        mode: int = 0o1777,
        flags: Mount = Mount.PLAIN | Mount.NO_EXEC,
    ) -> Plan:
        """Mount an empty file system in memory, bounded in bytes and files."""
        data = _tmpfs(size_bytes, inodes, mode, flags) + _path(path)
        self.steps.append(("tmpfs", _TMPFS, data))
        return self

    def overlay(
        self,
        path: str,
        *,
        size_bytes: int,
        inodes: int,
        in_user_namespace: bool,
        mode: int = 0o777,
        flags: Mount = Mount.PLAIN | Mount.NO_EXEC,
    ) -> Plan:
        """Keep changes to a directory in memory, bounded in bytes and files; after the pivot.

        Args:
            path: The directory.
            size_bytes: Bytes of what changes.
            inodes: Files of what changes, and some more.
            in_user_namespace: Whether the rights to mount are those of a user namespace.
            mode: Of the directory, as it is seen then.
            flags: Of the mount.
        """
        data = _tmpfs(size_bytes, inodes, mode, flags)
        data += struct.pack("=II", in_user_namespace, 0) + _path(path)
        self.steps.append(("overlay", _OVERLAY, data))
        return self

    def proc(
        self,
        path: str = "proc",
        flags: Mount = Mount.PLAIN | Mount.NO_EXEC,
        *,
        processes_only: bool = False,
    ) -> Plan:
        """Mount /proc of the process's own PID namespace; its processes alone, when asked."""
        data = struct.pack("=II", flags, processes_only) + _path(path)
        self.steps.append(("proc", _PROC, data))
        return self

    def seal(self, path: str, flags: Mount) -> Plan:
        """Add flags to what is mounted at a path."""
        self.steps.append(("seal", _SEAL, struct.pack("=II", flags, 0) + _path(path)))
        return self

    def pivot(self, flags: Mount = Mount.READ_ONLY | Mount.PLAIN) -> Plan:
        """Make the new root the root, with these flags; the old one is gone."""
        self.steps.append(("pivot", _PIVOT, struct.pack("=II", flags, 0)))
        return self

    def build(self, descriptors: int = 0) -> bytes:
        """Return the plan for so many descriptors.

        Raises:
            SandboxConfigError: With code ``sandbox.config`` when it cannot be run; the message
                names the step.
        """
        body = b"".join(
            struct.pack("=HHI", kind, 0, len(data)) + data + bytes(-len(data) % 8)
            for _, kind, data in self.steps
        )
        plan = struct.pack("=IIII", _MAGIC, 16 + len(body), len(self.steps), 0) + body
        try:
            _confine.check(plan, descriptors)
        except ValueError as err:
            raise SandboxConfigError(
                f"the steps {', '.join(name for name, _, _ in self.steps)} make no plan: {err}",
                hint="see the step that is named, counted from 0",
            ) from err
        return plan

    def name_of(self, step: int) -> str:
        """Return what a step is called in errors."""
        return self.steps[step][0] if step < len(self.steps) else "?"


def _path(path: str) -> bytes:
    """Return a path as plans have it: from the root, in its one form.

    Raises:
        SandboxConfigError: For ``..`` and what else does not lead down from the root.
    """
    parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
    encoded = b"/".join(parts)
    if not encoded or b".." in parts or b"\0" in encoded or len(encoded) > _MOST_PATH:
        raise SandboxConfigError(
            f"{path!r} is no path in the root of a plugin",
            hint="name what lies below the root, without '..'",
        )
    return encoded


def _tmpfs(size_bytes: int, inodes: int, mode: int, flags: Mount) -> bytes:
    if not (_PAGE <= size_bytes < 1 << 62 and 1 <= inodes < 1 << 62):
        raise SandboxConfigError(
            f"a file system in memory of {size_bytes} bytes and {inodes} inodes cannot be",
            hint="give it 4096 bytes and 1 inode at least",
        )
    return struct.pack("=QQII", size_bytes, inodes, mode, flags)


def step_failed(plan: Plan | None, step: int | None, call: str, number: int) -> SandboxError:
    """Return the error for a step of a plan that failed.

    Args:
        plan: The plan, for the name of the step.
        step: Its number, or None when what failed came before any.
        call: The system call.
        number: The errno value.
    """
    name = "start" if plan is None or step is None else plan.name_of(step)
    what = (
        f"step {step} of the sandbox, {name}," if step is not None else "the start of the sandbox"
    )
    return SandboxError(
        f"{what} failed: {call}: {os.strerror(number)}",
        code="sandbox.step",
        layer=name,
        hint=_HINTS.get(name, "see the manual page of the call for what this errno means"),
        step=step,
        call=call,
        errno=errno.errorcode.get(number, str(number)),
    )


def apply_plan(plan: Plan, descriptors: Sequence[int] = ()) -> None:
    """Run a plan on this process. There is no way back, and a plan that fails is done in part.

    Most steps are of the calling thread alone: run it before there are others.

    Raises:
        SandboxError: With code ``sandbox.step``; ``details`` has the step, the call and the errno.
        SandboxConfigError: When the steps make no plan; nothing was done.
    """
    data = plan.build(len(descriptors))
    try:
        _confine.apply(data, tuple(descriptors))
    except _confine.StepFailed as err:
        raise step_failed(plan, err.step, err.call, err.errno or 0) from err
