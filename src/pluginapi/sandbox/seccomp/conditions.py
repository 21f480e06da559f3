"""The rules of a filter: which calls, under which conditions, get which action."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from pluginapi.errors import InvalidSeccompFilter
from pluginapi.sandbox.seccomp.actions import Action

__all__ = ["Comparison", "Condition", "Rule", "Width"]

Width: TypeAlias = Literal[32, 64]

_ARGUMENTS: Final = 6
_MOST_VALUES: Final = 4096
_MOST_NAMES: Final = 4096
_MOST_CONDITIONS: Final = 64


class Comparison(Enum):
    """How an argument is compared. The value is the number that the assembler takes."""

    IN = 0
    NOT_IN = 1
    LT = 2
    GE = 3
    LE = 4
    GT = 5
    MASKED_EQ = 6
    MASKED_NE = 7


_SETS: Final = frozenset({Comparison.IN, Comparison.NOT_IN})
_MASKED: Final = frozenset({Comparison.MASKED_EQ, Comparison.MASKED_NE})


def _refuse(message: str, hint: str) -> InvalidSeccompFilter:
    return InvalidSeccompFilter(message, code="seccomp.rule", hint=hint)


class Condition(msgspec.Struct, frozen=True):
    """Compare one argument of a system call, as an unsigned number.

    Made by the class methods, all of which want ``width``. With 32 the low half of the register is
    compared alone, which is what the kernel looks at where the argument is an ``int``: the domain
    of ``socket``, the request of ``ioctl``. A comparison of 64 bits there can be dodged by setting
    high bits. With 64 the whole register is compared: pointers, sizes, ``long`` flags.

    Raises:
        InvalidSeccompFilter: With code ``seccomp.rule`` when something is out of bounds.
    """

    argument: int
    comparison: Comparison
    values: tuple[int, ...]
    width: Width
    mask: int = 0

    def __post_init__(self) -> None:
        if type(self.argument) is not int or not 0 <= self.argument < _ARGUMENTS:
            raise _refuse(
                f"argument {self.argument!r} is not one of 0 to 5", "count from the first, 0"
            )
        if self.width not in {32, 64}:
            raise _refuse(
                f"width {self.width!r} is neither 32 nor 64",
                "32 where the kernel takes an int, 64 otherwise",
            )
        if not isinstance(self.comparison, Comparison):
            raise _refuse(f"{self.comparison!r} is no comparison", "use Condition.eq(...)")
        if not 1 <= len(self.values) <= (_MOST_VALUES if self.comparison in _SETS else 1):
            raise _refuse(
                f"{len(self.values)} values to compare with",
                f"give 1, or up to {_MOST_VALUES} of a set",
            )
        for value in (*self.values, self.mask):
            if type(value) is not int or not 0 <= value < 1 << self.width:
                raise _refuse(
                    f"{value!r} is not an unsigned number of {self.width} bits",
                    "write -1 as 0xffffffff or 0xffffffffffffffff",
                )

    @classmethod
    def eq(cls, argument: int, value: int, *, width: Width) -> Condition:
        """Hold when the argument is the value."""
        return cls(argument, Comparison.IN, (value,), width)

    @classmethod
    def ne(cls, argument: int, value: int, *, width: Width) -> Condition:
        """Hold when the argument is not the value."""
        return cls(argument, Comparison.NOT_IN, (value,), width)

    @classmethod
    def is_in(cls, argument: int, values: Iterable[int], *, width: Width) -> Condition:
        """Hold when the argument is one of the values."""
        return cls(argument, Comparison.IN, tuple(values), width)

    @classmethod
    def not_in(cls, argument: int, values: Iterable[int], *, width: Width) -> Condition:
        """Hold when the argument is none of the values."""
        return cls(argument, Comparison.NOT_IN, tuple(values), width)

    @classmethod
    def lt(cls, argument: int, value: int, *, width: Width) -> Condition:
        """Hold when the argument is less than the value."""
        return cls(argument, Comparison.LT, (value,), width)

    @classmethod
    def le(cls, argument: int, value: int, *, width: Width) -> Condition:
        """Hold when the argument is at most the value."""
        return cls(argument, Comparison.LE, (value,), width)

    @classmethod
    def gt(cls, argument: int, value: int, *, width: Width) -> Condition:
        """Hold when the argument is more than the value."""
        return cls(argument, Comparison.GT, (value,), width)

    @classmethod
    def ge(cls, argument: int, value: int, *, width: Width) -> Condition:
        """Hold when the argument is at least the value."""
        return cls(argument, Comparison.GE, (value,), width)

    @classmethod
    def masked_eq(cls, argument: int, mask: int, value: int, *, width: Width) -> Condition:
        """Hold when the bits of the argument under the mask are the value."""
        return cls(argument, Comparison.MASKED_EQ, (value,), width, mask)

    @classmethod
    def masked_ne(cls, argument: int, mask: int, value: int, *, width: Width) -> Condition:
        """Hold when the bits of the argument under the mask are not the value."""
        return cls(argument, Comparison.MASKED_NE, (value,), width, mask)

    def encoded(self) -> tuple[int, int, int, int, tuple[int, ...]]:
        """Return the condition as the assembler takes it."""
        values = self.values
        if len(values) > 1:
            values = tuple(sorted(set(values)))
        return self.argument, self.width, self.comparison.value, self.mask, values

    def __str__(self) -> str:
        name = f"args[{self.argument}]" + ("" if self.width == 64 else ":32")  # noqa: PLR2004
        if self.comparison in _MASKED:
            name = f"({name} & {self.mask:#x})"
        sign = {
            Comparison.LT: "<",
            Comparison.GE: ">=",
            Comparison.LE: "<=",
            Comparison.GT: ">",
            Comparison.MASKED_EQ: "==",
            Comparison.MASKED_NE: "!=",
        }.get(self.comparison)
        if sign is not None:
            return f"{name} {sign} {self.values[0]:#x}"
        listed = ", ".join(f"{value:#x}" for value in self.values)
        return f"{name} {'in' if self.comparison is Comparison.IN else 'not in'} {{{listed}}}"


class Rule(msgspec.Struct, frozen=True):
    """Give some system calls an action.

    Attributes:
        names: The calls, as the kernel's headers name them. One that the architecture does not have
            is left out; one that no architecture has is an error, since it would be a rule that
            does nothing.
        action: What happens to them.
        when: Conditions that must all hold; without any, the rule always holds.

    Raises:
        InvalidSeccompFilter: With code ``seccomp.rule`` when something is out of bounds.
    """

    names: tuple[str, ...]
    action: Action
    when: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.action, Action):
            raise _refuse(f"{self.action!r} is not an action", "use ALLOW, or errno(1)")
        _check_tuple("names", self.names, str, _MOST_NAMES, "('read', 'write')")
        if not self.names:
            raise _refuse("a rule names no system call", "write Rule(('read',), ALLOW)")
        _check_tuple("when", self.when, Condition, _MOST_CONDITIONS, "(Condition.eq(...),)")


def _check_tuple(what: str, value: Any, kind: type, most: int, example: str) -> None:
    if not isinstance(value, tuple) or not all(isinstance(item, kind) for item in value):
        raise _refuse(f"{what} of a rule is not a tuple of {kind.__name__}", f"write {example}")
    if len(value) > most:
        raise _refuse(f"{what} of a rule has {len(value)} items", f"{most} are allowed")
