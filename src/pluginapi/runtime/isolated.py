"""Plugins in a process of their own, as the registry sees them: like those in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pluginapi.errors import InvalidState, IpcError, ServiceError
from pluginapi.hooks.forms import specs_of
from pluginapi.ipc.context_push import ContextPush
from pluginapi.ipc.protocol import (
    MAX_CONTEXT_KEYS,
    ContextDelete,
    ContextGet,
    ContextHas,
    ContextSet,
    Initialize,
    PluginRequest,
    Ready,
    ServiceCall,
    Success,
    Value,
)
from pluginapi.manifest import PluginKind, PluginManifest
from pluginapi.monitor.metrics import PluginUsage
from pluginapi.process.handler import ProcessHandler
from pluginapi.process.manager import SAME_SANDBOX, SameSandbox
from pluginapi.process.source import plugin_source
from pluginapi.process.status import EndReason
from pluginapi.runtime.native import check_config, check_native
from pluginapi.runtime.threads import run_in_daemon_thread

if TYPE_CHECKING:
    from pluginapi.context import PluginContext
    from pluginapi.hooks import HookRegistry, HookScope
    from pluginapi.ipc.channel import IpcChannel
    from pluginapi.limits import LimitInForce, ResourceLimits, Violation
    from pluginapi.plugin_file import PluginFile
    from pluginapi.process.manager import PluginProcessManager
    from pluginapi.process.process import PluginProcess
    from pluginapi.sandbox.config import SandboxConfig

__all__ = ["IsolatedPlugin", "load_isolated"]

# Live objects, what the worker has of its own, and what is looked at anew each time.
_NOT_PUSHED: Final = frozenset(
    {"DatabaseConnection", "HttpClient", "CacheManager", "Logger", "Configuration", "Resources"}
)


class IsolatedPlugin:
    """A plugin whose code runs in a process of its own; `load_isolated` makes it.

    `init` starts the process, loads the plugin there and runs its init and register_hooks;
    `register_hooks` puts what it registered into the host's hooks.

    Attributes:
        manifest: The manifest that was verified.
        process: Its process, for status, restarts and the reasons of its ends. None before `init`.
    """

    heap_limit: int | None = None
    heap_account = 0

    def __init__(
        self,
        file: PluginFile,
        manifest: PluginManifest,
        manager: PluginProcessManager,
        *,
        config: bytes,
        limits: ResourceLimits,
        logger: logging.Logger,
        hooks: HookRegistry | None,
        sandbox: SandboxConfig | SameSandbox | None,
    ) -> None:
        self.manifest = manifest
        self.process: PluginProcess | None = None
        self._file = file
        self._manager = manager
        self._config = config
        self._limits = limits
        self._logger = logger
        self._hooks = hooks
        self._sandbox = sandbox
        self._copy = file.sealed_copy()
        self._context: ContextPush | None = None
        self._ready: Ready | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<plugin {self.manifest.name} {self.manifest.version} in a process of its own>"

    async def init(self, context: PluginContext) -> None:
        """Start the process and bring the plugin up in it.

        Raises:
            PluginError: As `pluginapi.process.PluginProcess.start`.
        """
        name = self.manifest.name
        needs = self.manifest.requirements
        native = self.manifest.kind is PluginKind.NATIVE
        push = tuple(key for key in needs.context_read if key not in _NOT_PUSHED)
        write = tuple(key for key in needs.context_write if key not in _NOT_PUSHED)
        self._context = ContextPush(context, push[:MAX_CONTEXT_KEYS], write[:MAX_CONTEXT_KEYS])
        initialize = Initialize(
            name,
            str(self.manifest.version),
            # Native plugins read msgpack as they like: there is nothing to compare.
            hooks=() if native or self._hooks is None else specs_of(self._hooks),
            push=push[:MAX_CONTEXT_KEYS],
            write=write[:MAX_CONTEXT_KEYS],
            services=context.services,
            config=self._config,
            limits={
                "max_heap_bytes": self._limits.max_heap_bytes,
                # Some of a message is left to what stands beside the result.
                "max_result_bytes": self._manager.settings.channel.max_message_bytes * 7 // 8,
                "log_level": self._logger.getEffectiveLevel(),
            },
            source=plugin_source(self._file.path.name, self.manifest),
        )
        self.process = process = self._manager.create(
            "native" if native else "python",
            name,
            self._copy,
            initialize,
            on_request=self._serve,
            logger=self._logger,
            sandbox=self._sandbox,
            limits=self._limits,
        )
        loop = asyncio.get_running_loop()
        self._ready = await run_in_daemon_thread(
            process.start, name=f"plugin-{name}-start", abandoned=lambda _: process.kill()
        )

        def attach(channel: IpcChannel) -> None:
            if not channel.closed:
                channel.attach(loop)

        def attach_later(channel: IpcChannel) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(attach, channel)

        # With a loop attached, what the plugin says of its own accord is heard at once.
        attach(process.channel)
        process.on_channel = attach_later

    async def register_hooks(self, hooks: HookScope) -> None:
        """Register what the plugin registered in its process.

        Raises:
            HookError: What the registry refuses.
        """
        process, ready = self.process, self._ready
        if process is None or ready is None:
            raise InvalidState(
                f"plugin {self.manifest.name} registers hooks before its init",
                plugin=self.manifest.name,
                hint="call init first",
            )
        for spec in ready.handlers:
            handler = ProcessHandler(
                process.channel,
                spec,
                output_type=_OutputType(hooks, spec.hook),
                timeout=process.settings.call_timeout,
                context=self._context,
            )
            hooks.register(spec.hook, spec.priority, handler, before=spec.before, after=spec.after)
            process.handlers.append(handler)

    async def shutdown(self, why: str = "") -> None:
        """Run the plugin's shutdown and end its process; ``why`` when its violations led to it.

        Raises:
            ShutdownError: When its shutdown failed; the process has ended all the same.
        """
        process = self.process
        if process is not None:
            name = f"plugin-{self.manifest.name}-shutdown"
            reason = EndReason.LIMITS if why else EndReason.MANUAL
            detail = why or "stopped on request"
            stop = partial(process.stop, reason=reason, detail=detail)
            await run_in_daemon_thread(stop, name=name)

    def on_violation(self, report: Callable[[Violation], object]) -> None:
        """Report what is seen between two looks of the monitor; on any thread."""
        if self.process is not None:
            self.process.on_violation = report

    def on_kill(self, report: Callable[[str, str], object]) -> None:
        """Report, with reason and detail, that its process was ended by force; on any thread."""
        if self.process is not None:
            self.process.on_kill = report

    def limits_in_force(self) -> tuple[LimitInForce, ...]:
        """Return what keeps the plugin to each of its limits; empty without a process."""
        return () if self.process is None else self.process.limits_in_force()

    def usage(self, *, now: bool = True) -> PluginUsage:
        """Return what the plugin's process uses besides its worker; None of it without one."""
        return PluginUsage() if self.process is None else self.process.usage(now=now)

    def close(self) -> None:
        """End the process, if it is still there, and release what is held of it."""
        if self._closed:
            return
        self._closed = True
        if self.process is not None:
            self._manager.discard(self.process)
        self._copy.close()

    def _serve(self, message: PluginRequest, _scope: object) -> Success | Value | Awaitable[Value]:
        """Answer what the plugin asks of the context, as its view of it allows."""
        if self._context is None:
            raise InvalidState(f"plugin {self.manifest.name} has no context now")
        view = self._context.view
        match message:
            case ContextGet(key):
                return Value(view.get_bytes(key))
            case ContextSet(key, value):
                view.set_bytes(key, value)
                return Success()
            case ContextHas(key):
                return Value(msgspec.msgpack.encode(view.has(key)))
            case ContextDelete(key):
                view.remove_by_name(key)
                return Success()
            case ServiceCall(service, method, arguments):
                result = view.begin_service(service, method, arguments)
                if isinstance(result, bytes):
                    return Value(result)
                return self._finish(f"{service}.{method}", result)
        raise IpcError(
            f"the host serves no {type(message).__name__}",
            code="ipc.unsupported",
            plugin=self.manifest.name,
            hint="the host developer decides what plugins may ask",
        )

    async def _finish(self, method: str, result: Coroutine[Any, Any, bytes]) -> Value:
        """Await what a service method does.

        It is cancelled with the call in whose course the plugin made it; one that the plugin made
        in no call gets as much time as a call.
        """
        limit = self._manager.settings.call_timeout
        try:
            async with asyncio.timeout(limit):
                return Value(await result)
        except TimeoutError as err:
            raise ServiceError(
                f"the service method {method} took longer than {limit:g} s",
                code="service.deadline",
                plugin=self.manifest.name,
                hint="raise call_timeout_secs in section [isolation] of pluginapi.toml",
            ) from err


