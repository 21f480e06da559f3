"""Signatures of every kind, each with the status that the rule in plain integers gives it."""

from __future__ import annotations

import functools
import random
from typing import Final, NamedTuple

import nacl.signing

import ed25519_reference as reference
from ed25519_reference import BASE, ENCODINGS_OF_SMALL_ORDER, TORSION, L, P, Status
from ed25519_vectors import djb

__all__ = ["Case", "cases", "honest", "of_status", "scalar", "with_s"]

SIGNERS: Final = 7


class Case(NamedTuple):
    """A signature and its status; key and signature have the right lengths."""

    key: bytes
    message: bytes
    signature: bytes
    status: Status

    @property
    def triple(self) -> tuple[bytes, bytes, bytes]:
        return self.key, self.message, self.signature


def judged(key: bytes, message: bytes, signature: bytes) -> Case:
    """Let the reference judge."""
    return Case(key, message, signature, reference.verify(key, message, signature))


def scalar(value: int) -> bytes:
    return value.to_bytes(32, "little")


def with_s(case: Case, change: int) -> Case:
    """Add to S modulo L, which is never right."""
    assert change % L != 0
    assert case.status is Status.OK
    s = (int.from_bytes(case.signature[32:], "little") + change) % L
    return Case(case.key, case.message, case.signature[:32] + scalar(s), status=Status.MISMATCH)


@functools.cache
def honest() -> tuple[Case, ...]:
    """Return valid signatures, those of the authors and of a few signers, in mixed order."""
    source = random.Random(11)
    signers = [nacl.signing.SigningKey(source.randbytes(32)) for _ in range(SIGNERS)]
    found = [Case(v.key, v.message, v.signature, Status.OK) for v in djb()]
    for number in range(1400):
        signer = signers[source.randrange(SIGNERS)]
        message = source.randbytes(number % 300)
        signed = signer.sign(message).signature
        found.append(Case(bytes(signer.verify_key), message, signed, Status.OK))
    source.shuffle(found)
    return tuple(found)


@functools.cache
def cases() -> tuple[Case, ...]:
    """Return valid and wrong signatures of every kind, crafted ones among them."""
    source = random.Random(12)
    found: list[Case] = [*honest()[:60]]
    crafted = [_with_torsion(source, i) for i in range(24)]
    found += crafted
    for number, case in enumerate([*honest()[:16], *crafted[:8]]):
        found += _damaged(source, case, number)
    for number, encoded in enumerate(ENCODINGS_OF_SMALL_ORDER):
        good = honest()[number]
        found.append(judged(encoded, good.message, good.signature))
        found.append(judged(good.key, good.message, encoded + good.signature[32:]))
        found.append(judged(encoded, good.message, encoded + bytes(32)))
    for number, y in enumerate((P, P + 2, P + 3, P + 18, 2**255 - 1)):
        good, encoded = honest()[number], scalar(y | (number % 2) << 255)
        found.append(judged(encoded, good.message, good.signature))
        found.append(judged(good.key, good.message, encoded + good.signature[32:]))
    return tuple(found)


def of_status(*statuses: Status) -> list[Case]:
    """Return the cases that have one of these."""
    return [case for case in cases() if case.status in statuses]


def _with_torsion(source: random.Random, number: int) -> Case:
    """Make a signature that holds with the factor 8, and mostly not without."""
    secret, nonce = source.randrange(1, L), source.randrange(1, L)
    key = reference.add(reference.multiply(secret, BASE), TORSION[number % 8])
    r = reference.add(reference.multiply(nonce, BASE), TORSION[number // 8 % 8])
    message = source.randbytes(number)
    made = reference.crafted_signature(secret, key, nonce, r, message)
    case = judged(made[0], message, made[1])
    assert case.status is Status.OK
    return case


def _damaged(source: random.Random, case: Case, number: int) -> list[Case]:
    """Change each part, in every way that matters."""
    key, message, signature, _ = case
    s = int.from_bytes(signature[32:], "little")
    other = honest()[100 + number]
    return [
        judged(_flipped(key, source), message, signature),
        judged(key, _flipped(message or b"x", source), signature),
        judged(key, message, _flipped(signature[:32], source) + signature[32:]),
        judged(key, message, signature[:32] + _flipped(signature[32:], source)),
        judged(key, message, signature[:32] + scalar(s + L * source.randint(1, 14))),
        judged(key, message, signature[:32] + scalar(L + number)),
        judged(key, message, other.signature),
        judged(other.key, message, signature),
        judged(key, message, source.randbytes(64)),
        judged(source.randbytes(32), message, signature),
    ]


def _flipped(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    bit = source.randrange(8 * len(data))
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
