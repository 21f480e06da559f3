"""What a hook call costs, against inline loops, plain await, gather, and other libraries.

All run the same functions in the same loop. `pluginapi, untimed` is a hook defined with
``timed=False``: it counts calls and errors and measures no time.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blinker
import msgspec
import pluggy
import psygnal
import pytest
import uvloop
from django.dispatch import Signal as DjangoSignal  # type: ignore[import-untyped]
from racing import Looped, Race
from stevedore.extension import Extension, ExtensionManager

from native_build import compile_plugin
from pluginapi import HookMode, HookRegistry, PluginContext, PluginFile, ResourceLimits
from pluginapi.hooks import ErrorPolicy, Hook, PendingCall
from pluginapi.metadata import read_manifest
from pluginapi.runtime.native import load_native

COUNTS = pytest.mark.parametrize("count", [1, 5, 20])
# Many short rounds, in the time that this process had: neighbours hit all contestants alike.
SHORT: Any = {"rounds": 101, "seconds": 0.002, "clock": time.process_time}

spec = pluggy.HookspecMarker("bench")
implementation = pluggy.HookimplMarker("bench")


class Spec:
    @spec
    def on_value(self, value: int) -> None:
        """Take a value."""


class Plugin:
    @implementation
    def on_value(self, value: int) -> None:
        """Take a value."""


class Emitter:
    taken = psygnal.Signal(int)


def takes() -> Callable[[int], None]:
    def take(value: int) -> None:
        pass

    return take


def receives() -> Callable[..., None]:
    def take(sender: object, value: int, **names: object) -> None:
        pass

    return take


def passes() -> Callable[[int], int]:
    def take(value: int) -> int:
        return value

    return take


def awaits() -> Callable[[int], Any]:
    async def take(value: int) -> int:
        return value

    return take


def hook_of(functions: list[Any], mode: HookMode, **options: Any) -> Hook[Any, Any]:
    hook = HookRegistry().define("on_value", int, int, mode=mode, **options)
    for function in functions:
        hook.register(function)
    return hook


def others(functions: list[Any]) -> dict[str, Looped]:
    """Return the other libraries, each in its best way of calling these functions."""
    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(Spec)
    for _ in functions:
        manager.register(Plugin())
    signal = blinker.Signal()
    emitter = Emitter()
    django = DjangoSignal()
    # Django calls with keywords alone.
    receivers = [receives() for _ in functions]
    for function, receiver in zip(functions, receivers, strict=True):
        signal.connect(function, weak=False)
        emitter.taken.connect(function)
        django.connect(receiver, weak=False)
    nothing: Any = None  # Neither entry point nor plugin: map looks at `obj` alone.
    extensions: Any = ExtensionManager.make_test_instance(
        [Extension(str(n), nothing, nothing, function) for n, function in enumerate(functions)]
    )
    return {
        "pluggy": Looped("on_value(value=1)", on_value=manager.hook.on_value),
        "blinker": Looped("send(1)", send=signal.send),
        "psygnal": Looped("emit(1)", emit=emitter.taken.emit),
        "stevedore map": Looped(
            "run(call, 1)", run=extensions.map, call=lambda extension, value: extension.obj(value)
        ),
        "Django send": Looped("send(None, value=1)", send=django.send),
    }


@COUNTS
def test_notify(race: Race, count: int) -> None:
    functions = [takes() for _ in range(count)]
    plain = hook_of(functions, HookMode.NOTIFY, timed=False)
    timed = hook_of(functions, HookMode.NOTIFY)
    race(
        f"notify, {count} sync handlers",
        "inline for loop",
        {
            "inline for loop": Looped("for take in functions: take(1)", functions=functions),
            "pluginapi, untimed": Looped("hook.call(1)", hook=plain),
            "pluginapi": Looped("hook.call(1)", hook=timed),
            **others(functions),
        },
        **SHORT,
    )


@COUNTS
def test_chain(race: Race, count: int) -> None:
    functions = [passes() for _ in range(count)]
    plain = hook_of(functions, HookMode.CHAIN, timed=False)
    isolated = hook_of(functions, HookMode.CHAIN, on_error=ErrorPolicy.ISOLATE)
    race(
        f"chain, {count} sync handlers",
        "inline for loop",
        {
            "inline for loop": Looped(
                "value = 1\nfor take in functions: value = take(value)", functions=functions
            ),
            "pluginapi, untimed": Looped("hook.call(1)", hook=plain),
            "pluginapi, isolated, timed, counted": Looped("hook.call(1)", hook=isolated),
        },
        **SHORT,
    )


FAST_FORM = "answer = hook.start(1)\nif type(answer) is PendingCall: answer = await answer"
AWAIT_LOOP = "value = 1\nfor take in functions: value = await take(value)"


@COUNTS
def test_async_handlers_that_do_not_wait(race: Race, count: int) -> None:
    functions = [awaits() for _ in range(count)]
    hook = hook_of(functions, HookMode.CHAIN, timed=False)
    timed = hook_of(functions, HookMode.CHAIN)
    loop = asyncio.new_event_loop()
    wait = loop.run_until_complete
    names: dict[str, Any] = {"functions": functions, "PendingCall": PendingCall}
    race(
        f"{count} async handlers that do not wait",
        "await in a loop",
        {
            "await in a loop": Looped(AWAIT_LOOP, wait=wait, **names),
            "pluginapi start, untimed": Looped(FAST_FORM, wait=wait, hook=hook, **names),
            "pluginapi start": Looped(FAST_FORM, wait=wait, hook=timed, **names),
            "pluginapi await, untimed": Looped("await hook(1)", wait=wait, hook=hook),
            "asyncio.gather": Looped(
                "await gather(*[take(1) for take in functions])",
                wait=wait,
                gather=asyncio.gather,
                **names,
            ),
        },
        **SHORT,
    )
    loop.close()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_handler_that_waits(race: Race, make_loop: Callable[[], Any]) -> None:
    async def waits(value: int) -> int:
        await asyncio.sleep(0)
        return value

    hook = hook_of([waits], HookMode.CHAIN, timed=False)
    timed = hook_of([waits], HookMode.CHAIN)
    loop = make_loop()
    wait = loop.run_until_complete
    names: dict[str, Any] = {"functions": [waits], "PendingCall": PendingCall}
    race(
        f"1 async handler that waits, {type(loop).__module__.partition('.')[0]}",
        "await in a loop",
        {
            "await in a loop": Looped(AWAIT_LOOP, wait=wait, **names),
            "pluginapi start, untimed": Looped(FAST_FORM, wait=wait, hook=hook, **names),
            "pluginapi start": Looped(FAST_FORM, wait=wait, hook=timed, **names),
            "pluginapi await, untimed": Looped("await hook(1)", wait=wait, hook=hook),
        },
        **SHORT,
    )
    loop.close()


Raw = msgspec.Raw
NATIVE_HOOKS = {"same": Raw, "echo": Raw, "same_int": int, "echo_int": int}


def takes_raw(value: Raw) -> None:
    pass


def native_hooks(library: Path) -> dict[str, Hook[Any, Any]]:
    """Load a native plugin and return the hooks that it registered on."""
    file = PluginFile.open(library)
    plugin = load_native(file, read_manifest(file), limits=ResourceLimits())
    registry = HookRegistry()
    hooks: dict[str, Hook[Any, Any]] = {
        name: registry.define(name, kind, kind, timed=False) for name, kind in NATIVE_HOOKS.items()
    }

    async def register() -> None:
        await plugin.init(PluginContext())
        await plugin.register_hooks(registry.scope("bench.native"))

    asyncio.run(register())
    return hooks


def test_native_handlers(race: Race, tmp_path: Path) -> None:
    source = Path(__file__).with_name("native_handlers.c")
    quick = native_hooks(compile_plugin(source, tmp_path / "quick.so", "-DFLAGS=PA_F_NEVER_WAITS"))
    usual = native_hooks(compile_plugin(source, tmp_path / "usual.so"))
    python = HookRegistry().define("same", Raw, Raw, timed=False)
    python.register(takes_raw)
    raw = Raw(msgspec.msgpack.encode(b"16 bytes of data"))
    names: dict[str, Any] = {"raw": raw}
    race(
        "1 native handler; msgpack bytes in and out, or an int encoded and decoded",
        "a Python handler in a hook",
        {
            "the loop alone": Looped("pass"),
            "a Python handler in a hook": Looped("hook.call(raw)", hook=python, **names),
            "bytes in, PA_F_NEVER_WAITS": Looped("hook.call(raw)", hook=quick["same"], **names),
            "bytes in": Looped("hook.call(raw)", hook=usual["same"], **names),
            "bytes in and out, PA_F_NEVER_WAITS": Looped(
                "hook.call(raw)", hook=quick["echo"], **names
            ),
            "bytes in and out": Looped("hook.call(raw)", hook=usual["echo"], **names),
            "int in, PA_F_NEVER_WAITS": Looped("hook.call(7)", hook=quick["same_int"]),
            "int in and out": Looped("hook.call(7)", hook=usual["echo_int"]),
        },
        **SHORT,
    )


HOOKS, HANDLERS = 1000, 10


def register_all(functions: list[Any]) -> HookRegistry:
    registry = HookRegistry()
    for name in range(HOOKS):
        for function in functions[name * HANDLERS : (name + 1) * HANDLERS]:
            registry.register(f"hook{name}", 200, function, owner="acme")
    return registry


def test_registration(race: Race) -> None:
    functions = [passes() for _ in range(HOOKS * HANDLERS)]

    def lists() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for name in range(HOOKS):
            for function in functions[name * HANDLERS : (name + 1) * HANDLERS]:
                found.setdefault(f"hook{name}", []).append(function)
        return found

    race(
        "register 10,000 handlers on 1,000 hooks",
        "append to lists in a dict",
        {
            "append to lists in a dict": lists,
            "pluginapi": lambda: register_all(functions),
        },
        seconds=0.1,
        clock=time.process_time,
    )
    register_all(functions)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    registry = register_all(functions)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(registry.hook("hook0")) == HANDLERS
    race.notes.append(
        f"memory of 10,000 handlers on 1,000 hooks, hooks included: "
        f"{used / (HOOKS * HANDLERS):.0f} bytes a handler"
    )
