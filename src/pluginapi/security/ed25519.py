"""Verify Ed25519 signatures (RFC 8032) under one documented rule, one by one or many at once.

A signature (R, S) of a message M under a key A is accepted when all of these hold:

* S < L (RFC 8032, 5.1.7), so nobody can make a second signature from a first;
* A and R are encoded canonically (y < p, no "negative zero") and are points of the curve;
* neither A nor R is of small order, so no key accepts the signatures of others;
* [8](SB - R - kA) = 0 with k = SHA-512(R || A || M) mod L, taken over the bytes as received.

The equation is that of RFC 8032 (5.1.7) and FIPS 186-5 (7.7.2), with its cofactor 8. Only with it
can many signatures be checked as one random combination and still get the verdicts that they get
one by one (Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", 2020). Released versions of
libsodium compare without the factor and accept a subset: the two differ only for signatures into
which the holder of the key worked a torsion residue on purpose, and no signer makes those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from pluginapi._native import _ed25519
from pluginapi._native._ed25519 import Status
from pluginapi.errors import InvalidSignature

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from pluginapi.security.keys import PublicKey

__all__ = ["KEY_FLAWS", "PUBLIC_KEY_BYTES", "SIGNATURE_BYTES", "verify", "verify_batch"]

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_NOT_CANONICAL: Final = "is not encoded canonically"
_SMALL_ORDER: Final = "is a point of small order"
_NOT_ON_CURVE: Final = "is not a point of the curve"

KEY_FLAWS: Final = {
    Status.KEY_LENGTH: f"does not have {PUBLIC_KEY_BYTES} bytes",
    Status.KEY_NOT_CANONICAL: _NOT_CANONICAL,
    Status.KEY_SMALL_ORDER: _SMALL_ORDER,
    Status.KEY_NOT_ON_CURVE: _NOT_ON_CURVE,
}
"""What may be wrong with a key itself, as the end of a sentence."""

_REASONS: Final = {
    Status.SIGNATURE_LENGTH: f"it does not have {SIGNATURE_BYTES} bytes",
    Status.S_NOT_CANONICAL: "its scalar S is not below the group order",
    **{status: f"the public key {flaw}" for status, flaw in KEY_FLAWS.items()},
    Status.R_NOT_CANONICAL: f"its point R {_NOT_CANONICAL}",
    Status.R_SMALL_ORDER: f"its point R {_SMALL_ORDER}",
    Status.R_NOT_ON_CURVE: f"its point R {_NOT_ON_CURVE}",
    Status.MISMATCH: "it was not made over these bytes by this key",
}


def verify(public_key: PublicKey | bytes, message: Buffer, signature: bytes) -> None:
    """Accept a signature of a message by a key, or raise.

    The key is a `PublicKey`, which is decoded once for all its signatures, or its 32 raw bytes; the
    signature has 64 bytes; the message is any object with a contiguous buffer. Nothing is returned,
    so that a forgotten comparison cannot turn a refusal into an acceptance. Safe to call from
    several threads.

    Raises:
        InvalidSignature: With code ``signature.invalid``; the message says which condition of the
            rule (see the module) does not hold.
    """
    status = _ed25519.verify(_native(public_key), message, signature)
    if status is not Status.OK:
        raise InvalidSignature(
            f"the signature does not verify: {_REASONS[status]}",
            hint="sign the file again with `pluginapi sign FILE --key KEY`, or get an unchanged "
            "copy",
        )


def verify_batch(items: Iterable[tuple[PublicKey | bytes, Buffer, bytes]]) -> list[bool]:
    """Tell for each (public key, message, signature) whether `verify` accepts it.

    Where the processor has vector registers, many signatures take a fraction of the time that they
    take one by one: they are checked together, as a random linear combination whose coefficients
    of 128 bits come from the operating system for every batch. A wrong signature passes with
    probability 2^-128. When a combination fails, each of its signatures is checked by itself as
    well: hostile input makes a batch slower, and without vector registers slower than one by one.

    Ask `verify` for the reason of a refusal. The interpreter lock is released; safe to call from
    several threads. The messages must not change meanwhile.
    """
    statuses, _ = _ed25519.verify_batch(
        [(_native(key), message, signature) for key, message, signature in items]
    )
    return [not status for status in statuses]


def _native(public_key: PublicKey | bytes) -> _ed25519.Key | bytes:
    return public_key if isinstance(public_key, bytes) else public_key.decoded
