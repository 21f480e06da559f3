"""A handler in a plugin process as a callable of this one: the entry that a hook calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from pluginapi._native import _channel
from pluginapi.errors import HookTypeError
from pluginapi.hooks.results import StopChain
from pluginapi.ipc.channel import IpcChannel, Reply, nanoseconds
from pluginapi.ipc.protocol import HandlerSpec

__all__ = ["CallContext", "RemoteHandler"]

_RESULT: Final = _channel.RESULT
_UNCHANGED: Final = _channel.UNCHANGED
_STOP: Final = _channel.STOP


class CallContext(Protocol):
    """What goes with each call of a plugin and comes back with its results."""

    def pushed(self) -> bytes | None:
        """Return the values that the plugin is given with a call, msgpack, or None."""

    def apply(self, writes: bytes, /) -> None:
        """Carry out what a handler changed; raises a `PluginError` for what it must not."""


class RemoteHandler(_channel.RemoteCall):
    """Call one handler of a plugin process with a Python value.

    The value crosses as msgpack; the result is decoded and validated as the output type. Returns
    None when the plugin left the value as it is, and a `StopChain` when the result is final.

    Where an event loop runs, the call returns the result when it comes within the microseconds
    that a wait may spin, and an awaitable of it otherwise; elsewhere it blocks. Thread-safe.

    Args:
        channel: The host's end.
        spec: What the plugin registered.
        output_type: Returns the type of results, which may be defined after the handlers.
        timeout: Seconds that a call may take; None for no limit.
        context: What goes with each call.

    Raises:
        HookTypeError: When the value cannot be encoded, or the result is not of the type.
        HookError: When the handler failed; the message is the plugin's.
        PluginTimeout: With code ``ipc.deadline``. Otherwise as `IpcChannel.call`.
    """

    __slots__ = ("_channel", "spec")

    def __init__(
        self,
        channel: IpcChannel,
        spec: HandlerSpec,
        *,
        output_type: Callable[[], Any],
        timeout: float | None = None,
        context: CallContext | None = None,
    ) -> None:
        super().__init__(
            channel.core,
            spec.id,
            msgspec.msgpack.Encoder().encode,
            output_type,
            0 if timeout is None else nanoseconds(timeout),
            context,
        )
        self.spec = spec
        self._channel = channel

    def rebind(self, channel: IpcChannel) -> None:
        """Call the same handler of a new process, which has registered the same ones."""
        self._channel = channel
        self.use(channel.core)

    def __repr__(self) -> str:
        return f"<handler of {self._channel.plugin} for {self.spec.hook}, in its process>"

    def _start(self, loop: asyncio.AbstractEventLoop, payload: bytes, pushed: bytes | None) -> Any:
        """Begin a call from a loop that the channel may not be attached to yet."""
        return self._channel.start(
            *(self.spec.id, payload, pushed, self.timeout_ns, loop), scope=self.context
        )

    async def _later(self, future: asyncio.Future[Reply], call: int) -> Any:
        return self._result(await self._channel.pending(future, call))

    def _result(self, reply: Reply) -> Any:
        kind, flags, writes, payload = reply
        if kind != _RESULT:
            raise self._channel.remote(payload)
        if writes is not None:
            self._apply(writes)
        if flags & _UNCHANGED:
            return None
        decode = self.decoder()
        try:
            result = decode(payload)
        except _channel.DECODE_ERRORS as err:
            raise self._undecodable(payload, err) from err
        return StopChain(result) if flags & _STOP else result

    def _apply(self, writes: bytes) -> None:
        context = self.context
        if context is None:
            raise HookTypeError(
                f"plugin {self._channel.plugin} changes context that it was not given",
                plugin=self._channel.plugin,
                hint="report this to the plugin's author",
                hook=self.spec.hook,
            )
        context.apply(writes)

    def _undecodable(self, payload: Any, err: Exception) -> HookTypeError:
        return HookTypeError(
            f"plugin {self._channel.plugin} returned {len(payload)} bytes for hook "
            f"{self.spec.hook} that are not of its type: {err}",
            plugin=self._channel.plugin,
            hint="report this to the plugin's author",
            hook=self.spec.hook,
        )

    def _unencodable(self, err: Exception) -> HookTypeError:
        return HookTypeError(
            f"the value of hook {self.spec.hook} cannot be given to plugin "
            f"{self._channel.plugin}: {err}",
            plugin=self._channel.plugin,
            hint="pass types that msgspec can encode as msgpack",
            hook=self.spec.hook,
        )
