"""One plugin in guises: Python and C, in the host's process, in one of its own, in a sandbox."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from native_build import compile_plugin
from pluginapi import ContextKey, PluginRegistry
from support import Forge

NAME = "test.probe"
TENANT = ContextKey("acme.tenant", str)
COUNT = ContextKey("acme.count", int)

# What pluginapi.h says with a status, `pluginapi.errors` says with a code.
STATUSES = {
    -1: {"service.failed", "service.result"},
    -2: {"service.arguments"},
    -3: {"service.suspended"},
    -5: {"service.too_large"},
    -6: {"service.deadline"},
    -11: {"service.not_found"},
}

# The same handlers as those of native_plugins/probe.c.
_PYTHON = """
def init(self, context):
    self.context = context
def register_hooks(self, hooks):
    for name in ("context_get", "context_set", "context_has", "service"):
        hooks.register(name, 200, getattr(self, name))
def context_get(self, key):
    return self.context.get(ContextKey.custom(key))
def context_set(self, pair):
    for key, value in pair.items():
        self.context.set(ContextKey.custom(key), value)
def context_has(self, key):
    return 0 if self.context.has(key) else -11
def service(self, call):
    service, method, arguments = call
    try:
        return [0, getattr(self.context.service(service), method)(**arguments)]
    except PluginError as err:
        return [err.code, None]
"""
_DECLARED = (
    "requirements=PluginRequirements(context_read=('acme.tenant', 'acme.count'), "
    "context_write=('acme.count',), services=('database.fetch', 'database.slow', "
    "'database.broken', 'database.blob', 'database.wrong', 'database.forbidden', "
    "'database.absent', 'database.nested', 'database.refuse', 'database.hang')),"
)
GRANTED = tuple(
    f"database.{name}"
    for name in (
        "fetch",
        "slow",
        "broken",
        "blob",
        "wrong",
        "absent",
        "nested",
        "refuse",
        "hang",
        "more",
    )
)


class Guise:
    """The plugin in one of its guises, in a registry."""

    def __init__(self, registry: PluginRegistry, path: Path, kind: str, isolation: str) -> None:
        self.registry = registry
        self.path = path
        self.is_native = kind == "native"
        self.in_process = isolation == "in-process"
        self._isolation = "in-process" if self.in_process else "process"

    async def load(self) -> None:
        await self.registry.load_plugin(self.path, isolation=self._isolation)

    async def call(self, hook: str, value: Any) -> Any:
        return await self.registry.hooks.execute(hook, value)

    async def service(self, method: str, service: str = "database", **arguments: Any) -> Any:
        """Call a service method through the plugin: its result, or the code of its failure."""
        status, result = await self.call("service", [service, method, arguments])
        return result if status == 0 else status

    async def fails(self, code: str, method: str, service: str = "database", **given: Any) -> bool:
        found = await self.service(method, service, **given)
        return code in STATUSES[found] if isinstance(found, int) else found == code


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("probe") / "probe.so"
    return compile_plugin("probe.c", target, "-DPROBE_DECLARES")


@pytest.fixture(params=["python", "native"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["in-process", "process", "strict"])
def isolation(request: pytest.FixtureRequest) -> str:
    if request.param != "in-process" and sys.platform != "linux":
        pytest.skip("plugin processes need Linux")
    if request.param == "strict" and os.getuid() != 0:
        pytest.skip("the sandbox here is that of root; tests/escape has the others")
    return str(request.param)


@pytest.fixture
async def guise(forge: Forge, library: Path, kind: str, isolation: str) -> AsyncIterator[Guise]:
    if kind == "native":
        path = forge.plugins / "probe.so"
        shutil.copy(library, path)
        forge.sign(path)
        forge.trust(path)
    else:
        path = forge.plugin(
            NAME,
            _PYTHON,
            version="1.2.3",
            extra=_DECLARED,
            top_level="from pluginapi import ContextKey\nfrom pluginapi.errors import PluginError",
        )
    registry = forge.registry(service_grants={NAME: GRANTED})
    for hook in ("context_get", "context_set", "context_has", "service"):
        registry.hooks.define(hook, Any, Any)
    registry.context.set(TENANT, "blue")
    registry.context.set(COUNT, 1)
    registry.context.set(ContextKey("acme.hidden", str), "secret")
    made = Guise(registry, path, kind, isolation)
    if isolation == "strict":
        from pluginapi.process import PluginProcessManager
        from pluginapi.sandbox.config import SandboxConfig
        from pluginapi.sandbox.seccomp import SeccompMode

        registry.loader._processes = PluginProcessManager(
            sandbox=SandboxConfig(seccomp=SeccompMode.STRICT)
        )
    yield made
    await registry.unload_all()
    if registry.loader._processes is not None:
        registry.loader._processes.close()
    registry.loader.close()
