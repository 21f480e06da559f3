"""Bring one plugin up, and take it down again, so that nothing half-loaded stays behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pluginapi.context import ContextKey
from pluginapi.errors import (
    InitializationError,
    PluginError,
    PluginTimeout,
    ServiceError,
    ShutdownError,
)
from pluginapi.plugin_resources import PluginResources
from pluginapi.services.grants import ServiceGrants

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pluginapi.context import PluginContext
    from pluginapi.hooks import HookRegistry, HookScope
    from pluginapi.isolation import Isolation
    from pluginapi.loader import Inspection, PluginLoader
    from pluginapi.manifest import PluginManifest
    from pluginapi.runtime.base import LivePlugin

__all__ = ["PluginLifecycle", "RunningPlugin"]

logger = logging.getLogger("pluginapi.lifecycle")


@dataclass(frozen=True, slots=True)
class RunningPlugin:
    """Hold a live plugin together with what it was given of its host."""

    live: LivePlugin
    context: PluginContext
    scope: HookScope


@dataclass(slots=True)
class PluginLifecycle:
    """Run the steps of a plugin's life under their time limits.

    Attributes:
        loader: Turns verified bytes into a live plugin.
        hooks: Where the plugin registers its handlers.
        context: What the plugin sees of the host.
        init_timeout: Seconds for the top-level code, `init` and `register_hooks` together.
        shutdown_timeout: Seconds for `shutdown`.
        granted: Gives the service methods that the operator grants a plugin, by its name.
        resources: Gives what a plugin is told of its limits and of what it uses.
    """

    loader: PluginLoader
    hooks: HookRegistry
    context: PluginContext
    init_timeout: float
    shutdown_timeout: float
    granted: Callable[[str], Iterable[str]]
    resources: Callable[[PluginManifest], Mapping[str, Any]]

    async def bring_up(
        self,
        inspection: Inspection,
        config: Mapping[str, Any],
        isolation: Isolation | str | None = None,
    ) -> RunningPlugin:
        """Start a plugin that may load; its handlers become visible all at once at the end.

        On any failure, time-out or cancellation everything that was done is undone before this
        returns.
        """
        name = inspection.manifest.name
        running: RunningPlugin | None = None
        initialized = False
        try:
            async with asyncio.timeout(self.init_timeout):
                live = await self.loader.start(inspection, config, isolation, hooks=self.hooks)
                running = RunningPlugin(
                    live,
                    self._view(inspection.manifest, config),
                    self.hooks.scope(name, heap_account=live.heap_account),
                )
                await live.init(running.context)
                initialized = True
                # Paused, the handlers come into force all at once when they are complete.
                self.hooks.pause_owner(name)
                await live.register_hooks(running.scope)
                self.hooks.resume_owner(name)
        except BaseException as err:
            if running is not None:
                await self._undo(name, running, shutdown=initialized)
            if isinstance(err, PluginError) or not isinstance(err, Exception):
                raise
            if isinstance(err, TimeoutError):
                raise self._init_timeout(name) from err
            raise InitializationError(
                f"plugin {name!r} failed in init or register_hooks: {err!r}",
                plugin=name,
                hint="see the exception that caused this one",
            ) from err
        return running

    def _view(self, manifest: PluginManifest, config: Mapping[str, Any]) -> PluginContext:
        """Grant what the plugin declares, of services what the operator grants besides.

        Its own configuration, logger and resources are always there.
        """
        return self.context.view(
            manifest.name,
            read=manifest.requirements.context_read,
            write=manifest.requirements.context_write,
            services=self._services(manifest),
            values={
                ContextKey.Configuration: config,
                ContextKey.Logger: logging.getLogger(f"pluginapi.plugin.{manifest.name}"),
                ContextKey.Resources: PluginResources(lambda: self.resources(manifest)),
            },
        )

    def _services(self, manifest: PluginManifest) -> tuple[str, ...]:
        name = manifest.name
        try:
            grants = ServiceGrants.of(manifest.requirements.services, self.granted(name))
        except ValueError as err:
            raise ServiceError(
                f"what is granted to plugin {name!r} cannot be read: {err}",
                code="service.invalid",
                plugin=name,
                hint="grant service methods by name, such as 'database.fetch'",
            ) from err
        if grants.missing:
            logger.warning(
                "plugin %s needs service methods that it was not granted: %s. They do not exist "
                "for it; to grant them, %s",
                name,
                ", ".join(grants.missing),
                grants.remedy(name),
            )
        if grants.unused:
            logger.warning(
                "plugin %s was granted service methods that its manifest does not declare, so it "
                "cannot call them: %s",
                name,
                ", ".join(grants.unused),
            )
        return grants.allowed

    def _init_timeout(self, name: str) -> PluginTimeout:
        return PluginTimeout(
            f"plugin {name!r} did not finish loading and init within {self.init_timeout:g} s",
            code="lifecycle.init_timeout",
            plugin=name,
            hint="raise `init_timeout_secs` in section [lifecycle] of pluginapi.toml, or make the "
            "plugin's init faster; a thread of it may still be running",
        )

    async def _undo(self, name: str, running: RunningPlugin, *, shutdown: bool) -> None:
        try:
            await finish(self._end(name, running, shutdown=shutdown))
        except PluginError as err:
            logger.warning("plugin %s did not end cleanly after a failed load: %s", name, err)

    async def take_down(self, name: str, running: RunningPlugin, why: str = "") -> None:
        """Remove a plugin's handlers, run its `shutdown`, release what it holds.

        Finishes even if the caller is cancelled, and releases even if `shutdown` fails. ``why``
        says what its violations were, when they are what it is unmounted for.

        Raises:
            ShutdownError: When `shutdown` failed.
            PluginTimeout: When it did not finish within `shutdown_timeout`.
        """
        await finish(self._end(name, running, shutdown=True, why=why))

    async def _end(
        self, name: str, running: RunningPlugin, *, shutdown: bool, why: str = ""
    ) -> None:
        running.scope.close()
        self.hooks.remove_owner(name)
        try:
            if shutdown:
                async with asyncio.timeout(self.shutdown_timeout):
                    await running.live.shutdown(why)
        except PluginError:
            raise
        except TimeoutError as err:
            raise PluginTimeout(
                f"plugin {name!r} did not shut down within {self.shutdown_timeout:g} s",
                code="lifecycle.shutdown_timeout",
                plugin=name,
                hint="raise `shutdown_timeout_secs` in section [lifecycle] of pluginapi.toml; "
                "the plugin was unloaded, a thread of it may still be running",
            ) from err
        except Exception as err:
            raise ShutdownError(
                f"plugin {name!r} failed in shutdown: {err!r}",
                plugin=name,
                hint="see the exception that caused this one; the plugin was unloaded",
            ) from err
        finally:
            try:
                running.live.close()
            finally:
                running.context.close()


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end even if the caller is cancelled meanwhile, then say so.

    A cancellation is delivered to the caller once the work is done; the work has its own time
    limits.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as err:
            if task.cancelled():
                raise
            cancelled = err
        except Exception:  # noqa: BLE001 - raised from the task below.
            break
    if cancelled is not None:
        error = task.exception()
        if error is not None:
            logger.warning("clean-up failed while its caller was cancelled: %s", error)
        raise cancelled
    task.result()
