"""Random policies for libseccomp and for this library, within what libseccomp does correctly.

It has two limits that policies are kept within: rules for one call that look at different arguments
can send version 2.5 into an endless loop, or make it forget a rule; and it has no precedence.
"""

from __future__ import annotations

import os
import random
from typing import Any

from pluginapi.sandbox.seccomp import (
    ALLOW,
    KILL_PROCESS,
    LOG,
    Action,
    ActionKind,
    Condition,
    Rule,
    SeccompFilter,
    architecture,
    errno,
    trap,
)

try:
    import pyseccomp
except (ImportError, OSError, RuntimeError) as err:
    pyseccomp: Any = None  # type: ignore[no-redef]
    MISSING = f"libseccomp cannot be used: {err} (Debian: apt-get install libseccomp2)"
else:
    MISSING = ""

__all__ = ["MISSING", "export", "random_arguments", "random_policy"]

VALUES = [
    0,
    1,
    2,
    5,
    38,
    100,
    0x7E020080,
    0xFFFFFFFF,
    1 << 32,
    (1 << 32) + 5,
    1 << 63,
    (1 << 64) - 1,
]
_OPERATORS = ["ne", "lt", "le", "eq", "ge", "gt"]


def _action(action: Action) -> int:
    names = {
        ActionKind.ALLOW: "ALLOW",
        ActionKind.LOG: "LOG",
        ActionKind.TRAP: "TRAP",
        ActionKind.KILL_PROCESS: "KILL_PROCESS",
    }
    if action.kind is ActionKind.ERRNO:
        return int(pyseccomp.ERRNO(action.data))
    return int(getattr(pyseccomp, names[action.kind]))


def _argument(condition: Condition) -> Any:
    names = {"LT": "LT", "LE": "LE", "GE": "GE", "GT": "GT", "IN": "EQ", "NOT_IN": "NE"}
    kind = condition.comparison.name
    if kind == "MASKED_EQ":
        return pyseccomp.Arg(
            condition.argument, pyseccomp.MASKED_EQ, condition.mask, condition.values[0]
        )
    return pyseccomp.Arg(condition.argument, getattr(pyseccomp, names[kind]), condition.values[0])


def export(made: SeccompFilter, optimize: int = 2) -> bytes:
    """Return the program that libseccomp makes of a filter that has conditions of 64 bits only."""
    return finish(prepare(made, optimize))


def prepare(made: SeccompFilter, optimize: int = 2) -> Any:
    """Return libseccomp's filter with all rules added."""
    theirs = pyseccomp.SyscallFilter(_action(made.default))
    theirs.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, optimize)
    numbers = architecture().numbers
    for rule in made.rules:
        arguments = [_argument(condition) for condition in rule.when]
        for name in rule.names:
            if name in numbers:
                theirs.add_rule_exactly(_action(rule.action), numbers[name], *arguments)
    return theirs


class _File:
    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        return self.fd


def finish(theirs: Any) -> bytes:
    """Let libseccomp write its program."""
    fd = os.memfd_create("program")
    try:
        theirs.export_bpf(_File(fd))
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)


def _conditions(draw: random.Random) -> list[tuple[Condition, ...]]:
    if draw.random() < 0.5:
        argument = draw.randrange(6)
        values = draw.sample(VALUES, draw.randrange(1, 6))
        return [(Condition.eq(argument, value, width=64),) for value in values]
    when = []
    for argument in sorted(draw.sample(range(6), draw.choice([1, 1, 2, 3]))):
        value = draw.choice(VALUES)
        if draw.random() < 0.2:
            mask = draw.choice(VALUES[1:])
            when.append(Condition.masked_eq(argument, mask, value & mask, width=64))
        else:
            when.append(getattr(Condition, draw.choice(_OPERATORS))(argument, value, width=64))
    return [tuple(when)]


def random_policy(draw: random.Random) -> SeccompFilter:
    """Return a policy of up to 300 calls, with conditions for none, some or half of them."""
    default = draw.choice([errno(1), KILL_PROCESS, ALLOW])
    actions = [
        action
        for action in (ALLOW, errno(13), errno(38), trap(), KILL_PROCESS, LOG)
        if action != default
    ]
    chosen = draw.sample(actions, draw.choice([1, 1, 2, 3]))
    with_conditions = draw.choice([0, 0.1, 0.5])
    names = sorted(architecture().numbers)
    rules = []
    for name in draw.sample(names, draw.choice([0, 1, 2, 5, 10, 40, 100, 200, 300])):
        alternatives = _conditions(draw) if draw.random() < with_conditions else [()]
        action = draw.choice(chosen)
        rules += [Rule((name,), action, when) for when in alternatives]
    return SeccompFilter(tuple(rules), default)


def random_arguments(draw: random.Random) -> tuple[int, ...]:
    """Return arguments at, and beside, what the policies compare with."""
    return tuple((draw.choice(VALUES) + draw.choice([-1, 0, 0, 1])) % (1 << 64) for _ in range(6))
