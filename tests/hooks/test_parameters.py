"""Handlers that take attributes of the hook's value by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import pytest

from pluginapi.errors import HookTypeError
from pluginapi.hooks import Hook, HookRegistry
from pluginapi.hooks.signatures import MAX_NAMES


class Save(msgspec.Struct):
    path: str
    size: int
    owner: str = "root"


@dataclass
class Data:
    path: str
    size: int


class Row(NamedTuple):
    path: str
    size: int


@pytest.fixture
def registry() -> HookRegistry:
    made = HookRegistry()
    made.define("save", Save, Save | str)
    return made


def test_a_handler_takes_only_what_it_names(registry: HookRegistry) -> None:
    seen: list[Any] = []

    def named(*, size: int, path: str) -> None:
        seen.append((path, size))

    def value_too(value: Save, *, owner: str) -> None:
        seen.append((value.size, owner))

    class Plugin:
        def method(self, *, path: str) -> None:
            seen.append(path)

        async def asynchronous(self, *, path: str) -> None:
            seen.append(path.upper())

    plugin = Plugin()
    for handler in (named, value_too, plugin.method, plugin.asynchronous):
        registry.register("save", 200, handler)
    save = Save("/a", 5)
    assert registry.call("save", save) is save
    assert seen == [("/a", 5), (5, "root"), "/a", "/A"]


def test_optional_keywords_are_filled_or_left(registry: HookRegistry) -> None:
    seen: list[Any] = []

    def handler(*, path: str = "none", colour: str = "blue") -> None:
        seen.append((path, colour))

    registry.register("save", 200, handler)
    registry.call("save", Save("/a", 5))
    assert seen == [("/a", "blue")]


@pytest.mark.parametrize("kind", [Save, Data, Row, Save | Data])
def test_the_kinds_of_types_whose_attributes_are_known(kind: Any) -> None:
    hook: Hook[Any, Any] = HookRegistry().define("h", kind, object)
    seen: list[str] = []

    def handler(*, path: str) -> None:
        seen.append(path)

    hook.register(handler)  # type: ignore[arg-type]
    hook.call((Save if kind == Save | Data else kind)("/a", 1))
    assert seen == ["/a"]


def test_an_attribute_that_does_not_exist_is_refused_with_a_suggestion(
    registry: HookRegistry,
) -> None:
    def misspelled(*, pth: str) -> None: ...

    with pytest.raises(HookTypeError, match="did you mean 'path'") as caught:
        registry.register("save", 200, misspelled, owner="acme")
    assert "misspelled(*, pth" in str(caught.value)
    assert "owner, path, size" in str(caught.value.hint)
    assert caught.value.plugin == "acme"
    assert len(registry.hook("save")) == 0


def test_two_positional_parameters_are_refused_here_too(registry: HookRegistry) -> None:
    def two(a: Save, b: Save, *, path: str) -> None: ...

    with pytest.raises(HookTypeError, match="missing a required argument: 'b'"):
        registry.register("save", 200, two)


def test_members_that_only_some_of_a_union_have_are_not_known() -> None:
    registry = HookRegistry()
    registry.define("h", Save | Row, object)

    def handler(*, owner: str) -> None: ...

    with pytest.raises(HookTypeError, match="no attribute 'owner'"):
        registry.register("h", 200, handler)


def test_the_number_of_names_is_bounded() -> None:
    names = [f"a{index}" for index in range(MAX_NAMES + 1)]
    wide = msgspec.defstruct("Wide", [(name, int, 0) for name in names])
    registry = HookRegistry()
    registry.define("h", wide, object)
    space: dict[str, Any] = {}
    for count in (MAX_NAMES, MAX_NAMES + 1):
        exec(f"def h(*, {', '.join(names[:count])}): seen.append(a0)", space)  # noqa: S102
        if count > MAX_NAMES:
            with pytest.raises(HookTypeError, match="more than 32"):
                registry.register("h", 200, space["h"])
        else:
            space["seen"] = []
            registry.register("h", 200, space["h"])
            registry.call("h", wide())
            assert space["seen"] == [0]


def test_a_failing_attribute_is_the_handlers_failure() -> None:
    registry = HookRegistry()

    @dataclass
    class Lazy:
        path: str

        def __getattribute__(self, name: str) -> Any:
            if name == "path":
                raise OSError("not readable")
            return super().__getattribute__(name)

    registry.define("h", Lazy, object)

    def handler(*, path: str) -> None: ...

    registry.register("h", 200, handler, owner="acme")
    with pytest.raises(OSError, match="not readable") as caught:
        registry.call("h", Lazy("x"))
    assert "plugin 'acme'" in caught.value.__notes__[0]
    assert registry.stats()[0].errors == 1
