"""Capabilities of Linux: which ones a plugin's process keeps; none by default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from pluginapi.errors import SandboxConfigError

__all__ = ["CapabilitiesConfig", "Capability", "CapabilitySets", "read_capabilities"]


class Capability(IntEnum):
    """The capabilities that Linux knows, by their numbers; capabilities(7)."""

    CAP_CHOWN = 0
    CAP_DAC_OVERRIDE = 1
    CAP_DAC_READ_SEARCH = 2
    CAP_FOWNER = 3
    CAP_FSETID = 4
    CAP_KILL = 5
    CAP_SETGID = 6
    CAP_SETUID = 7
    CAP_SETPCAP = 8
    CAP_LINUX_IMMUTABLE = 9
    CAP_NET_BIND_SERVICE = 10
    CAP_NET_BROADCAST = 11
    CAP_NET_ADMIN = 12
    CAP_NET_RAW = 13
    CAP_IPC_LOCK = 14
    CAP_IPC_OWNER = 15
    CAP_SYS_MODULE = 16
    CAP_SYS_RAWIO = 17
    CAP_SYS_CHROOT = 18
    CAP_SYS_PTRACE = 19
    CAP_SYS_PACCT = 20
    CAP_SYS_ADMIN = 21
    CAP_SYS_BOOT = 22
    CAP_SYS_NICE = 23
    CAP_SYS_RESOURCE = 24
    CAP_SYS_TIME = 25
    CAP_SYS_TTY_CONFIG = 26
    CAP_MKNOD = 27
    CAP_LEASE = 28
    CAP_AUDIT_WRITE = 29
    CAP_AUDIT_CONTROL = 30
    CAP_SETFCAP = 31
    CAP_MAC_OVERRIDE = 32
    CAP_MAC_ADMIN = 33
    CAP_SYSLOG = 34
    CAP_WAKE_ALARM = 35
    CAP_BLOCK_SUSPEND = 36
    CAP_AUDIT_READ = 37
    CAP_PERFMON = 38
    CAP_BPF = 39
    CAP_CHECKPOINT_RESTORE = 40


# <linux/securebits.h>: being root gives no capabilities, a change of the user changes none, none is
# kept on request, no ambient one is raised; each locked, so that nobody turns it back.
_NOROOT: Final = 0x3
_NO_SETUID_FIXUP: Final = 0xC
_KEEP_CAPS_LOCKED: Final = 0x20
_NO_AMBIENT_RAISE: Final = 0xC0
SECUREBITS: Final = _NOROOT | _NO_SETUID_FIXUP | _KEEP_CAPS_LOCKED | _NO_AMBIENT_RAISE


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilitiesConfig:
    """Say which capabilities a process keeps.

    Attributes:
        drop_all: Whether all others are dropped, from every set, the bounding set among them.
        allowed_caps: Those that are kept, if the host has them.
        ambient_caps: Those of them that programs inherit which the process executes as another user
            than root.
        no_new_privs: Whether executing a program can never give more privileges.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` for an ambient capability that is not
            allowed, or for capabilities that are allowed and not dropped otherwise.
    """

    drop_all: bool = True
    allowed_caps: tuple[Capability, ...] = ()
    ambient_caps: tuple[Capability, ...] = ()
    no_new_privs: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed_caps", _known(self.allowed_caps))
        object.__setattr__(self, "ambient_caps", _known(self.ambient_caps))
        if stray := set(self.ambient_caps) - set(self.allowed_caps):
            raise SandboxConfigError(
                f"ambient capabilities that are not allowed: {_names(stray)}",
                hint="add them to allowed_caps",
            )
        if self.allowed_caps and not self.drop_all:
            raise SandboxConfigError(
                "allowed_caps names what is kept, but drop_all is off, so that all are kept",
                hint="leave drop_all on, or allowed_caps out",
            )

    @property
    def allowed(self) -> int:
        """The allowed ones as a set of bits."""
        return _bits(self.allowed_caps)

    @property
    def ambient(self) -> int:
        """The ambient ones as a set of bits."""
        return _bits(self.ambient_caps)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilitySets:
    """The capabilities that a process has, each a set of bits; capabilities(7)."""

    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int

    def names(self) -> dict[str, list[str]]:
        """Return the sets as lists of names; numbers for what this library does not know."""
        return {
            name: [_name(number) for number in range(64) if getattr(self, name) >> number & 1]
            for name in self.__slots__
        }


def read_capabilities(pid: int | str = "self") -> CapabilitySets:
    """Return the capabilities of a process, or of this one, as the kernel tells them.

    Raises:
        OSError: When /proc does not tell: the process is gone, say.
    """
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines():
        key, _, value = line.partition(":\t")
        if key.startswith("Cap"):
            found[key] = int(value, 16)
    return CapabilitySets(
        inheritable=found["CapInh"],
        permitted=found["CapPrm"],
        effective=found["CapEff"],
        bounding=found["CapBnd"],
        ambient=found["CapAmb"],
    )


def _known(caps: Iterable[Capability | str | int]) -> tuple[Capability, ...]:
    try:
        return tuple(Capability[cap] if isinstance(cap, str) else Capability(cap) for cap in caps)
    except (KeyError, ValueError) as err:
        raise SandboxConfigError(
            f"there is no capability {err}",
            hint=f"use {Capability.CAP_CHOWN.name} to {Capability.CAP_CHECKPOINT_RESTORE.name}",
        ) from err


def _bits(caps: Iterable[Capability]) -> int:
    return sum({1 << cap for cap in caps})


def _name(number: int) -> str:
    try:
        return Capability(number).name
    except ValueError:
        return str(number)


def _names(caps: Iterable[Capability]) -> str:
    return ", ".join(sorted(cap.name for cap in caps))
