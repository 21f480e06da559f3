"""What every live plugin offers to the registry, however it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginapi.context import PluginContext
    from pluginapi.hooks import HookScope
    from pluginapi.limits import LimitInForce, Violation
    from pluginapi.manifest import PluginManifest
    from pluginapi.monitor.metrics import PluginUsage

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

    @property
    def heap_limit(self) -> int | None:
        """Bytes that it may hold of this process's heap, where that is counted, or None."""

    @property
    def heap_account(self) -> int:
        """Number of the `HeapAccount` that its handlers work for, or 0."""

    async def init(self, context: PluginContext) -> None:
        """Run the plugin's own initialisation; raises `InitializationError`."""

    async def register_hooks(self, hooks: HookScope) -> None:
        """Let the plugin register its handlers; raises `InitializationError`."""

    async def shutdown(self, why: str = "") -> None:
        """Run the plugin's own clean-up; raises `ShutdownError`.

        Args:
            why: What its violations were, when they are what it is unmounted for.
        """

    def close(self) -> None:
        """Release everything that the plugin holds in this process."""

    def on_violation(self, report: Callable[[Violation], object]) -> None:
        """Report violations that are seen between two looks of the monitor; on any thread."""

    def on_kill(self, report: Callable[[str, str], object]) -> None:
        """Report, with reason and detail, that its process was ended by force; on any thread."""

    def limits_in_force(self) -> tuple[LimitInForce, ...]:
        """Return what keeps the plugin to its limits, where that is not the host's process."""

    def usage(self, *, now: bool = True) -> PluginUsage:
        """Return what is attributed to the plugin, and None for what cannot be.

        Without ``now``, of a process as the monitor found it the last time.
        """
