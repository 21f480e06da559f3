"""The assembler, the interpreter and the disassembler of filters for system calls."""

from __future__ import annotations

import itertools
import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.seccomp_reference import ACTIONS, Call, calls, decide, interesting_arguments
from pluginapi._native import _seccomp

KILL = 0x80000000
ALLOW = 0x7FFF0000
X86_64 = 0xC000003E
S390X = 0x80000016  # the only one of them that is big-endian
ARM64 = 0xC00000B7
X32 = 0x40000000
NONE = (0,) * 6

LD_NUMBER = (0x20, 0, 0, 0)
RET_ALLOW = (0x06, 0, 0, ALLOW)


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def run(code: bytes, arch: int, number: int, arguments: tuple[int, ...], big: bool = False) -> int:
    return _seccomp.Program(code).run(arch, number, 0, arguments, big)[0]


# The assembler


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_programs_mean_what_the_policy_says(data: st.DataObject) -> None:
    listed = data.draw(calls())
    fallback = data.draw(st.sampled_from(ACTIONS))
    big = data.draw(st.booleans())
    end = data.draw(st.sampled_from([0, X32]))
    arch = S390X if big else X86_64
    made = _seccomp.Program(_seccomp.assemble(((arch, big, fallback, end, KILL, listed),), KILL))
    numbers = sorted(
        {number + off for number, _ in listed for off in (-1, 0, 1) if number + off >= 0}
        | {0, 471, X32 - 1, X32, X32 | 39, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF}
    )
    for arguments in data.draw(st.lists(interesting_arguments(listed), min_size=4, max_size=4)):
        for number in numbers:
            action, steps = made.run(arch, number, 0, arguments, big)
            assert action == decide(listed, (fallback, end, KILL), number, arguments)
            assert steps <= len(made)
            constant = made.constant(arch, number)
            assert constant is None or constant == action


@settings(max_examples=20, deadline=None)
@given(st.lists(calls(most=20), min_size=3, max_size=3), st.data())
def test_one_program_for_several_architectures(listed: list[Any], data: st.DataObject) -> None:
    archs = [(X86_64, False, X32), (S390X, True, 0), (ARM64, False, 0)]
    policy = tuple(
        (audit, big, 0x50001, end, KILL, found)
        for (audit, big, end), found in zip(archs, listed, strict=True)
    )
    code = _seccomp.assemble(policy, 0x30009)
    for (audit, big, end), found in zip(archs, listed, strict=True):
        arguments = data.draw(interesting_arguments(found))
        for number in {0, 1, 470, X32, *(number for number, _ in found)}:
            assert run(code, audit, number, arguments, big) == decide(
                found, (0x50001, end, KILL), number, arguments
            )
    assert run(code, 0x40000003, 0, NONE) == 0x30009


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("comparison", range(8))
def test_corner_values_of_every_comparison(width: int, comparison: int) -> None:
    corners = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    if width == 64:
        corners += [1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1]
    given_to_kernel = {
        value + off & (1 << 64) - 1 for value in [*corners, 1 << 32, 1 << 63] for off in (-1, 0, 1)
    }
    for value, mask in itertools.product(corners, corners):
        if comparison < 6 and mask != 0:
            continue
        listed: list[Call] = [(5, ((ALLOW, ((3, width, comparison, mask, (value,)),)),))]
        code = _seccomp.assemble(((X86_64, False, KILL, X32, KILL, listed),), KILL)
        for argument in given_to_kernel:
            arguments = (9, 9, 9, argument, 9, 9)
            wanted = decide(listed, (KILL, X32, KILL), 5, arguments)
            assert run(code, X86_64, 5, arguments) == wanted


def test_what_makes_no_difference_is_not_tested() -> None:
    same: list[Call] = [(number, ((KILL, ()),)) for number in range(300)]
    assert _seccomp.assemble(((X86_64, False, KILL, X32, KILL, same),), KILL) == program(
        (0x06, 0, 0, KILL)
    )
    # Not even the architecture, and conditions whose outcome does not matter.
    either: list[Call] = [(1, ((ALLOW, ((0, 64, 0, 0, (5,)),)), (ALLOW, ())))]
    code = _seccomp.assemble(((X86_64, False, ALLOW, 0, KILL, either),), ALLOW)
    assert code == program(RET_ALLOW)


