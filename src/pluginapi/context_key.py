"""Keys of the shared context: a name and the type of the value under it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from pluginapi._native._context import Key, use_key_class
from pluginapi.errors import ContextError, ContextTypeError
from pluginapi.runtime_types import RuntimeType

__all__ = ["ContextKey", "PredefinedContextKey"]

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


@use_key_class
class ContextKey(Key, Generic[T]):
    """Name a value in the context and its type, which is checked statically and at run time.

    Keys are equal when name and type are. Immutable, hashable, safe to share between threads.
    Make keys of your own as module constants: ``POOL = ContextKey("acme.pool", Pool)``.

    Args:
        name: A letter or underscore, then up to 127 letters, digits and ``_ . : -``. The names of
            the predefined keys are reserved.
        type_: What values must be; of a generic alias only the container is checked.

    Raises:
        ContextError: With code ``context.key`` when the name is malformed or reserved.
        ContextTypeError: When the type cannot be checked at run time.
    """

    __slots__ = ("_checked",)

    DatabaseConnection: ClassVar[PredefinedContextKey[object]]
    """The host's database connection or pool."""
    Configuration: ClassVar[PredefinedContextKey[Mapping[str, Any]]]
    """The settings of the plugin, read-only to any depth."""
    Logger: ClassVar[PredefinedContextKey[logging.Logger]]
    """Where the plugin logs."""
    HttpClient: ClassVar[PredefinedContextKey[object]]
    """The host's HTTP client."""
    CacheManager: ClassVar[PredefinedContextKey[object]]
    Resources: ClassVar[PredefinedContextKey[Mapping[str, Any]]]
    """The plugin's own limits and what it uses of them, looked at anew at each access."""
    """The host's cache."""

    def __init__(self, name: str, type_: type[T]) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ContextError(
                f"context key {str(name)[:80]!r} is not allowed",
                code="context.key",
                hint="use a letter or '_', then up to 127 letters, digits and '_ . : -'",
            )
        if type(self) is not PredefinedContextKey and name in PredefinedContextKey.NAMES:
            raise ContextError(
                f"context key {name!r} is predefined",
                code="context.key",
                hint=f"use ContextKey.{name}, or another name",
                key=name,
            )
        try:
            checked = RuntimeType(type_)
        except TypeError as err:
            raise ContextTypeError(
                f"context key {name!r} cannot be made: {err}",
                hint="use a class, a union of classes, or Any for values that are not checked",
                key=name,
            ) from err
        self._checked = checked
        classes = checked.classes
        one = classes[0] if classes is not None and len(classes) == 1 else None
        super().__init__(name, one, classes is None)

    @staticmethod
    def custom(name: str) -> ContextKey[Any]:
        """Make a key by name alone, whose values are not checked."""
        return ContextKey(name, cast("type[Any]", Any))

    @property
    def type(self) -> Any:
        """The type of the values; ``Any`` when it is not checked."""
        return self._checked.annotation

    def check(self, value: object) -> None:
        """Refuse a value of another type.

        Raises:
            ContextTypeError: Naming the key, its type and the type of the value.
        """
        if not self._checked.admits(value):
            raise ContextTypeError(
                f"context key {self.name!r} holds {self._checked.name}, not {type(value).__name__}",
                hint=f"use a value of type {self._checked.name}",
                key=self.name,
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ContextKey):
            return NotImplemented
        return self.name == other.name and self._checked == other._checked

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"ContextKey({self.name!r}, {self._checked.name})"


class PredefinedContextKey(ContextKey[T]):
    """A key that the library itself knows; reached as a class attribute of `ContextKey`."""

    __slots__ = ()

    NAMES: ClassVar[frozenset[str]] = frozenset(
        {
            *("DatabaseConnection", "Configuration", "Logger", "HttpClient", "CacheManager"),
            "Resources",
        }
    )
    """The reserved names."""

    def __init__(self, name: str, type_: type[T]) -> None:
        if name not in self.NAMES:
            raise ContextError(
                f"there is no predefined context key {str(name)[:80]!r}",
                code="context.key",
                hint="make keys of your own with ContextKey(name, type)",
            )
        super().__init__(name, type_)

    @classmethod
    def all(cls) -> tuple[PredefinedContextKey[Any], ...]:
        """Return the predefined keys, sorted by name."""
        return tuple(getattr(cls, name) for name in sorted(cls.NAMES))

    def __repr__(self) -> str:
        return f"ContextKey.{self.name}"


ContextKey.DatabaseConnection = PredefinedContextKey("DatabaseConnection", object)
ContextKey.Configuration = PredefinedContextKey("Configuration", cast("Any", Mapping[str, Any]))
ContextKey.Logger = PredefinedContextKey("Logger", logging.Logger)
ContextKey.HttpClient = PredefinedContextKey("HttpClient", object)
ContextKey.CacheManager = PredefinedContextKey("CacheManager", object)
ContextKey.Resources = PredefinedContextKey("Resources", cast("Any", Mapping[str, Any]))
