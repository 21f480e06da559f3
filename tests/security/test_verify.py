from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ed25519_cases import cases, honest, of_status
from ed25519_reference import RFC_8032, Status
from ed25519_vectors import djb, wycheproof
from pluginapi.errors import InvalidSignature, KeyFileError
from pluginapi.security.ed25519 import verify, verify_batch
from pluginapi.security.keys import PublicKey, SigningKeyPair

L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
# The canonical encodings of the eight points of small order, and non-canonical ones of them
# (from "Taming the many EdDSAs", Chalkias, Garillot, Nikolaenko, 2020, table 1).
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def accepts(key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell the outcome; anything but None or a clean refusal fails the test."""
    try:
        verify(key, message, signature)
    except InvalidSignature as err:
        return (err.code, bool(err.hint)) != ("signature.invalid", True)
    return True


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_rfc_8032_vectors(seed: str, public: str, message: str, signature: str) -> None:
    pair = SigningKeyPair(bytes.fromhex(seed))
    assert pair.public_key.to_hex() == public
    assert pair.sign(bytes.fromhex(message)).hex() == signature
    verify(pair.public_key, bytes.fromhex(message), bytes.fromhex(signature))
    assert not accepts(bytes.fromhex(public), b"other", bytes.fromhex(signature))


def test_wycheproof_vectors() -> None:
    for test in wycheproof():
        found = accepts(test.key, test.message, test.signature)
        if test.result != "acceptable":
            assert found == (test.result == "valid"), test


def test_the_vectors_of_the_authors() -> None:
    """1024 signatures, and each with a bit changed."""
    for number, (seed, public, message, signature) in enumerate(djb()):
        pair = SigningKeyPair(seed)
        assert pair.public_key.as_bytes() == public
        assert pair.sign(message) == signature
        assert accepts(public, message, signature)
        flipped = bytearray(signature)
        flipped[number % 64] ^= 1 << (number // 64 % 8)
        assert not accepts(public, message, bytes(flipped))


def test_a_scalar_that_is_not_reduced_is_refused() -> None:
    pair = SigningKeyPair(bytes(32))
    signature = pair.sign(b"message")
    assert accepts(pair.public_key.as_bytes(), b"message", signature)
    malleable = int.from_bytes(signature[32:], "little") + L
    with pytest.raises(InvalidSignature, match="group order"):
        verify(pair.public_key, b"message", signature[:32] + malleable.to_bytes(32, "little"))


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_points_of_small_order_are_refused_as_key_and_as_r(encoded: str) -> None:
    point = bytes.fromhex(encoded)
    with pytest.raises(InvalidSignature, match="public key is a point of small order"):
        verify(point, b"", point + bytes(32))
    pair = SigningKeyPair(bytes(32))
    with pytest.raises(InvalidSignature, match="point R is a point of small order"):
        verify(pair.public_key, b"", point + bytes(32))


@pytest.mark.parametrize("y", [P + 2, P + 18])
def test_encodings_that_are_not_canonical_are_refused(y: int) -> None:
    pair = SigningKeyPair(bytes(32))
    for sign in (0, 2**255):
        point = (y + sign).to_bytes(32, "little")
        with pytest.raises(InvalidSignature, match="public key is not encoded canonically"):
            verify(point, b"", point + bytes(32))
        with pytest.raises(InvalidSignature, match="point R is not encoded canonically"):
            verify(pair.public_key, b"", point + bytes(32))


def flaw_of_key(encoded: bytes) -> str | None:
    try:
        PublicKey(encoded)
    except KeyFileError as err:
        return f"{err.code}: {err}"
    return None


def test_half_of_all_encodings_are_no_points() -> None:
    flaws = [flaw_of_key(y.to_bytes(32, "little")) for y in range(2, 202)]
    assert set(flaws) == {None, "key.weak: the public key is not a point of the curve"}
    assert 60 < flaws.count(None) < 140


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_wrong_lengths_are_refused(key: int, signature: int) -> None:
    assert not accepts(bytes(key), b"", bytes(signature))


@given(st.binary(max_size=40), st.binary(max_size=80), st.binary(max_size=80))
def test_arbitrary_bytes_are_refused_cleanly(key: bytes, message: bytes, signature: bytes) -> None:
    assert not accepts(key, message, signature)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_what_was_signed_verifies_with_its_key_alone(seed: bytes, message: bytes) -> None:
    pair = SigningKeyPair(seed)
    signature = pair.sign(message)
    verify(pair.public_key, message, signature)
    assert not accepts(pair.public_key.as_bytes(), message + b"\0", signature)
    other = SigningKeyPair(bytes(byte ^ 1 for byte in seed))
    assert not accepts(other.public_key.as_bytes(), message, signature)


# -- many at once


def test_a_batch_tells_what_verify_does() -> None:
    expected = [case.status is Status.OK for case in cases()]
    assert [accepts(*case.triple) for case in cases()] == expected
    assert verify_batch([case.triple for case in cases()]) == expected
    found = verify_batch(case.triple for case in cases())
    assert found == expected
    assert set(map(type, found)) == {bool}


def test_keys_of_a_batch_are_bytes_or_decoded_ones() -> None:
    chosen = [*honest()[:50], *of_status(Status.MISMATCH)[:5]]
    decoded = [(PublicKey(case.key), case.message, case.signature) for case in chosen]
    mixed = [pair[i % 2] for i, pair in enumerate(zip(decoded, chosen, strict=True))]
    for items in (decoded, [item[:3] for item in mixed]):
        assert verify_batch(items) == [True] * 50 + [False] * 5


def test_a_batch_keeps_the_order_of_its_items() -> None:
    good, bad = honest()[:64], of_status(Status.MISMATCH)
    for at in (0, 1, 31, 62, 63):
        items = [case.triple for case in good]
        items[at] = bad[at % len(bad)].triple
        assert verify_batch(items) == [i != at for i in range(64)]


def test_a_batch_of_nothing_and_of_one() -> None:
    assert verify_batch([]) == []
    assert verify_batch([honest()[0].triple]) == [True]
    assert verify_batch([of_status(Status.MISMATCH)[0].triple]) == [False]


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_wrong_lengths_in_a_batch_are_refused_where_they_are(key: int, signature: int) -> None:
    items = [case.triple for case in honest()[:40]]
    items.insert(17, (bytes(key), b"", bytes(signature)))
    assert verify_batch(items) == [True] * 17 + [False] + [True] * 23


def test_messages_of_a_batch_are_any_buffers() -> None:
    items: list[Any] = []
    for number, case in enumerate(honest()[:60]):
        kind = (bytes, bytearray, memoryview)[number % 3]
        items.append((case.key, kind(case.message), case.signature))
    assert verify_batch(items) == [True] * 60


@pytest.mark.parametrize(
    "item", [(b"", b""), ("key", b"", bytes(64)), (bytes(32), "text", bytes(64)), None, 7]
)
def test_what_is_no_item_of_a_batch_is_an_error(item: Any) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        verify_batch([honest()[0].triple, item])


def test_an_error_in_the_iterable_is_passed_on() -> None:
    def items() -> Iterator[tuple[bytes, bytes, bytes]]:
        yield honest()[0].triple
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        verify_batch(items())


def test_batches_in_several_threads() -> None:
    items = [case.triple for case in [*honest()[:100], *of_status(Status.MISMATCH)[:1]]]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: verify_batch(items), range(12)):
            assert found == [True] * 100 + [False]
