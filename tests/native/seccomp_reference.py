"""What a policy means, said as plainly as possible: the assembler's programs must mean the same."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TypeAlias

from hypothesis import strategies as st

__all__ = [
    "ACTIONS",
    "ARGUMENTS",
    "Call",
    "Clause",
    "Condition",
    "calls",
    "decide",
    "holds",
    "interesting_arguments",
]

Condition: TypeAlias = tuple[int, int, int, int, tuple[int, ...]]
Clause: TypeAlias = tuple[int, tuple[Condition, ...]]
Call: TypeAlias = tuple[int, tuple[Clause, ...]]

ARGUMENTS = 6
ACTIONS = (0x7FFF0000, 0x7FFC0000, 0x50001, 0x50026, 0x30007, 0x80000000, 0)
LOW = 0xFFFF_FFFF

_IN, _NOT_IN, _MASKED_EQ, _MASKED_NE = 0, 1, 6, 7
_ORDERED: dict[int, Callable[[int, int], bool]] = {
    2: operator.lt,
    3: operator.ge,
    4: operator.le,
    5: operator.gt,
}


def holds(condition: Condition, arguments: tuple[int, ...]) -> bool:
    """Say whether a condition holds."""
    argument, width, comparison, mask, values = condition
    value = arguments[argument] & ((1 << width) - 1)
    if comparison == _IN:
        return value in values
    if comparison == _NOT_IN:
        return value not in values
    if comparison == _MASKED_EQ:
        return value & mask == values[0]
    if comparison == _MASKED_NE:
        return value & mask != values[0]
    return _ORDERED[comparison](value, values[0])


def decide(
    listed: list[Call], others: tuple[int, int, int], number: int, arguments: tuple[int, ...]
) -> int:
    """Return the action for a call of the policy's architecture.

    `others` are the action for calls that are not listed, the end of the numbers or 0, and the
    action for those beyond.
    """
    fallback, end, beyond = others
    if end and number >= end:
        return beyond
    for clauses in (clauses for found, clauses in listed if found == number):
        for action, conditions in clauses:
            if all(holds(condition, arguments) for condition in conditions):
                return action
    return fallback


_CORNERS_32 = [0, 1, 2, 3, 5, 38, 40, 0x7E020080, 0x80000000, LOW - 1, LOW]
_CORNERS_64 = [
    *_CORNERS_32,
    1 << 32,
    (1 << 32) + 5,
    5 << 32,
    (5 << 32) + 5,
    1 << 63,
    (1 << 64) - (1 << 32),
    (1 << 64) - 1,
]


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """Draw a condition whose values are close to each other and to the corners."""
    width = draw(st.sampled_from([32, 64]))
    corners = _CORNERS_32 if width == 32 else _CORNERS_64
    values = st.sampled_from(corners) | st.integers(0, (1 << width) - 1)
    comparison = draw(st.integers(0, 7))
    argument = draw(st.integers(0, 2) | st.integers(0, ARGUMENTS - 1))
    mask = 0
    if comparison in {_IN, _NOT_IN}:
        chosen = draw(st.lists(values, min_size=1, max_size=6, unique=True))
    elif comparison in {_MASKED_EQ, _MASKED_NE}:
        mask = draw(values)
        value = draw(values)
        chosen = [draw(st.sampled_from([0, mask, value & mask, value]))]
    else:
        chosen = [draw(values)]
    return argument, width, comparison, mask, tuple(sorted(chosen))


_CLAUSES = st.tuples(st.sampled_from(ACTIONS), st.lists(conditions(), max_size=3).map(tuple))
_ALWAYS = st.sampled_from(ACTIONS).map(lambda action: ((action, ()),))


@st.composite
def calls(draw: st.DrawFn, most: int = 80) -> list[Call]:
    """Draw the calls of a policy: dense or sparse, most of them without conditions."""
    highest = draw(st.sampled_from([3, 20, 470]))
    numbers = draw(st.sets(st.integers(0, highest), max_size=most))
    clauses = _ALWAYS | st.lists(_CLAUSES, max_size=4).map(tuple)
    return [(number, draw(clauses)) for number in sorted(numbers)]


def interesting_arguments(listed: list[Call]) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw arguments around everything that a policy compares with, high halves set and not."""
    around = set(_CORNERS_64)
    for _, clauses in listed:
        for _, found in clauses:
            for _, _, _, mask, values in found:
                for value in (*values, mask):
                    around |= {value - 1, value, value + 1, value | 1 << 32, value | 1 << 63}
    corners = sorted(value for value in around if 0 <= value < 1 << 64)
    one = st.sampled_from(corners) | st.integers(0, (1 << 64) - 1)
    return st.tuples(*[one] * ARGUMENTS)
