"""What every live plugin offers to the registry, however it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pluginapi.context import PluginContext
    from pluginapi.hooks import HookScope
    from pluginapi.manifest import PluginManifest

__all__ = ["LivePlugin"]


class LivePlugin(Protocol):
    """Run one plugin between its verified bytes and `close`.

    The registry calls `init`, `register_hooks` and `shutdown` at most once each, in that order
    and never at the same time; `close` may follow at any point and is idempotent. Every
    coroutine may be cancelled: the plugin's code may then still run to its end in a thread of
    its own, which the implementation outlives without touching the host.
    """

    @property
    def manifest(self) -> PluginManifest:
        """The manifest that was read from the verified bytes."""

    async def init(self, context: PluginContext) -> None:
        """Run the plugin's own initialisation; raises `InitializationError`."""

    async def register_hooks(self, hooks: HookScope) -> None:
        """Let the plugin register its handlers; raises `InitializationError`."""

    async def shutdown(self) -> None:
        """Run the plugin's own clean-up; raises `ShutdownError`."""

    def close(self) -> None:
        """Release everything that the plugin holds in this process."""

    def heap_bytes(self) -> int | None:
        """Return the heap memory attributed to the plugin, or None where that cannot be known."""
