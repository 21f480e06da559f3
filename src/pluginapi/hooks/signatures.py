"""Whether a callable can be a handler, and which parts of the value it asks for."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import types
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

import msgspec

from pluginapi.errors import HookTypeError

__all__ = [
    "PLAIN",
    "Parameters",
    "attributes_of",
    "call_of",
    "check_handler",
    "name_of",
    "unwrapped",
]

MAX_NAMES: Final = 32
"""The most attributes that one handler may ask for."""

_ITERABLE: Final = inspect.CO_ITERABLE_COROUTINE
_KEYWORD_ONLY: Final = inspect.Parameter.KEYWORD_ONLY
_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


class Parameters(NamedTuple):
    """Say how a handler is called.

    Attributes:
        value: Whether it takes the value as its positional argument.
        names: Attributes of the value that it takes as keyword-only parameters.
    """

    value: bool = True
    names: tuple[str, ...] = ()


PLAIN: Final = Parameters()
"""A handler that takes the value and nothing else."""


def unwrapped(function: Any) -> Any:
    """Return what a `functools.partial` is made of."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def name_of(function: Any) -> str:
    """Return a callable's name, for messages."""
    function = unwrapped(function)
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def call_of(function: Any) -> Any:
    """Return the method that a call of an object runs."""
    return type(function).__call__ if callable(function) else None


def attributes_of(annotation: Any) -> frozenset[str]:
    """Return the attributes that every value of a hook's input type has by its definition.

    Those of dataclasses, `msgspec.Struct`, named tuples and attrs classes; of a union, what all
    its members have. Other types have none that are known.
    """
    if get_origin(annotation) in (Union, types.UnionType):
        found = [attributes_of(part) for part in get_args(annotation)]
        return frozenset.intersection(*found)
    if not isinstance(annotation, type):
        return frozenset()
    if issubclass(annotation, msgspec.Struct):
        return frozenset(annotation.__struct_fields__)
    if dataclasses.is_dataclass(annotation):
        return frozenset(field.name for field in dataclasses.fields(annotation))
    if issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        return frozenset(annotation._fields)
    return frozenset(field.name for field in getattr(annotation, "__attrs_attrs__", ()))


def check_handler(hook: str, function: Any, owner: str | None, annotation: Any) -> Parameters:
    """Tell how to call a handler; refuse what a hook cannot call.

    A handler takes the value as one positional argument. On a hook whose input type has known
    attributes, keyword-only parameters are filled with those: ``def handler(*, path, body)``.

    Most need no look: `takes_one_argument` of the compiled part tells.

    Raises:
        HookTypeError: When it is not callable, takes other arguments, or is a generator
            function, whose body a call would not run.
    """
    name = name_of(function)
    if not callable(function):
        raise HookTypeError(
            f"handler for hook {hook!r} is {type(function).__name__}, which cannot be called",
            plugin=owner,
            hint="give a function or a method, without calling it",
            hook=hook,
        )
    if _is_generator_function(function):
        raise HookTypeError(
            f"handler {name} for hook {hook!r} is a generator function: a call would not run it",
            plugin=owner,
            hint="return the value instead of yielding it; a wrapper is registered with wrap",
            hook=hook,
        )
    try:
        signature = inspect.signature(function)
    except ValueError:
        return PLAIN  # Some built-in callables have no signature to look at.
    keywords = [each for each in signature.parameters.values() if each.kind is _KEYWORD_ONLY]
    attributes = attributes_of(annotation) if keywords else frozenset[str]()
    if attributes:
        return _with_names(hook, name, signature, owner, attributes)
    try:
        signature.bind(None)
    except TypeError as err:
        raise HookTypeError(
            f"handler {name}{signature} for hook {hook!r} cannot be called with one argument, "
            f"the hook's value: {err}",
            plugin=owner,
            hint=f"write it as: def {name.rpartition('.')[2]}(value)",
            hook=hook,
        ) from err
    return PLAIN


def _with_names(
    hook: str,
    name: str,
    signature: inspect.Signature,
    owner: str | None,
    attributes: frozenset[str],
) -> Parameters:
    parameters = signature.parameters.values()
    keywords = [each for each in parameters if each.kind is _KEYWORD_ONLY]
    names = tuple(each.name for each in keywords if each.name in attributes)
    unknown = [
        each.name
        for each in keywords
        if each.name not in attributes and each.default is inspect.Parameter.empty
    ]
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    if not unknown and len(names) <= MAX_NAMES:
        try:
            signature.bind(*([None] if positional else []), **dict.fromkeys(names))
        except TypeError as err:
            reason = str(err)
        else:
            return Parameters(bool(positional), names)
    elif unknown:
        near = difflib.get_close_matches(unknown[0], attributes, n=1)
        meant = f", did you mean {near[0]!r}?" if near else ""
        reason = f"the hook's value has no attribute {unknown[0]!r}{meant}"
    else:
        reason = f"it asks for {len(names)} attributes, more than {MAX_NAMES}"
    raise HookTypeError(
        f"handler {name}{signature} for hook {hook!r} cannot be called with the hook's value and "
        f"its attributes: {reason}",
        plugin=owner,
        hint="take one positional parameter, the value, and keyword-only ones out of: "
        f"{', '.join(sorted(attributes))}",
        hook=hook,
    )


def _is_generator_function(function: Any) -> bool:
    plain = unwrapped(function)
    return any(
        inspect.isasyncgenfunction(item)
        # types.coroutine makes generator functions that are awaited: those are fine.
        or (inspect.isgeneratorfunction(item) and not item.__code__.co_flags & _ITERABLE)
        for item in (plain, call_of(plain))
    )
