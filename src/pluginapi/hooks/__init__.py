"""Hooks: named points where plugins take part in what the host does."""

from __future__ import annotations

from pluginapi._native._hooks import PendingCall
from pluginapi.hooks.handler import CpuObserver, HandlerInfo, HandlerStats, HookHandler
from pluginapi.hooks.hook import Hook
from pluginapi.hooks.modes import ErrorPolicy, HookMode
from pluginapi.hooks.points import (
    ErrorEvent,
    HostEvent,
    PluginEvent,
    StandardHooks,
    define_standard_hooks,
)
from pluginapi.hooks.priority import HookPriority
from pluginapi.hooks.registry import HookInfo, HookRegistry
from pluginapi.hooks.results import HookExecutionError, HookOutcome, StopChain, Veto, VetoResult
from pluginapi.hooks.scope import HookScope
from pluginapi.hooks.subset import HookSubset
from pluginapi.hooks.wrapping import Rest

__all__ = [
    "CpuObserver",
    "ErrorEvent",
    "ErrorPolicy",
    "HandlerInfo",
    "HandlerStats",
    "Hook",
    "HookExecutionError",
    "HookHandler",
    "HookInfo",
    "HookMode",
    "HookOutcome",
    "HookPriority",
    "HookRegistry",
    "HookScope",
    "HookSubset",
    "HostEvent",
    "PendingCall",
    "PluginEvent",
    "Rest",
    "StandardHooks",
    "StopChain",
    "Veto",
    "VetoResult",
    "define_standard_hooks",
]
