"""What of a sandbox this machine and this user can have, found out by trying."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from pluginapi.errors import PluginError
from pluginapi.process.nursery import Ended, Nursery, Refusal, native_command
from pluginapi.process.supervisor import Supervisor
from pluginapi.sandbox.cgroups import CgroupConfig, CgroupManager
from pluginapi.sandbox.config import SandboxConfig
from pluginapi.sandbox.landlock import landlock_abi
from pluginapi.sandbox.launcher import Launcher
from pluginapi.sandbox.memory_files import memory_file
from pluginapi.sandbox.plan import Plan
from pluginapi.sandbox.policy import is_privileged

__all__ = ["Abilities", "Ability", "Tier", "read_abilities"]

_ACTIONS: Final = Path("/proc/sys/kernel/seccomp/actions_avail")
_TRUE: Final = "/bin/true"
_SCOPES_SINCE: Final = 6


class Tier(Enum):
    """What the rights of this process are enough for."""

    ROOT = "root"
    """Every layer; each plugin is a user of its own."""
    ROOTLESS = "rootless"
    """Every namespace, by a user namespace; all plugins are this user, without rights."""
    UNPRIVILEGED = "unprivileged"
    """No namespace: Landlock, seccomp and limits of single processes."""
    NONE = "none"
    """No sandbox."""


@dataclass(frozen=True, slots=True)
class Ability:
    """Whether there is one thing that sandboxes are made of.

    Attributes:
        there: Whether it was had.
        detail: What was found.
        remedy: What would change that, or None.
    """

    there: bool
    detail: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What was found.

    Attributes:
        tier: What the rights of this process are enough for.
        found: Each thing by its name.
    """

    tier: Tier
    found: dict[str, Ability]


def read_abilities() -> Abilities:
    """Try each layer, in short-lived processes and groups of its own, and say what came of it.

    Takes some 100 milliseconds.
    """
    if sys.platform != "linux":
        no = Ability(False, f"the sandbox needs Linux, this is {sys.platform}")
        return Abilities(tier=Tier.NONE, found={"sandbox": no})
    privileged = is_privileged()
    rights = "may make namespaces" if privileged else "needs a user namespace to make others"
    found = {
        "rights": Ability(privileged, f"user {os.getuid()} {rights}"),
        "user namespace": _tried(_user_namespace),
        "landlock": _landlock(),
        "seccomp": _seccomp(),
        "cgroup": _tried(_cgroup),
        "strict": _tried(lambda: _start(SandboxConfig(cgroup=None))),
        "minimal": _tried(lambda: _start(SandboxConfig.without_namespaces())),
    }
    tier = Tier.NONE
    if found["strict"].there:
        tier = Tier.ROOT if privileged else Tier.ROOTLESS
    elif found["minimal"].there:
        tier = Tier.UNPRIVILEGED
    return Abilities(tier=tier, found=found)


def _tried(attempt: Callable[[], str]) -> Ability:
    try:
        return Ability(True, attempt())
    except PluginError as err:
        return Ability(False, err.message, err.hint)


def _user_namespace() -> str:
    if Path("/proc/self/ns/user").exists() and os.getuid() == 0:
        return "not needed by root"
    supervisor = Supervisor()
    try:
        nursery = Nursery("native", native_command(), supervisor, _ignored, 10.0)
        try:
            plan = Plan().new_user_namespace(os.getuid(), os.getgid())
            with memory_file("plan", plan.build()) as fd:
                nursery.apply((fd,))
        except Refusal as err:
            raise why_no_user_namespace(err) from err
        finally:
            nursery.close()
    finally:
        supervisor.close()
    return "made one"


def _ignored(_id: int, _ended: Ended) -> None:
    """No worker is started."""


def why_no_user_namespace(refusal: Refusal) -> PluginError:
    """Return the error for a user namespace that could not be made, with what forbids it."""
    from pluginapi.errors import SandboxUnavailable  # noqa: PLC0415 - beside its use

    reasons = (
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    )
    for name, value, remedy in reasons:
        path = Path("/proc/sys", name)
        if path.exists() and path.read_text("ascii").strip() == value:
            return SandboxUnavailable(
                f"no user namespace can be made: {refusal}: {name.replace('/', '.')} is {value}",
                layer="user namespace",
                hint=f'{remedy}; or use SandboxConfig.without_namespaces(), mode = "minimal"',
            )
    return SandboxUnavailable(
        f"no user namespace can be made: {refusal}",
        layer="user namespace",
        hint="in a container, let its seccomp profile allow unshare and clone with CLONE_NEWUSER "
        "and unmask /proc (--security-opt systempaths=unconfined), or run the host as root; or use "
        'SandboxConfig.without_namespaces(), mode = "minimal"',
    )


def _landlock() -> Ability:
    abi = landlock_abi()
    if not abi:
        return Ability(
            False,
            "the kernel has none, or has it off",
            "add `landlock` to the kernel's list of security modules (lsm=)",
        )
    lacks = "" if abi >= _SCOPES_SINCE else "; no scopes for signals and sockets before version 6"
    return Ability(True, f"version {abi}{lacks}")


def _seccomp() -> Ability:
    try:
        actions = _ACTIONS.read_text("ascii").split()
    except OSError as err:
        return Ability(
            False, f"{_ACTIONS}: {err.strerror}", "use a kernel with CONFIG_SECCOMP_FILTER"
        )
    return Ability(True, " ".join(actions))


def _cgroup() -> str:
    with CgroupManager() as groups:
        config = CgroupConfig(memory_limit_bytes=64 << 20, pids_limit=16, cpu_quota_us=50_000)
        group = groups.create("doctor", config)
        limits = ", ".join(group.limits())
    version = "version 2" if not group.older_directories else "version 1"
    return f"{version}: {limits}"


def _start(config: SandboxConfig) -> str:
    with Launcher(start_timeout=10.0, cells=0) as launcher:
        done = launcher.run(config, [_TRUE], timeout=10.0)
    if done.exit_status:
        return f"started a program, which ended with {done.exit_status}"
    return "started a program in it"
