"""What a plugin was refused to connect to, and why: for it, for its operator, and counted."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pluginapi.network_target import NetworkTarget, Protocol

__all__ = ["NetworkCounts", "Refusal", "Refusals"]

_MOST_KEPT: Final = 64
# A plugin that connects in a loop fills no disk: so many lines in so many seconds.
_MOST_LINES: Final = 10
_SECONDS: Final = 10.0

_log = logging.getLogger("pluginapi.sandbox.network")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One connect, or port to listen on, that was refused.

    Attributes:
        plugin: Who wanted it.
        host: The name or address that it wanted.
        address: The address that it connected to: its own for a name.
        port: The port.
        protocol: ``tcp`` or ``udp``.
        code: ``network.not_allowed``, ``network.rebinding``, ``network.unknown_name``,
            ``network.resolve``, ``network.protocol``, ``network.tls_name`` or
            ``network.too_many``; of a port to listen on ``network.not_published`` or
            ``network.listen``.
        reason: Why, in a sentence.
        allow: The target that would allow it, or None where no target does.
        time: When, in seconds since the epoch.
    """

    plugin: str
    host: str
    address: bytes
    port: int
    protocol: Protocol
    code: str
    reason: str
    allow: NetworkTarget | None
    time: float

    @property
    def message(self) -> str:
        """What is said of it to plugin and operator."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        listens = self.code in ("network.not_published", "network.listen")
        what = "listen on" if listens else "connect to"
        text = f"plugin {self.plugin} may not {what} {host}:{self.port}: {self.reason}"
        if self.code == "network.not_published" and self.port and self.protocol == "tcp":
            text += f"; to allow it: [sandboxing.network] publish = ['{self.port}']"
        if self.allow is not None:
            text += f"; to allow it: [sandboxing.network] allow = ['{self.allow}']"
        return f"{text} ({self.code})"


@dataclass(frozen=True, slots=True)
class NetworkCounts:
    """How a plugin's connects went.

    Attributes:
        connected: How many got a connection.
        failed: How many did not, since the destination did not take them.
        refused: How many were refused.
        open: Connections that are open now.
        sent_bytes: What it sent over connections and was acknowledged. Of those that are closed,
            what was seen of them when they were last counted: at least that much.
        received_bytes: What it received; the same.
        reasons: The refused ones by code.
    """

    connected: int
    failed: int
    refused: int
    open: int
    sent_bytes: int
    received_bytes: int
    reasons: dict[str, int]


class Refusals:
    """Keep the latest refusals of a plugin, count all, and log as many as a log can take.

    Thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: deque[Refusal] = deque(maxlen=_MOST_KEPT)
        self._reasons: dict[str, int] = {}
        self._lines = 0
        self._since = clock()
        self._silent = 0

    def add(self, refusal: Refusal) -> None:
        """Take note of a refusal."""
        with self._lock:
            self._latest.append(refusal)
            self._reasons[refusal.code] = self._reasons.get(refusal.code, 0) + 1
            now = self._clock()
            silent = 0
            if now - self._since >= _SECONDS:
                silent, self._silent = self._silent, 0
                self._lines, self._since = 0, now
            self._lines += 1
            told = self._lines <= _MOST_LINES
            self._silent += not told
        if silent:
            _log.warning("plugin %s: %d more connects were refused", refusal.plugin, silent)
        if told:
            _log.warning("%s", refusal.message, extra={"refusal": refusal})

    def latest(self) -> tuple[Refusal, ...]:
        """Return the latest ones, the newest last."""
        with self._lock:
            return tuple(self._latest)

    def of(self, address: bytes, port: int) -> Refusal | None:
        """Return the latest one of a destination, if it is among the latest."""
        with self._lock:
            return next(
                (
                    refusal
                    for refusal in reversed(self._latest)
                    if (refusal.address, refusal.port) == (address, port)
                ),
                None,
            )

    def reasons(self) -> dict[str, int]:
        """Return how many there were, by code."""
        with self._lock:
            return dict(self._reasons)
