"""Log every request in the Common or Combined Log Format and report latency percentiles."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pluginapi import (
    ContextKey,
    HookPriority,
    HttpRequest,
    HttpResponse,
    PluginRequirements,
    make_plugin,
)

if TYPE_CHECKING:
    import logging

    from pluginapi import HookScope, PluginContext

FORMATS: Final = ("common", "combined", "timed")
MAX_PENDING: Final = 10_000
"""The most requests that are followed at the same time; the oldest is given up first."""

MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class LatencyHistogram:
    """Count latencies in a fixed 8 KiB, whatever their number, to within 1.6 % of the value.

    Microseconds below 64 have a bucket each; every power of two above has 32, the scheme of
    HdrHistogram. Latencies above 19 hours count as 19 hours. Not safe for use by several threads.
    """

    _EXACT = 64
    _PER_POWER = 32
    _MAX_MICROSECONDS = 2**36 - 1

    def __init__(self) -> None:
        powers = self._MAX_MICROSECONDS.bit_length() - 6
        self._counts = [0] * (self._EXACT + powers * self._PER_POWER)
        self.total = 0
        self.largest_ms = 0.0

    def add(self, seconds: float) -> None:
        """Count one latency."""
        microseconds = min(max(int(seconds * 1e6), 0), self._MAX_MICROSECONDS)
        self._counts[self._bucket(microseconds)] += 1
        self.total += 1
        self.largest_ms = max(self.largest_ms, microseconds / 1000)

    def percentile_ms(self, percent: float) -> float:
        """Return the latency in ms that so many percent stay at or below; 0 when there is none."""
        # Nearest rank, rounded up in whole numbers: 99 % of 100 latencies is the 99th.
        rank = max(1, -(-self.total * round(percent * 100) // 10_000))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return self._middle(bucket) / 1000
        return 0.0

    def _bucket(self, microseconds: int) -> int:
        if microseconds < self._EXACT:
            return microseconds
        shift = microseconds.bit_length() - 6
        return self._EXACT + (shift - 1) * self._PER_POWER + (microseconds >> shift) - 32

    def _middle(self, bucket: int) -> float:
        if bucket < self._EXACT:
            return float(bucket)
        power, offset = divmod(bucket - self._EXACT, self._PER_POWER)
        width = 2 << power
        return (offset + 32) * width + (width - 1) / 2


def quoted(text: str) -> str:
    """Escape what could end a field or a line, as Apache does: a client cannot forge entries."""
    return "".join(
        char
        if " " <= char <= "~" and char not in '"\\'
        else f"\\{char}"
        if char in '"\\'
        else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
        for char in text
    )


@make_plugin(
    name="access-log",
    version="1.0.0",
    author="The pluginapi developers",
    description="Logs every request and reports latency percentiles.",
    requirements=PluginRequirements(context_read=("Configuration", "Logger")),
)
class AccessLog:
    """Pair each request with its response by ``request_id`` and log both as one line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: dict[str, int] = {}
        self._statuses: dict[int, int] = {}
        self._given_up = 0
        self._unpaired = 0
        self.latencies = LatencyHistogram()

    def init(self, context: PluginContext) -> None:
        """Read the format and take the logger."""
        settings = context.get(ContextKey.Configuration, {})
        self._logger: logging.Logger = context.get(ContextKey.Logger)
        self._format = settings.get("format", "common")
        self._protocol = settings.get("protocol", "HTTP/1.1")
        if self._format not in FORMATS:
            raise ValueError(f"format is {self._format!r}, not one of {', '.join(FORMATS)}")
        if not isinstance(self._protocol, str):
            raise TypeError(f"protocol is {self._protocol!r}, not text such as 'HTTP/1.1'")

    def register_hooks(self, hooks: HookScope) -> None:
        """See requests before, and responses after, all other plugins."""
        hooks.register("on_request", HookPriority.CRITICAL, self.on_request)
        hooks.register("on_response", HookPriority.CLEANUP, self.on_response)

    def on_request(self, request: HttpRequest) -> None:
        """Remember when the request came."""
        if not request.request_id:
            return
        with self._lock:
            self._started[request.request_id] = time.perf_counter_ns()
            if len(self._started) > MAX_PENDING:
                del self._started[next(iter(self._started))]
                self._given_up += 1

    def on_response(self, response: HttpResponse) -> None:
        """Log the line."""
        request = response.request
        with self._lock:
            started = None if request is None else self._started.pop(request.request_id, None)
            self._statuses[response.status] = self._statuses.get(response.status, 0) + 1
            seconds = None
            if started is None:
                self._unpaired += 1
            else:
                seconds = (time.perf_counter_ns() - started) / 1e9
                self.latencies.add(seconds)
        self._logger.info("%s", self._line(request, response, seconds))

    def shutdown(self) -> None:
        """Report what was seen."""
        self._logger.info("%s", self.summary())

    def summary(self) -> str:
        """Return the counts and percentiles so far as one line."""
        with self._lock:
            found = self.latencies
            percentiles = " ".join(f"p{p}={found.percentile_ms(p):.3f}ms" for p in (50, 90, 99))
            statuses = " ".join(f"{code}:{n}" for code, n in sorted(self._statuses.items()))
            return (
                f"{sum(self._statuses.values())} responses ({statuses or 'none'}), "
                f"{found.total} timed: {percentiles} max={found.largest_ms:.3f}ms; "
                f"{self._unpaired} without a request, {self._given_up} given up, "
                f"{len(self._started)} unanswered"
            )

    def _line(
        self, request: HttpRequest | None, response: HttpResponse, seconds: float | None
    ) -> str:
        now = datetime.now(UTC)
        at = f"{now.day:02}/{MONTHS[now.month - 1]}/{now:%Y:%H:%M:%S} +0000"
        first = "-"
        if request is not None:
            first = quoted(f"{request.method} {request.target} {self._protocol}")
        client = quoted(request.client).replace(" ", "\\x20") if request else ""
        size = len(response.body) or "-"
        line = f'{client or "-"} - - [{at}] "{first}" {response.status} {size}'
        if self._format == "combined":
            referer = quoted((request and request.header("referer")) or "-")
            agent = quoted((request and request.header("user-agent")) or "-")
            line += f' "{referer}" "{agent}"'
        elif self._format == "timed":
            line += " -" if seconds is None else f" {seconds * 1000:.3f}ms"
        return line
