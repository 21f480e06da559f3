"""What opens a trust list: a passphrase (Argon2id, RFC 9106) or 32 raw bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Self

from nacl import bindings

from pluginapi.errors import SecurityError, TrustListError
from pluginapi.security.files import FileRules

__all__ = ["KDF_ARGON2ID", "KDF_NONE", "SALT_BYTES", "DerivedKeys", "KdfParameters", "TrustKey"]

KDF_NONE: Final = 0
KDF_ARGON2ID: Final = 1
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32

# The upper bounds keep a hostile header from taking the machine's memory or minutes of its time.
MIN_OPS: Final = 1
MAX_OPS: Final = 16
MIN_MEMORY_KIB: Final = 8 * 1024
MAX_MEMORY_KIB: Final = 1024 * 1024
DEFAULT_OPS: Final = 3
DEFAULT_MEMORY_KIB: Final = 64 * 1024
_MAX_PASSPHRASE_BYTES: Final = 1024
_MAX_CACHED: Final = 8

_ENCRYPT_PERSON: Final = b"pluginapi-tl-enc"
_MARK_PERSON: Final = b"pluginapi-tl-mrk"


@dataclass(frozen=True, slots=True)
class KdfParameters:
    """How the key of one trust list is derived; stands in its header.

    Attributes:
        kdf: `KDF_NONE` for a raw key, `KDF_ARGON2ID` for a passphrase.
        ops: Argon2id passes, 1 to 16; 0 for a raw key.
        memory_kib: Argon2id memory, 8 MiB to 1 GiB in KiB; 0 for a raw key.
        salt: 16 bytes; zeros for a raw key.

    Raises:
        TrustListError: With code ``trust_list.kdf`` when a value is out of bounds.
    """

    kdf: int
    ops: int
    memory_kib: int
    salt: bytes

    def __post_init__(self) -> None:
        if self.kdf == KDF_NONE:
            if self.ops or self.memory_kib or any(self.salt):
                raise _bad_kdf("a raw key has no derivation parameters, and some are set")
        elif self.kdf != KDF_ARGON2ID:
            raise _bad_kdf(f"key derivation {self.kdf} is not known")
        elif not MIN_OPS <= self.ops <= MAX_OPS:
            raise _bad_kdf(f"{self.ops} passes are not {MIN_OPS} to {MAX_OPS}")
        elif not MIN_MEMORY_KIB <= self.memory_kib <= MAX_MEMORY_KIB:
            raise _bad_kdf(
                f"{self.memory_kib} KiB of memory are not {MIN_MEMORY_KIB} to {MAX_MEMORY_KIB}"
            )


@dataclass(frozen=True, slots=True, repr=False)
class DerivedKeys:
    """The two keys of one trust list: for its encryption and for the record of its counter."""

    encryption: bytes
    mark: bytes


class TrustKey:
    """Hold what opens a trust list and derive its keys.

    Make one with `from_passphrase`, `from_bytes`, `from_hex`, `from_base64` or `generate`. A
    derived key is kept, so that Argon2id runs once per list. The secret is in no ``repr`` and the
    object refuses to be copied or pickled. Safe to use from several threads.
    """

    __slots__ = ("_cache", "_kdf", "_lock", "_memory_kib", "_ops", "_secret")

    def __init__(self, secret: bytes, kdf: int, ops: int, memory_kib: int) -> None:
        self._secret = secret
        self._kdf = kdf
        self._ops = ops
        self._memory_kib = memory_kib
        self._cache: dict[KdfParameters, bytes] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_passphrase(
        cls,
        passphrase: str | bytes,
        *,
        ops: int = DEFAULT_OPS,
        memory_kib: int = DEFAULT_MEMORY_KIB,
    ) -> Self:
        """Use a passphrase of 1 to 1024 bytes, stretched with Argon2id.

        The parameters count for lists that are made with this key; a list that exists has its own
        in its header. The default is 3 passes over 64 MiB in one lane; RFC 9106 recommends
        these for machines with little memory, with four lanes, which libsodium does not have.

        Raises:
            TrustListError: With code ``trust_list.key_invalid`` or ``trust_list.kdf``.
        """
        data = (
            unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
            if isinstance(passphrase, str)
            else bytes(passphrase)
        )
        if not 0 < len(data) <= _MAX_PASSPHRASE_BYTES:
            raise _bad_key(f"a passphrase has 1 to {_MAX_PASSPHRASE_BYTES} bytes, not {len(data)}")
        KdfParameters(KDF_ARGON2ID, ops, memory_kib, bytes(SALT_BYTES))
        return cls(data, KDF_ARGON2ID, ops, memory_kib)

    @classmethod
    def from_bytes(cls, key: bytes) -> Self:
        """Use 32 random bytes, for example from a key management service.

        Raises:
            TrustListError: With code ``trust_list.key_invalid``.
        """
        if len(key) != KEY_BYTES:
            raise _bad_key(f"a raw key has {KEY_BYTES} bytes, not {len(key)}")
        return cls(bytes(key), KDF_NONE, 0, 0)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Use 32 random bytes written as 64 hexadecimal digits.

        Raises:
            TrustListError: With code ``trust_list.key_invalid``; the text is not quoted in it.
        """
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
            raise _bad_key("a raw key in hexadecimal has 64 digits")
        return cls.from_bytes(bytes.fromhex(text))

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Use 32 random bytes written in standard base64 with padding.

        Raises:
            TrustListError: With code ``trust_list.key_invalid``; the text is not quoted in it.
        """
        try:
            return cls.from_bytes(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as err:
            # The decoder's own words could quote the secret.
            raise _bad_key("the raw key is not valid base64") from err

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, raw: bool = False) -> Self:
        """Read a passphrase, or 32 raw bytes, from a file that only its owner can access.

        One line end after a passphrase is not part of it.

        Raises:
            TrustListError: With code ``trust_list.key_not_found``, ``trust_list.permissions``,
                ``trust_list.too_large`` or ``trust_list.key_invalid``.
            IoError: When the operating system refuses.
        """
        data, _ = _KEY_FILE.read(Path(path))
        if raw:
            return cls.from_bytes(data)
        return cls.from_passphrase(data.removesuffix(b"\n").removesuffix(b"\r"))

    @classmethod
    def generate(cls) -> Self:
        """Make a raw key from the operating system's random numbers."""
        return cls.from_bytes(os.urandom(KEY_BYTES))

    def to_hex(self) -> str:
        """Return a raw key in hexadecimal, to be stored where secrets are kept.

        Raises:
            TrustListError: With code ``trust_list.key_kind`` for a passphrase.
        """
        if self._kdf != KDF_NONE:
            raise _wrong_kind("a passphrase has no hexadecimal form")
        return self._secret.hex()

    def new_parameters(self) -> KdfParameters:
        """Return the derivation parameters for a new list, with a fresh salt for a passphrase."""
        salt = os.urandom(SALT_BYTES) if self._kdf == KDF_ARGON2ID else bytes(SALT_BYTES)
        return KdfParameters(self._kdf, self._ops, self._memory_kib, salt)

    def derive(self, parameters: KdfParameters, list_id: bytes) -> DerivedKeys:
        """Return the keys of the list with this id.

        Takes the time and memory that the parameters ask for when they are new to this object.

        Raises:
            TrustListError: With code ``trust_list.key_kind`` when the list wants a passphrase and
                this is a raw key, or the other way round; with ``trust_list.kdf`` when the memory
                that its header asks for cannot be had.
        """
        if parameters.kdf != self._kdf:
            wants, given = ("a passphrase", "a raw key")
            if parameters.kdf == KDF_NONE:
                wants, given = given, wants
            raise _wrong_kind(f"the trust list is locked with {wants}, and {given} was given")
        with self._lock:
            master = self._cache.get(parameters)
            if master is None:
                if len(self._cache) >= _MAX_CACHED:
                    self._cache.clear()
                master = self._cache[parameters] = self._stretch(parameters)
        return DerivedKeys(
            encryption=_subkey(master, _ENCRYPT_PERSON, list_id),
            mark=_subkey(master, _MARK_PERSON, list_id),
        )

    def _stretch(self, parameters: KdfParameters) -> bytes:
        if parameters.kdf == KDF_NONE:
            return self._secret
        try:
            key: bytes = bindings.crypto_pwhash_alg(
                KEY_BYTES,
                self._secret,
                parameters.salt,
                parameters.ops,
                parameters.memory_kib * 1024,
                bindings.crypto_pwhash_ALG_ARGON2ID13,
            )
        except (RuntimeError, MemoryError) as err:
            raise _bad_kdf(f"{parameters.memory_kib} KiB of memory could not be had") from err
        return key

    def __repr__(self) -> str:
        return "<TrustKey passphrase>" if self._kdf == KDF_ARGON2ID else "<TrustKey raw>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise SecurityError(
            "a trust list key is neither copied nor pickled",
            code="key.secret",
            hint="make it again where it is needed",
        )


_KEY_FILE: Final = FileRules(
    error=TrustListError,
    prefix="trust_list",
    missing="trust_list.key_not_found",
    what="key file of the trust list",
    limit=_MAX_PASSPHRASE_BYTES + 2,
    private=True,
    missing_hint="create it, or name the right file",
)


def _subkey(master: bytes, person: bytes, list_id: bytes) -> bytes:
    return hashlib.blake2b(key=master, person=person, salt=list_id, digest_size=32).digest()


def _bad_kdf(reason: str) -> TrustListError:
    return TrustListError(
        f"the key derivation parameters of the trust list are out of bounds: {reason}",
        code="trust_list.kdf",
        hint="put back an unchanged copy of the file and run `pluginapi trust restore`",
    )


def _bad_key(reason: str) -> TrustListError:
    return TrustListError(
        reason,
        code="trust_list.key_invalid",
        hint="give the passphrase, or the file that `pluginapi trust init --new-key-file` wrote",
    )


def _wrong_kind(reason: str) -> TrustListError:
    return TrustListError(
        reason,
        code="trust_list.key_kind",
        hint="give what `pluginapi trust init` was given: a passphrase or a raw key",
    )
