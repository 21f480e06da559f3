"""Reading and writing by subscript, which finds a value by the key's slot, and watching changes."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from pluginapi import context as context_module
from pluginapi._native._context import ContextCore, Key
from pluginapi.context import ContextChange, ContextKey, PluginContext
from pluginapi.errors import ContextKeyNotFound, ContextTypeError, PluginError

NUMBER = ContextKey("acme.number", int)
TEXT = ContextKey("acme.text", str)


def code_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(PluginError) as caught:
        attempt()
    return caught.value.code


@pytest.fixture
def context() -> PluginContext:
    made = PluginContext()
    made[NUMBER] = 7
    made[TEXT] = "seven"
    return made


# Each is done several times: the first use finds the cell, later ones take the short way.


def test_subscripts_do_what_get_set_and_remove_do(context: PluginContext) -> None:
    for n in range(3):
        context[NUMBER] = n
        assert context[NUMBER] == context.get(NUMBER) == n
        context.set(NUMBER, n + 10)
        assert context[NUMBER] == n + 10
    del context[NUMBER]
    for _ in range(2):
        assert code_of(lambda: context[NUMBER]) == "context.key_not_found"
        assert context.get(NUMBER, 5) == 5
    context[NUMBER] = 1
    assert context[NUMBER] == 1


def test_wrong_types_are_refused_on_the_short_way_too(context: PluginContext) -> None:
    either: Any = int | str
    union: ContextKey[Any] = ContextKey("union", either)
    for _ in range(3):
        context[NUMBER] = 1
        assert context[NUMBER] == 1
        with pytest.raises(ContextTypeError):
            context[NUMBER] = "text"  # type: ignore[misc]
        with pytest.raises(ContextTypeError):
            context.set(NUMBER, None)  # type: ignore[misc]
        context[union] = "text"
        context[union] = 5
        assert context[union] == 5
        with pytest.raises(ContextTypeError):
            context[union] = 2.5
        context[NUMBER] = True  # A bool is an int, for isinstance and for us.
        assert context[NUMBER] is True


def test_a_key_of_the_same_name_and_another_type_gets_no_value(context: PluginContext) -> None:
    other: ContextKey[Any] = ContextKey("acme.number", str)
    same = ContextKey("acme.number", int)
    untyped = ContextKey.custom("acme.number")
    for _ in range(3):
        assert context[NUMBER] == context[same] == context[untyped] == 7
        with pytest.raises(ContextTypeError):
            context[other]
        with pytest.raises(ContextTypeError):
            context[other] = "text"
        with pytest.raises(ContextTypeError):
            context[untyped] = "text"
    del context[same]
    context[other] = "text"
    for _ in range(3):
        assert context[other] == context[untyped] == "text"
        with pytest.raises(ContextTypeError):
            context[NUMBER]


def test_views_keep_their_permissions_on_the_short_way(context: PluginContext) -> None:
    reader = context.view("a", read=[NUMBER], write=[])
    writer = context.view("b", read=[], write=[NUMBER])
    for n in range(3):
        writer[NUMBER] = n
        assert reader[NUMBER] == context[NUMBER] == n
        assert code_of(lambda: reader.__setitem__(NUMBER, 1)) == "context.read_only"
        assert code_of(lambda: writer[NUMBER]) == "context.key_not_found"
        assert code_of(lambda: reader[TEXT]) == "context.key_not_found"
        assert code_of(lambda: writer.__setitem__(TEXT, "x")) == "context.key_not_found"
    reader.close()
    for _ in range(2):
        assert code_of(lambda: reader[NUMBER]) == "context.closed"
        assert code_of(lambda: reader.__setitem__(NUMBER, 1)) == "context.closed"
    assert context[NUMBER] == 2
    context.close()
    assert code_of(lambda: writer[NUMBER]) == "context.key_not_found"


def test_a_view_that_is_closed_while_it_looks_stays_closed(context: PluginContext) -> None:
    view = context.view("a")
    closing = False

    class Meta(type):
        def __instancecheck__(cls, value: object) -> bool:
            if closing:
                view.close()
            return True

    class Odd(metaclass=Meta):
        pass

    key: ContextKey[Any] = ContextKey("odd", Odd)
    context[key] = 5
    closing = True
    assert view[key] == 5
    assert code_of(lambda: view[key]) == "context.closed"


def test_values_of_a_views_own_stand_first_on_the_short_way(context: PluginContext) -> None:
    view = context.view("a", values={NUMBER: 100})
    for _ in range(3):
        assert view[NUMBER] == 100
        assert context[NUMBER] == 7
        assert code_of(lambda: view.__setitem__(NUMBER, 1)) == "context.read_only"


def test_a_key_that_comes_late_is_found_by_views_that_exist(context: PluginContext) -> None:
    view = context.view("a")
    late = ContextKey("acme.late", int)
    assert view.get(late, None) is None
    context[late] = 1
    assert view[late] == 1
    del context[late]
    assert view.get(late, None) is None
    context[late] = 2
    assert view[late] == 2


def test_the_configuration_is_copied_whichever_way_it_is_set() -> None:
    context = PluginContext()
    for n in range(3):
        mine = {"n": n}
        context[ContextKey.Configuration] = mine
        mine["n"] = -1
        assert context[ContextKey.Configuration]["n"] == n


def test_only_keys_are_keys(context: PluginContext) -> None:
    for wrong in ("acme.number", 3, None, int):
        key: Any = wrong
        with pytest.raises(TypeError, match="context key is wanted"):
            context[key]
        with pytest.raises(TypeError, match="context key is wanted"):
            context[key] = 1
    with pytest.raises(TypeError, match="made once"):
        NUMBER.__init__("acme.other", int)  # type: ignore[misc]
    assert NUMBER.name == "acme.number"
    blank = Key.__new__(Key)
    with pytest.raises((TypeError, AttributeError, PluginError)):
        ContextCore().__getitem__(blank)


def test_more_keys_than_slots_work_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_module, "MAX_KEYS", 6000)
    context = PluginContext()
    keys = [ContextKey(f"many.{n}", int) for n in range(5000)]
    for n, key in enumerate(keys):
        context[key] = n
    assert [context[key] for key in keys] == list(range(5000))
    assert [context[key] for key in keys] == list(range(5000))


def test_slots_of_keys_that_are_gone_are_used_again() -> None:
    context = PluginContext()
    for n in range(20_000):
        key = ContextKey(f"short-lived.{n}", int)
        context[key] = n
        assert context[key] == n
        del context[key]
        del key
    assert context.keys() == ()
    last = ContextKey("last", int)
    assert last.slot_number >= 0


def test_a_removed_value_is_freed_at_once(context: PluginContext) -> None:
    class Value:
        pass

    key = ContextKey("value", Value)
    views = [context, context.view("a"), context.view("b")]
    gc.disable()
    try:
        replacements: list[Callable[[], object]] = [
            lambda: context.remove(key),
            lambda: context.set(key, Value()),
        ]
        for replace in replacements:
            value = Value()
            alive = weakref.ref(value)
            context[key] = value
            assert all(view[key] is value for view in views)
            del value
            replace()
            assert alive() is None
    finally:
        gc.enable()


class Traffic:
    """Threads that read, write and replace one value of a context."""

    def __init__(self) -> None:
        self.context = PluginContext()
        self.context[NUMBER] = 0
        self.wrong: list[object] = []
        self.stop = threading.Event()

    def write(self) -> None:
        view = self.context.view("w")
        for n in range(5000):
            view[NUMBER] = n

    def replace(self) -> None:
        while not self.stop.is_set():
            self.context.remove(NUMBER)
            self.context[NUMBER] = 1

    def read(self) -> None:
        view = self.context.view("r")
        while not self.stop.is_set():
            value = view.get(NUMBER, 0)
            if type(value) is not int:
                self.wrong.append(value)

    def guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as err:  # noqa: BLE001 - reported by the main thread
            self.wrong.append(err)

    def start(self, *functions: Callable[[], None]) -> list[threading.Thread]:
        threads = [threading.Thread(target=self.guarded, args=(each,)) for each in functions]
        for thread in threads:
            thread.start()
        return threads


def test_threads_read_and_write_typed_values_at_the_same_time() -> None:
    traffic = Traffic()
    others = traffic.start(traffic.read, traffic.replace)
    for thread in traffic.start(traffic.write, traffic.write):
        thread.join(60)
    traffic.stop.set()
    for thread in others:
        thread.join(60)
    assert traffic.wrong == []


# Watching


def test_a_watch_is_told_of_every_change_by_whoever_made_it(context: PluginContext) -> None:
    changes: list[ContextChange] = []
    view = context.view("plugin")
    context[NUMBER] = 1
    watch = context.watch(NUMBER, changes.append)
    context[NUMBER] = 2
    view[NUMBER] = 3
    view.set_bytes("acme.number", b"\x04")
    view.remove(NUMBER)
    context[TEXT] = "other"
    context[NUMBER] = 5
    watch.close()
    watch.close()
    context[NUMBER] = 6
    assert watch.closed
    assert changes == [
        ContextChange("acme.number", 2, False, None),
        ContextChange("acme.number", 3, False, "plugin"),
        ContextChange("acme.number", 4, False, "plugin"),
        ContextChange("acme.number", None, True, "plugin"),
        ContextChange("acme.number", 5, False, None),
    ]


def test_a_key_may_be_watched_before_it_is_set() -> None:
    context = PluginContext()
    changes: list[ContextChange] = []
    context.watch("late", changes.append)
    key = ContextKey("late", int)
    context[key] = 1
    context[key] = 2
    assert [change.value for change in changes] == [1, 2]


def test_what_a_plugin_may_not_read_it_cannot_watch(context: PluginContext) -> None:
    view = context.view("a", read=[NUMBER], write=[TEXT])
    answers = []
    for name in ("acme.text", "absent"):
        with pytest.raises(ContextKeyNotFound) as caught:
            view.watch(name, print)
        answers.append(str(caught.value).replace(name, ""))
    assert answers[0] == answers[1]
    changes: list[ContextChange] = []
    view.watch(NUMBER, changes.append)
    context[NUMBER] = 9
    assert [change.value for change in changes] == [9]


def test_closing_a_view_ends_its_watches_alone(context: PluginContext) -> None:
    changes: list[str] = []
    first, second = context.view("a"), context.view("b")
    watch = first.watch(NUMBER, lambda change: changes.append("a"))
    second.watch(NUMBER, lambda change: changes.append("b"))
    context[NUMBER] = 1
    first.close()
    context[NUMBER] = 2
    assert changes == ["a", "b", "b"]
    assert watch.closed
    assert code_of(lambda: first.watch(NUMBER, print)) == "context.closed"


def test_a_watch_that_fails_harms_nobody(
    context: PluginContext, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[Any] = []
    context.watch(NUMBER, lambda change: 1 / 0)
    context.watch(NUMBER, lambda change: changes.append(change.value))
    context[NUMBER] = 3
    assert (context[NUMBER], changes) == (3, [3])
    assert caplog.records[0].levelno == logging.ERROR
    assert "acme.number" in caplog.text


def test_a_watch_may_set_and_close_from_within(context: PluginContext) -> None:
    seen: list[Any] = []

    def follow(change: ContextChange) -> None:
        seen.append(change.value)
        if change.value < 10:
            context[NUMBER] = change.value + 1
        watch.close()

    watch = context.watch(NUMBER, follow)
    context[NUMBER] = 8
    assert context[NUMBER] == 10
    assert seen == [8, 9, 10]


def test_the_number_of_watches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_module, "MAX_KEYS", 2)
    context = PluginContext()
    watches = [context.watch("a", print) for _ in range(2)]
    assert code_of(lambda: context.watch("b", print)) == "context.full"
    watches[0].close()
    context.watch("b", print)
