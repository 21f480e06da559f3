"""Calls that run the handlers of some plugins alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks import ErrorPolicy, HookMode, HookRegistry


def saying(name: str) -> Callable[[int], str]:
    return lambda _: name


@pytest.fixture
def registry() -> HookRegistry:
    made = HookRegistry()
    hook = made.define("h", int, str, mode=HookMode.COLLECT)
    for owner in ("a", "b", None, "c"):
        hook.register(saying(owner or "host"), owner=owner)
    return made


async def test_only_and_without_choose_the_plugins(registry: HookRegistry) -> None:
    hook = registry.hook("h")
    assert await hook.subset(only=["a"])(1) == ["a", "host"]
    assert hook.subset(without=["a"]).call(1) == ["b", "host", "c"]
    assert hook.subset(only=["a", "b"], without=["b"]).start(1) == ["a", "host"]
    assert hook.subset().call(1) == ["a", "b", "host", "c"]
    assert hook.subset(only=[]).call(1) == ["host"]
    assert hook.call(1) == ["a", "b", "host", "c"]
    assert [item.handler for item in await hook.subset(only=["c"]).execute_all(1)] == [
        item.handler for item in registry.stats() if item.owner in (None, "c")
    ]
    assert len(hook.subset(only=["a"])) == 2


def test_a_subset_follows_its_hook(registry: HookRegistry) -> None:
    hook = registry.hook("h")
    subset = hook.subset(without=["b"])
    assert subset.hook is hook
    hook.register(saying("b2"), owner="b")
    hook.register(saying("d"), owner="d", priority=0)
    assert subset.call(1) == ["d", "a", "host", "c"]
    registry.pause_owner("d")
    assert subset.call(1) == ["a", "host", "c"]
    registry.resume_owner("d")
    registry.remove_owner("a")
    assert subset.call(1) == ["d", "host", "c"]
    registry.close()
    with pytest.raises(HookError) as caught:
        subset.call(1)
    assert caught.value.code == "hook.closed"


def test_a_subset_has_mode_policy_and_wrappers_of_its_hook(registry: HookRegistry) -> None:
    chain = registry.define("chain", int, int, on_error=ErrorPolicy.ISOLATE)

    def doubles(n: int) -> Generator[int, int, int]:
        return 2 * (yield n)

    chain.wrap(doubles, owner="w", priority=0)
    chain.register(lambda n: n + 1, owner="a")
    chain.register(lambda n: n // 0, owner="b")
    assert chain.subset(without=["w"]).call(1) == 2
    assert chain.subset(only=["w", "b"]).call(1) == 2
    assert chain.call(1) == 4
    with pytest.raises(HookTypeError, match="takes int"):
        chain.subset().call("1")  # type: ignore[arg-type]


def test_a_removed_plugin_is_freed_though_a_subset_ran_it(registry: HookRegistry) -> None:
    hook = registry.hook("h")

    class Plugin:
        def on_hook(self, _: int) -> str:
            return "x"

    plugin = Plugin()
    alive = weakref.ref(plugin)
    hook.register(plugin.on_hook, owner="x")
    subset = hook.subset(only=["x"])
    assert subset.call(1) == ["host", "x"]
    gc.disable()
    try:
        registry.remove_owner("x")
        del plugin
        assert alive() is None
    finally:
        gc.enable()
    assert subset.call(1) == ["host"]


def test_subsets_that_nobody_keeps_are_forgotten(registry: HookRegistry) -> None:
    hook = registry.hook("h")
    kept = hook.subset(only=["a"])
    for _ in range(100):
        hook.subset(only=["b"]).call(1)
    assert list(hook._subsets or ()) == [kept]


@pytest.mark.parametrize("wrong", ["a", 3, [None]])
def test_what_is_no_sequence_of_names_is_refused(registry: HookRegistry, wrong: Any) -> None:
    for options in ({"only": wrong}, {"without": wrong}):
        with pytest.raises(HookTypeError, match="not a sequence of plugin names"):
            registry.hook("h").subset(**options)