def test_few_instructions_for_ranges_and_shared_conditions() -> None:
    # ld arch, jeq, ld nr, jge 10, jge 20, jge x32, three returns.
    block: list[Call] = [(number, ((ALLOW, ()),)) for number in range(10, 20)]
    code = _seccomp.assemble(((X86_64, False, 0x50001, X32, KILL, block),), KILL)
    assert len(code) // 8 == 9
    # The same check for many calls stands in the program once.
    check = ((ALLOW, ((1, 32, 1, 0, (0x5412, 0x541C)),)),)
    one = _seccomp.assemble(((X86_64, False, 0x50001, X32, KILL, [(16, check)]),), KILL)
    many = _seccomp.assemble(
        ((X86_64, False, 0x50001, X32, KILL, [(n, check) for n in range(16, 30)]),), KILL
    )
    assert len(many) - len(one) <= 8


def test_far_targets() -> None:
    # Each call has a check of its own, so that jumps beyond 255 instructions are needed.
    listed: list[Call] = [
        (number, ((ALLOW, ((number % 6, 64, 0, 0, (number << 33 | number,)),)),))
        for number in range(400)
    ]
    made = _seccomp.Program(_seccomp.assemble(((X86_64, False, 0x50001, X32, KILL, listed),), KILL))
    assert len(made) > 1600
    for number in range(400):
        for value, wanted in (
            (number << 33 | number, ALLOW),
            (number, ALLOW if not number else 0x50001),
        ):
            arguments = tuple(value if at == number % 6 else 7 for at in range(6))
            assert made.run(X86_64, number, 0, arguments, False)[0] == wanted


def test_many_clauses_over_many_arguments_stay_bounded() -> None:
    # The ordered form of this would have 2 ** 24 parts; the chain has one for each clause.
    clauses = tuple(
        (
            0x50000 | number,
            tuple((at, 64, 2 + (number + at) % 2, 0, (number * 7 + at * 5,)) for at in range(6)),
        )
        for number in range(1, 25)
    )
    made = _seccomp.Program(
        _seccomp.assemble(((X86_64, False, ALLOW, 0, KILL, [(1, clauses)]),), KILL)
    )
    for seed in range(300):
        arguments = tuple((seed * 37 + at * 91) % 190 for at in range(6))
        assert made.run(X86_64, 1, 0, arguments, False)[0] == decide(
            [(1, clauses)], (ALLOW, 0, KILL), 1, arguments
        )


def test_too_long_programs_are_refused() -> None:
    clauses = tuple(
        (0x50000 | number, ((0, 64, 0, 0, (number * 3,)), (1, 64, 0, 0, (number * 5,))))
        for number in range(1, 4000)
    )
    with pytest.raises(ValueError, match="-2"):
        _seccomp.assemble(((X86_64, False, ALLOW, 0, KILL, [(1, clauses)]),), KILL)


@pytest.mark.parametrize(
    "condition",
    [
        (6, 64, 0, 0, (1,)),
        (0, 16, 0, 0, (1,)),
        (0, 64, 8, 0, (1,)),
        (0, 64, -1, 0, (1,)),
        (0, 64, 0, 0, ()),
        (0, 64, 2, 0, (1, 2)),
        (0, 64, 0, 0, (2, 1)),
        (0, 64, 0, 0, (1, 1)),
        (0, 32, 0, 0, (1 << 32,)),
        (0, 32, 6, 1 << 32, (1,)),
    ],
)
def test_conditions_that_cannot_be_are_refused(condition: Any) -> None:
    listed: list[Call] = [(1, ((ALLOW, ((0, 64, 0, 0, (1,)),)),))]
    assert _seccomp.assemble(((X86_64, False, KILL, X32, KILL, listed),), KILL)
    with pytest.raises(ValueError, match="-3"):
        _seccomp.assemble(
            ((X86_64, False, KILL, X32, KILL, [(1, ((ALLOW, (condition,)),))]),), KILL
        )


@pytest.mark.parametrize("numbers", [(1, 1), (2, 1), (X32,)])
def test_calls_that_cannot_be_are_refused(numbers: tuple[int, ...]) -> None:
    listed: list[Call] = [(number, ((ALLOW, ()),)) for number in numbers]
    with pytest.raises(ValueError, match="-4"):
        _seccomp.assemble(((X86_64, False, KILL, X32, KILL, listed),), KILL)


# The interpreter


