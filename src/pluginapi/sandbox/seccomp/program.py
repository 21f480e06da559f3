"""Filter programs: run on made-up calls, shown, and put in force."""

from __future__ import annotations

import errno as errno_numbers
import os
import struct
import sys
from typing import Final

import msgspec

from pluginapi._native import _seccomp
from pluginapi.errors import InvalidSeccompFilter, SandboxError, UnsupportedPlatform
from pluginapi.sandbox.seccomp.actions import Action
from pluginapi.sandbox.seccomp.tables import Architecture, architecture

__all__ = ["Decision", "SeccompProgram", "not_understood"]

_INSTRUCTION: Final = struct.Struct("=HBBI")
_ARGUMENTS: Final = 6

# SECCOMP_FILTER_FLAG_* of <linux/seccomp.h>.
_TSYNC: Final = 1
_LOG: Final = 2
_NEW_LISTENER: Final = 8
_TSYNC_ESRCH: Final = 16

_REMEDIES: Final = {
    errno_numbers.EACCES: "install it with no_new_privs=True, or with CAP_SYS_ADMIN",
    errno_numbers.EPERM: "a filter that is in force forbids it: let the first one allow seccomp "
    "and prctl",
    errno_numbers.EINVAL: "this kernel lacks an option: log= needs Linux 4.14, listener= 5.0, both "
    "tsync= and listener= 5.7, and all of it CONFIG_SECCOMP_FILTER",
    errno_numbers.ENOSYS: "this kernel has no seccomp(2), or another sandbox hides it",
    errno_numbers.EBUSY: "a filter with a listener is in force already; only one can be",
    errno_numbers.ENOMEM: "all filters of a process may have 32768 instructions together",
}


def not_understood(name: str) -> InvalidSeccompFilter:
    """Return the error for a system call that does not exist."""
    return InvalidSeccompFilter(
        f"no architecture has a system call {name!r}",
        code="seccomp.unknown_call",
        hint="write the name as <asm/unistd.h> does, without __NR_",
    )


class Decision(msgspec.Struct, frozen=True):
    """Tell what a filter does with one call.

    Attributes:
        action: What happens to the call.
        call: Its name, or None when the table has none for the number.
        number: Its number.
        instructions: How many instructions of the filter run to find that out.
        constant: Whether every call of this number gets this action. Linux (5.11 and newer) then
            runs no filter for a call that is allowed.
    """

    action: Action
    call: str | None
    number: int
    instructions: int
    constant: bool


