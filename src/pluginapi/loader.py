"""Verified bytes in, live plugin out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from pluginapi.errors import PluginError, TrustListError, UntrustedPlugin
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginKind, PluginManifest
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.runtime.native import NativePlugin, load_native
from pluginapi.runtime.python import load_python_async
from pluginapi.runtime.threads import run_in_daemon_thread

if TYPE_CHECKING:
    from pluginapi.runtime.base import LivePlugin
    from pluginapi.security import PluginSecurity, TrustLevel, Verdict

__all__ = ["Inspection", "LimitsPolicy", "PluginLoader"]

LimitsPolicy: TypeAlias = Callable[[str, ResourceLimits | None], ResourceLimits]


@dataclass(frozen=True, slots=True)
class Inspection:
    """Hold what is known of a plugin file before any of it runs."""

    file: PluginFile
    manifest: PluginManifest
    verdict: Verdict


class PluginLoader:
    """Turn plugin files into live plugins, always in the same order and with no way back.

    The file is opened once; its bytes are hashed, its manifest is read from them, the verdict is
    reached, and those very bytes are loaded. No byte of a refused plugin runs. Safe to use from
    several threads.

    Args:
        security: Decides what may load.
        limits: Says which limits are in force for a plugin, from its name and what it declares;
            without it, what it declares or the defaults of `ResourceLimits`.
    """

    def __init__(self, security: PluginSecurity, *, limits: LimitsPolicy | None = None) -> None:
        self.security = security
        self._limits = limits or _declared_or_default

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
    ) -> Iterator[tuple[Path, Inspection | PluginError]]:
        """Inspect many plugin files, hashing them together.

        Gives for each path, in their order, what `inspect` returns or raises for it. Files are
        read some 64 MiB ahead of the one that is given.

        Raises:
            TrustListError: When the trust list cannot be read: no file can be judged then.
        """
        given = iter(listed := [Path(path) for path in paths])
        limit = self.security.policy.max_plugin_bytes
        for batch in PluginFile.open_batches(listed, max_bytes=limit):
            for file in batch:
                yield next(given), file if isinstance(file, PluginError) else self._judge(file)

    def _judge(self, file: PluginFile) -> Inspection | PluginError:
        try:
            manifest = read_manifest(file)
            return Inspection(file, manifest, self.security.verify(file, manifest))
        except TrustListError:
            raise
        except PluginError as err:
            return err

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

    async def start(self, inspection: Inspection, config: Mapping[str, Any]) -> LivePlugin:
        """Load the inspected bytes; the plugin's top-level code runs in a thread of its own.

        Call `require` first: this method does not ask for the verdict again. Cancelling it gives
        the load up; what the thread still produces is released.

        Raises:
            LoadError: When the library or module cannot be loaded.
        """
        file, manifest = inspection.file, inspection.manifest
        try:
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
            return await load_python_async(file, manifest)
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
    ) -> LivePlugin:
        """Inspect, require and start in one step, for hosts that need no registry.

        The caller owns the result and closes it.
        """
        inspection = await asyncio.to_thread(self.inspect, path)
        self.require(inspection, trust_level)
        return await self.start(inspection, config or {})


def _declared_or_default(name: str, declared: ResourceLimits | None) -> ResourceLimits:
    del name
    return declared or ResourceLimits()
