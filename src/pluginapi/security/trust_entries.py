"""What a trust list holds: plugins, keys and revocations."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

import msgspec

from pluginapi.errors import InvalidManifest, KeyFileError, TrustListError
from pluginapi.manifest import check_name
from pluginapi.security.hashing import is_sha3_512
from pluginapi.security.keys import PublicKey
from pluginapi.security.timestamps import is_timestamp, timestamp
from pluginapi.version import PluginVersion

__all__ = ["ListedKey", "RevokedHash", "RevokedKey", "TrustLevel", "TrustedPluginEntry"]

_KEY_ID: Final = re.compile(r"[0-9a-f]{32}")
_MAX_NOTE_CHARS: Final = 1024


class TrustLevel(IntEnum):
    """How far a plugin is trusted; a higher level is a greater number."""

    UNTRUSTED = 0
    TRUSTED = 1


class TrustedPluginEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One plugin file that may be loaded.

    Attributes:
        hash: SHA3-512 of the file, 128 lower-case hexadecimal digits.
        name: The plugin's name; must be the one in its manifest.
        version: The plugin's version; must be the one in its manifest.
        key_id: Id of the key that must have signed it.
        note: Free text, at most 1024 characters.
        added_at: RFC 3339 UTC in whole seconds; now when it is not given.

    Raises:
        TrustListError: With code ``trust.entry_invalid`` when a field is out of bounds.
    """

    hash: str
    name: str
    version: str
    key_id: str
    note: str = ""
    added_at: str = msgspec.field(default_factory=timestamp)

    def __post_init__(self) -> None:
        _check_hash(self.hash)
        _check_key_id(self.key_id)
        _check_note("note", self.note)
        _check_time(self.added_at)
        try:
            check_name(self.name)
            PluginVersion.parse(self.version)
        except InvalidManifest as err:
            raise _invalid(err.message) from err


class ListedKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key whose signatures are accepted.

    Attributes:
        key: The 32 bytes in lower-case hexadecimal.
        label: A name for people, at most 128 characters.
        note: Free text, at most 1024 characters.
        added_at: RFC 3339 UTC in whole seconds; now when it is not given.

    Raises:
        TrustListError: With code ``trust.entry_invalid`` when a field is out of bounds.
    """

    key: str
    label: str = ""
    note: str = ""
    added_at: str = msgspec.field(default_factory=timestamp)

    def __post_init__(self) -> None:
        _check_note("note", self.note)
        _check_time(self.added_at)
        try:
            public_key = self.public_key
        except KeyFileError as err:
            raise _invalid(err.message) from err
        if public_key.to_hex() != self.key:
            raise _invalid("a key is not in lower-case hexadecimal")

    @property
    def public_key(self) -> PublicKey:
        """The key with its label."""
        return PublicKey.from_hex(self.key, self.label)

    @property
    def key_id(self) -> str:
        """The id of the key."""
        return self.public_key.key_id


class RevokedKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key whose signatures are refused for ever.

    Raises:
        TrustListError: With code ``trust.entry_invalid`` when a field is out of bounds.
    """

    key_id: str
    reason: str = ""
    revoked_at: str = msgspec.field(default_factory=timestamp)

    def __post_init__(self) -> None:
        _check_key_id(self.key_id)
        _check_note("reason", self.reason)
        _check_time(self.revoked_at)


class RevokedHash(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file that is refused for ever.

    Raises:
        TrustListError: With code ``trust.entry_invalid`` when a field is out of bounds.
    """

    hash: str
    reason: str = ""
    revoked_at: str = msgspec.field(default_factory=timestamp)

    def __post_init__(self) -> None:
        _check_hash(self.hash)
        _check_note("reason", self.reason)
        _check_time(self.revoked_at)


def _check_hash(text: str) -> None:
    if not is_sha3_512(text):
        raise _invalid("a hash is not 128 lower-case hexadecimal digits")


def _check_key_id(text: str) -> None:
    if not _KEY_ID.fullmatch(text):
        raise _invalid("a key id is not 32 lower-case hexadecimal digits")


def _check_note(what: str, text: str) -> None:
    if len(text) > _MAX_NOTE_CHARS:
        raise _invalid(f"a {what} has more than {_MAX_NOTE_CHARS} characters")
    if not all(char.isprintable() or char in "\n\t" for char in text):
        raise _invalid(f"a {what} holds a control character")


def _check_time(text: str) -> None:
    if not is_timestamp(text):
        raise _invalid("a time is not RFC 3339 in UTC and whole seconds")


def _invalid(reason: str) -> TrustListError:
    return TrustListError(
        f"an entry for the trust list is malformed: {reason}",
        code="trust.entry_invalid",
        hint="take hash, name, version and key id from `pluginapi inspect FILE`",
    )
