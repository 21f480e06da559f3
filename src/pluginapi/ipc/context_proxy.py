"""The context as a plugin sees it in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, overload

import msgspec

from pluginapi.context_key import ContextKey
from pluginapi.error_codes import CODES
from pluginapi.errors import (
    ContextError,
    ContextKeyNotFound,
    ContextTypeError,
    HookError,
    IpcError,
    PluginError,
    ServiceArgumentError,
    ServiceError,
    ServiceNotFound,
)
from pluginapi.ipc.context_push import pushed_context
from pluginapi.ipc.protocol import (
    ContextDelete,
    ContextGet,
    ContextHas,
    ContextSet,
    ServiceCall,
    Success,
    Value,
)
from pluginapi.services.client import ServiceCaller

if TYPE_CHECKING:
    from pluginapi.ipc.channel import IpcChannel

__all__ = ["ContextProxy"]

T = TypeVar("T")
D = TypeVar("D")

_MISSING: Final[Any] = object()

_ERRORS: Final[dict[str, type[ContextError]]] = {
    "context.key_not_found": ContextKeyNotFound,
    "context.type": ContextTypeError,
}
_SERVICE_ERRORS: Final[dict[str, type[ServiceError]]] = {
    "service.not_found": ServiceNotFound,
    "service.arguments": ServiceArgumentError,
}
# How the host says that it gave up on a request, or that the answer does not fit the channel.
_SERVICE_CODES: Final = {"ipc.closed": "service.deadline", "ipc.too_large": "service.too_large"}


class ContextProxy(ServiceCaller):
    """Offer what `pluginapi.PluginContext` offers, over the channel to the host.

    Keys that the plugin declared come with each call and cost no time of their own; what it writes
    goes back with the result, or at once where no call runs. Everything else asks the host, which
    answers as its context does: what it does not expose does not exist.

    Args:
        channel: The worker's end.
        plugin: Name of the plugin.
        write: Keys that may be changed with the result of a call.
        own: Values of the plugin alone, such as its Configuration and Logger.
        services: Service methods that it may call, as told in `Initialize`.

    Attributes:
        services: Service methods that it was granted, as ``service.method``, sorted.
    """

    def __init__(
        self,
        channel: IpcChannel,
        plugin: str,
        *,
        write: Sequence[str],
        own: Mapping[ContextKey[Any], Any],
        services: Sequence[str] = (),
    ) -> None:
        self.services = tuple(sorted(services))
        self.plugin = plugin
        self._channel = channel
        self._write = frozenset(write)
        self._own = {key.name: value for key, value in own.items()}
        self._call = pushed_context(tuple(self._write))

    # ---- What the server of calls does with it ----

    def begin(self, pushed: bytes | None, /) -> object:
        """Take what came with a call."""
        return self._call.begin(pushed)

    def end(self, token: Any, /) -> bytes | None:
        """Return what the handler of the call changed, encoded, or None."""
        writes: bytes | None = self._call.end(token)
        return writes

    # ---- What the plugin does with it ----

    @overload
    def get(self, key: ContextKey[T]) -> T: ...
    @overload
    def get(self, key: ContextKey[T], default: D) -> T | D: ...
    def get(self, key: ContextKey[Any], default: Any = _MISSING) -> Any:
        """Return the value under a key, or the default where one is given.

        Values are plain data, converted to the type of the key: changing one in place changes
        nothing at the host.

        Raises:
            ContextKeyNotFound: When there is none and no default.
            ContextTypeError: When the value has no form that can cross, or is not of the type.
        """
        name = key.name
        if name in self._own:
            return self._own[name]
        value = self._pushed(name)
        if value is _MISSING:
            # The host learns of it with the result: it would still find the value.
            if self._call.removed(name):
                if default is _MISSING:
                    self._not_found(name)
                return default
            try:
                data = self._ask(ContextGet(name), Value).value
            except ContextKeyNotFound:
                if default is _MISSING:
                    raise
                return default
            value = msgspec.msgpack.decode(data)
        return self._converted(key, value)

    def set(self, key: ContextKey[T], value: T) -> None:
        """Put a value under a key, in place of the one that was there.

        Of a key that the plugin declared, changed in a handler, the host learns with the result of
        the handler; of any other one at once.

        Raises:
            ContextTypeError: When the value is not of the key's type, or cannot cross.
            ContextError: As `pluginapi.PluginContext.set`.
        """
        key.check(value)
        name = key.name
        if name in self._own:
            self._read_only(name)
        try:
            if self._call.running and name in self._write:
                self._call.set(name, value)
                return
            data = msgspec.msgpack.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as err:
            raise ContextTypeError(
                f"the value for {name!r} cannot leave this process: {err}",
                plugin=self.plugin,
                hint="set plain data: text, numbers, lists, maps",
                key=name,
            ) from err
        self._ask(ContextSet(name, data), Success)

    def remove(self, key: ContextKey[Any]) -> None:
        """Remove a key and its value.

        Raises:
            ContextError: As `pluginapi.PluginContext.remove`.
        """
        name = key.name
        if name in self._own:
            self._read_only(name)
        if self._call.running and name in self._write:
            if not self.has(key):
                self._not_found(name)
            self._call.remove(name)
            return
        self._ask(ContextDelete(name), Success)

    def has(self, key: ContextKey[Any] | str) -> bool:
        """Tell whether `get` would find a value under the key or name."""
        name = key if isinstance(key, str) else key.name
        if name in self._own or self._pushed(name) is not _MISSING:
            return True
        if self._call.removed(name):
            return False
        answer = self._ask(ContextHas(name), Value).value
        return bool(msgspec.msgpack.decode(answer, type=bool))

    __contains__ = has

    # ---- Services ----

    def _call_service(self, service: str, method: str, arguments: bytes) -> bytes:
        try:
            return self._channel.request(ServiceCall(service, method, arguments), Value).value
        except (HookError, IpcError) as err:
            self._raise_service_error(err)
            raise

    async def _call_service_async(self, service: str, method: str, arguments: bytes) -> bytes:
        message = ServiceCall(service, method, arguments)
        try:
            return (await self._channel.request_async(message, Value)).value
        except (HookError, IpcError) as err:
            self._raise_service_error(err)
            raise

    def _raise_service_error(self, err: PluginError) -> None:
        """Raise what the host said of a service; return where the channel itself failed."""
        # Only the host says that it gave up; that something is too large shows on this side too.
        code = str(err.details.get("remote_code", err.code if err.code == "ipc.too_large" else ""))
        code = _SERVICE_CODES.get(code, code)
        if code.startswith("service.") and code in CODES:
            kind = _SERVICE_ERRORS.get(code, ServiceError)
            raise kind(err.message, code=code, plugin=self.plugin, hint=err.hint) from err

    def _pushed(self, name: str) -> Any:
        return self._call.get(name, _MISSING) if self._call.running else _MISSING

    def _converted(self, key: ContextKey[Any], value: Any) -> Any:
        if key.type is not Any:
            try:
                value = msgspec.convert(value, key.type)
            except msgspec.ValidationError as err:
                raise ContextTypeError(
                    f"context key {key.name!r} does not hold what its type says: {err}",
                    plugin=self.plugin,
                    hint="use the type that the host sets it with",
                    key=key.name,
                ) from err
            except TypeError:
                # A type that msgspec does not know: what crossed is compared with it as it is.
                key.check(value)
        return value

    def _ask(self, message: Any, answer: type[T]) -> T:
        try:
            return self._channel.request(message, answer)
        except HookError as err:
            code = err.details.get("remote_code", "")
            if not str(code).startswith("context."):
                raise
            raise self._as_context_error(str(code), err) from err

    def _as_context_error(self, code: str, err: PluginError) -> ContextError:
        kind = _ERRORS.get(code, ContextError)
        return kind(err.message, code=code, plugin=self.plugin, hint=err.hint)

    def _read_only(self, name: str) -> NoReturn:
        raise ContextError(
            f"context key {name!r} is read-only for {self.plugin!r}",
            code="context.read_only",
            plugin=self.plugin,
            hint="it belongs to the plugin's own configuration",
            key=name,
        )

    def _not_found(self, name: str) -> NoReturn:
        raise ContextKeyNotFound(
            f"the context holds nothing under {name!r}",
            plugin=self.plugin,
            hint="the host sets it; a plugin must declare it in context_read or context_write",
            key=name,
        )
