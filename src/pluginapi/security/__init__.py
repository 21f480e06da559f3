"""Keys, signatures, the trust list, and the verdict on a plugin file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginapi._lazy import lazily

if TYPE_CHECKING:
    from pluginapi.security.checks import VerifiableFile
    from pluginapi.security.ed25519 import verify, verify_batch
    from pluginapi.security.hashing import hash_file, hash_files, sha3_512, sha3_512_many
    from pluginapi.security.keys import PublicKey, SigningKeyPair
    from pluginapi.security.marks import default_state_dir
    from pluginapi.security.policy import DEFAULT_TRUST_LIST_PATH, SecurityPolicy
    from pluginapi.security.signature import (
        EnvelopeSignature,
        PluginSignature,
        Statement,
        countersign,
        sign_plugin,
    )
    from pluginapi.security.trust_entries import (
        ListedKey,
        RevokedHash,
        RevokedKey,
        TrustedPluginEntry,
        TrustLevel,
    )
    from pluginapi.security.trust_key import TrustKey
    from pluginapi.security.trust_list import TrustList
    from pluginapi.security.verdict import CHECK_NAMES, Check, CheckOutcome, Verdict
    from pluginapi.security.verifier import PluginSecurity

__all__ = [
    "CHECK_NAMES",
    "DEFAULT_TRUST_LIST_PATH",
    "Check",
    "CheckOutcome",
    "EnvelopeSignature",
    "ListedKey",
    "PluginSecurity",
    "PluginSignature",
    "PublicKey",
    "RevokedHash",
    "RevokedKey",
    "SecurityPolicy",
    "SigningKeyPair",
    "Statement",
    "TrustKey",
    "TrustLevel",
    "TrustList",
    "TrustedPluginEntry",
    "Verdict",
    "VerifiableFile",
    "countersign",
    "default_state_dir",
    "hash_file",
    "hash_files",
    "sha3_512",
    "sha3_512_many",
    "sign_plugin",
    "verify",
    "verify_batch",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "pluginapi.security.checks": ("VerifiableFile",),
        "pluginapi.security.hashing": ("hash_file", "hash_files", "sha3_512", "sha3_512_many"),
        "pluginapi.security.keys": ("PublicKey", "SigningKeyPair"),
        "pluginapi.security.marks": ("default_state_dir",),
        "pluginapi.security.policy": ("DEFAULT_TRUST_LIST_PATH", "SecurityPolicy"),
        "pluginapi.security.signature": (
            "EnvelopeSignature",
            "PluginSignature",
            "Statement",
            "countersign",
            "sign_plugin",
        ),
        "pluginapi.security.trust_entries": (
            "ListedKey",
            "RevokedHash",
            "RevokedKey",
            "TrustedPluginEntry",
            "TrustLevel",
        ),
        "pluginapi.security.trust_key": ("TrustKey",),
        "pluginapi.security.trust_list": ("TrustList",),
        "pluginapi.security.verdict": ("CHECK_NAMES", "Check", "CheckOutcome", "Verdict"),
        "pluginapi.security.verifier": ("PluginSecurity",),
        "pluginapi.security.ed25519": ("verify", "verify_batch"),
    },
)
