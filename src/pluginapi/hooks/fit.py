"""Whether a handler in a worker fits the hook of its host, told when the plugin is loaded."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from pluginapi.errors import HookTypeError
from pluginapi.hooks.form_differences import differences, readable
from pluginapi.hooks.forms import digest_of, form_of
from pluginapi.hooks.results import StopChain
from pluginapi.ipc.protocol import HandlerSpec, HookSpec

__all__ = ["check_fit"]

_MAX_DIFFERENCES: Final = 8


def check_fit(
    spec: HookSpec | None, handler: HandlerSpec, function: Callable[..., Any], input_type: Any
) -> None:
    """Refuse a handler whose annotations do not fit the forms of its hook at the host.

    What the host gives must be readable as the handler's argument, and what the handler returns,
    if that is annotated, as the host's result. A handler without annotations is not compared.

    Args:
        spec: What the host says of the hook; None when it did not define it.
        handler: What the plugin registers.
        function: The handler.
        input_type: What its argument will be made as.

    Raises:
        HookTypeError: With code ``hook.mismatch``; the message has both sides and the differences.
    """
    if spec is None or not spec.fingerprint:
        return
    input_print, _, output_print = spec.fingerprint.partition(":")
    complaints: list[str] = []
    mine = form_of(input_type)
    returned = form_of(_returned(function)) if output_print else "any"
    compares_input = bool(input_print) and mine != "any" and digest_of(mine) != input_print
    compares_output = returned != "any" and digest_of(returned) != output_print
    if not (compares_input or compares_output):
        return
    theirs, taken = msgspec.json.decode(spec.forms)
    if compares_input:
        complaints += _explained("value", "host gives", theirs, "handler expects", mine)
    if compares_output:
        complaints += _explained("result", "handler returns", returned, "host expects", taken)
    if complaints:
        raise HookTypeError(
            f"the handler {handler.name} does not fit the hook {spec.name} of the host\n"
            + "\n".join(complaints),
            code="hook.mismatch",
            hint="build the plugin for the types of this host",
            hook=spec.name,
        )


def _explained(what: str, giver: str, sent: Any, taker: str, wanted: Any) -> list[str]:
    found = differences(sent, wanted)
    if not found:
        return []
    more = len(found) - _MAX_DIFFERENCES
    return [
        f"  {what}: the {giver}  {readable(sent)}",
        f"  {what}: the {taker}  {readable(wanted)}",
        *(f"  {what}: {each}" for each in found[:_MAX_DIFFERENCES]),
        *([f"  {what}: and {more} more differences"] if more > 0 else []),
    ]


def _returned(function: Callable[..., Any]) -> Any:
    """Return what a handler says that it returns, without what says how: None and StopChain."""
    target = function if inspect.isroutine(function) else type(function).__call__
    if "return" not in getattr(target, "__annotations__", ()):
        return Any  # Most have none: resolving annotations takes as long as loading the plugin.
    try:
        annotation = get_type_hints(target).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return Any
    is_union = get_origin(annotation) in (Union, types.UnionType)
    parts = get_args(annotation) if is_union else (annotation,)
    kept = tuple(part for part in parts if not _says_how(part))
    return Union[kept] if kept else Any  # noqa: UP007 - as many as there are


def _says_how(part: Any) -> bool:
    return part is None or part is type(None) or part is StopChain or get_origin(part) is StopChain
