"""Every error of the library, one tree.

::

    PluginError
    ├── LoadError
    │   ├── InvalidPlugin         (also ValueError)
    │   ├── InvalidManifest       (also ValueError)
    │   ├── SymbolNotFound
    │   ├── AbiIncompatible
    │   └── VersionMismatch
    ├── InitializationError
    ├── ShutdownError
    ├── PluginTimeout             (also TimeoutError)
    ├── AlreadyLoaded
    ├── NotFound                  (also LookupError)
    ├── InvalidState
    ├── SecurityError
    │   ├── UntrustedPlugin
    │   ├── InvalidSignature
    │   ├── KeyFileError          (also ValueError)
    │   └── TrustListError
    ├── ResourceLimitError
    │   ├── InvalidResourceLimits (also ValueError)
    │   └── ResourceViolation
    ├── HookError
    │   ├── HookTypeError         (also TypeError)
    │   └── HookOrderError        (also ValueError)
    ├── ContextError
    │   ├── ContextKeyNotFound    (also LookupError)
    │   └── ContextTypeError      (also TypeError)
    ├── ServiceError
    │   ├── ServiceNotFound       (also LookupError)
    │   └── ServiceArgumentError  (also TypeError)
    ├── ConfigError               (also ValueError)
    ├── IpcError
    │   ├── IpcClosed             (also ConnectionError)
    │   └── IpcProtocolError
    ├── PluginProcessError
    ├── SandboxError
    │   ├── SandboxUnavailable
    │   └── SandboxConfigError    (also ValueError)
    │       └── InvalidSeccompFilter
    ├── IoError                   (also OSError)
    └── UnsupportedPlatform

An error carries a stable ``code`` (listed with its meaning in `pluginapi.error_codes`), the
``plugin`` it is about where there is one, and a ``hint``: what to do, with the command that
changes it. The command line prints all three and ``--json`` prints `PluginError.to_dict`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pluginapi.error_codes import CODES

__all__ = [
    "AbiIncompatible",
    "AlreadyLoaded",
    "ConfigError",
    "ContextError",
    "ContextKeyNotFound",
    "ContextTypeError",
    "HookError",
    "HookOrderError",
    "HookTypeError",
    "InitializationError",
    "InvalidManifest",
    "InvalidPlugin",
    "InvalidResourceLimits",
    "InvalidSeccompFilter",
    "InvalidSignature",
    "InvalidState",
    "IoError",
    "IpcClosed",
    "IpcError",
    "IpcProtocolError",
    "KeyFileError",
    "LoadError",
    "NotFound",
    "PluginError",
    "PluginProcessError",
    "PluginTimeout",
    "ResourceLimitError",
    "ResourceViolation",
    "SandboxConfigError",
    "SandboxError",
    "SandboxUnavailable",
    "SecurityError",
    "ServiceArgumentError",
    "ServiceError",
    "ServiceNotFound",
    "ShutdownError",
    "SymbolNotFound",
    "TrustListError",
    "UnsupportedPlatform",
    "UntrustedPlugin",
    "VersionMismatch",
]


class PluginError(Exception):
    """The root of the tree; never raised itself.

    Args:
        message: One sentence: what was checked and what was found.
        code: Stable identifier, a key of `pluginapi.error_codes.CODES`. Without it, the class's.
        plugin: Name of the plugin, where one is known.
        hint: What to do about it, with the command where there is one.
        details: Facts for programs (paths, numbers, hashes), JSON-representable.
    """

    default_code: ClassVar[str] = "plugin.error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        plugin: str | None = None,
        hint: str | None = None,
        **details: Any,
    ) -> None:
        chosen = self.default_code if code is None else code
        if chosen not in CODES:
            raise KeyError(f"error code {chosen!r} is not listed in pluginapi.error_codes")
        super().__init__(message)
        self.message = message
        self.code = chosen
        self.plugin = plugin
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return code, message, plugin, hint and details as JSON-representable values."""
        return {
            "code": self.code,
            "message": self.message,
            "plugin": self.plugin,
            "hint": self.hint,
            "details": self.details,
        }


class LoadError(PluginError):
    """A plugin could not be brought from its file into a live object."""

    default_code = "load.failed"


class InvalidPlugin(LoadError, ValueError):
    """The file cannot be a plugin: its type, size or structure is wrong."""

    default_code = "file.invalid"


class InvalidManifest(LoadError, ValueError):
    """The metadata in the plugin file is missing, malformed or out of bounds."""

    default_code = "manifest.invalid"


class SymbolNotFound(LoadError):
    """A native plugin does not export the constructor symbol."""

    default_code = "abi.symbol_missing"


class AbiIncompatible(LoadError):
    """A native plugin was built for another major version of the ABI, or breaks its contract."""

    default_code = "abi.incompatible"


