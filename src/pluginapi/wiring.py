"""From a configuration to the objects that it describes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pluginapi.errors import ConfigError
from pluginapi.security import PluginSecurity, PublicKey, SecurityPolicy, TrustKey

if TYPE_CHECKING:
    from pluginapi.config import HostConfig, TrustKeySource

__all__ = ["open_security", "read_trust_key"]


def open_security(config: HostConfig) -> PluginSecurity:
    """Make the security of a configuration: policy, pinned keys and the key of the trust list.

    Raises:
        ConfigError: When the key of the trust list is not where the configuration says.
        KeyFileError: When a pinned key cannot be read.
    """
    security = config.security
    has_list = security.trust_key_source.kind != "none"
    policy = SecurityPolicy(
        only_trusted=security.only_trusted,
        trust_list_path=security.trust_list_path if has_list else None,
        max_plugin_bytes=security.max_plugin_bytes,
    )
    pinned = [
        PublicKey.load(key) if isinstance(key, Path) else PublicKey.from_hex(key)
        for key in security.pinned_keys
    ]
    return PluginSecurity(
        policy,
        trust_key=read_trust_key(security.trust_key_source) if has_list else None,
        hardcoded_public_keys=pinned,
        state_dir=security.state_dir,
    )


def read_trust_key(source: TrustKeySource) -> TrustKey:
    """Read the key of the trust list from where the configuration says.

    Raises:
        ConfigError: With code ``config.trust_key`` when the variable is not set.
        TrustListError: When the file is missing or open to others, or the key malformed.
    """
    if source.kind == "env":
        secret = os.environ.get(source.variable or "")
        if secret is None:
            raise _no_trust_key(f"environment variable {source.variable} is not set", source)
        if source.form == "raw":
            return TrustKey.from_hex(secret)
        return TrustKey.from_passphrase(os.fsencode(secret))
    if source.path is None:
        raise _no_trust_key("no source of the trust list's key is configured", source)
    return TrustKey.load(source.path, raw=source.form == "raw")


def _no_trust_key(found: str, source: TrustKeySource) -> ConfigError:
    return ConfigError(
        f"the key of the trust list cannot be had: {found}",
        code="config.trust_key",
        hint=f"provide {source}, or set trust_key_source in section [security] of pluginapi.toml",
    )
