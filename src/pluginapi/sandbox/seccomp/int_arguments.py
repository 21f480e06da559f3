"""Which arguments of system calls are an int to the kernel, which ignores their high half."""

from __future__ import annotations

from typing import Final

import msgspec

from pluginapi.sandbox.seccomp.conditions import Comparison, Condition, Rule
from pluginapi.sandbox.seccomp.filter import SeccompFilter

__all__ = ["INT_ARGUMENTS", "narrowed"]

# From the kernel's SYSCALL_DEFINE lines; of calls whose arguments profiles compare. The flags of
# clone are a long of which the kernel takes the low half.
INT_ARGUMENTS: Final = {
    "accept4": frozenset({0, 3}),
    "bpf": frozenset({0, 2}),
    "clone": frozenset({0}),
    "fcntl": frozenset({0, 1}),
    "getsockopt": frozenset({0, 1, 2}),
    "ioctl": frozenset({0, 1}),
    "keyctl": frozenset({0}),
    "kill": frozenset({0, 1}),
    "madvise": frozenset({2}),
    "memfd_create": frozenset({1}),
    "open": frozenset({1}),
    "openat": frozenset({0, 2}),
    "personality": frozenset({0}),
    "prctl": frozenset({0}),
    "quotactl": frozenset({0}),
    "seccomp": frozenset({0, 1}),
    "setns": frozenset({0, 1}),
    "setsockopt": frozenset({0, 1, 2, 4}),
    "socket": frozenset({0, 1, 2}),
    "socketpair": frozenset({0, 1, 2}),
    "tgkill": frozenset({0, 1, 2}),
    "tkill": frozenset({0, 1}),
    "unlinkat": frozenset({0, 2}),
}

_LOW: Final = 0xFFFF_FFFF
_NEGATIVE: Final = (1 << 33) - 1  # the upper 33 bits of a negative int in a register


def _low(value: int) -> int | None:
    """Return an int as 32 bits, or None when it is none."""
    return value & _LOW if value <= _LOW or value >> 31 == _NEGATIVE else None


def _narrow(condition: Condition) -> Condition:
    if condition.width == 32:  # noqa: PLR2004
        return condition
    if condition.comparison in {Comparison.MASKED_EQ, Comparison.MASKED_NE}:
        value = _low(condition.values[0])
        if value is None:
            return condition
        return msgspec.structs.replace(
            condition, width=32, mask=condition.mask & _LOW, values=(value,)
        )
    values = [_low(value) for value in condition.values]
    if None in values:
        return condition
    return msgspec.structs.replace(condition, width=32, values=tuple(values))


def narrowed(made: SeccompFilter) -> SeccompFilter:
    """Return a filter that compares in 32 bits what is an int to the kernel."""
    rules: list[Rule] = []
    for rule in made.rules:
        if not rule.when:
            rules.append(rule)
            continue
        for name in rule.names:
            ints = INT_ARGUMENTS.get(name, frozenset())
            when = tuple(
                _narrow(condition) if condition.argument in ints else condition
                for condition in rule.when
            )
            rules.append(Rule((name,), rule.action, when))
    return msgspec.structs.replace(made, rules=tuple(rules))
