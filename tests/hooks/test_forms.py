"""Forms of types, their fingerprints, and what is a difference between two."""

from __future__ import annotations

import dataclasses
import enum
import json
import subprocess
import sys
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi import HookMode, HookRegistry, HttpRequest, HttpResponse, define_standard_hooks
from pluginapi.errors import HookTypeError
from pluginapi.hooks import StopChain
from pluginapi.hooks.fit import check_fit
from pluginapi.hooks.form_differences import differences, readable
from pluginapi.hooks.forms import fingerprint_of, form_of, specs_of, text_of
from pluginapi.ipc.protocol import HandlerSpec


class Order(msgspec.Struct):
    id: int
    items: list[str]
    note: str = ""


Same = msgspec.defstruct(
    "Same", [("note", str, "other"), ("items", set[str]), ("id", int)], kw_only=True
)


@dataclasses.dataclass
class AsDataclass:
    id: int
    items: tuple[str, ...]
    note: str = ""


class AsDict(TypedDict):
    id: int
    items: list[str]


class Pair(NamedTuple):
    a: int
    b: str = ""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Tree(msgspec.Struct):
    name: str
    children: list[Tree] = []


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    id: int


class Tagged(msgspec.Struct, tag=True):
    id: int


class OtherTag(msgspec.Struct, tag=True):
    id: int


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Any, '"any"'),
        (object, '"any"'),
        (msgspec.Raw, '"any"'),
        (int, '"int"'),
        (None, '"null"'),
        (str | None, '["union","null","str"]'),
        (Any | None, '"any"'),
        (list[int], '["list","int"]'),
        (frozenset[int], '["list","int"]'),
        (tuple[int, str], '["tuple","int","str"]'),
        (dict[str, float], '["map","str","float"]'),
        (Literal["b", "a"], '["one of",["a","b"]]'),
        (Colour, '["one of",["blue","red"]]'),
        (datetime, '"datetime"'),
        (UUID, '"uuid"'),
        (
            Order,
            '["object",null,[["id",true,"int"],["items",true,["list","str"]],["note",false,"str"]]]',
        ),
        (Pair, '["array",null,[["a",true,"int"],["b",false,"str"]]]'),
        (Closed, '["object",null,[["id",true,"int"]],"closed"]'),
        (Tagged, '["object",["type","Tagged"],[["id",true,"int"]]]'),
        (Tree, '["object",null,[["children",false,["list",["again",0]]],["name",true,"str"]]]'),
    ],
)
def test_the_text_of_a_form(annotation: Any, text: str) -> None:
    assert text_of(form_of(annotation)) == text


def test_names_order_and_defaults_make_no_difference() -> None:
    assert form_of(Order) == form_of(Same) == form_of(AsDataclass)
    assert form_of(Order) != form_of(AsDict)


def test_a_known_fingerprint() -> None:
    """As computed with sha256sum from the text above, so that no version changes it unseen."""
    assert fingerprint_of("int", form_of(list[int])) == (
        "887e839e64a62bf8d30f86aa9923ee18:1bda1f302c7e06bbb5f860d947ad4698"
    )
    assert fingerprint_of("any", "any") == ""
    assert fingerprint_of("int", "any").endswith(":")


