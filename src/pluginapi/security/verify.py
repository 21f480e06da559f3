"""Verify Ed25519 signatures (RFC 8032) under one documented rule.

A signature (R, S) of a message M under a key A is accepted when all of these hold:

* S < L (RFC 8032, 5.1.7), so nobody can make a second signature from a first;
* A and R are encoded canonically (y < p, no "negative zero") and are points of the curve;
* neither A nor R is of small order, so no key accepts the signatures of others;
* [8](SB - R - kA) = 0 with k = SHA-512(R || A || M), taken over the bytes as received.

libsodium, which does the arithmetic, compares without the factor 8. That accepts a subset: the
two differ only for signatures into which the holder of the key worked a torsion residue on
purpose, and no signer makes those. The first three conditions are checked here as well, so that
they do not depend on the version of libsodium.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nacl import bindings
from nacl.exceptions import CryptoError

from pluginapi.errors import InvalidSignature

if TYPE_CHECKING:
    from pluginapi.security.keys import PublicKey

__all__ = ["PUBLIC_KEY_BYTES", "SIGNATURE_BYTES", "point_flaw", "verify"]

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Y_MASK: Final = 2**255 - 1
# The y coordinates of the eight points whose order divides 8: of order 4, 1, 2 and twice 8.
# "Negative zero" (x = 0 with the sign bit set) exists only for y = 1 and y = -1, both here.
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})


def verify(public_key: PublicKey | bytes, message: bytes, signature: bytes) -> None:
    """Accept a signature of a message by a key, or raise.

    The key is a `PublicKey` or its 32 raw bytes; the signature has 64 bytes. Nothing is returned,
    so that a forgotten comparison cannot turn a refusal into an acceptance. Safe to call from
    several threads.

    Raises:
        InvalidSignature: With code ``signature.invalid``; the message says which condition of the
            rule (see the module) does not hold.
    """
    key = public_key if isinstance(public_key, bytes) else public_key.as_bytes()
    if len(key) != PUBLIC_KEY_BYTES:
        raise _refused(f"the public key has {len(key)} bytes, not {PUBLIC_KEY_BYTES}")
    if len(signature) != SIGNATURE_BYTES:
        raise _refused(f"it has {len(signature)} bytes, not {SIGNATURE_BYTES}")
    if int.from_bytes(signature[32:], "little") >= _L:
        raise _refused("its scalar S is not below the group order")
    for what, point in (("the public key", key), ("its point R", signature[:32])):
        flaw = point_flaw(point)
        if flaw is not None:
            raise _refused(f"{what} {flaw}")
    try:
        bindings.crypto_sign_open(signature + message, key)
    except CryptoError as err:
        raise _refused("it was not made over these bytes by this key") from err


def point_flaw(encoded: bytes) -> str | None:
    """Say what is wrong with a 32-byte point encoding, or return None when nothing is.

    Checked are canonical form, membership of the curve and small order (RFC 8032, 5.1.3).
    """
    y = int.from_bytes(encoded, "little") & _Y_MASK
    if y >= _P:
        return "is not encoded canonically"
    if y in _SMALL_ORDER_Y:
        return "is a point of small order"
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(square, (_P - 1) // 2, _P) != 1:
        return "is not a point of the curve"
    return None


def _refused(reason: str) -> InvalidSignature:
    return InvalidSignature(
        f"the signature does not verify: {reason}",
        hint="sign the file again with `pluginapi sign FILE --key KEY`, or get an unchanged copy",
    )
