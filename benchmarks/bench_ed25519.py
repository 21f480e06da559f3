"""Ed25519 verification through every compiled path against PyNaCl.

Pin the process for the figures of one core: `taskset -c 1 python -m pytest -p racing
benchmarks/bench_ed25519.py`. Times of batches are those of the whole batch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import nacl.bindings
import pytest
from levels import at_every_level, use
from racing import Race

from pluginapi._native import _ed25519
from pluginapi.security import PublicKey, SigningKeyPair, verify, verify_batch

MESSAGE_BYTES = 64


@pytest.fixture(autouse=True)
def _own_level() -> Any:
    yield
    use(_ed25519, None)


def _signed(count: int, keys: int) -> list[tuple[PublicKey, bytes, bytes]]:
    pairs = [SigningKeyPair.generate() for _ in range(keys)]
    messages = [os.urandom(MESSAGE_BYTES) for _ in range(count)]
    return [
        (pairs[number % keys].public_key, message, pairs[number % keys].sign(message))
        for number, message in enumerate(messages)
    ]


def _with_pynacl(items: list[tuple[PublicKey, bytes, bytes]]) -> Callable[[], None]:
    signed = [(signature + message, key.as_bytes()) for key, message, signature in items]

    def run() -> None:
        for message, key in signed:
            nacl.bindings.crypto_sign_open(message, key)

    return run


def _one_by_one(items: list[tuple[Any, bytes, bytes]]) -> Callable[[], None]:
    def run() -> None:
        for key, message, signature in items:
            verify(key, message, signature)

    return run


def test_one(race: Race) -> None:
    items = _signed(16, 16)
    encoded = [(key.as_bytes(), message, signature) for key, message, signature in items]
    race(
        "16 signatures one after the other, each with its key's 32 bytes",
        "PyNaCl",
        {
            "PyNaCl": _with_pynacl(items),
            **at_every_level(_ed25519, _one_by_one(encoded)),
        },
        clock=time.process_time,
    )
    race(
        "16 signatures one after the other, keys decoded beforehand",
        "PyNaCl",
        {
            "PyNaCl": _with_pynacl(items),
            **at_every_level(_ed25519, _one_by_one(items)),
        },
        clock=time.process_time,
    )


@pytest.mark.parametrize("count", [8, 64, 256, 1024])
def test_batch(race: Race, count: int) -> None:
    items = _signed(count, count)
    encoded = [(key.as_bytes(), message, signature) for key, message, signature in items]
    assert all(verify_batch(encoded))
    race(
        f"a batch of {count} signatures, all keys different and not decoded",
        "PyNaCl one after the other",
        {
            "PyNaCl one after the other": _with_pynacl(items),
            **at_every_level(_ed25519, lambda: verify_batch(encoded)),
        },
        clock=time.process_time,
    )


def test_batch_of_few_keys(race: Race) -> None:
    items = _signed(1024, 4)
    race(
        "a batch of 1024 signatures by 4 decoded keys",
        "PyNaCl one after the other",
        {
            "PyNaCl one after the other": _with_pynacl(items),
            **at_every_level(_ed25519, lambda: verify_batch(items)),
        },
        clock=time.process_time,
    )


def test_batch_with_a_wrong_signature(race: Race) -> None:
    items = _signed(1024, 1024)
    encoded = [(key.as_bytes(), message, signature) for key, message, signature in items]
    key, message, signature = encoded[500]
    wrong = [*encoded[:500], (key, message + b"x", signature), *encoded[501:]]
    assert verify_batch(wrong).count(False) == 1
    race(
        "a batch of 1024 signatures, one of them wrong",
        "PyNaCl one after the other",
        {
            "PyNaCl one after the other": _with_pynacl(items),
            **at_every_level(_ed25519, lambda: verify_batch(wrong)),
        },
        clock=time.process_time,
    )
