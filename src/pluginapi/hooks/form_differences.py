"""Why a value of one form cannot be read as another one; `pluginapi.hooks.forms` makes forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pluginapi.hooks.forms import text_of

__all__ = ["differences", "readable"]

_MAX_SHOWN: Final = 300

# What is text in msgpack, or may be: whether a given text will do shows with the value.
_TEXTUAL: Final = frozenset({"str", "datetime", "date", "time", "timedelta", "uuid", "decimal"})
_NUMBERS: Final = frozenset({"int", "float", "timedelta", "decimal"})


def differences(sent: Any, wanted: Any) -> list[str]:
    """Say why a value of one form could not be read as another one; empty when it can be.

    What depends on the single value, such as a text that may be a date, is no difference.
    """
    return list(_compare(sent, wanted, ""))


def _compare(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    kinds = {_kind(sent), _kind(wanted)}
    # Of what contains itself, one round is compared.
    if sent == wanted or kinds & {"any", "again"}:
        return
    if _kind(sent) == "union":
        for part in sent[1:]:
            yield from _compare(part, wanted, path)
    elif _kind(wanted) == "union":
        if all(list(_compare(sent, part, path)) for part in wanted[1:]):
            yield _difference(path, sent, wanted)
    elif "one of" in kinds:
        yield from _constants(sent, wanted, path)
    elif isinstance(sent, str) or isinstance(wanted, str):
        if not _plain_fits(sent, wanted):
            yield _difference(path, sent, wanted)
    else:
        compare = _CONTAINERS.get((sent[0], wanted[0]), _unlike)
        yield from compare(sent, wanted, path)


def _kind(form: Any) -> str:
    return str(form if isinstance(form, str) else form[0])


def _constants(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    if _kind(sent) == "one of":
        for value in sent[1]:
            if not _constant_fits(value, wanted):
                yield f"{_at(path)} may be {text_of(value)}, not {readable(wanted)}"
    elif not any(_plain_fits(sent, _kind_of_constant(value)) for value in wanted[1]):
        yield _difference(path, sent, wanted)


def _constant_fits(value: object, wanted: Any) -> bool:
    if _kind(wanted) == "one of":
        return any(value == each and type(value) is type(each) for each in wanted[1])
    return _plain_fits(_kind_of_constant(value), wanted)


def _kind_of_constant(value: object) -> str:
    return {bool: "bool", int: "int", str: "str"}.get(type(value), "null")


def _plain_fits(sent: Any, wanted: Any) -> bool:
    if not isinstance(sent, str) or not isinstance(wanted, str):
        return False
    return (
        sent == wanted
        or {sent, wanted} <= _TEXTUAL
        # msgspec reads 1.0 as a whole number: which ones there are shows with the value.
        or (sent in {"int", "float"} and wanted in _NUMBERS)
    )


# ---- Containers ----


def _objects(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    # msgspec reads an object without the tag that it could have; another tag it refuses.
    if sent[1] and wanted[1] and sent[1][0] == wanted[1][0] and sent[1] != wanted[1]:
        yield _other_tag(sent, wanted, path)
        return
    there = {name: form for name, _, form in sent[2]}
    for name, must, form in wanted[2]:
        if name in there:
            yield from _compare(there[name], form, f"{path}.{name}")
        elif must:
            yield f"{_at(f'{path}.{name}')} is not there, and must be: {readable(form)}"
    if wanted[-1] == "closed":
        known = {name for name, *_ in wanted[2]}
        for name in there:
            if name not in known:
                yield f"{_at(f'{path}.{name}')} is refused by the one who reads it"


def _arrays(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    if wanted[1] != sent[1]:
        yield _other_tag(sent, wanted, path)
        return
    for number, (name, must, form) in enumerate(wanted[2]):
        if number < len(sent[2]):
            yield from _compare(sent[2][number][2], form, f"{path}[{number}]")
        elif must:
            yield f"{_at(f'{path}[{number}]')} ({name}) is not there, and must be"


def _object_as_map(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    for name, _, form in sent[2]:
        yield from _compare(form, wanted[2], f"{path}.{name}")


def _maps(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    yield from _compare(sent[1], wanted[1], f"{path} (keys)")
    yield from _compare(sent[2], wanted[2], f"{path}[...]")


def _tuples(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    if len(sent) != len(wanted):
        yield _difference(path, sent, wanted)
        return
    for number, (ours, theirs) in enumerate(zip(sent[1:], wanted[1:], strict=True)):
        yield from _compare(ours, theirs, f"{path}[{number}]")


def _lists(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    yield from _compare(sent[1], wanted[1], f"{path}[...]")


def _tuple_as_list(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    for number, ours in enumerate(sent[1:]):
        yield from _compare(ours, wanted[1], f"{path}[{number}]")


def _shows_later(_sent: Any, _wanted: Any, _path: str) -> Iterator[str]:
    """Pass: which keys or how many items there are shows with the value."""
    yield from ()


def _unlike(sent: Any, wanted: Any, path: str) -> Iterator[str]:
    yield _difference(path, sent, wanted)


_CONTAINERS: Final[Mapping[tuple[str, str], Callable[[Any, Any, str], Iterator[str]]]] = {
    ("object", "object"): _objects,
    ("object", "map"): _object_as_map,
    ("map", "map"): _maps,
    ("map", "object"): _shows_later,
    ("array", "array"): _arrays,
    ("tuple", "tuple"): _tuples,
    ("list", "list"): _lists,
    ("tuple", "list"): _tuple_as_list,
    ("list", "tuple"): _shows_later,
    ("list", "array"): _shows_later,
    ("array", "list"): _shows_later,
    ("array", "tuple"): _shows_later,
    ("tuple", "array"): _shows_later,
}


# ---- Words ----


def _difference(path: str, sent: Any, wanted: Any) -> str:
    return f"{_at(path)} is {readable(sent)}, not {readable(wanted)}"


def _other_tag(sent: Any, wanted: Any, path: str) -> str:
    return f"{_at(path)} has the tag {text_of(sent[1])}, not {text_of(wanted[1])}"


def _at(path: str) -> str:
    return path.lstrip(".") or "it"


def readable(form: Any) -> str:
    """Return a form for people, at most 300 characters."""
    text = _words(form)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _words(form: Any) -> str:
    if isinstance(form, str):
        return form
    match form[0]:
        case "union":
            return " | ".join(map(_words, form[1:]))
        case "one of":
            return f"one of {text_of(form[1])}"
        case "list":
            return f"[{_words(form[1])}, ...]"
        case "tuple":
            return f"[{', '.join(map(_words, form[1:]))}]"
        case "map":
            return f"{{{_words(form[1])}: {_words(form[2])}, ...}}"
        case "object" | "array":
            inner = ", ".join(
                f"{name}{'' if must else '?'}: {_words(item)}" for name, must, item in form[2]
            )
            tag = "" if form[1] is None else f"{form[1][0]}={text_of(form[1][1])}, "
            return f"{{{tag}{inner}}}" if form[0] == "object" else f"[{tag}{inner}]"
    return "..."
