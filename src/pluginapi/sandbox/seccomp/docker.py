"""Profiles in the JSON format of Docker: read, made into filters, and written."""

from __future__ import annotations

import itertools
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from pluginapi.errors import InvalidSeccompFilter
from pluginapi.sandbox.seccomp.actions import Action, ActionKind, errno
from pluginapi.sandbox.seccomp.conditions import Comparison, Condition, Rule
from pluginapi.sandbox.seccomp.filter import SeccompFilter
from pluginapi.sandbox.seccomp.int_arguments import narrowed
from pluginapi.sandbox.seccomp.tables import (
    ARCHITECTURES,
    KNOWN,
    Architecture,
    architecture,
)

__all__ = ["DockerProfile"]

_MOST_BYTES: Final = 1 << 20
_EPERM: Final = 1
_ENOSYS: Final = 38
_NO_UNKNOWN: Final = errno(_ENOSYS)

_KINDS: Final = {
    "SCMP_ACT_KILL": ActionKind.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": ActionKind.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": ActionKind.KILL_PROCESS,
    "SCMP_ACT_TRAP": ActionKind.TRAP,
    "SCMP_ACT_ERRNO": ActionKind.ERRNO,
    "SCMP_ACT_TRACE": ActionKind.TRACE,
    "SCMP_ACT_NOTIFY": ActionKind.USER_NOTIF,
    "SCMP_ACT_LOG": ActionKind.LOG,
    "SCMP_ACT_ALLOW": ActionKind.ALLOW,
}
_ACTION_NAMES: Final = {kind: name for name, kind in _KINDS.items()}

_COMPARISONS: Final = {
    "SCMP_CMP_NE": Comparison.NOT_IN,
    "SCMP_CMP_LT": Comparison.LT,
    "SCMP_CMP_LE": Comparison.LE,
    "SCMP_CMP_EQ": Comparison.IN,
    "SCMP_CMP_GE": Comparison.GE,
    "SCMP_CMP_GT": Comparison.GT,
    "SCMP_CMP_MASKED_EQ": Comparison.MASKED_EQ,
}
_COMPARISON_NAMES: Final = {comparison: name for name, comparison in _COMPARISONS.items()}
_LOW_HALF: Final = 0xFFFF_FFFF