def test_another_process_finds_the_same_fingerprints() -> None:
    code = (
        "import json\n"
        "from pluginapi import HookRegistry, define_standard_hooks\n"
        "from pluginapi.hooks.forms import specs_of\n"
        "hooks = HookRegistry(); define_standard_hooks(hooks)\n"
        "print(json.dumps([[s.name, s.fingerprint] for s in specs_of(hooks)]))\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    hooks = HookRegistry()
    define_standard_hooks(hooks)
    here = [[spec.name, spec.fingerprint] for spec in specs_of(hooks)]
    assert json.loads(there.stdout) == here
    assert all(fingerprint for _, fingerprint in here)


def test_only_modes_whose_handlers_return_the_output_compare_it() -> None:
    hooks = HookRegistry()
    hooks.define("chain", int, int)
    hooks.define("veto", int, mode=HookMode.VETO)
    hooks.define("open", Any, Any)
    found = {spec.name: spec for spec in specs_of(hooks)}
    assert not found["chain"].fingerprint.endswith(":")
    assert found["veto"].fingerprint.endswith(":")
    assert (found["open"].fingerprint, found["open"].forms) == ("", "")


def test_a_form_that_is_too_large_is_not_compared() -> None:
    hooks = HookRegistry()
    large = msgspec.defstruct("Large", [(f"field_{n}", int) for n in range(5000)])
    hooks.define("large", large, Any)
    (spec,) = specs_of(hooks)
    assert (spec.name, spec.fingerprint) == ("large", "")


@pytest.mark.parametrize(
    ("sent", "wanted", "found"),
    [
        (int, int, []),
        (int, Any, []),
        (Any, int, []),
        (int, float, []),
        (float, int, []),
        (int, str, ["it is int, not str"]),
        (bool, int, ["it is bool, not int"]),
        (str, bytes, ["it is str, not bytes"]),
        (datetime, str, []),
        (str, UUID, []),
        (int | None, int, ["it is null, not int"]),
        (int, int | None, []),
        (bytes, int | None, ["it is bytes, not int | null"]),
        (list[int], tuple[int, ...], []),
        (list[int], list[str], ["[...] is int, not str"]),
        (tuple[int, str], list[int], ["[1] is str, not int"]),
        (tuple[int, int], tuple[int], ["it is [int, int], not [int]"]),
        (list[int], tuple[int, int], []),
        (dict[str, int], dict[str, str], ["[...] is int, not str"]),
        (dict[str, int], Order, []),
        (Order, dict[str, Any], []),
        (Closed, dict[str, str], ["id is int, not str"]),
        (Order, Closed, ["items is refused by the one who reads it", "note is refused by the one"]),
        (Closed, Order, ["items is not there, and must be: [str, ...]"]),
        (Order, int, ["it is {id: int, items: [str, ...], note?: str}, not int"]),
        (Tagged, Closed, []),
        (Closed, Tagged, []),
        (OtherTag, Tagged, ['it has the tag ["type","OtherTag"], not ["type","Tagged"]']),
        (HttpResponse, HttpRequest, ['it has the tag ["type","response"], not ["type","request"]']),
        (HttpRequest, HttpRequest | HttpResponse, []),
        (Literal["a"], Literal["a", "b"], []),
        (Literal["a", "c"], Literal["a", "b"], ['it may be "c", not one of ["a","b"]']),
        (Literal["a"], str, []),
        (Literal["a"], int, ['it may be "a", not int']),
        (str, Literal["a"], []),
        (int, Literal["a"], ['it is int, not one of ["a"]']),
        (Colour, Literal["red"], ['it may be "blue", not one of ["red"]']),
        (Tree, Tree, []),
        (Pair, tuple[int, str], []),
        (list[Order], list[Closed], ["[...].items is refused", "[...].note is refused"]),
    ],
)
def test_differences(sent: Any, wanted: Any, found: list[str]) -> None:
    told = differences(form_of(sent), form_of(wanted))
    assert len(told) == len(found)
    for line, start in zip(told, found, strict=True):
        assert line.startswith(start)


_VALUES: dict[Any, Any] = {
    int: st.integers(0, 9),
    str: st.text(max_size=3),
    bool: st.booleans(),
    bytes: st.binary(max_size=3),
    None: st.none(),
    Closed: st.builds(Closed, st.integers(0, 9)),
    Order: st.builds(Order, st.integers(0, 9), st.lists(st.text(max_size=2), max_size=2)),
    Tagged: st.builds(Tagged, st.integers(0, 9)),
    OtherTag: st.builds(OtherTag, st.integers(0, 9)),
    list[int]: st.lists(st.integers(0, 9), max_size=3),
    list[str]: st.lists(st.text(max_size=3), min_size=1, max_size=3),
    dict[str, int]: st.dictionaries(st.sampled_from(["id", "x"]), st.integers(0, 9), min_size=1),
    tuple[int, str]: st.tuples(st.integers(0, 9), st.text(max_size=3)),
    Pair: st.builds(Pair, st.integers(0, 9), st.text(max_size=3)),
}


@given(st.data())
def test_a_difference_never_hides_what_can_be_read(data: st.DataObject) -> None:
    """Whatever value of one type can be read as another: no difference was told."""
    sent = data.draw(st.sampled_from(list(_VALUES)))
    wanted = data.draw(st.sampled_from(list(_VALUES)))
    value = data.draw(_VALUES[sent])
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=wanted)
    except msgspec.ValidationError:
        return
    if value == []:
        return  # Of its items there is nothing to read.
    assert differences(form_of(sent), form_of(wanted)) == []


# ---- Handlers ----


def _fits(hook_in: Any, hook_out: Any, handler: Any, input_type: Any) -> None:
    hooks = HookRegistry()
    hooks.define("h", hook_in, hook_out)
    (spec,) = specs_of(hooks)
    check_fit(spec, HandlerSpec(1, "h", name="handler"), handler, input_type)


def returns_request(value: HttpRequest) -> HttpRequest | None: ...
def returns_stop(value: HttpRequest) -> StopChain[Any] | HttpResponse | None: ...
def returns_nothing(value: Any) -> None: ...
def returns_number(value: Any) -> int: ...  # type: ignore[empty-body]
def plain(value): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
async def later(value: HttpRequest) -> HttpResponse: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    "handler", [returns_request, returns_stop, returns_nothing, plain, later, print]
)
def test_handlers_that_fit(handler: Any) -> None:
    _fits(HttpRequest, HttpRequest | HttpResponse, handler, HttpRequest)
    _fits(HttpRequest, HttpRequest | HttpResponse, handler, Any)
    check_fit(None, HandlerSpec(1, "h"), handler, int)


def test_a_mismatch_is_explained() -> None:
    with pytest.raises(HookTypeError) as refused:
        _fits(Closed, int, returns_number, Order)
    assert refused.value.code == "hook.mismatch"
    assert str(refused.value).splitlines() == [
        "the handler handler does not fit the hook h of the host",
        "  value: the host gives  {id: int}",
        "  value: the handler expects  {id: int, items: [str, ...], note?: str}",
        "  value: items is not there, and must be: [str, ...]",
    ]
    with pytest.raises(HookTypeError, match="result: the handler returns  int"):
        _fits(Closed, str, returns_number, Closed)
    _fits(Closed, int, returns_number, Closed)


def test_readable_forms_are_bounded() -> None:
    large = msgspec.defstruct("Large", [(f"field_{n}", int) for n in range(500)])
    assert len(readable(form_of(large))) == 300
