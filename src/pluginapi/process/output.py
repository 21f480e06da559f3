"""What plugins write to their standard output and error, into the log of the host."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

from pluginapi.runtime.native_status import printable

if TYPE_CHECKING:
    from pluginapi.process.supervisor import Supervisor

__all__ = ["OutputReader"]

_CHUNK: Final = 65_536
_MAX_LINE: Final = 4096


class OutputReader:
    """Read one plugin's pipe, so many bytes a second, and log its lines.

    A plugin that writes more than that is made to wait by the pipe; what it has written by then is
    dropped and counted. Runs on the supervisor's thread; what is public may be called from any.

    Args:
        fd: The pipe; it is closed at its end, by `finish`, or with the supervisor.
        supervisor: Calls when there is something to read.
        plugin: Name of the plugin.
        logger: Takes the lines.
        per_second: Bytes that are passed on.
    """

    def __init__(
        self, fd: int, supervisor: Supervisor, plugin: str, logger: logging.Logger, per_second: int
    ) -> None:
        self.dropped = 0
        self._fd = fd
        self._supervisor = supervisor
        self._plugin = plugin
        self._logger = logger
        self._rate = per_second
        self._tokens = float(per_second)
        self._time = time.monotonic()
        self._rest = b""
        os.set_blocking(fd, False)
        self._let_be = supervisor.at_close(self._finish)
        supervisor.watch(fd, self._readable)

    def finish(self) -> None:
        """Log what the process has left in the pipe when it ended, and close it.

        Others may hold the pipe too, children that the plugin has left behind: what they write from
        now on is nobody's.
        """
        self._supervisor.call_later(0, self._finish)

    def abandon(self) -> None:
        """Close the pipe in a process that was forked from the one that reads it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _readable(self) -> None:
        if self._fd < 0:
            return
        data = self._read()
        if data is None:
            return
        if not data:
            self._close()
        elif not self._take(data):
            # Do not spend the processor on it: the pipe makes the plugin wait.
            self._supervisor.unwatch(self._fd)
            self._supervisor.call_later(0.1, self._resume)

    def _read(self) -> bytes | None:
        """Return what is there; None when nothing is, nothing at the end."""
        try:
            return os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, data: bytes) -> bool:
        """Log what was read, or count it as dropped and return False."""
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if len(data) > self._tokens:
            if not self.dropped:
                self._say(logging.WARNING, "writes more than is logged: what follows is dropped")
            self.dropped += len(data)
            return False
        self._tokens -= len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._say(logging.INFO, line[:_MAX_LINE].decode("utf-8", "replace"))
        return True

    def _resume(self) -> None:
        if self._fd >= 0:
            self._supervisor.watch(self._fd, self._readable)

    def _finish(self) -> None:
        if self._fd < 0:
            return
        # A pipe holds no more than this, unless somebody still writes.
        data = self._read()
        if data:
            self._take(data)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        self._let_be()
        self._supervisor.unwatch(fd)
        os.close(fd)
        if self._rest:
            self._say(logging.INFO, self._rest[:_MAX_LINE].decode("utf-8", "replace"))
            self._rest = b""
        if self.dropped:
            self._say(logging.WARNING, f"{self.dropped} bytes of its output were dropped")

    def _say(self, level: int, line: str) -> None:
        extra = {"plugin": self._plugin, "stream": "output"}
        self._logger.log(level, "%s", printable(line), extra=extra)