class SeccompProgram:
    """Hold a program in classic BPF that the kernel accepts as a filter; thread-safe.

    Args:
        code: The bytes of an array of ``struct sock_filter`` in this machine's byte order: what
            `SeccompFilter.build` returns, or what another tool made, such as
            ``seccomp_export_bpf`` of libseccomp.
        arch: The architecture that the program is meant for.

    Raises:
        InvalidSeccompFilter: With code ``seccomp.program`` when the kernel would refuse the
            program; the message says why and names the instruction.
    """

    __slots__ = ("_arch", "_program")

    def __init__(self, code: bytes, arch: str | Architecture | None = None) -> None:
        self._arch = architecture(arch)
        try:
            self._program = _seccomp.Program(code)
        except ValueError as err:
            fault, where = err.args
            if fault < 0:
                reason = f"{where} bytes are not whole instructions of 8 bytes"
            else:
                reason = f"{_seccomp.FAULTS[fault]} (instruction {where})"
            raise InvalidSeccompFilter(
                f"the filter program is not valid: {reason}",
                code="seccomp.program",
                hint="make the program for seccomp(2): only aligned loads from struct seccomp_data",
                instruction=where,
            ) from err

    @property
    def code(self) -> bytes:
        """The program as bytes."""
        return self._program.code

    @property
    def arch(self) -> Architecture:
        """The architecture that the program is meant for."""
        return self._arch

    def __len__(self) -> int:
        """Return the number of instructions."""
        return len(self._program)

    def simulate(
        self,
        call: str | int,
        arguments: tuple[int, ...] = (),
        *,
        arch: int | None = None,
        pointer: int = 0,
    ) -> Decision:
        """Run the program on a call; nothing is executed.

        Args:
            call: The name or the number of the call.
            arguments: The registers, up to six; the others are 0. Negative numbers are taken as the
                kernel gets them, in 64 bits.
            arch: The AUDIT_ARCH value to pretend; without it, that of the program's architecture.
            pointer: The address of the instruction that makes the call.

        Raises:
            InvalidSeccompFilter: With code ``seccomp.unknown_call`` when no call has this name.
        """
        number = self._number(call)
        audit = self._arch.audit if arch is None else arch
        registers = _registers(arguments)
        value, steps = self._program.run(audit, number, pointer, registers, self._arch.big_endian)
        return Decision(
            Action.of_value(value),
            self._arch.names.get(number),
            number,
            steps,
            self._program.constant(audit, number) is not None,
        )

    def path(self, call: str | int, arguments: tuple[int, ...] = ()) -> list[str]:
        """Return the lines of `disassemble` that run for a call, in order."""
        lines = self.lines()
        positions = self._program.path(
            self._arch.audit,
            self._number(call),
            0,
            _registers(arguments),
            self._arch.big_endian,
        )
        return [lines[position] for position in positions]

    def lines(self) -> list[str]:
        """Return the instructions as text, each with its position; jumps name positions."""
        return [f"{at:4d}  {line}" for at, line in enumerate(self._program.lines())]

    def disassemble(self) -> str:
        """Return the instructions as text, one a line."""
        return "\n".join(self.lines())

    def actions(self) -> frozenset[Action]:
        """Return the actions that the program's returns name."""
        returns = {
            constant
            for code, _, _, constant in _INSTRUCTION.iter_unpack(self.code)
            if code == 0x06  # noqa: PLR2004 - BPF_RET | BPF_K
        }
        return frozenset(map(Action.of_value, returns))

    def install(
        self,
        *,
        tsync: bool = True,
        log: bool = False,
        no_new_privs: bool = True,
        listener: bool = False,
    ) -> int | None:
        """Put the filter in force, for good: it cannot be taken back and children inherit it.

        Args:
            tsync: For all threads of the process, and not this one alone.
            log: Let the kernel log every action but ALLOW.
            no_new_privs: Set no_new_privs first (PR_SET_NO_NEW_PRIVS): programs that are executed
                gain no privileges. A process without CAP_SYS_ADMIN needs it.
            listener: Return a descriptor for the calls with the action USER_NOTIF
                (seccomp_unotify(2)); it is close-on-exec and the caller's to close.

        Returns:
            The listener, or None.

        Raises:
            SandboxError: With code ``seccomp.refused`` when the kernel refused; no thread has the
                filter then.
            InvalidSeccompFilter: With code ``seccomp.arch`` when the filter is for another machine.
            UnsupportedPlatform: This is not Linux.
        """
        if sys.platform != "linux":
            raise UnsupportedPlatform(
                f"filters for system calls need seccomp(2) of Linux, and this is {sys.platform}",
                hint="run the plugin on Linux, or without this layer where that is acceptable",
            )
        host = architecture()
        if host != self._arch:
            raise InvalidSeccompFilter(
                f"the filter is for {self._arch.name}, and this machine is {host.name}",
                code="seccomp.arch",
                hint=f"build it with arch={host.name!r}",
            )
        self._check_actions()
        flags = (_TSYNC if tsync else 0) | (_LOG if log else 0)
        if listener:
            flags |= _NEW_LISTENER | (_TSYNC_ESRCH if tsync else 0)
        error, failed, result = self._program.install(flags, no_new_privs)
        if error != 0:
            raise self._refused(error, failed, result)
        return result if listener else None

    def _check_actions(self) -> None:
        # To the kernel an action that it does not know is KILL_PROCESS, which would look like a
        # fault of the plugin.
        for action in sorted(self.actions(), key=lambda action: action.precedence):
            error = _seccomp.knows(action.kind.value)
            if error == errno_numbers.EOPNOTSUPP:
                raise SandboxError(
                    f"this kernel does not know the action {action.kind.name}",
                    code="seccomp.refused",
                    hint="take another action; /proc/sys/kernel/seccomp/actions_avail lists them",
                )

    def _refused(self, error: int, failed: str, result: int) -> SandboxError:
        if error == errno_numbers.ESRCH:
            who = f"thread {result}" if result > 0 else "a thread"
            return SandboxError(
                f"the filter cannot be put in force for all threads: {who} has one of its own",
                code="seccomp.refused",
                hint="install the filter before threads are started that install others",
                layer="seccomp",
                errno=error,
            )
        return SandboxError(
            f"the kernel refused the filter: {failed}: {os.strerror(error)}",
            code="seccomp.refused",
            hint=_REMEDIES.get(error, "see seccomp(2) for this error"),
            layer="seccomp",
            errno=error,
        )

    def _number(self, call: str | int) -> int:
        if isinstance(call, str):
            number = self._arch.numbers.get(call)
            if number is None:
                raise not_understood(call)
            return number
        return call & 0xFFFF_FFFF


def _registers(arguments: tuple[int, ...]) -> tuple[int, ...]:
    if len(arguments) > _ARGUMENTS:
        raise InvalidSeccompFilter(
            f"{len(arguments)} arguments for a system call", hint="a call has six at most"
        )
    given = tuple(argument & 0xFFFF_FFFF_FFFF_FFFF for argument in arguments)
    return given + (0,) * (_ARGUMENTS - len(given))
