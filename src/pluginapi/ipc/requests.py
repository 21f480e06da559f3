"""What the host does with requests and log lines of a plugin."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Never, TypeAlias

import msgspec

from pluginapi._native import _channel
from pluginapi.errors import IpcError, IpcProtocolError, PluginError
from pluginapi.ipc.failures import describe_error
from pluginapi.ipc.protocol import Log, Ping, PluginRequest, Success, decode, encode

__all__ = ["LogGate", "RequestHandler", "RequestServer"]

RequestHandler: TypeAlias = Callable[[Any, Any], Any]
"""Called with a decoded request and the ``scope`` of the call in whose course it was made; returns
a message of `pluginapi.ipc.protocol`, or an awaitable of one."""

_log = logging.getLogger("pluginapi.ipc")


class RequestServer:
    """Serve the requests of one plugin.

    Args:
        core: The native channel.
        breach: Ends the channel because of an error that it is given.
    """

    def __init__(
        self, core: _channel.Channel, breach: Callable[[IpcProtocolError], object]
    ) -> None:
        self.handler: RequestHandler = _refuse
        self._core = core
        self._breach = breach
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def serve(self, request: _channel.Request) -> None:
        """Answer one request, now or when an awaitable is done. Raises no `Exception`."""
        if request.kind != _channel.REQUEST:
            self._breach(
                IpcProtocolError(
                    "the plugin called a hook of the host",
                    hint="plugins ask with requests: report this to the plugin's author",
                )
            )
            return
        try:
            message: PluginRequest = decode(request.payload, PluginRequest)
        except IpcProtocolError as err:
            self._breach(err)
            return
        token = _channel.enter(self._core, request)
        try:
            if isinstance(message, Ping):
                answer: Any = Success()
            else:
                answer = self.handler(message, request.scope)
            if inspect.isawaitable(answer):
                self._serve_later(request, answer)
            else:
                self._core.answer(request, _channel.RESPONSE, encode(answer))
        except Exception as err:  # noqa: BLE001 - the plugin is told
            self.answer_error(request, err)
        finally:
            _channel.leave(token)

    def answer_error(self, request: _channel.Request, err: BaseException) -> None:
        """Answer a request with what went wrong, but not with where: that is the host's affair.

        Of an error that is none of this library the plugin learns nothing; the log has it.
        """
        if not isinstance(err, PluginError):
            _log.error("a request of a plugin could not be served", exc_info=err)
            err = IpcError(
                "the host could not serve the request",
                hint="the log of the host says why",
            )
        told = msgspec.structs.replace(describe_error(err), traceback="")
        self._core.answer(request, _channel.ERROR, encode(told))

    def cancel(self, request: _channel.Request) -> None:
        """Cancel what serves a request; called on any thread."""
        task = self._tasks.get(request.call)
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Cancel whatever is being served; called on any thread."""
        for task in tuple(self._tasks.values()):
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

    def _serve_later(self, request: _channel.Request, answer: Awaitable[Any]) -> None:
        """Finish an awaitable on the attached event loop, or without one on this thread."""
        loop = self._core.attached
        if loop is None or loop.is_closed():
            asyncio.run(self._finish(request, answer))
            return

        def begin() -> None:
            task = loop.create_task(self._finish(request, answer))
            self._tasks[request.call] = task
            task.add_done_callback(lambda _: self._tasks.pop(request.call, None))

        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - None instead of an exception
            begin()
        else:
            loop.call_soon_threadsafe(begin)

    async def _finish(self, request: _channel.Request, answer: Awaitable[Any]) -> None:
        try:
            self._core.answer(request, _channel.RESPONSE, encode(await answer))
        except asyncio.CancelledError:
            self.answer_error(request, IpcError("the request was cancelled", code="ipc.closed"))
            raise
        except Exception as err:  # noqa: BLE001 - the plugin is told
            self.answer_error(request, err)


def _refuse(message: PluginRequest, _scope: object) -> Never:
    raise IpcError(
        f"the host serves no {type(message).__name__}",
        code="ipc.unsupported",
        hint="the host developer decides what plugins may ask",
    )


class LogGate:
    """Pass on a plugin's log lines, so many a second and that many at once; count the others."""

    def __init__(self, per_second: int) -> None:
        self.sink: Callable[[Log], object] | None = None
        self.dropped = 0
        self._rate = per_second
        self._tokens = float(per_second)
        self._time = time.monotonic()

    def take(self, payload: Any) -> None:
        """Take one line as it was received. Raises no `Exception`."""
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if self._tokens < 1:
            self.dropped += 1
            return
        self._tokens -= 1
        try:
            line: Log = decode(payload, Log)
        except IpcProtocolError:
            # It runs inside of somebody else's call, who is not to blame for it.
            self.dropped += 1
            return
        if self.sink is not None:
            try:
                self.sink(line)
            except Exception:  # noqa: BLE001 - nobody above knows this line
                _log.exception("a plugin's log line was not taken")
