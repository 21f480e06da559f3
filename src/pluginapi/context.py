"""The shared context: what the host and its plugins know under typed keys."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, overload

import msgspec

from pluginapi.context_key import ContextKey, PredefinedContextKey
from pluginapi.errors import ContextError, ContextKeyNotFound, ContextTypeError

__all__ = ["MAX_KEYS", "MAX_VALUE_BYTES", "ContextKey", "PluginContext", "PredefinedContextKey"]

T = TypeVar("T")
D = TypeVar("D")

MAX_KEYS: Final = 4096
"""The most keys that a context holds: a plugin cannot fill the host's memory with keys."""

MAX_VALUE_BYTES: Final = 256 * 1024
"""The largest encoded value that crosses to or from a plugin. Decoding time grows with it."""

_MISSING: Final[Any] = object()

_Grant = frozenset[str] | None  # None grants every key.


class _Store:
    """The values behind a context and all its views."""

    __slots__ = ("_keys", "_lock", "_values")

    def __init__(self) -> None:
        # Re-entrant: the garbage collector may run a __del__ under the lock that comes back here.
        # Old values are handed out of every method, to be dropped when the lock is not held.
        self._lock = threading.RLock()
        self._values: dict[str, Any] = {}
        self._keys: dict[str, ContextKey[Any]] = {}

    def get(self, name: str) -> Any:
        return self._values.get(name, _MISSING)  # One operation on a dict is atomic.

    def key(self, name: str) -> ContextKey[Any] | None:
        return self._keys.get(name)

    def put(self, key: ContextKey[Any], value: Any) -> Any:
        with self._lock:
            old = self._values.get(key.name, _MISSING)
            if old is _MISSING and len(self._values) >= MAX_KEYS:
                raise ContextError(
                    f"the context holds {MAX_KEYS} keys already",
                    code="context.full",
                    hint="remove keys that nobody needs, or put several values under one key",
                    key=key.name,
                )
            known = self._keys.get(key.name)
            # Who set the name first, with a type, decides what it holds until it is removed.
            if known is not None:
                known.check(value)
            if known is None or known.type is Any:
                self._keys[key.name] = key
            self._values[key.name] = value
        return old

    def pop(self, name: str) -> Any:
        with self._lock:
            self._keys.pop(name, None)
            return self._values.pop(name, _MISSING)

    def items(self) -> dict[str, ContextKey[Any]]:
        with self._lock:
            return dict(self._keys)

    def clear(self) -> object:
        with self._lock:
            old = self._values, self._keys
            self._values, self._keys = {}, {}
        return old


class _Access(NamedTuple):
    """Say whose view a context is and what it grants."""

    store: _Store
    plugin: str | None = None
    read: _Grant = None
    write: _Grant = None
    own: Mapping[str, Any] = MappingProxyType({})