class _OutputType:
    """Find the type of a hook's results, which may be defined after its handlers."""

    def __init__(self, hooks: HookScope, name: str) -> None:
        self._hooks = hooks
        self._name = name

    def __call__(self) -> Any:
        return self._hooks.hook(self._name).output_type


def load_isolated(
    file: PluginFile,
    manifest: PluginManifest,
    manager: PluginProcessManager,
    *,
    config: Mapping[str, Any],
    limits: ResourceLimits,
    hooks: HookRegistry | None = None,
    sandbox: SandboxConfig | SameSandbox | None = SAME_SANDBOX,
) -> IsolatedPlugin:
    """Make ready what is needed to run a verified plugin in a process of its own.

    Nothing of the plugin runs before `IsolatedPlugin.init`. With ``hooks``, a Python plugin is
    refused when its handlers do not fit their types. ``sandbox`` confines it, in place of the
    manager's own; None does not confine it.

    Raises:
        PluginError: When the file is no plugin that this machine's worker can load.
    """
    name = manifest.name
    encoded = msgspec.msgpack.encode(dict(config))
    if manifest.kind is PluginKind.NATIVE:
        check_native(file, manifest)
        check_config(encoded, name)
    return IsolatedPlugin(
        file,
        manifest,
        manager,
        config=encoded,
        limits=limits,
        logger=logging.getLogger(f"pluginapi.plugin.{name}"),
        hooks=hooks,
        sandbox=sandbox,
    )