@pytest.mark.parametrize(
    ("code", "fault", "where"),
    [
        (program(), 1, 0),
        (program(*[LD_NUMBER] * 4096, RET_ALLOW), 2, 0),
        (program((0x28, 0, 0, 0), RET_ALLOW), 3, 0),  # ldh
        (program((0x30, 0, 0, 0), RET_ALLOW), 3, 0),  # ldb
        (program((0x40, 0, 0, 0), RET_ALLOW), 3, 0),  # ld [x + k]
        (program((0x94, 0, 0, 3), RET_ALLOW), 3, 0),  # mod, which sockets' filters may have
        (program((0x0E, 0, 0, 0)), 3, 0),  # ret x
        (program((0xFFFF, 0, 0, 0), RET_ALLOW), 3, 0),
        (program((0x20, 0, 0, 2), RET_ALLOW), 4, 0),
        (program((0x20, 0, 0, 64), RET_ALLOW), 4, 0),
        (program(LD_NUMBER, (0x15, 1, 0, 0), RET_ALLOW), 5, 1),
        (program(LD_NUMBER, (0x15, 0, 1, 0), RET_ALLOW), 5, 1),
        (program((0x05, 0, 0, 0xFFFFFFFF), RET_ALLOW), 5, 0),
        (program(LD_NUMBER), 6, 0),
        (program((0x34, 0, 0, 0), RET_ALLOW), 7, 0),
        (program((0x64, 0, 0, 32), RET_ALLOW), 8, 0),
        (program((0x02, 0, 0, 16), RET_ALLOW), 9, 0),
        (program((0x60, 0, 0, 0), RET_ALLOW), 10, 0),
        # Written on one way only.
        (program(LD_NUMBER, (0x15, 0, 1, 0), (0x02, 0, 0, 3), (0x60, 0, 0, 3), RET_ALLOW), 10, 3),
    ],
)
def test_programs_that_the_kernel_refuses(code: bytes, fault: int, where: int) -> None:
    with pytest.raises(ValueError, match=re.escape(str((fault, where)))):
        _seccomp.Program(code)
    assert _seccomp.FAULTS[fault]


def test_bytes_that_are_no_instructions() -> None:
    with pytest.raises(ValueError, match=re.escape("(-1, 9)")):
        _seccomp.Program(program(RET_ALLOW) + b"\0")
    with pytest.raises(TypeError):
        _seccomp.Program(None)  # type: ignore[arg-type]


_ARITHMETIC = {
    0x04: lambda a, b: a + b,
    0x14: lambda a, b: a - b,
    0x24: lambda a, b: a * b,
    0x34: lambda a, b: a // b,
    0x44: lambda a, b: a | b,
    0x54: lambda a, b: a & b,
    0x64: lambda a, b: a << (b & 31),
    0x74: lambda a, b: a >> (b & 31),
    0xA4: lambda a, b: a ^ b,
}
_WORDS = st.integers(0, 0xFFFFFFFF) | st.sampled_from([0, 1, 31, 32, 0x80000000, 0xFFFFFFFF])


@pytest.mark.parametrize("code", _ARITHMETIC)
@given(_WORDS, _WORDS)
def test_arithmetic(code: int, a: int, b: int) -> None:
    by_register = program((0x00, 0, 0, a), (0x01, 0, 0, b), (code | 8, 0, 0, 0), (0x16, 0, 0, 0))
    if code == 0x34 and b == 0:
        # The kernel ends the filter there with 0, KILL_THREAD.
        assert _seccomp.Program(by_register).run(0, 0, 0, NONE, False) == (0, 3)
        return
    wanted = _ARITHMETIC[code](a, b) & 0xFFFFFFFF
    assert run(by_register, 0, 0, NONE) == wanted
    if code not in {0x64, 0x74} or b < 32:
        by_constant = program((0x00, 0, 0, a), (code, 0, 0, b), (0x16, 0, 0, 0))
        assert run(by_constant, 0, 0, NONE) == wanted


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (0x15, lambda a, b: a == b),
        (0x25, lambda a, b: a > b),
        (0x35, lambda a, b: a >= b),
        (0x45, lambda a, b: a & b != 0),
    ],
)
@given(_WORDS, _WORDS)
def test_comparisons(code: int, test: Any, a: int, b: int) -> None:
    returns = ((0x06, 0, 0, 1), (0x06, 0, 0, 2))
    wanted = 1 if test(a, b) else 2
    assert run(program((0x00, 0, 0, a), (code, 0, 1, b), *returns), 0, 0, NONE) == wanted
    by_register = program((0x00, 0, 0, a), (0x01, 0, 0, b), (code | 8, 0, 1, 0), *returns)
    assert run(by_register, 0, 0, NONE) == wanted


