"""Landlock: rules on paths, ports, signals and sockets that a process cannot take back."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Final

from pluginapi._native import _confine
from pluginapi.errors import SandboxConfigError, SandboxError, SandboxUnavailable

__all__ = ["FileAccess", "LandlockConfig", "LandlockRule", "landlock_abi", "make_ruleset"]


class FileAccess(IntFlag):
    """What may be done with files; LANDLOCK_ACCESS_FS_* of landlock(7)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15

    READ = READ_FILE | READ_DIR
    READ_EXECUTE = READ | EXECUTE
    WRITE = (
        WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | TRUNCATE | REFER
    )
    READ_WRITE = READ | WRITE


_OF_FILES: Final = (
    FileAccess.EXECUTE
    | FileAccess.WRITE_FILE
    | FileAccess.READ_FILE
    | FileAccess.TRUNCATE
    | FileAccess.IOCTL_DEV
)
# What each version of the interface knows of files, landlock(7).
_FILES_SINCE: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_BIND_TCP: Final = 1
_CONNECT_TCP: Final = 2
_SCOPE_ABSTRACT_SOCKETS: Final = 1
_SCOPE_SIGNALS: Final = 2
_NETWORK_SINCE: Final = 4
_SCOPES_SINCE: Final = 6
_MOST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class LandlockRule:
    """Allow accesses at a path, and below it when it is a directory.

    Attributes:
        path: An absolute path; it must be there when the ruleset is made. Links are followed then.
        access: What is allowed.
    """

    path: str
    access: FileAccess = FileAccess.READ_EXECUTE

    def __post_init__(self) -> None:
        if not Path(self.path).is_absolute():
            raise SandboxConfigError(
                f"the path of a rule is {self.path!r}, which is not absolute",
                hint="name it from the root",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LandlockConfig:
    """Say what a process may do with files, TCP ports, signals and abstract sockets.

    Attributes:
        rules: What is allowed of files. Everything else is denied.
        bind_ports: TCP ports that it may listen on; None allows all, an empty one none.
        connect_ports: TCP ports that it may connect to; None allows all, an empty one none.
        scope_signals: Whether it may send signals to processes of the same restriction alone.
        scope_abstract_sockets: Whether it may connect to abstract sockets of these alone.
        minimum_abi: The version of Landlock that must be there for rules on files. Version 3 is
            the first that denies truncation; with less, files that may be read may be truncated.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` when a value is out of bounds.
    """

    rules: tuple[LandlockRule, ...] = ()
    bind_ports: tuple[int, ...] | None = None
    connect_ports: tuple[int, ...] | None = None
    scope_signals: bool = True
    scope_abstract_sockets: bool = True
    minimum_abi: int = 3

    def __post_init__(self) -> None:
        for port in (*(self.bind_ports or ()), *(self.connect_ports or ())):
            if type(port) is not int or not 0 <= port <= _MOST_PORT:
                raise SandboxConfigError(
                    f"the port of a rule is {port!r}, not a number from 0 to {_MOST_PORT}",
                    hint="name ports by their numbers",
                )

    @property
    def needed_abi(self) -> int:
        """The lowest version of Landlock that has all of it."""
        needed = max(1, self.minimum_abi)
        if self.bind_ports is not None or self.connect_ports is not None:
            needed = max(needed, _NETWORK_SINCE)
        if self.scope_signals or self.scope_abstract_sockets:
            needed = max(needed, _SCOPES_SINCE)
        return needed


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel has; 0 when it has none, or has it off."""
    return _confine.landlock_abi()


def make_ruleset(config: LandlockConfig) -> int:
    """Return the descriptor of a ruleset, which restricts whoever it is applied to.

    The descriptor is the caller's to close, and good for any number of processes.

    Raises:
        SandboxUnavailable: With code ``sandbox.landlock`` when the kernel's version is too low.
        SandboxError: With code ``sandbox.landlock_rule`` when the path of a rule cannot be opened.
    """
    abi = landlock_abi()
    if abi < config.needed_abi:
        raise SandboxUnavailable(
            f"Landlock is needed in version {config.needed_abi}, the kernel has "
            + (f"version {abi}" if abi else "none, or has it off"),
            code="sandbox.landlock",
            layer="landlock",
            hint="use a newer kernel with `landlock` in its list of security modules "
            "(/sys/kernel/security/lsm), or ask for less: scopes need version 6, ports 4",
        )
    files = sum(bits for since, bits in _FILES_SINCE.items() if since <= abi)
    network = (_BIND_TCP if config.bind_ports is not None else 0) | (
        _CONNECT_TCP if config.connect_ports is not None else 0
    )
    scopes = (_SCOPE_ABSTRACT_SOCKETS if config.scope_abstract_sockets else 0) | (
        _SCOPE_SIGNALS if config.scope_signals else 0
    )
    ruleset = _confine.landlock_ruleset(files, network, scopes)
    try:
        for rule in config.rules:
            _allow(ruleset, rule, files)
        for port in config.bind_ports or ():
            _confine.landlock_allow_port(ruleset, port, _BIND_TCP)
        for port in config.connect_ports or ():
            _confine.landlock_allow_port(ruleset, port, _CONNECT_TCP)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def _allow(ruleset: int, rule: LandlockRule, handled: int) -> None:
    try:
        fd = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
        try:
            access = int(rule.access) & handled
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                access &= int(_OF_FILES)
            if access:
                _confine.landlock_allow_path(ruleset, fd, access)
        finally:
            os.close(fd)
    except OSError as err:
        raise SandboxError(
            f"the rule on {rule.path} cannot be made: {err.strerror}",
            code="sandbox.landlock_rule",
            layer="landlock",
            hint="name paths that are there",
            path=rule.path,
        ) from err
