"""The ``.sig`` file beside a plugin: a DSSE envelope around an in-toto statement.

The statement (https://github.com/in-toto/attestation, Statement v1) binds the SHA3-512 of the file
to the plugin's name and version and the time of signing. The envelope (DSSE v1.0.2,
https://github.com/secure-systems-lab/dsse) carries it with up to 16 signatures over the
pre-authentication encoding, so any DSSE tool can verify it.

One statement has one encoding here: JSON without white space, members in the order below, standard
base64 with padding, a key id with every signature, one line feed at the end. Anything else is
refused, although DSSE readers in general are more lenient: what has one form cannot be altered
without notice, not even where no signature looks.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn, Protocol, Self, TypeAlias, TypeVar

import msgspec

from pluginapi.errors import InvalidManifest, InvalidSignature
from pluginapi.manifest import PluginManifest, check_name
from pluginapi.security.ed25519 import SIGNATURE_BYTES, verify, verify_batch
from pluginapi.security.hashing import is_sha3_512
from pluginapi.security.keys import PublicKey, SigningKeyPair
from pluginapi.security.timestamps import is_timestamp, timestamp
from pluginapi.version import check_version

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "MAX_SIGNATURES",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "EnvelopeSignature",
    "HashedFile",
    "PluginSignature",
    "SignedItem",
    "Statement",
    "countersign",
    "pre_authentication_encoding",
    "require_valid",
    "sign_plugin",
]

MAX_ENVELOPE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 16
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://pluginapi.dev/attestation/plugin/v1"

SignedItem: TypeAlias = tuple[PublicKey, bytes, bytes]
"""A key, the signed bytes and the signature, as `verify_batch` takes them."""

_T = TypeVar("_T")

_JSON: Final = msgspec.json.Encoder()

_KEY_ID: Final = re.compile(r"[0-9a-f]{32}")
_MAX_FILE_NAME_CHARS: Final = 255
_MAX_SIGNER_CHARS: Final = 256
_MAX_NOTES_CHARS: Final = 4096
_SIGN_AGAIN: Final = "sign the file again with `pluginapi sign FILE --key KEY`"


class HashedFile(Protocol):
    """What signing needs of a plugin file that was read once."""

    @property
    def path(self) -> Path:
        """Where it was read from."""

    @property
    def sha3_512(self) -> str:
        """The SHA3-512 of the bytes that were read, 128 lower-case hexadecimal digits."""


class _WireDigest(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    sha3_512: str


class _WireSubject(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    name: str
    digest: _WireDigest


class _WirePredicate(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    name: str
    version: str
    signed_at: str
    signer: str | None = None
    notes: str | None = None


class _WireStatement(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"
):
    type_: str = msgspec.field(name="_type")
    subject: tuple[_WireSubject]
    predicate_type: str
    predicate: _WirePredicate


class _WireSignature(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    keyid: str
    sig: bytes


class _WireEnvelope(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"
):
    payload: bytes
    payload_type: str
    signatures: list[_WireSignature]


class _LooseSignature(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _LooseEnvelope(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"
):
    """An envelope with the base64 in it as it stands, to say what is wrong."""

    payload: str
    payload_type: str
    signatures: list[_LooseSignature]


class Statement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a signer says about one plugin file.

    Attributes:
        file_name: The name the file had when it was signed; informational, a file may be renamed.
        sha3_512: The hash of the file, 128 lower-case hexadecimal digits.
        name: The plugin's name.
        version: The plugin's version, as written in its manifest.
        signed_at: RFC 3339 UTC in whole seconds. The signer's claim, not proof of a time.
        signer: Who signed, one line, or None.
        notes: Free text, or None.

    Raises:
        InvalidSignature: With code ``signature.malformed`` when a field is out of bounds.
    """

    file_name: str
    sha3_512: str
    name: str
    version: str
    signed_at: str
    signer: str | None = None
    notes: str | None = None

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
            check_version(self.version)
        except InvalidManifest as err:
            raise _malformed(f"its statement is wrong: {err.message}") from err
        if not is_sha3_512(self.sha3_512):
            raise _malformed("its hash is not 128 lower-case hexadecimal digits")
        if not is_timestamp(self.signed_at):
            raise _malformed("its time of signing is not RFC 3339 in UTC and whole seconds")
        _check_text("file name", self.file_name, _MAX_FILE_NAME_CHARS)
        if "/" in self.file_name or "\\" in self.file_name:
            raise _malformed("its file name holds a directory")
        if self.signer is not None:
            _check_text("signer", self.signer, _MAX_SIGNER_CHARS)
        if self.notes is not None:
            _check_text("notes", self.notes, _MAX_NOTES_CHARS, also="\n\t")

    def encode(self) -> bytes:
        """Return the statement as the one JSON text that stands for it."""
        return _JSON.encode(
            _WireStatement(
                STATEMENT_TYPE,
                (_WireSubject(self.file_name, _WireDigest(self.sha3_512)),),
                PREDICATE_TYPE,
                _WirePredicate(self.name, self.version, self.signed_at, self.signer, self.notes),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a statement from its one JSON text.

        Raises:
            InvalidSignature: With code ``signature.malformed`` or ``signature.not_canonical``.
        """
        wire = _decode_json(data, _STATEMENT, "statement")
        if wire.type_ != STATEMENT_TYPE or wire.predicate_type != PREDICATE_TYPE:
            raise _malformed("its statement is of another type")
        subject, predicate = wire.subject[0], wire.predicate
        statement = cls(
            file_name=subject.name,
            sha3_512=subject.digest.sha3_512,
            name=predicate.name,
            version=predicate.version,
            signed_at=predicate.signed_at,
            signer=predicate.signer,
            notes=predicate.notes,
        )
        # What `encode` would make of the same values again.
        if _JSON.encode(wire) != data:
            raise _not_canonical("statement")
        return statement


class EnvelopeSignature(msgspec.Struct, frozen=True, gc=False):
    """One signature of an envelope with the id of the key that is said to have made it.

    The id is a hint for finding the key. It is not signed: only verification says who signed.
    """

    key_id: str
    signature: bytes


class PluginSignature(msgspec.Struct, frozen=True, gc=False):
    """Hold the signed statement about one plugin file: the content of a ``.sig`` file.

    Decoding checks form and bounds only. Nothing in it is to be believed before `verify_with`.
    """

    statement: Statement
    signatures: tuple[EnvelopeSignature, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise _malformed(f"it has {len(self.signatures)} signatures, not 1 to {MAX_SIGNATURES}")
        for item in self.signatures:
            if not _KEY_ID.fullmatch(item.key_id):
                raise _malformed("a key id is not 32 lower-case hexadecimal digits")
            if len(item.signature) != SIGNATURE_BYTES:
                raise _malformed(f"a signature has {len(item.signature)} bytes, not 64")
        if len(self.signatures) > 1 and len(set(self.key_ids)) != len(self.signatures):
            raise _malformed("two signatures carry one key id")

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The key ids of the signatures, in order; hints only."""
        return tuple([item.key_id for item in self.signatures])

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that every signature is over."""
        return pre_authentication_encoding(PAYLOAD_TYPE, self.statement.encode())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read an envelope, at most 64 KiB, that is in its one form to the last byte.

        Raises:
            InvalidSignature: With code ``signature.too_large``, ``signature.malformed`` or
                ``signature.not_canonical``.
        """
        return cls.decode_signed(data)[0]

    @classmethod
    def decode_signed(cls, data: bytes) -> tuple[Self, bytes]:
        """Read an envelope as `decode` does; return it with its `signed_bytes`."""
        try:
            wire = _ENVELOPE.decode(data[: MAX_ENVELOPE_BYTES + 1])
        except _UNREADABLE:
            _refuse_envelope(data)
        if (
            len(data) > MAX_ENVELOPE_BYTES
            or wire.payload_type != PAYLOAD_TYPE
            or len(wire.signatures) > MAX_SIGNATURES
            or _JSON.encode(wire) + b"\n" != data
        ):
            _refuse_envelope(data)
        # Encoding gave the same bytes again, which shows that they are in their one form.
        payload = wire.payload
        signature = cls(
            Statement.decode(payload),
            tuple([EnvelopeSignature(one.keyid, one.sig) for one in wire.signatures]),
        )
        return signature, pre_authentication_encoding(PAYLOAD_TYPE, payload)

    def encode(self) -> bytes:
        """Return the content of the ``.sig`` file."""
        return _encode_envelope(self.statement.encode(), self.signatures)

    def items(self, keys: Iterable[PublicKey]) -> list[SignedItem]:
        """Return for each key what `verify` takes: the key, the signed bytes, its signature.

        Raises:
            InvalidSignature: With code ``signature.invalid`` when no signature names the key.
        """
        made = {item.key_id: item.signature for item in self.signatures}
        message = self.signed_bytes
        found: list[SignedItem] = []
        for key in keys:
            if key.key_id not in made:
                raise InvalidSignature(
                    f"no signature names the key {key.key_id}, only {', '.join(self.key_ids)}",
                    hint="sign the file with that key: `pluginapi sign FILE --key KEY`",
                )
            found.append((key, message, made[key.key_id]))
        return found

    def verify_with(self, *keys: PublicKey) -> None:
        """Accept the statement as signed by every one of the keys, or raise.

        Raises:
            InvalidSignature: With code ``signature.invalid`` when no signature names a key, or
                the one that does does not verify.
        """
        items = self.items(keys)
        require_valid(items, verify_batch(items))

    def verify_with_keys(self, keys: Iterable[PublicKey]) -> tuple[PublicKey, ...]:
        """Return the keys that signed, after verifying every signature that names one of them.

        Raises:
            InvalidSignature: When one of those does not verify, or no signature names any key.
        """
        named = tuple(key for key in keys if key.key_id in self.key_ids)
        if not named:
            raise InvalidSignature(
                f"no signature names one of the given keys, only {', '.join(self.key_ids)}",
                hint="sign the file with one of them: `pluginapi sign FILE --key KEY`",
            )
        self.verify_with(*named)
        return named


def require_valid(items: Iterable[SignedItem], accepted: Iterable[bool]) -> None:
    """Raise for the first of some signatures that `verify_batch` did not accept.

    Raises:
        InvalidSignature: With code ``signature.invalid`` and the reason that `verify` gives.
    """
    for (key, message, signature), is_accepted in zip(items, accepted, strict=True):
        if not is_accepted:
            verify(key, message, signature)
            # Both follow one rule. If they ever differ, the refusal counts.
            raise InvalidSignature(
                "the signature does not verify: it was refused among others and accepted alone",
                hint="report this as a security problem of pluginapi, with the file and its .sig",
            )


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature is over (DSSE protocol v1.0.2, PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_plugin(
    file: HashedFile,
    manifest: PluginManifest,
    key: SigningKeyPair,
    at: datetime | None = None,
    *,
    signer: str | None = None,
    notes: str | None = None,
) -> bytes:
    """Sign a plugin file and return the content of the ``.sig`` file to put beside it.

    The time is ``at`` or now, in UTC and whole seconds.

    Raises:
        InvalidSignature: With code ``signature.malformed`` when the file name, signer or notes
            cannot stand in a statement.
    """
    try:
        signed_at = timestamp(at)
    except ValueError as err:
        raise _malformed(str(err)) from err
    statement = Statement(
        file_name=file.path.name,
        sha3_512=file.sha3_512,
        name=manifest.name,
        version=str(manifest.version),
        signed_at=signed_at,
        signer=signer,
        notes=notes,
    )
    message = pre_authentication_encoding(PAYLOAD_TYPE, statement.encode())
    made = EnvelopeSignature(key.public_key.key_id, key.sign(message))
    return PluginSignature(statement, (made,)).encode()


def countersign(envelope: bytes, key: SigningKeyPair) -> bytes:
    """Add the signature of another key to an envelope and return the new envelope.

    Raises:
        InvalidSignature: When the envelope is malformed, is full, or the key signed it already.
    """
    signature = PluginSignature.decode(envelope)
    made = EnvelopeSignature(key.public_key.key_id, key.sign(signature.signed_bytes))
    return PluginSignature(signature.statement, (*signature.signatures, made)).encode()


_ENVELOPE: Final = msgspec.json.Decoder(_WireEnvelope)
_LOOSE_ENVELOPE: Final = msgspec.json.Decoder(_LooseEnvelope)
_STATEMENT: Final = msgspec.json.Decoder(_WireStatement)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _decode_json(data: bytes, decoder: msgspec.json.Decoder[_T], what: str) -> _T:
    try:
        return decoder.decode(data)
    except _UNREADABLE as err:
        raise _malformed(f"its {what} cannot be read: {err}") from err


def _encode_envelope(payload: bytes, signatures: Iterable[EnvelopeSignature]) -> bytes:
    envelope = _WireEnvelope(
        payload,
        PAYLOAD_TYPE,
        [_WireSignature(one.key_id, one.signature) for one in signatures],
    )
    return _JSON.encode(envelope) + b"\n"


def _refuse_envelope(data: bytes) -> NoReturn:
    """Say what is wrong with an envelope that is not in its one form."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise InvalidSignature(
            f"the signature file has more than {MAX_ENVELOPE_BYTES} bytes",
            code="signature.too_large",
            hint=_SIGN_AGAIN,
        )
    wire = _decode_json(data, _LOOSE_ENVELOPE, "envelope")
    if wire.payload_type != PAYLOAD_TYPE:
        raise _malformed("its payload is of another type")
    if len(wire.signatures) > MAX_SIGNATURES:
        raise _malformed(f"it has more than {MAX_SIGNATURES} signatures")
    # What can be read of it is looked at first: that its form is another says least.
    PluginSignature(
        Statement.decode(_decode_base64(wire.payload)),
        tuple([EnvelopeSignature(one.keyid, _decode_base64(one.sig)) for one in wire.signatures]),
    )
    raise _not_canonical("envelope")


def _decode_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as err:
        raise _malformed("a part of it is not base64") from err


def _check_text(what: str, text: str, limit: int, *, also: str = "") -> None:
    if not 0 < len(text) <= limit:
        raise _malformed(f"its {what} has {len(text)} characters, not 1 to {limit}")
    if not text.isprintable() and not all(char.isprintable() or char in also for char in text):
        raise _malformed(f"its {what} holds a control character")


def _malformed(reason: str) -> InvalidSignature:
    return InvalidSignature(
        f"the signature is malformed: {reason}", code="signature.malformed", hint=_SIGN_AGAIN
    )


def _not_canonical(what: str) -> InvalidSignature:
    return InvalidSignature(
        f"the signature's {what} is not in the one form that `pluginapi sign` writes",
        code="signature.not_canonical",
        hint=_SIGN_AGAIN,
    )
