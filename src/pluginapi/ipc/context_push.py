"""Context that crosses with calls: the host pushes declared keys, the worker returns its writes.

A proxied read costs a round trip each; a pushed value costs its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pluginapi._native._pushed import PushedContext, unchanged
from pluginapi.context import PluginContext
from pluginapi.context_key import ContextKey, PredefinedContextKey
from pluginapi.errors import ContextKeyNotFound, IpcProtocolError
from pluginapi.ipc.protocol import ContextWrites, decode, encode

__all__ = ["ContextPush", "PushedContext", "pushed_context"]

# Values that cannot change in place.
_ATOMS: Final = frozenset({str, int, float, bool, bytes, type(None)})
_MISSING: Final = object()
_pack: Final = msgspec.msgpack.Encoder().encode


class ContextPush:
    """Give a plugin the values of its declared keys with each call, and carry out its writes.

    Encoded values are kept as long as the context holds the very same ones, unless one of them
    could have changed in place.

    Args:
        view: The plugin's view of the context, which decides what it may read and write.
        push: Keys that are pushed, as told in `Initialize`.
        write: Keys that the plugin may write, as told in `Initialize`.
    """

    def __init__(self, view: PluginContext, push: Sequence[str], write: Sequence[str]) -> None:
        self.view = view
        self._keys = [_key(name) for name in push]
        self._write = frozenset(write)
        self._known: tuple[list[Any], bytes] | None = None

    def pushed(self) -> bytes | None:
        """Return the pushed values as msgpack; None when no key is pushed.

        Raises:
            ContextTypeError: When a value cannot be encoded.
        """
        known = self._known
        if known is not None and unchanged(self.view.get, self._keys, known[0], _MISSING):
            return known[1]
        return self._encode() if self._keys else None

    def _encode(self) -> bytes:
        get = self.view.get
        found = [get(key, _MISSING) for key in self._keys]
        values: dict[str, msgspec.Raw] = {}
        lasting = True
        for key, value in zip(self._keys, found, strict=True):
            if value is _MISSING:
                continue
            try:
                data = self.view.get_bytes(key.name)
            except ContextKeyNotFound:
                lasting = False
                continue
            # Another thread may have set it in between: then these are not the bytes of `value`.
            lasting = lasting and type(value) in _ATOMS and _pack(value) == data
            values[key.name] = msgspec.Raw(data)
        encoded = encode(values)
        self._known = (found, encoded) if lasting else None
        return encoded

    def apply(self, writes: bytes) -> None:
        """Set and remove what a handler changed, as far as the view allows.

        Raises:
            IpcProtocolError: When the bytes are no `ContextWrites` or name keys that were not
                agreed.
            ContextError: What the view refuses; what stands before it is done.
        """
        changes: ContextWrites = decode(writes, ContextWrites)
        for name in (*changes.changed, *changes.removed):
            if name not in self._write:
                raise IpcProtocolError(
                    f"the plugin writes context key {name!r}, which was not agreed",
                    code="ipc.message",
                    hint="report this to the plugin's author",
                )
        for name, value in changes.changed.items():
            self.view.set_bytes(name, bytes(value))
        for name in changes.removed:
            try:
                self.view.remove(_key(name))
            except ContextKeyNotFound:
                continue  # It is gone, as the plugin wants it.


def _key(name: str) -> ContextKey[Any]:
    if name in PredefinedContextKey.NAMES:
        key: ContextKey[Any] = getattr(PredefinedContextKey, name)
        return key
    return ContextKey.custom(name)


def pushed_context(writable: Sequence[str]) -> PushedContext:
    """Return the worker's side: what came with the call that runs, and what its handler changes.

    Args:
        writable: Names of the keys that may be changed, ``Initialize.write``.
    """
    encoder = msgspec.msgpack.Encoder()
    return PushedContext(
        writable,
        decode=msgspec.msgpack.Decoder(dict[str, Any]).decode,
        encode=lambda value: msgspec.Raw(encoder.encode(value)),
        seal=lambda changed, removed: encoder.encode(ContextWrites(changed, removed)),
    )
