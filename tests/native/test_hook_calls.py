"""Native handlers called straight from the plan of a hook."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pluginapi._native import _hooks
from pluginapi.context import PluginContext
from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks import HookMode, HookRegistry, StopChain

if TYPE_CHECKING:
    from native.support import Native
    from pluginapi.plugin_file import PluginFile
    from pluginapi.runtime.native import NativePlugin

Raw = msgspec.Raw
encode = msgspec.msgpack.encode
FLAGS = ("0", "PA_F_THREAD_SAFE", "PA_F_NEVER_WAITS", "PA_F_THREAD_SAFE|PA_F_NEVER_WAITS")


async def activate(native: Native, file: PluginFile, registry: HookRegistry) -> NativePlugin:
    plugin = native.load(file)
    await plugin.init(PluginContext())
    await plugin.register_hooks(registry.scope("test.probe"))
    return plugin


@pytest.fixture(params=FLAGS)
def probe_of(request: pytest.FixtureRequest, native: Native) -> PluginFile:
    return native.file("probe.c", f"-DPROBE_FLAGS={request.param}")


async def test_values_errors_and_stops_are_the_same_for_every_flag(
    native: Native, probe_of: PluginFile
) -> None:
    registry = HookRegistry()
    for name in ("echo", "unchanged", "stop", "garbage"):
        registry.define(name, int, int)
    await activate(native, probe_of, registry)
    assert registry.call("echo", 5) == 5
    assert registry.call("unchanged", 6) == 6
    assert registry.call("stop", 7) == 7
    with pytest.raises(HookTypeError, match="not of its type"):
        registry.call("garbage", 1)
    with pytest.raises(HookTypeError, match="cannot be given to the native plugin"):
        registry.call("context_get", object())
    with pytest.raises(HookError) as caught:
        registry.call("fail", 1)
    assert caught.value.plugin == "test.probe"
    assert [(item.calls, item.errors) for item in registry.stats() if item.hook == "fail"] == [
        (1, 1)
    ]


async def test_no_python_frame_lies_between_call_and_plugin(
    native: Native, probe: PluginFile
) -> None:
    registry = HookRegistry()
    hook = registry.define("echo", int, int)
    await activate(native, probe, registry)
    assert hook.call(1) == 1
    entered: list[str] = []

    def trace(frame: Any, event: str, arg: object) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    sys.setprofile(trace)
    try:
        hook.call(2)
    finally:
        sys.setprofile(None)
    assert entered == []


async def test_raw_msgpack_crosses_as_it_is(native: Native, probe: PluginFile) -> None:
    registry = HookRegistry()
    echo = registry.define("echo", Raw, Raw)
    stop = registry.define("stop", Raw, Raw, mode=HookMode.FIRST)
    await activate(native, probe, registry)
    data = encode({"a": [1, 2.5, None, b"\x00"]})
    answer = echo.call(Raw(data))
    assert type(answer) is Raw
    assert bytes(answer) == data
    assert bytes(stop.call(Raw(data)) or b"") == data
    with pytest.raises(HookTypeError, match="takes Raw"):
        echo.call(data)  # type: ignore[arg-type]


async def test_values_of_a_chain_pass_between_python_and_c(
    native: Native, probe: PluginFile
) -> None:
    registry = HookRegistry()
    hook = registry.define("echo", int, int)
    hook.register(lambda n: n + 1, priority=0, owner="before")
    await activate(native, probe, registry)

    async def after(n: int) -> StopChain[int]:
        return StopChain(n * 2)

    hook.register(after, priority=300)
    assert hook.call(1) == 4
    assert await hook(2) == 6


async def test_threads_call_a_handler_that_must_run_alone(
    native: Native, probe_of: PluginFile
) -> None:
    registry = HookRegistry()
    hook = registry.define("echo", int, int)
    await activate(native, probe_of, registry)
    wrong: list[object] = []

    def call(base: int) -> None:
        wrong.extend(n for n in range(base, base + 2000) if hook.call(n) != n)

    threads = [threading.Thread(target=call, args=(base * 10_000,)) for base in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert registry.stats("test.probe")[0].hook
    assert sum(item.calls for item in registry.stats() if item.hook == "echo") == 8000


def test_a_handler_that_was_not_made_by_a_plugin_is_refused() -> None:
    with pytest.raises(TypeError, match="not a handler of a native plugin"):
        _hooks.Native(object(), encode, StopChain)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not initialised"):
        _hooks.Native.__new__(_hooks.Native).run(1)
