"""A hook with the handlers of some plugins alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pluginapi._native._hooks import adopt
from pluginapi.hooks.calling import CallableHook, In, Out

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler
    from pluginapi.hooks.hook import Hook
    from pluginapi.hooks.spec import HookSpec

__all__ = ["HookSubset"]


@adopt
class HookSubset(CallableHook[In, Out]):
    """Call the handlers of some plugins on a hook; `Hook.subset` makes it.

    Called like the hook, with the same types, mode and error policy, from any thread. The host's
    own handlers always run. It follows the hook as long as somebody keeps it.
    """

    __slots__ = ("_hook", "_only", "_without")

    def __init__(
        self, hook: Hook[Any, Any], only: frozenset[str] | None, without: frozenset[str]
    ) -> None:
        self._hook = hook
        self._only = only
        self._without = without

    @property
    def hook(self) -> Hook[Any, Any]:
        """The whole hook."""
        return self._hook

    def admits(self, owner: str | None) -> bool:
        """Tell whether handlers of this owner run."""
        if owner is None:
            return True
        return owner not in self._without and (self._only is None or owner in self._only)

    @property
    def _spec(self) -> HookSpec:
        return self._hook._spec  # noqa: SLF001 - a view of it

    def _kept(self, handlers: tuple[HookHandler, ...]) -> tuple[HookHandler, ...]:
        return tuple(item for item in handlers if self.admits(item.owner))

    def __repr__(self) -> str:
        return f"<subset of {self._hook!r}: {len(self)} handlers run>"
