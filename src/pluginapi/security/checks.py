"""The checks of a verdict, in their fixed order, over facts that do not change meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from pluginapi.errors import InvalidSignature
from pluginapi.manifest import PluginManifest
from pluginapi.security.ed25519 import verify_batch
from pluginapi.security.hashing import is_sha3_512
from pluginapi.security.keys import PublicKey
from pluginapi.security.policy import SecurityPolicy
from pluginapi.security.signature import PluginSignature, SignedItem, require_valid
from pluginapi.security.trust_entries import (
    RevokedHash,
    RevokedKey,
    TrustedPluginEntry,
    TrustLevel,
)
from pluginapi.security.verdict import Check, CheckOutcome, Verdict

__all__ = ["Facts", "Judging", "VerifiableFile"]


class VerifiableFile(Protocol):
    """What judging needs of a plugin file that was read once; `PluginFile` is one."""

    @property
    def path(self) -> Path:
        """Where it was read from."""

    @property
    def sha3_512(self) -> str:
        """The SHA3-512 of the bytes that were read."""

    @property
    def size(self) -> int:
        """How many bytes were read."""

    @property
    def envelope(self) -> bytes | None:
        """The content of the ``.sig`` file beside it, or None when there is none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plugin is judged by.

    Attributes:
        policy: What is demanded.
        hardcoded: Entries of the host by hash.
        listed: Entries of the trust list by hash.
        keys: Keys by key id, pinned or listed, revoked or not.
        revoked_keys: Revocations by key id.
        revoked_hashes: Revocations by hash.
    """

    policy: SecurityPolicy
    hardcoded: Mapping[str, TrustedPluginEntry]
    listed: Mapping[str, TrustedPluginEntry]
    keys: Mapping[str, PublicKey]
    revoked_keys: Mapping[str, RevokedKey]
    revoked_hashes: Mapping[str, RevokedHash]


class Judging:
    """Judge plugin files with one batch of signatures for all of them.

    The verdict on a file is the same whatever others are judged with it. What is kept of a file
    until then is its `VerifiableFile` and its decoded signature.

    Args:
        facts: What they are judged by.
        before_listing: The verdicts say whether the files could be listed: a signature is
            demanded whatever the policy says, and an entry is not.
    """

    def __init__(self, facts: Facts, *, before_listing: bool = False) -> None:
        self._facts = facts
        self._before_listing = before_listing
        self._judgements: list[_Judgement] = []

    def __len__(self) -> int:
        return len(self._judgements)

    def add(self, file: VerifiableFile, manifest: PluginManifest) -> None:
        """Make the checks of a file that stand before its signature is verified."""
        judgement = _Judgement(file, manifest, self._facts, before_listing=self._before_listing)
        judgement.check_before_signature()
        self._judgements.append(judgement)

    def verdicts(self) -> list[Verdict]:
        """Verify all signatures, make the checks behind them and return the verdicts, in order."""
        accepted = iter(
            verify_batch(item for judgement in self._judgements for item in judgement.items)
        )
        return [
            judgement.verdict(list(islice(accepted, len(judgement.items))))
            for judgement in self._judgements
        ]


# What most files get, word for word; a check is immutable.
_STATEMENT_MATCHES: Final = Check(
    "statement_matches", CheckOutcome.OK, "hash, name and version are the signed ones"
)
_NO_SIGNER_REVOKED: Final = Check("key_not_revoked", CheckOutcome.OK, "no signer is revoked")
_TRUSTED: Final = Check(
    "policy", CheckOutcome.OK, "only trusted plugins are allowed, and this is one"
)
_ALLOWED: Final = Check("policy", CheckOutcome.OK, "plugins that are not trusted are allowed")


class _Judgement:
    """One run of the checks; each method makes one and may rely on those before it."""

    __slots__ = (
        "_before_listing",
        "_checks",
        "_demanded",
        "_entry",
        "_facts",
        "_failed_any",
        "_file",
        "_key_ids",
        "_manifest",
        "_signature",
        "_signers",
        "_skipped_any",
        "_tier",
        "_version",
        "items",
    )

    def __init__(
        self,
        file: VerifiableFile,
        manifest: PluginManifest,
        facts: Facts,
        *,
        before_listing: bool,
    ) -> None:
        self._file = file
        self._manifest = manifest
        self._version = str(manifest.version)
        self._facts = facts
        self._before_listing = before_listing
        self._demanded = facts.policy.only_trusted or before_listing
        self._checks: list[Check] = []
        self._failed_any = False
        self._skipped_any = False
        self._signature: PluginSignature | None = None
        self._key_ids: tuple[str, ...] = ()
        self._signers: tuple[PublicKey, ...] = ()
        self._entry: TrustedPluginEntry | None = None
        self._tier: str | None = None
        # The signatures of known keys, which are to be verified between the two methods below.
        self.items: list[SignedItem] = []

    def check_before_signature(self) -> None:
        self._hash_not_revoked()
        self._signature_present()
        self._signature_wellformed()
        self._statement_matches()
        self._key_known()
        self._key_not_revoked()

    def verdict(self, accepted: list[bool]) -> Verdict:
        self._signature_valid(accepted)
        self._hash_listed()
        self._policy()
        trusted = not (self._failed_any or self._skipped_any)
        return Verdict(
            plugin=self._manifest.name,
            version=self._version,
            path=self._file.path,
            sha3_512=self._file.sha3_512,
            checks=tuple(self._checks),
            allowed=not self._failed_any,
            trust_level=TrustLevel.TRUSTED if trusted else TrustLevel.UNTRUSTED,
            entry=self._entry,
            tier=self._tier,
            key_ids=tuple([key.key_id for key in self._signers]),
        )

    def _ok(self, name: str, found: str) -> None:
        self._checks.append(Check(name, CheckOutcome.OK, found))

    def _failed(self, name: str, found: str, code: str, hint: str | None) -> None:
        self._failed_any = True
        self._checks.append(Check(name, CheckOutcome.FAILED, found, code, hint))

    def _skipped(
        self, name: str, found: str, code: str | None = None, hint: str | None = None
    ) -> None:
        self._skipped_any = True
        self._checks.append(Check(name, CheckOutcome.SKIPPED, found, code, hint))

    def _missing(self, name: str, found: str, code: str, hint: str) -> None:
        """Record what only a policy of trusted plugins demands."""
        if self._demanded:
            self._failed(name, found, code, hint)
        else:
            self._skipped(name, f"{found}; the policy does not demand it", code, hint)

    def _hash_not_revoked(self) -> None:
        revoked = self._facts.revoked_hashes.get(self._file.sha3_512)
        if revoked is None:
            return self._ok("hash_not_revoked", f"{self._file.sha3_512[:16]}... is not revoked")
        reason = f": {revoked.reason}" if revoked.reason else ""
        return self._failed(
            "hash_not_revoked",
            f"the file was revoked at {revoked.revoked_at}{reason}",
            "trust.hash_revoked",
            "install another release: a revocation is final, see `pluginapi trust list`",
        )

    def _signature_present(self) -> None:
        name = f"{self._file.path.name}.sig"
        if self._file.envelope is not None:
            return self._ok("signature_present", f"{name} is there")
        return self._missing(
            "signature_present",
            f"there is no {name}",
            "signature.missing",
            f"pluginapi sign {self._file.path} --key KEY",
        )

    def _signature_wellformed(self) -> None:
        if self._file.envelope is None:
            return self._skipped("signature_wellformed", "there is no signature")
        try:
            signature, signed_bytes = PluginSignature.decode_signed(self._file.envelope)
        except InvalidSignature as err:
            return self._failed("signature_wellformed", err.message, err.code, err.hint)
        self._signature = signature
        self._key_ids = signature.key_ids
        known = self._facts.keys
        self.items = [
            (known[made.key_id], signed_bytes, made.signature)
            for made in signature.signatures
            if made.key_id in known
        ]
        count = len(signature.signatures)
        signed_at = signature.statement.signed_at
        return self._ok("signature_wellformed", f"{count} signature(s), made at {signed_at}")

    def _statement_matches(self) -> None:
        if self._signature is None:
            return self._skipped("statement_matches", "there is no signed statement to compare")
        statement, manifest = self._signature.statement, self._manifest
        if (
            statement.sha3_512 == self._file.sha3_512
            and statement.name == manifest.name
            and statement.version == self._version
        ):
            return self._checks.append(_STATEMENT_MATCHES)
        what, signed, found = next(
            compared
            for compared in (
                ("hash", statement.sha3_512, self._file.sha3_512),
                ("name", statement.name, manifest.name),
                ("version", statement.version, self._version),
            )
            if compared[1] != compared[2]
        )
        return self._failed(
            "statement_matches",
            f"the signed {what} is {_short(signed)}, and the file's is {_short(found)}",
            "signature.mismatch",
            f"get an unchanged copy, or `pluginapi sign {self._file.path} --key KEY`",
        )

    def _key_known(self) -> None:
        if self._signature is None:
            return self._skipped("key_known", "there is no signature")
        ids = self._key_ids
        if self.items:
            known = [key.key_id for key, _, _ in self.items]
            return self._ok("key_known", f"known signer(s): {', '.join(known)}")
        revoked = [key_id for key_id in ids if key_id in self._facts.revoked_keys]
        if revoked:
            return self._ok("key_known", f"known as revoked: {', '.join(revoked)}")
        # Not left to the policy: a signature that is there must be right, or nobody could tell
        # a damaged one from a foreign one.
        return self._failed(
            "key_known",
            f"signed by {', '.join(ids)}: neither pinned nor in the trust list",
            "key.unknown",
            "if you trust the signer, `pluginapi trust add --key PUB`",
        )

    def _key_not_revoked(self) -> None:
        if self._signature is None:
            return self._skipped("key_not_revoked", "there is no signature")
        for key_id in self._key_ids:
            revoked = self._facts.revoked_keys.get(key_id)
            if revoked is not None:
                reason = f": {revoked.reason}" if revoked.reason else ""
                return self._failed(
                    "key_not_revoked",
                    f"the key {key_id} was revoked at {revoked.revoked_at}{reason}",
                    "key.revoked",
                    f"sign it with another key: `pluginapi sign {self._file.path} --key KEY`",
                )
        return self._checks.append(_NO_SIGNER_REVOKED)

    def _signature_valid(self, accepted: list[bool]) -> None:
        if self._signature is None:
            return self._skipped("signature_valid", "there is no signature")
        if not self.items:
            return self._skipped("signature_valid", "no key to verify it with is known")
        try:
            if not all(accepted) or len(accepted) != len(self.items):
                require_valid(self.items, accepted)
        except InvalidSignature as err:
            return self._failed("signature_valid", err.message, err.code, err.hint)
        self._signers = tuple([key for key, _, _ in self.items])
        return self._ok("signature_valid", f"verified with {len(self._signers)} known key(s)")

    def _hash_listed(self) -> None:
        sha3_512 = self._file.sha3_512
        if self._before_listing:
            return self._ok("hash_listed", "not asked for: the file is about to be listed")
        for tier, entries in (("hardcoded", self._facts.hardcoded), ("user", self._facts.listed)):
            entry = entries.get(sha3_512)
            if entry is not None:
                self._entry, self._tier = entry, tier
                return self._entry_matches(entry, tier)
        return self._missing(
            "hash_listed",
            f"{sha3_512[:16]}... is in no trust list",
            "trust.not_listed",
            f"pluginapi trust add {self._file.path}",
        )

    def _entry_matches(self, entry: TrustedPluginEntry, tier: str) -> None:
        signers = [key.key_id for key in self._signers]
        if entry.name != self._manifest.name:
            return self._mismatch(
                f"the {tier} entry's name is {entry.name}, not {self._manifest.name}"
            )
        if entry.version != self._version:
            return self._mismatch(
                f"the {tier} entry's version is {entry.version}, not {self._version}"
            )
        if signers and entry.key_id not in signers:
            return self._mismatch(
                f"the {tier} entry wants the key {entry.key_id}, not {', '.join(sorted(signers))}"
            )
        return self._ok("hash_listed", f"in the {tier} trust list since {entry.added_at}")

    def _mismatch(self, found: str) -> None:
        path = self._file.path
        hint = f"`pluginapi trust remove {path}`, then `pluginapi trust add {path}`"
        self._failed("hash_listed", found, "trust.entry_mismatch", hint)

    def _policy(self) -> None:
        policy = self._facts.policy
        if self._file.size > policy.max_plugin_bytes:
            return self._failed(
                "policy",
                f"the file has {self._file.size} bytes, more than {policy.max_plugin_bytes}",
                "policy.too_large",
                "raise max_plugin_bytes in [security] of pluginapi.toml",
            )
        if self._failed_any:
            return self._skipped("policy", "another check refused the plugin already")
        if self._demanded:
            return self._checks.append(_TRUSTED)
        return self._checks.append(_ALLOWED)


def _short(text: str) -> str:
    return f"{text[:16]}..." if is_sha3_512(text) else text
