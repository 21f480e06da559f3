"""The other ends of channels: workers in threads of the test, and one that says what it likes."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.protocol import Metrics, Ready, Shutdown, Success
from pluginapi.ipc.serving import WorkerServer, served
from pluginapi.ipc.settings import ChannelSettings

HEADER = struct.Struct("<IBBHQ")
HELLO, REQUEST, RESPONSE, CALL, RESULT, ERROR, CANCEL, LOG = range(1, 9)
MAGIC = 0x31434150

encode = msgspec.msgpack.encode
decode = msgspec.msgpack.decode


def control(message: Any) -> Any:
    """Answer as a worker does that has nothing to load."""
    if isinstance(message, Shutdown):
        return Success()
    return Ready("plugin", "1.0") if hasattr(message, "push") else Metrics({"calls": 1})


class SocketStream:
    """A socket in the place of a named pipe: it shows what is not Windows' own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        return self._sock.recv(size)

    def write(self, data: bytes, /) -> None:
        """Write all of it."""
        self._sock.sendall(data)

    def cancel(self) -> None:
        """Wake whoever reads or writes."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        self._sock.close()


class Worker:
    """A worker in a thread: its channel, its server, and what it raised."""

    def __init__(
        self, sock: socket.socket, settings: ChannelSettings, *, stream: bool = False
    ) -> None:
        self.settings = settings
        self.stream = stream
        self.sock = sock
        self.channel: IpcChannel
        self.server: WorkerServer
        self.error: BaseException | None = None
        self.joined = threading.Event()
        self.handlers: dict[int, Any] = {}
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            if self.stream:
                self.channel = IpcChannel.over_stream(
                    SocketStream(self.sock), is_host=False, settings=self.settings
                )
            else:
                self.channel = IpcChannel.join(self.sock, settings=self.settings)
            self.server = WorkerServer(self.channel, control)
            for number, (function, options) in self.handlers.items():
                self.server.add(number, served(function, **options))
            self.joined.set()
            self.server.serve()
        except BaseException as err:  # noqa: BLE001 - the test looks at it
            self.error = err
        finally:
            self.joined.set()
            if hasattr(self, "channel"):
                self.channel.close()


@contextmanager
def connected(
    handlers: Mapping[int, Callable[[Any], Any] | tuple[Callable[[Any], Any], dict[str, Any]]],
    stream: bool = False,
    **settings: Any,
) -> Iterator[tuple[IpcChannel, Worker]]:
    """Return a host's end, and the worker in a thread of this process."""
    bounds = ChannelSettings(**settings)
    host, other = IpcChannel.pair()
    worker = Worker(other, bounds, stream=stream)
    for number, handler in handlers.items():
        worker.handlers[number] = handler if isinstance(handler, tuple) else (handler, {})
    worker.thread.start()
    if stream:
        channel = IpcChannel.over_stream(
            SocketStream(host), is_host=True, settings=bounds, plugin="acme.guard"
        )
    else:
        channel = IpcChannel.accept(host, settings=bounds, plugin="acme.guard")
    assert worker.joined.wait(10)
    try:
        yield channel, worker
    finally:
        channel.close()
        worker.thread.join(10)
        for end in (channel, worker.channel):
            if stream:
                end.core._reader.join(10)  # type: ignore[attr-defined]
        assert not worker.thread.is_alive()
        assert worker.error is None, worker.error


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def frame(
    kind: int, body: bytes = b"", *, flags: int = 0, hook: int = 0, call: int = 0, length: int = -1
) -> bytes:
    """Return a frame; `length` is what the header says, when that is not the truth."""
    return HEADER.pack(len(body) if length < 0 else length, kind, flags, hook, call) + body


def hello(magic: int = MAGIC, lowest: int = 1, highest: int = 1, features: int = 1) -> bytes:
    """Return a greeting."""
    return frame(HELLO, struct.pack("<IHHII", magic, lowest, highest, features, 0))


