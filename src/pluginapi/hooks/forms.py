"""The form of values that cross to other processes, so that a mismatch shows when a plugin loads.

A form says how a type looks as msgpack, as msgspec encodes it, and nothing else: kinds of values,
names of fields and which of them must be there, tags, permitted constants. Names of classes,
default values and constraints such as a maximum are no part of it, nor is anything of this process
or version: the same definition has the same form everywhere. Text of a form is JSON without white
space:

========================================  =======================================================
``"any"``                                 not compared: ``Any``, `msgspec.Raw`, types made by hooks
``"int"``, ``"str"``, ``"datetime"``...   one value of this kind
``["list",F]``                            any number of items of form F
``["tuple",F,G]``                         exactly these
``["map",K,F]``                           keys and values
``["object",T,fields]``                   fields ``[name,must be there,F]``, sorted; T is ``null``,
                                          or tag field and tag; ``"closed"`` at the end when other
                                          fields are refused
``["array",T,fields]``                    an object as an array, in the order of its fields
``["one of",values]``                     constants, sorted
``["union",F,G]``                         one of these, sorted by their text
``["again",n]``                           the n-th object around this place, from the outside
========================================  =======================================================

The fingerprint of a hook is ``INPUT:OUTPUT``, each the first 32 hexadecimal digits of the SHA-256
of ``pluginapi-form-1``, a line feed and the text; empty for ``"any"``.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import msgspec.inspect as described

from pluginapi.hooks.modes import HookMode
from pluginapi.ipc.protocol import MAX_FORMS_CHARS, HookSpec

if TYPE_CHECKING:
    from pluginapi.hooks.registry import HookRegistry

__all__ = ["digest_of", "fingerprint_of", "form_of", "specs_of", "text_of"]

_VERSION: Final = b"pluginapi-form-1\n"

_KINDS: Final[Mapping[type, str]] = {
    described.NoneType: "null",
    described.BoolType: "bool",
    described.IntType: "int",
    described.FloatType: "float",
    described.StrType: "str",
    described.BytesType: "bytes",
    described.ByteArrayType: "bytes",
    described.MemoryViewType: "bytes",
    described.DateTimeType: "datetime",
    described.DateType: "date",
    described.TimeType: "time",
    described.TimeDeltaType: "timedelta",
    described.UUIDType: "uuid",
    described.DecimalType: "decimal",
}
_MODES: Final = (HookMode.CHAIN, HookMode.COLLECT, HookMode.FIRST)
_LISTS: Final = (
    described.ListType,
    described.SetType,
    described.FrozenSetType,
    described.VarTupleType,
    described.CollectionType,
)


@functools.lru_cache(maxsize=512)
def form_of(annotation: Any) -> Any:
    """Return the form of a type; ``"any"`` where msgspec cannot tell."""
    try:
        info = described.type_info(annotation)
    except (TypeError, NameError):
        return "any"  # msgspec does not know it, or an annotation in it exists for checkers alone.
    return _node(info, ())


def _node(info: Any, around: tuple[type, ...]) -> Any:
    kind = _KINDS.get(type(info))
    if kind is not None:
        return kind
    if isinstance(info, described.UnionType):
        return _union([_node(part, around) for part in info.types])
    if isinstance(info, _LISTS):
        return ["list", _node(info.item_type, around)]
    if isinstance(info, described.TupleType):
        return ["tuple", *(_node(item, around) for item in info.item_types)]
    if isinstance(info, described.DictType):
        return ["map", _node(info.key_type, around), _node(info.value_type, around)]
    if isinstance(info, described.LiteralType):
        return ["one of", sorted(info.values, key=repr)]
    if isinstance(info, described.EnumType):
        return ["one of", sorted((item.value for item in info.cls), key=repr)]
    if hasattr(info, "fields") and hasattr(info, "cls"):
        return _object(info, around)
    return "any"


def _object(info: Any, around: tuple[type, ...]) -> Any:
    # Generic classes come with their parameters, which are no part of the class.
    if info.cls in around:
        return ["again", around.index(info.cls)]
    inside = (*around, info.cls)
    fields = [[item.encode_name, item.required, _node(item.type, inside)] for item in info.fields]
    tag_field = getattr(info, "tag_field", None)
    tag = None if tag_field is None else [tag_field, info.tag]
    if isinstance(info, described.NamedTupleType) or getattr(info, "array_like", False):
        return ["array", tag, fields]
    form = ["object", tag, sorted(fields)]
    return [*form, "closed"] if getattr(info, "forbid_unknown_fields", False) else form


def _union(parts: list[Any]) -> Any:
    flat = {text_of(part): part for part in parts}
    if '"any"' in flat:
        return "any"
    return parts[0] if len(flat) == 1 else ["union", *(flat[key] for key in sorted(flat))]


def text_of(form: Any) -> str:
    """Return the text of a form."""
    return msgspec.json.encode(form).decode()


def fingerprint_of(input_form: Any, output_form: Any) -> str:
    """Return the fingerprint of a hook; empty when neither of its forms is compared."""
    parts = [digest_of(form) for form in (input_form, output_form)]
    return ":".join(parts) if any(parts) else ""


def digest_of(form: Any) -> str:
    """Return one half of a fingerprint; empty for ``"any"``."""
    if form == "any":
        return ""
    return hashlib.sha256(_VERSION + text_of(form).encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=512)
def _spec(name: str, input_type: Any, output_type: Any) -> HookSpec:
    forms = [form_of(input_type), form_of(output_type)]
    text = text_of(forms)
    if len(text) > MAX_FORMS_CHARS:
        return HookSpec(name)
    fingerprint = fingerprint_of(*forms)
    return HookSpec(name, fingerprint, text if fingerprint else "")


def specs_of(hooks: HookRegistry) -> tuple[HookSpec, ...]:
    """Describe the hooks that are defined, for plugins in other processes."""
    return tuple(
        # Handlers of the other modes return what the mode says, not values of the output type.
        _spec(hook.name, hook.input_type, hook.output_type if hook.mode in _MODES else Any)
        for hook in hooks.get_hooks()
        if hook.defined
    )
