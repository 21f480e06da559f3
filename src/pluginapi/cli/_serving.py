"""Run requests through the hooks of a host and say what came of it: for `run` and `demo`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pluginapi.errors import PluginError
from pluginapi.http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pluginapi.cli._output import Output
    from pluginapi.host import PluginHost
    from pluginapi.http import HttpRequest

__all__ = ["Served", "handler_facts", "metrics_facts", "print_handlers", "serve"]

_BREATHE_EVERY: Final = 128
_MAX_FAILURES: Final = 10


@dataclass(slots=True)
class Served:
    """Count what became of requests.

    Attributes:
        passed: Requests that no plugin answered; the host's stand-in answered 200.
        answered: Requests that a plugin answered, by status.
        failed: Requests during which a handler raised.
        failures: The first of those errors in words, at most ten different ones.
        seconds: Time from the first request to the last response.
        latencies_ns: Time of each request in both hooks.
    """

    passed: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    failed: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    latencies_ns: list[int] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """How many requests were run."""
        return len(self.latencies_ns)

    @property
    def per_second(self) -> float:
        """Requests in a second, one after the other."""
        return self.requests / self.seconds if self.seconds else 0.0

    def percentile_us(self, percent: int) -> float:
        """Return the time in microseconds that so many percent of requests took at most."""
        ordered = sorted(self.latencies_ns)
        if not ordered:
            return 0.0
        rank = max(1, -(-len(ordered) * percent // 100))
        return ordered[rank - 1] / 1e3

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-representable values."""
        return {
            "requests": self.requests,
            "passed": self.passed,
            "answered": {str(status): count for status, count in sorted(self.answered.items())},
            "failed": self.failed,
            "failures": [
                {"code": code, "message": message} for message, code in self.failures.items()
            ],
            "seconds": round(self.seconds, 6),
            "requests_per_second": round(self.per_second, 1),
            "latency_us": {
                f"p{percent}": round(self.percentile_us(percent), 1) for percent in (50, 90, 99)
            },
        }

    def outcomes(self) -> list[str]:
        """Return the outcomes in words, one of each kind."""
        words = [f"{self.passed} passed"] if self.passed else []
        for status, count in sorted(self.answered.items()):
            phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
            words.append(f"{count} answered with {status} {phrase}".rstrip())
        if self.failed:
            words.append(f"{self.failed} failed")
        return words


_STATUSES: Final = frozenset(int(status) for status in HTTPStatus)


async def serve(
    host: PluginHost,
    requests: Sequence[HttpRequest],
    *,
    rounds: int = 1,
    answered: Callable[[HttpRequest, HttpResponse], object] | None = None,
    advance: Callable[[int], object] | None = None,
) -> Served:
    """Run requests one after the other through ``on_request`` and ``on_response``.

    A request that no plugin answers gets an empty response of status 200, as from an application.
    An error of a handler is counted; the next request goes on.

    Args:
        host: A started host.
        requests: What to run.
        rounds: How often to run them all.
        answered: Called with each request that a plugin answered, and its response.
        advance: Called with a number of requests each time that so many more are done.
    """
    served = Served()
    began = time.perf_counter()
    for number in range(rounds * len(requests)):
        request = requests[number % len(requests)]
        started = time.perf_counter_ns()
        try:
            result = await host.points.on_request(request)
            if isinstance(result, HttpResponse):
                response = result
            else:
                response = HttpResponse(status=200, request=result)
            await host.points.on_response(response)
        except Exception as err:  # noqa: BLE001 - whatever a plugin raises is its outcome
            _count_failure(served, err)
        else:
            if response is result:
                served.answered[response.status] += 1
                if answered is not None:
                    answered(request, response)
            else:
                served.passed += 1
        served.latencies_ns.append(time.perf_counter_ns() - started)
        if not served.requests % _BREATHE_EVERY:
            # Handlers that never wait would keep the monitor and an interrupt waiting.
            await asyncio.sleep(0)
            if advance is not None:
                advance(_BREATHE_EVERY)
    served.seconds = time.perf_counter() - began
    return served


def _count_failure(served: Served, error: Exception) -> None:
    served.failed += 1
    if isinstance(error, PluginError):
        message, code = error.message, error.code
    else:
        # The note says which handler of which plugin raised it.
        notes = " ".join(getattr(error, "__notes__", ()))
        message, code = f"{type(error).__name__}: {error} ({notes})", "hook.failed"
    if len(served.failures) < _MAX_FAILURES:
        served.failures.setdefault(message, code)


def handler_facts(host: PluginHost) -> list[dict[str, Any]]:
    """Describe what each handler did and cost; handlers that were never called are left out."""
    return [
        {
            "plugin": stat.owner,
            "hook": stat.hook,
            "handler": stat.handler,
            "priority": stat.priority,
            "calls": stat.calls,
            "errors": stat.errors,
            "mean_us": round(stat.wall_ns / stat.calls / 1e3, 2),
            "mean_cpu_us": round(stat.cpu_ns / stat.calls / 1e3, 2),
        }
        for stat in host.hooks.stats()
        if stat.calls
    ]


def metrics_facts(host: PluginHost) -> list[dict[str, Any]]:
    """Measure each loaded plugin."""
    return [
        host.registry.get_plugin_metrics(info.name).to_dict()
        for info in host.registry.list_loaded_plugins()
    ]


def print_handlers(
    output: Output, handlers: list[dict[str, Any]], metrics: list[dict[str, Any]]
) -> None:
    """Print what each handler cost, and the heap of its plugin where that can be told."""
    heaps = {item["name"]: item["heap_bytes"] for item in metrics}
    output.table(
        ["PLUGIN", "HOOK", "CALLS", "ERRORS", "MEAN", "CPU", "HEAP"],
        [
            [
                item["plugin"] or "(host)",
                item["hook"],
                f"{item['calls']:,}",
                f"{item['errors']:,}",
                f"{item['mean_us']:.1f} µs",
                f"{item['mean_cpu_us']:.1f} µs",
                _heap(heaps.get(item["plugin"])),
            ]
            for item in handlers
        ],
        for_people=True,
        indent=3,
        right=(2, 3, 4, 5, 6),
    )


def _heap(heap: int | None) -> str:
    # A Python plugin in this process has no heap of its own to measure.
    return "-" if heap is None else f"{heap / 1024:.1f} KiB"