class Liar:
    """A worker that keeps to no rule: it greets, and then writes bytes where it likes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.memory: mmap.mmap | None = None
        self.memory_fd = -1
        self.capacity = 0
        self.head = 0
        self.tail = 0

    def join(self, features: int = 1) -> None:
        """Greet, and take what the welcome brings."""
        self.sock.sendall(hello(features=features))
        data, fds, _, _ = socket.recv_fds(self.sock, 64, 1)
        assert len(data) == 64
        _, _, _, shared, _, capacity, area, _, _ = struct.unpack("<IHHIIQQQQ", data[16:])
        if shared:
            self.memory_fd = fds[0]
            self.capacity = capacity
            self.memory = mmap.mmap(fds[0], 4096 + 2 * capacity + 2 * area)

    # The worker produces in ring 1 and consumes ring 0; indices of ring 1 stand at 256.
    def put(self, offset: int, data: bytes) -> None:
        """Write into the shared memory."""
        assert self.memory is not None
        self.memory[offset : offset + len(data)] = data

    def set_head(self, value: int) -> None:
        """Say how far this side has written."""
        self.put(256, struct.pack("<Q", value & (2**64 - 1)))

    def set_tail(self, value: int) -> None:
        """Say how far this side has read."""
        self.put(128, struct.pack("<Q", value & (2**64 - 1)))

    def ring(self) -> None:
        """Ring the bell; a host that saw the breach already has hung up."""
        with suppress(BrokenPipeError):
            self.sock.send(b"\1")

    def push(self, data: bytes, *, bell: bool = True) -> None:
        """Send a frame; with a bell, which an honest worker rings only for a host that sleeps."""
        if self.memory is None:
            self.sock.sendall(data)
            return
        start = 4096 + self.capacity + self.head % self.capacity
        self.put(start, data)
        self.head += -(-len(data) // 16) * 16
        self.set_head(self.head)
        if bell:
            self.ring()

    def push_all(self, frames: list[bytes]) -> None:
        """Send frames one after the other."""
        for each in frames:
            self.push(each)

    def push_wrapping(self, data: bytes, *, bell: bool = True) -> None:
        """Send a frame, going on at the start of the ring where it would not fit at its end."""
        if self.memory is not None and self.head % self.capacity + len(data) + 16 > self.capacity:
            rest = self.capacity - self.head % self.capacity
            self.put(
                4096 + self.capacity + self.head % self.capacity,
                HEADER.pack(2**32 - 1, 0, 0, 0, 0),
            )
            self.head += rest
        self.push(data, bell=bell)

    def next_frame(self, timeout: float = 5.0) -> tuple[int, int, int, int, bytes]:
        """Wait for a frame of the host: kind, flags, hook, call, body."""
        if self.memory is None:
            self.sock.settimeout(timeout)
            header = self.sock.recv(16, socket.MSG_WAITALL)
            length, kind, flags, hook, call = HEADER.unpack(header)
            body = self.sock.recv(length, socket.MSG_WAITALL) if length else b""
            return kind, flags, hook, call, body
        until = time.monotonic() + timeout
        while struct.unpack("<Q", self.memory[0:8])[0] == self.tail:
            assert time.monotonic() < until, "the host sent nothing"
            time.sleep(0.001)
        start = 4096 + self.tail % self.capacity
        length, kind, flags, hook, call = HEADER.unpack(self.memory[start : start + 16])
        if length == 2**32 - 1:  # padding up to the end
            self.tail += self.capacity - self.tail % self.capacity
            start = 4096
            length, kind, flags, hook, call = HEADER.unpack(self.memory[start : start + 16])
        body = self.memory[start + 16 : start + 16 + length]
        self.tail += -(-(16 + length) // 16) * 16
        self.set_tail(self.tail)
        return kind, flags, hook, call, body

    def close(self) -> None:
        """Go away."""
        self.sock.close()
        if self.memory is not None:
            self.memory.close()
            os.close(self.memory_fd)


@contextmanager
def lied_to(*, shared: bool = True, **settings: Any) -> Iterator[tuple[IpcChannel, Liar]]:
    """Return a host's end, and a liar at the other one."""
    host, other = IpcChannel.pair()
    liar = Liar(other)
    thread = threading.Thread(target=liar.join)
    thread.start()
    channel = IpcChannel.accept(
        host, settings=ChannelSettings(shared=shared, **settings), plugin="acme.liar"
    )
    thread.join()
    try:
        yield channel, liar
    finally:
        channel.close()
        liar.close()
