"""Ed25519 keys: in memory, and in the PEM files that OpenSSL reads (RFC 8410, PKCS#8)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NoReturn, Self

from Crypto.IO import PKCS8
from Crypto.Util.asn1 import DerObjectId, DerOctetString, DerSequence
from nacl import bindings

from pluginapi._native import _ed25519
from pluginapi.errors import KeyFileError, SecurityError
from pluginapi.security.ed25519 import KEY_FLAWS, PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from pluginapi.security.files import FileRules, create_file

__all__ = ["MAX_KEY_FILE_BYTES", "PublicKey", "SigningKeyPair"]

MAX_KEY_FILE_BYTES: Final = 64 * 1024
_KEY_ID_CHARS: Final = 32
_SEED_BYTES: Final = 32
_MAX_LABEL_CHARS: Final = 128
_MAX_PASSPHRASE_BYTES: Final = 1024
_PBKDF2_ITERATIONS: Final = 210_000
# A hostile file could ask for hours of work; this many take a few seconds.
_MAX_PBKDF2_ITERATIONS: Final = 10_000_000
_SALT_BYTES: Final = 16

_OID_ED25519: Final = "1.3.101.112"
_OID_PBES2: Final = "1.2.840.113549.1.5.13"
_OID_PBKDF2: Final = "1.2.840.113549.1.5.12"
# RFC 8410, section 4: a SubjectPublicKeyInfo of Ed25519 is these bytes and the key.
_SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")

_PEM: Final = re.compile(
    rb"\s*-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n([A-Za-z0-9+/=\r\n]*)-----END \1-----\s*"
)
_HINT_KEYGEN: Final = "make a new pair with `pluginapi keygen`, or name the right file"
_HINT_ED25519: Final = (
    "use an Ed25519 key: `pluginapi keygen` or `openssl genpkey -algorithm ed25519`"
)
_HINT_CONVERT: Final = (
    "convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`; "
    "the key must be Ed25519"
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Hold an Ed25519 public key: a point of large order in canonical form.

    Two keys are equal when their bytes are: the label is a name for people and is not compared.
    Instances are immutable, hashable and safe to share between threads.
    """

    key_bytes: bytes
    label: str = field(default="", compare=False)
    key_id: str = field(init=False, compare=False)
    """The first 16 bytes of SHA3-256 over the SubjectPublicKeyInfo, in hexadecimal."""
    decoded: _ed25519.Key = field(init=False, repr=False, compare=False)
    """The point of the key, for `verify` and `verify_batch`."""

    def __post_init__(self) -> None:
        if not isinstance(self.key_bytes, bytes) or len(self.key_bytes) != PUBLIC_KEY_BYTES:
            raise KeyFileError(
                f"a public key has {PUBLIC_KEY_BYTES} bytes", hint="give the raw bytes of the key"
            )
        decoded = _ed25519.Key(self.key_bytes)
        if decoded.flaw is not _ed25519.Status.OK:
            raise KeyFileError(
                f"the public key {KEY_FLAWS[decoded.flaw]}",
                code="key.weak",
                hint="no signer makes such keys: do not trust where it comes from",
            )
        if len(self.label) > _MAX_LABEL_CHARS or not self.label.isprintable():
            raise KeyFileError(
                f"the label of a key is one line of at most {_MAX_LABEL_CHARS} characters",
                hint="choose a shorter label without control characters",
            )
        # Once, since every check of a signature asks for them.
        object.__setattr__(self, "decoded", decoded)
        digest = hashlib.sha3_256(self.to_der()).hexdigest()
        object.__setattr__(self, "key_id", digest[:_KEY_ID_CHARS])

    @classmethod
    def from_bytes(cls, data: bytes, label: str = "") -> Self:
        """Make a key from its 32 raw bytes.

        Raises:
            KeyFileError: With code ``key.invalid`` or ``key.weak``.
        """
        return cls(bytes(data), label)

    @classmethod
    def from_hex(cls, text: str, label: str = "") -> Self:
        """Make a key from 64 hexadecimal digits.

        Raises:
            KeyFileError: With code ``key.invalid`` or ``key.weak``.
        """
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
            raise KeyFileError(
                "a public key in hexadecimal has 64 digits", hint="copy the key as a whole"
            )
        return cls(bytes.fromhex(text), label)

    @classmethod
    def from_pem(cls, pem: str | bytes, label: str = "") -> Self:
        """Read a PEM SubjectPublicKeyInfo (RFC 8410) as `openssl pkey -pubout` writes it.

        Raises:
            KeyFileError: With code ``key.invalid``, ``key.unsupported`` or ``key.weak``.
        """
        kind, der = _decode_pem(pem)
        if kind != "PUBLIC KEY":
            raise KeyFileError(
                f"the PEM block is a {kind}, not a PUBLIC KEY", hint="name the public key file"
            )
        if len(der) != len(_SPKI_PREFIX) + PUBLIC_KEY_BYTES or not der.startswith(_SPKI_PREFIX):
            raise KeyFileError(
                "the public key is not an Ed25519 key",
                code="key.unsupported",
                hint=_HINT_ED25519,
            )
        return cls(der[len(_SPKI_PREFIX) :], label)

    @classmethod
    def load(cls, path: str | os.PathLike[str], label: str = "") -> Self:
        """Read a public key from a PEM file of at most 64 KiB.

        Raises:
            KeyFileError: With code ``key.not_found``, ``key.too_large`` or those of `from_pem`.
            IoError: When the operating system refuses.
        """
        data, _ = _PUBLIC_FILE.read(Path(path))
        return cls.from_pem(data, label)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the key to a new PEM file of mode 0644, atomically and never over another file.

        Raises:
            KeyFileError: With code ``key.exists`` or ``key.not_saved``.
        """
        _save(Path(path), self.to_pem().encode(), 0o644)

    def as_bytes(self) -> bytes:
        """Return the 32 raw bytes."""
        return self.key_bytes

    def to_hex(self) -> str:
        """Return the key as 64 lower-case hexadecimal digits."""
        return self.key_bytes.hex()

    def to_der(self) -> bytes:
        """Return the SubjectPublicKeyInfo, 44 bytes of DER."""
        return _SPKI_PREFIX + self.key_bytes

    def to_pem(self) -> str:
        """Return the SubjectPublicKeyInfo in PEM."""
        return _encode_pem("PUBLIC KEY", self.to_der())

    def with_label(self, label: str) -> Self:
        """Return the same key with another label."""
        return replace(self, label=label)

    def __repr__(self) -> str:
        return f"PublicKey.from_hex({self.to_hex()!r}, label={self.label!r})"


class SigningKeyPair:
    """Hold an Ed25519 private key and sign with it.

    The secret is in no ``repr`` and the object refuses to be copied or pickled. Python cannot
    promise to wipe memory: keep the life of the process that holds the key short. Signing is
    deterministic (RFC 8032) and safe from several threads.
    """

    __slots__ = ("_public", "_secret")

    def __init__(self, seed: bytes) -> None:
        if not isinstance(seed, bytes) or len(seed) != _SEED_BYTES:
            raise KeyFileError(
                f"a private key has {_SEED_BYTES} bytes", hint="load it with SigningKeyPair.load"
            )
        public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self._public = PublicKey(public)

    @classmethod
    def generate(cls) -> Self:
        """Make a new pair from the operating system's random numbers."""
        return cls(os.urandom(_SEED_BYTES))

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return the raw 64-byte signature of a message.

        A raw signature is for other tools (``openssl pkeyutl -verify -rawin``). It binds no name
        and no version, so the loader never accepts one: it wants `sign_plugin`'s envelope.
        """
        signed: bytes = bindings.crypto_sign(bytes(message), self._secret)
        return signed[:SIGNATURE_BYTES]

    def to_pem(self, passphrase: str | bytes | None = None, *, unencrypted: bool = False) -> str:
        """Return the private key as PKCS#8 in PEM.

        With a passphrase it is encrypted with AES-256-CBC under a key from PBKDF2-HMAC-SHA512 of
        210 000 iterations (PBES2, RFC 8018), which OpenSSL 1.1 and later read. Plain text must be
        asked for with ``unencrypted=True``.

        Raises:
            KeyFileError: With code ``key.passphrase_needed`` when neither was given, or
                ``key.invalid`` when both were.
        """
        if unencrypted and passphrase is not None:
            raise KeyFileError(
                "a passphrase and unencrypted=True contradict each other", hint="give one of them"
            )
        inner = DerOctetString(self._secret[:_SEED_BYTES]).encode()
        if unencrypted:
            return _encode_pem("PRIVATE KEY", PKCS8.wrap(inner, _OID_ED25519, key_params=None))
        if passphrase is None:
            raise KeyFileError(
                "a private key is written encrypted, and no passphrase was given",
                code="key.passphrase_needed",
                hint="give a passphrase, or ask for plain text: `pluginapi keygen --unencrypted`",
            )
        der = PKCS8.wrap(
            inner,
            _OID_ED25519,
            passphrase=_passphrase_bytes(passphrase),
            protection="PBKDF2WithHMAC-SHA512AndAES256-CBC",
            prot_params={"iteration_count": _PBKDF2_ITERATIONS, "salt_size": _SALT_BYTES},
            key_params=None,
        )
        return _encode_pem("ENCRYPTED PRIVATE KEY", der)

    @classmethod
    def from_pem(cls, pem: str | bytes, passphrase: str | bytes | None = None) -> Self:
        """Read a PKCS#8 private key in PEM, plain or encrypted (PBES2 with PBKDF2).

        Raises:
            KeyFileError: With code ``key.passphrase_needed``, ``key.passphrase`` (wrong, or the
                encrypted part is damaged: the two look the same), ``key.unsupported`` or
                ``key.invalid``.
        """
        kind, der = _decode_pem(pem)
        if kind == "PRIVATE KEY":
            return cls(_seed_of(der))
        if kind != "ENCRYPTED PRIVATE KEY":
            raise KeyFileError(
                f"the PEM block is a {kind}, not a PKCS#8 private key",
                code="key.unsupported",
                hint=_HINT_CONVERT,
            )
        _check_encryption(der)
        if passphrase is None:
            raise KeyFileError(
                "the private key is encrypted and no passphrase was given",
                code="key.passphrase_needed",
                hint="set PLUGINAPI_KEY_PASSPHRASE, or run the command on a terminal to be asked",
            )
        try:
            return cls(_seed_of(der, _passphrase_bytes(passphrase)))
        except KeyFileError as err:
            if err.code != "key.invalid":
                raise
            raise KeyFileError(
                "the passphrase does not open the private key, or the file is damaged",
                code="key.passphrase",
                hint="try the passphrase again; without it the key is lost",
            ) from err

    def save(
        self,
        path: str | os.PathLike[str],
        passphrase: str | bytes | None = None,
        *,
        unencrypted: bool = False,
    ) -> None:
        """Write the private key to a new file of mode 0600, atomically, never over another file.

        Raises:
            KeyFileError: With code ``key.exists``, ``key.not_saved`` or those of `to_pem`.
        """
        _save(Path(path), self.to_pem(passphrase, unencrypted=unencrypted).encode(), 0o600)

    @classmethod
    def load(cls, path: str | os.PathLike[str], passphrase: str | bytes | None = None) -> Self:
        """Read a private key file of at most 64 KiB that only its owner can access.

        Raises:
            KeyFileError: With code ``key.not_found``, ``key.permissions``, ``key.too_large`` or
                those of `from_pem`.
            IoError: When the operating system refuses.
        """
        data, _ = _PRIVATE_FILE.read(Path(path))
        return cls.from_pem(data, passphrase)

    def __repr__(self) -> str:
        return f"<SigningKeyPair {self._public.key_id}>"

    def __reduce__(self) -> NoReturn:
        raise _not_copied()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise _not_copied()

    def __copy__(self) -> NoReturn:
        raise _not_copied()

    def __deepcopy__(self, _memo: object) -> NoReturn:
        raise _not_copied()


_PUBLIC_FILE: Final = FileRules(
    error=KeyFileError,
    prefix="key",
    missing="key.not_found",
    what="public key file",
    limit=MAX_KEY_FILE_BYTES,
    private=False,
    missing_hint=_HINT_KEYGEN,
)
_PRIVATE_FILE: Final = FileRules(
    error=KeyFileError,
    prefix="key",
    missing="key.not_found",
    what="private key file",
    limit=MAX_KEY_FILE_BYTES,
    private=True,
    missing_hint=_HINT_KEYGEN,
)


def _not_copied() -> SecurityError:
    return SecurityError(
        "a private key is neither copied nor pickled",
        code="key.secret",
        hint="load the key file where the key is needed",
    )


def _passphrase_bytes(passphrase: str | bytes) -> bytes:
    # The same keystrokes give the same key whatever form the terminal composes characters in.
    data = (
        unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
        if isinstance(passphrase, str)
        else bytes(passphrase)
    )
    if not 0 < len(data) <= _MAX_PASSPHRASE_BYTES:
        raise KeyFileError(
            f"a passphrase has 1 to {_MAX_PASSPHRASE_BYTES} bytes, not {len(data)}",
            code="key.passphrase_needed",
            hint="choose a passphrase of that length",
        )
    return data


def _save(path: Path, data: bytes, mode: int) -> None:
    try:
        create_file(path, data, mode)
    except FileExistsError as err:
        raise KeyFileError(
            f"{path} exists, and a key is never written over another file",
            code="key.exists",
            hint="choose another name, or move the old file away first",
            path=str(path),
        ) from err
    except OSError as err:
        raise KeyFileError(
            f"the key could not be written to {path}: {err.strerror}",
            code="key.not_saved",
            hint="choose a directory that exists, is writable and has space",
            path=str(path),
        ) from err


def _encode_pem(kind: str, der: bytes) -> str:
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def _decode_pem(pem: str | bytes) -> tuple[str, bytes]:
    data = pem.encode("utf-8", "surrogateescape") if isinstance(pem, str) else bytes(pem)
    if len(data) > MAX_KEY_FILE_BYTES:
        raise KeyFileError(
            f"the PEM text has more than {MAX_KEY_FILE_BYTES} bytes",
            code="key.too_large",
            hint=_HINT_KEYGEN,
        )
    match = _PEM.fullmatch(data)
    if match is None:
        raise KeyFileError("the file is not one PEM block", hint=_HINT_KEYGEN)
    body = match[2].replace(b"\r", b"").replace(b"\n", b"")
    try:
        der = base64.b64decode(body, validate=True)
    except binascii.Error as err:
        raise KeyFileError("the PEM block is not valid base64", hint=_HINT_KEYGEN) from err
    return match[1].decode("ascii"), der


def _seed_of(der: bytes, passphrase: bytes | None = None) -> bytes:
    """Take the 32-byte seed out of a PKCS#8 structure.

    Whatever the ASN.1 decoder trips over is ``key.invalid``.
    """
    try:
        oid, inner, params = PKCS8.unwrap(der, passphrase)[:3]
        seed: bytes = (
            DerOctetString().decode(inner, strict=True).payload if oid == _OID_ED25519 else b""
        )
    except (ValueError, IndexError, TypeError) as err:
        raise KeyFileError("the private key is not a PKCS#8 structure", hint=_HINT_KEYGEN) from err
    if oid != _OID_ED25519:
        raise KeyFileError(
            f"the private key is of the algorithm {oid}, not Ed25519",
            code="key.unsupported",
            hint=_HINT_ED25519,
        )
    if params is not None or len(seed) != _SEED_BYTES:
        raise KeyFileError("the private key is not an Ed25519 key of RFC 8410", hint=_HINT_KEYGEN)
    return seed


def _check_encryption(der: bytes) -> None:
    """Refuse any encryption but PBES2 with PBKDF2, and more iterations than a key file needs."""
    try:
        algorithm = DerSequence().decode(DerSequence().decode(der, nr_elements=2)[0])
        scheme = DerObjectId().decode(algorithm[0]).value
        if scheme == _OID_PBES2:
            kdf = DerSequence().decode(DerSequence().decode(algorithm[1], nr_elements=2)[0])
            scheme = DerObjectId().decode(kdf[0]).value
            iterations = DerSequence().decode(kdf[1])[1] if scheme == _OID_PBKDF2 else None
        else:
            iterations = None
    except (ValueError, IndexError, TypeError) as err:
        raise KeyFileError(
            "the encrypted private key is not a PKCS#8 structure", hint=_HINT_KEYGEN
        ) from err
    if iterations is None:
        raise KeyFileError(
            f"the private key is encrypted by the method {scheme}, not PBES2 with PBKDF2",
            code="key.unsupported",
            hint=_HINT_CONVERT,
        )
    if not isinstance(iterations, int) or not 1 <= iterations <= _MAX_PBKDF2_ITERATIONS:
        raise KeyFileError(
            f"the key file asks for an iteration count outside 1 to {_MAX_PBKDF2_ITERATIONS}",
            code="key.unsupported",
            hint=_HINT_CONVERT,
        )
