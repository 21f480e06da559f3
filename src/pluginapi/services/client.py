"""Services as a plugin calls them, the same in the host's process and in one of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar, get_type_hints, overload

import msgspec

from pluginapi.errors import ServiceArgumentError, ServiceError
from pluginapi.services.method import result_type_of
from pluginapi.services.names import is_method, is_service

__all__ = ["AsyncService", "Service", "ServiceCaller"]

T = TypeVar("T")

_ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError)
_DECODE_ERRORS: Final = (msgspec.DecodeError, TypeError, ValueError, RecursionError)


class _Remote:
    """What both kinds of services share: names, arguments and results."""

    __slots__ = ("_call", "_name", "_results")

    def __init__(
        self, name: str, call: Callable[[str, str, bytes], Any], results: Mapping[str, Any] | None
    ) -> None:
        self._name = name
        self._call = call
        self._results = results

    def _method(self, method: str) -> None:
        if not is_method(method) or (self._results is not None and method not in self._results):
            raise AttributeError(f"service {self._name} has no method {method}")

    def _encoded(self, method: str, given: tuple[object, ...], named: dict[str, Any]) -> bytes:
        if given:
            raise ServiceArgumentError(
                f"{self._name}.{method} was given {len(given)} arguments without a name",
                hint=f"write {self._name}.{method}(name=value)",
            )
        try:
            return msgspec.msgpack.encode(named)
        except _ENCODE_ERRORS as err:
            raise ServiceArgumentError(
                f"the arguments of {self._name}.{method} cannot leave the plugin: {err}",
                hint="pass plain data: text, numbers, lists, maps",
            ) from err

    def _decoded(self, method: str, data: bytes) -> Any:
        expected = Any if self._results is None else self._results[method]
        try:
            return msgspec.msgpack.decode(data, type=expected)
        except _DECODE_ERRORS as err:
            raise ServiceError(
                f"the result of {self._name}.{method} is not what its interface says: {err}",
                code="service.result",
                hint="use an interface of the same version as the host",
            ) from err

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a service is not copied and not pickled")


class Service(_Remote):
    """Call the methods of a service of the host; each call waits for its result.

    Arguments are given by name. They and the results are copies, as plain data.

    Raises:
        ServiceNotFound: By a call, when there is no such method for this plugin.
        ServiceArgumentError: By a call, when the arguments do not fit.
        ServiceError: By a call, when the method failed.
    """

    __slots__ = ()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        self._method(method)

        def call(*given: object, **named: Any) -> Any:
            data = self._call(self._name, method, self._encoded(method, given, named))
            return self._decoded(method, data)

        return call


class AsyncService(_Remote):
    """Call the methods of a service of the host and await their results; otherwise a `Service`."""

    __slots__ = ()

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        self._method(method)

        async def call(*given: object, **named: Any) -> Any:
            data = await self._call(self._name, method, self._encoded(method, given, named))
            return self._decoded(method, data)

        return call


class ServiceCaller:
    """What a context offers its plugin of services, wherever the plugin runs."""

    __slots__ = ()

    @overload
    def service(self, name: str) -> Any: ...
    @overload
    def service(self, name: str, interface: Callable[..., T]) -> T: ...
    def service(self, name: str, interface: Any = None) -> Any:
        """Return a service of the host, whose methods wait for their results.

        Whether its methods exist for this plugin shows when they are called.

        Args:
            name: Name of the service.
            interface: A class, most likely a Protocol, with the methods that the plugin calls:
                results are converted to what they are annotated with, and type checkers know
                them. Without one, results are plain data.

        Raises:
            ServiceError: With code ``service.invalid`` when the name or the interface is no
                name or interface.
        """
        return Service(_checked(name), self._call_service, _results(interface))

    @overload
    def async_service(self, name: str) -> Any: ...
    @overload
    def async_service(self, name: str, interface: Callable[..., T]) -> T: ...
    def async_service(self, name: str, interface: Any = None) -> Any:
        """Return a service whose methods are awaited, for async handlers; as `service`."""
        return AsyncService(_checked(name), self._call_service_async, _results(interface))

    @abstractmethod
    def _call_service(self, service: str, method: str, arguments: bytes) -> bytes:
        """Call a method and wait."""

    @abstractmethod
    def _call_service_async(self, service: str, method: str, arguments: bytes) -> Awaitable[bytes]:
        """Call a method and return its result for ``await``."""


def _checked(name: str) -> str:
    if not is_service(name):
        raise ServiceError(
            f"{str(name)[:80]!r} is not the name of a service",
            code="service.invalid",
            hint='write context.service("database")',
        )
    return name


def _results(interface: Any) -> Mapping[str, Any] | None:
    """Return the result types of an interface's public methods."""
    if interface is None:
        return None
    found: dict[str, Any] = {}
    try:
        for name in dir(interface):
            member = getattr(interface, name)
            if is_method(name) and callable(member):
                _, found[name] = result_type_of(get_type_hints(member).get("return", Any))
    except (NameError, AttributeError, TypeError) as err:
        raise ServiceError(
            f"{getattr(interface, '__name__', interface)} cannot be the interface of a service: "
            f"{err}",
            code="service.invalid",
            hint="give a class whose methods are annotated with types that exist at run time",
        ) from err
    return found
