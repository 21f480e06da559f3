"""The bounds of a channel."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pluginapi.errors import IpcError

__all__ = ["DEFAULT_CHANNEL_SETTINGS", "ChannelSettings", "usable_cpus"]

_KIB: Final = 1024
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Bound what one channel takes in memory, time and numbers.

    Attributes:
        max_message_bytes: Bytes of the longest message, either way.
        shared: Whether frames go through shared memory, where the platform has it (Linux).
        ring_bytes: Bytes of each of the two rings, a power of two.
        area_bytes: Bytes of each of the two areas for large messages, a power of two that is at
            least twice ``max_message_bytes``. Memory that no message was in is not taken.
        spin_us: Microseconds that a wait spins at most before it sleeps; 0 never spins. Spinning
            that does not pay stops by itself, and with one processor it is off.
        in_flight: Calls that are unanswered at the same time; more wait for their turn.
        queued: Calls that wait for their turn; more are refused (``ipc.busy``).
        requests: Requests of the plugin that are unanswered at the same time; more are a breach of
            the protocol.
        max_depth: Containers within each other in a message, at most 256.
        max_containers: Arrays and maps in one message.
        max_items: Values in one message, containers among them.
        logs_per_second: Log lines that are passed on; more are counted and dropped.

    Raises:
        IpcError: With code ``ipc.settings`` when a value is out of bounds.
    """

    max_message_bytes: int = 16 * _MIB
    shared: bool = True
    ring_bytes: int = 128 * _KIB
    area_bytes: int = 32 * _MIB
    spin_us: int = 50
    in_flight: int = 128
    queued: int = 1024
    requests: int = 64
    max_depth: int = 64
    max_containers: int = 32_768
    max_items: int = 262_144
    logs_per_second: int = 200

    def __post_init__(self) -> None:
        bounds = {
            "max_message_bytes": (4 * _KIB, 512 * _MIB),
            "ring_bytes": (4 * _KIB, 64 * _MIB),
            "area_bytes": (8 * _KIB, 1024 * _MIB),
            "spin_us": (0, 10_000),
            "in_flight": (1, 65_536),
            "queued": (0, 1_000_000),
            "requests": (1, 65_536),
            "max_depth": (1, 256),
            "max_containers": (1, 2**31),
            "max_items": (1, 2**31),
            "logs_per_second": (0, 1_000_000),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise IpcError(
                    f"{name} of a channel is {value!r}, not a number from {least} to {most}",
                    code="ipc.settings",
                    hint=f"choose {name} within these bounds",
                )
        for name in ("ring_bytes", "area_bytes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise IpcError(
                    f"{name} of a channel is {value}, not a power of two",
                    code="ipc.settings",
                    hint=f"use {1 << value.bit_length()}",
                )
        if self.area_bytes < 2 * self.max_message_bytes:
            raise IpcError(
                f"area_bytes of a channel is {self.area_bytes}, less than twice max_message_bytes",
                code="ipc.settings",
                hint="raise area_bytes, or lower max_message_bytes",
            )

    @property
    def scan(self) -> tuple[int, int, int]:
        """Depth, containers and items, as the native part takes them."""
        return (self.max_depth, self.max_containers, self.max_items)

    def spin_ns(self, peer_pid: int | None = None) -> int:
        """Return how long both ends should spin; 0 when they share one processor."""
        return self.spin_us * 1000 if usable_cpus(peer_pid) > 1 else 0


DEFAULT_CHANNEL_SETTINGS: Final = ChannelSettings()


def usable_cpus(peer_pid: int | None = None) -> int:
    """Return how many processors this process and a peer can run on at the same time.

    Counts the processors that either may use (sched_getaffinity(2)) and the quota of this
    process's control group (v2, cpu.max).
    """
    if sys.platform != "linux":
        return os.cpu_count() or 1
    processors = os.sched_getaffinity(0)
    if peer_pid:
        try:
            processors = processors | os.sched_getaffinity(peer_pid)
        except OSError:
            # It is gone, or hidden: what this process may use is all that is known.
            return min(len(processors), _quota())
    return min(len(processors), _quota())


def _quota() -> int:
    """Return the whole processors that the control group grants, many when it sets no bound."""
    try:
        group = Path("/proc/self/cgroup").read_text("ascii").rpartition("0::")[2].strip()
        quota, _, period = Path(f"/sys/fs/cgroup{group}/cpu.max").read_text("ascii").partition(" ")
        return sys.maxsize if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError):
        # No unified hierarchy here, or none that can be read: no quota is known.
        return sys.maxsize
