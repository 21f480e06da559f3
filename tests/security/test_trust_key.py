from __future__ import annotations

import base64
import copy
import pickle

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import SecurityError, TrustListError
from pluginapi.security.trust_key import KdfParameters, TrustKey

SMALL = 8 * 1024
LIST_ID = bytes(range(16))


def code_of(caught: pytest.ExceptionInfo[TrustListError]) -> str:
    assert caught.value.hint
    return caught.value.code


def test_a_raw_key_in_every_form_gives_the_same_keys() -> None:
    raw = bytes(range(32))
    keys = [
        TrustKey.from_bytes(raw),
        TrustKey.from_hex(raw.hex()),
        TrustKey.from_hex(raw.hex().upper()),
        TrustKey.from_base64(base64.b64encode(raw).decode()),
    ]
    derived = {
        (one.encryption, one.mark)
        for one in (key.derive(key.new_parameters(), LIST_ID) for key in keys)
    }
    assert len(derived) == 1
    encryption, mark = derived.pop()
    assert len(encryption) == len(mark) == 32
    assert len({encryption, mark, raw}) == 3
    other = keys[0].derive(keys[0].new_parameters(), bytes(16))
    assert other.encryption != encryption
    assert keys[0].to_hex() == raw.hex()
    assert TrustKey.generate().to_hex() != TrustKey.generate().to_hex()


def test_the_passphrase_goes_through_argon2id() -> None:
    key = TrustKey.from_passphrase("secret", ops=2, memory_kib=SMALL)
    parameters = key.new_parameters()
    assert (parameters.ops, parameters.memory_kib) == (2, SMALL)
    assert parameters.salt != key.new_parameters().salt
    peer = Argon2id(
        salt=parameters.salt, length=32, iterations=2, lanes=1, memory_cost=SMALL
    ).derive(b"secret")
    # The stretched passphrase takes the place of a raw key.
    raw = TrustKey.from_bytes(peer)
    expected = raw.derive(raw.new_parameters(), LIST_ID)
    assert key.derive(parameters, LIST_ID).encryption == expected.encryption
    assert key.derive(parameters, LIST_ID).mark == expected.mark


def test_the_form_of_composed_characters_does_not_matter() -> None:
    one = TrustKey.from_passphrase("cle\u0301", ops=1, memory_kib=SMALL)
    other = TrustKey.from_passphrase("cl\u00e9", ops=1, memory_kib=SMALL)
    parameters = one.new_parameters()
    assert one.derive(parameters, LIST_ID).mark == other.derive(parameters, LIST_ID).mark


def test_many_lists_do_not_grow_the_key() -> None:
    key = TrustKey.from_passphrase("secret", ops=1, memory_kib=SMALL)
    for _ in range(20):
        key.derive(key.new_parameters(), LIST_ID)
    assert len(key._cache) <= 8


@pytest.mark.parametrize("passphrase", ["", b"", "x" * 1025, b"x" * 1025])
def test_passphrases_out_of_bounds(passphrase: str | bytes) -> None:
    with pytest.raises(TrustListError) as caught:
        TrustKey.from_passphrase(passphrase)
    assert code_of(caught) == "trust_list.key_invalid"


@pytest.mark.parametrize(
    ("ops", "memory_kib"), [(0, SMALL), (17, SMALL), (3, SMALL - 1), (3, 2**20 + 1), (-1, SMALL)]
)
def test_parameters_out_of_bounds(ops: int, memory_kib: int) -> None:
    with pytest.raises(TrustListError) as caught:
        TrustKey.from_passphrase("x", ops=ops, memory_kib=memory_kib)
    assert code_of(caught) == "trust_list.kdf"


def test_a_raw_key_has_no_parameters_and_other_methods_are_unknown() -> None:
    for parameters in ((0, 1, 0, bytes(16)), (0, 0, 1, bytes(16)), (0, 0, 0, b"\1" * 16)):
        with pytest.raises(TrustListError, match="no derivation parameters"):
            KdfParameters(*parameters)
    with pytest.raises(TrustListError, match="derivation 2 is not known"):
        KdfParameters(2, 3, SMALL, bytes(16))


@given(st.text(max_size=70) | st.text("0123456789abcdef", min_size=60, max_size=66))
def test_arbitrary_texts_are_keys_or_clean_errors_that_do_not_quote_them(text: str) -> None:
    for read in (TrustKey.from_hex, TrustKey.from_base64):
        try:
            assert len(read(text).to_hex()) == 64
        except TrustListError as err:
            assert err.code == "trust_list.key_invalid"  # noqa: PT017 - most texts are no keys
            assert len(text) < 8 or text not in str(err)  # noqa: PT017 - see above


def test_the_wrong_kind_of_key_is_named() -> None:
    phrase = TrustKey.from_passphrase("x", ops=1, memory_kib=SMALL)
    raw = TrustKey.generate()
    with pytest.raises(TrustListError, match="with a passphrase, and a raw key was given"):
        raw.derive(phrase.new_parameters(), LIST_ID)
    with pytest.raises(
        TrustListError, match="with a raw key, and a passphrase was given"
    ) as caught:
        phrase.derive(raw.new_parameters(), LIST_ID)
    assert code_of(caught) == "trust_list.key_kind"
    with pytest.raises(TrustListError, match="no hexadecimal form"):
        phrase.to_hex()


def test_the_secret_shows_nowhere_and_is_not_copied() -> None:
    raw = TrustKey.generate()
    phrase = TrustKey.from_passphrase("hunter2", ops=1, memory_kib=SMALL)
    assert raw.to_hex() not in repr(raw)
    assert "hunter2" not in repr(phrase)
    derived = raw.derive(raw.new_parameters(), LIST_ID)
    assert derived.encryption.hex() not in repr(derived)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecurityError) as caught:
            attempt(raw)
        assert caught.value.code == "key.secret"
