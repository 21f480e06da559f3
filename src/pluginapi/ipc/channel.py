"""Calls over a channel: the host's and the worker's end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any, Final, Self, TypeAlias, TypeVar, cast

from pluginapi._native import _channel
from pluginapi.errors import IpcError, IpcProtocolError, PluginError, PluginTimeout
from pluginapi.ipc.failures import Failures, remote_error
from pluginapi.ipc.handshake import greeted, welcome
from pluginapi.ipc.peer import make_pair
from pluginapi.ipc.protocol import Error, HostRequest, Log, PluginRequest, decode, encode
from pluginapi.ipc.requests import LogGate, RequestHandler, RequestServer
from pluginapi.ipc.settings import DEFAULT_CHANNEL_SETTINGS, ChannelSettings
from pluginapi.ipc.stream_core import ByteStream, StreamCore

__all__ = ["IpcChannel", "Reply", "RequestHandler", "nanoseconds"]

_NANOSECONDS: Final = 1_000_000_000

_T = TypeVar("_T")
Reply: TypeAlias = tuple[int, int, bytes | None, Any]
"""Kind, flags, context and payload of an answer."""

_log = logging.getLogger("pluginapi.ipc")


class IpcChannel:
    """Call a plugin process, and serve what it asks, over one connection.

    `pair` and `accept` make the host's end, `join` the worker's. Calls may be made from any number
    of threads and, at the same time, from one event loop (asyncio or uvloop); none of them waits
    for another. A call may be made in the course of a request of the peer, to any depth.

    Whoever waits also receives. While nobody waits, requests and log lines of the peer are handed
    out by the attached event loop, or by `poll`.

    Everything that arrives is hostile: it is copied, bounded and checked before it is decoded, and
    the first breach of the protocol ends the channel. All waiting calls then end with the reason.

    Attributes:
        plugin: Name of the plugin, for messages.
        settings: The bounds.
        core: The native channel, for the parts of this library that serve calls.
    """

    def __init__(self, settings: ChannelSettings, *, plugin: str | None, is_host: bool) -> None:
        self.plugin = plugin
        self.settings = settings
        self.core: _channel.Channel
        self._is_host = is_host
        self._failures = Failures(plugin, settings)
        self._logs = LogGate(settings.logs_per_second)
        self._requests: RequestServer | None = None
        self._end_sink: Callable[[PluginError], object] | None = None

    def _use(self, core: _channel.Channel) -> None:
        self.core = core
        if self._is_host:
            self._requests = RequestServer(core, self.breach)
            serve = self._requests.serve
            self.route(request=serve, nested=serve, cancel=self._requests.cancel)
        else:
            self.route()

    # ---- Making one ----

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Return the two ends of a new connection: for `accept` here, and for the worker."""
        return make_pair()

    @classmethod
    def accept(
        cls,
        sock: socket.socket,
        *,
        pidfd: int | None = None,
        uid: int | None = None,
        settings: ChannelSettings = DEFAULT_CHANNEL_SETTINGS,
        plugin: str | None = None,
        timeout: float = 10.0,
    ) -> Self:
        """Wait for a worker's greeting, check who it is, and return the host's end.

        Blocks; call it in a thread where an event loop runs. The socket is owned by the channel
        from now on, also when this fails.

        Args:
            sock: The host's end of `pair`, or an accepted connection.
            pidfd: The worker's process, where this process started it (Linux): the greeting must
                come from it.
            uid: User that the worker must run as; without both, that of this process.
            settings: The bounds.
            plugin: Name of the plugin, for messages.
            timeout: Seconds until the greeting must have come.

        Raises:
            IpcProtocolError: When the peer is another process or user (``ipc.identity``), speaks
                another version (``ipc.version``) or something else (``ipc.protocol``).
            PluginTimeout: With code ``ipc.handshake_timeout``.
            IpcClosed: When the worker ended first.
        """
        channel = cls(settings, plugin=plugin, is_host=True)
        try:
            sock.settimeout(timeout)
            memory = welcome(sock, greeted(sock, pidfd, uid), settings)
            try:
                os.set_blocking(sock.fileno(), True)
                core = _channel.Channel(
                    sock.fileno(),
                    memory.fd,
                    is_host=True,
                    max_len=settings.max_message_bytes,
                    spin_ns=memory.spin_ns,
                    capacity=memory.capacity,
                    area_capacity=memory.area_capacity,
                    **channel._core_options(),
                )
                sock.detach()
            finally:
                if memory.fd >= 0:
                    os.close(memory.fd)
        except PluginError as err:
            err.plugin = err.plugin or plugin
            raise
        except OSError as err:
            raise IpcError(
                f"the handshake with the worker failed: {err}",
                plugin=plugin,
                hint="see the worker's log",
            ) from err
        finally:
            sock.close()
        channel._use(core)
        return channel

    @classmethod
    def join(
        cls,
        sock: socket.socket,
        *,
        settings: ChannelSettings = DEFAULT_CHANNEL_SETTINGS,
        timeout: float = 10.0,
    ) -> Self:
        """Greet the host and return the worker's end; the host decides size and kind of it.

        Blocks. The socket is owned by the channel from now on, also when this fails.

        Raises:
            IpcClosed: When the host refused this worker: its log says why.
            PluginTimeout: With code ``ipc.handshake_timeout``.
        """
        channel = cls(settings, plugin=None, is_host=False)
        sock.setblocking(True)
        try:
            core = _channel.Channel.join(
                sock.fileno(),
                rings=settings.shared,
                timeout_ns=nanoseconds(timeout),
                **channel._core_options(),
            )
        except PluginTimeout as err:
            raise PluginTimeout(
                "the host did not answer the greeting in time",
                code="ipc.handshake_timeout",
                hint="see the host's log",
            ) from err
        else:
            sock.detach()
        finally:
            sock.close()
        channel._use(core)
        return channel

    @classmethod
    def over_stream(
        cls,
        stream: ByteStream,
        *,
        is_host: bool,
        settings: ChannelSettings = DEFAULT_CHANNEL_SETTINGS,
        plugin: str | None = None,
    ) -> Self:
        """Return an end over a stream whose other end has been checked: for named pipes.

        There is no greeting and no shared memory. The stream is owned by the channel.
        """
        channel = cls(settings, plugin=plugin, is_host=is_host)
        options = channel._core_options()
        core = StreamCore(stream, is_host=is_host, max_len=settings.max_message_bytes, **options)
        channel._use(cast("_channel.Channel", core))
        return channel

    def _core_options(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "explain": self._failures.explain,
            "in_flight": settings.in_flight,
            "queued": settings.queued,
            # A host may have as many calls in flight as its own settings say: the worker's bound
            # only keeps a broken host from filling it.
            "requests": settings.requests if self._is_host else 1 << 20,
            "scan": settings.scan,
        }

    def route(
        self,
        *,
        request: Callable[[_channel.Request], object] | None = None,
        nested: Callable[[_channel.Request], object] | None = None,
        cancel: Callable[[_channel.Request], object] | None = None,
    ) -> None:
        """Set who serves the peer's requests undecoded, instead of this object: for workers.

        Args:
            request: Takes those that belong to no call; without it `core.receive` returns them.
            nested: Takes those made in the course of a call, on the thread that waits for it.
            cancel: Takes those that the peer gave up on.
        """
        self.core.set_handlers(
            request=request, nested=nested, cancel=cancel, log=self._logs.take, end=self._ended
        )

    def on_request(self, handler: RequestHandler) -> None:
        """Set what serves the plugin's requests; without one they are refused.

        It runs on the thread that waits for the call in whose course the plugin asks, or else on
        the event loop, or on any thread that waits.
        """
        if self._requests is None:
            raise IpcError(
                "this is the worker's end: requests of the host are served by a WorkerServer",
                code="ipc.unsupported",
                hint="use pluginapi.ipc.serving",
            )
        self._requests.handler = handler

    def on_log(self, sink: Callable[[Log], object] | None) -> None:
        """Set what takes the plugin's log lines; it must return at once."""
        self._logs.sink = sink

    def on_deadline(self, sink: Callable[[], object] | None) -> None:
        """Set what is told, on any thread, that a call was not answered in time."""
        self._failures.on_deadline = sink

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let this event loop hand out requests and log lines; called on the loop's thread."""
        self._attach(loop)

    def on_end(self, sink: Callable[[PluginError], object] | None) -> None:
        """Set what is told, once and on any thread, why the channel ended."""
        self._end_sink = sink

    # ---- Calls ----

    def call(
        self,
        hook: int,
        payload: Any,
        *,
        context: bytes | None = None,
        timeout: float | None = None,
        scope: object = None,
    ) -> Reply:
        """Run a handler of the peer on a msgpack payload and wait for the reply.

        Args:
            hook: Id of the handler.
            payload: Bytes, or anything with the buffer protocol.
            context: Pushed context, msgpack.
            timeout: Seconds; the peer is told, and the call is cancelled when they are over.
            scope: Given to the request handler with requests made in the course of this call.

        Raises:
            HookError: When the handler failed; the message is the plugin's.
            PluginTimeout: With code ``ipc.deadline``.
            IpcClosed: When the channel has ended.
            IpcProtocolError: When the peer broke the protocol.
            IpcError: When it is too large (``ipc.too_large``) or too many calls wait
                (``ipc.busy``).
        """
        timeout_ns = 0 if timeout is None else nanoseconds(timeout)
        reply: Reply = self.core.call(_channel.CALL, hook, payload, context, timeout_ns, scope)
        if reply[0] == _channel.ERROR:
            raise self.remote(reply[3])
        return reply

    async def call_async(
        self,
        hook: int,
        payload: Any,
        *,
        context: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the peer is told it
        scope: object = None,
    ) -> Reply:
        """Do as `call`, from the running event loop; cancelling it cancels the call."""
        loop = asyncio.get_running_loop()
        timeout_ns = 0 if timeout is None else nanoseconds(timeout)
        started = self.start(hook, payload, context, timeout_ns, loop, scope=scope)
        reply = started if len(started) == 4 else await self.pending(*started)  # noqa: PLR2004
        if reply[0] == _channel.ERROR:
            raise self.remote(reply[3])
        return reply

    def start(
        self,
        hook: int,
        payload: Any,
        context: bytes | None,
        timeout_ns: int,
        loop: asyncio.AbstractEventLoop,
        *,
        scope: object = None,
    ) -> Any:
        """Begin a call from the running loop: returns its reply, or what `pending` awaits."""
        if self.core.attached is not loop:
            self._attach(loop)
        return self.core.start(_channel.CALL, hook, payload, context, timeout_ns, scope)

    def request(
        self,
        message: HostRequest | PluginRequest,
        answer: type[_T],
        *,
        timeout: float | None = None,
        scope: object = None,
    ) -> _T:
        """Send a control request and wait for an answer of this type.

        Raises:
            PluginError: What the other side reported, as an error of this library.
            IpcProtocolError: When the answer is of another type. Otherwise as `call`.
        """
        timeout_ns = 0 if timeout is None else nanoseconds(timeout)
        payload = encode(message)
        reply = self.core.call(_channel.REQUEST, 0, payload, None, timeout_ns, scope)
        return self._answer(reply, answer)

    async def request_async(
        self,
        message: HostRequest | PluginRequest,
        answer: type[_T],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the peer is told it
        scope: object = None,
    ) -> _T:
        """Do as `request`, from the running event loop."""
        loop = asyncio.get_running_loop()
        self._attach(loop)
        timeout_ns = 0 if timeout is None else nanoseconds(timeout)
        payload = encode(message)
        started = self.core.start(_channel.REQUEST, 0, payload, None, timeout_ns, scope)
        reply = started if len(started) == 4 else await self.pending(*started)  # noqa: PLR2004
        return self._answer(reply, answer)

    def _answer(self, reply: Reply, answer: type[_T]) -> _T:
        if reply[0] == _channel.ERROR:
            raise self.remote(reply[3])
        try:
            return decode(reply[3], answer)
        except IpcProtocolError as err:
            raise self.breach(err) from err

    def remote(self, payload: Any) -> PluginError:
        """Return what the peer reported with an error frame."""
        try:
            error: Error = decode(payload, Error)
        except IpcProtocolError as err:
            return self.breach(err)
        return remote_error(error, self.plugin)

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        attached = self.core.attached
        if attached is loop:
            return
        if attached is not None:
            if not attached.is_closed():
                raise IpcError(
                    "the channel belongs to another event loop, which is not closed",
                    code="ipc.loop",
                    plugin=self.plugin,
                    hint="await calls on one event loop, or use the blocking ones in threads",
                )
            self.core.detach()
        self.core.attach(loop)

    async def pending(self, future: asyncio.Future[Reply], call: int) -> Reply:
        """Await the reply of a call that `start` began; cancelling it cancels the call."""
        try:
            return await future
        except asyncio.CancelledError:
            self.core.give_up(call)
            raise

    def log(self, line: Log) -> bool:
        """Send a log line; False when it was dropped for want of room or the channel has ended."""
        return self.core.log(encode(line))

    def poll(self) -> None:
        """Hand out what has arrived, without waiting: for hosts without an event loop."""
        self.core.poll()

    # ---- The end ----

    def close(self, reason: PluginError | None = None) -> None:
        """End the channel; idempotent. Waiting calls end with the reason."""
        self._failures.reason = self._failures.reason or reason
        self.core.end(_channel.ENDED)

    def breach(self, err: PluginError) -> PluginError:
        """End the channel because the peer broke the protocol; returns the error to raise."""
        err.plugin = err.plugin or self.plugin
        self.close(err)
        return err

    def _ended(self, status: int, errno: int) -> None:
        if self._requests is not None:
            self._requests.close()
        if self._end_sink is not None:
            try:
                self._end_sink(self._failures.explain(status, errno))
            except Exception:  # noqa: BLE001 - nobody above asked for this
                _log.exception("the end of the channel to %s was not taken", self.plugin)

    @property
    def closed(self) -> bool:
        """Whether the channel has ended."""
        return self.core.end_status != 0

    @property
    def reason(self) -> PluginError | None:
        """Why the channel ended, or None while it is open."""
        status = self.core.end_status
        return self._failures.explain(status, self.core.end_errno) if status else None

    def fileno(self) -> int:
        """Return the socket: readable when there may be something to `poll`; -1 once closed."""
        return self.core.fd

    def stats(self) -> dict[str, int]:
        """Return counts of frames, of sleeps, and of spins that paid or not."""
        core = self.core
        return {
            **core.stats,
            "pending": core.pending,
            "abandoned": core.abandoned,
            "serving": core.serving,
            "dropped_logs": self._logs.dropped,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        side = "host" if self._is_host else "worker"
        state = "closed" if self.closed else "rings" if self.core.shared else "socket"
        return f"<IpcChannel of {self.plugin or 'a plugin'}, {side}'s end, {state}>"


def nanoseconds(seconds: float) -> int:
    """Return a time limit in nanoseconds, at least one: 0 would mean none."""
    return max(1, round(seconds * _NANOSECONDS))
