"""The stable error codes and what each means. Codes are never renamed or given another meaning."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CODES"]

CODES: Mapping[str, str] = MappingProxyType(
    {
        # General
        "plugin.error": "An error of the library without a code of its own.",
        "io.failed": "The operating system refused an operation on a file.",
        "platform.unsupported": "The platform lacks what the feature needs.",
        "version.mismatch": "A version is not the one that was required.",
        # Plugin files
        "file.invalid": "The file cannot be a plugin.",
        # Manifests
        "manifest.invalid": "The metadata of the plugin is malformed.",
        "manifest.name": "The plugin's name is not of the allowed form.",
        "manifest.version": "A version or version range cannot be read.",
        "manifest.requirement": "A network, file system or context requirement is malformed.",
        # The C ABI
        "abi.symbol_missing": "The library does not export create_plugin.",
        "abi.incompatible": "The library was built for another ABI, or breaks its contract.",
        # Loading and life cycle
        "load.failed": "The plugin could not be loaded.",
        "lifecycle.init_failed": "The plugin's init or register_hooks failed.",
        "lifecycle.shutdown_failed": "The plugin's shutdown failed.",
        "lifecycle.timeout": "The plugin did not finish in time.",
        # Registry
        "registry.already_loaded": "A plugin of this name is loaded already.",
        "registry.not_found": "No plugin of this name is known.",
        "registry.invalid_state": "The operation does not exist in the plugin's state.",
        # Keys
        "key.invalid": "The key file or key text is malformed.",
        # Signatures
        "signature.invalid": "The signature does not verify under the key.",
        # Trust and policy
        "security.refused": "A security check refused the plugin.",
        "trust.not_listed": "The plugin's hash is not in the trust list.",
        # The file of the trust list
        "trust_list.invalid": "The trust list is damaged or was changed by somebody else.",
        # Limits
        "limits.invalid": "A resource limit is outside its bounds.",
        "limits.exceeded": "A plugin used more of a resource than its limit.",
        # Hooks
        "hook.failed": "A handler of a hook failed.",
        "hook.type": "A handler or a value does not fit the hook.",
        "hook.order": "before= and after= contradict each other.",
        # Context
        "context.refused": "The context operation is not allowed.",
        "context.key_not_found": "The context holds nothing under this key for this plugin.",
        "context.type": "The value is not of the key's type.",
        # Configuration
        "config.invalid": "The configuration file is malformed.",
    }
)
