"""What the registry remembers of each plugin: of files that it found, and of what is loaded."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pluginapi.errors import PluginError
from pluginapi.info import PluginInfo, PluginStatus
from pluginapi.lifecycle import RunningPlugin
from pluginapi.limits import ResourceLimits, UnmountBehavior, ViolationTracker, ViolationType
from pluginapi.monitor.rates import Rates
from pluginapi.plugin_file import SUFFIXES

if TYPE_CHECKING:
    from pluginapi.manifest import PluginManifest
    from pluginapi.scan import Finding
    from pluginapi.security import Verdict

__all__ = ["Known", "Loaded", "State", "describe", "find_plugin_files", "info_of_loaded"]

_SUFFIXES: Final = tuple(SUFFIXES)


@dataclass(slots=True)
class Known:
    """A discovered file; `status` and `error` are what it has while it is not loaded."""

    path: Path
    hash: str
    size: int
    modified: float
    manifest: PluginManifest
    verdict: Verdict
    status: PluginStatus
    error: PluginError | None

    @classmethod
    def of(cls, found: Finding) -> Known:
        """Remember what a scan or a load found of a file."""
        verdict = found.verdict
        return cls(
            path=found.path,
            hash=found.sha3_512,
            size=found.size,
            modified=found.modified,
            manifest=found.manifest,
            verdict=verdict,
            status=PluginStatus.AVAILABLE if verdict.allowed else PluginStatus.UNTRUSTED,
            error=verdict.error(),
        )


@dataclass(slots=True)
class Loaded:
    """A plugin that is loaded.

    `doomed` is one whose violations have reached the threshold; `above` are the resources whose
    limits it exceeds.
    """

    known: Known
    running: RunningPlugin
    limits: ResourceLimits
    tracker: ViolationTracker
    status: PluginStatus = PluginStatus.ACTIVE
    unloading: bool = False
    doomed: bool = False
    unmount: UnmountBehavior | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    rates: Rates = field(default_factory=Rates)
    above: set[ViolationType] = field(default_factory=set)


@dataclass(slots=True)
class State:
    """All that the registry knows, under its lock."""

    known: dict[Path, Known] = field(default_factory=dict)
    loaded: dict[str, Loaded] = field(default_factory=dict)
    loading: dict[str, asyncio.Event] = field(default_factory=dict)


def info_of_loaded(loaded: Loaded) -> PluginInfo:
    """Describe a plugin that is loaded."""
    return describe(loaded.known, loaded.status, None, loaded.limits)


def describe(
    known: Known, status: PluginStatus, error: PluginError | None, limits: ResourceLimits | None
) -> PluginInfo:
    """Describe a file with this status, error and limits."""
    manifest = known.manifest
    return PluginInfo(
        name=manifest.name,
        version=str(manifest.version),
        author=manifest.author,
        description=manifest.description,
        status=status,
        trust_level=known.verdict.trust_level,
        path=known.path,
        hash=known.hash,
        size=known.size,
        modified=known.modified,
        trust_info=known.verdict.entry,
        error=error,
        resource_limits=limits,
        manifest=manifest,
    )


def find_plugin_files(directory: Path) -> list[Path]:
    """Return the files of a directory that are taken for plugins, by their names, sorted."""
    names = os.listdir(directory)  # noqa: PTH208 - names are what is looked at and sorted
    found = (name for name in names if name.endswith(_SUFFIXES) and name[0] not in "._")
    return [directory / name for name in sorted(found, key=os.path.normcase)]