def _malformed(message: str, hint: str) -> InvalidSeccompFilter:
    return InvalidSeccompFilter(message, code="seccomp.profile", hint=hint)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What Docker would not know is an error, and never something that is silently not done."""


class DockerArgument(_Strict, frozen=True):
    """A comparison of an argument; of MASKED_EQ, ``value`` is the mask."""

    index: int
    value: int
    op: str
    valueTwo: int = 0  # noqa: N815 - the format's name


class DockerConstraint(_Strict, frozen=True):
    """Where a rule applies: which architectures, capabilities and kernels."""

    caps: list[str] | None = None
    arches: list[str] | None = None
    minKernel: str | None = None  # noqa: N815 - the format's name


class DockerRule(_Strict, frozen=True):
    """An action for some calls."""

    action: str
    names: list[str] | None = None
    name: str | None = None
    errnoRet: int | None = None  # noqa: N815 - the format's name
    args: list[DockerArgument] | None = None
    comment: str | None = None
    includes: DockerConstraint | None = None
    excludes: DockerConstraint | None = None


class DockerArchitecture(_Strict, frozen=True):
    """An architecture and the ABIs that are allowed beside it."""

    architecture: str
    subArchitectures: list[str] | None = None  # noqa: N815 - the format's name


class DockerProfile(_Strict, frozen=True):
    """Hold a profile as Docker, containerd and Podman read it; the attributes are its keys.

    `decode` reads one and `encode` writes it; `filter` makes the filter for a machine, and `of`
    the profile of a filter.
    """

    defaultAction: str  # noqa: N815 - the format's name
    syscalls: list[DockerRule]
    defaultErrnoRet: int | None = None  # noqa: N815 - the format's name
    architectures: list[str] | None = None
    archMap: list[DockerArchitecture] | None = None  # noqa: N815 - the format's name
    flags: list[str] | None = None

    @classmethod
    def decode(cls, data: bytes | str) -> DockerProfile:
        """Read a profile of at most 1 MiB.

        Raises:
            InvalidSeccompFilter: With code ``seccomp.profile``, or ``seccomp.rule`` when a number
                is out of bounds.
        """
        if len(data) > _MOST_BYTES:
            raise _malformed(
                f"the profile has {len(data)} bytes, more than {_MOST_BYTES}", "make it shorter"
            )
        try:
            profile = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as err:
            raise _malformed(
                f"the profile cannot be read: {err}",
                "compare it with Docker's default profile, moby/profiles: seccomp/default.json",
            ) from err
        profile.check()
        return profile

    def encode(self) -> bytes:
        """Write the profile as JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=4)

    def check(self) -> None:
        """Look at everything that `filter` would read, for whatever machine.

        Raises:
            InvalidSeccompFilter: With code ``seccomp.profile`` or ``seccomp.rule``.
        """
        self._action(self.defaultAction, self.defaultErrnoRet)
        if self.architectures and self.archMap:
            raise _malformed(
                "the profile has both architectures and archMap", "leave one of them out"
            )
        for rule in self.syscalls:
            _rule_names(rule)
            self._action(rule.action, rule.errnoRet)
            for argument in rule.args or ():
                _condition(argument)
            for constraint in (rule.includes, rule.excludes):
                if constraint is not None and constraint.minKernel:
                    _kernel(constraint.minKernel)

    def _action(self, name: str, number: int | None) -> Action:
        kind = _KINDS.get(name)
        if kind is None:
            raise _malformed(f"there is no action {name!r}", f"write one of {', '.join(_KINDS)}")
        if kind not in {ActionKind.ERRNO, ActionKind.TRACE}:
            return Action(kind)
        default = _EPERM if self.defaultErrnoRet is None else self.defaultErrnoRet
        return Action(kind, default if number is None else number)

    def filter(
        self,
        arch: str | Architecture | None = None,
        *,
        capabilities: Iterable[str] = (),
        kernel: str | None = None,
        exact: bool = False,
        unknown: Action | None = _NO_UNKNOWN,
    ) -> SeccompFilter:
        """Make the filter for a machine.

        As the container runtimes do: calls that the architecture does not have are left out, as are
        rules with the default's action; several conditions for one argument are alternatives.
        Other than they: overlapping rules follow `SeccompFilter`, and ABIs for programs of 32 bits
        (``archMap``) are refused, since there are no tables for them.

        Args:
            arch: For which architecture, by default this machine's.
            capabilities: The capabilities that the process keeps, such as ``"CAP_SYS_ADMIN"``.
            kernel: The kernel's version, such as ``"6.12"``, by default this machine's.
            exact: Compare every argument in 64 bits, as the format does. Without it, arguments
                that are an int to the kernel are compared in 32, or their checks could be dodged
                by setting high bits that the kernel ignores.
            unknown: For numbers that the table does not have; None for the default action.

        Raises:
            InvalidSeccompFilter: With code ``seccomp.profile`` or ``seccomp.arch``.
        """
        machine = architecture(arch)
        if self.architectures and machine.scmp not in self.architectures:
            raise InvalidSeccompFilter(
                f"the profile is for {', '.join(self.architectures)} and not for {machine.name}",
                code="seccomp.arch",
                hint="add the architecture, or use another profile",
            )
        held = frozenset(capabilities)
        version = _kernel(platform.release() if kernel is None else kernel)
        default = self._action(self.defaultAction, self.defaultErrnoRet)
        rules: list[Rule] = []
        for rule in self.syscalls:
            action = self._action(rule.action, rule.errnoRet)
            names = tuple(filter(KNOWN.__contains__, _rule_names(rule)))
            if action == default or not names or not _applies(rule, machine, held, version):
                continue
            rules.extend(
                Rule(names, action, when)
                for when in _alternatives([_condition(item) for item in rule.args or ()])
            )
        made = SeccompFilter(tuple(rules), default, unknown)
        return made if exact else narrowed(made)

    @classmethod
    def of(cls, made: SeccompFilter) -> DockerProfile:
        """Write a filter as a profile.

        Raises:
            InvalidSeccompFilter: With code ``seccomp.inexpressible`` when the format, which
                compares in 64 bits and knows no precedence, has no words for it.
        """
        if made.unknown not in {None, _NO_UNKNOWN, made.default}:
            raise _no_words(f"unknown={made.unknown} for numbers without a name")
        _check_single_actions(made)
        rules: list[DockerRule] = []
        for rule in made.rules:
            choices = [_written(condition) for condition in rule.when]
            indices = Counter(condition.argument for condition in rule.when)
            twice = [argument for argument, count in indices.items() if count > 1]
            if twice:
                raise _no_words(f"two conditions for argument {twice[0]} that must both hold")
            rules.extend(
                DockerRule(
                    names=list(rule.names),
                    action=_ACTION_NAMES[rule.action.kind],
                    errnoRet=_number(rule.action),
                    args=list(arguments) or None,
                )
                for arguments in itertools.product(*choices)
            )
        return cls(
            defaultAction=_ACTION_NAMES[made.default.kind],
            defaultErrnoRet=_number(made.default),
            archMap=[DockerArchitecture(arch.scmp) for arch in ARCHITECTURES.values()],
            syscalls=rules,
        )


