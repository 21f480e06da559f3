"""What a host may expose, and how grants narrow it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, Protocol

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi import PluginContext
from pluginapi.errors import (
    ContextError,
    ServiceArgumentError,
    ServiceError,
    ServiceNotFound,
)
from pluginapi.services import MAX_SERVICES, ServiceGrants, calling_plugin
from pluginapi.services.method import ServiceMethod
from pluginapi.services.names import is_service_method


class Row(msgspec.Struct):
    id: int
    tags: tuple[str, ...] = ()


class Custom:
    pass


class Pool:
    def fetch(self, id: int, limit: int = 1) -> list[Row]:  # noqa: A002 - as columns are called
        return [Row(id, ("a",))] * limit

    async def execute(self, sql: str) -> int:
        await asyncio.sleep(0)
        return len(sql)

    def lazily(self, sql: str) -> Awaitable[int]:
        return self.execute(sql)

    def who(self) -> str | None:
        return calling_plugin()

    def anything(self, value: Any = None) -> Any:
        return value

    def mapping(self) -> Mapping[str, int]:
        return MappingProxyType({"a": 1})


METHODS = ["fetch", "execute", "lazily", "who", "anything", "mapping"]
ALL = [f"db.{name}" for name in METHODS]


@pytest.fixture
def context() -> PluginContext:
    made = PluginContext()
    made.expose("db", Pool(), methods=METHODS)
    return made


def pack(**arguments: Any) -> bytes:
    return msgspec.msgpack.encode(arguments)


# ---- What can be a service ----


def no_annotation(self: object, value) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return 1


def no_result(self: object, value: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return 1


def positional(self: object, value: int, /) -> int:
    return value


def star(self: object, *values: int) -> int:
    return 1


def keywords(self: object, **values: int) -> int:
    return 1


def custom_argument(self: object, value: Custom) -> int:
    return 1


def nested_custom(self: object, value: list[dict[str, Custom]]) -> int:
    return 1


def custom_result(self: object) -> Custom:
    return Custom()


def takes_function(self: object, value: Callable[[], int]) -> int:
    return 1


def unresolved(self: object, value: Nowhere) -> int:  # type: ignore[name-defined]  # noqa: F821
    return 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (no_annotation, "value is not annotated"),
        (no_result, "result is not annotated"),
        (positional, "cannot be given by name"),
        (star, "cannot be given by name"),
        (keywords, "cannot be given by name"),
        (custom_argument, "Custom is not plain data"),
        (nested_custom, "Custom is not plain data"),
        (custom_result, "Custom is not plain data"),
        (takes_function, "plain data"),
        (unresolved, "Nowhere"),
        (functools.partial(Pool.fetch), "self is not annotated"),
        (7, "cannot be called"),
    ],
)
def test_a_method_that_cannot_be_checked_is_not_exposed(function: Any, why: str) -> None:
    context = PluginContext()
    # On the object itself: what a class has, is bound.
    target = type("Target", (), {"good": Pool.who})()
    target.method = function
    with pytest.raises(ServiceError, match=why) as refused:
        context.expose("db", target, methods=["good", "method"])
    assert refused.value.code == "service.invalid"
    assert refused.value.hint
    assert not context.services
    context.expose("db", target, methods=["good"])
    assert context.services == ("db.good",)


@pytest.mark.parametrize("name", ["", "a b", "a.", ".a", "-a", "a\n", "ä", "x" * 129, 3])
def test_names_of_services(name: Any) -> None:
    context = PluginContext()
    with pytest.raises(ServiceError) as refused:
        context.expose(name, Pool(), methods=["fetch"])
    assert refused.value.code == "service.invalid"
    with pytest.raises(ServiceError):
        context.service(name)
    context.expose("a-1.b_2", Pool(), methods=["fetch"])


@pytest.mark.parametrize("methods", ["fetch", [], ["_private"], ["__init__"], ["absent"], [3]])
def test_names_of_methods(methods: Any) -> None:
    with pytest.raises(ServiceError) as refused:
        PluginContext().expose("db", Pool(), methods=methods)
    assert refused.value.code == "service.invalid"


def test_services_are_bounded_and_named_once(context: PluginContext) -> None:
    with pytest.raises(ServiceError, match="exposed already"):
        context.expose("db", Pool(), methods=["fetch"])
    for number in range(MAX_SERVICES - 1):
        context.expose(f"s{number}", Pool(), methods=["who"])
    with pytest.raises(ServiceError, match="services are exposed already"):
        context.expose("more", Pool(), methods=["who"])
    context.withdraw("db")
    context.expose("more", Pool(), methods=["who"])
    with pytest.raises(ServiceNotFound):
        context.withdraw("db")


def test_a_plugin_exposes_nothing(context: PluginContext) -> None:
    view = context.view("p", services=ALL)
    with pytest.raises(ContextError) as refused:
        view.expose("mine", Pool(), methods=["who"])
    assert refused.value.code == "context.read_only"
    with pytest.raises(ContextError):
        view.withdraw("db")
    assert "mine.who" not in context.services


# ---- Grants ----


def test_nothing_is_granted_by_default(context: PluginContext) -> None:
    denied = context.view("p")
    assert denied.services == ()
    with pytest.raises(ServiceNotFound) as not_granted:
        denied.service("db").fetch(id=1)
    with pytest.raises(ServiceNotFound) as not_exposed:
        denied.service("no").fetch(id=1)
    assert str(not_granted.value).replace("db", "no") == str(not_exposed.value)
    assert not_granted.value.hint == not_exposed.value.hint
    assert not_granted.value.details == not_exposed.value.details
    granted = context.view("p", services=["db.fetch"])
    assert granted.service("db").fetch(id=1) == [{"id": 1, "tags": ["a"]}]


def test_a_view_of_a_view_grants_no_more(context: PluginContext) -> None:
    view = context.view("p", services=["db.fetch"]).view("q", services=ALL)
    assert view.services == ("db.fetch",)
    with pytest.raises(ServiceNotFound):
        view.service("db").who()
    assert context.view("p", services=["db.who"]).view("q", services=ALL).service("db").who() == "q"
    with pytest.raises(ServiceError):
        context.view("p", services="db.fetch")


def test_a_closed_view_calls_nothing(context: PluginContext) -> None:
    view = context.view("p", services=ALL)
    service = view.service("db")
    assert service.who() == "p"
    assert [each.plugin for each in context.service_stats()] == ["p"]
    view.close()
    with pytest.raises(ContextError) as refused:
        service.who()
    assert refused.value.code == "context.closed"
    assert context.service_stats() == ()


def test_grants_are_compared_with_the_declaration() -> None:
    grants = ServiceGrants.of(["a.b", "a.c"], ["a.c", "a.d"])
    assert (grants.allowed, grants.missing, grants.unused) == (("a.c",), ("a.b",), ("a.d",))
    assert grants.remedy("acme.x") == (
        'write "acme.x" = ["a.c", "a.b"] in section [services.plugin] of pluginapi.toml'
    )
    with pytest.raises(ValueError, match=r"'a\.\*' is not"):
        ServiceGrants.of(["a.b"], ["a.*"])


# ---- Calls ----


def test_threads_await_async_methods_on_the_loop_of_the_host(context: PluginContext) -> None:
    """A sync handler in a thread, of a view that was made on a loop."""
    loops: list[object] = []

    class Where:
        async def here(self) -> str | None:
            loops.append(asyncio.get_running_loop())
            await asyncio.sleep(0)
            return calling_plugin()

    context.expose("where", Where(), methods=["here"])

    async def host() -> str:
        view = context.view("p", services=["where.here"])
        found: str = await asyncio.to_thread(view.service("where").here)
        assert loops == [asyncio.get_running_loop()]
        return found

    assert asyncio.run(host()) == "p"
    # Without a loop of the host, on one of its own.
    assert context.view("q", services=["where.here"]).service("where").here() == "q"
    assert len(loops) == 2


async def test_the_thread_of_a_loop_waits_for_nothing(context: PluginContext) -> None:
    view = context.view("p", services=ALL)
    for method in ("execute", "lazily"):
        with pytest.raises(ServiceError) as refused:
            getattr(view.service("db"), method)(sql="abc")
        assert refused.value.code == "service.suspended"
        assert await getattr(view.async_service("db"), method)(sql="abc") == 3
    assert view.service("db").who() == "p"
    assert await view.async_service("db").who() == "p"
    assert calling_plugin() is None


async def test_cancelling_a_handler_cancels_the_method(context: PluginContext) -> None:
    ended = asyncio.Event()

    class Slow:
        async def hang(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    context.expose("slow", Slow(), methods=["hang"])
    view = context.view("p", services=["slow.hang"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(view.async_service("slow").hang(), 0.01)
    assert ended.is_set()


def test_arguments_need_names(context: PluginContext) -> None:
    service = context.view("p", services=ALL).service("db")
    with pytest.raises(ServiceArgumentError, match="without a name"):
        service.fetch(1)
    with pytest.raises(ServiceArgumentError, match="cannot leave the plugin"):
        service.anything(value=object())
    with pytest.raises(AttributeError):
        _ = service._private
    assert service.anything(value={"a": [1, None]}) == {"a": [1, None]}
    assert service.anything() is None
    assert service.mapping() == {"a": 1}


def test_results_are_copies(context: PluginContext) -> None:
    kept = {"a": [1]}
    context.expose("keep", SimpleNamespace(get=_getter(kept)), methods=["get"])
    found = context.view("p", services=["keep.get"]).service("keep").get()
    found["a"].append(2)
    assert kept == {"a": [1]}


def _getter(kept: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    def get() -> dict[str, Any]:
        return kept

    return get


class Database(Protocol):
    def fetch(self, *, id: int) -> list[Row]: ...  # noqa: A002 - as above
    def who(self) -> int: ...


class AsyncDatabase(Protocol):
    async def execute(self, *, sql: str) -> int: ...


async def test_an_interface_types_the_results(context: PluginContext) -> None:
    view = context.view("p", services=ALL)
    service = view.service("db", Database)
    assert service.fetch(id=1) == [Row(1, ("a",))]
    with pytest.raises(ServiceError, match="not what its interface says") as wrong:
        service.who()
    assert wrong.value.code == "service.result"
    with pytest.raises(AttributeError):
        service.execute(sql="x")  # type: ignore[attr-defined]
    assert await view.async_service("db", AsyncDatabase).execute(sql="ab") == 2


def test_counts_are_right_with_many_threads(context: PluginContext) -> None:
    view = context.view("p", services=["db.fetch"])
    service = view.service("db")

    def work() -> None:
        for _ in range(200):
            service.fetch(id=1)
            with pytest.raises(ServiceNotFound):
                service.who()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (stats,) = view.service_stats()
    assert (stats.calls, stats.errors, stats.refused) == ({"db.fetch": 800}, {}, 800)
    assert context.service_stats() == (stats,)


# ---- Hostile bytes ----


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80\x80",
        b"\x90",
        b"\xc0",
        b"\x81\x01\x01",
        b"\x81\xa5value" + b"\x91" * 100 + b"\xc0",
        b"\x81\xa5value\xdd\xff\xff\xff\xff",
        b"\x81\xa5value\xc7\x00\x05",
        b"\x81\xa5value\xa1\xff",
        b"\x82\xa5value\x01",
        b"\x81\xa5value\xdc\xff\xff" + b"\x90" * 65_535,
    ],
)
def test_malformed_arguments(data: bytes) -> None:
    method = ServiceMethod("db", "anything", Pool().anything)
    with pytest.raises(ServiceArgumentError) as refused:
        method.arguments(data)
    assert refused.value.code == "service.arguments"
    assert method.arguments(b"\x81\xa5value\x01") == {"value": 1}
    assert method.arguments(b"\x80") == {}


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda tail: b"\x81\xa2id" + tail))
def test_any_bytes_are_arguments_or_refused(data: bytes) -> None:
    method = ServiceMethod("db", "fetch", Pool().fetch)
    try:
        found = method.arguments(data)
    except ServiceArgumentError:
        return
    assert {"id"} <= set(found) <= {"id", "limit"}
    assert all(type(value) is int for value in found.values())


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_PLAIN)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    context = PluginContext()
    context.expose("db", Pool(), methods=["anything"])
    assert context.view("p", services=["db.anything"]).service("db").anything(value=value) == value


@given(st.text(max_size=300))
def test_any_name_is_refused_in_the_same_way(name: str) -> None:
    context = PluginContext()
    view = context.view("p", services=["db.fetch"])
    with pytest.raises(ServiceNotFound):
        view.begin_service(name, name, b"\x80")
    assert not is_service_method(f"{name}.")


def test_a_deliberate_error_reaches_the_plugin() -> None:
    class Locked:
        def open(self) -> None:
            raise ServiceError("the table is locked", hint="try later")

        def leak(self) -> None:
            raise KeyError("secret")

    context = PluginContext()
    context.expose("table", Locked(), methods=["open", "leak"])
    service = context.view("p", services=["table.open", "table.leak"]).service("table")
    with pytest.raises(ServiceError, match="the table is locked") as told:
        service.open()
    assert (told.value.hint, told.value.plugin) == ("try later", "p")
    with pytest.raises(ServiceError) as hidden:
        service.leak()
    assert "secret" not in repr(hidden.value.to_dict())
    assert hidden.value.__cause__ is None
    assert hidden.value.__context__ is None


def test_a_loop_that_ends_takes_its_calls_with_it() -> None:
    class Slow:
        async def hang(self) -> None:
            running.set()
            await asyncio.sleep(60)

    running = threading.Event()
    failures: list[str] = []
    context = PluginContext()
    context.expose("slow", Slow(), methods=["hang"])

    async def host() -> threading.Thread:
        service = context.view("p", services=["slow.hang"]).service("slow")

        def handler() -> None:
            try:
                service.hang()
            except ServiceError as err:
                failures.append(err.code)

        thread = threading.Thread(target=handler)
        thread.start()
        assert await asyncio.to_thread(running.wait, 10)
        return thread

    asyncio.run(host()).join(10)
    assert failures == ["service.deadline"]
