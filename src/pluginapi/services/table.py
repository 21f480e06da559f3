"""What a host exposes, and what one plugin may call of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pluginapi.errors import PluginError, ServiceArgumentError, ServiceError, ServiceNotFound
from pluginapi.services.method import ServiceMethod
from pluginapi.services.names import MAX_SERVICE_METHODS, is_method, is_service

__all__ = ["ServiceAccess", "ServiceStats", "ServiceTable", "calling_plugin"]

MAX_SERVICES: Final = 256
"""The most services that a host exposes."""

_LINES_PER_MINUTE: Final = 20

_log = logging.getLogger("pluginapi.services")
_caller: Final[ContextVar[str | None]] = ContextVar("pluginapi_calling_plugin", default=None)


def calling_plugin() -> str | None:
    """Return the name of the plugin that called the service method which runs here, or None."""
    return _caller.get()


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """Count what one plugin called since it was loaded.

    Attributes:
        plugin: Name of the plugin.
        calls: Calls by ``service.method``, of methods that it may call.
        errors: Those among them that failed, bad arguments included.
        refused: Calls of what does not exist for it: not exposed, or not granted.
    """

    plugin: str
    calls: Mapping[str, int]
    errors: Mapping[str, int]
    refused: int


class ServiceTable:
    """Hold what a host exposes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._services: dict[str, Mapping[str, ServiceMethod]] = {}
        self._accesses: dict[str, ServiceAccess] = {}

    def expose(self, name: str, target: object, methods: Iterable[str]) -> None:
        """Expose methods of an object; `pluginapi.PluginContext.expose` tells the rules."""
        if not is_service(name):
            raise _invalid(
                f"service name {str(name)[:80]!r} is not allowed",
                "use words of letters, digits, '_' and '-', joined by dots",
            )
        if isinstance(methods, str):
            raise _invalid(f"{methods!r} is one name, not several", f"write [{methods!r}]")
        found: dict[str, ServiceMethod] = {}
        for method in methods:
            if not is_method(method):
                raise _invalid(
                    f"method name {str(method)[:80]!r} of service {name} is not allowed",
                    "name methods that begin with a letter, at most 64 characters",
                )
            if not hasattr(target, method):
                raise _invalid(
                    f"a {type(target).__name__} has no method {method} for service {name}",
                    "name methods that the object has",
                )
            found[method] = ServiceMethod(name, method, getattr(target, method))
        if not 0 < len(found) <= MAX_SERVICE_METHODS:
            raise _invalid(
                f"service {name} has {len(found)} methods, not 1 to {MAX_SERVICE_METHODS}",
                "name the methods that plugins may call",
            )
        with self._lock:
            if name in self._services:
                raise _invalid(f"service {name} is exposed already", "withdraw it first")
            if len(self._services) >= MAX_SERVICES:
                raise _invalid(f"{MAX_SERVICES} services are exposed already", "withdraw some")
            self._services[name] = MappingProxyType(found)

    def withdraw(self, name: str) -> None:
        """Expose a service no more; calls that run go on."""
        with self._lock:
            if self._services.pop(name, None) is None:
                raise ServiceNotFound(
                    f"no service {str(name)[:80]!r} is exposed", hint="expose it first"
                )

    def find(self, service: str, method: str) -> ServiceMethod | None:
        """Return a method that is exposed, or None."""
        # One operation on a dict is atomic.
        return self._services.get(service, {}).get(method)

    def names(self) -> frozenset[str]:
        """Return everything that is exposed, as ``service.method``."""
        with self._lock:
            services = tuple(self._services.values())
        return frozenset(method.name for methods in services for method in methods.values())

    def clear(self) -> None:
        """Expose nothing any more."""
        with self._lock:
            self._services = {}

    def count_for(self, access: ServiceAccess) -> None:
        """Let `stats` of this plugin be of this access, its newest."""
        if access.plugin is not None:
            with self._lock:
                self._accesses[access.plugin] = access

    def forget(self, access: ServiceAccess) -> None:
        """Forget the counts of a plugin that is unloaded."""
        with self._lock:
            if access.plugin is not None and self._accesses.get(access.plugin) is access:
                del self._accesses[access.plugin]

    def stats(self) -> tuple[ServiceStats, ...]:
        """Return the counts of all plugins that are loaded, by name."""
        with self._lock:
            accesses = sorted(self._accesses.items())
        return tuple(access.stats() for _, access in accesses)


