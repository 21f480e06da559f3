"""What a hook call costs, against an inline loop over the handlers, pluggy and blinker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blinker
import pluggy
import pytest
from racing import Race

from pluginapi import HookMode, HookRegistry

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


def handler() -> Callable[[int], None]:
    def take(value: int) -> None:
        del value

    return take


@pytest.mark.parametrize("count", [1, 5, 20])
def test_notify(race: Race, count: int) -> None:
    handlers = [handler() for _ in range(count)]
    registry = HookRegistry()
    hook = registry.define("on_value", int, int, mode=HookMode.NOTIFY)
    for function in handlers:
        registry.register("on_value", 200, function)
    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(Spec)
    for _ in range(count):
        manager.register(Plugin())
    signal = blinker.Signal()
    for function in handlers:
        signal.connect(function, weak=False)

    def inline() -> None:
        for function in handlers:
            function(1)

    on_value: Any = manager.hook.on_value
    race(
        f"notify, {count} sync handlers",
        "pluggy",
        {
            "pluggy": lambda: on_value(value=1),
            "blinker": lambda: signal.send(1),
            "inline for loop": inline,
            "pluginapi hook.call": lambda: hook.call(1),
        },
    )
