from __future__ import annotations

import gc
import logging
import threading
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi import context as context_module
from pluginapi.context import (
    MAX_VALUE_BYTES,
    ContextKey,
    PluginContext,
    PredefinedContextKey,
)
from pluginapi.errors import ContextError, ContextKeyNotFound, ContextTypeError, PluginError

NUMBER = ContextKey("acme.number", int)
TEXT = ContextKey("acme.text", str)


def code_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(PluginError) as caught:
        attempt()
    assert caught.value.hint
    return caught.value.code


@pytest.fixture
def context() -> PluginContext:
    made = PluginContext()
    made.set(NUMBER, 7)
    made.set(TEXT, "seven")
    return made


# Keys


def test_keys_are_equal_by_name_and_type() -> None:
    assert ContextKey("a", int) == ContextKey("a", int)
    assert hash(ContextKey("a", int)) == hash(ContextKey("a", int))
    assert ContextKey("a", int) != ContextKey("a", str)
    assert ContextKey("a", int) != ContextKey("b", int)
    assert ContextKey("a", int) != "a"
    assert ContextKey.custom("a") == ContextKey.custom("a")
    assert repr(NUMBER) == "ContextKey('acme.number', int)"
    assert NUMBER.type is int


@pytest.mark.parametrize("name", ["", "1", "a b", "a\n", "ä", "x" * 129, None, 3])
def test_malformed_names_are_refused(name: Any) -> None:
    assert code_of(lambda: ContextKey(name, int)) == "context.key"
    assert ContextKey("x" * 128, int).name == "x" * 128


def test_predefined_names_are_reserved() -> None:
    for key in PredefinedContextKey.all():
        assert getattr(ContextKey, key.name) is key
        assert isinstance(key, PredefinedContextKey)
        assert repr(key) == f"ContextKey.{key.name}"
        assert code_of(partial(ContextKey.custom, key.name)) == "context.key"
    assert [key.name for key in PredefinedContextKey.all()] == [
        "CacheManager",
        "Configuration",
        "DatabaseConnection",
        "HttpClient",
        "Logger",
        "Resources",
    ]
    assert code_of(lambda: PredefinedContextKey("Mine", int)) == "context.key"


def test_a_type_that_cannot_be_checked_is_refused() -> None:
    not_a_type: Any = 3
    assert code_of(lambda: ContextKey("a", not_a_type)) == "context.type"


# Values


def test_set_get_has_keys_remove(context: PluginContext) -> None:
    assert context.get(NUMBER) == 7
    assert context.has(NUMBER)
    assert context.has("acme.number")
    assert NUMBER in context
    assert context.keys() == ("acme.number", "acme.text")
    context.set(NUMBER, 8)
    assert context.get(NUMBER) == 8
    context.remove(NUMBER)
    assert not context.has(NUMBER)
    assert context.get(NUMBER, None) is None
    assert code_of(lambda: context.get(NUMBER)) == "context.key_not_found"
    assert code_of(lambda: context.remove(NUMBER)) == "context.key_not_found"


def test_none_is_a_value_like_any_other() -> None:
    context = PluginContext()
    key = ContextKey.custom("nothing")
    context.set(key, None)
    assert context.has(key)
    assert context.get(key, 5) is None


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, 3, "3"),
        (int | None, None, "3"),
        (typing.Optional[int], 3, 3.5),  # noqa: UP045 - the old form is accepted too
        (list[int], [1], (1,)),
        (Mapping[str, int], {"a": 1}, [1]),
        (None, None, 0),
        (typing.Literal["a", "b"], "a", 3),
    ],
)
def test_values_are_checked_against_the_type(annotation: Any, good: Any, bad: Any) -> None:
    context = PluginContext()
    key: ContextKey[Any] = ContextKey("k", annotation)
    with pytest.raises(ContextTypeError, match="'k' holds"):
        context.set(key, bad)
    assert not context.has(key)
    context.set(key, good)
    assert context.get(key) == good


