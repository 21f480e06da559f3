"""The predefined hooks, which the library itself calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from pluginapi.hooks.hook import Hook
from pluginapi.hooks.modes import ErrorPolicy, HookMode
from pluginapi.hooks.registry import HookRegistry
from pluginapi.http import HttpRequest, HttpResponse

__all__ = [
    "ON_ERROR",
    "ON_PLUGIN_LOAD",
    "ON_PLUGIN_UNLOAD",
    "ON_REQUEST",
    "ON_RESPONSE",
    "ON_SHUTDOWN",
    "ON_STARTUP",
    "STANDARD_HOOKS",
    "ErrorEvent",
    "HostEvent",
    "PluginEvent",
    "StandardHooks",
    "define_standard_hooks",
]

_Event = TypeVar("_Event")
_ISOLATE: Final = ErrorPolicy.ISOLATE

ON_REQUEST: Final = "on_request"
ON_RESPONSE: Final = "on_response"
ON_ERROR: Final = "on_error"
ON_STARTUP: Final = "on_startup"
ON_SHUTDOWN: Final = "on_shutdown"
ON_PLUGIN_LOAD: Final = "on_plugin_load"
ON_PLUGIN_UNLOAD: Final = "on_plugin_unload"

STANDARD_HOOKS: Final = (
    ON_REQUEST,
    ON_RESPONSE,
    ON_ERROR,
    ON_STARTUP,
    ON_SHUTDOWN,
    ON_PLUGIN_LOAD,
    ON_PLUGIN_UNLOAD,
)
"""The names of the predefined hooks."""


class ErrorEvent(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """Tell that handling a request, or a plugin, failed.

    Attributes:
        message: What happened, for people.
        kind: Name of the exception's class.
        code: Stable code of a `PluginError`, else empty.
        plugin: Plugin that it is about, else empty.
        request: The request that was being handled, where there was one.
    """

    message: str
    kind: str = ""
    code: str = ""
    plugin: str = ""
    request: HttpRequest | None = None


class HostEvent(msgspec.Struct, frozen=True, tag_field="type", tag="host"):
    """Tell that the host starts or stops.

    Attributes:
        plugins: Names of the plugins that are loaded, in the order of loading.
    """

    plugins: tuple[str, ...] = ()


class PluginEvent(msgspec.Struct, frozen=True, tag_field="type", tag="plugin"):
    """Tell that a plugin was loaded or is about to be unloaded.

    Attributes:
        name: Its name.
        version: Its version.
        reason: Why it is unloaded, else empty.
    """

    name: str
    version: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StandardHooks:
    """Hold the predefined hooks, typed.

    Attributes:
        on_request: Chain over a request; a handler that returns a response answers it.
        on_response: Chain over a response before it is sent.
        on_error: Notified of errors; failures of its handlers are isolated, as in all below.
        on_startup: Notified when the host has started.
        on_shutdown: Notified before the host unloads its plugins.
        on_plugin_load: Notified when a plugin has become active.
        on_plugin_unload: Notified before a plugin is shut down.
    """

    on_request: Hook[HttpRequest, HttpRequest | HttpResponse]
    on_response: Hook[HttpResponse, HttpResponse]
    on_error: Hook[ErrorEvent, None]
    on_startup: Hook[HostEvent, None]
    on_shutdown: Hook[HostEvent, None]
    on_plugin_load: Hook[PluginEvent, None]
    on_plugin_unload: Hook[PluginEvent, None]


def define_standard_hooks(
    registry: HookRegistry, *, on_http_error: ErrorPolicy = ErrorPolicy.RAISE
) -> StandardHooks:
    """Define the predefined hooks in a registry and return them; doing it twice is fine.

    Args:
        registry: Where to define them.
        on_http_error: The error policy of ``on_request`` and ``on_response``. ``RAISE`` fails
            closed: a request that a broken filter could not look at is not served. ``ISOLATE``
            serves it as if the filter were not there.
    """

    def notify(name: str, event: type[_Event]) -> Hook[_Event, None]:
        return registry.define(name, event, None, mode=HookMode.NOTIFY, on_error=_ISOLATE)

    return StandardHooks(
        on_request=registry.define(
            ON_REQUEST, HttpRequest, HttpRequest | HttpResponse, on_error=on_http_error
        ),
        on_response=registry.define(
            ON_RESPONSE, HttpResponse, HttpResponse, on_error=on_http_error
        ),
        on_error=notify(ON_ERROR, ErrorEvent),
        on_startup=notify(ON_STARTUP, HostEvent),
        on_shutdown=notify(ON_SHUTDOWN, HostEvent),
        on_plugin_load=notify(ON_PLUGIN_LOAD, PluginEvent),
        on_plugin_unload=notify(ON_PLUGIN_UNLOAD, PluginEvent),
    )
