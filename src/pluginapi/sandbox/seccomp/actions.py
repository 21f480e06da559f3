"""What a filter does with a system call."""

from __future__ import annotations

import errno as errno_names
from enum import Enum
from typing import Final

import msgspec

from pluginapi.errors import InvalidSeccompFilter

__all__ = [
    "ALLOW",
    "KILL_PROCESS",
    "KILL_THREAD",
    "LOG",
    "USER_NOTIF",
    "Action",
    "ActionKind",
    "errno",
    "trace",
    "trap",
]

_DATA: Final = 0xFFFF
_MAX_ERRNO: Final = 4095  # What the kernel cuts it to.


class ActionKind(Enum):
    """The actions of seccomp(2), the strictest first. The value is that of SECCOMP_RET_*."""

    KILL_PROCESS = 0x8000_0000
    KILL_THREAD = 0x0000_0000
    TRAP = 0x0003_0000
    ERRNO = 0x0005_0000
    USER_NOTIF = 0x7FC0_0000
    TRACE = 0x7FF0_0000
    LOG = 0x7FFC_0000
    ALLOW = 0x7FFF_0000


_PRECEDENCE: Final = {kind: place for place, kind in enumerate(ActionKind)}
_MOST_DATA: Final = {
    ActionKind.ERRNO: _MAX_ERRNO,
    ActionKind.TRAP: _DATA,
    ActionKind.TRACE: _DATA,
}


class Action(msgspec.Struct, frozen=True):
    """Say what happens to a system call; made by `errno`, `trap`, `trace` or one of the constants.

    Attributes:
        kind: The action.
        data: The error number of ERRNO (0 to 4095, where 0 makes the call succeed without being
            done), or what the handler of TRAP or the tracer of TRACE is told (0 to 65535).

    Raises:
        InvalidSeccompFilter: With code ``seccomp.rule`` when the data is out of bounds.
    """

    kind: ActionKind
    data: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.kind, ActionKind):
            raise InvalidSeccompFilter(
                f"{self.kind!r} is not an action", hint="use a member of ActionKind"
            )
        most = _MOST_DATA.get(self.kind, 0)
        if type(self.data) is not int or not 0 <= self.data <= most:
            raise InvalidSeccompFilter(
                f"the data of {self.kind.name} is {self.data!r}, not a number from 0 to {most}",
                hint="error numbers are in the module errno",
            )

    @property
    def value(self) -> int:
        """What the filter program returns."""
        return self.kind.value | self.data

    @property
    def precedence(self) -> int:
        """0 for the strictest action; of several rules that match, the lowest wins."""
        return _PRECEDENCE[self.kind]

    @classmethod
    def of_value(cls, value: int) -> Action:
        """Read what a filter program returns, as the kernel does: what it does not know kills."""
        try:
            kind = ActionKind(value & 0xFFFF_0000)
        except ValueError:
            kind = ActionKind.KILL_PROCESS
        return cls(kind, min(value & _DATA, _MOST_DATA.get(kind, 0)))

    def __str__(self) -> str:
        if self.kind is ActionKind.ERRNO:
            return f"ERRNO({errno_names.errorcode.get(self.data, self.data)})"
        return f"{self.kind.name}({self.data})" if self.kind in _MOST_DATA else self.kind.name


ALLOW: Final = Action(ActionKind.ALLOW)
LOG: Final = Action(ActionKind.LOG)
USER_NOTIF: Final = Action(ActionKind.USER_NOTIF)
KILL_THREAD: Final = Action(ActionKind.KILL_THREAD)
KILL_PROCESS: Final = Action(ActionKind.KILL_PROCESS)


def errno(number: int) -> Action:
    """Let the call fail with this error without being done."""
    return Action(ActionKind.ERRNO, number)


def trap(data: int = 0) -> Action:
    """Send SIGSYS in place of the call; the handler finds the data in si_errno."""
    return Action(ActionKind.TRAP, data)


def trace(data: int = 0) -> Action:
    """Tell the tracer; without one the call fails with ENOSYS."""
    return Action(ActionKind.TRACE, data)
