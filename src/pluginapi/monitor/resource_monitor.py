"""Look at an interval what loaded plugins use, and report what exceeds their limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from pluginapi.errors import InvalidResourceLimits, InvalidState, NotFound
from pluginapi.limits import Violation
from pluginapi.monitor.metrics import PluginMetrics

__all__ = ["MonitoredPlugins", "ResourceMonitor"]

_MIN_INTERVAL: Final = 0.01
_MAX_INTERVAL: Final = 86_400.0
# From here on measuring would stall the event loop for half a millisecond and more.
_MOST_ON_THE_LOOP: Final = 50

_log = logging.getLogger("pluginapi.monitor")


class MonitoredPlugins(Protocol):
    """What a monitor needs of the plugin registry."""

    def measured_processes(self) -> int:
        """Count the processes that `measure` looks at; it decides where that is done."""

    def measure(self) -> None:
        """Measure all of them. May block for some microseconds for each; any thread may."""

    def exceeded(self) -> Sequence[tuple[str, Violation]]:
        """Return plugin and violation for all that was found above a limit."""

    def monitored(self) -> Sequence[PluginMetrics]:
        """Return the metrics of every loaded plugin, as `measure` found them."""

    async def report_violation(self, name: str, violation: Violation) -> None:
        """Record a violation and do what follows from it, such as unloading the plugin."""


class ResourceMonitor:
    """Take the metrics of all loaded plugins at an interval and report violations.

    Everything runs in one task on the event loop that `start` was called on; many processes are
    measured in a thread beside it, so that the loop goes on. What it finds is
    logged by whoever records it; the monitor logs its own failures and, every so often, one status
    line. The CPU time of single operations is not its business: the registry sees it after every
    call of a handler, whether a monitor runs or not.

    Args:
        plugins: The registry.
        interval: Seconds between two looks, 0.01 to 86 400.
        status_every: Looks between two status lines with level INFO; 0 for none.

    Raises:
        InvalidResourceLimits: With code ``monitor.interval`` when a setting is out of bounds.
    """

    def __init__(
        self, plugins: MonitoredPlugins, interval: float = 10.0, *, status_every: int = 6
    ) -> None:
        if (
            isinstance(interval, bool)
            or not isinstance(interval, int | float)
            or not _MIN_INTERVAL <= interval <= _MAX_INTERVAL
        ):
            raise InvalidResourceLimits(
                f"the monitor's interval is {interval!r}, not from {_MIN_INTERVAL} to "
                f"{_MAX_INTERVAL:.0f} seconds",
                code="monitor.interval",
                hint="give a number of seconds; 10 is the default",
            )
        if type(status_every) is not int or status_every < 0:
            raise InvalidResourceLimits(
                f"status_every is {status_every!r}, not a whole number of at least 0",
                code="monitor.interval",
                hint="give a number of looks between two status lines, or 0 for none",
            )
        self.interval = float(interval)
        self.status_every = status_every
        self._plugins = plugins
        self._ticks = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether the monitor's task runs."""
        return self._task is not None and not self._task.done()

    @property
    def ticks(self) -> int:
        """How many times it has looked, failed looks included."""
        return self._ticks

    def start(self) -> None:
        """Start looking, at once and then at the interval, on the running event loop.

        Raises:
            InvalidState: With code ``monitor.state`` when it runs already.
        """
        if self.running:
            raise InvalidState(
                "the resource monitor is running already",
                code="monitor.state",
                hint="stop it first, or use the one that runs",
            )
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._task = loop.create_task(self._run(self._stopping), name="pluginapi-resource-monitor")

    async def stop(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - it ends in cancelling, not in an error
        """Stop looking; a look or report that is under way ends first. Idempotent.

        After ``timeout`` seconds, and when this call is cancelled, the task is cancelled instead.
        Called from within a report it does not wait: the monitor ends after that report.
        """
        task = self._task
        self._stopping.set()
        if task is None or task is asyncio.current_task():
            return
        try:
            await asyncio.wait({task}, timeout=timeout)
        finally:
            if not task.done():
                task.cancel()
        await asyncio.wait({task}, timeout=timeout)
        self._task = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def tick(self) -> tuple[PluginMetrics, ...]:
        """Look once, report what exceeds the limits, and return the metrics.

        A plugin whose report fails does not keep the others from being reported.

        Raises:
            Exception: Whatever the registry raises when it measures or is asked for the metrics.
        """
        await self._look()
        return tuple(self._plugins.monitored())

    async def _look(self) -> None:
        self._ticks += 1
        if self._plugins.measured_processes() > _MOST_ON_THE_LOOP:
            await asyncio.to_thread(self._plugins.measure)
        else:
            self._plugins.measure()
        for name, violation in self._plugins.exceeded():
            await self._report(name, violation)
        if self.status_every and self._ticks % self.status_every == 0:
            _log.info("%s", _status_line(self._plugins.monitored()))

    async def _run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - one failed look must not end the monitor
                _log.exception("the resource monitor could not look; it goes on")
            try:
                # From now, not from when it was due: looks that take long do not pile up.
                async with asyncio.timeout(self.interval):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def _report(self, name: str, violation: Violation) -> None:
        try:
            await self._plugins.report_violation(name, violation)
        except NotFound:
            # A report before this one, or somebody else, unloaded it.
            _log.debug("plugin %s was unloaded before its violation was reported", name)
        except Exception:  # noqa: BLE001 - the other plugins are still to be reported
            _log.exception("a violation of plugin %s could not be recorded: %s", name, violation)


def _status_line(metrics: Sequence[PluginMetrics]) -> str:
    heaps = [item.heap_bytes for item in metrics if item.heap_bytes is not None]
    heap = f"{sum(heaps) / 2**20:.1f} MiB in {len(heaps)} measured" if heaps else "not measured"
    return (
        f"{len(metrics)} plugins: heap {heap}, "
        f"CPU {sum(item.cpu_time_ms or 0 for item in metrics):.0f} ms, "
        f"{sum(item.calls for item in metrics)} calls, "
        f"{sum(item.errors for item in metrics)} errors, "
        f"{sum(item.violation_count for item in metrics)} violations"
    )
