"""The rule of Ed25519 verification in plain Python integers: slow, and independent of the kernels.

Names follow RFC 8032, 5.1. Also what makes hostile input: points of every small order, keys and
signatures with a torsion residue, encodings that are not canonical.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Final

__all__ = [
    "BASE",
    "ENCODINGS_OF_SMALL_ORDER",
    "IDENTITY",
    "RFC_8032",
    "TORSION",
    "D",
    "L",
    "P",
    "Point",
    "Status",
    "add",
    "challenge",
    "crafted_signature",
    "decode",
    "encode",
    "multiply",
    "verify",
]

P: Final = 2**255 - 19
L: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
SQRT_M1: Final = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
IDENTITY: Final[Point] = (0, 1)


# RFC 8032, section 7.1: seed, public key, message, signature. TEST 1, 2, 3 and SHA(abc).
RFC_8032: Final = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
]


class Status(IntEnum):
    """The first condition that does not hold; the numbers of pa_ed25519_status."""

    OK = 0
    S_NOT_CANONICAL = 1
    KEY_NOT_CANONICAL = 2
    KEY_SMALL_ORDER = 3
    KEY_NOT_ON_CURVE = 4
    R_NOT_CANONICAL = 5
    R_SMALL_ORDER = 6
    R_NOT_ON_CURVE = 7
    MISMATCH = 8


def add(a: Point, b: Point) -> Point:
    """Add two points."""
    product = D * a[0] * a[1] * b[0] * b[1] % P
    # One inversion for both denominators.
    inverse = pow((1 + product) * (1 - product), -1, P)
    x = (a[0] * b[1] + a[1] * b[0]) * (1 - product) * inverse % P
    y = (a[1] * b[1] + a[0] * b[0]) * (1 + product) * inverse % P
    return x, y


def multiply(scalar: int, point: Point) -> Point:
    """Multiply a point by a number that is not negative; it is not reduced.

    In the extended coordinates of RFC 8032, 5.1.4: without an inversion at every step.
    """
    result = (0, 1, 1, 0)
    extended = (point[0], point[1], 1, point[0] * point[1] % P)
    for bit in f"{scalar:b}":
        result = _add_extended(result, result)
        if bit == "1":
            result = _add_extended(result, extended)
    inverse = pow(result[2], -1, P)
    return result[0] * inverse % P, result[1] * inverse % P


def _add_extended(
    p: tuple[int, int, int, int], q: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def encode(point: Point) -> bytes:
    """Write a point (5.1.2)."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def recover_x(y: int, sign: int) -> int | None:
    """Return the x of this parity, or None when y belongs to no point."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * SQRT_M1 % P
    if (x * x - square) % P != 0 or (x == 0 and sign == 1):
        return None
    return x if x & 1 == sign else P - x


def decode(encoded: bytes) -> Point | Status:
    """Read a point as a key is read, or say what is wrong with it."""
    value = int.from_bytes(encoded, "little")
    y, sign = value % 2**255, value >> 255
    if y >= P:
        return Status.KEY_NOT_CANONICAL
    if y in {point[1] for point in TORSION}:
        return Status.KEY_SMALL_ORDER
    x = recover_x(y, sign)
    return Status.KEY_NOT_ON_CURVE if x is None else (x, y)


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    """Return k, over the bytes as received."""
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


def verify(key: bytes, message: bytes, signature: bytes) -> Status:
    """Apply the rule of pluginapi.security.verify."""
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return Status.S_NOT_CANONICAL
    a = decode(key)
    if isinstance(a, Status):
        return a
    r = decode(signature[:32])
    if isinstance(r, Status):
        return Status(r + Status.R_NOT_CANONICAL - Status.KEY_NOT_CANONICAL)
    k = challenge(signature[:32], key, message)
    right = add(r, multiply(k, a))
    difference = add(multiply(s, BASE), (P - right[0], right[1]))
    return Status.OK if multiply(8, difference) == IDENTITY else Status.MISMATCH


def crafted_signature(
    key_scalar: int, key: Point, nonce: int, r: Point, message: bytes
) -> tuple[bytes, bytes]:
    """Return the key and a signature with S = nonce + k * key_scalar for points chosen at will.

    When key is key_scalar * B and r is nonce * B, each plus any point of small order, the
    equation holds with the factor 8, and mostly not without it.
    """
    encoded = encode(key)
    k = challenge(encode(r), encoded, message)
    s = (nonce + k * key_scalar) % L
    return encoded, encode(r) + s.to_bytes(32, "little")


def _base() -> Point:
    y = 4 * pow(5, -1, P) % P
    x = recover_x(y, 0)
    assert x is not None
    return x, y


def _torsion() -> tuple[Point, ...]:
    """Find the eight points whose order divides 8, as multiples of one of order 8."""
    y = 2
    while True:
        x = recover_x(y, 0)
        if x is not None:
            generator = multiply(L, (x, y))
            if multiply(4, generator) != IDENTITY:
                return tuple(multiply(i, generator) for i in range(8))
        y += 1


BASE: Final = _base()
TORSION: Final = _torsion()

# Every 32 bytes that decode to a y of small order, canonical or not, with both signs.
ENCODINGS_OF_SMALL_ORDER: Final = tuple(
    (y | sign << 255).to_bytes(32, "little")
    for sign in (0, 1)
    for point in sorted({point[1] for point in TORSION})
    for y in (point, point + P)
    if y < 2**255
)
