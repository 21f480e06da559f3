from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import Key

from pluginapi.errors import InvalidSignature
from pluginapi.security import (
    EnvelopeSignature,
    PluginSignature,
    SigningKeyPair,
    Statement,
    countersign,
    sha3_512,
    sign_plugin,
)
from pluginapi.security.signature import (
    MAX_ENVELOPE_BYTES,
    PAYLOAD_TYPE,
    pre_authentication_encoding,
)

from .trust_bench import Bench

HASH = sha3_512(b"plugin").hexdigest()
KEY = SigningKeyPair(b"\x01" * 32)
OTHER = SigningKeyPair(b"\x02" * 32)


def statement(**changes: str | None) -> Statement:
    fields: dict[str, str | None] = {
        "file_name": "filter.so",
        "sha3_512": HASH,
        "name": "acme.filter",
        "version": "1.2.3",
        "signed_at": "2026-11-23T08:15:00Z",
    }
    return Statement(**{**fields, **changes})  # type: ignore[arg-type]


def signed(made: Statement, *keys: SigningKeyPair) -> PluginSignature:
    message = pre_authentication_encoding(PAYLOAD_TYPE, made.encode())
    return PluginSignature(
        made, tuple(EnvelopeSignature(key.public_key.key_id, key.sign(message)) for key in keys)
    )


def refusal_of(data: bytes) -> str:
    with pytest.raises(InvalidSignature) as caught:
        PluginSignature.decode(data)
    assert caught.value.hint
    return caught.value.code


def edited(data: bytes, **members: object) -> bytes:
    """Re-encode an envelope with members changed, in the canonical style."""
    envelope = {**json.loads(data), **members}
    return json.dumps(envelope, separators=(",", ":")).encode() + b"\n"


