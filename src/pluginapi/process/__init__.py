"""Plugins in processes of their own: starting them, watching over them, ending them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginapi._lazy import lazily

if TYPE_CHECKING:
    from pluginapi.process.manager import PluginProcessManager
    from pluginapi.process.process import PluginProcess
    from pluginapi.process.settings import ProcessSettings
    from pluginapi.process.status import EndReason, ProcessEnd, ProcessState, ProcessStatus

__all__ = [
    "EndReason",
    "PluginProcess",
    "PluginProcessManager",
    "ProcessEnd",
    "ProcessSettings",
    "ProcessState",
    "ProcessStatus",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "pluginapi.process.manager": ("PluginProcessManager",),
        "pluginapi.process.process": ("PluginProcess",),
        "pluginapi.process.settings": ("ProcessSettings",),
        "pluginapi.process.status": ("EndReason", "ProcessEnd", "ProcessState", "ProcessStatus"),
    },
)
