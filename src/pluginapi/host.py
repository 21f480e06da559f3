"""The short way in: one object that wires everything from one pluginapi.toml."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pluginapi.config import HostConfig
from pluginapi.context import PluginContext
from pluginapi.errors import InvalidState, PluginError
from pluginapi.hooks import HookRegistry, HostEvent, define_standard_hooks
from pluginapi.info import PluginStatus, ScanReport, UnloadReport
from pluginapi.limits import UnmountBehavior
from pluginapi.loader import PluginLoader
from pluginapi.quarantine import Quarantine
from pluginapi.registry import PluginRegistry
from pluginapi.wiring import open_security

if TYPE_CHECKING:
    from types import TracebackType

    from pluginapi.control.server import ControlServer
    from pluginapi.export.security_log import SecurityLog
    from pluginapi.monitor import ResourceMonitor
    from pluginapi.security import PluginSecurity

__all__ = ["PluginHost", "StartReport"]

logger = logging.getLogger("pluginapi.host")


@dataclass(frozen=True, slots=True)
class StartReport:
    """Say what `PluginHost.start` did.

    Attributes:
        loaded: Names of the plugins that were loaded, in order.
        refused: The error of each plugin or file that was not loaded, by path.
    """

    loaded: tuple[str, ...]
    refused: Mapping[Path, PluginError]


class _Phase(Enum):
    STOPPED = "stopped"
    STARTING = "being started"
    STARTED = "started already"
    STOPPING = "being stopped"


class PluginHost:
    """Run the plugins of one server, as one configuration says.

    Use it as an asynchronous context manager::

        async with PluginHost.from_config("pluginapi.toml") as host:
            result = await host.points.on_request(request)

    Args:
        config: Says everything.
        security: Decides instead of what ``[security]`` describes: for a trust list whose key
            comes from elsewhere, such as a key management service.

    Attributes:
        config: What it was made from.
        hooks: The hooks of the server; define your own here before `start`.
        points: The predefined hooks, typed: `on_request`, `on_response`, `on_error`,
            `on_startup`, `on_shutdown`, `on_plugin_load` and `on_plugin_unload`.
        context: What plugins see of the server; fill it before `start`.
        security: Decides what may load.
        registry: The plugins.
        security_log: Where `[monitoring] security_log` says that it is, or None.
        monitor: The running monitor, or None.
        start_report: What the last `start` did, or None.
    """

    def __init__(self, config: HostConfig, *, security: PluginSecurity | None = None) -> None:
        self.config = config
        self.hooks = HookRegistry()
        self.points = define_standard_hooks(self.hooks)
        self.context = PluginContext()
        self.security = open_security(config) if security is None else security
        self.security_log = _security_log(config)
        self.registry = PluginRegistry(
            PluginLoader(
                self.security,
                limits=config.limits.for_plugin,
                isolation=config.isolation.for_plugin,
                process_settings=config.isolation.processes,
                sandbox=config.sandboxing.for_plugin if config.sandboxing.enabled else None,
            ),
            hooks=self.hooks,
            context=self.context,
            configs=config.plugin_tables,
            service_grants=config.services.plugins,
            init_timeout=config.lifecycle.init_timeout_secs,
            shutdown_timeout=config.lifecycle.shutdown_timeout_secs,
            violation_threshold=config.monitoring.violation_threshold,
            violation_window=config.monitoring.violation_window_secs,
            unmount_behavior=UnmountBehavior(
                auto_unmount=config.monitoring.auto_unmount,
                log_violations=config.monitoring.log_violations,
            ),
            quarantine=Quarantine(
                config.monitoring.quarantine_secs, config.monitoring.quarantine_most_secs
            ),
            security_log=self.security_log,
        )
        self.monitor: ResourceMonitor | None = None
        self.start_report: StartReport | None = None
        self._control: ControlServer | None = None
        self._phase = _Phase.STOPPED

    @property
    def started(self) -> bool:
        """Whether `start` has ended and `stop` has not begun: only then do plugins guard it."""
        return self._phase is _Phase.STARTED

    @classmethod
    def from_config(cls, path: str | os.PathLike[str]) -> Self:
        """Make a host from a configuration file.

        Raises:
            ConfigError: When the file is malformed, or the key of the trust list is not where
                it says; the message names the line or the source.
        """
        return cls(HostConfig.load(path))

    async def start(self) -> StartReport:
        """Open the trust list, scan, load, run `on_startup`, start the monitor, answer `top`.

        A plugin that is refused or fails is logged with reason and remedy and left out, except
        for the names in ``[plugins] load``: those must load, or the start fails as a whole and
        nothing stays loaded.

        Raises:
            TrustListError: When the trust list is needed and cannot be read.
            PluginError: When a plugin named in ``load`` is refused or fails.
            InvalidState: When the host is not stopped.
        """
        if self._phase is not _Phase.STOPPED:
            raise InvalidState(
                f"the host is {self._phase.value}", code="host.started", hint="stop it first"
            )
        self._phase = _Phase.STARTING
        try:
            await asyncio.to_thread(self.security.initialize)
            scan = await self._scan()
            self.start_report = await self._load(scan)
            await self.points.on_startup(HostEvent(self.start_report.loaded))
            if self.config.monitoring.enabled:
                self.monitor = self.registry.start_resource_monitor(
                    self.config.monitoring.check_interval_secs
                )
            self._control = _control_server(self)
        except BaseException:
            await self._take_down()
            raise
        self._phase = _Phase.STARTED
        return self.start_report

    async def _scan(self) -> ScanReport:
        plugins = self.config.plugins
        if not plugins.scan_on_start:
            return ScanReport((), {})
        scan = await asyncio.to_thread(self.registry.scan_directory, plugins.directory)
        self._warn_of_unused_tables()
        return scan

    def _warn_of_unused_tables(self) -> None:
        """Name the ``[plugin."X"]`` tables of no discovered plugin: most are misspelt."""
        known = {info.name for info in self.registry.get_all_plugins()}
        for name in self.config.plugin_tables:
            if name not in known:
                logger.warning(
                    'no readable plugin in %s has the name of the table [plugin."%s"]: nothing '
                    "reads it. `pluginapi list` shows the names.",
                    self.config.plugins.directory,
                    name,
                )

    async def _load(self, scan: ScanReport) -> StartReport:
        plugins = self.config.plugins
        loaded: list[str] = []
        refused: dict[Path, PluginError] = dict(scan.problems)
        if plugins.auto_load and plugins.load:
            loaded = [await self.registry.load_plugin_by_name(name) for name in plugins.load]
        elif plugins.auto_load:
            for info in scan.plugins:
                try:
                    if info.status is PluginStatus.UNTRUSTED and info.error is not None:
                        raise info.error
                    loaded.append(await self.registry.load_plugin_by_name(info.name))
                except PluginError as err:
                    refused[info.path] = err
                    logger.warning(
                        "plugin %s was not loaded: %s [%s] %s",
                        info.path,
                        err,
                        err.code,
                        err.hint or "",
                    )
        return StartReport(tuple(loaded), refused)

    async def stop(self) -> UnloadReport:
        """Run `on_shutdown`, stop the monitor and unload everything; never fails for a plugin.

        Of a host that is not started, or that another call stops at this moment, it stops
        nothing and reports nothing.

        Raises:
            InvalidState: When the host is being started: cancel that `start` instead.
        """
        if self._phase is _Phase.STARTING:
            raise InvalidState(
                "the host is being started",
                code="host.starting",
                hint="wait for start to end, or cancel the task that runs it",
            )
        if self._phase is not _Phase.STARTED:
            return UnloadReport((), {})
        self._phase = _Phase.STOPPING
        try:
            loaded = tuple(info.name for info in self.registry.list_loaded_plugins())
            await self.points.on_shutdown(HostEvent(loaded))
        finally:
            # Also when this call is cancelled in the middle of on_shutdown.
            report = await self._take_down()
        return report

    async def _take_down(self) -> UnloadReport:
        control, self._control = self._control, None
        try:
            if control is not None:
                await asyncio.to_thread(control.close)
            if self.monitor is not None:
                await self.monitor.stop()
                self.monitor = None
        finally:
            try:
                report = await self.registry.unload_all()
            finally:
                await asyncio.to_thread(self.registry.loader.close)
                if self.security_log is not None:
                    # It is opened again by the next event.
                    self.security_log.close()
                self._phase = _Phase.STOPPED
        return report

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


def _security_log(config: HostConfig) -> SecurityLog | None:
    settings = config.monitoring
    if settings.security_log is None:
        return None
    from pluginapi.export.security_log import SecurityLog  # noqa: PLC0415 - few hosts have one

    return SecurityLog(
        settings.security_log,
        max_bytes=settings.security_log_bytes,
        backups=settings.security_log_files,
    )


def _control_server(host: PluginHost) -> ControlServer | None:
    path = host.config.monitoring.control_socket
    if path is None:
        return None
    from pluginapi.control.answers import snapshot  # noqa: PLC0415 - few hosts have one
    from pluginapi.control.server import ControlServer  # noqa: PLC0415 - as above

    return ControlServer(path, {"snapshot": lambda _: snapshot(host.registry)})
