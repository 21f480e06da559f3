"""The verdict on a plugin file: every check, what it found, and what would change it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

from pluginapi.errors import InvalidSignature, SecurityError, UntrustedPlugin
from pluginapi.security.trust_entries import TrustedPluginEntry, TrustLevel

__all__ = ["CHECK_NAMES", "Check", "CheckOutcome", "Verdict"]

CHECK_NAMES: Final = (
    "hash_not_revoked",
    "signature_present",
    "signature_wellformed",
    "statement_matches",
    "key_known",
    "key_not_revoked",
    "signature_valid",
    "hash_listed",
    "policy",
)


class CheckOutcome(Enum):
    """How one check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(msgspec.Struct, frozen=True, gc=False):
    """One check of a verdict.

    Attributes:
        name: One of `CHECK_NAMES`.
        outcome: OK; FAILED, which refuses the plugin; SKIPPED when it could not be made because
            another failed, or when the policy does not demand it.
        found: What was found, one sentence.
        code: The stable error code of what is missing, or None.
        hint: What would change it, or None.
    """

    name: str
    outcome: CheckOutcome
    found: str
    code: str | None = None
    hint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON-representable values."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "found": self.found,
            "code": self.code,
            "hint": self.hint,
        }


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Say whether a plugin may be loaded and why.

    Attributes:
        plugin: The plugin's name.
        version: Its version.
        path: Where the file was read from.
        sha3_512: The hash of the bytes that were judged.
        checks: All checks in the order of `CHECK_NAMES`.
        allowed: True when no check failed.
        trust_level: TRUSTED when every check was made and held, else UNTRUSTED.
        entry: The entry of the file's hash, or None.
        tier: Where the entry stands: ``hardcoded``, ``user`` or None.
        key_ids: Ids of the known keys whose signatures verified.
    """

    plugin: str
    version: str
    path: Path
    sha3_512: str
    checks: tuple[Check, ...]
    allowed: bool
    trust_level: TrustLevel
    entry: TrustedPluginEntry | None
    tier: str | None
    key_ids: tuple[str, ...]

    @property
    def first_failure(self) -> Check | None:
        """The first failed check, or None when the plugin may be loaded."""
        return next((item for item in self.checks if item.outcome is CheckOutcome.FAILED), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-representable values."""
        return {
            "plugin": self.plugin,
            "version": self.version,
            "path": str(self.path),
            "sha3_512": self.sha3_512,
            "allowed": self.allowed,
            "trust_level": self.trust_level.name.lower(),
            "tier": self.tier,
            "key_ids": list(self.key_ids),
            "entry": None if self.entry is None else msgspec.to_builtins(self.entry),
            "checks": [item.to_dict() for item in self.checks],
        }

    def error(self) -> SecurityError | None:
        """Return the error of the first failed check, or None when the plugin may be loaded.

        It is an `InvalidSignature` for a signature that is malformed, does not match or does not
        verify, a `SecurityError` when the policy itself refuses, and an `UntrustedPlugin` for
        everything else that is missing or revoked.
        """
        failure = None if self.allowed else self.first_failure
        if failure is None:
            return None
        code = failure.code or "security.refused"
        kind: type[SecurityError] = UntrustedPlugin
        if code.startswith("signature.") and code != "signature.missing":
            kind = InvalidSignature
        elif code.startswith("policy."):
            kind = SecurityError
        return kind(
            f"{self.plugin} {self.version} is refused ({failure.name}): {failure.found}",
            code=code,
            plugin=self.plugin,
            hint=failure.hint,
            check=failure.name,
            path=str(self.path),
            sha3_512=self.sha3_512,
        )

    def raise_if_refused(self) -> None:
        """Raise what `error` returns, if there is one."""
        error = self.error()
        if error is not None:
            raise error
