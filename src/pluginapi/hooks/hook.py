"""One hook: its types, its mode, and the calls that run its handlers."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pluginapi._native._hooks import HookCore, Meter, Plan, adopt
from pluginapi.hooks.calling import CallableHook, In, Out
from pluginapi.hooks.modes import ErrorPolicy, HookMode
from pluginapi.hooks.priority import HookPriority
from pluginapi.hooks.subset import HookSubset

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler
    from pluginapi.hooks.registry import HookRegistry
    from pluginapi.hooks.spec import HookSpec

__all__ = ["Hook"]


class Late(NamedTuple):
    """A handler that comes late, with the past calls that it is to be given."""

    hook: Hook[Any, Any]
    handler: HookHandler
    values: list[Any]


_NOBODY: Final[set[HookHandler]] = set()


@adopt
class Hook(CallableHook[In, Out]):
    """Call the handlers of one hook; `HookRegistry.define` makes it.

    ``In`` is the type of the value that a call takes, ``Out`` that of its answer: the output type
    for a chain, None for notify, a list for collect, the output type or None for first, a
    `VetoResult` for veto.

    ``await hook(value)``, ``hook.call(value)`` without an event loop, and ``hook.start(value)``,
    the fast form, run the handlers. A call takes the snapshot of handlers at its start and keeps
    it: handlers that are registered or removed meanwhile change later calls only. Handlers run
    one after the other, in the caller's task and thread; async ones are awaited in place, without
    a task of their own. Calls may run at the same time from any number of threads and tasks.

    Exceptions of handlers follow the hook's `ErrorPolicy`; under ``RAISE`` the handler's own
    exception propagates, with a note that names hook, handler and owner.
    """

    __slots__ = ("_behind", "_definition", "_past", "_registry", "_subsets", "defined")

    def __init__(self, registry: HookRegistry, spec: HookSpec, *, defined: bool = True) -> None:
        self._registry = registry
        self._definition = spec
        self.defined = defined
        # Made when they are needed: most hooks have neither.
        self._subsets: weakref.WeakSet[HookSubset[Any, Any]] | None = None
        self._past: deque[Any] | None = deque(maxlen=spec.history) if spec.history else None
        # Handlers that the past calls have not been given yet: theirs was paused from the start.
        self._behind: set[HookHandler] = _NOBODY if self._past is None else set()

    @property
    def _spec(self) -> HookSpec:
        return self._definition

    @property
    def name(self) -> str:
        """The hook's name."""
        return self._definition.name

    @property
    def mode(self) -> HookMode:
        """What becomes of results."""
        return self._definition.mode

    @property
    def on_error(self) -> ErrorPolicy:
        """What follows when a handler raises."""
        return self._definition.on_error

    @property
    def input_type(self) -> Any:
        """The type of the value that a handler is given; ``Any`` when it is not checked."""
        return self._definition.takes.annotation

    @property
    def output_type(self) -> Any:
        """The type that one handler returns; native results are decoded into it."""
        return self._definition.returns.annotation

    @property
    def timed(self) -> bool:
        """Whether the time of handlers is measured."""
        return self._definition.timed

    @property
    def history(self) -> int:
        """How many past calls a handler that comes late is given."""
        return self._definition.history

    def register(
        self,
        handler: Callable[[In], object],
        *,
        priority: int = HookPriority.NORMAL,
        owner: str | None = None,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
        deadline: float | None = None,
    ) -> HookHandler:
        """Add a handler; `HookRegistry.register` tells the rules and errors.

        Handlers that take attributes of the value have no static type: give them to
        `HookRegistry.register`.
        """
        return self._registry.register(
            self.name,
            priority,
            handler,
            owner=owner,
            before=before,
            after=after,
            deadline=deadline,
        )

    def wrap(
        self,
        wrapper: Callable[..., object],
        *,
        priority: int = HookPriority.NORMAL,
        owner: str | None = None,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
        deadline: float | None = None,
    ) -> HookHandler:
        """Add a wrapper; `HookRegistry.wrap` tells the rules and errors."""
        return self._registry.wrap(
            self.name,
            priority,
            wrapper,
            owner=owner,
            before=before,
            after=after,
            deadline=deadline,
        )

    def unregister(
        self, handler: Callable[..., object] | HookHandler, *, owner: str | None = None
    ) -> None:
        """Remove a handler or wrapper; `HookRegistry.unregister` tells the rules and errors."""
        self._registry.unregister(self.name, handler, owner=owner)

    def subset(
        self, *, only: Iterable[str] | None = None, without: Iterable[str] = ()
    ) -> HookSubset[In, Out]:
        """Return this hook with the handlers of some plugins alone, to be called like it.

        It follows the hook: handlers that are registered or removed later count. Make it for one
        call, or keep it, which saves compiling it anew.

        Args:
            only: Plugins whose handlers run, beside the host's own; None for all.
            without: Plugins whose handlers do not run.

        Raises:
            HookTypeError: When ``only`` or ``without`` is not a sequence of names.
        """
        return self._registry._subset(self, only, without)  # noqa: SLF001 - its maker

    def _plan_for(self, value: Any) -> Plan:
        plan = self._plan
        if plan is None or not plan.recorded:
            return super()._plan_for(value)
        return self._registry._record(self, value)  # noqa: SLF001 - its maker

    # What follows is for the registry, which holds its lock.

    def _define(self, spec: HookSpec) -> object:
        """Give the hook its definition; the registry compiles the plan anew."""
        old = self._definition
        self._definition = spec
        self.defined = True
        if spec.history:
            self._past = deque(maxlen=spec.history)
            self._behind = set()
        return old

    def _compiled(
        self, active: tuple[HookHandler, ...], meter: Meter, *, closed: bool
    ) -> tuple[list[HookCore], list[Plan | None]]:
        """Return the hook and its subsets, and the plan for each."""
        spec = self._definition
        targets: list[HookCore] = [self]
        plans = [None if closed else spec.plan(active, meter, recorded=self._past is not None)]
        if self._subsets is not None:
            for subset in list(self._subsets):
                targets.append(subset)
                kept = subset._kept(active)  # noqa: SLF001 - its maker
                plans.append(None if closed else spec.plan(kept, meter))
        return targets, plans

    def _add_subset(self, subset: HookSubset[Any, Any]) -> None:
        if self._subsets is None:
            self._subsets = weakref.WeakSet()
        self._subsets.add(subset)

    def _remember(self, value: Any) -> object:
        """Add a call to the history; return the one that falls out of it."""
        past = self._past
        if past is None:
            return None
        dropped = past[0] if len(past) == past.maxlen else None
        past.append(value)
        return dropped

    def _comes_late(self, handler: HookHandler, paused: frozenset[str]) -> list[Late]:
        """Note a new handler; return it with the past calls that are to be given to it now."""
        if self._past is None:
            return []
        self._behind.add(handler)
        return self._late_ones(paused)

    def _late_ones(self, paused: frozenset[str]) -> list[Late]:
        """Take out the handlers that run from now on, with the past calls that they missed.

        Under the lock of the swap that made them run: a call is in here or finds them in its plan.
        """
        ready = [item for item in self._behind if item.owner not in paused]
        self._behind.difference_update(ready)
        held = [item for item in ready if item in self._entries]
        return [Late(self, item, list(self._past or ())) for item in held]

    def __repr__(self) -> str:
        spec = self._definition
        return (
            f"<Hook {spec.name!r} ({spec.mode.value}, {spec.on_error.value}): "
            f"{spec.takes.name} -> {spec.returns.name}, {len(self._entries)} handlers>"
        )
