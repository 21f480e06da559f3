"""Measure processes of Linux in Python alone: a second reading of proc(5).

It is what `NativeSampler` is compared with: it takes the same from the same places. It holds four
descriptors for each process and knows no control groups. `open_sampler` does not choose it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from pluginapi.monitor.one_by_one import OneByOne, OneProcess
from pluginapi.monitor.usage import ProcessLife, ProcessUsage

__all__ = ["ProcfsSampler"]

_PAGE: Final = os.sysconf("SC_PAGESIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# <net/tcp_states.h>: TIME_WAIT, CLOSE and LISTEN are no connections.
_NOT_CONNECTED: Final = frozenset({b"06", b"07", b"0A"})


class _Process(OneProcess):
    def __init__(self, owner: ProcfsSampler, pid: int) -> None:
        self._held: list[int] = []
        self._sampler = owner
        try:
            self._directory = self._open(os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY))
            stat = self._read("stat")
            self._statm = self._open(self._at("statm"))
            self._descriptors = self._open(self._at("fd", os.O_PATH))
            self._tasks = self._open(self._at("task", os.O_PATH))
        except OSError as err:
            self.release()
            if isinstance(err, FileNotFoundError):
                raise ProcessLookupError(f"there is no process {pid}") from err
            raise
        # The name may have blanks and brackets: field 22 is the 20th after it; proc_pid_stat(5).
        ticks = int(stat.rpartition(b")")[2].split()[19])
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        super().__init__(owner, pid, boot + ticks / _TICKS)

    def _open(self, fd: int) -> int:
        self._held.append(fd)
        return fd

    def _at(self, name: str, flags: int = os.O_RDONLY) -> int:
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._directory)

    def _read(self, name: str) -> bytes:
        with os.fdopen(self._at(name), "rb", buffering=0) as file:
            return file.read()

    def _names(self, below: str) -> list[str]:
        """List a directory of numbers, by its handle."""
        fd = self._at(below, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.listdir(fd)  # noqa: PTH208 - it is no path
        finally:
            os.close(fd)

    def release(self) -> None:
        for fd in self._held:
            os.close(fd)
        self._held.clear()

    def look(self, *, connections: bool, peak: bool, switches: bool) -> ProcessUsage:
        try:
            # By number, so before what is read by handle: if that succeeds, it was its own.
            cpu = time.clock_gettime_ns(~self.pid << 3 | 2)
            pages = int(os.pread(self._statm, 256, 0).split()[1])
            threads = os.fstat(self._tasks).st_nlink - 2
            below = ""
            life = ProcessLife.LIVE
            if pages == 0:
                life, below = self._look_closer(threads)
                if life is ProcessLife.ZOMBIE:
                    return ProcessUsage(life=life, cpu_ns=cpu)
                if below:
                    threads -= 1
                    pages = int(self._read(f"{below}statm").split()[1])
            voluntary, involuntary = self._switches() if switches else (None, None)
            return ProcessUsage(
                life=life,
                memory_bytes=pages * _PAGE,
                cpu_ns=cpu,
                threads=threads,
                descriptors=self._count_descriptors(below),
                connections=self._connections(below) if connections else None,
                peak_bytes=self._peak(below) if peak else None,
                voluntary_switches=voluntary,
                involuntary_switches=involuntary,
            )
        except (OSError, IndexError, ValueError) as err:
            # Text that is cut is that of a process that ends at this moment.
            return ProcessUsage(life=ProcessLife.GONE, error=str(err))

    def _look_closer(self, threads: int) -> tuple[ProcessLife, str]:
        if self._read("stat").rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
            return ProcessLife.LIVE, ""
        for thread in self._names("task") if threads > 1 else ():
            below = f"task/{thread}/"
            if int(thread) != self.pid and self._read(f"{below}statm").split()[1] != b"0":
                return ProcessLife.LEADER_GONE, below
        return ProcessLife.ZOMBIE, ""

    def _count_descriptors(self, below: str) -> int:
        if not below:
            size = os.fstat(self._descriptors).st_size
            if size:
                return size
        # Before Linux 6.2 the size is 0.
        return len(self._names(f"{below}fd"))

    def _connections(self, below: str) -> int | None:
        known = self._sampler.connected
        if known is None:
            return None
        found = 0
        try:
            for name in self._names(f"{below}fd"):
                target = os.readlink(f"{below}fd/{name}", dir_fd=self._directory)
                found += target.startswith("socket:[") and int(target[8:-1]) in known
        except PermissionError:
            return None
        except FileNotFoundError:
            # One that was closed meanwhile: whoever was before it is counted.
            return found
        return found

    def _peak(self, below: str) -> int | None:
        for line in self._read(f"{below}status").splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
        return None

    def _switches(self) -> tuple[int, int]:
        found = {b"voluntary_ctxt_switches": 0, b"nonvoluntary_ctxt_switches": 0}
        for thread in self._names("task"):
            for line in self._read(f"task/{thread}/status").splitlines():
                key, _, value = line.partition(b":")
                if key in found:
                    found[key] += int(value)
        voluntary, involuntary = found.values()
        return voluntary, involuntary


class ProcfsSampler(OneByOne):
    """Measure by /proc, in Python; see `pluginapi.monitor.sampler.ProcessSampler`."""

    name: Final = "procfs"

    def __init__(self) -> None:
        super().__init__()
        self.connected: frozenset[int] | None = None

    def open(self, pid: int) -> OneProcess:
        """Open a process by its handles in /proc."""
        return _Process(self, pid)

    def begin(self, *, connections: bool) -> None:
        """Look once which connections there are."""
        self.connected = _connected() if connections else None


def _connected() -> frozenset[int]:
    """Return the inodes of the TCP connections of this network."""
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net", table)
        if not path.exists():
            continue
        for line in path.read_bytes().splitlines()[1:]:
            fields = line.split()
            if fields[3] not in _NOT_CONNECTED and fields[9] != b"0":
                found.add(int(fields[9]))
    return frozenset(found)
