"""Limit how many requests each client may make, with a token bucket per client."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pluginapi import (
    ContextKey,
    HookPriority,
    HttpRequest,
    HttpResponse,
    PluginRequirements,
    StopChain,
    make_plugin,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from pluginapi import HookScope, PluginContext


class TokenBuckets:
    """Hold a bucket per client; a bounded number, the one unused for longest given up first.

    A bucket starts full with ``burst`` tokens and gains ``rate`` tokens a second; a request takes
    one. Giving up a bucket forgives its client, so ``max_clients`` should exceed the number of
    addresses that one attacker has. Safe to use from several threads.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        max_clients: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._max_clients = max_clients
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # Tokens, and when.
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Take a token; return 0, or the seconds until there will be one."""
        with self._lock:
            now = self._clock()
            tokens, at = self._buckets.get(client, (self._burst, now))
            tokens = min(self._burst, tokens + (now - at) * self._rate)
            wait = 0.0
            if tokens >= 1:
                tokens -= 1
            else:
                wait = (1 - tokens) / self._rate
            self._buckets[client] = (tokens, now)
            self._buckets.move_to_end(client)
            if len(self._buckets) > self._max_clients:
                self._buckets.popitem(last=False)
                self.evicted += 1
            return wait


def client_of(address: str) -> str:
    """Return whom an address counts for: itself, or for IPv6 its /64, which one user has whole.

    An IPv4 address written as IPv6 (``::ffff:192.0.2.7``) counts as IPv4. Unknown clients share a
    bucket.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 4:  # noqa: PLR2004 - IPv4
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def number(settings: Mapping[str, Any], name: str, default: float, low: float, high: float) -> Any:
    """Return a setting that is a number within bounds, of the default's type."""
    value = settings.get(name, default)
    allowed = int if isinstance(default, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, not a number from {low} to {high}")
    return value


@make_plugin(
    name="rate-limiter",
    version="1.0.0",
    author="The pluginapi developers",
    description="Answers 429 to clients that make too many requests.",
    requirements=PluginRequirements(context_read=("Configuration", "Logger")),
)
class RateLimiter:
    """Answer ``429 Too Many Requests`` with ``Retry-After`` (RFC 6585, RFC 9110) over the limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowed = 0
        self._refused = 0

    def init(self, context: PluginContext) -> None:
        """Read the limits."""
        settings = context.get(ContextKey.Configuration, {})
        self._logger: logging.Logger = context.get(ContextKey.Logger)
        self.buckets = TokenBuckets(
            rate=number(settings, "requests_per_second", 10.0, 0.001, 1e6),
            burst=number(settings, "burst", 20, 1, 1_000_000),
            max_clients=number(settings, "max_clients", 100_000, 1, 10_000_000),
        )

    def register_hooks(self, hooks: HookScope) -> None:
        """Come before plugins that do work for a request, and after those that log it."""
        hooks.register("on_request", HookPriority.HIGH, self.on_request)

    def on_request(self, request: HttpRequest) -> StopChain[HttpResponse] | None:
        """Let the request pass, or answer it."""
        wait = self.buckets.take(client_of(request.client))
        with self._lock:
            self._allowed += not wait
            self._refused += bool(wait)
        if not wait:
            return None
        headers = (
            ("Retry-After", str(math.ceil(wait))),
            ("Content-Type", "text/plain; charset=utf-8"),
        )
        return StopChain(HttpResponse(429, headers, b"Too many requests\n", request))

    def shutdown(self) -> None:
        """Report what was done."""
        self._logger.info(
            "%d requests allowed, %d refused, %d clients known, %d forgotten",
            self._allowed,
            self._refused,
            len(self.buckets),
            self.buckets.evicted,
        )