def test_who_sets_a_name_first_decides_its_type(context: PluginContext) -> None:
    by_name = ContextKey.custom("acme.number")
    other: ContextKey[Any] = ContextKey("acme.number", str)
    assert context.get(by_name) == 7
    context.set(by_name, 8)
    for wrong in (by_name, other):
        with pytest.raises(ContextTypeError):
            context.set(wrong, "text")
    with pytest.raises(ContextTypeError):
        context.get(other)
    assert context.get(NUMBER) == 8
    context.remove(NUMBER)
    context.set(other, "text")
    assert context.get(other) == "text"


def test_a_name_without_a_type_takes_the_first_type_that_comes() -> None:
    context = PluginContext()
    context.set(ContextKey.custom("k"), 1)
    context.set(ContextKey("k", int), 2)
    with pytest.raises(ContextTypeError):
        context.set(ContextKey.custom("k"), "text")


def test_the_configuration_is_a_read_only_copy() -> None:
    context = PluginContext()
    mine: dict[str, Any] = {"limits": {"rate": 5}, "names": ["a", {"b": 1}]}
    context.set(ContextKey.Configuration, mine)
    mine["limits"]["rate"] = 6
    settings: Any = context.get(ContextKey.Configuration)
    assert settings["limits"]["rate"] == 5
    changes: list[Callable[[], object]] = [
        lambda: settings.__setitem__("x", 1),
        lambda: settings["limits"].__setitem__("x", 1),
        lambda: settings["names"].append("x"),
        lambda: settings["names"][1].__setitem__("x", 1),
    ]
    for attempt in changes:
        with pytest.raises(AttributeError):
            attempt()


def test_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_module, "MAX_KEYS", 2)
    context = PluginContext()
    for name in ("a", "b"):
        context.set(ContextKey.custom(name), 1)
    assert code_of(lambda: context.set(ContextKey.custom("c"), 1)) == "context.full"
    context.set(ContextKey.custom("a"), 2)
    context.remove(ContextKey.custom("b"))
    context.set(ContextKey.custom("c"), 1)
    assert context.keys() == ("a", "c")


# Views


def test_a_view_without_grants_of_its_own_sees_everything(context: PluginContext) -> None:
    view = context.view("acme")
    assert view.keys() == context.keys()
    view.set(NUMBER, 8)
    assert context.get(NUMBER) == 8
    view.remove(NUMBER)
    assert not context.has(NUMBER)
    assert (view.plugin, context.plugin) == ("acme", None)


def test_what_was_not_granted_does_not_exist(context: PluginContext) -> None:
    view = context.view("acme", read=[NUMBER], write=[])
    absent = ContextKey("acme.absent", str)
    assert view.keys() == ("acme.number",)
    assert view.get(NUMBER) == 7
    answers = []
    for key in (TEXT, absent):
        errors = []
        attempts: list[Callable[[], object]] = [
            partial(view.get, key),
            partial(view.set, key, "x"),
            partial(view.remove, key),
            partial(view.get_bytes, key.name),
            partial(view.set_bytes, key.name, b"\xa1x"),
        ]
        for attempt in attempts:
            with pytest.raises(ContextKeyNotFound) as caught:
                attempt()
            assert caught.value.plugin == "acme"
            errors.append(str(caught.value).replace(key.name, ""))
        assert view.get(key, "default") == "default"
        assert not view.has(key)
        answers.append((errors, caught.value.hint))
    assert answers[0] == answers[1], "the plugin can tell a hidden key from an absent one"
    assert context.get(TEXT) == "seven"


def test_a_key_that_is_granted_to_read_cannot_be_changed(context: PluginContext) -> None:
    view = context.view("acme", read=["acme.number"], write=[])
    for attempt in (
        lambda: view.set(NUMBER, 8),
        lambda: view.remove(NUMBER),
        lambda: view.set_bytes("acme.number", b"\x08"),
    ):
        assert code_of(attempt) == "context.read_only"
    assert context.get(NUMBER) == 7
    context.view("acme", write=["acme.number"]).set(NUMBER, 8)
    assert context.get(NUMBER) == 8


