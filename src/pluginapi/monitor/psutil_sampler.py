"""Measure processes by psutil: macOS and Windows, which tell their own ways."""

from __future__ import annotations

from typing import Any, Final

import psutil

from pluginapi.monitor.one_by_one import OneByOne, OneProcess
from pluginapi.monitor.usage import ProcessLife, ProcessUsage

__all__ = ["PsutilSampler"]

_CONNECTED: Final = frozenset(
    {
        psutil.CONN_ESTABLISHED,
        psutil.CONN_SYN_SENT,
        psutil.CONN_SYN_RECV,
        psutil.CONN_FIN_WAIT1,
        psutil.CONN_FIN_WAIT2,
        psutil.CONN_CLOSE_WAIT,
        psutil.CONN_LAST_ACK,
        psutil.CONN_CLOSING,
    }
)


class _Process(OneProcess):
    def __init__(self, owner: OneByOne, pid: int) -> None:
        try:
            self._process = psutil.Process(pid)
            started = self._process.create_time()
        except psutil.NoSuchProcess as err:
            raise ProcessLookupError(f"there is no process {pid}") from err
        except psutil.AccessDenied as err:
            raise PermissionError(f"process {pid} may not be looked at") from err
        super().__init__(owner, pid, started)

    def look(self, *, connections: bool, peak: bool, switches: bool) -> ProcessUsage:
        process = self._process
        # psutil does not compare the start on reading: the number may be another process's by now.
        if not process.is_running():
            return ProcessUsage(life=ProcessLife.GONE, error="it has ended")
        found: dict[str, Any] = {}
        errors: list[str] = []
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                # It would say 0 of everything.
                return ProcessUsage(life=ProcessLife.ZOMBIE)
            self._fill(found, errors, connections=connections, peak=peak, switches=switches)
        except psutil.ZombieProcess:
            return ProcessUsage(life=ProcessLife.ZOMBIE)
        except psutil.NoSuchProcess as err:
            return ProcessUsage(life=ProcessLife.GONE, error=str(err))
        return ProcessUsage(life=ProcessLife.LIVE, error="; ".join(errors) or None, **found)

    def _fill(
        self,
        found: dict[str, Any],
        errors: list[str],
        *,
        connections: bool,
        peak: bool,
        switches: bool,
    ) -> None:
        asked: list[tuple[str, Any]] = [
            ("memory_bytes", lambda: self._process.memory_info().rss),
            ("cpu_ns", lambda: round(sum(self._process.cpu_times()[:2]) * 1e9)),
            ("threads", self._process.num_threads),
            ("descriptors", self._descriptors),
        ]
        if connections:
            asked.append(("connections", self._connections))
        if peak:
            # Windows alone tells: the most so far.
            asked.append(
                ("peak_bytes", lambda: getattr(self._process.memory_info(), "peak_wset", None))
            )
        if switches:
            asked.append(("voluntary_switches", lambda: self._process.num_ctx_switches().voluntary))
            asked.append(
                ("involuntary_switches", lambda: self._process.num_ctx_switches().involuntary)
            )
        for name, ask in asked:
            try:
                found[name] = ask()
            except psutil.AccessDenied as err:
                errors.append(f"{name}: {err}")

    def _descriptors(self) -> int:
        # Windows has handles.
        name = "num_fds" if hasattr(self._process, "num_fds") else "num_handles"
        return int(getattr(self._process, name)())

    def _connections(self) -> int:
        return sum(each.status in _CONNECTED for each in self._process.net_connections("tcp"))


class PsutilSampler(OneByOne):
    """Measure by psutil; see `pluginapi.monitor.sampler.ProcessSampler`."""

    name: Final = "psutil"

    def open(self, pid: int) -> OneProcess:
        """Find a process by its number and start."""
        return _Process(self, pid)
