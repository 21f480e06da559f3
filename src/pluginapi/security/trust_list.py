r"""The trust list: an encrypted, authenticated, versioned file of what may be loaded.

File format 1, integers little-endian::

    offset size
         0   16  magic  \x89PLUGINAPI-TRL\r\n
        16    1  format version, 1
        17    1  key derivation: 0 raw key, 1 Argon2id 1.3
        18    2  reserved, 0
        20    4  Argon2id passes
        24    4  Argon2id memory in KiB
        28   16  Argon2id salt
        44   16  list id, random, made once
        60    8  counter, one more with every save
        68   24  nonce, random with every save
        92       XChaCha20-Poly1305 of the content, 16 bytes of tag at the end

The 92 bytes in front are associated data of the encryption, so no bit of the file can change
without notice. The content is JSON of typed entries. A list that cannot be opened is an error and
never an empty list.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from pluginapi.errors import TrustListError
from pluginapi.security.files import (
    FileLock,
    FileRules,
    create_file,
    make_private_directory,
    replace_file,
)
from pluginapi.security.keys import PublicKey
from pluginapi.security.marks import SeenLists, default_state_dir
from pluginapi.security.trust_entries import (
    ListedKey,
    RevokedHash,
    RevokedKey,
    TrustedPluginEntry,
)
from pluginapi.security.trust_key import DerivedKeys, KdfParameters, TrustKey

__all__ = ["MAX_TRUST_LIST_BYTES", "TrustList"]

MAX_TRUST_LIST_BYTES: Final = 16 * 1024 * 1024
LOCK_SECONDS: Final = 10.0

_MAGIC: Final = b"\x89PLUGINAPI-TRL\r\n"
_FORMAT: Final = 1
_HEADER: Final = struct.Struct("<16sBBHII16s16sQ24s")
_ID_BYTES: Final = 16
_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_MAX_COUNTER: Final = 2**64 - 1

_RULES: Final = FileRules(
    error=TrustListError,
    prefix="trust_list",
    missing="trust_list.missing",
    what="trust list",
    limit=MAX_TRUST_LIST_BYTES,
    private=True,
    missing_hint="make one with `pluginapi trust init`, or name the right file",
)
_HINT_BACKUP: Final = "put back an unchanged copy and accept it with `pluginapi trust restore`"

_Entry = TypeVar("_Entry")


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plugins: list[TrustedPluginEntry]
    keys: list[ListedKey]
    revoked_keys: list[RevokedKey]
    revoked_hashes: list[RevokedHash]


@dataclass(frozen=True, slots=True)
class _Header:
    parameters: KdfParameters
    list_id: bytes
    counter: int
    nonce: bytes

    def encode(self) -> bytes:
        kdf = self.parameters
        return _HEADER.pack(
            _MAGIC,
            _FORMAT,
            kdf.kdf,
            0,
            kdf.ops,
            kdf.memory_kib,
            kdf.salt,
            self.list_id,
            self.counter,
            self.nonce,
        )

    @classmethod
    def decode(cls, data: bytes, path: Path) -> Self:
        if data[: len(_MAGIC)] != _MAGIC[: len(data)] or not data:
            raise _damaged("trust_list.format", f"{path} does not begin as a trust list does")
        if len(data) < _HEADER.size + _TAG_BYTES:
            raise _damaged("trust_list.truncated", f"{path} ends after {len(data)} bytes")
        _, version, kdf, reserved, ops, memory, salt, list_id, counter, nonce = _HEADER.unpack_from(
            data
        )
        if version != _FORMAT:
            raise TrustListError(
                f"{path} is of format {version}, and this version reads format {_FORMAT}",
                code="trust_list.version",
                hint="upgrade pluginapi, or " + _HINT_BACKUP,
            )
        if reserved:
            raise _damaged("trust_list.format", f"{path} has reserved header bytes set")
        return cls(KdfParameters(kdf, ops, memory, salt), list_id, counter, nonce)


class TrustList:
    """Hold the content of one trust list file, as it was when it was read.

    `load` reads one, `update` changes one on disk, `create` makes one. The entries can be looked
    at as mappings; the methods that change them do so in memory only, until `save`. An instance
    belongs to one thread while it is being changed; reading is safe from several.
    """

    def __init__(self, path: Path, parameters: KdfParameters, list_id: bytes) -> None:
        self._path = path
        self._parameters = parameters
        self._list_id = list_id
        self._counter = 0
        self._plugins: dict[str, TrustedPluginEntry] = {}
        self._keys: dict[str, ListedKey] = {}
        self._revoked_keys: dict[str, RevokedKey] = {}
        self._revoked_hashes: dict[str, RevokedHash] = {}

    # -- Files

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], key: TrustKey, *, state_dir: Path | None = None
    ) -> Self:
        """Make a new, empty list; its directory is made with mode 0700 when it is missing.

        Raises:
            TrustListError: With code ``trust_list.exists``, ``trust_list.not_saved`` or
                ``trust_list.state``.
        """
        where = _absolute(path)
        seen = _seen(state_dir)
        parameters = key.new_parameters()
        self = cls(where, parameters, os.urandom(_ID_BYTES))
        keys = key.derive(parameters, self._list_id)
        seen.prepare()
        try:
            make_private_directory(where.parent)
            with _locked(where, LOCK_SECONDS):
                create_file(where, self._encrypt(keys, 1), 0o600)
                self._counter = 1
                seen.accept(where, self._list_id, 1, keys.mark)
        except FileExistsError as err:
            raise TrustListError(
                f"{where} exists, and a new trust list is never written over another file",
                code="trust_list.exists",
                hint="use it, or move it away first",
                path=str(where),
            ) from err
        except OSError as err:
            raise _not_saved(where, err) from err
        return self

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], key: TrustKey, *, state_dir: Path | None = None
    ) -> Self:
        """Read a list, check that it is not older than one seen before, and remember it.

        Args:
            path: The file; at most 16 MiB and accessible to its owner only.
            key: What opens it.
            state_dir: Where to remember what was seen; `default_state_dir` when None. Keep it
                where whoever can write the list cannot.

        Raises:
            TrustListError: With one of the ``trust_list.`` codes. A wrong key and a damaged file
                cannot be told apart (``trust_list.cannot_decrypt``) unless the header shows it.
            IoError: When the operating system refuses.
        """
        where = _absolute(path)
        seen = _seen(state_dir)
        self, keys = cls._read(where, key, seen)
        seen.check(where, self._list_id, self._counter, keys.mark)
        return self

    @classmethod
    def update(
        cls,
        path: str | os.PathLike[str],
        key: TrustKey,
        change: Callable[[Self], object],
        *,
        state_dir: Path | None = None,
        lock_timeout: float = LOCK_SECONDS,
    ) -> Self:
        """Read a list, change it and save it, with every other writer kept out.

        When `change` raises, nothing is saved. The new list is returned.

        Raises:
            TrustListError: As `load`; ``trust_list.locked`` when another writer holds the list for
                longer than `lock_timeout` seconds; ``trust_list.not_saved`` when the new list
                cannot be written, in which case the old one is intact.
        """
        where = _absolute(path)
        seen = _seen(state_dir)
        _read_bytes(where, seen)
        with _locked(where, lock_timeout):
            self, keys = cls._read(where, key, seen)
            seen.check(where, self._list_id, self._counter, keys.mark)
            change(self)
            self._write(keys, self._counter + 1, seen)
        return self

    @classmethod
    def restore(
        cls, path: str | os.PathLike[str], key: TrustKey, *, state_dir: Path | None = None
    ) -> Self:
        """Accept the list that stands at the path, although it is older or another than before.

        It is saved again with a counter above every one that was seen. Entries removed and
        revocations made since that copy are lost: look through `to_dict` afterwards.

        Raises:
            TrustListError: As `load`, but for ``trust_list.rolled_back``, ``trust_list.replaced``
                and ``trust_list.state``.
        """
        where = _absolute(path)
        seen = _seen(state_dir)
        _read_bytes(where, seen)
        with _locked(where, LOCK_SECONDS):
            self, keys = cls._read(where, key, seen)
            highest = max(self._counter, seen.highest(self._list_id, keys.mark))
            self._write(keys, highest + 1, seen)
        return self

    def save(self, key: TrustKey, *, state_dir: Path | None = None) -> None:
        """Write this list, if the file is still the one that it was read from.

        Raises:
            TrustListError: ``trust_list.conflict`` when somebody saved in the meantime; else as
                `update`.
        """
        seen = _seen(state_dir)
        _read_bytes(self._path, seen)
        with _locked(self._path, LOCK_SECONDS):
            current, keys = self._read(self._path, key, seen)
            seen.check(self._path, current._list_id, current._counter, keys.mark)  # noqa: SLF001 - the same class
            if (current._list_id, current._counter) != (self._list_id, self._counter):  # noqa: SLF001 - the same class
                raise TrustListError(
                    f"{self._path} was changed by somebody else since it was read",
                    code="trust_list.conflict",
                    hint="read the list again and repeat the change",
                    path=str(self._path),
                )
            self._write(keys, self._counter + 1, seen)

    # -- Content

    @property
    def path(self) -> Path:
        """The absolute path of the file."""
        return self._path

    @property
    def list_id(self) -> str:
        """The id that the list got when it was made, 32 hexadecimal digits."""
        return self._list_id.hex()

    @property
    def counter(self) -> int:
        """How many times the list was saved."""
        return self._counter

    @property
    def plugins(self) -> Mapping[str, TrustedPluginEntry]:
        """The trusted plugins by hash."""
        return MappingProxyType(self._plugins)

    @property
    def keys(self) -> Mapping[str, ListedKey]:
        """The accepted keys by key id."""
        return MappingProxyType(self._keys)

    @property
    def revoked_keys(self) -> Mapping[str, RevokedKey]:
        """The revoked keys by key id."""
        return MappingProxyType(self._revoked_keys)

    @property
    def revoked_hashes(self) -> Mapping[str, RevokedHash]:
        """The revoked files by hash."""
        return MappingProxyType(self._revoked_hashes)

    def add_plugin(self, entry: TrustedPluginEntry) -> None:
        """Add a plugin, or replace the entry of the same file.

        Raises:
            TrustListError: ``trust.hash_revoked`` when the file is revoked.
        """
        if entry.hash in self._revoked_hashes:
            raise TrustListError(
                f"the file {entry.hash[:16]}... of {entry.name} is revoked, and that is final",
                code="trust.hash_revoked",
                plugin=entry.name,
                hint="install another release of the plugin; see `pluginapi trust list`",
            )
        self._plugins[entry.hash] = entry

    def remove_plugin(self, sha3_512: str) -> TrustedPluginEntry:
        """Remove a plugin and return its entry.

        Raises:
            TrustListError: ``trust.not_found``.
        """
        return _pop(self._plugins, sha3_512, "plugin with the hash")

    def add_key(self, key: PublicKey, *, note: str = "") -> None:
        """Accept the signatures of a key, or replace its label and note.

        Raises:
            TrustListError: ``key.revoked`` when the key is revoked.
        """
        if key.key_id in self._revoked_keys:
            raise TrustListError(
                f"the key {key.key_id} is revoked, and that is final",
                code="key.revoked",
                hint="make a new key with `pluginapi keygen`; see `pluginapi trust list`",
            )
        self._keys[key.key_id] = ListedKey(key=key.to_hex(), label=key.label, note=note)

    def remove_key(self, key: PublicKey | str) -> ListedKey:
        """Stop accepting a key, given itself or its id, and return its entry.

        Raises:
            TrustListError: ``trust.not_found``.
        """
        return _pop(self._keys, key if isinstance(key, str) else key.key_id, "key")

    def revoke_key(self, key: PublicKey | str, reason: str = "") -> None:
        """Refuse everything a key signed, for ever; the first reason and time stay."""
        key_id = key if isinstance(key, str) else key.key_id
        self._revoked_keys.setdefault(key_id, RevokedKey(key_id=key_id, reason=reason))

    def revoke_hash(self, sha3_512: str, reason: str = "") -> None:
        """Refuse a file for ever; the first reason and time stay."""
        self._revoked_hashes.setdefault(sha3_512, RevokedHash(hash=sha3_512, reason=reason))

    def to_dict(self) -> dict[str, Any]:
        """Return the content as JSON-representable values; no secret is among them."""
        content: dict[str, Any] = msgspec.to_builtins(self._content())
        keys = [{"key_id": entry.key_id, **entry_dict(entry)} for entry in self._keys.values()]
        return {
            "path": str(self._path),
            "list_id": self.list_id,
            "counter": self._counter,
            **content,
            "keys": keys,
        }

    def __repr__(self) -> str:
        return (
            f"<TrustList {self._path} counter={self._counter} "
            f"plugins={len(self._plugins)} keys={len(self._keys)}>"
        )

    # -- Encoding

    def _content(self) -> _Content:
        return _Content(
            list(self._plugins.values()),
            list(self._keys.values()),
            list(self._revoked_keys.values()),
            list(self._revoked_hashes.values()),
        )

    def _encrypt(self, keys: DerivedKeys, counter: int) -> bytes:
        if counter > _MAX_COUNTER:
            raise _damaged("trust_list.invalid", f"the counter of {self._path} is exhausted")
        nonce = os.urandom(_NONCE_BYTES)
        header = _Header(self._parameters, self._list_id, counter, nonce).encode()
        sealed: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            msgspec.json.encode(self._content()), header, nonce, keys.encryption
        )
        if len(header) + len(sealed) > MAX_TRUST_LIST_BYTES:
            raise TrustListError(
                f"the trust list would have more than {MAX_TRUST_LIST_BYTES} bytes",
                code="trust_list.too_large",
                hint="remove plugins that are no longer used with `pluginapi trust remove`",
            )
        return header + sealed

    @classmethod
    def _read(cls, path: Path, key: TrustKey, seen: SeenLists) -> tuple[Self, DerivedKeys]:
        data = _read_bytes(path, seen)
        header = _Header.decode(data, path)
        keys = key.derive(header.parameters, header.list_id)
        try:
            plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                data[_HEADER.size :], data[: _HEADER.size], header.nonce, keys.encryption
            )
        except CryptoError as err:
            raise TrustListError(
                f"{path} cannot be opened: the key or passphrase is wrong, or the file is damaged",
                code="trust_list.cannot_decrypt",
                hint="try the passphrase again; if it is right, " + _HINT_BACKUP,
                path=str(path),
            ) from err
        self = cls(path, header.parameters, header.list_id)
        self._counter = header.counter
        self._fill(plain)
        return self, keys

    def _fill(self, plain: bytes) -> None:
        try:
            content = msgspec.json.decode(plain, type=_Content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TrustListError) as err:
            raise _damaged(
                "trust_list.invalid", f"{self._path} was decrypted, but its content is malformed"
            ) from err
        self._plugins = {entry.hash: entry for entry in content.plugins}
        self._keys = {entry.key_id: entry for entry in content.keys}
        self._revoked_keys = {entry.key_id: entry for entry in content.revoked_keys}
        self._revoked_hashes = {entry.hash: entry for entry in content.revoked_hashes}

    def _write(self, keys: DerivedKeys, counter: int, seen: SeenLists) -> None:
        data = self._encrypt(keys, counter)
        # Nothing is saved whose counter could not be remembered afterwards.
        seen.prepare()
        try:
            # A link to the list stays a link; what it names is replaced.
            replace_file(Path(os.path.realpath(self._path)), data, 0o600)
        except OSError as err:
            raise _not_saved(self._path, err) from err
        self._counter = counter
        seen.accept(self._path, self._list_id, counter, keys.mark)


def entry_dict(entry: msgspec.Struct) -> dict[str, Any]:
    """Return an entry as JSON-representable values."""
    fields: dict[str, Any] = msgspec.to_builtins(entry)
    return fields


def _absolute(path: str | os.PathLike[str]) -> Path:
    # Not resolved: the pin is on the name that the operator gave, wherever it may lead.
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", resolve follows


def _seen(state_dir: Path | None) -> SeenLists:
    return SeenLists(default_state_dir() if state_dir is None else state_dir)


def _read_bytes(path: Path, seen: SeenLists) -> bytes:
    try:
        return _RULES.read(path)[0]
    except TrustListError as err:
        if err.code != "trust_list.missing" or not seen.was_seen(path):
            raise
        raise TrustListError(
            f"the trust list {path} is gone; there was one before",
            code="trust_list.missing",
            hint=_HINT_BACKUP + ", or begin anew with `pluginapi trust init`",
            path=str(path),
        ) from err


@contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
    def timed_out() -> TrustListError:
        return TrustListError(
            f"another process held the trust list {path} for {timeout:g} seconds",
            code="trust_list.locked",
            hint=f"try again; if it lasts, find the process with `fuser {path}.lock`",
            path=str(path),
        )

    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path.with_name(path.name + ".lock"), timeout, timed_out))
        except OSError as err:
            raise _not_saved(path, err) from err
        yield


def _pop(entries: dict[str, _Entry], name: str, what: str) -> _Entry:
    try:
        return entries.pop(name)
    except KeyError as err:
        raise TrustListError(
            f"the trust list has no {what} {name}",
            code="trust.not_found",
            hint="see what it has with `pluginapi trust list`",
        ) from err


def _damaged(code: str, message: str) -> TrustListError:
    return TrustListError(message, code=code, hint=_HINT_BACKUP)


def _not_saved(path: Path, err: OSError) -> TrustListError:
    return TrustListError(
        f"the trust list {path} could not be written: {err.strerror}; what was there is intact",
        code="trust_list.not_saved",
        hint="make space, or make the directory writable, and repeat the command",
        path=str(path),
    )
