"""Turn the type of a hook or context key into what `isinstance` can check."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["RuntimeType"]


class RuntimeType:
    """Check values against a class, a union of classes, a generic alias or ``Any``.

    Of a generic alias such as ``Mapping[str, int]`` only the container is checked: looking at
    every item would make a hook call as slow as its largest value. Immutable and safe to share.

    Args:
        annotation: ``Any``, None, a class, a runtime-checkable protocol, an alias or a union.

    Raises:
        TypeError: When the annotation cannot be checked at run time, such as a type variable.
    """

    __slots__ = ("_classes", "annotation", "name")

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.name = _name(annotation)
        self._classes = _classes(annotation)
        try:
            self.admits(None)
        except TypeError as err:
            raise TypeError(f"{self.name} cannot be checked at run time: {err}") from err

    def admits(self, value: object) -> bool:
        """Tell whether the value is of the type."""
        return isinstance(value, self._classes)

    @property
    def classes(self) -> tuple[type, ...] | None:
        """The classes whose instances are admitted; None when everything is."""
        return None if object in self._classes else self._classes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RuntimeType) and bool(self.annotation == other.annotation)

    def __hash__(self) -> int:
        return hash(self.annotation)


def _classes(annotation: Any) -> tuple[type, ...]:
    if annotation is Any:
        return (object,)
    if annotation is None:
        return (type(None),)
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return tuple(found for part in get_args(annotation) for found in _classes(part))
    if origin is Literal:
        return tuple({type(value) for value in get_args(annotation)})
    found = annotation if origin is None else origin
    if not isinstance(found, type):
        raise TypeError(f"{_name(annotation)} is not a type that can be checked at run time")
    return (found,)


def _name(annotation: Any) -> str:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return str(annotation).replace("typing.", "")
