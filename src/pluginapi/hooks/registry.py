"""All hooks of a host by name: definition, registration, calls by name, statistics."""

from __future__ import annotations

import difflib
import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, overload

from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks.handler import (
    CpuObserver,
    HandlerInfo,
    HandlerStats,
    HookHandler,
    check_handler,
)
from pluginapi.hooks.hook import Hook
from pluginapi.hooks.modes import ErrorPolicy, HookMode
from pluginapi.hooks.priority import check_priority, in_order
from pluginapi.hooks.results import HookOutcome, VetoResult
from pluginapi.hooks.scope import HookScope
from pluginapi.runtime_types import RuntimeType

__all__ = ["HookInfo", "HookRegistry"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output

# Names reach log lines, terminals and native code: none of them can be harmed by these.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")

_UNCHECKED: Final = RuntimeType(Any)

_Entries = tuple[HookHandler, ...]

_log = logging.getLogger("pluginapi.hooks")


@dataclass(frozen=True, slots=True)
class HookInfo:
    """Describe a hook and its handlers.

    Attributes:
        name: The hook's name.
        mode: What becomes of results.
        on_error: What follows when a handler raises.
        input_type: The type of the value that handlers are given.
        output_type: The type that one handler returns.
        defined: False while handlers wait on a name that nothing has defined: often a typo.
        handlers: In the order in which they run, paused ones included.
    """

    name: str
    mode: HookMode
    on_error: ErrorPolicy
    input_type: Any
    output_type: Any
    defined: bool
    handlers: tuple[HandlerInfo, ...]


class HookRegistry:
    """Keep the hooks of one host.

    Every method may be called from any thread, also while hooks run and from within handlers.
    Handlers live in an immutable snapshot per hook that is swapped as a whole: running calls keep
    theirs, a call that starts after `unregister`, `remove_owner` or `pause_owner` has returned
    does not enter what was removed. A removed handler is freed when the last call that holds it
    ends, without waiting for the garbage collector.
    """

    def __init__(self) -> None:
        # Re-entrant: the garbage collector may run a plugin's __del__, which may call back, at
        # any allocation under the lock. Tuples are therefore swapped only when nobody did.
        self._lock = threading.RLock()
        self._hooks: dict[str, Hook[Any, Any]] = {}
        self._paused: frozenset[str] = frozenset()
        self._sequence = itertools.count()
        self._on_cpu_time: CpuObserver | None = None
        self._observer: CpuObserver | None = None
        self._closed = False

    # Definition

    @overload
    def define(
        self,
        name: str,
        input_type: type[I],
        output_type: type[O],
        *,
        mode: Literal[HookMode.CHAIN] = HookMode.CHAIN,
        on_error: ErrorPolicy = ...,
    ) -> Hook[I, O]: ...
    @overload
    def define(
        self,
        name: str,
        input_type: type[I],
        output_type: Any = ...,
        *,
        mode: Literal[HookMode.NOTIFY],
        on_error: ErrorPolicy = ...,
    ) -> Hook[I, None]: ...
    @overload
    def define(
        self,
        name: str,
        input_type: type[I],
        output_type: type[O],
        *,
        mode: Literal[HookMode.COLLECT],
        on_error: ErrorPolicy = ...,
    ) -> Hook[I, list[O]]: ...
    @overload
    def define(
        self,
        name: str,
        input_type: type[I],
        output_type: type[O],
        *,
        mode: Literal[HookMode.FIRST],
        on_error: ErrorPolicy = ...,
    ) -> Hook[I, O | None]: ...
    @overload
    def define(
        self,
        name: str,
        input_type: type[I],
        output_type: Any = ...,
        *,
        mode: Literal[HookMode.VETO],
        on_error: ErrorPolicy = ...,
    ) -> Hook[I, VetoResult]: ...
    @overload
    def define(
        self,
        name: str,
        input_type: Any = ...,
        output_type: Any = ...,
        *,
        mode: HookMode = ...,
        on_error: ErrorPolicy = ...,
    ) -> Hook[Any, Any]: ...
    def define(
        self,
        name: str,
        input_type: Any = Any,
        output_type: Any = Any,
        *,
        mode: HookMode = HookMode.CHAIN,
        on_error: ErrorPolicy = ErrorPolicy.RAISE,
    ) -> Hook[Any, Any]:
        """Define a hook and return it; the same definition again returns the same hook.

        Handlers that were registered on the name before keep their places.

        Args:
            name: A letter or underscore, then up to 127 letters, digits and ``_ . : -``.
            input_type: What calls take and handlers are given: a class, a union, ``Any``.
            output_type: What one handler returns. A chain with an output type that is wider than
                the input type ends with the first result that only the output type admits.
            mode: What becomes of results.
            on_error: What follows when a handler raises.

        Raises:
            HookError: ``hook.redefined`` when the name is defined differently, ``hook.closed``.
            HookTypeError: When the name is malformed or a type cannot be checked at run time.
        """
        _check_name(name)
        takes, returns = _checkable(name, input_type), _checkable(name, output_type)
        with self._lock:
            self._check_open(name)
            hook = self._hooks.get(name)
            if hook is None:
                hook = self._hooks[name] = Hook(
                    self,
                    name,
                    input_type=takes,
                    output_type=returns,
                    mode=mode,
                    on_error=on_error,
                )
            elif not hook.defined:
                hook._define(takes, returns, mode, on_error)  # noqa: SLF001 - its maker
            elif not hook._is(takes, returns, mode, on_error):  # noqa: SLF001 - its maker
                raise HookError(
                    f"hook {name!r} is defined already, and differently: {hook!r}",
                    code="hook.redefined",
                    hint="use the same types, mode and error policy, or another name",
                    hook=name,
                )
            return hook

    def hook(self, name: str) -> Hook[Any, Any]:
        """Return the hook of this name.

        Raises:
            HookError: With code ``hook.unknown`` when it is neither defined nor registered on.
        """
        found = self._hooks.get(name)
        if found is None:
            close = difflib.get_close_matches(str(name)[:128], list(self._hooks), n=3)
            meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
            raise HookError(
                f"no hook is named {str(name)[:128]!r}",
                code="hook.unknown",
                hint=f"{meant}define it with HookRegistry.define",
                hook=str(name)[:128],
            )
        return found

    def __contains__(self, name: object) -> bool:
        """Tell whether a hook of this name is defined or registered on."""
        return name in self._hooks

    def get_hooks(self, name: str | None = None) -> list[HookInfo]:
        """Describe all hooks, sorted by name, or only the one named.

        Raises:
            HookError: With code ``hook.unknown`` when the named one does not exist.
        """
        with self._lock:
            hooks = sorted(self._hooks.items()) if name is None else [(name, self.hook(name))]
            return [
                HookInfo(
                    key,
                    hook.mode,
                    hook.on_error,
                    hook.input_type,
                    hook.output_type,
                    hook.defined,
                    tuple(
                        item.info(paused=item.owner in self._paused)
                        for item in hook._entries  # noqa: SLF001 - its maker
                    ),
                )
                for key, hook in hooks
            ]

    # Registration

    def register(
        self,
        name: str,
        priority: int,
        handler: Callable[[Any], object],
        *,
        owner: str | None = None,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
    ) -> HookHandler:
        """Add a handler, sync or async, that takes the hook's value as its one argument.

        A name that nothing has defined yet is fine: plugins may load before what they hook into.
        Until `define` is called the hook is a chain of unchecked values.

        Args:
            name: Name of the hook.
            priority: Lower runs first; see `HookPriority`.
            handler: Called with one positional argument.
            owner: Plugin of the handler, or None for the host.
            before: Owners in the same priority band that it must run before.
            after: Owners in the same priority band that it must run after.

        Raises:
            HookTypeError: When the handler cannot be called with one argument, or the name, the
                priority, before or after is malformed.
            HookOrderError: When before and after of the hook's handlers contradict each other.
            HookError: ``hook.duplicate`` when this owner registered it already, ``hook.closed``.
            After an error nothing is registered.
        """
        return self._register(name, priority, handler, owner=owner, before=before, after=after)

    def _register(
        self,
        name: str,
        priority: int,
        handler: Callable[[Any], object],
        *,
        owner: str | None,
        before: Iterable[str],
        after: Iterable[str],
        scope: HookScope | None = None,
    ) -> HookHandler:
        _check_name(name)
        check_handler(name, handler, owner)
        entry = HookHandler(
            name,
            handler,
            owner=owner,
            priority=check_priority(priority),
            before=_owners("before", before),
            after=_owners("after", after),
            sequence=next(self._sequence),
        )

        def add(entries: _Entries) -> _Entries:
            if any(item.owner == owner and item.holds(handler) for item in entries):
                raise HookError(
                    f"{entry.label} is registered already",
                    code="hook.duplicate",
                    plugin=owner,
                    hint="register it once; unregister it first to change its priority",
                    hook=name,
                )
            return in_order((*entries, entry), name)

        with self._lock:
            self._check_open(name)
            if scope is not None and scope.closed:
                raise _scope_closed(scope)
            hook = self._hooks.get(name)
            if hook is None:
                hook = Hook(
                    self,
                    name,
                    input_type=_UNCHECKED,
                    output_type=_UNCHECKED,
                    mode=HookMode.CHAIN,
                    on_error=ErrorPolicy.RAISE,
                )
                hook.defined = False
            freed = self._swap(hook, add)
            self._hooks[name] = hook
        del freed  # Outside the lock.
        return entry

    def unregister(
        self, name: str, handler: Callable[[Any], object] | HookHandler, *, owner: str | None = None
    ) -> None:
        """Remove a handler, given as the callable or as what `register` returned.

        Raises:
            HookError: ``hook.not_registered`` when this owner did not register it on the hook,
                ``hook.unknown`` when there is no such hook.
        """
        with self._lock:
            hook = self.hook(name)

            def without(entries: _Entries) -> _Entries:
                kept = (item for item in entries if item.owner != owner or not item.holds(handler))
                return in_order(kept, name)

            count = len(hook._entries)  # noqa: SLF001 - its maker
            freed = self._swap(hook, without)
            removed = count - len(hook._entries)  # noqa: SLF001 - its maker
        del freed
        if not removed:
            raise HookError(
                f"{handler!r} is not registered on hook {name!r} by {owner or 'the host'}",
                code="hook.not_registered",
                plugin=owner,
                hint="give the owner and the callable that were registered",
                hook=name,
            )

    def remove_owner(self, owner: str) -> int:
        """Remove all handlers of a plugin, and its pause; return how many there were."""
        with self._lock:
            count = sum(
                item.owner == owner
                for hook in self._hooks.values()
                for item in hook._entries  # noqa: SLF001 - its maker
            )
            self._paused -= {owner}
            freed = [
                # Sorted anew: who is left stands where it would without the one that went.
                self._swap(hook, lambda old: in_order((i for i in old if i.owner != owner), ""))
                for hook in list(self._hooks.values())
            ]
        del freed
        return count

    def pause_owner(self, owner: str) -> None:
        """Let calls pass over a plugin's handlers, also later ones, until `resume_owner`."""
        with self._lock:
            self._paused |= {owner}
            freed = [self._swap(hook, _same) for hook in list(self._hooks.values())]
        del freed

    def resume_owner(self, owner: str) -> None:
        """Let calls run a paused plugin's handlers again, in their old places."""
        with self._lock:
            self._paused -= {owner}
            freed = [self._swap(hook, _same) for hook in list(self._hooks.values())]
        del freed

    def is_paused(self, owner: str) -> bool:
        """Tell whether a plugin's handlers are passed over."""
        return owner in self._paused

    def scope(self, owner: str) -> HookScope:
        """Return the view for one plugin, which registers with its name filled in."""
        return HookScope(self, owner)

    # Calls by name

    async def execute(self, name: str, data: Any) -> Any:
        """Call the hook of this name: the same as ``await registry.hook(name)(data)``."""
        return await self.hook(name)(data)

    def call(self, name: str, data: Any) -> Any:
        """Call the hook of this name without an event loop, as `Hook.call`."""
        return self.hook(name).call(data)

    async def execute_until_error(self, name: str, data: Any) -> list[Any]:
        """Run the handlers until one fails, as `Hook.execute_until_error`."""
        return await self.hook(name).execute_until_error(data)

    async def execute_all(self, name: str, data: Any) -> list[HookOutcome]:
        """Run every handler and return the outcome of each, as `Hook.execute_all`."""
        return await self.hook(name).execute_all(data)

    # Measurement

    def stats(self, owner: str | None = None) -> list[HandlerStats]:
        """Return the counts of every registered handler, or of those of one plugin.

        Ordered by hook name, then as the handlers run. Removed handlers are not in it.
        """
        with self._lock:
            entries = [
                item
                for _, hook in sorted(self._hooks.items())
                for item in hook._entries  # noqa: SLF001 - its maker
                if owner is None or item.owner == owner
            ]
        return [item.stats() for item in entries]

    @property
    def on_cpu_time(self) -> CpuObserver | None:
        """Called after each handler call with its owner, the hook's name and its CPU time in ns.

        It runs in the thread of the call, between two handlers: it has to be quick. What it raises
        is logged and does not reach the call.
        """
        return self._on_cpu_time

    @on_cpu_time.setter
    def on_cpu_time(self, observer: CpuObserver | None) -> None:
        self._on_cpu_time = observer
        self._observer = None if observer is None else self._guard(observer)

    @property
    def observer(self) -> CpuObserver | None:
        """`on_cpu_time`, safe to call; for `Hook`."""
        return self._observer

    # End

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Remove all handlers and refuse every later registration and call. Idempotent.

        Calls that run already end as they would have.
        """
        with self._lock:
            self._closed = True
            self._paused = frozenset()
            freed = [self._swap(hook, lambda _: ()) for hook in list(self._hooks.values())]
        del freed
        self.on_cpu_time = None

    def _check_open(self, name: str) -> None:
        if self._closed:
            raise HookError(
                f"hook {str(name)[:128]!r} cannot be changed: the registry is closed",
                code="hook.closed",
                hint="define hooks and register handlers while the host runs",
            )

    def _close_scope(self, scope: HookScope) -> int:
        with self._lock:
            scope._closed = True  # noqa: SLF001 - under the lock that registration checks it under
        return self.remove_owner(scope.owner)

    def _swap(
        self,
        hook: Hook[Any, Any],
        change: Callable[[_Entries], _Entries],
    ) -> tuple[_Entries, _Entries]:
        """Change a hook's handlers, under the lock; return what must be dropped outside of it."""
        while True:
            entries = hook._entries  # noqa: SLF001 - its maker
            paused = self._paused
            changed = change(entries)
            active = tuple(item for item in changed if item.owner not in paused)
            # Nothing between this comparison and the swap allocates: no __del__ can come between.
            if hook._entries is entries and self._paused is paused:  # noqa: SLF001 - its maker
                old = (entries, hook._snapshot)  # noqa: SLF001 - its maker
                hook._entries = changed  # noqa: SLF001 - its maker
                hook._snapshot = active  # noqa: SLF001 - its maker
                return old

    @staticmethod
    def _guard(observer: CpuObserver) -> CpuObserver:
        def guarded(owner: str | None, hook: str, cpu_ns: int) -> None:
            try:
                observer(owner, hook, cpu_ns)
            except Exception:  # noqa: BLE001 - a failing observer must not fail the call
                _log.exception("the CPU-time observer failed on hook %r", hook)

        return guarded


def _same(entries: _Entries) -> _Entries:
    return entries


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise HookTypeError(
            f"hook name {str(name)[:80]!r} is not allowed",
            code="hook.name",
            hint="use a letter or '_', then up to 127 letters, digits and '_ . : -'",
        )


def _checkable(name: str, annotation: Any) -> RuntimeType:
    try:
        return RuntimeType(annotation)
    except TypeError as err:
        raise HookTypeError(
            f"hook {name!r} cannot be defined: {err}",
            hint="use a class, a union of classes, or Any for values that are not checked",
            hook=name,
        ) from err


def _owners(what: str, owners: Iterable[str]) -> tuple[str, ...]:
    # A lone string is iterable too, and would name the owners 'a', 'u', 't' and 'h'.
    found = tuple(owners) if isinstance(owners, Iterable) and type(owners) is not str else None
    if found is None or not all(isinstance(owner, str) for owner in found):
        raise HookTypeError(
            f"{what} is {owners!r}, not a sequence of plugin names", hint=f"write {what}=('auth',)"
        )
    return found


def _scope_closed(scope: HookScope) -> HookError:
    return HookError(
        f"plugin {scope.owner!r} is unloaded: it cannot register hooks any more",
        code="hook.closed",
        plugin=scope.owner,
        hint="register hooks in register_hooks, or at any time before shutdown",
    )
