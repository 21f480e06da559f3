"""The typed messages of a channel: what host and worker say to each other.

A frame (`src/_native/kernels/channel/frame.h`) carries a kind, a hook id and a call id in its
header, and msgpack in its body. `ExecuteHook` and `HookResult` travel without an envelope: the hook
id is in the header, the body is the value itself. Everything else is a struct of a tagged union,
encoded as an array: ``["initialize", ...]``.

Every string, sequence and number of these structs has a bound, none of them is recursive, and the
host looks through every body for depth and number of items before it decodes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from pluginapi.errors import IpcProtocolError

__all__ = [
    "MAX_CONTEXT_KEYS",
    "MAX_FORMS_CHARS",
    "MAX_HANDLERS",
    "MAX_HOOK_ID",
    "MAX_NAME_CHARS",
    "MAX_TEXT_CHARS",
    "MAX_TRACEBACK_CHARS",
    "ContextDelete",
    "ContextGet",
    "ContextHas",
    "ContextSet",
    "ContextWrites",
    "Error",
    "ExecuteHook",
    "GetMetrics",
    "HandlerSpec",
    "HookResult",
    "HookSpec",
    "HostRequest",
    "Initialize",
    "IpcRequest",
    "IpcResponse",
    "Log",
    "Metrics",
    "Ping",
    "PluginRequest",
    "Ready",
    "ServiceCall",
    "Shutdown",
    "Success",
    "Value",
    "decode",
    "encode",
]

MAX_HOOK_ID: Final = 0xFFFF
MAX_HANDLERS: Final = 4096
"""The most handlers that one plugin registers."""
MAX_CONTEXT_KEYS: Final = 256
"""The most context keys that one plugin is pushed, or may write."""
MAX_NAME_CHARS: Final = 256
MAX_FORMS_CHARS: Final = 65_536
MAX_TEXT_CHARS: Final = 4096
MAX_TRACEBACK_CHARS: Final = 65_536

_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
_Label: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
_Text: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
_HookId: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_HOOK_ID)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Names: TypeAlias = Annotated[tuple[_Name, ...], Meta(max_length=MAX_CONTEXT_KEYS)]
_Owners: TypeAlias = Annotated[tuple[_Name, ...], Meta(max_length=64)]
_Level: TypeAlias = Annotated[int, Meta(ge=0, le=100)]


# ---- What the host asks ----


class HookSpec(Struct, frozen=True, array_like=True):
    """Describe a hook that the host calls.

    Attributes:
        name: Its name.
        fingerprint: Identifies the forms of its input and output, see `pluginapi.hooks.forms`;
            empty when they are not compared.
        forms: These forms as text, to say in which way others differ.
    """

    name: _Name
    fingerprint: _Label = ""
    forms: Annotated[str, Meta(max_length=MAX_FORMS_CHARS)] = ""


class Initialize(Struct, frozen=True, array_like=True, tag="initialize"):
    """Load the plugin, run its init and register_hooks; answered by `Ready`.

    Attributes:
        plugin: Its name.
        version: Its version.
        hooks: The hooks that the host calls.
        push: Context keys whose values come with each call, those that are set.
        write: Context keys that the plugin may change.
        services: Methods of services that the plugin may call, as ``service.method``.
        config: The plugin's configuration, a msgpack map.
        limits: Bounds that the worker applies to itself, by name: bytes, milliseconds, numbers.
        source: Where the worker finds the verified plugin, as its kind of worker understands it.
    """

    plugin: _Name
    version: _Name
    hooks: Annotated[tuple[HookSpec, ...], Meta(max_length=MAX_HANDLERS)] = ()
    push: _Names = ()
    write: _Names = ()
    services: _Names = ()
    config: bytes = b"\x80"
    limits: dict[_Name, _Count] = msgspec.field(default_factory=dict)
    source: dict[_Name, str] = msgspec.field(default_factory=dict)


class Shutdown(Struct, frozen=True, array_like=True, tag="shutdown"):
    """Run the plugin's shutdown and end; answered by `Success`, then the worker closes the channel.

    Attributes:
        reason: Why, for the log.
    """

    reason: _Text = ""


class ExecuteHook(Struct, frozen=True, array_like=True, tag="execute_hook"):
    """Run one handler on a value; answered by `HookResult` or `Error`.

    On the wire a frame of kind CALL: ``hook`` in the header, ``deadline_ns``, ``parent`` and
    ``context`` before the body, ``payload`` as the body.

    Attributes:
        hook: The handler's id, from `Ready`.
        payload: The value as msgpack.
        context: Values of pushed context keys by name, each msgpack; None when there are none.
        deadline_ns: Nanoseconds that it may take from now on; 0 for no limit.
        parent: The receiver's own call in whose course it is made, or 0.
    """

    hook: _HookId
    payload: bytes
    context: dict[_Name, msgspec.Raw] | None = None
    deadline_ns: _Count = 0
    parent: _Count = 0


class GetMetrics(Struct, frozen=True, array_like=True, tag="get_metrics"):
    """Ask what the worker measured of itself; answered by `Metrics`."""


class Ping(Struct, frozen=True, array_like=True, tag="ping"):
    """Ask for a sign of life, in either direction; answered by `Success`."""


# ---- What the plugin asks ----


class ContextGet(Struct, frozen=True, array_like=True, tag="context_get"):
    """Read a context key that is not pushed; answered by `Value`."""

    key: _Name


class ContextSet(Struct, frozen=True, array_like=True, tag="context_set"):
    """Set a context key to a value given as msgpack; answered by `Success`."""

    key: _Name
    value: bytes


class ContextHas(Struct, frozen=True, array_like=True, tag="context_has"):
    """Ask whether `ContextGet` would find a value; answered by `Value` of a boolean."""

    key: _Name


class ContextDelete(Struct, frozen=True, array_like=True, tag="context_delete"):
    """Remove a context key; answered by `Success`."""

    key: _Name


class ServiceCall(Struct, frozen=True, array_like=True, tag="service_call"):
    """Call a method of a service that the host exposes; answered by `Value`.

    Attributes:
        service: Name of the service.
        method: Name of the method.
        arguments: Its arguments, a msgpack map by name.
    """

    service: _Name
    method: _Name
    arguments: bytes = b"\x80"


# ---- Answers ----


class Success(Struct, frozen=True, array_like=True, tag="success"):
    """Say that a request was carried out."""


class HandlerSpec(Struct, frozen=True, array_like=True):
    """Describe a handler that the plugin registered.

    Attributes:
        id: Goes into the header of each call.
        hook: Name of the hook.
        priority: Lower runs first.
        before: Owners that it wants to run before.
        after: Owners that it wants to run after.
        name: Name of the handler, for messages.
    """

    id: _HookId
    hook: _Name
    priority: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 200
    before: _Owners = ()
    after: _Owners = ()
    name: _Label = ""


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """Say that the plugin is active.

    Attributes:
        plugin: The name that it reports.
        version: The version that it reports.
        handlers: What it registered; ids are unique.
        thread_safe: Whether its handlers may run at the same time.
        pid: The worker's process id as the worker sees it; for messages only.
    """

    plugin: _Name
    version: _Name
    handlers: Annotated[tuple[HandlerSpec, ...], Meta(max_length=MAX_HANDLERS)] = ()
    thread_safe: bool = False
    pid: _Count = 0


class Error(Struct, frozen=True, array_like=True, tag="error"):
    """Say that a request failed.

    Attributes:
        code: Stable code, of `pluginapi.error_codes` where it fits.
        message: What happened; text of the plugin, to be shown as such.
        kind: Name of the exception's class.
        hint: What to do, or empty.
        status: The pa_status of a native plugin, or 0.
        traceback: Where it happened, for the log; may be empty.
    """

    code: _Label
    message: _Text = ""
    kind: _Label = ""
    hint: _Text = ""
    status: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
    traceback: Annotated[str, Meta(max_length=MAX_TRACEBACK_CHARS)] = ""


class Metrics(Struct, frozen=True, array_like=True, tag="metrics"):
    """Say what the worker measured of itself; a claim of the worker, not a measurement.

    Attributes:
        values: Numbers by name, in the units that the names end in.
    """

    values: Annotated[dict[_Name, int | float], Meta(max_length=1024)]


class Value(Struct, frozen=True, array_like=True, tag="value"):
    """Carry a value as msgpack."""

    value: bytes


class ContextWrites(Struct, frozen=True, array_like=True):
    """The context part of a `HookResult`: what the handler changed.

    Attributes:
        changed: New values by name, each msgpack; names of ``Initialize.write``.
        removed: Names of the keys that were removed.
    """

    changed: Annotated[dict[_Name, msgspec.Raw], Meta(max_length=MAX_CONTEXT_KEYS)]
    removed: _Names = ()


class HookResult(Struct, frozen=True, array_like=True, tag="hook_result"):
    """Answer an `ExecuteHook`.

    On the wire a frame of kind RESULT: ``stop`` and ``unchanged`` are flags, ``context`` stands
    before the body, ``payload`` is the body.

    Attributes:
        payload: The handler's result as msgpack; empty when unchanged.
        stop: Whether the result is final.
        unchanged: Whether the handler left the value as it was.
        context: What the handler changed, or None.
    """

    payload: bytes = b""
    stop: bool = False
    unchanged: bool = False
    context: ContextWrites | None = None


class Log(Struct, frozen=True, array_like=True):
    """One line for the log; not answered, and dropped when there are too many.

    Attributes:
        level: As in `logging`.
        message: The line; text of the plugin.
        logger: Name of the plugin's logger, or of the stream: ``stdout``, ``stderr``.
    """

    level: _Level
    message: _Text
    logger: _Label = ""


HostRequest: TypeAlias = Initialize | Shutdown | GetMetrics | Ping
"""Control requests of the host."""

PluginRequest: TypeAlias = ContextGet | ContextSet | ContextHas | ContextDelete | ServiceCall | Ping
"""Requests of the plugin."""

IpcRequest: TypeAlias = HostRequest | ExecuteHook | PluginRequest
"""Everything that is answered."""

Response: TypeAlias = Success | Ready | Metrics | Value
IpcResponse: TypeAlias = Response | Error | HookResult
"""Everything that answers."""

_M = TypeVar("_M")
_encoder: Final = msgspec.msgpack.Encoder()
_decoders: Final[dict[Any, msgspec.msgpack.Decoder[Any]]] = {}


def encode(message: Struct | Mapping[str, msgspec.Raw]) -> bytes:
    """Return a message as msgpack."""
    return _encoder.encode(message)


def decode(data: Any, type_: type[_M] | Any) -> _M:
    """Return a message of this type, or union of types, from msgpack.

    Raises:
        IpcProtocolError: With code ``ipc.message`` when the bytes are anything else.
    """
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.msgpack.Decoder(type_)
    try:
        message: _M = decoder.decode(data)
    # msgspec reports hostile bytes by more than its own exceptions.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as err:
        raise IpcProtocolError(
            f"{len(data)} bytes from the peer are no message of the expected kind: {err}",
            code="ipc.message",
            hint="the plugin, or its worker, breaks the protocol: report this to its author",
        ) from err
    return message
