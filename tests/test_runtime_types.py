from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pluginapi.runtime_types import RuntimeType


class Unchecked(typing.Protocol):
    def method(self) -> None: ...


@typing.runtime_checkable
class Checked(typing.Protocol):
    def method(self) -> None: ...


class Implements:
    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, 1, "1"),
        (int | str, "1", 1.5),
        (typing.Union[int, None], None, "1"),  # noqa: UP007 - the old form is accepted too
        (None, None, 0),
        (list[int], ["not looked at"], (1,)),
        (Mapping[str, int] | None, {}, []),
        (typing.Literal["a", 1], "b", 1.5),
        (Callable[[int], int], len, 1),
        (Checked, Implements(), 1),
    ],
)
def test_what_is_admitted(annotation: Any, good: object, bad: object) -> None:
    kind = RuntimeType(annotation)
    assert kind.admits(good)
    assert not kind.admits(bad)
    assert kind == RuntimeType(annotation)
    assert hash(kind) == hash(RuntimeType(annotation))
    assert kind != RuntimeType(bytes)
    assert kind != annotation


def test_any_admits_everything() -> None:
    assert RuntimeType(Any).admits(None)
    assert RuntimeType(Any | int).admits("text")


@pytest.mark.parametrize("annotation", [3, "int", Unchecked, typing.TypeVar("T"), int | Unchecked])
def test_what_cannot_be_checked_is_refused(annotation: Any) -> None:
    with pytest.raises(TypeError, match="checked at run time"):
        RuntimeType(annotation)


@pytest.mark.parametrize(
    ("annotation", "name"), [(int, "int"), (int | None, "int | None"), (Any, "Any")]
)
def test_names_are_readable(annotation: Any, name: str) -> None:
    assert RuntimeType(annotation).name == name
