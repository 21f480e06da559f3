"""A policy for system calls, and the program that it becomes."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from pluginapi._native import _seccomp
from pluginapi.errors import InvalidSeccompFilter
from pluginapi.sandbox.seccomp.actions import KILL_PROCESS, Action
from pluginapi.sandbox.seccomp.conditions import Condition, Rule
from pluginapi.sandbox.seccomp.program import Decision, SeccompProgram, not_understood
from pluginapi.sandbox.seccomp.tables import KNOWN, Architecture, architecture

__all__ = ["SeccompFilter"]

_Clause: TypeAlias = tuple[int, tuple[tuple[int, int, int, int, tuple[int, ...]], ...]]

_TOO_LONG: Final = -2


class SeccompFilter(msgspec.Struct, frozen=True, dict=True):
    """Say what happens to each system call of a process; immutable and thread-safe.

    Rules may overlap, in any order. A call gets the **strictest** action of all rules that hold for
    it, in the order of `ActionKind`, as if each rule were a filter of its own; of two that are
    equally strict, the first one's. So a rule without conditions is the end of what later, milder
    rules for the same call could say.

    Every other architecture, and on x86_64 every call of the x32 ABI, gets ``foreign``.

    Attributes:
        rules: The rules.
        default: For the calls that no rule holds for.
        unknown: For numbers that this library's table has no call for, which newer kernels may
            have; None for ``default``. ENOSYS lets programs fall back to older calls.
        foreign: For other architectures and ABIs.

    Raises:
        InvalidSeccompFilter: With code ``seccomp.rule``, or ``seccomp.unknown_call`` when a rule
            names a call that no architecture has.
    """

    rules: tuple[Rule, ...]
    default: Action
    unknown: Action | None = None
    foreign: Action = KILL_PROCESS

    def __post_init__(self) -> None:
        if not isinstance(self.rules, tuple) or not all(
            isinstance(rule, Rule) for rule in self.rules
        ):
            raise InvalidSeccompFilter(
                "the rules of a filter are not a tuple of Rule",
                hint="write SeccompFilter((Rule(('read',), ALLOW),), default=errno(1))",
            )
        for name, action in (
            ("default", self.default),
            ("unknown", self.unknown),
            ("foreign", self.foreign),
        ):
            if not isinstance(action, Action) and (action is not None or name != "unknown"):
                raise InvalidSeccompFilter(
                    f"{name} of a filter is {action!r}", hint="use ALLOW, or errno(1)"
                )

    def build(self, arch: str | Architecture | None = None) -> bytes:
        """Return the program for an architecture, by default this machine's; it is made once.

        Raises:
            InvalidSeccompFilter: With code ``seccomp.unknown_call``, or ``seccomp.too_long`` when
                it would have more than 4096 instructions.
        """
        return self.program(arch).code

    def program(self, arch: str | Architecture | None = None) -> SeccompProgram:
        """Return what `build` does, as an object that can be tried, shown and put in force."""
        wanted = architecture(arch)
        # Two threads may make it at the same time; the results are equal.
        made: SeccompProgram | None = self.__dict__.get(wanted.name)
        if made is None:
            made = SeccompProgram(self.assemble(wanted), wanted)
            self.__dict__[wanted.name] = made
        return made

    def assemble(self, arch: Architecture) -> bytes:
        """Make the program anew; `build` keeps it."""
        calls = self._calls(arch)
        try:
            return _seccomp.assemble(
                (
                    (
                        arch.audit,
                        arch.big_endian,
                        (self.default if self.unknown is None else self.unknown).value,
                        arch.end,
                        self.foreign.value,
                        [(number, calls[number]) for number in sorted(calls)],
                    ),
                ),
                self.foreign.value,
            )
        except ValueError as err:
            if err.args != (_TOO_LONG,):
                raise
            raise InvalidSeccompFilter(
                f"the filter of {len(self.rules)} rules needs more than "
                f"{_seccomp.MOST_INSTRUCTIONS} instructions",
                code="seccomp.too_long",
                hint="compare fewer arguments, or with ranges in place of many values",
            ) from err

    def _calls(self, arch: Architecture) -> dict[int, tuple[_Clause, ...]]:
        """Return the clauses of each call, the first of which that holds decides."""
        calls: dict[int, tuple[_Clause, ...]] = {}
        listed: dict[int, list[tuple[int, _Clause]]] = {}
        for rule in self.rules:
            numbers = _numbers(rule.names, arch)
            clause = (rule.action.value, tuple(map(Condition.encoded, rule.when)))
            if not rule.when and calls.keys().isdisjoint(numbers):
                # Nearly all calls have one rule without conditions: nothing to be put in order.
                calls.update(dict.fromkeys(numbers, (clause,)))
                continue
            for number in numbers:
                first = calls.setdefault(number, (clause,))
                if number not in listed:
                    listed[number] = [(_precedence(first[0]), first[0])]
                    if first[0] is clause:
                        continue
                listed[number].append((rule.action.precedence, clause))
        for number, found in listed.items():
            calls[number] = self._ordered(found)
        if self.unknown is not None:
            default: tuple[_Clause, ...] = ((self.default.value, ()),)
            calls = {**dict.fromkeys(arch.names, default), **calls}
        return calls

    def _ordered(self, listed: list[tuple[int, _Clause]]) -> tuple[_Clause, ...]:
        """Put clauses in the order of their actions, up to one that always holds."""
        ordered: list[_Clause] = []
        for _, clause in sorted(listed, key=lambda item: item[0]):
            ordered.append(clause)
            if not clause[1]:
                return tuple(ordered)
        return (*ordered, (self.default.value, ()))

    def explain(
        self,
        call: str | int,
        arguments: tuple[int, ...] = (),
        *,
        arch: str | Architecture | None = None,
    ) -> Decision:
        """Return what happens to a call with these arguments; see `SeccompProgram.simulate`."""
        return self.program(arch).simulate(call, arguments)

    def disassemble(self, arch: str | Architecture | None = None) -> str:
        """Return the program as text; see `SeccompProgram.disassemble`."""
        return self.program(arch).disassemble()

    def install(
        self,
        *,
        tsync: bool = True,
        log: bool = False,
        no_new_privs: bool = True,
        listener: bool = False,
    ) -> int | None:
        """Put the filter in force for this process, for good; see `SeccompProgram.install`."""
        return self.program().install(
            tsync=tsync, log=log, no_new_privs=no_new_privs, listener=listener
        )

    def replacing(self, *rules: Rule) -> SeccompFilter:
        """Return a filter in which these rules stand in place of all others for their calls."""
        names = {name for rule in rules for name in rule.names}
        kept = []
        for rule in self.rules:
            left = tuple(name for name in rule.names if name not in names)
            if left:
                kept.append(Rule(left, rule.action, rule.when))
        return msgspec.structs.replace(self, rules=(*kept, *rules))


def _precedence(clause: _Clause) -> int:
    return Action.of_value(clause[0]).precedence


def _numbers(names: tuple[str, ...], arch: Architecture) -> list[int]:
    """Return the numbers of the calls that the architecture has."""
    if not KNOWN.issuperset(names):
        raise not_understood(next(name for name in names if name not in KNOWN))
    return [number for number in map(arch.numbers.get, names) if number is not None]
