"""One thread that watches descriptors and the clock for all plugin processes."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections.abc import Callable

__all__ = ["Supervisor"]

_log = logging.getLogger("pluginapi.process")


class Supervisor:
    """Call functions when descriptors are readable, and at times.

    The thread starts with the first thing to watch and takes no processor time while nothing
    happens. Everything may be called from any thread; functions run on the supervisor's, so they
    must not block.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, Callable[[], object]] = {}
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._epoll: select.epoll | None = None
        self._bell = -1
        self._closed = False
        self._closing: dict[int, Callable[[], object]] = {}

    def at_close(self, function: Callable[[], object]) -> Callable[[], object]:
        """Call a function when this is closed, on the thread that does; returns what undoes that.

        When it is closed already, the function is called at once.
        """
        with self._lock:
            number = next(self._numbers)
            closed = self._closed
            if not closed:
                self._closing[number] = function
        if closed:
            self._call(function)
        return lambda: self._closing.pop(number, None)

    def watch(self, fd: int, function: Callable[[], object], events: int = select.EPOLLIN) -> None:
        """Call a function whenever a descriptor is readable or at its end.

        Args:
            fd: The descriptor.
            function: Called on the supervisor's thread.
            events: Of epoll_ctl(2), if it is not to be readable.
        """
        with self._lock:
            self._start()
            self._watched[fd] = function
            if self._epoll is not None:
                self._epoll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor, before it is closed; others are passed over."""
        with self._lock:
            if self._watched.pop(fd, None) is not None and self._epoll is not None:
                self._epoll.unregister(fd)

    def call_later(self, delay: float, function: Callable[[], object]) -> None:
        """Call a function once, after so many seconds."""
        with self._lock:
            if self._closed:
                return
            self._start()
            timer = (time.monotonic() + delay, next(self._numbers), function)
            heapq.heappush(self._timers, timer)
            if self._timers[0] is timer:
                os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Stop, forget everything, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._closed = True
            if thread is not None:
                os.eventfd_write(self._bell, 1)
            closing = tuple(self._closing.values())
            self._closing.clear()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        for function in closing:
            self._call(function)

    def abandon(self) -> None:
        """Forget everything in a process that was forked from the one that has the thread."""
        self._closed = True
        if self._thread is not None and self._epoll is not None:
            self._thread = None
            self._epoll.close()
            os.close(self._bell)
        self._watched = {}
        self._timers = []
        self._closing = {}
        self._lock = threading.Lock()

    def _start(self) -> None:
        if self._thread is not None or self._closed:
            return
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._thread = threading.Thread(
            target=self._run,
            args=(self._epoll, self._bell),
            name="pluginapi-supervisor",
            daemon=True,
        )
        self._thread.start()

    def _run(self, epoll: select.epoll, bell: int) -> None:
        while True:
            with self._lock:
                if self._closed:
                    break
                first = self._timers[0][0] if self._timers else None
            timeout = -1.0 if first is None else max(0.0, first - time.monotonic())
            for fd, _ in epoll.poll(timeout):
                if fd == bell:
                    os.eventfd_read(bell)
                    continue
                with self._lock:
                    function = self._watched.get(fd)
                if function is not None:
                    self._call(function)
            self._run_timers()
        epoll.close()
        os.close(bell)

    def _run_timers(self) -> None:
        while True:
            with self._lock:
                if self._closed or not self._timers or self._timers[0][0] > time.monotonic():
                    return
                _, _, function = heapq.heappop(self._timers)
            self._call(function)

    @staticmethod
    def _call(function: Callable[[], object]) -> None:
        try:
            function()
        except Exception:  # noqa: BLE001 - one process's trouble must not end the watch over others
            _log.exception("watching over plugin processes failed")