def test_a_key_that_is_granted_to_write_alone_cannot_be_read(context: PluginContext) -> None:
    view = context.view("acme", read=[], write=[NUMBER])
    view.set(NUMBER, 9)
    assert context.get(NUMBER) == 9
    assert not view.has(NUMBER)
    assert code_of(lambda: view.get(NUMBER)) == "context.key_not_found"


def test_a_view_of_a_view_grants_no_more(context: PluginContext) -> None:
    narrow = context.view("acme", read=[NUMBER], write=[])
    for wide in (narrow.view("x"), narrow.view("x", read=[NUMBER, TEXT], write=[NUMBER])):
        assert wide.keys() == ("acme.number",)
        assert code_of(partial(wide.set, NUMBER, 1)) == "context.read_only"


def test_a_single_name_is_no_grant(context: PluginContext) -> None:
    with pytest.raises(ContextTypeError, match="one name"):
        context.view("acme", read="acme.number")


def test_a_view_may_hold_values_for_its_plugin_alone(context: PluginContext) -> None:
    logger = logging.getLogger("acme")
    context.set(ContextKey.Configuration, {"shared": True})
    view = context.view(
        "acme",
        read=[],
        values={ContextKey.Logger: logger, ContextKey.Configuration: {"rate": 1}},
    )
    assert view.get(ContextKey.Logger) is logger
    assert view.get(ContextKey.Configuration) == {"rate": 1}
    assert view.keys() == ("Configuration", "Logger")
    assert view.view("acme", read=[]).get(ContextKey.Logger) is logger
    assert not context.has(ContextKey.Logger)
    assert context.get(ContextKey.Configuration) == {"shared": True}
    assert code_of(lambda: view.set(ContextKey.Logger, logger)) == "context.read_only"
    wrong: dict[ContextKey[Any], Any] = {ContextKey.Logger: "text"}
    with pytest.raises(ContextTypeError):
        context.view("acme", values=wrong)


def test_a_closed_view_refuses_everything_and_leaves_the_values(context: PluginContext) -> None:
    view = context.view("acme")
    view.close()
    view.close()
    assert view.closed
    for attempt in (
        lambda: view.get(NUMBER),
        lambda: view.get(NUMBER, None),
        lambda: view.set(NUMBER, 1),
        lambda: view.remove(NUMBER),
        lambda: view.has(NUMBER),
        view.keys,
        lambda: view.get_bytes("acme.number"),
        lambda: view.set_bytes("acme.number", b"\x01"),
        lambda: view.view("other"),
    ):
        assert code_of(attempt) == "context.closed"
    assert context.get(NUMBER) == 7
    assert repr(view) == "<PluginContext of plugin 'acme', closed>"


def test_closing_the_host_context_drops_the_values(context: PluginContext) -> None:
    view = context.view("acme")
    context.close()
    assert code_of(lambda: context.get(NUMBER)) == "context.closed"
    assert view.keys() == ()
    assert repr(context) == "<PluginContext of host, closed>"


# Bytes for plugins that are not Python


def test_values_cross_as_msgpack(context: PluginContext) -> None:
    context.set(ContextKey.Configuration, {"deny": ["/a"], "limits": {"rate": 5}})
    data = context.get_bytes("Configuration")
    assert msgspec.msgpack.decode(data) == {"deny": ["/a"], "limits": {"rate": 5}}
    context.set_bytes("acme.number", msgspec.msgpack.encode(9))
    assert context.get(NUMBER) == 9
    context.set_bytes("fresh", msgspec.msgpack.encode({"a": [1, None, b"\x00"]}))
    assert context.get(ContextKey.custom("fresh")) == {"a": [1, None, b"\x00"]}


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


