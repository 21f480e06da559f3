"""Verified bytes in, live plugin out."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from pluginapi.errors import PluginError, UntrustedPlugin
from pluginapi.isolation import Isolation, IsolationPolicy
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginKind, PluginManifest
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.runtime.native import NativePlugin, load_native
from pluginapi.runtime.python import load_python_async
from pluginapi.runtime.threads import run_in_daemon_thread
from pluginapi.scan import Finding, scan_files

if TYPE_CHECKING:
    from pluginapi.hooks import HookRegistry
    from pluginapi.process import PluginProcessManager, ProcessSettings
    from pluginapi.runtime.base import LivePlugin
    from pluginapi.sandbox.config import SandboxConfig
    from pluginapi.security import PluginSecurity, TrustLevel, Verdict

__all__ = ["Inspection", "LimitsPolicy", "PluginLoader", "SandboxPolicy"]

LimitsPolicy: TypeAlias = Callable[[str, ResourceLimits | None], ResourceLimits]
SandboxPolicy: TypeAlias = "Callable[[PluginManifest, ResourceLimits], SandboxConfig | None]"


@dataclass(frozen=True, slots=True)
class Inspection:
    """Hold what is known of a plugin file before any of it runs."""

    file: PluginFile
    manifest: PluginManifest
    verdict: Verdict

    @property
    def finding(self) -> Finding:
        """What a scan finds of the file."""
        file = self.file
        return Finding(
            file.path, file.sha3_512, file.size, file.modified, self.manifest, self.verdict
        )


class PluginLoader:
    """Turn plugin files into live plugins, always in the same order and with no way back.

    The file is opened once; its bytes are hashed, its manifest is read from them, the verdict is
    reached, and those very bytes are loaded. No byte of a refused plugin runs. Safe to use from
    several threads.

    Args:
        security: Decides what may load.
        limits: Says which limits are in force for a plugin, from its name and what it declares;
            without it, what it declares or the defaults of `ResourceLimits`.
        isolation: Says where a plugin runs when the caller does not; without it, in this process.
        process_settings: The bounds of plugins in processes of their own.
        sandbox: Says what confines a plugin in a process of its own, from its manifest and its
            limits; without it, nothing does.
    """

    def __init__(
        self,
        security: PluginSecurity,
        *,
        limits: LimitsPolicy | None = None,
        isolation: IsolationPolicy | None = None,
        process_settings: ProcessSettings | None = None,
        sandbox: SandboxPolicy | None = None,
    ) -> None:
        self.security = security
        self._limits = limits or _declared_or_default
        self._isolation = isolation or _in_process
        self._process_settings = process_settings
        self._sandbox = sandbox
        self._processes: PluginProcessManager | None = None
        self._lock = threading.Lock()

    @property
    def processes(self) -> PluginProcessManager:
        """What runs plugins in processes of their own; made when it is first asked for."""
        from pluginapi.process import (  # noqa: PLC0415 - where it is needed
            PluginProcessManager,
            ProcessSettings,
        )

        with self._lock:
            if self._processes is None:
                self._processes = PluginProcessManager(self._process_settings or ProcessSettings())
            return self._processes

    @property
    def running_processes(self) -> PluginProcessManager | None:
        """As `processes`, or None while nothing has asked for them."""
        with self._lock:
            return self._processes

    def close(self) -> None:
        """End the plugin processes, if there are any; the next plugin begins anew. Blocks."""
        with self._lock:
            processes, self._processes = self._processes, None
        if processes is not None:
            processes.close()

    def inspect(self, path: Path | str) -> Inspection:
        """Read a plugin file and reach the verdict, running nothing of it.

        Raises:
            InvalidPlugin: When the file cannot be a plugin.
            InvalidManifest: When its metadata cannot be read.
            TrustListError: When the trust list cannot be read.
        """
        file = PluginFile.open(path, max_bytes=self.security.policy.max_plugin_bytes)
        manifest = read_manifest(file)
        return Inspection(file, manifest, self.security.verify(file, manifest))

    def inspect_many(
        self, paths: Iterable[Path | str]
    ) -> Iterator[tuple[Path, Finding | PluginError]]:
        """Inspect many plugin files as one pipeline, with one batch of signatures.

        Gives for each path, in their order, what `inspect` finds of it but for the bytes, or the
        error that `inspect` raises for it; see `pluginapi.scan`.

        Raises:
            TrustListError: When the trust list cannot be read: no file can be judged then.
        """
        given = (path if isinstance(path, Path) else Path(path) for path in paths)
        return scan_files(given, self.security)

    def limits_for(self, manifest: PluginManifest) -> ResourceLimits:
        """Return the limits that will be in force for a plugin."""
        return self._limits(manifest.name, manifest.resource_limits)

    def require(self, inspection: Inspection, trust_level: TrustLevel | None = None) -> None:
        """Refuse a plugin whose verdict is no, or whose trust is below `trust_level`.

        Raises:
            SecurityError: The class and the code are those of the first failed check.
        """
        inspection.verdict.raise_if_refused()
        if trust_level is not None and inspection.verdict.trust_level < trust_level:
            raise UntrustedPlugin(
                f"plugin {inspection.manifest.name!r} has trust level "
                f"{inspection.verdict.trust_level.name}, {trust_level.name} was asked for",
                code="trust.level",
                plugin=inspection.manifest.name,
                hint=f"sign it and run: pluginapi trust add {inspection.file.path}",
            )

    async def start(
        self,
        inspection: Inspection,
        config: Mapping[str, Any],
        isolation: Isolation | str | None = None,
        *,
        hooks: HookRegistry | None = None,
    ) -> LivePlugin:
        """Load the inspected bytes; the plugin's top-level code runs in a thread of its own.

        Call `require` first: this method does not ask for the verdict again. Cancelling it gives
        the load up; what the thread still produces is released. With ``hooks``, a plugin in a
        process of its own is refused when its handlers do not fit their types.

        Raises:
            LoadError: When the library or module cannot be loaded.
        """
        file, manifest = inspection.file, inspection.manifest
        where = self._isolation(manifest.name) if isolation is None else Isolation(isolation)
        try:
            if where is Isolation.PROCESS:
                from pluginapi.runtime.isolated import load_isolated  # noqa: PLC0415 - as above

                limits = self.limits_for(manifest)
                more = {} if self._sandbox is None else {"sandbox": self._sandbox(manifest, limits)}
                return load_isolated(
                    file,
                    manifest,
                    self.processes,
                    config=config,
                    limits=limits,
                    hooks=hooks,
                    **more,
                )
            if manifest.kind is PluginKind.NATIVE:
                native: NativePlugin = await run_in_daemon_thread(
                    self._load_native,
                    file,
                    manifest,
                    msgspec.msgpack.encode(dict(config)),
                    name=f"plugin-{manifest.name}-load",
                    abandoned=NativePlugin.close,
                )
                return native
            return await load_python_async(
                file, manifest, max_heap_bytes=self.limits_for(manifest).max_heap_bytes
            )
        except PluginError as err:
            err.plugin = err.plugin or manifest.name
            raise

    def _load_native(
        self, file: PluginFile, manifest: PluginManifest, config: bytes
    ) -> NativePlugin:
        return load_native(
            file,
            manifest,
            limits=self.limits_for(manifest),
            config=config,
            logger=logging.getLogger(f"pluginapi.plugin.{manifest.name}"),
        )

    async def load(
        self,
        path: Path | str,
        trust_level: TrustLevel | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        isolation: Isolation | str | None = None,
    ) -> LivePlugin:
        """Inspect, require and start in one step, for hosts that need no registry.

        The caller owns the result and closes it.
        """
        inspection = await asyncio.to_thread(self.inspect, path)
        self.require(inspection, trust_level)
        return await self.start(inspection, config or {}, isolation)


def _in_process(name: str) -> Isolation:
    del name
    return Isolation.IN_PROCESS


def _declared_or_default(name: str, declared: ResourceLimits | None) -> ResourceLimits:
    del name
    return declared or ResourceLimits()
