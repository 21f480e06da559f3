"""From what a sandbox is to be to the plans that make it."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from pluginapi.errors import SandboxUnavailable
from pluginapi.process.nursery import native_program
from pluginapi.sandbox.capabilities import CapabilitiesConfig, Capability, read_capabilities
from pluginapi.sandbox.config import NetworkMode, SandboxConfig
from pluginapi.sandbox.filesystem import build_root
from pluginapi.sandbox.landlock import FileAccess, landlock_abi
from pluginapi.sandbox.plan import Plan
from pluginapi.sandbox.program_filters import (
    HOLDER_FILTER,
    STRICT_NATIVE_FILTER,
    STRICT_PYTHON_FILTER,
    Program,
    brokered,
    starting_filter,
)
from pluginapi.sandbox.seccomp import ALLOW, USER_NOTIF, Action, Rule, SeccompFilter, SeccompMode

__all__ = [
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "Policy",
    "Program",
    "is_privileged",
]

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

WORKER_PATH: Final = "/.plugin-worker"
"""Where a root shows the native worker; src/_native/worker/nursery.h."""

# Plans that are kept: one for each user that a plugin was.
_MOST_KNOWN: Final = 1024
_NOBODY: Final = 65_534
_NEEDED: Final = (
    Capability.CAP_SYS_ADMIN,
    Capability.CAP_SETUID,
    Capability.CAP_SETGID,
    Capability.CAP_SETPCAP,
)
# landlock(7): what each version knows of files, and since when signals and sockets have scopes.
_LANDLOCK_FILES: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_LANDLOCK_SCOPES: Final = 3
_SCOPES_SINCE: Final = 6
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_DEVICE_ACCESS: Final = FileAccess.READ_FILE | FileAccess.WRITE_FILE
_TMP_ACCESS: Final = FileAccess.READ_WRITE | FileAccess.MAKE_SOCK | FileAccess.MAKE_FIFO


def is_privileged() -> bool:
    """Tell whether this process may make namespaces and become other users: root, mostly."""
    effective = read_capabilities().effective
    return all(effective >> number & 1 for number in _NEEDED)


@cache
def python_paths() -> tuple[str, ...]:
    """Return the directories from which a Python worker imports, and the interpreter's own files.

    Its program and library are running already. Who looks into the process from outside, such as
    `pluginapi profile`, finds them where the process does.
    """
    package = Path(__file__).resolve().parents[2]
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = [*(sysconfig.get_paths()[name] for name in names), str(package)]
    if sys.executable:
        found.append(sys.executable)
    directory, library = sysconfig.get_config_vars("LIBDIR", "INSTSONAME")
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and directory and library:
        found.append(str(Path(directory, library)))
    real = dict.fromkeys(os.path.realpath(path) for path in found if Path(path).exists())
    # One below another of them is there with it.
    return tuple(
        path
        for path in real
        if not any(path != other and path.startswith(other + "/") for other in real)
    )


@dataclass(frozen=True, slots=True)
class Policy:
    """What one configuration comes to for one kind of program, on this machine and for this user.

    Attributes:
        config: The configuration.
        program: What is confined.
        privileged: Whether the host has root's rights; otherwise a user namespace gives them.
    """

    config: SandboxConfig
    program: Program
    privileged: bool
    _known: dict[object, tuple[Plan, bytes]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if (
            not self.privileged
            and self._any_namespace()
            and self.config.enable_user_namespace is False
        ):
            raise SandboxUnavailable(
                "namespaces need the rights of root or a user namespace, which the configuration "
                "turns off",
                layer="user namespace",
                hint="leave enable_user_namespace unset, run the host as root, or use "
                "SandboxConfig.without_namespaces()",
            )

        if self.config.network.link:
            self._check_link()

    def _check_link(self) -> None:
        from pluginapi.sandbox.network.links import check_forwarding  # noqa: PLC0415 - few have one

        if not self.privileged:
            raise SandboxUnavailable(
                "a link to the host's network takes the rights of root there",
                layer="network",
                hint="run the host as root; or leave `link` off: names and addresses over TCP go "
                "through the broker",
            )
        check_forwarding(self.config.network.allow)

    # ---- Namespaces ----

    def _any_namespace(self) -> bool:
        return bool(self.cell_namespaces) or self.config.enable_mount_namespace

    @property
    def needs_user_namespace(self) -> bool:
        """Whether those who start processes need a user namespace of their own."""
        return not self.privileged and self._any_namespace()

    @property
    def cell_namespaces(self) -> int:
        """The namespaces that a process beside the plugin's holds open, CLONE_NEW*."""
        config = self.config
        found = 0
        for enabled, kind in (
            (config.enable_pid_namespace, CLONE_NEWPID),
            (config.enable_network_namespace, CLONE_NEWNET),
            (config.enable_ipc_namespace, CLONE_NEWIPC),
            (config.enable_uts_namespace, CLONE_NEWUTS),
            (config.enable_user_namespace is True, CLONE_NEWUSER),
        ):
            found |= kind if enabled else 0
        return found

    @property
    def in_pid_namespace(self) -> bool:
        """Whether the process is of the cell's PID namespace."""
        return self.config.enable_pid_namespace

    def _once(self, key: object, make: Callable[[], tuple[Plan, int]]) -> tuple[Plan, bytes]:
        """Return a plan and its bytes for so many descriptors, made the first time."""
        known = self._known.get(key)
        if known is None:
            plan, descriptors = make()
            known = self._known.setdefault(key, (plan, plan.build(descriptors)))
        return known

    @property
    def is_brokered(self) -> bool:
        """Whether the broker connects for the plugin."""
        return self.config.network.mode is NetworkMode.RESTRICTED

    def cell_plan(self) -> tuple[Plan, bytes]:
        """Return what the process gives up that holds the namespaces, and its bytes.

        Of a network with a broker, the plan has one descriptor: where the socket of the name server
        is sent over.
        """
        return self._once("cell", lambda: (self._cell_plan(), int(self.is_brokered)))

    def _cell_plan(self) -> Plan:
        plan = Plan()
        if self.is_brokered:
            plan.nameserver(0)
        if self.config.enable_uts_namespace:
            plan.hostname(self.config.hostname)
        if self.privileged and not self.cell_namespaces & CLONE_NEWUSER:
            plan.become(_NOBODY, _NOBODY)
        plan.capabilities(CapabilitiesConfig())
        return plan.seccomp(HOLDER_FILTER.build())

    # ---- Files ----

    @property
    def shows_program(self) -> bool:
        """Whether the tree of files shows the native worker."""
        return self.program == "native" and self.config.enable_mount_namespace

    @property
    def has_template(self) -> bool:
        """Whether the tree of files is made once, and copied for each process."""
        return self.config.enable_mount_namespace

    @property
    def shown(self) -> tuple[str, ...]:
        """What is shown read-only beside what the configuration says."""
        return python_paths() if self.program == "python" else ()

    def root(self, plan: Plan, first_descriptor: int) -> list[int]:
        """Add the steps that make the tree of files; return the descriptors that go with them."""
        return build_root(
            self.config.filesystem,
            plan,
            extra_read_only=self.shown,
            program=(str(native_program()), WORKER_PATH) if self.program == "native" else None,
            first_descriptor=first_descriptor,
            own_proc=self.config.enable_pid_namespace,
        )

    # ---- The process ----

    def plan(
        self,
        *,
        uid: int,
        cgroups: Sequence[int],
        template: int | None,
        first_descriptor: int,
        door: int | None = None,
    ) -> tuple[Plan, bytes, list[int]]:
        """Return the plan of a process, its bytes, and the descriptors that were opened for it.

        Args:
            uid: The user and group that it becomes, where it can.
            cgroups: The numbers of descriptors on cgroup.procs of the groups that it joins.
            template: The number of the descriptor of the mount namespace with its tree of files.
            first_descriptor: The number of the first descriptor that is opened for it.
            door: The number of the descriptor of the door, where the broker connects for it.
        """
        if template is None:
            # What its paths lead to is looked at each time.
            plan, opened = self._plan(uid, cgroups, None, first_descriptor, door)
            return plan, plan.build(first_descriptor + len(opened)), opened
        key = (uid, tuple(cgroups), template, first_descriptor, door)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        made = self._once(
            key,
            lambda: (
                self._plan(uid, cgroups, template, first_descriptor, door)[0],
                first_descriptor,
            ),
        )
        return *made, []

    def _plan(
        self,
        uid: int,
        cgroups: Sequence[int],
        template: int | None,
        first_descriptor: int,
        door: int | None,
    ) -> tuple[Plan, list[int]]:
        plan = Plan()
        for group in cgroups:
            plan.join_cgroup(group)
        plan.new_keyring()
        opened = self._enter(plan, template, first_descriptor)
        plan.rlimits(self.config.rlimits)
        if self.privileged:
            plan.become(uid, uid)
        plan.capabilities(self.config.capabilities)
        plan.die_with_parent()
        if self.config.enable_landlock:
            self._landlock(plan)
        if self.program == "python" and self.privileged:
            plan.dumpable(on=False)
        if (program := self._first_filter()) is not None:
            plan.seccomp(program, listener_over=door)
        return plan, opened

    def _enter(self, plan: Plan, template: int | None, first_descriptor: int) -> list[int]:
        """Add the steps into the namespaces; return the descriptors that were opened for them."""
        config = self.config
        opened: list[int] = []
        if config.enable_mount_namespace:
            if template is not None:
                plan.enter_namespaces(template, CLONE_NEWNS)
            plan.new_namespaces(CLONE_NEWNS)
            if template is None:
                opened = self.root(plan, first_descriptor)
            files = config.filesystem
            plan.tmpfs("tmp", size_bytes=files.tmp_size_bytes, inodes=files.tmp_inodes)
            if config.enable_pid_namespace:
                plan.proc(processes_only=True)
            for overlay in files.overlays:
                plan.overlay(
                    overlay.path,
                    size_bytes=overlay.size_bytes,
                    inodes=overlay.inodes,
                    in_user_namespace=not self.privileged,
                )
        if entered := self.cell_namespaces & ~(CLONE_NEWPID | CLONE_NEWUSER):
            plan.enter_namespaces(0, entered)
        if self.cell_namespaces & CLONE_NEWUSER:
            # Last: the namespaces before are not its.
            plan.enter_namespaces(0, CLONE_NEWUSER)
        return opened

    def lock(self) -> bytes | None:
        """Return the plan of what a worker gives up later than at its start, or None.

        A native one does when its plugin is loaded, a Python one when it has joined its channel.
        """
        if self.program == "command" or (self.program == "python" and not self.is_strict):
            return None
        return self._once("lock", lambda: (self._lock(), 0))[1]

    def _lock(self) -> Plan:
        if self.program == "python":
            return Plan().seccomp(STRICT_PYTHON_FILTER.build())
        plan = Plan()
        if self.privileged:
            plan.dumpable(on=False)
        wanted = STRICT_NATIVE_FILTER if self.is_strict else self._filter()
        if wanted is not None:
            plan.seccomp(wanted.build())
        return plan

    @property
    def is_strict(self) -> bool:
        """Whether the worker computes and answers, and can do nothing else."""
        return self.config.seccomp is SeccompMode.STRICT

    def _filter(self) -> SeccompFilter | None:
        wanted = self.config.seccomp
        if isinstance(wanted, SeccompMode):
            wanted = wanted.filter("native" if self.program == "native" else "python")
        if wanted is not None and self.is_brokered:
            # The first filter has the listener; a second one leaves connect to it.
            return self._brokered(wanted, ALLOW)
        return wanted

    def _first_filter(self) -> bytes | None:
        """Return the filter of the process until it has started its program."""
        wanted = self._filter()
        if wanted is None:
            return None
        if self.program == "python":
            # Joining takes a few calls more than serving.
            if self.is_strict:
                joining = SeccompMode.BASIC.filter("python").replacing(Rule(("seccomp",), ALLOW))
                return joining.build()
            return (self._brokered(wanted, USER_NOTIF) if self.is_brokered else wanted).build()
        assert self.config.seccomp is not None  # noqa: S101 - as `_filter` has seen
        starting = starting_filter(self.config.seccomp, self.program)
        return (self._brokered(starting, USER_NOTIF) if self.is_brokered else starting).build()

    def _brokered(self, wanted: SeccompFilter, asked: Action) -> SeccompFilter:
        return brokered(wanted, asked, serves=bool(self.config.network.publish))

    def _landlock(self, plan: Plan) -> None:
        config = self.config
        abi = landlock_abi()
        isolated = config.enable_pid_namespace and config.enable_network_namespace
        least = max(
            config.landlock_minimum_abi,
            1 if config.enable_mount_namespace else 3,
            1 if isolated else _SCOPES_SINCE,
        )
        if abi < least:
            raise SandboxUnavailable(
                f"Landlock is needed in version {least}, the kernel has "
                + (f"version {abi}" if abi else "none, or has it off"),
                code="sandbox.landlock",
                layer="landlock",
                hint="use a newer kernel with `landlock` in its list of security modules "
                "(/sys/kernel/security/lsm); or, where other layers are enough, "
                "enable_landlock=False",
            )
        files = sum(bits for since, bits in _LANDLOCK_FILES.items() if since <= abi)
        scoped = _LANDLOCK_SCOPES if abi >= _SCOPES_SINCE else 0
        plan.landlock_rules(self._rules(), files=files, scoped=scoped)

    def _rules(self) -> list[tuple[str, int]]:
        files = self.config.filesystem
        writable = [
            *files.writable_paths,
            *(overlay.path for overlay in files.overlays),
            *(mount.target for mount in files.bind_mounts if not mount.readonly),
        ]
        rules: list[tuple[str, int]] = []
        if self.config.enable_mount_namespace:
            # The root shows nothing but what may be read.
            rules.append(("/", FileAccess.READ_EXECUTE))
            rules.append(("/tmp", _TMP_ACCESS))  # noqa: S108 - of the process's own
            rules += [(path, _DEVICE_ACCESS) for path in _DEVICES]
        else:
            system = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache")
            shown = [*self.shown, *files.read_only_paths]
            if self.program == "native":
                shown.append(str(native_program()))
            if files.system_paths:
                shown += [path for path in system if Path(path).exists()]
            rules += [(os.path.realpath(path), FileAccess.READ_EXECUTE) for path in shown]
            rules += [(path, _DEVICE_ACCESS) for path in _DEVICES]
            rules.append(("/proc/self", FileAccess.READ))
        rules += [(path, FileAccess.READ_WRITE) for path in writable]
        return rules