class _Lines:
    """Let a plugin cause so many lines of the host's log a minute."""

    def __init__(self) -> None:
        self._tokens = float(_LINES_PER_MINUTE)
        self._time = time.monotonic()
        self._left_out = 0

    def take(self) -> str | None:
        """Return what to append to the line; None when it is to be left out."""
        now = time.monotonic()
        earned = (now - self._time) * _LINES_PER_MINUTE / 60
        self._tokens = min(_LINES_PER_MINUTE, self._tokens + earned)
        self._time = now
        if self._tokens < 1:
            self._left_out += 1
            return None
        self._tokens -= 1
        left_out, self._left_out = self._left_out, 0
        return f"; {left_out} lines before this one were left out" if left_out else ""


class ServiceAccess:
    """Call what is exposed in the name of one plugin, as far as it was granted. Thread-safe.

    What is not exposed and what is not granted give the same error; the host's log says which of
    the two it was and what would change it.

    Args:
        table: What is exposed.
        plugin: Name of the plugin; None for the host itself.
        granted: What it may call, as ``service.method``; None grants everything.
        loop: The event loop that async methods run on, when the call comes from elsewhere.
    """

    def __init__(
        self,
        table: ServiceTable,
        plugin: str | None,
        granted: frozenset[str] | None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.table = table
        self.plugin = plugin
        self.granted = granted
        self._loop = loop
        self._lines = _Lines()
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._refused = 0
        table.count_for(self)

    def narrowed(
        self, plugin: str, asked: Iterable[str], loop: asyncio.AbstractEventLoop | None
    ) -> ServiceAccess:
        """Return the access of a plugin to what it asks for, at most what this one has."""
        if isinstance(asked, str):
            raise _invalid(f"{asked!r} is one name, not several", f"write [{asked!r}]")
        names = frozenset(asked)
        granted = names if self.granted is None else names & self.granted
        return ServiceAccess(self.table, plugin, granted, loop)

    @property
    def names(self) -> tuple[str, ...]:
        """What may be called at this moment, as ``service.method``, sorted."""
        exposed = self.table.names()
        return tuple(sorted(exposed if self.granted is None else exposed & self.granted))

    def stats(self) -> ServiceStats:
        """Return the counts so far."""
        with self._lock:
            return ServiceStats(
                self.plugin or "", dict(self._calls), dict(self._errors), self._refused
            )

    def close(self) -> None:
        """Forget the counts: the plugin is unloaded."""
        self.table.forget(self)

    # ---- Calls ----

    def begin(
        self, service: str, method: str, arguments: bytes
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """Call a method; returns the result as msgpack, or for an async one a coroutine of it.

        Raises:
            ServiceNotFound: When there is no such method for this plugin.
            ServiceArgumentError: When the arguments do not fit.
            ServiceError: When the method failed; only the text of a `ServiceError` is passed on.
        """
        return self._begin(self._find(service, method), arguments)

    def call(self, service: str, method: str, arguments: bytes) -> bytes:
        """Call a method and wait for its result, as `begin`.

        An async method runs on the event loop of the host, which this thread waits for, or where
        there is none on one of its own. On the thread of an event loop nothing can be waited for.

        Raises:
            ServiceError: With code ``service.suspended`` for an async method on the thread of a
                running event loop: it was not called. Otherwise as `begin`.
        """
        found = self._find(service, method)
        here = asyncio._get_running_loop()  # noqa: SLF001 - None instead of an exception
        if here is not None and found.is_async:
            raise self._counted(found, self._suspended(found))
        result = self._begin(found, arguments)
        if isinstance(result, bytes):
            return result
        if here is not None:
            result.close()
            raise self._counted(found, self._suspended(found))
        loop = self._loop
        if loop is not None and loop.is_running():
            try:
                return asyncio.run_coroutine_threadsafe(result, loop).result()
            except concurrent.futures.CancelledError as err:
                raise ServiceError(
                    f"the event loop of the host ended while {found.name} ran on it",
                    code="service.deadline",
                    plugin=self.plugin,
                    hint="unload the plugin before the host ends",
                ) from err
        return asyncio.run(result)

    async def call_async(self, service: str, method: str, arguments: bytes) -> bytes:
        """Call a method and await its result, as `begin`."""
        result = self.begin(service, method, arguments)
        return result if isinstance(result, bytes) else await result

    def _find(self, service: str, method: str) -> ServiceMethod:
        name = f"{service}.{method}"
        found = self.table.find(service, method)
        granted = self.granted is None or name in self.granted
        if found is not None and granted:
            return found
        with self._lock:
            self._refused += 1
            more = self._lines.take()
        shown = ascii(name[:256])[1:-1]
        if more is not None:
            if found is None:
                why = "the host does not expose it: PluginContext.expose does"
            else:
                why = (
                    f"it was not granted: declare it in `services` of the plugin's requirements, "
                    f'and add "{shown}" to "{self.plugin}" in section [services.plugin] of '
                    "pluginapi.toml"
                )
            _log.warning("plugin %s called %s: %s%s", self.plugin, shown, why, more)
        raise ServiceNotFound(
            f"the host has no service method {shown} for this plugin",
            plugin=self.plugin,
            hint="declare it in `services` of the requirements and ask the operator to grant it",
        )

    def _begin(self, found: ServiceMethod, arguments: bytes) -> bytes | Coroutine[Any, Any, bytes]:
        with self._lock:
            self._calls[found.name] += 1
        try:
            given = found.arguments(arguments)
        except ServiceArgumentError as err:
            raise self._counted(found, err)  # noqa: B904 - it is the same one
        token = _caller.set(self.plugin)
        failure: PluginError
        try:
            result = found.function(**given)
            if not inspect.isawaitable(result):
                return found.encoded(result)
            return self._later(found, result)
        except Exception as err:  # noqa: BLE001 - whatever the host's method raises
            failure = self._failed(found, err)
        finally:
            _caller.reset(token)
        # Not in the handler: what the host raised would hang on it as its context.
        raise failure

    async def _later(self, found: ServiceMethod, result: Awaitable[Any]) -> bytes:
        # It may run in a task of its own, or in that of the handler.
        before = _caller.get()
        _caller.set(self.plugin)
        failure: PluginError
        try:
            return found.encoded(await result)
        except Exception as err:  # noqa: BLE001 - whatever the host's method raises
            failure = self._failed(found, err)
        finally:
            _caller.set(before)
        raise failure

    def _failed(self, found: ServiceMethod, err: Exception) -> PluginError:
        """Count and log a failure; return what the plugin is told of it."""
        with self._lock:
            self._errors[found.name] += 1
            more = self._lines.take()
        if isinstance(err, ServiceError):
            # Raised on purpose, for the plugin to read; or by `encoded`, which the host must see.
            err.plugin = err.plugin or self.plugin
            if err.code in ("service.result", "service.too_large") and more is not None:
                _log.error("plugin %s called %s: %s%s", self.plugin, found.name, err, more)
            return err
        if more is not None:
            _log.error(
                "service method %s failed, called by plugin %s%s",
                found.name,
                self.plugin,
                more,
                exc_info=err,
            )
        return ServiceError(
            f"the service method {found.name} of the host failed",
            plugin=self.plugin,
            hint="the log of the host says why",
        )

    def _counted(self, found: ServiceMethod, err: ServiceError) -> ServiceError:
        with self._lock:
            self._errors[found.name] += 1
        err.plugin = self.plugin
        return err

    def _suspended(self, found: ServiceMethod) -> ServiceError:
        return ServiceError(
            f"the service method {found.name} is async, and the thread of an event loop cannot "
            "wait for it",
            code="service.suspended",
            hint="await it in an async handler, or let the host run the plugin in a process",
        )


def _invalid(message: str, hint: str) -> ServiceError:
    return ServiceError(message, code="service.invalid", hint=hint)
