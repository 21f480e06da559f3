"""`PluginSecurity`: judge plugin files by hash, signature, trust list and policy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from pluginapi.errors import TrustListError, UntrustedPlugin
from pluginapi.manifest import PluginManifest
from pluginapi.security.checks import Facts, Judging, VerifiableFile
from pluginapi.security.ed25519 import verify
from pluginapi.security.hashing import hash_file
from pluginapi.security.keys import PublicKey
from pluginapi.security.policy import SecurityPolicy
from pluginapi.security.trust_entries import TrustedPluginEntry, TrustLevel
from pluginapi.security.trust_key import TrustKey
from pluginapi.security.trust_list import TrustList
from pluginapi.security.verdict import Verdict

__all__ = ["PluginSecurity"]


class PluginSecurity:
    """Judge plugin files, and keep the trust list they are judged by.

    There are two tiers of plugins and of keys: *hardcoded*, given here by the host, which nothing
    but a revocation can take away; and *user*, in the encrypted trust list. The list is read again
    whenever its file changed, so that a revocation by another process counts at once. A list that
    cannot be read is an error: nothing is judged without it.

    All methods may be called from several threads.

    Args:
        policy: What is demanded.
        trust_key: What opens the trust list.
        hardcoded_trusted_plugins: Plugins that are trusted without the list.
        hardcoded_public_keys: Keys that are accepted without the list.
        state_dir: Where to remember which lists were seen; see `TrustList.load`.
    """

    def __init__(
        self,
        policy: SecurityPolicy | None = None,
        *,
        trust_key: TrustKey | None = None,
        hardcoded_trusted_plugins: Iterable[TrustedPluginEntry] = (),
        hardcoded_public_keys: Iterable[PublicKey] = (),
        state_dir: Path | None = None,
    ) -> None:
        self._policy = SecurityPolicy() if policy is None else policy
        self._trust_key = trust_key
        self._plugins = {entry.hash: entry for entry in hardcoded_trusted_plugins}
        self._keys = {key.key_id: key for key in hardcoded_public_keys}
        self._state_dir = state_dir
        self._lock = threading.RLock()
        self._list: TrustList | None = None
        self._stamp: tuple[int, ...] | None = None
        self._known: Facts | None = None

    # -- Judging

    def initialize(self) -> None:
        """Read the trust list now, rather than when the first plugin is judged.

        Raises:
            TrustListError: When there is a path in the policy and no list, no key, or the list
                cannot be opened (see `TrustList.load`).
        """
        self._current()

    def verify(self, file: VerifiableFile, manifest: PluginManifest) -> Verdict:
        """Judge a plugin file and return the verdict; a refusal is a verdict, not an error.

        Raises:
            TrustListError: When the trust list cannot be read, so that no verdict is possible.
        """
        return self.verify_many([(file, manifest)])[0]

    def verify_many(
        self, plugins: Iterable[tuple[VerifiableFile, PluginManifest]]
    ) -> list[Verdict]:
        """Judge many plugin files, verifying all of their signatures in one batch.

        Each verdict is the one that `verify` returns for that file alone.

        Raises:
            TrustListError: When the trust list cannot be read, so that no verdict is possible.
        """
        judging = self.judging()
        for file, manifest in plugins:
            judging.add(file, manifest)
        return judging.verdicts()

    def judging(self) -> Judging:
        """Return what `verify_many` is made of, for files that come one after the other.

        The facts are those of this moment: the trust list is not looked at again.

        Raises:
            TrustListError: When the trust list cannot be read, so that no verdict is possible.
        """
        return Judging(self._facts())

    def require(self, file: VerifiableFile, manifest: PluginManifest) -> Verdict:
        """Judge a plugin file and return the verdict if it may be loaded.

        Raises:
            InvalidSignature: For a signature that is malformed, does not match or does not verify.
            UntrustedPlugin: For everything else that is missing or revoked.
            SecurityError: When the policy itself refuses.
            TrustListError: When the trust list cannot be read.
        """
        verdict = self.verify(file, manifest)
        verdict.raise_if_refused()
        return verdict

    def verify_plugin(self, path: str | os.PathLike[str]) -> Verdict:
        """Read a plugin file, run none of it, and return the verdict.

        Raises:
            PluginError: When the file or its manifest cannot be read.
            TrustListError: When the trust list cannot be read.
        """
        file, manifest = _read_plugin(Path(path), self._policy.max_plugin_bytes)
        return self.verify(file, manifest)

    def validate_plugin(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        level: TrustLevel = TrustLevel.UNTRUSTED,
    ) -> Verdict:
        """Read a plugin file and return the verdict if it may be loaded at a trust level.

        Raises:
            UntrustedPlugin: Also with ``trust.name_mismatch`` when the plugin is not called
                `name`, and ``trust.level`` when it is allowed, but less trusted than asked for.
            PluginError: As `require` and `verify_plugin`.
        """
        file, manifest = _read_plugin(Path(path), self._policy.max_plugin_bytes)
        if name is not None and manifest.name != name:
            raise UntrustedPlugin(
                f"{file.path} holds the plugin {manifest.name}, not {name}",
                code="trust.name_mismatch",
                plugin=name,
                hint="name the plugin as its manifest does: `pluginapi inspect FILE`",
            )
        verdict = self.require(file, manifest)
        if verdict.trust_level < level:
            raise UntrustedPlugin(
                f"{manifest.name} is {verdict.trust_level.name}, and {level.name} was asked for",
                code="trust.level",
                plugin=manifest.name,
                hint="sign it with `pluginapi sign FILE --key KEY` and add it with "
                "`pluginapi trust add FILE`",
            )
        return verdict

    def verify_signature(self, message: bytes, signature: bytes, key: PublicKey) -> None:
        """Accept a raw signature by a key that is allowed, or raise.

        Raises:
            UntrustedPlugin: With code ``key.unknown`` or ``key.revoked``.
            InvalidSignature: When it does not verify.
        """
        facts = self._facts()
        if key.key_id in facts.revoked_keys:
            raise UntrustedPlugin(
                f"the key {key.key_id} is revoked",
                code="key.revoked",
                hint="sign with another key; see `pluginapi trust list`",
            )
        if key.key_id not in facts.keys:
            raise UntrustedPlugin(
                f"the key {key.key_id} is neither pinned nor in the trust list",
                code="key.unknown",
                hint="accept it with `pluginapi trust add --key PUB`",
            )
        verify(key, message, signature)

    # -- Queries

    @property
    def policy(self) -> SecurityPolicy:
        """What is demanded."""
        return self._policy

    @property
    def trust_list(self) -> TrustList | None:
        """The trust list as it is now, or None for a host without one; not to be changed."""
        return self._current()

    @property
    def hardcoded_trust_count(self) -> int:
        """How many plugins the host pinned."""
        return len(self._plugins)

    @property
    def user_trust_count(self) -> int:
        """How many plugins the trust list has."""
        current = self._current()
        return 0 if current is None else len(current.plugins)

    def calculate_hash(self, path: str | os.PathLike[str]) -> str:
        """Return the SHA3-512 of a file; see `hash_file`."""
        return hash_file(path)

    def get_plugin_info(self, sha3_512: str) -> TrustedPluginEntry | None:
        """Return the entry of a hash, hardcoded before user, or None."""
        facts = self._facts()
        return facts.hardcoded.get(sha3_512) or facts.listed.get(sha3_512)

    def is_trusted_hash(self, sha3_512: str) -> bool:
        """Tell whether a hash has an entry and is not revoked.

        This alone lets nothing load: the file must be signed as well.
        """
        facts = self._facts()
        return sha3_512 not in facts.revoked_hashes and (
            sha3_512 in facts.hardcoded or sha3_512 in facts.listed
        )

    def is_public_key_allowed(self, key: PublicKey) -> bool:
        """Tell whether signatures of a key are accepted: pinned or listed, and not revoked."""
        facts = self._facts()
        return key.key_id in facts.keys and key.key_id not in facts.revoked_keys

    # -- Changes; each is saved before it returns

    def add_trusted_plugin(self, entry: TrustedPluginEntry) -> None:
        """Add a plugin to the trust list and save it; see `TrustList.add_plugin`."""
        self._update(lambda current: current.add_plugin(entry))

    def remove_trusted_plugin(self, sha3_512: str) -> None:
        """Remove a plugin from the trust list and save it.

        Raises:
            TrustListError: ``trust.hardcoded`` when the host pinned it, ``trust.not_found``.
        """
        if sha3_512 in self._plugins:
            raise _hardcoded("plugin", "`pluginapi trust revoke --hash HASH`")
        self._update(lambda current: current.remove_plugin(sha3_512))

    def trust_plugin(
        self, file: VerifiableFile, manifest: PluginManifest, *, note: str = ""
    ) -> TrustedPluginEntry:
        """Add a file that a known key signed to the trust list and return its entry.

        Raises:
            InvalidSignature: When its signature does not verify.
            UntrustedPlugin: When it is unsigned, revoked, or signed by an unknown key.
            TrustListError: When the list cannot be read or saved.
        """
        return self.trust_plugins([(file, manifest)], note=note)[0]

    def trust_plugins(
        self,
        plugins: Iterable[tuple[VerifiableFile, PluginManifest]],
        *,
        keys: Iterable[PublicKey] = (),
        note: str = "",
    ) -> tuple[TrustedPluginEntry, ...]:
        """Accept keys, then add files that known keys signed, all in one save or nothing of it.

        Raises:
            InvalidSignature: When a signature does not verify.
            UntrustedPlugin: When a file is unsigned, revoked, or signed by an unknown key.
            TrustListError: When the list cannot be read or saved.
        """
        entries: list[TrustedPluginEntry] = []

        def change(current: TrustList) -> None:
            for key in keys:
                current.add_key(key, note=note)
            judging = Judging(self._gather(current), before_listing=True)
            for file, manifest in plugins:
                judging.add(file, manifest)
            for verdict in judging.verdicts():
                verdict.raise_if_refused()
                entry = TrustedPluginEntry(
                    hash=verdict.sha3_512,
                    name=verdict.plugin,
                    version=verdict.version,
                    key_id=verdict.key_ids[0],
                    note=note,
                )
                current.add_plugin(entry)
                entries.append(entry)

        self._update(change)
        return tuple(entries)

    def add_public_key(self, key: PublicKey, *, note: str = "") -> None:
        """Accept a key's signatures and save the list; see `TrustList.add_key`."""
        self._update(lambda current: current.add_key(key, note=note))

    def remove_public_key(self, key: PublicKey | str) -> None:
        """Stop accepting a key, given itself or its id, and save the list.

        Raises:
            TrustListError: ``trust.hardcoded`` when the host pinned it, ``trust.not_found``.
        """
        key_id = key if isinstance(key, str) else key.key_id
        if key_id in self._keys:
            raise _hardcoded("key", "`pluginapi trust revoke --key PUB`")
        self._update(lambda current: current.remove_key(key_id))

    def revoke_key(self, key: PublicKey | str, reason: str = "") -> None:
        """Refuse everything a key signed, hardcoded or not, for ever, and save the list."""
        self._update(lambda current: current.revoke_key(key, reason))

    def revoke_hash(self, sha3_512: str, reason: str = "") -> None:
        """Refuse a file, hardcoded or not, for ever, and save the list."""
        self._update(lambda current: current.revoke_hash(sha3_512, reason))

    # -- The trust list

    def _facts(self) -> Facts:
        with self._lock:
            current = self._current()
            if self._known is None:
                self._known = self._gather(current)
            return self._known

    def _gather(self, current: TrustList | None) -> Facts:
        if current is None:
            return Facts(self._policy, self._plugins, {}, self._keys, {}, {})
        listed = {key_id: item.public_key for key_id, item in current.keys.items()}
        return Facts(
            self._policy,
            self._plugins,
            current.plugins,
            {**listed, **self._keys},
            current.revoked_keys,
            current.revoked_hashes,
        )

    def _current(self) -> TrustList | None:
        path = self._policy.trust_list_path
        if path is None:
            return None
        with self._lock:
            # The stamp is taken first: a change while the list is read is noticed next time.
            stamp = _stamp(path)
            if self._list is None or stamp is None or stamp != self._stamp:
                self._list = self._known = None
                self._list = TrustList.load(path, self._key(path), state_dir=self._state_dir)
                self._stamp = stamp
            return self._list

    def _update(self, change: Callable[[TrustList], object]) -> None:
        path = self._policy.trust_list_path
        if path is None:
            raise TrustListError(
                "this host has no trust list, so nothing can be added to it",
                code="trust_list.missing",
                hint="set trust_list_path in [security] and run `pluginapi trust init`",
            )
        with self._lock:
            self._list = self._known = None
            TrustList.update(path, self._key(path), change, state_dir=self._state_dir)

    def _key(self, path: Path) -> TrustKey:
        if self._trust_key is None:
            # Without a list, a key is not what is missing first.
            if not path.exists():
                raise TrustListError(
                    f"there is no trust list at {path}",
                    code="trust_list.missing",
                    hint="make one with `pluginapi trust init`, or set trust_list_path to none",
                    path=str(path),
                )
            raise TrustListError(
                f"the trust list {path} is encrypted and no key was given",
                code="trust_list.key_needed",
                hint="set PLUGINAPI_TRUST_PASSPHRASE or PLUGINAPI_TRUST_KEY, or pass trust_key",
                path=str(path),
            )
        return self._trust_key


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        # Reading the list says what is wrong with it.
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
    )


def _read_plugin(path: Path, max_bytes: int) -> tuple[VerifiableFile, PluginManifest]:
    # Imported on use: reading files and manifests needs nothing of this package's loading.
    from pluginapi.metadata import read_manifest  # noqa: PLC0415 - see above
    from pluginapi.plugin_file import PluginFile  # noqa: PLC0415 - see above

    file = PluginFile.open(path, max_bytes=max_bytes)
    return file, read_manifest(file)


def _hardcoded(what: str, command: str) -> TrustListError:
    return TrustListError(
        f"the {what} is pinned by the host and cannot be removed from the trust list",
        code="trust.hardcoded",
        hint=f"refuse it with {command}",
    )
