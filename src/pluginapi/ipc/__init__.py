"""The channel between a host and its plugin processes."""

from __future__ import annotations

from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.protocol import IpcRequest, IpcResponse
from pluginapi.ipc.settings import ChannelSettings

__all__ = ["ChannelSettings", "IpcChannel", "IpcRequest", "IpcResponse"]
