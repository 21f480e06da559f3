"""The vector fields of the Ed25519 kernels against the integers of Python, at their bounds."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from ed25519_reference import P
from native.support import EMULATED, HARNESS, KERNELS, STRICT
from pluginapi._native import _cpu

pytestmark = pytest.mark.c_only

SANITIZED: Final = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
RECORDS: Final = 1500
MASK: Final = 2**51 - 1


@dataclass(frozen=True)
class Field:
    """A header, how many lanes it has, and the bounds and words of its limbs."""

    header: str
    lanes: int
    low: int  # of a tight limb
    high: int
    loose: int  # times a tight limb
    encode: Callable[[int], bytes]
    decode: Callable[[bytes], int]
    flags: tuple[str, ...] = ()

    def limb(self, source: random.Random, factor: int) -> int:
        """Return a limb of at most `factor` tight ones, often at the bounds."""
        low, high = factor * self.low, factor * self.high
        return source.choice([low, high, 0, 1, min(high, MASK), source.randint(low, high)])


def double(value: int) -> bytes:
    return struct.pack("<d", value)


def from_double(word: bytes) -> int:
    (value,) = struct.unpack("<d", word)
    assert value == int(value)
    return int(value)


def unsigned(value: int) -> bytes:
    return value.to_bytes(8, "little")


def from_unsigned(word: bytes) -> int:
    return int.from_bytes(word, "little")


TIGHT_FMA: Final = 2**50 + 2**15
FIELDS: Final = {
    "fma4": Field("vec_fma4.h", 4, -TIGHT_FMA, TIGHT_FMA, 3, double, from_double),
    "ifma8": Field(
        *("vec_ifma.h", 8, 0, 2**51 + 2**18 - 1, 1, unsigned, from_unsigned), ("-DVEC_LANES=8",)
    ),
    "ifma4": Field(
        *("vec_ifma.h", 4, 0, 2**51 + 2**18 - 1, 1, unsigned, from_unsigned), ("-DVEC_LANES=4",)
    ),
    "scalar": Field(
        *("vec_scalar.h", 1, 0, 2**51 + 2**16 - 1, 1, unsigned, from_unsigned),
        ("-DVECTORS_SCALAR",),
    ),
}
LEVEL: Final = {"fma4": "avx2", "ifma8": "avx512ifma", "ifma4": "avx512ifma", "scalar": "portable"}

# What the harness answers for each record of a, b, c and d, before the selection by a mask.
OPERATIONS: Final[tuple[Callable[[int, int, int, int], int], ...]] = (
    lambda a, b, c, d: a * b,
    lambda a, b, c, d: b * b,
    lambda a, b, c, d: a,
    lambda a, b, c, d: b + d,
    lambda a, b, c, d: b - d,
    lambda a, b, c, d: -b,
    lambda a, b, c, d: d * b - c * b,
    lambda a, b, c, d: d * b + c * b,
)
TIGHT_RESULTS: Final = {0, 1, 2, 6, 7}


def build(compiler: str, program: Path, field: Field, *flags: str) -> Path:
    subprocess.run(
        [
            *(compiler, "-std=c11", "-g", *STRICT, *field.flags, *flags, f"-I{KERNELS}"),
            *(f'-DVECTORS="ed25519/{field.header}"', "-o", str(program)),
            *(str(HARNESS / "vectors_harness.c"), str(KERNELS / "ed25519" / "point.c")),
            *(str(KERNELS / "ed25519" / name) for name in ("scalar25519.c", "equation.c")),
            *(str(KERNELS / "ed25519" / name) for name in ("half.c", "sha512.c", "ed25519.c")),
            *(str(KERNELS / "ed25519" / "verify_portable.c"), "-lm"),
        ],
        check=True,
    )
    return program


def value_of(limbs: list[int]) -> int:
    return sum(limb << 51 * i for i, limb in enumerate(limbs))


@pytest.mark.parametrize("emulated", [False, True], ids=["real", "emulated"])
@pytest.mark.parametrize("name", FIELDS)
def test_elements_are_those_of_the_integers(
    compiler: str, tmp_path: Path, name: str, emulated: bool
) -> None:
    field = FIELDS[name]
    if not emulated and _cpu.LEVELS.index(LEVEL[name]) > _cpu.detected():
        pytest.skip(f"this processor has no {LEVEL[name]}; the emulated one is tested")
    flags = (*SANITIZED, *EMULATED) if emulated else SANITIZED
    program = build(compiler, tmp_path / "vectors", field, *flags)
    source = random.Random(field.lanes)
    # By record and operand, lanes of limbs; a zero and p itself are among them.
    records = [
        [
            [[field.limb(source, factor) for _ in range(5)] for _ in range(field.lanes)]
            for factor in (field.loose, 1, field.loose, 1)
        ]
        for _ in range(RECORDS)
    ]
    records[0][1][0] = [0] * 5
    if field.low == 0:
        records[1][1][0] = [MASK - 18, MASK, MASK, MASK, MASK]
    given = b"".join(
        field.encode(lanes[lane][i])
        for record in records
        for lanes in record
        for i in range(5)
        for lane in range(field.lanes)
    )
    out = subprocess.run([str(program)], input=given, capture_output=True, check=True).stdout
    size = 5 * 8 * field.lanes
    assert len(out) == RECORDS * (18 * size + 16)
    at = 0
    for record in records:
        numbers = [[value_of(limbs) for limbs in operand] for operand in record]
        expected = [
            [operation(*values) for values in zip(*numbers, strict=True)]
            for operation in OPERATIONS
        ]
        expected.append(
            [numbers[1][lane] if lane % 2 == 0 else numbers[3][lane] for lane in range(field.lanes)]
        )
        for number, values in enumerate(expected):
            canonical = limbs_of(out[at : at + size], field.lanes, from_unsigned)
            words = limbs_of(out[at + size : at + 2 * size], field.lanes, field.decode)
            at += 2 * size
            for lane, value in enumerate(values):
                assert value_of(canonical[lane]) == value % P, (number, lane, record)
                assert all(0 <= limb <= MASK for limb in canonical[lane])
                assert (value_of(words[lane]) - value) % P == 0
                if number in TIGHT_RESULTS:
                    assert all(field.low <= limb <= field.high for limb in words[lane]), number
        zero, odd = struct.unpack("<QQ", out[at : at + 16])
        at += 16
        for lane, value in enumerate(numbers[1]):
            assert (zero >> lane & 1) == (value % P == 0)
            assert (odd >> lane & 1) == value % P % 2


def limbs_of(data: bytes, lanes: int, decode: Callable[[bytes], int]) -> list[list[int]]:
    return [
        [decode(data[8 * (i * lanes + lane) : 8 * (i * lanes + lane) + 8]) for i in range(5)]
        for lane in range(lanes)
    ]