class VersionMismatch(LoadError):
    """A version is not the one that was required."""

    default_code = "version.mismatch"

    def __init__(self, message: str, *, expected: str, actual: str, **context: Any) -> None:
        super().__init__(message, expected=expected, actual=actual, **context)
        self.expected = expected
        self.actual = actual


class InitializationError(PluginError):
    """`init` or `register_hooks` of a plugin failed."""

    default_code = "lifecycle.init_failed"


class ShutdownError(PluginError):
    """`shutdown` of a plugin failed; the plugin is unloaded all the same."""

    default_code = "lifecycle.shutdown_failed"


class PluginTimeout(PluginError, TimeoutError):
    """A plugin did not finish in the time it was given."""

    default_code = "lifecycle.timeout"


class AlreadyLoaded(PluginError):
    """A plugin of this name is loaded already."""

    default_code = "registry.already_loaded"


class NotFound(PluginError, LookupError):
    """No plugin of this name is known, or it is not loaded."""

    default_code = "registry.not_found"


class InvalidState(PluginError):
    """The operation does not exist in the state the object is in."""

    default_code = "registry.invalid_state"


class SecurityError(PluginError):
    """A security check refused, or could not be made."""

    default_code = "security.refused"


class UntrustedPlugin(SecurityError):
    """The policy does not let this plugin load."""

    default_code = "trust.not_listed"


class InvalidSignature(SecurityError):
    """A signature does not verify."""

    default_code = "signature.invalid"


class KeyFileError(SecurityError, ValueError):
    """A key could not be read or written, or its passphrase is wrong."""

    default_code = "key.invalid"


class TrustListError(SecurityError):
    """The trust list cannot be read, verified or written. It is never taken as empty."""

    default_code = "trust_list.invalid"


class ResourceLimitError(PluginError):
    """A limit is invalid or was exceeded."""

    default_code = "limits.exceeded"


class InvalidResourceLimits(ResourceLimitError, ValueError):
    """A resource limit is outside its bounds."""

    default_code = "limits.invalid"


class ResourceViolation(ResourceLimitError):
    """A plugin used more of a resource than its limit."""

    default_code = "limits.exceeded"


class HookError(PluginError):
    """A hook or one of its handlers failed."""

    default_code = "hook.failed"


class HookTypeError(HookError, TypeError):
    """A handler or a value does not fit the hook."""

    default_code = "hook.type"


class HookOrderError(HookError, ValueError):
    """The `before=`/`after=` wishes of the handlers contradict each other."""

    default_code = "hook.order"


class ContextError(PluginError):
    """A context operation is not allowed or failed."""

    default_code = "context.refused"


class ContextKeyNotFound(ContextError, LookupError):
    """The context has no value under this key, or not for this plugin."""

    default_code = "context.key_not_found"


class ContextTypeError(ContextError, TypeError):
    """The value is not of the key's type."""

    default_code = "context.type"


class ServiceError(PluginError):
    """A service of the host failed a plugin; raise it in a service to tell the plugin why."""

    default_code = "service.failed"


class ServiceNotFound(ServiceError, LookupError):
    """There is no such service method for this plugin: not exposed, or not granted."""

    default_code = "service.not_found"


class ServiceArgumentError(ServiceError, TypeError):
    """The arguments of a service method are malformed, too large or of other types."""

    default_code = "service.arguments"


class ConfigError(PluginError, ValueError):
    """The configuration file is malformed; the message names the line."""

    default_code = "config.invalid"


class IpcError(PluginError):
    """A call over a channel to a plugin process failed on the way."""

    default_code = "ipc.failed"


class IpcClosed(IpcError, ConnectionError):
    """The channel is at its end: closed by this side, or the other process is gone."""

    default_code = "ipc.closed"


class IpcProtocolError(IpcError):
    """The other process broke the protocol, or is not who it should be."""

    default_code = "ipc.protocol"


class PluginProcessError(PluginError):
    """The process of a plugin could not be started, or has ended."""

    default_code = "process.failed"


class SandboxError(PluginError):
    """A layer of the sandbox could not be set up; ``details["layer"]`` names it."""

    default_code = "sandbox.failed"


class SandboxUnavailable(SandboxError):
    """A layer of the sandbox was asked for that this machine, or this user, cannot have."""

    default_code = "sandbox.unavailable"


class SandboxConfigError(SandboxError, ValueError):
    """What was asked of the sandbox is out of bounds or contradicts itself."""

    default_code = "sandbox.config"


class InvalidSeccompFilter(SandboxConfigError):
    """A filter for system calls is malformed, or was made for something else."""

    default_code = "seccomp.rule"


class IoError(PluginError, OSError):
    """The operating system refused; the message names the call and the path."""

    default_code = "io.failed"


class UnsupportedPlatform(PluginError):
    """A feature was asked for that this platform cannot provide."""

    default_code = "platform.unsupported"
