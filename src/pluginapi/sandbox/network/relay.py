"""Connections that are looked into: relayed between plugin and destination, name by name.

Only where an operator asks for it: what is relayed is copied twice more than what is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pluginapi.sandbox.network.client_hello import ClientHellos, HelloRefused

__all__ = ["Relay"]

_CONNECT_SECONDS: Final = 60.0
_HELLO_SECONDS: Final = 30.0
_CHUNK: Final = 1 << 16
# RFC 8446, section 6: a fatal alert, unrecognized_name.
_ALERT: Final = bytes([21, 3, 3, 0, 2, 2, 112])

_log = logging.getLogger("pluginapi.sandbox.network")


class Relay:
    """Relay connections, on one thread that starts with the first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._sockets: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(
        self,
        addresses: Sequence[tuple[str, int]],
        hellos: ClientHellos,
        *,
        connected: Callable[[socket.socket], bool],
        failed: Callable[[int], object],
        refused: Callable[[str], object],
    ) -> None:
        """Connect to the first of addresses that takes it, and relay what goes there and back.

        All three are called on the relay's thread.

        Args:
            addresses: Where to.
            hellos: Looks at what the plugin sends.
            connected: Takes the plugin's end, and says whether the plugin has got it.
            failed: Takes the errno value of the last address.
            refused: Takes why what the plugin sent may not go there.
        """
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="pluginapi-relay", daemon=True
                )
                self._thread.start()
            loop = self._loop

        def begin() -> None:
            task = loop.create_task(
                self._relay(list(addresses), hellos, connected, failed, refused)
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop.call_soon_threadsafe(begin)

    def close(self) -> None:
        """End all connections; idempotent."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return

        async def finish() -> None:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(finish(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def abandon(self) -> None:
        """Let go of them in a process that was forked from the host."""
        self._loop = None
        self._thread = None
        for each in tuple(self._sockets):
            each.close()

    @contextlib.contextmanager
    def _kept(self, made: socket.socket) -> Iterator[socket.socket]:
        self._sockets.add(made)
        try:
            yield made
        finally:
            self._sockets.discard(made)
            made.close()

    async def _relay(
        self,
        addresses: list[tuple[str, int]],
        hellos: ClientHellos,
        connected: Callable[[socket.socket], bool],
        failed: Callable[[int], object],
        refused: Callable[[str], object],
    ) -> None:
        try:
            outer = await self._reach(addresses)
        except OSError as err:
            failed(err.errno or 0)
            return
        except Exception:  # noqa: BLE001 - the plugin waits for its answer, and nobody for the task
            _log.exception("connecting for a relay failed")
            failed(0)
            return
        with self._kept(outer):
            try:
                theirs, inner = _pair()
            except OSError as err:
                failed(err.errno or 0)
                return
            with self._kept(inner):
                with theirs:
                    if not connected(theirs):
                        return
                try:
                    await self._exchange(inner, outer, hellos)
                except HelloRefused as err:
                    refused(str(err))
                    with contextlib.suppress(OSError):
                        inner.send(_ALERT)
                except (OSError, TimeoutError):
                    # As a connection that breaks: both ends learn of it.
                    for each in (inner, outer):
                        each.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                        )

    async def _reach(self, addresses: list[tuple[str, int]]) -> socket.socket:
        loop = asyncio.get_running_loop()
        last: OSError = OSError(0, "")
        for host, port in addresses:
            six = ipaddress.ip_address(host).version == 6  # noqa: PLR2004
            made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
            made.setblocking(False)
            try:
                await asyncio.wait_for(loop.sock_connect(made, (host, port)), _CONNECT_SECONDS)
            except TimeoutError:
                made.close()
                last = OSError(errno.ETIMEDOUT, "it took too long")
            except OSError as err:
                made.close()
                last = err
            except BaseException:
                made.close()
                raise
            else:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made
        raise last

    async def _exchange(
        self, inner: socket.socket, outer: socket.socket, hellos: ClientHellos
    ) -> None:
        loop = asyncio.get_running_loop()
        first = await asyncio.wait_for(loop.sock_recv(inner, _CHUNK), _HELLO_SECONDS)
        there = asyncio.ensure_future(self._send(inner, outer, hellos, first))
        back = asyncio.ensure_future(self._pump(outer, inner))
        try:
            await asyncio.gather(there, back)
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    @staticmethod
    async def _send(
        inner: socket.socket, outer: socket.socket, hellos: ClientHellos, data: bytes
    ) -> None:
        loop = asyncio.get_running_loop()
        while data:
            if passed := hellos.feed(data):
                await loop.sock_sendall(outer, passed)
            data = await loop.sock_recv(inner, _CHUNK)
        with contextlib.suppress(OSError):
            outer.shutdown(socket.SHUT_WR)

    @staticmethod
    async def _pump(source: socket.socket, to: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, _CHUNK):
            await loop.sock_sendall(to, data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)


def _pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a TCP connection on this host, neither of which waits.

    Raises:
        OSError: Somebody else connected in between, or there is no descriptor left.
    """
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        one = undo.enter_context(socket.create_connection(listener.getsockname()))
        other, peer = listener.accept()
        undo.enter_context(other)
        if peer != one.getsockname():
            raise OSError(errno.ECONNABORTED, "another process connected")
        for each in (one, other):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        undo.pop_all()
        listener.close()
    return one, other