def test_moves_and_memory() -> None:
    made = program(
        (0x80, 0, 0, 0),  # a = 64, the size of seccomp_data
        (0x07, 0, 0, 0),  # x = a
        (0x03, 0, 0, 15),  # mem[15] = x
        (0x84, 0, 0, 0),  # a = -a
        (0x02, 0, 0, 0),  # mem[0] = a
        (0x61, 0, 0, 0),  # x = mem[0]
        (0x60, 0, 0, 15),  # a = mem[15]
        (0x0C, 0, 0, 0),  # a += x
        (0x81, 0, 0, 0),  # x = 64
        (0x0C, 0, 0, 0),  # a += x
        (0x87, 0, 0, 0),  # a = x
        (0x16, 0, 0, 0),
    )
    assert _seccomp.Program(made).run(0, 0, 0, NONE, False) == (64, 12)


def test_every_word_of_the_call_is_where_the_kernel_puts_it() -> None:
    arguments = tuple(0x1111_0000_2222_0000 * 1 + at * 0x1_0000_0001 for at in range(6))
    pointer = 0xAAAA_BBBB_CCCC_DDDD
    for big in (False, True):
        data = struct.pack((">" if big else "<") + "II7Q", 39, X86_64, pointer, *arguments)
        words = struct.unpack((">" if big else "<") + "16I", data)
        for at, word in enumerate(words):
            made = _seccomp.Program(program((0x20, 0, 0, 4 * at), (0x16, 0, 0, 0)))
            assert made.run(X86_64, 39, pointer, arguments, big)[0] == word


def test_the_way_through_a_program() -> None:
    made = _seccomp.Program(program(LD_NUMBER, (0x15, 0, 1, 7), RET_ALLOW, (0x06, 0, 0, KILL)))
    assert made.path(X86_64, 7, 0, NONE, False) == (0, 1, 2)
    assert made.path(X86_64, 8, 0, NONE, False) == (0, 1, 3)
    assert made.run(X86_64, 8, 0, NONE, False) == (KILL, 3)


def test_what_does_not_depend_on_arguments() -> None:
    made = _seccomp.Program(
        program(
            (0x20, 0, 0, 4),
            (0x15, 0, 4, X86_64),
            LD_NUMBER,
            (0x15, 0, 1, 7),
            (0x20, 0, 0, 16),  # args[0], whatever comes of it
            RET_ALLOW,
            (0x06, 0, 0, KILL),
        )
    )
    assert made.constant(X86_64, 7) is None
    assert made.constant(X86_64, 8) == ALLOW
    assert made.constant(ARM64, 8) == KILL


# The disassembler


def test_the_text_of_every_instruction() -> None:
    instructions = {
        (0x20, 0, 0, 0): "ld   nr",
        (0x20, 0, 0, 4): "ld   arch",
        (0x20, 0, 0, 12): "ld   ip[4]",
        (0x20, 0, 0, 36): "ld   args[2][4]",
        (0x00, 0, 0, 5): "ld   0x5",
        (0x01, 0, 0, 5): "ldx  0x5",
        (0x80, 0, 0, 0): "ld   size",
        (0x81, 0, 0, 0): "ldx  size",
        (0x02, 0, 0, 3): "st   mem[3]",
        (0x03, 0, 0, 3): "stx  mem[3]",
        (0x60, 0, 0, 3): "ld   mem[3]",
        (0x61, 0, 0, 3): "ldx  mem[3]",
        (0x54, 0, 0, 0xF0): "and  0xf0",
        (0x5C, 0, 0, 0): "and  x",
        (0x84, 0, 0, 0): "neg",
        (0x07, 0, 0, 0): "tax",
        (0x87, 0, 0, 0): "txa",
        (0x16, 0, 0, 0): "ret  a",
        (0x06, 0, 0, KILL): "ret  KILL_PROCESS",
        (0x06, 0, 0, 0): "ret  KILL_THREAD",
        (0x06, 0, 0, 0x30005): "ret  TRAP(5)",
        (0x06, 0, 0, 0x50026): "ret  ERRNO(38)",
        (0x06, 0, 0, 0x7FC00000): "ret  USER_NOTIF",
        (0x06, 0, 0, 0x7FF00001): "ret  TRACE(1)",
        (0x06, 0, 0, 0x7FFC0000): "ret  LOG",
        (0x06, 0, 0, ALLOW): "ret  ALLOW",
        (0x06, 0, 0, 0x12340000): "ret  unknown: KILL_PROCESS",
    }
    for instruction, text in instructions.items():
        made = program((0x02, 0, 0, 3), instruction, RET_ALLOW)
        assert _seccomp.Program(made).lines()[1] == text
    jumps = program((0x35, 1, 0, 0x10), (0x05, 0, 0, 0), (0x4D, 0, 0, 0), RET_ALLOW)
    assert _seccomp.Program(jumps).lines() == [
        "jge  0x10, 2, 1",
        "ja   2",
        "jset x, 3, 3",
        "ret  ALLOW",
    ]
