"""The entry of a hook whose handler runs in a plugin's process."""

from __future__ import annotations

from typing import Any

from pluginapi._native import _channel
from pluginapi.errors import (
    AbiIncompatible,
    HookError,
    HookTypeError,
    InitializationError,
    InvalidManifest,
    IpcProtocolError,
    LoadError,
    PluginError,
    SandboxError,
    ShutdownError,
    SymbolNotFound,
)
from pluginapi.ipc.handler import RemoteHandler
from pluginapi.ipc.protocol import Error, decode
from pluginapi.runtime.native_status import native_failure

__all__ = ["ProcessHandler", "load_failure"]

_LOAD_ERRORS: dict[str, type[PluginError]] = {
    "abi.symbol_missing": SymbolNotFound,
    "abi.incompatible": AbiIncompatible,
    "abi.plugin_struct": AbiIncompatible,
    "abi.identity": AbiIncompatible,
    "abi.load_failed": LoadError,
    "abi.create_failed": LoadError,
    "load.failed": LoadError,
    "load.execution_failed": LoadError,
    "manifest.mismatch": InvalidManifest,
    "hook.mismatch": HookTypeError,
    "sandbox.step": SandboxError,
    "lifecycle.init_failed": InitializationError,
    "lifecycle.shutdown_failed": ShutdownError,
}


class ProcessHandler(RemoteHandler):
    """A `RemoteHandler` that stays in its hook when the process behind it is another one."""

    __slots__ = ()

    def _result(self, reply: Any) -> Any:
        if reply[0] == _channel.ERROR:
            raise self._failure(reply[3])
        return super()._result(reply)

    def _failure(self, payload: Any) -> PluginError:
        try:
            error: Error = decode(payload, Error)
        except IpcProtocolError:
            return self._channel.remote(payload)
        if error.status < 0:
            return native_failure(
                self._channel.plugin or "",
                f"its handler for {self.spec.hook}",
                HookError,
                "hook.failed",
                error.status,
                error.message,
            )
        return self._channel.remote(payload)


def load_failure(err: PluginError, plugin: str) -> PluginError:
    """Return what a worker reported of a load, an init or a shutdown as in-process it is raised."""
    code = str(err.details.get("remote_code", ""))
    kind = _LOAD_ERRORS.get(code)
    if kind is None:
        return err
    status = err.details.get("remote_status", 0)
    if isinstance(status, int) and status < 0:
        what = {
            "abi.create_failed": "create_plugin",
            "lifecycle.shutdown_failed": "shutdown",
        }.get(code, "init or register_hooks")
        return native_failure(plugin, what, kind, code, status, err.message)
    return kind(
        err.message,
        code=code,
        plugin=plugin,
        hint=err.hint or "see the plugin's log",
        remote_traceback=err.details.get("remote_traceback", ""),
    )