def test_the_pre_authentication_encoding_of_the_specification() -> None:
    # DSSE protocol.md v1.0.2, test vectors.
    assert (
        pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_an_envelope_says_what_was_signed(bench: Bench) -> None:
    file, manifest = bench.read()
    at = datetime(2026, 11, 23, 10, 15, 0, 999, tzinfo=timezone(timedelta(hours=2)))
    data = sign_plugin(file, manifest, KEY, at, signer="Acme", notes="Release\nbuild 7")
    envelope = json.loads(data)
    assert list(envelope) == ["payload", "payloadType", "signatures"]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert envelope["signatures"][0]["keyid"] == KEY.public_key.key_id
    assert json.loads(base64.b64decode(envelope["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "filter.py", "digest": {"sha3_512": file.sha3_512}}],
        "predicateType": "https://pluginapi.dev/attestation/plugin/v1",
        "predicate": {
            "name": "acme.filter",
            "version": "1.2.3",
            "signedAt": "2026-11-23T08:15:00Z",
            "signer": "Acme",
            "notes": "Release\nbuild 7",
        },
    }
    decoded = PluginSignature.decode(data)
    assert decoded.encode() == data
    decoded.verify_with(KEY.public_key)
    assert decoded.statement.signer == "Acme"


def test_the_time_is_now_unless_given_and_needs_a_time_zone(bench: Bench) -> None:
    file, manifest = bench.read()
    before = datetime.now(UTC).replace(microsecond=0)
    made = PluginSignature.decode(sign_plugin(file, manifest, KEY)).statement
    assert before <= datetime.fromisoformat(made.signed_at) <= datetime.now(UTC)
    with pytest.raises(InvalidSignature, match="time zone"):
        sign_plugin(file, manifest, KEY, datetime(2026, 1, 1))  # noqa: DTZ001 - the case itself


def test_an_independent_library_verifies_our_envelope(bench: Bench) -> None:
    envelope = Envelope.from_dict(json.loads(countersign(bench.sign(KEY), OTHER)))
    keys = [
        Key.from_dict(
            pair.public_key.key_id,
            {
                "keytype": "ed25519",
                "scheme": "ed25519",
                "keyval": {"public": pair.public_key.to_hex()},
            },
        )
        for pair in (KEY, OTHER)
    ]
    assert set(envelope.verify(keys, 2)) == {key.keyid for key in keys}
    envelope.payload = envelope.payload.replace(b"acme", b"evil")
    with pytest.raises(VerificationError):
        envelope.verify(keys, 1)


def test_several_keys_can_sign() -> None:
    both = signed(statement(), KEY, OTHER)
    assert countersign(signed(statement(), KEY).encode(), OTHER) == both.encode()
    assert both.verify_with_keys([OTHER.public_key, KEY.public_key]) == (
        OTHER.public_key,
        KEY.public_key,
    )
    stranger = SigningKeyPair(b"\x03" * 32).public_key
    assert both.verify_with_keys([stranger, KEY.public_key]) == (KEY.public_key,)
    with pytest.raises(InvalidSignature, match="names one of the given keys"):
        both.verify_with_keys([stranger])
    with pytest.raises(InvalidSignature, match="names the key"):
        both.verify_with(stranger)
    with pytest.raises(InvalidSignature, match="two signatures carry one key id"):
        countersign(both.encode(), KEY)


def test_one_false_signature_of_a_known_key_refuses_them_all() -> None:
    good, other = signed(statement(), KEY, OTHER).signatures
    forged = PluginSignature(statement(), (good, replace(other, signature=good.signature)))
    assert PluginSignature.decode(forged.encode()) == forged
    with pytest.raises(InvalidSignature) as caught:
        forged.verify_with_keys([KEY.public_key, OTHER.public_key])
    assert caught.value.code == "signature.invalid"


def test_a_key_id_is_a_hint_and_proves_nothing() -> None:
    (made,) = signed(statement(), OTHER).signatures
    claimed = PluginSignature(statement(), (replace(made, key_id=KEY.public_key.key_id),))
    with pytest.raises(InvalidSignature):
        claimed.verify_with(KEY.public_key)


def test_a_raw_signature_of_the_file_is_no_envelope(bench: Bench) -> None:
    assert refusal_of(KEY.sign(bench.plugin.read_bytes())) == "signature.malformed"


def test_bounds() -> None:
    keys = [SigningKeyPair(bytes([number]) * 32) for number in range(17)]
    assert len(PluginSignature.decode(signed(statement(), *keys[:16]).encode()).signatures) == 16
    with pytest.raises(InvalidSignature, match="17 signatures"):
        signed(statement(), *keys)
    with pytest.raises(InvalidSignature, match="0 signatures"):
        signed(statement())
    data = signed(statement(), KEY).encode()
    one = json.loads(data)["signatures"][0]
    assert refusal_of(edited(data, signatures=[one] * 17)) == "signature.malformed"
    assert refusal_of(data + b" " * MAX_ENVELOPE_BYTES) == "signature.too_large"


@pytest.mark.parametrize(
    "changes",
    [
        {"file_name": ""},
        {"file_name": "a" * 256},
        {"file_name": "../filter.so"},
        {"file_name": "a\\b"},
        {"file_name": "a\nb"},
        {"file_name": "\udcff.so"},
        {"sha3_512": HASH.upper()},
        {"sha3_512": HASH[:-1]},
        {"name": "Acme"},
        {"version": "1.2"},
        {"signed_at": "2026-11-23T08:15:00+00:00"},
        {"signed_at": "2026-11-23 08:15:00Z"},
        {"signed_at": "2026-02-30T08:15:00Z"},
        {"signed_at": "2026-11-23T08:15:00Z\n"},
        {"signer": ""},
        {"signer": "two\nlines"},
        {"notes": "bell \a"},
        {"notes": "n" * 4097},
    ],
)
def test_statements_out_of_bounds(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidSignature) as caught:
        statement(**changes)
    assert caught.value.code == "signature.malformed"


def test_what_is_written_in_another_form_is_refused() -> None:
    data = signed(statement(), KEY).encode()
    decoded = PluginSignature.decode(data)
    assert decoded.encode() == data
    assert PluginSignature.decode_signed(data) == (decoded, decoded.signed_bytes)
    envelope = json.loads(data)
    (one,) = envelope["signatures"]
    unpadded = {**one, "sig": one["sig"].rstrip("=")}
    # The last character carries two bits more than the 64 bytes need.
    stray = one["sig"][:-3] + chr(ord(one["sig"][-3]) + 1) + "=="
    assert base64.b64decode(stray) == base64.b64decode(one["sig"])
    cases = {
        "white space": json.dumps(envelope).encode() + b"\n",
        "no line feed": data[:-1],
        "two line feeds": data + b"\n",
        "order": edited(dict_bytes(reversed(envelope.items()))),
        "duplicate": data.replace(b'{"payload"', b'{"payloadType":"x","payload"', 1),
        "unknown": edited(data, extra=1),
        "unknown in signature": edited(data, signatures=[{**one, "cert": ""}]),
        "missing key id": edited(data, signatures=[{"sig": one["sig"]}]),
        "upper case key id": edited(data, signatures=[{**one, "keyid": one["keyid"].upper()}]),
        "unpadded": edited(data, signatures=[unpadded]),
        "stray bits": edited(data, signatures=[{**one, "sig": stray}]),
        "url-safe": edited(data, payload=envelope["payload"].replace("A", "_")),
        "not ASCII": edited(data, payload="é"),
        "short": edited(data, signatures=[{**one, "sig": "AAAA"}]),
        "payload type": edited(data, payloadType="application/json"),
        "escaped": data.replace(b"payloadType", b"payload\\u0054ype", 1),
        "byte order mark": b"\xef\xbb\xbf" + data,
        "UTF-16": data.decode().encode("utf-16"),
        "not an object": b"[]\n",
        "deep": b"[" * 60_000,
    }
    for name, case in cases.items():
        assert case != data, name
        assert refusal_of(case) in {"signature.malformed", "signature.not_canonical"}, name


def dict_bytes(items: object) -> bytes:
    return json.dumps(dict(items)).encode()  # type: ignore[call-overload]


def test_statements_in_another_form_are_refused_even_when_signed() -> None:
    good = statement().encode()
    assert Statement.decode(good) == statement()
    payload = json.loads(good)
    cases = [
        json.dumps(payload).encode(),
        good.replace(b'{"_type"', b'{"_type":"x","_type"'),
        json.dumps({**payload, "extra": 1}, separators=(",", ":")).encode(),
        json.dumps({**payload, "subject": payload["subject"] * 2}, separators=(",", ":")).encode(),
        json.dumps({**payload, "subject": []}, separators=(",", ":")).encode(),
        good.replace(b"Statement/v1", b"Statement/v2"),
        good.replace(b"plugin/v1", b"plugin/v2"),
        good.replace(b'"sha3_512"', b'"sha256"'),
    ]
    for case in cases:
        assert case != good
        with pytest.raises(InvalidSignature) as caught:
            Statement.decode(case)
        assert caught.value.code in {"signature.malformed", "signature.not_canonical"}


def test_every_flipped_bit_of_a_signature_file_is_refused() -> None:
    made = statement()
    data = signed(made, KEY).encode()
    PluginSignature.decode(data).verify_with_keys([KEY.public_key])
    codes = set()
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << (position % 8)
        with pytest.raises(InvalidSignature) as caught:
            PluginSignature.decode(bytes(flipped)).verify_with_keys([KEY.public_key])
        codes.add(caught.value.code)
    assert codes == {"signature.malformed", "signature.not_canonical", "signature.invalid"}


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_cleanly(data: bytes) -> None:
    refusal_of(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["payload", "payloadType", "signatures"]))
def test_arbitrary_json_is_refused_cleanly(value: object, member: str) -> None:
    data = signed(statement(), KEY).encode()
    refusal_of(json.dumps(value).encode())
    refusal_of(edited(data, **{member: value}))


PRINTABLE = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\"),
    min_size=1,
    max_size=40,
).filter(str.isprintable)


@given(
    PRINTABLE,
    st.binary(),
    st.from_regex(r"[a-z][a-z0-9]{0,20}(\.[a-z0-9]{1,20})?", fullmatch=True),
    st.tuples(*[st.integers(0, 2**32 - 1)] * 3),
    st.datetimes(timezones=st.just(UTC)),
    st.none() | PRINTABLE,
    st.none() | PRINTABLE,
)
def test_what_is_encoded_is_decoded(  # noqa: PLR0917 - one argument per field
    file_name: str,
    content: bytes,
    name: str,
    version: tuple[int, int, int],
    at: datetime,
    signer: str | None,
    notes: str | None,
) -> None:
    made = Statement(
        file_name=file_name,
        sha3_512=sha3_512(content).hexdigest(),
        name=name,
        version=".".join(map(str, version)),
        signed_at=at.replace(microsecond=0, tzinfo=None).isoformat() + "Z",
        signer=signer,
        notes=notes,
    )
    data = signed(made, KEY, OTHER).encode()
    decoded = PluginSignature.decode(data)
    assert decoded == signed(made, KEY, OTHER)
    assert decoded.encode() == data
    decoded.verify_with_keys([KEY.public_key, OTHER.public_key])


def test_renaming_the_file_does_not_break_its_signature(bench: Bench) -> None:
    security = bench.trusted()
    renamed = bench.plugin.with_name("renamed.py")
    bench.envelope_path.rename(renamed.with_name("renamed.py.sig"))
    bench.plugin = bench.plugin.rename(renamed)
    assert security.verify(*bench.read()).allowed
