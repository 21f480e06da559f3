"""The standard input, output and error of a program that somebody waits for."""

from __future__ import annotations

import os
import select
import time
from typing import Final

__all__ = ["Pipes"]

_CHUNK: Final = 65_536
_MOST_OUTPUT: Final = 64 << 20


class Pipes:
    """Three pipes to a program; what it writes beyond 64 MiB is dropped. Not thread-safe.

    Attributes:
        theirs: The ends that the program gets as 0, 1 and 2.
    """

    def __init__(self) -> None:
        (read, self._input), (self._output, write), (self._error, other) = (
            os.pipe2(os.O_CLOEXEC) for _ in range(3)
        )
        self.theirs = read, write, other
        self._open = {self._input, self._output, self._error}
        self._theirs_open = True
        self._parts: dict[int, list[bytes]] = {self._output: [], self._error: []}
        self._room = _MOST_OUTPUT
        for fd in self._open:
            os.set_blocking(fd, False)

    @property
    def outputs(self) -> tuple[bytes, bytes]:
        """What was written to the output, and to the error."""
        return b"".join(self._parts[self._output]), b"".join(self._parts[self._error])

    def close_theirs(self) -> None:
        """Close the program's ends in this process, once it has them."""
        if self._theirs_open:
            self._theirs_open = False
            for fd in self.theirs:
                os.close(fd)

    def close(self) -> None:
        """Close this process's ends; idempotent."""
        while self._open:
            os.close(self._open.pop())

    def exchange(self, data: bytes, until: float, pidfd: int) -> bool:
        """Write and read until both outputs are at their end, or the program has ended.

        Others may hold the pipes on: what is there then is read, and no more awaited.

        Args:
            data: The input.
            until: When to give up, in seconds of `time.monotonic`.
            pidfd: The program's.

        Returns:
            False when it took too long.
        """
        left = memoryview(data)
        ended = False
        while self._open - {self._input}:
            poll = select.poll()
            for fd in self._open:
                poll.register(fd, select.POLLOUT if fd == self._input else select.POLLIN)
            if not ended:
                poll.register(pidfd, select.POLLIN)
            seconds = until - time.monotonic()
            if seconds <= 0:
                return False
            events = {fd for fd, _ in poll.poll(0 if ended else seconds * 1000)}
            if ended and not events - {self._input}:
                return True
            ended = ended or pidfd in events
            if self._input in events:
                left = self._write(left)
            for fd in events & self._parts.keys():
                self._read(fd)
        return True

    def _write(self, data: memoryview) -> memoryview:
        try:
            data = data[os.write(self._input, data[:_CHUNK]) :] if data else data
        except BrokenPipeError:
            data = data[:0]
        if not data:
            self._close(self._input)
        return data

    def _read(self, fd: int) -> None:
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            self._close(fd)
            return
        self._parts[fd].append(chunk[: self._room])
        self._room -= len(chunk[: self._room])

    def _close(self, fd: int) -> None:
        self._open.discard(fd)
        os.close(fd)
