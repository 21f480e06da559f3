"""Named pipes of Windows behind the interface of a channel.

The pipe has a random name, which is no secret: creating it first, its access list and the process
ids at both ends are what protects it. The native part, `src/_native/windows/named_pipe.c`, is bound
with cffi. It compiles against the Windows API; it has not been run on Windows yet.
"""

from __future__ import annotations

import secrets
import sys
from typing import Any, Final, Self

from pluginapi.errors import IpcError, IpcProtocolError, PluginTimeout, UnsupportedPlatform
from pluginapi.ipc.channel import IpcChannel, nanoseconds
from pluginapi.ipc.settings import DEFAULT_CHANNEL_SETTINGS, ChannelSettings

__all__ = ["PipeListener", "PipeStream", "connect"]

_INFINITE: Final = 0xFFFFFFFF
_BUFFER_BYTES: Final = 1 << 16
_DONE, _TIMED_OUT, _GONE = 0, 1, 2


if sys.platform == "win32":

    def _library() -> Any:
        """Return the cffi module."""
        from pluginapi._native import _named_pipe  # noqa: PLC0415 - not built elsewhere

        return _named_pipe

else:

    def _library() -> Any:
        """Refuse: there are no such pipes here."""
        raise UnsupportedPlatform(
            "named pipes of this kind exist on Windows only",
            hint="use IpcChannel.pair(), or IpcListener for workers that others start",
        )


class PipeStream:
    """A connected named pipe as a `pluginapi.ipc.stream_core.ByteStream`."""

    def __init__(self, library: Any, pipe: Any) -> None:
        self._library = library
        self._pipe = pipe
        self._done = library.ffi.new("unsigned long[2]")
        self._errors = library.ffi.new("unsigned long[2]")

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" when the other end is gone."""
        data = self._library.ffi.new("char[]", size)
        result = self._library.lib.pa_pipe_read(
            self._pipe, data, size, _INFINITE, self._done, self._errors
        )
        if result == _GONE:
            return b""
        if result != _DONE:
            raise OSError(None, "reading from the pipe failed", None, int(self._errors[0]))
        return bytes(self._library.ffi.buffer(data, self._done[0]))

    def write(self, data: bytes, /) -> None:
        """Write all of it."""
        source = self._library.ffi.from_buffer(data)
        done, error = self._done + 1, self._errors + 1
        offset = 0
        while offset < len(data):
            result = self._library.lib.pa_pipe_write(
                self._pipe, source + offset, len(data) - offset, _INFINITE, done, error
            )
            if result != _DONE:
                raise BrokenPipeError(None, "writing to the pipe failed", None, int(error[0]))
            offset += int(done[0])

    def cancel(self) -> None:
        """Wake whoever reads or writes, for ever."""
        self._library.lib.pa_pipe_cancel(self._pipe)

    def close(self) -> None:
        """Release the pipe."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._library.lib.pa_pipe_close(pipe)


class PipeListener:
    """Make a pipe for one worker, which is told its name.

    Attributes:
        name: Of the pipe, for the worker.

    Raises:
        UnsupportedPlatform: Elsewhere than on Windows.
        IpcError: When the pipe cannot be made, or its name is taken.
    """

    def __init__(self) -> None:
        self._library = _library()
        self.name = rf"\\.\pipe\pluginapi-{secrets.token_hex(16)}"
        pipe = self._library.ffi.new("pa_pipe **")
        error = self._library.ffi.new("unsigned long *")
        if self._library.lib.pa_pipe_listen(self.name, _BUFFER_BYTES, pipe, error) != _DONE:
            raise IpcError(
                f"the pipe {self.name} was not made: Windows error {error[0]}",
                code="ipc.address",
                hint="another process may have taken the name: try again",
            )
        self._stream: PipeStream | None = PipeStream(self._library, pipe[0])
        self._pipe = pipe[0]

    def accept(
        self,
        pid: int,
        *,
        settings: ChannelSettings = DEFAULT_CHANNEL_SETTINGS,
        plugin: str | None = None,
        timeout: float = 10.0,
    ) -> IpcChannel:
        """Wait for the worker, check that it is this process, and return the host's end.

        Raises:
            PluginTimeout: With code ``ipc.handshake_timeout``.
            IpcProtocolError: With code ``ipc.identity`` when another process connected.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            raise IpcError("the pipe has been used", plugin=plugin, hint="make another listener")
        client = self._library.ffi.new("unsigned long *")
        error = self._library.ffi.new("unsigned long *")
        milliseconds = min(nanoseconds(timeout) // 1_000_000 + 1, _INFINITE - 1)
        result = self._library.lib.pa_pipe_accept(self._pipe, milliseconds, client, error)
        if result == _DONE and client[0] == pid:
            return IpcChannel.over_stream(stream, is_host=True, settings=settings, plugin=plugin)
        stream.close()
        if result == _TIMED_OUT:
            raise PluginTimeout(
                "the worker did not connect in time",
                code="ipc.handshake_timeout",
                plugin=plugin,
                hint="see the worker's log",
            )
        if result == _DONE:
            raise IpcProtocolError(
                f"process {client[0]} connected to the pipe, not the worker, process {pid}",
                code="ipc.identity",
                plugin=plugin,
                hint="another process knows the name of the pipe: find out which",
            )
        raise IpcError(f"waiting on the pipe failed: Windows error {error[0]}", plugin=plugin)

    def close(self) -> None:
        """Give the pipe up; idempotent, and nothing after `accept`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    name: str, host_pid: int, *, settings: ChannelSettings = DEFAULT_CHANNEL_SETTINGS
) -> IpcChannel:
    """Connect to a host's pipe, check that the host made it, and return the worker's end.

    Raises:
        UnsupportedPlatform: Elsewhere than on Windows.
        IpcError: When the pipe is not there, or another process made it.
    """
    library = _library()
    pipe = library.ffi.new("pa_pipe **")
    error = library.ffi.new("unsigned long *")
    if library.lib.pa_pipe_connect(name, host_pid, pipe, error) != _DONE:
        raise IpcError(
            f"no connection to the pipe {name}: Windows error {error[0]}",
            code="ipc.address",
            hint="the host that started this worker must be running",
        )
    return IpcChannel.over_stream(
        PipeStream(library, pipe[0]), is_host=False, settings=settings, plugin=None
    )
