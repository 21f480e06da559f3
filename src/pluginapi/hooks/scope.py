"""The view of the hooks that one plugin gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from pluginapi.hooks.priority import HookPriority

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler
    from pluginapi.hooks.hook import Hook
    from pluginapi.hooks.registry import HookRegistry

__all__ = ["HookScope"]

F = TypeVar("F", bound=Callable[..., object])


class HookScope:
    """Register handlers in the name of one plugin; passed to its ``register_hooks``.

    `HookRegistry.scope` makes it. A plugin may keep it and change its handlers as long as it is
    loaded, from any thread; after that every registration is refused.

    Attributes:
        owner: Name of the plugin.
        heap_account: Number of the account that the memory of its handlers counts for, or 0.
    """

    def __init__(self, registry: HookRegistry, owner: str, heap_account: int = 0) -> None:
        self._registry = registry
        self._closed = False
        self.owner = owner
        self.heap_account = heap_account

    def hook(self, name: str) -> Hook[Any, Any]:
        """Return a hook of the host, to see its types or to call it.

        Raises:
            HookError: With code ``hook.unknown`` when there is none of this name.
        """
        return self._registry.hook(name)

    def register(
        self,
        name: str,
        priority: int,
        handler: Callable[..., object],
        *,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
        deadline: float | None = None,
    ) -> HookHandler:
        """Add a handler; `HookRegistry.register` tells the rules and errors."""
        return self._registry._register(  # noqa: SLF001 - the scope is a part of it
            name,
            priority,
            handler,
            owner=self.owner,
            before=before,
            after=after,
            deadline=deadline,
            scope=self,
        )

    def wrap(
        self,
        name: str,
        priority: int,
        wrapper: Callable[..., object],
        *,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
        deadline: float | None = None,
    ) -> HookHandler:
        """Add a wrapper; `HookRegistry.wrap` tells the rules and errors."""
        return self._registry._register(  # noqa: SLF001 - the scope is a part of it
            name,
            priority,
            wrapper,
            owner=self.owner,
            before=before,
            after=after,
            deadline=deadline,
            wrapper=True,
            scope=self,
        )

    def on(
        self,
        name: str,
        *,
        priority: int = HookPriority.NORMAL,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
        deadline: float | None = None,
    ) -> Callable[[F], F]:
        """Decorate a function to register it: ``@hooks.on("on_request")``."""

        def decorate(handler: F) -> F:
            self.register(name, priority, handler, before=before, after=after, deadline=deadline)
            return handler

        return decorate

    def unregister(self, name: str, handler: Callable[..., object] | HookHandler) -> None:
        """Remove a handler of this plugin; `HookRegistry.unregister` tells the errors."""
        self._registry.unregister(name, handler, owner=self.owner)

    @property
    def closed(self) -> bool:
        """Whether the plugin was unloaded."""
        return self._closed

    def close(self) -> int:
        """Remove all handlers of the plugin, refuse later ones; return how many there were."""
        return self._registry._close_scope(self)  # noqa: SLF001 - the scope is a part of it