def _rule_names(rule: DockerRule) -> list[str]:
    if (rule.names is None) == (rule.name is None):
        raise _malformed("a rule has both names and name, or neither", 'write "names": ["read"]')
    names = [rule.name] if rule.name is not None else rule.names
    if not names:
        raise _malformed("the names of a rule are empty", 'write "names": ["read"]')
    return names


def _condition(argument: DockerArgument) -> Condition:
    comparison = _COMPARISONS.get(argument.op)
    if comparison is None:
        raise _malformed(
            f"there is no comparison {argument.op!r}", f"write one of {', '.join(_COMPARISONS)}"
        )
    if comparison is Comparison.MASKED_EQ:
        return Condition.masked_eq(argument.index, argument.value, argument.valueTwo, width=64)
    return Condition(argument.index, comparison, (argument.value,), 64)


def _alternatives(conditions: list[Condition]) -> Iterator[tuple[Condition, ...]]:
    indices = {condition.argument for condition in conditions}
    if len(indices) == len(conditions):
        yield tuple(conditions)
    else:
        for condition in conditions:
            yield (condition,)


def _kernel(text: str) -> tuple[int, int]:
    found = re.match(r"(\d{1,3})\.(\d{1,3})", text)
    if found is None:
        raise _malformed(f"{text!r} is no version of a kernel", 'write "minKernel": "4.8"')
    return int(found[1]), int(found[2])


def _applies(
    rule: DockerRule, machine: Architecture, held: frozenset[str], version: tuple[int, int]
) -> bool:
    out = rule.excludes or DockerConstraint()
    if (
        machine.docker in (out.arches or ())
        or not held.isdisjoint(out.caps or ())
        or (out.minKernel and version >= _kernel(out.minKernel))
    ):
        return False
    into = rule.includes or DockerConstraint()
    return (
        (not into.arches or machine.docker in into.arches)
        and held.issuperset(into.caps or ())
        and (not into.minKernel or version >= _kernel(into.minKernel))
    )


def _no_words(what: str) -> InvalidSeccompFilter:
    return InvalidSeccompFilter(
        f"Docker's format has no words for {what}",
        code="seccomp.inexpressible",
        hint="keep the filter in Python, or write the rule with other conditions",
    )


def _check_single_actions(made: SeccompFilter) -> None:
    actions: dict[str, Action] = {}
    for rule in made.rules:
        for name in rule.names:
            if actions.setdefault(name, rule.action) != rule.action:
                raise _no_words(f"two actions for {name}, of which the stricter wins")


def _number(action: Action) -> int | None:
    return action.data if action.kind in {ActionKind.ERRNO, ActionKind.TRACE} else None


def _written(condition: Condition) -> list[DockerArgument]:
    """Return comparisons, one of which must hold."""
    comparison = condition.comparison
    if comparison is Comparison.MASKED_EQ:
        return [
            DockerArgument(
                condition.argument,
                condition.mask,
                "SCMP_CMP_MASKED_EQ",
                valueTwo=condition.values[0],
            )
        ]
    wide = condition.width == 64  # noqa: PLR2004
    if comparison is Comparison.IN and not wide:
        return [
            DockerArgument(condition.argument, _LOW_HALF, "SCMP_CMP_MASKED_EQ", valueTwo=value)
            for value in condition.values
        ]
    name = _COMPARISON_NAMES.get(comparison)
    if name is None or not wide or (comparison is Comparison.NOT_IN and len(condition.values) > 1):
        raise _no_words(f"the condition {condition}")
    return [DockerArgument(condition.argument, value, name) for value in condition.values]