class PluginContext:
    """Share typed values between the host and its plugins.

    The host makes one and gives each plugin a `view` of it. Safe to use from any thread. What a
    view was not granted does not exist for it: reading it, changing it and asking for it give the
    same answers as for a key that was never set.

    A mapping set under `ContextKey.Configuration` is copied and made read-only to any depth.
    """

    def __init__(self, _access: _Access | None = None) -> None:
        access = _access or _Access(_Store())
        self._store = access.store
        self._plugin = access.plugin
        self._read = access.read
        self._write = access.write
        self._own = access.own
        self._closed = False

    def view(
        self,
        plugin: str,
        read: Iterable[ContextKey[Any] | str] | None = None,
        write: Iterable[ContextKey[Any] | str] | None = None,
        *,
        values: Mapping[ContextKey[Any], Any] | None = None,
    ) -> PluginContext:
        """Return what one plugin sees of this context.

        A view of a view grants at most what the first one does. The permissions are the host's
        decision: what the plugin declares is a request, see `PluginRequirements`.

        Args:
            plugin: Name of the plugin.
            read: Keys or names that it may read; None grants all.
            write: Keys or names that it may set and remove; None grants all.
            values: Values for this plugin alone, such as its own Configuration and Logger. They
                stand before the shared ones and cannot be changed through the view.

        Raises:
            ContextTypeError: When one of the values is not of its key's type.
        """
        own = dict(self._own)
        for key, value in (values or {}).items():
            own[key.name] = _accepted(key, value)
        self._check_open()
        return PluginContext(
            _Access(
                self._store, plugin, _narrowed(self._read, read), _narrowed(self._write, write), own
            )
        )

    @property
    def plugin(self) -> str | None:
        """Name of the plugin whose view this is; None for the host's context."""
        return self._plugin

    @overload
    def get(self, key: ContextKey[T]) -> T: ...
    @overload
    def get(self, key: ContextKey[T], default: D) -> T | D: ...
    def get(self, key: ContextKey[Any], default: Any = _MISSING) -> Any:
        """Return the value under a key, or the default where one is given.

        Raises:
            ContextKeyNotFound: When there is none and no default.
            ContextTypeError: When the value was set through a key of the same name and another
                type, and is not of this key's.
            ContextError: With code ``context.closed`` when the view is closed.
        """
        value = self._find(key.name)
        if value is _MISSING:
            if default is _MISSING:
                self._not_found(key.name)
            return default
        key.check(value)
        return value

    def set(self, key: ContextKey[T], value: T) -> None:
        """Put a value under a key, in place of the one that was there.

        Raises:
            ContextTypeError: When the value is not of the key's type, or not of the type that the
                name was first set with.
            ContextKeyNotFound: When the plugin may neither read nor write the key.
            ContextError: ``context.read_only`` when it may only read it, ``context.full`` when
                there are `MAX_KEYS` keys, ``context.closed``.
        """
        self._check_writable(key.name)
        # The name keeps the old value alive until the lock of the store is released.
        old = self._store.put(key, _accepted(key, value))
        del old

    def remove(self, key: ContextKey[Any]) -> None:
        """Remove a key and its value.

        Raises:
            ContextKeyNotFound: When there is none, or not for this plugin.
            ContextError: ``context.read_only`` when the plugin may only read it,
                ``context.closed``.
        """
        self._check_writable(key.name)
        if self._store.pop(key.name) is _MISSING:
            self._not_found(key.name)

    def has(self, key: ContextKey[Any] | str) -> bool:
        """Tell whether `get` would find a value under the key or name."""
        return self._find(_name_of(key)) is not _MISSING

    __contains__ = has

    def keys(self) -> tuple[str, ...]:
        """Return the names of the keys that `get` would find, sorted."""
        self._check_open()
        names = {*self._store.items(), *self._own}
        return tuple(sorted(name for name in names if self._may_read(name)))

    def get_bytes(self, name: str) -> bytes:
        """Return the value under a name as msgpack, for plugins that are not Python.

        Raises:
            ContextKeyNotFound: As `get`.
            ContextTypeError: When the value has no msgpack form: live objects, such as a database
                pool, cannot cross.
            ContextError: ``context.full`` when it is larger than `MAX_VALUE_BYTES`,
                ``context.closed``.
        """
        value = self._find(name)
        if value is _MISSING:
            self._not_found(name)
        try:
            data = msgspec.msgpack.encode(value, enc_hook=_encodable)
        # msgspec lets errors of other kinds through: unencodable keys, deep nesting, surrogates.
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as err:
            raise ContextTypeError(
                f"the value under {name!r} cannot be given to a plugin as bytes: {err}",
                plugin=self._plugin,
                hint="put plain data (text, numbers, lists, maps) under keys that they read",
                key=name,
            ) from err
        self._check_size(name, len(data))
        return data

    def set_bytes(self, name: str, data: bytes) -> None:
        """Put a value that a plugin sent as msgpack under a name.

        Under a name whose key has a type, the value is decoded into that type; else into None,
        bool, int, float, text, bytes, lists and maps.

        Raises:
            ContextTypeError: When the data is not msgpack or not of the key's type.
            ContextError: ``context.full`` when it is larger than `MAX_VALUE_BYTES`,
                ``context.key`` when the name is malformed; otherwise as `set`.
        """
        self._check_writable(name)
        self._check_size(name, len(data))
        key = self._key(name)
        try:
            value = msgspec.msgpack.decode(data, type=key.type)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as err:
            raise ContextTypeError(
                f"the bytes for {name!r} cannot be read: {err}",
                plugin=self._plugin,
                hint="write one msgpack value of the key's type",
                key=name,
            ) from err
        self.set(key, value)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Refuse every later use. Idempotent.

        Closing a view, when its plugin is unloaded, leaves the values alone. Closing the host's
        context drops all values; its views are then empty.
        """
        self._closed = True
        self._own = {}
        if self._plugin is None:
            self._store.clear()

    def __repr__(self) -> str:
        of = "host" if self._plugin is None else f"plugin {self._plugin!r}"
        return f"<PluginContext of {of}{', closed' if self._closed else ''}>"

    def _may_read(self, name: str) -> bool:
        return self._read is None or name in self._read or name in self._own

    def _find(self, name: str) -> Any:
        self._check_open()
        if name in self._own:
            return self._own[name]
        return self._store.get(name) if self._may_read(name) else _MISSING

    def _key(self, name: str) -> ContextKey[Any]:
        if name in PredefinedContextKey.NAMES:
            predefined: ContextKey[Any] = getattr(PredefinedContextKey, name)
            return predefined
        return self._store.key(name) or ContextKey.custom(name)

    def _check_open(self) -> None:
        if self._closed:
            raise ContextError(
                "the context was used after it was closed",
                code="context.closed",
                plugin=self._plugin,
                hint="use the context only until shutdown has ended",
            )

    def _check_writable(self, name: str) -> None:
        self._check_open()
        if name not in self._own and (self._write is None or name in self._write):
            return
        if not self._may_read(name) or (name not in self._own and not self._holds(name)):
            self._not_found(name)
        raise ContextError(
            f"context key {name!r} is read-only for {self._plugin!r}",
            code="context.read_only",
            plugin=self._plugin,
            hint="declare the key in context_write and let the operator grant it",
            key=name,
        )

    def _holds(self, name: str) -> bool:
        return self._store.get(name) is not _MISSING

    def _check_size(self, name: str, size: int) -> None:
        if size > MAX_VALUE_BYTES:
            raise ContextError(
                f"the value under {name!r} has {size} bytes, more than {MAX_VALUE_BYTES}",
                code="context.full",
                plugin=self._plugin,
                hint="share large data through a file or a service",
                key=name,
            )

    def _not_found(self, name: str) -> NoReturn:
        raise ContextKeyNotFound(
            f"the context holds nothing under {str(name)[:128]!r}",
            plugin=self._plugin,
            hint="the host sets it; a plugin must declare it in context_read or context_write",
            key=str(name)[:128],
        )


def _accepted(key: ContextKey[Any], value: Any) -> Any:
    key.check(value)
    return _frozen(value) if key == ContextKey.Configuration else value


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MappingProxyType({name: _frozen(item) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return value


def _encodable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not plain data")


def _narrowed(granted: _Grant, asked: Iterable[ContextKey[Any] | str] | None) -> _Grant:
    if asked is None:
        return granted
    if isinstance(asked, str):
        raise ContextTypeError(
            f"{asked!r} is one name, not a sequence of keys", hint=f"write [{asked!r}]"
        )
    names = frozenset(_name_of(key) for key in asked)
    return names if granted is None else names & granted


def _name_of(key: ContextKey[Any] | str) -> str:
    return key if isinstance(key, str) else key.name
