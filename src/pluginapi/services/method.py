"""One method of a service: its arguments and its result as bytes, checked against annotations."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
import msgspec.inspect
from msgspec import UNSET, UnsetType

from pluginapi._native import _channel
from pluginapi.errors import ServiceArgumentError, ServiceError

__all__ = ["MAX_SERVICE_BYTES", "ServiceMethod", "result_type_of"]

MAX_SERVICE_BYTES: Final = 1024 * 1024
"""The most bytes of the arguments, and of the result, of one call of a service."""

# Depth, containers and items of what a plugin sends: as in `pluginapi.ipc.settings`.
_BOUNDS: Final = (64, 32_768, 262_144)

# msgspec lets errors of other kinds through: deep nesting, surrogates, numbers out of range.
_ERRORS: Final = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


class ServiceMethod:
    """Call one function of the host with what a plugin sent. Thread-safe as the function is.

    Every parameter is passed by name, so each must allow that, and each must be annotated with a
    type that msgspec can make of plain data; so must the result. ``Any`` is taken at its word.

    Args:
        service: Name of the service.
        method: Name of the method.
        function: What is called: sync or async.

    Raises:
        ServiceError: With code ``service.invalid`` when the function cannot be a method.

    Attributes:
        name: ``service.method``.
        function: What is called.
        is_async: Whether its result has to be awaited on an event loop.
    """

    __slots__ = ("_check", "_decode", "_fields", "function", "is_async", "name")

    def __init__(self, service: str, method: str, function: Callable[..., Any]) -> None:
        self.name = f"{service}.{method}"
        self.function = function
        hints, parameters = self._described()
        fields: list[tuple[str, Any, Any]] = []
        required: list[tuple[str, Any]] = []
        for parameter in parameters:
            hint = hints.get(parameter.name)
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise self._invalid(
                    f"its parameter {parameter} cannot be given by name",
                    "expose a function that takes every argument by name",
                )
            if parameter.name not in hints:
                raise self._invalid(
                    f"its parameter {parameter.name} is not annotated",
                    "annotate it, with Any if everything will do",
                )
            if parameter.default is parameter.empty:
                required.append((parameter.name, hint))
            else:
                fields.append((parameter.name, Union[hint, UnsetType], UNSET))  # noqa: UP007
        if "return" not in hints:
            raise self._invalid(
                "its result is not annotated", "annotate it, with Any if everything will do"
            )
        awaits, result = result_type_of(hints["return"])
        self.is_async = awaits or inspect.iscoroutinefunction(function)
        self._fields = tuple(name for name, *_ in (*required, *fields))
        try:
            _refuse_custom_types([hint for _, hint, *_ in (*required, *fields)] + [result])
            arguments = msgspec.defstruct(
                "Arguments", [*required, *fields], kw_only=True, forbid_unknown_fields=True
            )
            self._decode = msgspec.msgpack.Decoder(arguments).decode
            self._check = None if result is Any else msgspec.msgpack.Decoder(result).decode
        except _ERRORS as err:
            raise self._invalid(
                f"its arguments or its result cannot be made of plain data: {err}",
                "use types that msgspec knows: numbers, text, lists, maps, Struct, dataclasses",
            ) from err

    def arguments(self, data: bytes) -> dict[str, Any]:
        """Return the arguments that a plugin sent as a msgpack map by name.

        Raises:
            ServiceArgumentError: With code ``service.too_large`` above `MAX_SERVICE_BYTES`,
                otherwise ``service.arguments`` when they do not fit.
        """
        if len(data) > MAX_SERVICE_BYTES:
            raise ServiceArgumentError(
                f"the arguments of {self.name} have {len(data)} bytes, more than "
                f"{MAX_SERVICE_BYTES}",
                code="service.too_large",
                hint="pass less at a time",
            )
        if not _channel.scan(data, *_BOUNDS):
            raise ServiceArgumentError(
                f"the arguments of {self.name} are not one value of plain msgpack within its "
                "bounds of depth and number",
                hint="pass plain data: text, numbers, lists, maps",
            )
        try:
            made = self._decode(data)
        except _ERRORS as err:
            raise ServiceArgumentError(
                f"the arguments do not fit {self.name}: {err}",
                hint=f"{self.name} takes {', '.join(self._fields) or 'no arguments'}",
            ) from err
        values = ((name, getattr(made, name)) for name in self._fields)
        return {name: value for name, value in values if value is not UNSET}

    def encoded(self, result: Any) -> bytes:
        """Return a result as msgpack.

        Raises:
            ServiceError: With code ``service.result`` when it is not of the annotated type or has
                no msgpack form, ``service.too_large`` above `MAX_SERVICE_BYTES`.
        """
        try:
            data = msgspec.msgpack.encode(result, enc_hook=_encodable)
            if len(data) <= MAX_SERVICE_BYTES and self._check is not None:
                self._check(data)
        except _ERRORS as err:
            raise ServiceError(
                f"the result of {self.name} cannot be given to a plugin: {err}",
                code="service.result",
                hint="report this to the developer of the host",
            ) from err
        if len(data) > MAX_SERVICE_BYTES:
            raise ServiceError(
                f"the result of {self.name} has {len(data)} bytes, more than {MAX_SERVICE_BYTES}",
                code="service.too_large",
                hint="ask for less at a time",
            )
        return data

    def _described(self) -> tuple[dict[str, Any], list[inspect.Parameter]]:
        function = self.function
        if not callable(function):
            raise self._invalid(
                f"it is a {type(function).__name__}, which cannot be called",
                "name methods of the object",
            )
        target = function if inspect.isroutine(function) else type(function).__call__
        try:
            hints = get_type_hints(target, include_extras=True)
            return hints, list(inspect.signature(function).parameters.values())
        except (NameError, AttributeError, TypeError, ValueError) as err:
            raise self._invalid(
                f"its annotations cannot be told: {err}",
                "write a function in Python whose annotations exist at run time",
            ) from err

    def _invalid(self, what: str, hint: str) -> ServiceError:
        return ServiceError(
            f"{self.name} cannot be a method of a service: {what}",
            code="service.invalid",
            hint=hint,
        )


def result_type_of(annotation: Any) -> tuple[bool, Any]:
    """Return whether a return annotation says that it is awaited, and the type of the result."""
    if get_origin(annotation) in (Awaitable, Coroutine):
        return True, get_args(annotation)[-1]
    return False, annotation


def _encodable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not plain data")


def _refuse_custom_types(hints: list[Any]) -> None:
    """Refuse types that msgspec would decode by a hook: it would fail with the first call."""
    seen: set[int] = set()
    todo: list[Any] = list(msgspec.inspect.multi_type_info(hints))
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, msgspec.inspect.CustomType):
            raise TypeError(f"{getattr(node.cls, '__name__', node.cls)} is not plain data")
        todo.extend(_parts(node))


def _parts(node: Any) -> Iterator[Any]:
    for name in getattr(node, "__struct_fields__", ()):
        value = getattr(node, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, msgspec.inspect.Type | msgspec.inspect.Field):
                yield item
