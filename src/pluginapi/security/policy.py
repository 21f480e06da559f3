"""The policy: what the operator demands of every plugin."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pluginapi.errors import SecurityError

__all__ = ["DEFAULT_TRUST_LIST_PATH", "SecurityPolicy"]

DEFAULT_TRUST_LIST_PATH: Final = Path("data/plugin_trust_list.enc")
_MAX_PLUGIN_BYTES: Final = 256 * 1024 * 1024
_LARGEST_PLUGIN_BYTES: Final = 4 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityPolicy:
    """Say what a plugin must show before it may be loaded.

    Attributes:
        only_trusted: Demand a valid signature by a known key and an entry of the file's hash.
            When False, an unsigned or unlisted plugin loads with `TrustLevel.UNTRUSTED`. A
            signature that is there must verify all the same, and revocations hold.
        trust_list_path: The encrypted trust list; relative to the working directory. None for a
            host without one, which then knows only what it was built with.
        max_plugin_bytes: The largest plugin file, 1 byte to 4 GiB; 256 MiB unless given.

    Raises:
        SecurityError: With code ``policy.invalid`` when a value is out of bounds.
    """

    only_trusted: bool = True
    trust_list_path: Path | None = DEFAULT_TRUST_LIST_PATH
    max_plugin_bytes: int = _MAX_PLUGIN_BYTES

    def __post_init__(self) -> None:
        if not isinstance(self.only_trusted, bool):
            raise _invalid(f"only_trusted is {self.only_trusted!r}, not True or False")
        size = self.max_plugin_bytes
        if isinstance(size, bool) or not isinstance(size, int):
            raise _invalid(f"max_plugin_bytes is {size!r}, not a whole number")
        if not 0 < size <= _LARGEST_PLUGIN_BYTES:
            raise _invalid(f"max_plugin_bytes is {size}, not 1 to {_LARGEST_PLUGIN_BYTES}")
        if self.trust_list_path is not None:
            if not isinstance(self.trust_list_path, str | os.PathLike):
                raise _invalid("trust_list_path is not a path")
            object.__setattr__(self, "trust_list_path", Path(self.trust_list_path))

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as JSON-representable values."""
        path = self.trust_list_path
        return {
            "only_trusted": self.only_trusted,
            "trust_list_path": None if path is None else str(path),
            "max_plugin_bytes": self.max_plugin_bytes,
        }


def _invalid(reason: str) -> SecurityError:
    return SecurityError(
        f"the security policy is invalid: {reason}",
        code="policy.invalid",
        hint="correct the [security] section of pluginapi.toml",
    )
