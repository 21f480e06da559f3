"""Keys, signatures, the trust list, and the verdict on a plugin file."""

from __future__ import annotations

from pluginapi.security.checks import VerifiableFile
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
from pluginapi.security.verify import verify

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
]
