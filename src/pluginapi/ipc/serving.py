"""The worker's end of a channel: run handlers for the host, sync and async ones."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from pluginapi._native import _channel
from pluginapi.errors import (
    HookError,
    HookTypeError,
    IpcClosed,
    IpcError,
    IpcProtocolError,
    PluginError,
)
from pluginapi.hooks.results import StopChain
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.failures import describe_error
from pluginapi.ipc.protocol import (
    Error,
    HostRequest,
    Ping,
    Shutdown,
    Success,
    decode,
    encode,
)

__all__ = ["ContextSink", "ControlHandler", "WorkerServer", "served"]

ControlHandler: TypeAlias = Callable[[Any], Any]
"""Called with `Initialize`, `GetMetrics` or `Shutdown`; returns the answer, or an awaitable."""

_MAX_REENTRY: Final = 16
_encode: Final = msgspec.msgpack.Encoder().encode


class ContextSink(Protocol):
    """What a worker does with the context that comes with a call."""

    def begin(self, pushed: bytes | None, /) -> object:
        """Take the pushed values of a call, msgpack or None; returns what `end` is given."""

    def end(self, token: object, /) -> bytes | None:
        """Return what the handler of this call changed, an encoded `ContextWrites`, or None."""


def is_async(function: Callable[[Any], Any]) -> bool:
    """Tell whether a handler is a coroutine function, or an object whose call is one."""
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


def served(
    function: Callable[[Any], Any],
    *,
    input_type: Any = Any,
    hook: str = "",
    context: ContextSink | None = None,
) -> _channel.Served:
    """Describe one handler of the plugin.

    Args:
        function: Takes the value; returns the result, None to leave the value as it is, a
            `StopChain`, or an awaitable of one of these.
        input_type: What the payload is decoded into.
        hook: Name of the hook, for messages.
        context: Takes the context that comes with a call and tells what the handler changed; None
            for a plugin without context.
    """
    return _channel.Served(
        function,
        msgspec.msgpack.Decoder(input_type).decode,
        _encode,
        finish=_finish,
        context=context,
        special=StopChain,
        is_async=is_async(function),
        hook=hook,
    )


class WorkerServer:
    """Serve a host over a channel until it says `Shutdown` or is gone.

    `serve` blocks; handlers run one after the other on its thread. As soon as one of them is
    async, an event loop runs on that thread and async handlers run at the same time, each as a
    task. A handler may call the host: `IpcChannel.request` from a sync one, ``request_async`` from
    an async one; while it waits, calls that the host makes in the course of that request are
    served.

    Args:
        channel: The worker's end, from `IpcChannel.join`.
        control: Serves `Initialize`, `GetMetrics` and `Shutdown`.
    """

    def __init__(self, channel: IpcChannel, control: ControlHandler) -> None:
        self.channel = channel
        self.handlers: dict[int, _channel.Served] = {}
        self._core = channel.core
        self._control = control
        self._first: _channel.Request | None = None
        self._stopping = False
        self._depth = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._done: asyncio.Event | None = None
        channel.route(nested=self._reentered, cancel=self._cancel)
        channel.on_end(self._ended)

    def add(self, id_: int, served: _channel.Served) -> None:
        """Serve calls with this id; ids are reported to the host with `Ready`."""
        self.handlers[id_] = served

    # ---- The two loops ----

    def serve(self, first: _channel.Request | None = None) -> None:
        """Serve until the host says `Shutdown`, or is gone; `first` was received already."""
        try:
            if first is not None and self._other(first):
                return
            self._core.serve(self.handlers, self._other, self._unusual)
        except IpcClosed:
            return
        if self._first is not None:
            asyncio.run(self.serve_async(self._first))

    def dispatch(self, request: _channel.Request) -> bool:
        """Serve a request that was received otherwise; tell whether the host said `Shutdown`."""
        self._dispatch(request)
        return self._stopping

    def _other(self, request: _channel.Request) -> bool:
        """Serve what is no call of a sync handler; tell whether the blocking loop ends."""
        if request.kind == _channel.CALL and request.hook in self.handlers:
            self._first = request
            return True
        self._dispatch(request)
        return self._stopping

    async def serve_async(self, first: _channel.Request | None = None) -> None:
        """Do as `serve`, from a running event loop; `first` is a request received already."""
        self._done = asyncio.Event()
        self.channel.route(request=self._arrived, nested=self._reentered, cancel=self._cancel)
        self._core.attach(asyncio.get_running_loop())
        if first is not None:
            self._arrived(first)
        while (request := self._core.poll()) is not None:
            self._arrived(request)
        if not self._stopping and not self.channel.closed:
            await self._done.wait()
        for task in tuple(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._core.detach()

    def _arrived(self, request: _channel.Request) -> None:
        """Serve a request on the event loop."""
        served = self.handlers.get(request.hook) if request.kind == _channel.CALL else None
        if served is None:
            self._dispatch(request)
        elif request.cancelled:
            # It came with its cancellation: nobody waits for what the handler would return.
            self._cancelled(request)
        elif not served.is_async:
            self._core.run_handler(request, served, self._unusual)
        else:
            self._start(request, self._run_async(request, served))

    def _start(self, request: _channel.Request, running: Any) -> None:
        task = asyncio.get_running_loop().create_task(running)
        self._tasks[request.call] = task

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.pop(request.call, None)
            if task.cancelled():
                # Before its first step: then nothing in it has answered.
                self._cancelled(request)

        task.add_done_callback(done)

    def _cancelled(self, request: _channel.Request) -> None:
        error = Error("ipc.closed", "the call was cancelled")
        self._core.answer(request, _channel.ERROR, encode(error))

    def _ended(self, _reason: PluginError) -> None:
        if self._done is not None:
            self._done.set()

    def _cancel(self, request: _channel.Request) -> None:
        task = self._tasks.get(request.call)
        if task is not None:
            task.cancel()

    # ---- One request ----

    def _reentered(self, request: _channel.Request) -> None:
        """Serve a request that the host makes while a handler waits for the host."""
        served = self.handlers.get(request.hook) if request.kind == _channel.CALL else None
        if self._depth >= _MAX_REENTRY:
            error = Error(
                "ipc.unsupported",
                f"calls between host and plugin are nested more than {_MAX_REENTRY} deep",
            )
            self._core.answer(request, _channel.ERROR, encode(error))
            return
        self._depth += 1
        try:
            if served is None:
                self._dispatch(request)
            else:
                self._core.run_handler(request, served, self._unusual)
        finally:
            self._depth -= 1

    def _unusual(
        self,
        request: _channel.Request,
        served: _channel.Served,
        outcome: Any,
        writes: bytes | None,
    ) -> None:
        """Answer a call with what is no plain value."""
        if isinstance(outcome, Exception):
            self._failed(request, served, outcome)
            return
        try:
            self._respond(request, served, outcome, writes)
        except Exception as err:  # noqa: BLE001 - the host is told
            self._failed(request, served, err)

    async def _run_async(self, request: _channel.Request, served: _channel.Served) -> None:
        # A task has a context of its own: nothing has to be reset.
        _channel.enter(self._core, request)
        context = served.context
        try:
            value = served.decode(request.payload)
            state = None if context is None else context.begin(request.context)
            try:
                result = served.function(value)
                if inspect.isawaitable(result):
                    result = await result
            finally:
                writes = None if context is None else context.end(state)
            self._respond(request, served, result, writes)
        except asyncio.CancelledError:
            self._cancelled(request)
        except Exception as err:  # noqa: BLE001 - the host is told
            self._failed(request, served, err)

    def _respond(
        self,
        request: _channel.Request,
        served: _channel.Served,
        result: Any,
        writes: bytes | None,
    ) -> None:
        flags = 0
        if result is None:
            payload, flags = b"", _channel.UNCHANGED
        elif type(result) is StopChain:
            payload, flags = served.encode(result.value), _channel.STOP
        else:
            payload = served.encode(result)
        self._core.answer(request, _channel.RESULT, payload, flags, writes)

    def _failed(self, request: _channel.Request, served: _channel.Served, err: Exception) -> None:
        if isinstance(err, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
            err = HookTypeError(
                f"the value of hook {served.hook} does not fit the handler: {err}",
                hook=served.hook,
            )
        try:
            self._core.answer(request, _channel.ERROR, encode(describe_error(err)))
        except (ValueError, IpcError):
            # It was answered, or the error is larger than the channel carries.
            self._core.answer(request, _channel.ERROR, encode(Error("hook.failed", "")))

    def _dispatch(self, request: _channel.Request) -> None:
        """Serve what is no call of a known handler."""
        if request.kind == _channel.CALL:
            error = Error("hook.unknown", f"the plugin has no handler {request.hook}")
            self._core.answer(request, _channel.ERROR, encode(error))
            return
        try:
            message: Any = decode(request.payload, HostRequest)
            if isinstance(message, Ping):
                self._core.answer(request, _channel.RESPONSE, encode(Success()))
                return
            answer = self._control(message)
            if inspect.isawaitable(answer):
                if self._done is not None:
                    self._start(request, self._answer_later(request, message, answer))
                    return
                answer = asyncio.run(_wait(answer))
            self._core.answer(request, _channel.RESPONSE, encode(answer))
        except IpcProtocolError as err:
            self._core.answer(request, _channel.ERROR, encode(describe_error(err)))
        except Exception as err:  # noqa: BLE001 - the host is told
            self._core.answer(request, _channel.ERROR, encode(describe_error(err)))
            return
        if isinstance(message, Shutdown):
            self._stop()

    async def _answer_later(self, request: _channel.Request, message: Any, answer: Any) -> None:
        try:
            self._core.answer(request, _channel.RESPONSE, encode(await answer))
        except Exception as err:  # noqa: BLE001 - the host is told
            self._core.answer(request, _channel.ERROR, encode(describe_error(err)))
            return
        if isinstance(message, Shutdown):
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        if self._done is not None:
            self._done.set()


async def _wait(awaitable: Any) -> Any:
    """Make a coroutine of anything that can be awaited."""
    return await awaitable


def _finish(awaitable: Any) -> Any:
    """Finish an awaitable that a handler returned where no event loop runs for it."""
    steps = _wait(awaitable)
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    steps.close()
    raise HookError(
        "a handler that is not marked async waits for something",
        code="hook.suspended",
        hint="write it as: async def",
    )
