"""The shared context: what the host and its plugins know under typed keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeVar, overload

import msgspec

from pluginapi._native._context import Cell, ContextCore, adopt
from pluginapi.context_key import ContextKey, PredefinedContextKey
from pluginapi.context_watch import ContextChange, ContextWatch, Watchers
from pluginapi.errors import ContextError, ContextKeyNotFound, ContextTypeError
from pluginapi.services.client import ServiceCaller
from pluginapi.services.table import ServiceAccess, ServiceStats, ServiceTable

__all__ = [
    "MAX_KEYS",
    "MAX_VALUE_BYTES",
    "ContextChange",
    "ContextKey",
    "ContextWatch",
    "PluginContext",
    "PredefinedContextKey",
]

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

    __slots__ = ("_cells", "_lock", "watchers")

    def __init__(self) -> None:
        # Re-entrant: the garbage collector may run a __del__ under the lock that comes back here.
        # Old values are handed out of every method, to be dropped when the lock is not held.
        self._lock = threading.RLock()
        self._cells: dict[str, Cell] = {}
        self.watchers = Watchers()

    def cell(self, name: str) -> Cell | None:
        return self._cells.get(name)  # One operation on a dict is atomic.

    def get(self, name: str) -> Any:
        cell = self._cells.get(name)
        return _MISSING if cell is None else cell.get(_MISSING)

    def key(self, name: str) -> ContextKey[Any] | None:
        cell = self._cells.get(name)
        return None if cell is None else cell.key

    def put(self, key: ContextKey[Any], value: Any) -> Any:
        with self._lock:
            cell = self._cells.get(key.name)
            if cell is None:
                if len(self._cells) >= MAX_KEYS:
                    raise ContextError(
                        f"the context holds {MAX_KEYS} keys already",
                        code="context.full",
                        hint="remove keys that nobody needs, or put several values under one key",
                        key=key.name,
                    )
                self._cells[key.name] = Cell(key, value, self.watchers.watched(key.name))
                return _MISSING
            known: ContextKey[Any] = cell.key
            # Who set the name first, with a type, decides what it holds until it is removed.
            known.check(value)
            return cell.put(key if known.type is Any else known, value)

    def pop(self, name: str) -> Any:
        with self._lock:
            cell = self._cells.pop(name, None)
            return _MISSING if cell is None else cell.empty()

    def names(self) -> list[str]:
        with self._lock:
            return list(self._cells)

    def watch(self, watch: ContextWatch) -> None:
        with self._lock:
            self.watchers.add(watch)
            cell = self._cells.get(watch.name)
            if cell is not None:
                cell.watch(True)

    def unwatch(self, watch: ContextWatch) -> None:
        with self._lock:
            self.watchers.remove(watch)
            cell = self._cells.get(watch.name)
            if cell is not None:
                cell.watch(self.watchers.watched(watch.name))

    def clear(self) -> object:
        with self._lock:
            old = list(self._cells.values())
            self._cells = {}
            return [cell.empty() for cell in old]


class _Access(NamedTuple):
    """Say whose view a context is and what it grants."""

    store: _Store
    plugin: str | None = None
    read: _Grant = None
    write: _Grant = None
    own: Mapping[str, Any] = MappingProxyType({})
    services: ServiceAccess | None = None


@adopt
class PluginContext(ServiceCaller, ContextCore):
    """Share typed values between the host and its plugins.

    The host makes one and gives each plugin a `view` of it. Safe to use from any thread. What a
    view was not granted does not exist for it: reading it, changing it, watching it and asking for
    it give the same answers as for a key that was never set.

    ``context[KEY]`` reads and ``context[KEY] = value`` sets, as `get` and `set` do; both find the
    value by a number that the key has, which is as fast as a dictionary, type check included.

    A mapping set under `ContextKey.Configuration` is copied and made read-only to any depth.
    """

    def __init__(self, _access: _Access | None = None) -> None:
        access = _access or _Access(_Store())
        self._store = access.store
        self._plugin = access.plugin
        self._read = access.read
        self._write = access.write
        self._own = {name: Cell(_own_key(name), value) for name, value in access.own.items()}
        self._watches: set[ContextWatch] = set()
        self._services = access.services or ServiceAccess(ServiceTable(), None, None)

    def view(
        self,
        plugin: str,
        read: Iterable[ContextKey[Any] | str] | None = None,
        write: Iterable[ContextKey[Any] | str] | None = None,
        *,
        values: Mapping[ContextKey[Any], Any] | None = None,
        services: Iterable[str] = (),
    ) -> PluginContext:
        """Return what one plugin sees of this context.

        A view of a view grants at most what the first one does. The permissions are the host's
        decision: what the plugin declares is a request, see `PluginRequirements`. Where an event
        loop runs, it is the one that async methods of services run on for this view.

        Args:
            plugin: Name of the plugin.
            read: Keys or names that it may read; None grants all.
            write: Keys or names that it may set and remove; None grants all.
            values: Values for this plugin alone, such as its own Configuration and Logger. They
                stand before the shared ones and cannot be changed through the view.
            services: Service methods that it may call, as ``service.method``; none by default.

        Raises:
            ContextTypeError: When one of the values is not of its key's type.
        """
        own = {name: cell.get(None) for name, cell in self._own.items()}
        for key, value in (values or {}).items():
            own[key.name] = _accepted(key, value)
        self._check_open()
        loop = asyncio._get_running_loop()  # noqa: SLF001 - None instead of an exception
        return PluginContext(
            _Access(
                self._store,
                plugin,
                _narrowed(self._read, read),
                _narrowed(self._write, write),
                own,
                self._services.narrowed(plugin, services, loop),
            )
        )

    # ---- Services ----

    def expose(self, name: str, target: object, *, methods: Iterable[str]) -> None:
        """Expose a live object as a service: plugins call the named methods, as granted to each.

        Arguments and results cross as plain data and are checked against the annotations of each
        method, which must be there. A sync method runs on the thread of the call and must not
        block an event loop; an async one runs on the host's event loop. What a method raises stays
        in the host's log, unless it is a `ServiceError`: its message is for the plugin.
        `pluginapi.services.calling_plugin` tells a method who calls.

        Args:
            name: Words of letters, digits, ``_`` and ``-``, joined by dots.
            target: The object; plugins never see it.
            methods: Names of its methods that plugins may be granted.

        Raises:
            ServiceError: With code ``service.invalid`` when the name is malformed or taken, or a
                method is not annotated with types of plain data.
            ContextError: ``context.read_only`` in a plugin's view, ``context.closed``.
        """
        self._check_host()
        self._services.table.expose(name, target, methods)

    def withdraw(self, name: str) -> None:
        """Expose a service no more; calls that run go on.

        Raises:
            ServiceNotFound: When it is not exposed.
            ContextError: As `expose`.
        """
        self._check_host()
        self._services.table.withdraw(name)

    @property
    def services(self) -> tuple[str, ...]:
        """Service methods that can be called, as ``service.method``, sorted."""
        self._check_open()
        return self._services.names

    def service_stats(self) -> tuple[ServiceStats, ...]:
        """Return what plugins called and were refused: all that are loaded, or this view's."""
        if self._plugin is None:
            return self._services.table.stats()
        return (self._services.stats(),)

    def begin_service(
        self, service: str, method: str, arguments: bytes
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """Call a service method with a msgpack map; returns msgpack, or a coroutine of it.

        For plugins whose calls come as bytes; others use `service` and `async_service`.

        Raises:
            ServiceError: When there is no such method for this plugin, the arguments do not fit,
                or it failed.
            ContextError: ``context.closed``.
        """
        self._check_open()
        return self._services.begin(service, method, arguments)

    def call_service(self, service: str, method: str, arguments: bytes) -> bytes:
        """Do as `begin_service` and wait for the result.

        Raises:
            ServiceError: With code ``service.suspended`` for an async method on the thread of an
                event loop; otherwise as `begin_service`.
        """
        self._check_open()
        return self._services.call(service, method, arguments)

    _call_service = call_service

    def _call_service_async(self, service: str, method: str, arguments: bytes) -> Awaitable[bytes]:
        self._check_open()
        return self._services.call_async(service, method, arguments)

    def _check_host(self) -> None:
        self._check_open()
        if self._plugin is not None:
            raise ContextError(
                f"plugin {self._plugin!r} cannot change what the host exposes",
                code="context.read_only",
                plugin=self._plugin,
                hint="expose services in the host's own context",
            )

    @property
    def plugin(self) -> str | None:
        """Name of the plugin whose view this is; None for the host's context."""
        return self._plugin

    if TYPE_CHECKING:
        # Compiled, in ContextCore.
        @overload
        def get(self, key: ContextKey[T]) -> T: ...
        @overload
        def get(self, key: ContextKey[T], default: D) -> T | D: ...
        def get(self, key: Any, default: Any = ...) -> Any:
            """Return the value under a key, or the default where one is given."""

        def set(self, key: ContextKey[T], value: T) -> None:
            """Put a value under a key, in place of the one that was there."""

        def __getitem__(self, key: ContextKey[T], /) -> T: ...
        def __setitem__(self, key: ContextKey[T], value: T, /) -> None: ...
        def __delitem__(self, key: ContextKey[Any], /) -> None: ...
        @property
        def closed(self) -> bool:
            """Whether `close` was called."""

    def remove(self, key: ContextKey[Any]) -> None:
        """Remove a key and its value.

        Raises:
            ContextKeyNotFound: When there is none, or not for this plugin.
            ContextError: ``context.read_only`` when the plugin may only read it,
                ``context.closed``.
        """
        self._check_writable(key.name)
        old = self._store.pop(key.name)
        self._unbind(key)
        if old is _MISSING:
            self._not_found(key.name)
        del old
        self._tell(key.name, None, removed=True)

    def watch(
        self, key: ContextKey[Any] | str, callback: Callable[[ContextChange], object]
    ) -> ContextWatch:
        """Call back after every change of a key, until the watch or this view is closed.

        The callback runs in the thread that made the change, after it: with changes at the same
        time, their order may differ, so read the context for what holds now. What it raises is
        logged. A key may be watched before it is set.

        Raises:
            ContextKeyNotFound: When the plugin may not read the key, whether it is set or not.
            ContextError: ``context.full`` when this view has `MAX_KEYS` watches,
                ``context.closed``.
        """
        self._check_open()
        name = _name_of(key)
        if not self._may_read(name):
            self._not_found(name)
        if len(self._watches) >= MAX_KEYS:
            raise ContextError(
                f"{MAX_KEYS} watches are set already",
                code="context.full",
                plugin=self._plugin,
                hint="close the watches that nobody needs",
                key=name,
            )
        watch = ContextWatch(name, callback, self._forget)
        self._watches.add(watch)
        # A value of the view's own stands before the shared one and never changes.
        if name not in self._own:
            self._store.watch(watch)
        if self.closed:  # It was closed meanwhile, in another thread.
            watch.close()
            self._check_open()
        return watch

    def has(self, key: ContextKey[Any] | str) -> bool:
        """Tell whether `get` would find a value under the key or name."""
        return self._find(_name_of(key)) is not _MISSING

    __contains__ = has

    def keys(self) -> tuple[str, ...]:
        """Return the names of the keys that `get` would find, sorted."""
        self._check_open()
        names = {*self._store.names(), *self._own}
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

    def remove_by_name(self, name: str) -> None:
        """Remove a key and its value by the key's name, for plugins that are not Python.

        Raises:
            ContextError: As `remove`.
        """
        self.remove(self._key(name))

    def close(self) -> None:
        """Refuse every later use. Idempotent.

        Closing a view, when its plugin is unloaded, leaves the values alone. Closing the host's
        context drops all values; its views are then empty.
        """
        freed = [self._shut(), self._own]
        self._own = {}
        for watch in list(self._watches):
            watch.close()
        self._services.close()
        if self._plugin is None:
            freed.append(self._store.clear())
            self._services.table.clear()
        del freed

    def __repr__(self) -> str:
        of = "host" if self._plugin is None else f"plugin {self._plugin!r}"
        return f"<PluginContext of {of}{', closed' if self.closed else ''}>"

    def _may_read(self, name: str) -> bool:
        return self._read is None or name in self._read or name in self._own

    def _find(self, name: str) -> Any:
        self._check_open()
        own = self._own.get(name)
        if own is not None:
            return own.get(_MISSING)
        return self._store.get(name) if self._may_read(name) else _MISSING

    # Called by the compiled part for what it has not found yet, or may not decide.

    def _find_value(self, key: ContextKey[Any], default: Any = _MISSING) -> Any:
        value = self._find(key.name)
        if value is _MISSING:
            if default is _MISSING:
                self._not_found(key.name)
            return default
        key.check(value)
        self._bind_if_granted(key)
        return value

    def _put_value(self, key: ContextKey[Any], value: Any) -> None:
        self._check_writable(key.name)
        accepted = _accepted(key, value)
        # The name keeps the old value alive until the lock of the store is released.
        old = self._store.put(key, accepted)
        self._bind_if_granted(key)
        del old
        self._tell(key.name, accepted, removed=False)

    def _bind_if_granted(self, key: ContextKey[Any]) -> None:
        """Let the next use of this key find its cell at once, as far as the view may use it."""
        name = key.name
        own = self._own.get(name)
        if own is not None:
            self._bind(key, own, None)
            return
        cell = self._store.cell(name)
        if cell is None:
            return
        readable = cell if self._may_read(name) else None
        # The configuration is copied when it is set: not by the short way.
        may_write = (self._write is None or name in self._write) and name != "Configuration"
        self._bind(key, readable, cell if may_write else None)

    def _tell(self, name: str, value: Any, *, removed: bool) -> None:
        if self._store.watchers.watched(name):
            self._store.watchers.tell(ContextChange(name, value, removed, self._plugin))

    def _forget(self, watch: ContextWatch) -> None:
        self._watches.discard(watch)
        self._store.unwatch(watch)

    def _key(self, name: str) -> ContextKey[Any]:
        if name in PredefinedContextKey.NAMES:
            return _own_key(name)
        return self._store.key(name) or _own_key(name)

    def _check_open(self) -> None:
        if self.closed:
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


def _own_key(name: str) -> ContextKey[Any]:
    if name in PredefinedContextKey.NAMES:
        predefined: ContextKey[Any] = getattr(PredefinedContextKey, name)
        return predefined
    return ContextKey.custom(name)


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
