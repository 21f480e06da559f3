"""Context that crosses with calls, and typed calls of hooks."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from ipc.peers import connected, encode
from pluginapi.context import PluginContext
from pluginapi.context_key import ContextKey
from pluginapi.errors import (
    ContextError,
    ContextKeyNotFound,
    ContextTypeError,
    HookTypeError,
    IpcProtocolError,
)
from pluginapi.hooks.results import StopChain
from pluginapi.ipc.context_push import ContextPush, pushed_context
from pluginapi.ipc.handler import RemoteHandler
from pluginapi.ipc.protocol import ContextWrites, HandlerSpec
from pluginapi.ipc.protocol import encode as encode_message

Transport = dict[str, Any]
TENANT = ContextKey("tenant", str)
CART = ContextKey("cart", list)


class Call(msgspec.Struct):
    name: str
    count: int = 0


def remote(channel: Any, number: int, output: Any, context: Any = None) -> RemoteHandler:
    return RemoteHandler(
        channel,
        HandlerSpec(number, "on_call"),
        output_type=lambda: output,
        timeout=5,
        context=context,
    )


def test_pushed_keys_are_read_and_written(transport: Transport) -> None:
    context = PluginContext()
    context.set(TENANT, "acme")
    context.set(CART, [1])
    push = ContextPush(
        context.view("p", ["tenant", "cart"], ["cart"]), ["tenant", "cart"], ["cart"]
    )
    inside = pushed_context(["cart"])

    def handle(call: Call) -> Call:
        cart = [*inside.get("cart"), call.count]
        inside.set("cart", cart)
        return Call(inside.get("tenant"), len(inside.get("cart")))

    handlers = {1: (handle, {"input_type": Call, "context": inside})}
    with connected(handlers, **transport) as (channel, _):
        call = remote(channel, 1, Call, push)
        assert call(Call("x", 2)) == Call("acme", 2)
        assert context.get(CART) == [1, 2]
        context.set(TENANT, "other")
        assert call(Call("x", 3)) == Call("other", 3)
        assert context.get(CART) == [1, 2, 3]


def test_a_key_can_be_removed(transport: Transport) -> None:
    context = PluginContext()
    context.set(TENANT, "acme")
    push = ContextPush(context.view("p", ["tenant"], ["tenant"]), ["tenant"], ["tenant"])
    inside = pushed_context(["tenant"])

    def handle(_: Any) -> Any:
        found = inside.get("tenant", None)
        inside.set("tenant", "soon gone")
        inside.remove("tenant")
        return [found, inside.get("tenant", None)]

    with connected({1: (handle, {"context": inside})}, **transport) as (channel, _):
        call = remote(channel, 1, list[Any], push)
        assert call(0) == ["acme", None]
        assert not context.has("tenant")
        assert call(0) == [None, None]


def test_async_handlers_at_the_same_time_have_their_own_values(transport: Transport) -> None:
    inside = pushed_context(["first", "second"])
    both = asyncio.Barrier(2)

    async def handle(name: str) -> list[Any]:
        found = [inside.get("tenant")]
        await both.wait()
        found.append(inside.get("tenant"))
        inside.set(name, found[0])
        await both.wait()
        found.append(inside.get("second" if name == "first" else "first", None))
        await both.wait()
        return found

    def run(name: str) -> tuple[list[Any], tuple[str, ...]]:
        context = PluginContext()
        context.set(TENANT, f"of {name}")
        written = ["first", "second"]
        push = ContextPush(context.view("p", ["tenant"], written), ["tenant"], written)
        return remote(channel, 1, list[Any], push)(name), context.keys()

    handlers = {1: (handle, {"context": inside})}
    with connected(handlers, **transport) as (channel, _), ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, ["first", "second"])
    assert first == (["of first", "of first", None], ("first", "tenant"))
    assert second == (["of second", "of second", None], ("second", "tenant"))


def test_a_call_within_a_call_has_its_own_values() -> None:
    inside = pushed_context(["tenant"])
    outer = inside.begin(encode({"tenant": "outer"}))
    inner = inside.begin(encode({"tenant": "inner"}))
    assert inside.get("tenant") == "inner"
    assert inside.end(inner) is None
    assert inside.get("tenant") == "outer"
    inside.set("tenant", "changed")
    assert inside.end(outer) == encode_message(
        ContextWrites({"tenant": msgspec.Raw(encode("changed"))})
    )
    with pytest.raises(ValueError, match="ended already"):
        inside.end(outer)


def test_context_is_refused_where_its_call_is_over() -> None:
    inside = pushed_context(["tenant"])
    call = inside.begin(encode({"tenant": "acme"}))
    left = contextvars.copy_context()  # as a task has that the handler leaves behind
    inside.end(call)
    assert left.run(inside.get, "tenant") == "acme"
    attempts: list[Callable[[], object]] = [
        lambda: inside.get("tenant"),
        lambda: left.run(inside.set, "tenant", 1),
        lambda: left.run(inside.remove, "tenant"),
    ]
    for attempt in attempts:
        with pytest.raises(ContextError) as caught:
            attempt()
        assert caught.value.code == "context.closed"


def test_what_was_not_pushed_is_not_there(transport: Transport) -> None:
    inside = pushed_context([])
    codes: list[str] = []

    def handle(_: Any) -> None:
        for attempt in (lambda: inside.get("secret"), lambda: inside.set("tenant", 1)):
            with pytest.raises(ContextError) as caught:
                attempt()
            codes.append(caught.value.code)

    with connected({1: (handle, {"context": inside})}, **transport) as (channel, _):
        assert remote(channel, 1, Any)(0) is None
    assert codes == ["context.key_not_found", "context.read_only"]


def test_values_are_encoded_once_until_something_changes() -> None:
    context = PluginContext()
    context.set(TENANT, "acme")
    push = ContextPush(context.view("p", ["tenant"]), ["tenant", "missing"], [])
    first = push.pushed()
    assert msgspec.msgpack.decode(first or b"") == {"tenant": "acme"}
    assert push.pushed() is first
    context.set(ContextKey("other", int), 1)
    assert push.pushed() is first
    context.set(TENANT, "new")
    assert msgspec.msgpack.decode(push.pushed() or b"") == {"tenant": "new"}
    context.remove(TENANT)
    assert msgspec.msgpack.decode(push.pushed() or b"") == {}


def test_values_that_change_in_place_are_encoded_every_time() -> None:
    context = PluginContext()
    cart = [1]
    context.set(CART, cart)
    push = ContextPush(context.view("p", ["cart"]), ["cart"], [])
    assert msgspec.msgpack.decode(push.pushed() or b"") == {"cart": [1]}
    cart.append(2)
    assert msgspec.msgpack.decode(push.pushed() or b"") == {"cart": [1, 2]}


def test_no_keys_push_nothing() -> None:
    assert ContextPush(PluginContext().view("p"), [], []).pushed() is None


def test_writes_are_checked() -> None:
    context = PluginContext()
    context.set(TENANT, "acme")
    view = context.view("p", ["tenant"], ["tenant"])
    push = ContextPush(view, ["tenant"], ["tenant"])

    def writes(name: str, value: bytes) -> bytes:
        return encode_message(ContextWrites({name: msgspec.Raw(value)}))

    with pytest.raises(IpcProtocolError, match="not agreed"):
        push.apply(writes("other", b"\x01"))
    with pytest.raises(IpcProtocolError):
        push.apply(b"\xc1")
    with pytest.raises(ContextTypeError):
        push.apply(writes("tenant", b"\x01"))
    assert context.get(TENANT) == "acme"
    push.apply(writes("tenant", encode("new")))
    assert context.get(TENANT) == "new"
    with pytest.raises(ContextError):
        ContextPush(context.view("p", ["tenant"], []), ["tenant"], ["tenant"]).apply(
            writes("tenant", encode("stolen"))
        )
    assert context.get(TENANT) == "new"


def test_writes_without_a_context_are_refused(transport: Transport) -> None:
    inside = pushed_context(["x"])

    def handle(_: Any) -> int:
        inside.set("x", 1)
        return 1

    with (
        connected({1: (handle, {"context": inside})}, **transport) as (channel, _),
        pytest.raises(HookTypeError, match="was not given"),
    ):
        remote(channel, 1, int)(0)


def test_a_handler_of_another_process_returns_typed_values(transport: Transport) -> None:
    handlers: dict[int, Any] = {
        1: (lambda call: call, {"input_type": Call}),
        2: lambda _: None,
        3: StopChain,
        4: lambda _: "text",
        5: lambda _: {"name": 5},
    }
    with connected(handlers, **transport) as (channel, _):
        assert remote(channel, 1, Call)(Call("a", 1)) == Call("a", 1)
        assert remote(channel, 2, Call)(Call("a", 1)) is None
        assert remote(channel, 3, Call)(Call("a", 1)) == StopChain(Call("a", 1))
        for number in (4, 5):
            with pytest.raises(HookTypeError, match="not of its type"):
                remote(channel, number, Call)(Call("a", 1))
        with pytest.raises(HookTypeError, match="cannot be given"):
            remote(channel, 1, Call)(object())
        assert not channel.closed


def test_the_output_type_may_change_after_a_call(transport: Transport) -> None:
    types: list[Any] = [int]
    with connected({1: lambda value: value}, **transport) as (channel, _):
        call = RemoteHandler(channel, HandlerSpec(1, "h"), output_type=lambda: types[0], timeout=5)
        assert call(1) == 1
        assert call(2) == 2
        types[0] = str
        with pytest.raises(HookTypeError):
            call(1)
        assert call("x") == "x"


def test_a_missing_key_says_what_to_do() -> None:
    inside = pushed_context([])
    inside.begin(None)
    with pytest.raises(ContextKeyNotFound) as caught:
        inside.get("tenant")
    assert "context_read" in str(caught.value.hint)


def test_removed_keys_are_known_for_as_long_as_the_call_runs() -> None:
    inside = pushed_context(["a", "b"])
    assert not inside.removed("a")
    token = inside.begin(encode({"a": 1, "b": 2}))
    assert not inside.removed("a")
    inside.remove("a")
    assert inside.removed("a")
    assert not inside.removed("b")
    # A call within the call is another one: the host has not heard of the removal yet.
    inner = inside.begin(encode({"a": 1}))
    assert not inside.removed("a")
    assert inside.get("a") == 1
    inside.end(inner)
    assert inside.removed("a")
    inside.set("a", 3)
    assert not inside.removed("a")
    assert inside.get("a") == 3
    inside.remove("a")
    inside.end(token)
    assert not inside.removed("a")


def test_an_awaitable_that_a_sync_handler_returns_still_has_the_context(
    transport: Transport,
) -> None:
    context = PluginContext()
    context.set(TENANT, "acme")
    push = ContextPush(context.view("p", ["tenant"], ["cart"]), ["tenant"], ["cart"])
    inside = pushed_context(["cart"])

    async def later() -> Any:
        inside.set("cart", [1])
        return [inside.get("tenant"), inside.running]

    with connected({1: (lambda _: later(), {"context": inside})}, **transport) as (channel, _):
        assert remote(channel, 1, list[Any], push)(0) == ["acme", True]
    assert context.get(CART) == [1]
    assert not inside.running


def test_changes_of_one_call_are_not_seen_by_the_next(transport: Transport) -> None:
    # The same values are pushed twice: the worker keeps them decoded in between.
    context = PluginContext()
    context.set(TENANT, "acme")
    push = ContextPush(context.view("p", ["tenant"], []), ["tenant"], [])
    inside = pushed_context(["tenant"])

    def handle(change: str) -> Any:
        found = inside.get("tenant", None)
        if change == "set":
            inside.set("tenant", "changed")
        elif change == "remove":
            inside.remove("tenant")
        return [found, inside.get("tenant", None)]

    with connected({1: (handle, {"context": inside})}, **transport) as (channel, _):
        reads = [
            msgspec.msgpack.decode(channel.call(1, encode(change), context=push.pushed())[3])
            for change in ("set", "set", "remove", "read")
        ]
    assert reads == [["acme", "changed"], ["acme", "changed"], ["acme", None], ["acme", "acme"]]
