"""Metrics of plugins for OpenTelemetry; needs the extra ``otel``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from pluginapi._version import __version__
from pluginapi.errors import UnsupportedPlatform
from pluginapi.export.snapshot import PluginSnapshot, snapshots
from pluginapi.limits import ViolationType

try:
    from opentelemetry.metrics import (
        CallbackOptions,
        Meter,
        MeterProvider,
        Observation,
        get_meter_provider,
    )
except ImportError as err:
    raise UnsupportedPlatform(
        "the package opentelemetry-api is not installed",
        hint="run: pip install 'pluginapi[otel]'",
    ) from err

if TYPE_CHECKING:
    from pluginapi.registry import PluginRegistry

__all__ = ["instrument"]

# The instruments of one reader ask one after the other.
_SAME_LOOK_SECONDS: Final = 0.1

_Observe = Callable[[PluginSnapshot], Iterable[Observation]]


class _Looks:
    """Look at the plugins once for all instruments of a collection. Thread-safe."""

    def __init__(self, registry: PluginRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._at = 0.0
        self._found: list[PluginSnapshot] = []

    def __call__(self) -> list[PluginSnapshot]:
        with self._lock:
            now = time.monotonic()
            if now - self._at > _SAME_LOOK_SECONDS or not self._at:
                self._found = snapshots(self._registry)
                self._at = time.monotonic()
            return self._found


def instrument(registry: PluginRegistry, provider: MeterProvider | None = None) -> Meter:
    """Make instruments that observe a host's plugins, and return their meter.

    Names are those of the semantic conventions for processes, with ``plugin.name`` as attribute;
    what they have no name for is below ``plugin.``. Counters add up over restarts and loads of a
    plugin. What is not known is not observed. A collection measures all processes once.

    Args:
        registry: The plugins.
        provider: Makes the meter; None for the global one.

    Raises:
        UnsupportedPlatform: On import of this module, without the package.
    """
    meter = (provider or get_meter_provider()).get_meter("pluginapi", __version__)
    look = _Looks(registry)

    def observing(observe: _Observe) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
        def callback(options: CallbackOptions) -> Iterable[Observation]:
            del options
            return [each for plugin in look() for each in observe(plugin)]

        return [callback]

    meter.create_observable_counter(
        "process.cpu.time",
        observing(
            lambda plugin: [_observed(plugin, plugin.totals.cpu_time_ms / 1000)],
        ),
        unit="s",
        description="Processor time of the plugin.",
    )
    for name, unit, field, text in (
        ("process.memory.usage", "By", "resident_bytes", "Resident memory of its process."),
        ("plugin.heap.usage", "By", "heap_bytes", "Memory, as its limit counts it."),
        ("process.thread.count", "{thread}", "thread_count", "Threads of the plugin."),
        (
            "process.unix.file_descriptor.count",
            "{file_descriptor}",
            "fd_count",
            "Open descriptors of the plugin.",
        ),
        (
            "plugin.network.connection.count",
            "{connection}",
            "connection_count",
            "TCP connections of its process.",
        ),
    ):
        meter.create_observable_up_down_counter(
            name, observing(_field(field)), unit=unit, description=text
        )
    meter.create_observable_gauge(
        "process.uptime",
        observing(_field("uptime_seconds")),
        unit="s",
        description="How long the plugin's process has run.",
    )
    _observe_limits(meter, observing)
    _observe_hooks(meter, observing)

    def last_pass(options: CallbackOptions) -> Iterable[Observation]:
        del options
        seconds = registry.pass_seconds()
        return [] if seconds is None else [Observation(seconds)]

    meter.create_observable_gauge(
        "plugin.monitor.pass.duration",
        [last_pass],
        unit="s",
        description="How long the latest pass over all processes took.",
    )
    return meter


def _observe_limits(meter: Meter, observing: Callable[[_Observe], list[_Callback]]) -> None:
    meter.create_observable_gauge(
        "plugin.limit",
        observing(
            lambda plugin: [
                _observed(plugin, getattr(plugin.limits, kind.value), kind)
                for kind in ViolationType
                if plugin.limits is not None
            ]
        ),
        description="Limits in force.",
    )
    meter.create_observable_counter(
        "plugin.limit.violation.count",
        observing(
            lambda plugin: [
                _observed(plugin, count, kind, **{"plugin.action": action})
                for (kind, action), count in plugin.totals.violations.items()
            ]
        ),
        unit="{violation}",
        description="Violations of limits, and what followed.",
    )
    meter.create_observable_counter(
        "plugin.unmount.count",
        observing(
            lambda plugin: [
                _observed(plugin, count, reason=kind.name.lower())
                for kind, count in plugin.totals.unmounts.items()
            ]
        ),
        unit="{unmount}",
        description="Unmounts, by the resource that was violated.",
    )


def _observe_hooks(meter: Meter, observing: Callable[[_Observe], list[_Callback]]) -> None:
    for name, field, text in (
        ("plugin.hook.call.count", "calls", "Calls of handlers."),
        ("plugin.hook.error.count", "errors", "Calls that failed."),
    ):
        meter.create_observable_counter(
            name, observing(_by_hook(field)), unit="{call}", description=text
        )


_Callback = Callable[[CallbackOptions], Iterable[Observation]]


def _by_hook(field: str) -> _Observe:
    return lambda plugin: [
        _observed(plugin, count, **{"plugin.hook": hook})
        for hook, count in getattr(plugin.totals, field).items()
    ]


def _field(name: str) -> _Observe:
    def observe(plugin: PluginSnapshot) -> Iterable[Observation]:
        value = getattr(plugin.metrics, name, None)
        return [] if value is None else [_observed(plugin, value)]

    return observe


def _observed(
    plugin: PluginSnapshot,
    value: float,
    kind: ViolationType | None = None,
    **attributes: str,
) -> Observation:
    found = {"plugin.name": plugin.name, **attributes}
    if kind is not None:
        found["plugin.resource"] = kind.name.lower()
    return Observation(value, found)
