"""What a look-up in the shared context costs, against a dictionary."""

from __future__ import annotations

import contextvars
import time
from typing import Any

from racing import Looped, Race

from pluginapi import ContextKey, PluginContext

KEY = ContextKey("acme.number", int)
# Many short rounds, in the time that this process had: neighbours hit all contestants alike.
SHORT: Any = {"rounds": 101, "seconds": 0.002, "clock": time.process_time}


def contexts() -> tuple[PluginContext, PluginContext]:
    context = PluginContext()
    context[KEY] = 5
    view = context.view("acme", read=[KEY], write=[KEY])
    view[KEY] = 5
    return context, view


def test_get(race: Race) -> None:
    context, view = contexts()
    found = {"acme.number": 5}
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("number")
    variable.set(5)
    race(
        "read one value",
        "dict",
        {
            "dict": Looped("found['acme.number']", found=found),
            "pluginapi, host": Looped("context[KEY]", context=context, KEY=KEY),
            "pluginapi, a plugin's view": Looped("context[KEY]", context=view, KEY=KEY),
            "dict.get": Looped("found.get('acme.number')", found=found),
            "pluginapi get": Looped("context.get(KEY)", context=view, KEY=KEY),
            "contextvars": Looped("get()", get=variable.get),
        },
        **SHORT,
    )


def test_set(race: Race) -> None:
    context, view = contexts()
    found = {"acme.number": 5}
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("number")
    race(
        "set one value; ours with its type checked",
        "dict",
        {
            "dict": Looped("found['acme.number'] = 7", found=found),
            "pluginapi, host": Looped("context[KEY] = 7", context=context, KEY=KEY),
            "pluginapi, a plugin's view": Looped("context[KEY] = 7", context=view, KEY=KEY),
            "pluginapi set": Looped("context.set(KEY, 7)", context=view, KEY=KEY),
            "dict after isinstance": Looped(
                "if isinstance(7, int): found['acme.number'] = 7", found=found
            ),
            "contextvars": Looped("set(7)", set=variable.set),
        },
        **SHORT,
    )
