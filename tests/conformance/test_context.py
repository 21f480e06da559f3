"""The context, wherever a plugin runs and whatever it is written in."""

from __future__ import annotations

import pytest

from conformance.conftest import COUNT, TENANT, Guise
from pluginapi.errors import PluginError


async def test_declared_keys_are_there_and_others_are_not(guise: Guise) -> None:
    await guise.load()
    assert await guise.call("context_get", "acme.tenant") == "blue"
    assert await guise.call("context_has", "acme.tenant") == 0
    assert await guise.call("context_has", "acme.hidden") == -11
    assert await guise.call("context_has", "acme.nothing") == -11
    messages = []
    for key in ("acme.hidden", "acme.nothing"):
        with pytest.raises(PluginError) as refused:
            await guise.call("context_get", key)
        messages.append(str(refused.value).replace(key, "KEY"))
    assert messages[0] == messages[1]


async def test_writes_reach_the_host_as_far_as_they_are_granted(guise: Guise) -> None:
    await guise.load()
    await guise.call("context_set", {"acme.count": 7})
    assert guise.registry.context.get(COUNT) == 7
    assert await guise.call("context_get", "acme.count") == 7
    with pytest.raises(PluginError):
        await guise.call("context_set", {"acme.tenant": "red"})
    with pytest.raises(PluginError):
        await guise.call("context_set", {"acme.count": "many"})
    assert guise.registry.context.get(TENANT) == "blue"
    assert guise.registry.context.get(COUNT) == 7


async def test_a_change_by_the_host_is_seen_by_the_next_call(guise: Guise) -> None:
    await guise.load()
    guise.registry.context.set(TENANT, "green")
    assert await guise.call("context_get", "acme.tenant") == "green"
    guise.registry.context.remove(TENANT)
    assert await guise.call("context_has", "acme.tenant") == -11