def test_a_value_is_decoded_into_the_type_of_its_key() -> None:
    context = PluginContext()
    key = ContextKey("point", Point)
    context.set(key, Point(1, 2))
    context.set_bytes("point", msgspec.msgpack.encode({"x": 3, "y": 4}))
    assert context.get(key) == Point(3, 4)
    with pytest.raises(ContextTypeError):
        context.set_bytes("point", msgspec.msgpack.encode({"x": 3}))
    assert context.get(key) == Point(3, 4)


def test_live_objects_cannot_cross(context: PluginContext) -> None:
    recursive: list[Any] = []
    recursive.append(recursive)
    for value in (object(), {object(): 1}, 2**70, recursive, "\ud800"):
        context.set(ContextKey.custom("live"), value)
        assert code_of(lambda: context.get_bytes("live")) == "context.type"
    assert code_of(lambda: context.set_bytes("Logger", b"\xa1x")) == "context.type"


def test_sizes_and_names_are_bounded_both_ways(context: PluginContext) -> None:
    key = ContextKey.custom("large")
    context.set(key, b"x" * (MAX_VALUE_BYTES - 5))
    data = context.get_bytes("large")
    assert len(data) == MAX_VALUE_BYTES
    context.set_bytes("large", data)
    context.set(key, b"x" * (MAX_VALUE_BYTES - 4))
    assert code_of(lambda: context.get_bytes("large")) == "context.full"
    assert code_of(lambda: context.set_bytes("large", data + b"x")) == "context.full"
    assert code_of(lambda: context.set_bytes("a b", b"\x01")) == "context.key"


@given(st.binary(max_size=200))
def test_hostile_bytes_are_a_value_or_one_clear_error(data: bytes) -> None:
    context = PluginContext()
    try:
        context.set_bytes("k", data)
    except ContextTypeError:
        assert not context.has("k")
    else:
        assert context.has("k")


@pytest.mark.parametrize("data", [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"", b"\x01\x01"])
def test_deep_huge_empty_and_trailing_data_is_refused(data: bytes) -> None:
    context = PluginContext()
    assert code_of(lambda: context.set_bytes("k", data)) == "context.type"
    assert not context.has("k")


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    context = PluginContext()
    context.set(ContextKey.custom("k"), value)
    context.set_bytes("k", context.get_bytes("k"))
    assert context.get(ContextKey.custom("k")) == value


# Threads


def test_a_value_that_comes_back_when_it_is_freed_does_not_lock_up() -> None:
    context = PluginContext()
    view = context.view("acme")
    freed = []

    class CallsBack:
        def __del__(self) -> None:
            # Another thread would wait for ever if the lock were held here.
            other = threading.Thread(target=view.set, args=(NUMBER, 1), daemon=True)
            other.start()
            other.join(10)
            freed.append(not other.is_alive())

    key = ContextKey("value", object)
    context.set(key, CallsBack())
    context.set(key, CallsBack())
    context.remove(key)
    context.set(key, CallsBack())
    context.close()
    gc.collect()
    assert freed == [True, True, True]


def test_threads_set_remove_and_read_at_the_same_time() -> None:
    context = PluginContext()
    failures: list[BaseException] = []

    def work(index: int) -> None:
        key = ContextKey(f"k{index % 2}", int)
        view = context.view(str(index))
        try:
            for number in range(500):
                view.set(key, number)
                assert view.get(key, 0) in range(500)
                assert set(view.keys()) <= {"k0", "k1"}
                try:
                    view.remove(key)
                except ContextKeyNotFound:
                    continue  # Another thread was first.
        except BaseException as err:  # noqa: BLE001 - reported by the main thread
            failures.append(err)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_errors_are_context_errors() -> None:
    assert issubclass(ContextKeyNotFound, ContextError)
    with pytest.raises(LookupError):
        PluginContext().get(NUMBER)
