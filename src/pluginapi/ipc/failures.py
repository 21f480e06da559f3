"""What goes wrong on a channel, as exceptions here and as messages to the peer."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Final

from pluginapi._native import _channel
from pluginapi.errors import (
    HookError,
    HookTypeError,
    IpcClosed,
    IpcError,
    IpcProtocolError,
    PluginError,
    PluginTimeout,
)
from pluginapi.ipc.protocol import MAX_NAME_CHARS, MAX_TEXT_CHARS, MAX_TRACEBACK_CHARS, Error
from pluginapi.ipc.settings import ChannelSettings

__all__ = ["Failures", "describe_error", "remote_error"]

# What a peer may report under its own name; everything else is a failure of its handler.
_REMOTE: Final[dict[str, type[PluginError]]] = {
    "hook.type": HookTypeError,
    "hook.suspended": HookTypeError,
    "ipc.unsupported": IpcError,
    "ipc.too_large": IpcError,
}


class Failures:
    """Make the exceptions of one channel; `reason` says why this side ended it."""

    def __init__(self, plugin: str | None, settings: ChannelSettings) -> None:
        self.plugin = plugin
        self.settings = settings
        self.reason: PluginError | None = None
        self.on_deadline: Callable[[], object] | None = None

    def explain(self, status: int, errno: int) -> PluginError:
        """Make the exception for a status of the native part."""
        plugin = self.plugin
        who = f"plugin {plugin}" if plugin else "the other process"
        if status == _channel.TIMEOUT:
            if self.on_deadline is not None:
                self.on_deadline()
            return PluginTimeout(
                f"{who} did not answer before the deadline of the call",
                code="ipc.deadline",
                plugin=plugin,
                hint="raise the limit of time of the plugin, or look at what it waits for",
            )
        if status == _channel.REFUSED:
            return IpcError(
                f"a message to {who} is larger than {self.settings.max_message_bytes} bytes",
                code="ipc.too_large",
                plugin=plugin,
                hint="raise max_message_bytes, or send less",
            )
        if status == _channel.BUSY:
            return IpcError(
                f"{self.settings.queued} calls to {who} wait for their turn already",
                code="ipc.busy",
                plugin=plugin,
                hint="raise in_flight or queued, or send fewer calls at a time",
            )
        if status == _channel.ENDED:
            reason = self.reason
            if reason is None:
                return IpcClosed(
                    f"the channel to {who} is closed",
                    plugin=plugin,
                    hint="the plugin was unloaded, or its process ended",
                )
            # One exception object must not be raised in several threads.
            return _copied(reason)
        if status == _channel.CLOSED:
            return IpcClosed(
                f"{who} is gone: its end of the channel was closed",
                code="ipc.disconnected",
                plugin=plugin,
                hint="the reason why its process ended says more",
            )
        if status < _channel.BAD:
            return IpcProtocolError(
                f"{who} broke the protocol of the channel: {_breach(status)}",
                plugin=plugin,
                hint="do not trust this plugin; report it to its author if it was built with "
                "the worker of this library",
                status=status,
            )
        text = f": {os.strerror(errno)}" if errno else ""
        return IpcError(
            f"the channel to {who} failed: {_channel.explain(status)}{text}",
            plugin=plugin,
            errno=errno,
        )


def _breach(status: int) -> str:
    if status == _channel.BAD_ANSWER:
        return "an answer to a call that was not made"
    if status == _channel.BAD_FLOOD:
        return "more requests at a time than was agreed"
    return _channel.explain(status)


def _copied(error: PluginError) -> PluginError:
    copy = type(error).__new__(type(error))
    PluginError.__init__(
        copy,
        error.message,
        code=error.code,
        plugin=error.plugin,
        hint=error.hint,
        **error.details,
    )
    copy.__cause__ = error
    return copy


def remote_error(error: Error, plugin: str | None) -> PluginError:
    """Return the exception for what the peer reported."""
    kind = _REMOTE.get(error.code, HookError)
    return kind(
        error.message or f"{error.kind or 'the plugin'} failed without a message",
        code=error.code if error.code in _REMOTE else "hook.failed",
        plugin=plugin,
        hint=error.hint or None,
        remote_code=error.code,
        remote_kind=error.kind,
        remote_status=error.status,
        remote_traceback=error.traceback,
    )


def describe_error(err: BaseException) -> Error:
    """Return the message that tells the peer about an exception."""
    text = str(err)[:MAX_TEXT_CHARS]
    kind = type(err).__name__[:MAX_NAME_CHARS]
    trace = "".join(traceback.format_exception(err))[-MAX_TRACEBACK_CHARS:]
    if isinstance(err, PluginError):
        return Error(err.code, text, kind, (err.hint or "")[:MAX_TEXT_CHARS], 0, trace)
    return Error("hook.failed", text, kind, traceback=trace)
