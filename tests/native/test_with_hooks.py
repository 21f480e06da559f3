"""Native plugins on the real hooks and the real context."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pluginapi.context import ContextKey, PluginContext
from pluginapi.errors import HookTypeError, InvalidState
from pluginapi.hooks.points import define_standard_hooks
from pluginapi.hooks.registry import HookRegistry
from pluginapi.http import HttpRequest, HttpResponse
from pluginapi.limits import ResourceLimits

if TYPE_CHECKING:
    from native.support import Native
    from pluginapi.plugin_file import PluginFile
    from pluginapi.runtime.native import NativePlugin


async def _activate(plugin: NativePlugin, registry: HookRegistry, context: PluginContext) -> None:
    await plugin.init(context)
    await plugin.register_hooks(registry.scope(plugin.manifest.name))


@pytest.fixture
def registry() -> HookRegistry:
    made = HookRegistry()
    define_standard_hooks(made)
    return made


async def test_requests_and_responses_pass_through_both_examples(
    native: Native, registry: HookRegistry, filter_file: PluginFile, redactor_file: PluginFile
) -> None:
    limits = ResourceLimits(max_heap_bytes=1 << 20)
    context = PluginContext()
    for file in (filter_file, redactor_file):
        await _activate(native.load(file, limits=limits), registry, context)
    for hook in ("on_request", "on_response"):
        assert len(registry.get_hooks(hook)[0].handlers) == 1

    allowed = HttpRequest("GET", "/a")
    assert await registry.execute("on_request", allowed) == allowed
    refused = await registry.execute("on_request", HttpRequest("GET", "/%2e%2e/a"))
    assert isinstance(refused, HttpResponse)
    assert refused.status == 400
    assert refused.header("x-request-filter") == "path-traversal"

    page = HttpResponse(200, (("content-type", "text/plain"),), b"4111111111111111", allowed)
    masked = await registry.execute("on_response", page)
    assert masked == msgspec.structs.replace(page, body=b"************1111")
    assert [item.calls for item in registry.stats("request-filter")] == [2]


async def test_context_values_cross(native: Native, probe: PluginFile) -> None:
    registry = HookRegistry()
    context = PluginContext()
    context.set(ContextKey("limit", int), 5)
    context.set(ContextKey("secret", int), 5)
    view = context.view("test.probe", read=["limit"], write=["state"])
    plugin = native.load(probe)
    await _activate(plugin, registry, view)
    assert await registry.execute("context_get", "limit") == 5
    assert await registry.execute("context_has", "secret") == -11
    await registry.execute("context_set", {"state": {"a": 1}})
    assert context.get(ContextKey.custom("state")) == {"a": 1}
    for value, status in (({"limit": 6}, "PA_ERR_DENIED"), ({"secret": 1}, "NOT_FOUND")):
        with pytest.raises(Exception, match=status):
            await registry.execute("context_set", value)
    view.close()
    with pytest.raises(InvalidState, match="PA_ERR_STATE"):
        await registry.execute("context_get", "limit")


async def test_a_hook_that_is_defined_after_its_handlers(native: Native, probe: PluginFile) -> None:
    registry = HookRegistry()
    await _activate(native.load(probe), registry, PluginContext())
    echo: Any = registry.hook("echo")
    assert await echo({"method": "GET"}) == {"method": "GET"}
    registry.define("echo", HttpRequest, HttpRequest)
    request = HttpRequest("GET", "/", headers=(("a", "b"),), body=b"x")
    assert await echo(request) == request
    registry.define("garbage", HttpRequest, HttpRequest)
    with pytest.raises(HookTypeError, match="not of its type"):
        await registry.execute("garbage", request)


async def test_a_stopped_chain_runs_no_later_handler(native: Native, probe: PluginFile) -> None:
    registry = HookRegistry()
    later: list[int] = []
    registry.register("stop", 400, later.append)
    registry.register("unchanged", 400, later.append)
    await _activate(native.load(probe), registry, PluginContext())
    assert await registry.execute("stop", 1) == 1
    assert later == []
    assert await registry.execute("unchanged", 2) == 2
    assert later == [2]


async def test_handlers_of_an_unloaded_plugin_are_gone(
    native: Native, probe: PluginFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry = HookRegistry()
    plugin = native.load(probe)
    await _activate(plugin, registry, PluginContext())
    assert registry.remove_owner("test.probe") > 10
    await plugin.shutdown()
    plugin.close()
    assert await registry.execute("echo", 1) == 1
    assert registry.get_hooks("echo")[0].handlers == ()
