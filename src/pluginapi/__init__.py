"""Run other people's plugins: verified before a byte of them runs, measured while they run."""

from __future__ import annotations

from importlib.metadata import version as _version
from pathlib import Path

from pluginapi.asgi import PluginMiddleware, lifespan
from pluginapi.config import HostConfig
from pluginapi.context import ContextKey, PluginContext, PredefinedContextKey
from pluginapi.errors import (
    AbiIncompatible,
    AlreadyLoaded,
    ConfigError,
    ContextError,
    ContextKeyNotFound,
    ContextTypeError,
    HookError,
    HookOrderError,
    HookTypeError,
    InitializationError,
    InvalidManifest,
    InvalidPlugin,
    InvalidResourceLimits,
    InvalidSignature,
    InvalidState,
    IoError,
    KeyFileError,
    LoadError,
    NotFound,
    PluginError,
    PluginTimeout,
    ResourceLimitError,
    ResourceViolation,
    SecurityError,
    ShutdownError,
    SymbolNotFound,
    TrustListError,
    UnsupportedPlatform,
    UntrustedPlugin,
    VersionMismatch,
)
from pluginapi.hooks import (
    ErrorEvent,
    ErrorPolicy,
    HandlerInfo,
    HandlerStats,
    Hook,
    HookMode,
    HookOutcome,
    HookPriority,
    HookRegistry,
    HookScope,
    HostEvent,
    PluginEvent,
    StandardHooks,
    StopChain,
    Veto,
    VetoResult,
    define_standard_hooks,
)
from pluginapi.host import PluginHost, StartReport
from pluginapi.http import HttpRequest, HttpResponse
from pluginapi.info import PluginInfo, PluginStatus, ScanReport, UnloadReport
from pluginapi.limits import (
    ResourceLimits,
    UnmountBehavior,
    Violation,
    ViolationTracker,
    ViolationType,
)
from pluginapi.loader import Inspection, PluginLoader
from pluginapi.manifest import PluginDependency, PluginKind, PluginManifest
from pluginapi.monitor import PluginMetrics, ResourceMonitor
from pluginapi.plugin import Plugin, make_plugin
from pluginapi.plugin_file import PluginFile
from pluginapi.registry import PluginRegistry
from pluginapi.requirements import (
    FilesystemAccess,
    FilesystemRequirement,
    NetworkAccess,
    NetworkRequirement,
    NetworkTarget,
    PluginRequirements,
)
from pluginapi.security import (
    PluginSecurity,
    PluginSignature,
    PublicKey,
    SecurityPolicy,
    SigningKeyPair,
    TrustedPluginEntry,
    TrustKey,
    TrustLevel,
    TrustList,
    Verdict,
)
from pluginapi.version import PluginVersion

__all__ = [
    "AbiIncompatible",
    "AlreadyLoaded",
    "ConfigError",
    "ContextError",
    "ContextKey",
    "ContextKeyNotFound",
    "ContextTypeError",
    "ErrorEvent",
    "ErrorPolicy",
    "FilesystemAccess",
    "FilesystemRequirement",
    "HandlerInfo",
    "HandlerStats",
    "Hook",
    "HookError",
    "HookMode",
    "HookOrderError",
    "HookOutcome",
    "HookPriority",
    "HookRegistry",
    "HookScope",
    "HookTypeError",
    "HostConfig",
    "HostEvent",
    "HttpRequest",
    "HttpResponse",
    "InitializationError",
    "Inspection",
    "InvalidManifest",
    "InvalidPlugin",
    "InvalidResourceLimits",
    "InvalidSignature",
    "InvalidState",
    "IoError",
    "KeyFileError",
    "LoadError",
    "NetworkAccess",
    "NetworkRequirement",
    "NetworkTarget",
    "NotFound",
    "Plugin",
    "PluginContext",
    "PluginDependency",
    "PluginError",
    "PluginEvent",
    "PluginFile",
    "PluginHost",
    "PluginInfo",
    "PluginKind",
    "PluginLoader",
    "PluginManifest",
    "PluginMetrics",
    "PluginMiddleware",
    "PluginRegistry",
    "PluginRequirements",
    "PluginSecurity",
    "PluginSignature",
    "PluginStatus",
    "PluginTimeout",
    "PluginVersion",
    "PredefinedContextKey",
    "PublicKey",
    "ResourceLimitError",
    "ResourceLimits",
    "ResourceMonitor",
    "ResourceViolation",
    "ScanReport",
    "SecurityError",
    "SecurityPolicy",
    "ShutdownError",
    "SigningKeyPair",
    "StandardHooks",
    "StartReport",
    "StopChain",
    "SymbolNotFound",
    "TrustKey",
    "TrustLevel",
    "TrustList",
    "TrustListError",
    "TrustedPluginEntry",
    "UnloadReport",
    "UnmountBehavior",
    "UnsupportedPlatform",
    "UntrustedPlugin",
    "Verdict",
    "VersionMismatch",
    "Veto",
    "VetoResult",
    "Violation",
    "ViolationTracker",
    "ViolationType",
    "__version__",
    "define_standard_hooks",
    "get_include",
    "lifespan",
    "make_plugin",
]

__version__ = _version("pluginapi")


def get_include() -> Path:
    """Return the directory of ``pluginapi.h``, for the ``-I`` option of a C compiler."""
    return Path(__file__).parent / "include"
