"""The Ed25519 kernels alone, without Python: arithmetic, published vectors, hostile input, batches.

Every build of the harness answers for all paths of this machine at once.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ed25519_reference as reference
from ed25519_cases import Case, cases, honest, of_status, with_s
from ed25519_reference import BASE, IDENTITY, TORSION, L, P, Status
from ed25519_vectors import djb, wycheproof
from native.support import EMULATED, HARNESS, KERNELS, STRICT

pytestmark = pytest.mark.c_only

ROOT = Path(__file__).parents[2]
ED25519 = KERNELS / "ed25519"
SOURCES = (*sorted((KERNELS / "cpu").glob("*.c")), *sorted(ED25519.glob("*.c")))
FLAGS = ("-std=c11", "-g", f"-I{KERNELS}", *STRICT)
# Name: compiler or None for the system's, flags, and what runs the program.
BUILDS: Final[dict[str, tuple[str | None, tuple[str, ...], str | None]]] = {
    "optimised": (None, ("-O3",), None),
    "sanitized": (None, ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"), None),
    # Every path, AVX-512 IFMA included, whatever this processor has.
    "emulated": (None, ("-O1", *EMULATED), None),
    "emulated no int128 sanitized": (
        None,
        (
            *("-O1", *EMULATED, "-DPA_NO_INT128"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        ),
        None,
    ),
    "clang": ("clang", ("-O2",), None),
    "s390x": ("s390x-linux-gnu-gcc", ("-O2", "-static"), "qemu-s390x"),
    "s390x no int128": (
        "s390x-linux-gnu-gcc",
        ("-O2", "-static", "-DPA_NO_INT128"),
        "qemu-s390x",
    ),
}
MASK = 2**51 - 1
TIGHT = 2**51 + 2**16 - 1
LOOSE = 2**54 - 1
CORNERS = (0, 1, 2, 19, P - 1, P, P + 1, 2**255 - 1, 2**255, L - 1, L, L + 1, 2**256 - 1)
numbers = st.one_of(st.sampled_from(CORNERS), st.integers(0, 2**256 - 1))
# The harness answers in a loop; what one example leaves behind is nothing.
many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Harness:
    """A running harness: one line of words in, one line of words out."""

    def __init__(self, command: list[str], errors: Path) -> None:
        # The program brings its own sanitizer; one preloaded for the tests would clash with it.
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        self.errors = errors
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )

    def __call__(self, operation: str, *words: bytes) -> list[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = " ".join([operation, *(word.hex() or "-" for word in words)])
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"{line}: {self.errors.read_text()}"
        return answer.split()

    def batches(
        self, chosen: list[Case], decoded: int, seed: int
    ) -> list[tuple[list[Status], tuple[int, ...]]]:
        """Return for each path the statuses of a batch, and how many were combined, in lanes, one.

        Keys are decoded beforehand where a bit of `decoded` is 1.
        """
        for number, case in enumerate(chosen):
            assert self("keep", *case.triple) == [str(number + 1)]
        bits = (decoded % 2 ** len(chosen)).to_bytes((len(chosen) + 7) // 8, "little")
        words = self("batch", seed.to_bytes(8, "little"), bits)
        found = []
        for letters, *counts in (words[i : i + 4] for i in range(0, len(words), 4)):
            statuses = [Status(ord(letter) - ord("A")) for letter in letters.removesuffix("-")]
            found.append((statuses, tuple(map(int, counts))))
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        assert code == 0, self.errors.read_text()

    def statuses(self, key: bytes, message: bytes, signature: bytes) -> set[Status]:
        """Return what the paths say, with the key encoded and decoded: one status if they agree."""
        answers = [Status(int(word)) for word in self("verify", key, message, signature)]
        encoded, decoded = set(answers[::2]), set(answers[1::2])
        # A key is decoded before S is looked at, so the order of two flaws may differ.
        if encoded == {Status.S_NOT_CANONICAL} and len(decoded) == 1:
            assert decoded <= {
                Status.S_NOT_CANONICAL,
                Status.KEY_NOT_CANONICAL,
                Status.KEY_SMALL_ORDER,
                Status.KEY_NOT_ON_CURVE,
            }
            return encoded
        return encoded | decoded


@pytest.fixture(scope="module", params=BUILDS)
def harness(request: Any, compiler: str, tmp_path_factory: Any) -> Iterator[Harness]:
    command, flags, runner = BUILDS[request.param]
    for tool in filter(None, (command, runner)):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    directory = tmp_path_factory.mktemp("ed25519")
    program = directory / "harness"
    subprocess.run(
        [
            *(command or compiler, *FLAGS, *flags, "-o", str(program)),
            *(str(HARNESS / "ed25519_harness.c"), *map(str, SOURCES), "-lm"),
        ],
        check=True,
    )
    running = Harness([*filter(None, [runner]), str(program)], directory / "errors")
    yield running
    running.close()


def number(word: str) -> int:
    return int.from_bytes(bytes.fromhex(word), "little")


def scalar(value: int) -> bytes:
    return value.to_bytes(32, "little")


def limbs(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def value_of(values: list[int]) -> int:
    return sum(value << 51 * i for i, value in enumerate(values))


def limbs_of(value: int) -> list[int]:
    return [value >> 51 * i & MASK for i in range(4)] + [value >> 204]


def elements(bound: int) -> st.SearchStrategy[list[int]]:
    limb = st.one_of(st.sampled_from([0, 1, 18, 19, MASK - 18, MASK, bound]), st.integers(0, bound))
    reduced = st.one_of(
        st.sampled_from([c for c in CORNERS if c < 2**255]), numbers.map(lambda n: n % P)
    )
    return st.one_of(st.lists(limb, min_size=5, max_size=5), reduced.map(limbs_of))


# -- the sources


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_kernels_compile_clean_and_alone(compiler: str, path: Path) -> None:
    """The builds compile them clean, too; here each has to bring what it needs."""
    assert "Python.h" not in path.read_text()
    for flags in ((), ("-DPA_NO_INT128",)):
        subprocess.run(
            [compiler, "-std=c11", "-fsyntax-only", *STRICT, *flags, f"-I{KERNELS}", str(path)],
            check=True,
        )


def test_the_committed_table_is_what_the_script_makes() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "ed25519_tables.py")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert made.stdout == (ED25519 / "base_table.h").read_text()


# -- arithmetic, against the integers of Python


@many
@given(a=elements(LOOSE), b=elements(LOOSE))
def test_products(harness: Harness, a: list[int], b: list[int]) -> None:
    answer = harness("fe_mul", limbs(a), limbs(b))
    assert [number(word) for word in answer] == [value_of(a) * value_of(b) % P]


@many
@given(a=elements(TIGHT), b=elements(TIGHT))
def test_sums(harness: Harness, a: list[int], b: list[int]) -> None:
    *answer, equal = harness("fe_sums", limbs(a), limbs(b))
    x, y = value_of(a), value_of(b)
    assert [number(word) for word in answer] == [(x + y) % P, (x - y) % P, -x % P]
    assert int(equal) == ((x - y) % P == 0)


@many
@given(a=elements(LOOSE))
def test_squares_powers_and_encodings(harness: Harness, a: list[int]) -> None:
    *answer, zero, negative = harness("fe_powers", limbs(a))
    x = value_of(a) % P
    root = pow(x, (P - 5) // 8, P)
    assert [number(word) for word in answer] == [
        *(x * x % P, pow(x, 2**9, P), pow(x, P - 2, P), root, pow(root, (P - 5) // 8, P), x, x)
    ]
    assert (int(zero), int(negative)) == (x == 0, x & 1)


def test_the_largest_limbs_do_not_overflow(harness: Harness) -> None:
    largest = [LOOSE] * 5
    (product,) = harness("fe_mul", limbs(largest), limbs(largest))
    assert number(product) == value_of(largest) ** 2 % P


@many
@given(value=numbers)
def test_elements_are_read(harness: Harness, value: int) -> None:
    element, below = harness("fe_from_bytes", scalar(value))
    assert number(element) == value % 2**255 % P
    assert int(below) == (value % 2**255 < P)


@many
@given(a=numbers, b=numbers)
def test_scalars(harness: Harness, a: int, b: int) -> None:
    x, y = a % L, b % L
    assert [number(word) for word in harness("sc_mul", scalar(a), scalar(b))] == [a * b % L]
    assert [number(word) for word in harness("sc_add", scalar(x), scalar(y))] == [(x + y) % L]
    assert [number(word) for word in harness("sc_neg", scalar(x))] == [-x % L]
    assert harness("sc_is_canonical", scalar(a)) == [str(int(a < L))]


@many
@given(
    value=st.one_of(
        st.integers(0, 2**512 - 1),
        st.integers(0, 2**260).map(lambda quotient: quotient * L),
        st.integers(1, 2**259).map(lambda quotient: quotient * L - 1),
        st.sampled_from([2**512 - 1, 2**512 // L * L, 2**512 // L * L - 1, 2**320, 2**320 - 1]),
    ).filter(lambda value: value < 2**512)
)
def test_numbers_of_64_bytes_are_reduced(harness: Harness, value: int) -> None:
    (answer,) = harness("sc_reduce512", value.to_bytes(64, "little"))
    assert number(answer) == value % L


HALVES = (
    *(0, 1, 2, 2**63, 2**64, 2**125, 2**126 - 1, 2**126, 2**126 + 1, 2**127, 2**128, 2**192),
    *(L - 1, L - 2, L - 2**64, L - 2**126, L - 2**127, L // 2, L // 2 + 1, L // 3, L - L // 3),
    # Quotients of 1 alone, and of 2 alone: the longest way, and the next.
    *((math.isqrt(5 * L * L) - L) // 2, math.isqrt(2 * L * L) - L),
)


@many
@given(
    k=st.one_of(
        st.sampled_from(HALVES),
        st.integers(0, L - 1),
        st.integers(0, 2**130),
        st.integers(1, 2**130).map(lambda small: L - small),
        # Near L times a fraction: one quotient of any size in the midst of small ones.
        st.builds(
            lambda p, q, off: (L * (p % q) // q + off) % L,
            st.integers(0, 2**70),
            st.integers(1, 2**70),
            st.integers(-5, 5),
        ),
    )
)
def test_scalars_are_halved(harness: Harness, k: int) -> None:
    first, second, negative = harness("half", scalar(k))
    c, d = number(first), number(second)
    assert 0 <= c < 2**126
    assert 0 < d <= 2**126
    assert (d * k - (-c if int(negative) else c)) % L == 0


@many
@given(
    value=st.one_of(
        st.sampled_from([0, 1, 2**127 - 1, 2**64, 2**64 - 1]), st.integers(0, 2**127 - 1)
    ),
    width=st.integers(2, 8),
)
def test_digits(harness: Harness, value: int, width: int) -> None:
    (word,) = harness("recode", scalar(value), bytes([width]))
    digits = [byte - 256 if byte > 127 else byte for byte in bytes.fromhex(word)]
    assert sum(digit << i for i, digit in enumerate(digits)) == value
    places = [i for i, digit in enumerate(digits) if digit != 0]
    assert all(digits[i] % 2 == 1 and abs(digits[i]) < 2 ** (width - 1) for i in places)
    assert all(after - before >= width for before, after in itertools.pairwise(places))


@many
@given(a=st.integers(0, 2**64 - 1), b=st.integers(0, 2**64 - 1), c=st.integers(0, 2**64 - 1))
def test_words_are_multiplied(harness: Harness, a: int, b: int, c: int) -> None:
    (answer,) = harness("wide", *(value.to_bytes(8, "little") for value in (a, b, c)))
    assert number(answer) == a * b + c


def test_the_largest_words_are_multiplied(harness: Harness) -> None:
    (answer,) = harness("wide", *[b"\xff" * 8] * 3)
    assert number(answer) == (2**64 - 1) * 2**64


def test_sha512(harness: Harness) -> None:
    data = random.Random(3).randbytes(5000)
    for length in (*range(300), 1000, 4096, 5000):
        assert set(harness("sha512", data[:length])) == {hashlib.sha512(data[:length]).hexdigest()}


# -- points


def decoded(harness: Harness, encoded: bytes) -> reference.Point | Status:
    words = harness("decode", encoded)
    if words[0] == "0":
        assert words == words[:3] * (len(words) // 3)
        return number(words[1]), number(words[2])
    assert len(set(words)) == 1
    return Status(int(words[0]))


@many
@given(value=numbers)
def test_points_are_decoded(harness: Harness, value: int) -> None:
    assert decoded(harness, scalar(value)) == reference.decode(scalar(value))


def test_encodings_of_points_that_are_refused(harness: Harness) -> None:
    refused = [
        *(scalar(y | sign << 255) for y in range(P, 2**255) for sign in (0, 1)),
        *reference.ENCODINGS_OF_SMALL_ORDER,
    ]
    found = {encoded: decoded(harness, encoded) for encoded in refused}
    assert found == {encoded: reference.decode(encoded) for encoded in refused}
    assert set(found.values()) == {Status.KEY_NOT_CANONICAL, Status.KEY_SMALL_ORDER}


# -- signatures


def test_rfc_8032_vectors(harness: Harness) -> None:
    for _, key, message, signature in reference.RFC_8032:
        arguments = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
        assert harness.statuses(*arguments) == {Status.OK}
        other = arguments[0], arguments[1] + b"x", arguments[2]
        assert harness.statuses(*other) == {Status.MISMATCH}


def test_djb_vectors(harness: Harness) -> None:
    for vector in djb():
        assert harness.statuses(*vector[1:]) == {Status.OK}
        forged = bytearray(vector.signature)
        forged[len(vector.message) % 64] ^= 1 << len(vector.message) % 8
        statuses = harness.statuses(vector.key, vector.message, bytes(forged))
        assert statuses.isdisjoint({Status.OK})


def test_wycheproof_vectors(harness: Harness) -> None:
    for test in wycheproof():
        if test.status is None:
            continue  # refused by the face: a kernel takes 64 bytes
        statuses = harness.statuses(test.key, test.message, test.signature)
        assert statuses == {test.status}, test
        if test.result != "acceptable":
            assert (statuses == {Status.OK}) == (test.result == "valid"), test


def test_torsion_is_multiplied_away(harness: Harness) -> None:
    """The equation holds whatever small-order parts A and R have; without the 8 it would not."""
    cofactorless = 0
    for i, torsion_of_key in enumerate(TORSION):
        for j, torsion_of_r in enumerate(TORSION):
            key_scalar, nonce, message = 2**200 + i, 2**210 + j, bytes([i, j])
            key_point = reference.add(reference.multiply(key_scalar, BASE), torsion_of_key)
            r_point = reference.add(reference.multiply(nonce, BASE), torsion_of_r)
            key, signature = reference.crafted_signature(
                key_scalar, key_point, nonce, r_point, message
            )
            k = reference.challenge(signature[:32], key, message)
            residue = reference.add(torsion_of_r, reference.multiply(k, torsion_of_key))
            cofactorless += residue == IDENTITY
            assert reference.verify(key, message, signature) == Status.OK
            assert harness.statuses(key, message, signature) == {Status.OK}
            assert harness.statuses(key, message + b"!", signature) == {Status.MISMATCH}
    assert 1 <= cofactorless < 32


def test_points_of_small_order_are_refused(harness: Harness) -> None:
    key_scalar, message = 77, b"message"
    good_key = reference.multiply(key_scalar, BASE)
    for encoded in reference.ENCODINGS_OF_SMALL_ORDER:
        signature = reference.encode(good_key) + scalar(5)
        expected = reference.verify(encoded, message, signature)
        assert expected in {Status.KEY_SMALL_ORDER, Status.KEY_NOT_CANONICAL}
        assert harness.statuses(encoded, message, signature) == {expected}
        signature = encoded + scalar(5)
        expected = reference.verify(reference.encode(good_key), message, signature)
        assert expected in {Status.R_SMALL_ORDER, Status.R_NOT_CANONICAL}
        assert harness.statuses(reference.encode(good_key), message, signature) == {expected}
        # Two flaws: the key's is reported.
        assert harness.statuses(encoded, message, signature) == {
            reference.verify(encoded, message, signature)
        }


def test_the_identity_signs_nothing(harness: Harness) -> None:
    """With A and R the identity and S = 0 the equation holds: only the rule on order refuses it."""
    identity = reference.encode(IDENTITY)
    assert harness.statuses(identity, b"any", identity + scalar(0)) == {Status.KEY_SMALL_ORDER}


def test_s_is_below_the_order(harness: Harness) -> None:
    message = b"malleable"
    key, signature = reference.crafted_signature(
        3, reference.multiply(3, BASE), 5, reference.multiply(5, BASE), message
    )
    s = int.from_bytes(signature[32:], "little")
    assert harness.statuses(key, message, signature) == {Status.OK}
    for other in (s + L, s + 2 * L, s + 15 * L, L, 2**256 - 1):
        assert harness.statuses(key, message, signature[:32] + scalar(other)) == {
            Status.S_NOT_CANONICAL
        }
    for other in (0, 1, L - 1):
        assert harness.statuses(key, message, signature[:32] + scalar(other)) == {Status.MISMATCH}


@settings(many, max_examples=60)
@given(data=st.data())
def test_statuses_are_those_of_the_reference(harness: Harness, data: st.DataObject) -> None:
    """Keys and signatures put together of good, hostile and damaged parts."""
    key_scalar = data.draw(st.integers(1, L - 1))
    nonce = data.draw(st.integers(1, L - 1))
    torsion = st.sampled_from(TORSION)
    key_point = reference.add(reference.multiply(key_scalar, BASE), data.draw(torsion))
    r_point = reference.add(reference.multiply(nonce, BASE), data.draw(torsion))
    message = data.draw(st.binary(max_size=200))
    key, signature = reference.crafted_signature(key_scalar, key_point, nonce, r_point, message)
    assert harness.statuses(key, message, signature) == {Status.OK}
    odd_points = st.one_of(st.sampled_from(reference.ENCODINGS_OF_SMALL_ORDER), numbers.map(scalar))
    key = data.draw(st.one_of(st.just(key), odd_points))
    r = data.draw(st.one_of(st.just(signature[:32]), odd_points))
    s = data.draw(st.one_of(st.just(signature[32:]), numbers.map(scalar)))
    assert harness.statuses(key, message, r + s) == {reference.verify(key, message, r + s)}


# -- batches


def check_batch(harness: Harness, chosen: list[Case], source: random.Random) -> None:
    """Every path gives the statuses that the reference gave one by one."""
    expected = [case.status for case in chosen]
    live = sum(status in {Status.OK, Status.MISMATCH} for status in expected)
    found = harness.batches(chosen, source.getrandbits(len(chosen) or 1), source.getrandbits(64))
    assert len(found) == len(harness("sha512", b""))
    for statuses, (combined, each, one) in found:
        assert statuses == expected
        assert combined in {0, live}
        if combined and Status.MISMATCH in expected:
            raise AssertionError("a wrong signature was combined away")
        assert combined + each + one in {live, len(chosen)}


SIZES: Final = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 33, 64, 100)


@pytest.mark.parametrize("wrong", [0.0, 0.02, 0.5, 1.0])
def test_batches_of_good_and_hostile_signatures(harness: Harness, wrong: float) -> None:
    source = random.Random(int(100 * wrong))
    good, bad = of_status(Status.OK), [case for case in cases() if case.status]
    for size in SIZES:
        chosen = [source.choice(bad if source.random() < wrong else good) for _ in range(size)]
        check_batch(harness, chosen, source)


def test_valid_batches_are_combined_on_every_path(harness: Harness) -> None:
    for _, counts in harness.batches([*honest()[:70]], 0, 1):
        assert counts == (70, 0, 0)
    # Torsion has no part in the combination.
    crafted = [case for case in of_status(Status.OK) if case not in set(honest())] * 3
    assert len(crafted) > 60
    for seed in range(8):
        for statuses, counts in harness.batches(crafted, 2**40 - 1, seed):
            assert set(statuses) == {Status.OK}
            assert counts == (len(crafted), 0, 0)


def test_errors_that_cancel_out_are_found(harness: Harness) -> None:
    source = random.Random(5)
    for first, second in ((0, 1), (3, 4), (2, 66), (68, 69)):
        chosen, error = [*honest()[:70]], source.randrange(1, L)
        chosen[first], chosen[second] = (
            with_s(chosen[first], error),
            with_s(chosen[second], -error),
        )
        check_batch(harness, chosen, source)


def test_more_than_a_chunk(harness: Harness) -> None:
    chosen = [*honest()[:2100]]
    chosen[2060] = with_s(chosen[2060], 1)
    for statuses, (combined, each, one) in harness.batches(chosen, 0, 6):
        assert [i for i, status in enumerate(statuses) if status] == [2060]
        assert (combined, each + one) == (2048, 52)
