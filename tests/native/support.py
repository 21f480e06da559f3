"""Build small C plugins with the system's compiler, and stand-ins for the host they run in."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from native_build import EMULATED, EXAMPLES, INCLUDE, PLUGINS, STRICT, compile_plugin
from pluginapi.errors import (
    ContextError,
    ContextKeyNotFound,
    ContextTypeError,
    NotFound,
    ServiceNotFound,
)
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginManifest
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcessManager
from pluginapi.runtime.isolated import IsolatedPlugin, load_isolated
from pluginapi.runtime.native import NativePlugin, load_native

__all__ = [
    "EMULATED",
    "EXAMPLES",
    "HARNESS",
    "INCLUDE",
    "KERNELS",
    "PLUGINS",
    "STRICT",
    "Active",
    "FakeContext",
    "FakeScope",
    "Native",
]

_ROOT = Path(__file__).parents[2]
HARNESS = _ROOT / "tests" / "native_harness"
KERNELS = _ROOT / "src" / "_native" / "kernels"


class Registered:
    """What a plugin registered for one hook."""

    def __init__(self, handler: Any, priority: int) -> None:
        self.handler = handler
        self.priority = priority


class FakeScope:
    """Stand in for a HookScope: keeps what is registered; hooks have the types it was given."""

    def __init__(self, types: dict[str, Any] | None = None) -> None:
        self.types = types or {}
        self.registered: dict[str, Registered] = {}

    def hook(self, name: str) -> Any:
        return SimpleNamespace(output_type=self.types.get(name, Any))

    def register(
        self, name: str, priority: int, handler: Any, *, before: Any = (), after: Any = ()
    ) -> None:
        if name == "no such hook":
            raise NotFound(f"hook {name!r} does not exist", code="hook.failed")
        self.registered[name] = Registered(handler, priority)


class FakeContext:
    """Stand in for a PluginContext: one readable set of values, one key that may not be written."""

    def __init__(self, **values: Any) -> None:
        self.values = {name: msgspec.msgpack.encode(value) for name, value in values.items()}
        self.on_get: Any = None

    def get_bytes(self, name: str) -> bytes:
        if self.on_get is not None:
            self.on_get(name)
        if name not in self.values:
            raise ContextKeyNotFound(f"no key {name!r}")
        return self.values[name]

    def set_bytes(self, name: str, data: bytes) -> None:
        if name == "denied":
            raise ContextError(f"{name!r} is read-only")
        if name == "typed":
            raise ContextTypeError(f"{name!r} is not of this type")
        self.values[name] = data

    def has(self, name: str) -> bool:
        return name in self.values

    services = ("echo.same",)

    def call_service(self, service: str, method: str, arguments: bytes) -> bytes:
        if (service, method) != ("echo", "same"):
            raise ServiceNotFound(f"no method {service}.{method}")
        return arguments

    begin_service = call_service


class Active:
    """A plugin that was initialised and whose hooks are registered, with its stand-ins."""

    def __init__(self, plugin: Any, scope: FakeScope, context: FakeContext) -> None:
        self.plugin = plugin
        self.scope = scope
        self.context = context

    def call(self, hook: str, value: Any = None) -> Any:
        return self.scope.registered[hook].handler(value)


class Native:
    """Compile, read and load plugins; what was loaded is closed when the test ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loaded: list[NativePlugin] = []
        self.isolated: list[IsolatedPlugin] = []
        self.processes: PluginProcessManager | None = None
        self.numbers = itertools.count()

    def compile(self, source: Path | str, *flags: str, name: str = "plugin") -> Path:
        """Build a shared library from a source file, C++ when its name says so."""
        target = self.directory / f"{name}{next(self.numbers)}.so"
        return compile_plugin(source, target, *flags)

    def file(self, source: Path | str = "probe.c", *flags: str) -> PluginFile:
        return PluginFile.open(self.compile(source, *flags))

    def load(
        self,
        file: PluginFile,
        *,
        config: Any = None,
        manifest: PluginManifest | None = None,
        limits: ResourceLimits | None = None,
        logger: logging.Logger | None = None,
        **keywords: Any,
    ) -> NativePlugin:
        plugin = load_native(
            file,
            manifest or read_manifest(file),
            limits=limits or ResourceLimits(max_heap_bytes=65_536),
            config=msgspec.msgpack.encode(config or {}),
            logger=logger,
            **keywords,
        )
        self.loaded.append(plugin)
        return plugin

    async def isolate(
        self,
        file: PluginFile,
        *,
        types: dict[str, Any] | None = None,
        context: FakeContext | None = None,
        config: Any = None,
        limits: ResourceLimits | None = None,
    ) -> Active:
        """Do as `activate`, in a process of its own."""
        if self.processes is None:
            self.processes = PluginProcessManager()
        manifest = read_manifest(file)
        plugin = load_isolated(
            file,
            manifest,
            self.processes,
            config=config or {},
            limits=limits or ResourceLimits(max_heap_bytes=65_536),
        )
        self.isolated.append(plugin)
        active = Active(plugin, FakeScope(types), context or FakeContext(key="value"))
        await plugin.init(cast("Any", active.context))
        await plugin.register_hooks(cast("Any", active.scope))
        return active

    def close(self) -> None:
        """Close what was loaded."""
        for plugin in self.loaded:
            plugin.close()
        for isolated in self.isolated:
            isolated.close()
        if self.processes is not None:
            self.processes.close()

    async def activate(
        self,
        file: PluginFile,
        *,
        types: dict[str, Any] | None = None,
        context: FakeContext | None = None,
        **keywords: Any,
    ) -> Active:
        active = Active(
            self.load(file, **keywords), FakeScope(types), context or FakeContext(key="value")
        )
        await active.plugin.init(active.context)
        await active.plugin.register_hooks(active.scope)
        return active
