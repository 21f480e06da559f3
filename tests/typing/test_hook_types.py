"""What type checkers must infer and refuse; test_checkers.py runs mypy and pyright over this.

Each `type: ignore` fails the check when there is no error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol, assert_type

import pytest

from pluginapi.context import ContextChange, ContextKey, ContextWatch, PluginContext
from pluginapi.errors import ContextTypeError, HookTypeError, ServiceArgumentError
from pluginapi.hooks import (
    Hook,
    HookMode,
    HookRegistry,
    HookSubset,
    PendingCall,
    VetoResult,
    define_standard_hooks,
)
from pluginapi.http import HttpRequest, HttpResponse


async def test_a_call_has_the_type_that_mode_and_definition_give() -> None:
    registry = HookRegistry()
    chain = registry.define("chain", int, str | int)
    collect = registry.define("collect", int, str, mode=HookMode.COLLECT)
    first = registry.define("first", int, str, mode=HookMode.FIRST)
    veto = registry.define("veto", int, mode=HookMode.VETO)
    notify = registry.define("notify", int, mode=HookMode.NOTIFY)
    plain = registry.define("plain", int, int)
    assert_type(plain, Hook[int, int])
    assert_type(notify, Hook[int, None])
    assert_type(await plain(1), int)
    assert_type(plain.call(1), int)
    assert_type(await collect(1), list[str])
    assert_type(await first(1), str | None)
    assert_type(await veto(1), VetoResult)
    # A union is no class: the definition alone does not say its type, an annotation does.
    annotated: Hook[int, str | int] = chain
    assert_type(await annotated(1), str | int)


async def test_the_fast_form_is_typed() -> None:
    hook = HookRegistry().define("h", int, int)
    answer = hook.start(1)
    assert_type(answer, int | PendingCall[int])
    if isinstance(answer, PendingCall):
        answer = await answer
    assert_type(answer, int)
    with pytest.raises(HookTypeError):
        hook.start("text")  # type: ignore[arg-type]


async def test_a_subset_has_the_types_of_its_hook() -> None:
    hook = HookRegistry().define("h", int, str, mode=HookMode.COLLECT)
    subset = hook.subset(only=["acme"])
    assert_type(subset, HookSubset[int, list[str]])
    assert_type(await subset(1), list[str])
    assert_type(subset.call(1), list[str])
    with pytest.raises(HookTypeError):
        subset.call("text")  # type: ignore[arg-type]


async def test_a_value_or_handler_of_another_type_is_refused() -> None:
    hook = HookRegistry().define("h", int, int)

    def takes_text(value: str) -> str:
        return value

    def takes_object(value: object) -> None: ...

    hook.register(takes_text)  # type: ignore[arg-type]
    hook.register(takes_object)
    with pytest.raises(HookTypeError):
        await hook("text")  # type: ignore[arg-type]


async def test_predefined_hooks_are_typed() -> None:
    hooks = define_standard_hooks(HookRegistry())
    assert_type(hooks.on_request, Hook[HttpRequest, HttpRequest | HttpResponse])
    assert_type(await hooks.on_request(HttpRequest("GET", "/")), HttpRequest | HttpResponse)
    assert_type(await hooks.on_response(HttpResponse(200)), HttpResponse)


def test_context_values_have_the_type_of_their_key() -> None:
    context = PluginContext()
    key = ContextKey("acme.number", int)
    context.set(key, 1)
    assert_type(key, ContextKey[int])
    assert_type(context.get(key), int)
    assert_type(context.get(key, None), int | None)
    context.set(ContextKey.custom("anything"), 1)
    assert_type(context.get(ContextKey.custom("anything")), Any)
    with pytest.raises(ContextTypeError):
        context.set(key, "text")  # type: ignore[misc]


def test_subscripts_have_the_type_of_their_key() -> None:
    context = PluginContext()
    key = ContextKey("acme.number", int)
    context[key] = 1
    assert_type(context[key], int)
    with pytest.raises(ContextTypeError):
        context[key] = "text"  # type: ignore[misc]
    changes: list[ContextChange] = []
    assert_type(context.watch(key, changes.append), ContextWatch)


def test_predefined_keys_have_their_types() -> None:
    context = PluginContext()
    context.set(ContextKey.Logger, logging.getLogger("acme"))
    context.set(ContextKey.Configuration, {"rate": 5})
    assert_type(context.get(ContextKey.Logger), logging.Logger)
    assert_type(context.get(ContextKey.Configuration), Mapping[str, Any])


class Rows(Protocol):
    def fetch(self, *, number: int) -> list[str]: ...


class LaterRows(Protocol):
    async def fetch(self, *, number: int) -> list[str]: ...


class Stored:
    def fetch(self, number: int) -> list[str]:
        return ["row"] * number


async def test_services_have_the_types_of_their_interface() -> None:
    context = PluginContext()
    context.expose("rows", Stored(), methods=["fetch"])
    assert_type(context.service("rows"), Any)
    assert_type(context.service("rows", Rows), Rows)
    assert_type(context.service("rows", Rows).fetch(number=1), list[str])
    assert_type(await context.async_service("rows", LaterRows).fetch(number=1), list[str])
    with pytest.raises(ServiceArgumentError):
        context.service("rows", Rows).fetch(number="1")  # type: ignore[arg-type]
