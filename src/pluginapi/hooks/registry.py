"""All hooks of a host by name: definition, registration, calls by name, statistics."""

from __future__ import annotations

import difflib
import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar, overload

from pluginapi._native import _hooks
from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks.handler import CpuObserver, HandlerInfo, HandlerStats, HookHandler
from pluginapi.hooks.history import Replays
from pluginapi.hooks.hook import Hook, Late
from pluginapi.hooks.modes import ErrorPolicy, HookMode
from pluginapi.hooks.priority import check_priority, in_order
from pluginapi.hooks.results import HookOutcome, VetoResult
from pluginapi.hooks.scope import HookScope
from pluginapi.hooks.signatures import PLAIN, Parameters, check_handler
from pluginapi.hooks.spec import HookSpec
from pluginapi.hooks.subset import HookSubset
from pluginapi.hooks.wrapping import surrounding
from pluginapi.runtime_types import RuntimeType

__all__ = ["HookInfo", "HookRegistry"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output

# Names reach log lines, terminals and native code: none of them can be harmed by these.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")

_UNCHECKED: Final = RuntimeType(Any)

# What a hook is until somebody defines it: types, mode, error policy, timed, history.
_UNDEFINED: Final = (_UNCHECKED, _UNCHECKED, HookMode.CHAIN, ErrorPolicy.RAISE, True, 0)

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
        self._meter = _hooks.Meter()
        self._replays = Replays(self._meter)
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
        timed: bool = ...,
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
        timed: bool = ...,
        history: int = ...,
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
        timed: bool = ...,
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
        timed: bool = ...,
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
        timed: bool = ...,
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
        timed: bool = ...,
        history: int = ...,
    ) -> Hook[Any, Any]: ...
    def define(
        self,
        name: str,
        input_type: Any = Any,
        output_type: Any = Any,
        *,
        mode: HookMode = HookMode.CHAIN,
        on_error: ErrorPolicy = ErrorPolicy.RAISE,
        timed: bool = True,
        history: int = 0,
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
            timed: Whether the time of every handler is measured. False saves some 15 ns a
                handler; calls and errors are counted all the same, but `stats` has no times, and
                limits of CPU time do not see what plugins do in this hook.
            history: Of a notify hook, how many past calls a handler that is registered late is
                given at once, the oldest first. Their values are kept that long.

        Raises:
            HookError: ``hook.redefined`` when the name is defined differently, ``hook.closed``.
            HookTypeError: When the name is malformed, a type cannot be checked at run time, or
                history is not for this hook.
        """
        _check_name(name)
        spec = HookSpec(
            name,
            _checkable(name, input_type),
            _checkable(name, output_type),
            mode,
            on_error,
            bool(timed),
            _check_history(name, mode, history),
        )
        with self._lock:
            self._check_open(name)
            hook = self._hooks.get(name)
            if hook is None:
                hook = Hook(self, spec)
                freed = self._swap(hook, _same)
                self._hooks[name] = hook
            elif not hook.defined:
                freed = hook._define(spec)  # noqa: SLF001 - its maker
                freed = (freed, self._swap(hook, _same))
            elif hook._spec != spec:  # noqa: SLF001 - its maker
                raise HookError(
                    f"hook {name!r} is defined already, and differently: {hook!r}",
                    code="hook.redefined",
                    hint="use the same types, mode, error policy and options, or another name",
                    hook=name,
                )
            else:
                freed = None
        del freed  # Outside the lock.
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
        handler: Callable[..., object],
        *,
        owner: str | None = None,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
        deadline: float | None = None,
    ) -> HookHandler:
        """Add a handler, sync or async, that takes the hook's value as its one argument.

        On a hook whose input type has known attributes (a dataclass, a `msgspec.Struct`, a named
        tuple) keyword-only parameters of the handler are filled with those it names:
        ``def handler(*, path, body)``, or ``def handler(request, *, path)``.

        A name that nothing has defined yet is fine: plugins may load before what they hook into.
        Until `define` is called the hook is a chain of unchecked values.

        Args:
            name: Name of the hook.
            priority: Lower runs first; see `HookPriority`.
            handler: Called with one positional argument.
            owner: Plugin of the handler, or None for the host.
            before: Owners in the same priority band that it must run before.
            after: Owners in the same priority band that it must run after.
            deadline: Seconds that one call of it may take, if it waits: then it is cancelled and
                fails with a `PluginTimeout`. A handler that does not wait cannot be stopped, and
                costs no timer. None for no limit.

        Raises:
            HookTypeError: When the handler cannot be called with one argument, or the name, the
                priority, before, after or the deadline is malformed.
            HookOrderError: When before and after of the hook's handlers contradict each other.
            HookError: ``hook.duplicate`` when this owner registered it already, ``hook.closed``.
            After an error nothing is registered.
            Exception: On a hook with history, what the handler raised for a past call.
        """
        return self._register(
            name, priority, handler, owner=owner, before=before, after=after, deadline=deadline
        )

    def wrap(
        self,
        name: str,
        priority: int,
        wrapper: Callable[..., object],
        *,
        owner: str | None = None,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
        deadline: float | None = None,
    ) -> HookHandler:
        """Add code around all handlers that come after it in the order.

        Either a generator function, which is fine around sync and async handlers alike: it yields
        the value for the rest, is sent their answer, or has their exception thrown in, and
        returns the answer::

            def timed(value):
                started = time.monotonic()
                try:
                    answer = yield value
                finally:
                    log.info("took %.3f s", time.monotonic() - started)
                return answer

        Or an async function, which may wait itself: ``async def locked(value, rest)`` calls
        ``await rest(value)``.

        The answer is what the rest alone would answer: for a chain a value, for collect the list,
        for veto a `VetoResult`. None stands for the answer of the rest. A wrapper that does not
        run the rest answers in its place. Hooks without wrappers pay nothing for them.

        Args:
            name: Name of the hook.
            priority: Lower runs first: around more.
            wrapper: A generator function of one argument or an async function of two.
            owner: Plugin of the wrapper, or None for the host.
            before: As `register`.
            after: As `register`.
            deadline: As `register`; what the rest takes counts.

        Raises:
            HookTypeError: When it is neither; otherwise as `register`.
        """
        return self._register(
            name,
            priority,
            wrapper,
            owner=owner,
            before=before,
            after=after,
            deadline=deadline,
            wrapper=True,
        )

    def _register(
        self,
        name: str,
        priority: int,
        handler: Callable[..., object],
        *,
        owner: str | None,
        before: Iterable[str],
        after: Iterable[str],
        deadline: float | None = None,
        wrapper: bool = False,
        scope: HookScope | None = None,
    ) -> HookHandler:
        hook = self._hooks.get(name) if isinstance(name, str) else None
        if hook is None:
            _check_name(name)
        target: Callable[..., object] | None = None
        how: Parameters = PLAIN
        if wrapper:
            target = surrounding(name, handler, owner)
        elif not _hooks.takes_one_argument(handler):
            how = check_handler(name, handler, owner, Any if hook is None else hook.input_type)
        entry = HookHandler(
            name,
            handler,
            owner,
            check_priority(priority),
            () if before == () else _owners("before", before),
            () if after == () else _owners("after", after),
            next(self._sequence),
            target,
            how.names,
            how.value,
            wrapper,
            0.0 if deadline is None else _check_deadline(deadline),
            0 if scope is None else scope.heap_account,
        )

        def add(entries: _Entries) -> _Entries:
            if _hooks.holds(entries, owner, handler):
                raise _duplicate(entry)
            added: _Entries | None = _hooks.inserted(entries, entry)
            return in_order((*entries, entry), name) if added is None else added

        with self._lock:
            self._check_open(name)
            if scope is not None and scope.closed:
                raise _scope_closed(scope)
            hook = self._hooks.get(name)
            if hook is None:
                hook = Hook(self, HookSpec(name, *_UNDEFINED), defined=False)
            freed = self._swap(hook, add)
            self._hooks[name] = hook
            # Most hooks have no history.
            late = hook._comes_late(entry, self._paused) if hook.history else ()  # noqa: SLF001 - its maker
        del freed  # Outside the lock.
        if late:
            self._catch_up(late)
        return entry

    def unregister(
        self, name: str, handler: Callable[..., object] | HookHandler, *, owner: str | None = None
    ) -> None:
        """Remove a handler or wrapper, given as the callable or as what `register` returned.

        Raises:
            HookError: ``hook.not_registered`` when this owner did not register it on the hook,
                ``hook.unknown`` when there is no such hook.
        """
        with self._lock:
            hook = self.hook(name)

            def without(entries: _Entries) -> _Entries:
                kept = tuple(item for item in entries if not _hooks.holds((item,), owner, handler))
                return _reordered(kept, name)

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
            count = 0
            freed = []
            self._paused -= {owner}
            for name, hook in list(self._hooks.items()):
                held = len(hook._entries)  # noqa: SLF001 - its maker
                # Sorted anew: who is left stands where it would without the one that went.
                freed.append(self._swap(hook, partial(_without_owner, owner, name)))
                count += held - len(hook._entries)  # noqa: SLF001 - its maker
        del freed
        return count

    def pause_owner(self, owner: str) -> None:
        """Let calls pass over a plugin's handlers, also later ones, until `resume_owner`."""
        with self._lock:
            self._paused |= {owner}
            freed = [self._swap(hook, _same) for hook in self._hooks_of(owner)]
        del freed

    def resume_owner(self, owner: str) -> None:
        """Let calls run a paused plugin's handlers again, in their old places.

        Raises:
            Exception: On a hook with history, what a handler that was paused from the start
                raised for a past call; the handler is removed.
        """
        with self._lock:
            self._paused -= {owner}
            hooks = self._hooks_of(owner)
            freed = [self._swap(hook, _same) for hook in hooks]
            late = [
                item
                for hook in hooks
                for item in hook._late_ones(self._paused)  # noqa: SLF001 - its maker
            ]
        del freed
        self._catch_up(late)

    def _hooks_of(self, owner: str) -> list[Hook[Any, Any]]:
        return [
            hook
            for hook in list(self._hooks.values())
            if any(item.owner == owner for item in hook._entries)  # noqa: SLF001 - its maker
        ]

    def _catch_up(self, late: Sequence[Late]) -> None:
        """Give past calls to handlers that come late; one that fails on them is removed."""
        for hook, handler, values in late:
            try:
                self._replays.run(hook._spec, handler, values)  # noqa: SLF001 - its maker
            except BaseException:
                self.unregister(hook.name, handler, owner=handler.owner)
                raise

    def _record(self, hook: Hook[Any, Any], value: Any) -> _hooks.Plan:
        """Remember a call for those that come late, and return the plan that it runs.

        As one: a handler is given a call either by this plan or as a past one.
        """
        spec = hook._spec  # noqa: SLF001 - its maker
        if not spec.takes.admits(value):
            spec.refuse_value(value)
        with self._lock:
            plan = hook._plan  # noqa: SLF001 - its maker
            if plan is None:
                hook._refuse_closed()  # noqa: SLF001 - its maker
            dropped = hook._remember(value)  # noqa: SLF001 - its maker
        del dropped
        return plan

    def _subset(
        self, hook: Hook[Any, Any], only: Iterable[str] | None, without: Iterable[str]
    ) -> HookSubset[Any, Any]:
        subset: HookSubset[Any, Any] = HookSubset(
            hook,
            None if only is None else frozenset(_owners("only", only)),
            frozenset(_owners("without", without)),
        )
        with self._lock:
            hook._add_subset(subset)  # noqa: SLF001 - its maker
            freed = self._swap(hook, _same)
        del freed
        return subset

    def is_paused(self, owner: str) -> bool:
        """Tell whether a plugin's handlers are passed over."""
        return owner in self._paused

    def scope(self, owner: str, *, heap_account: int = 0) -> HookScope:
        """Return the view for one plugin, which registers with its name filled in.

        The memory that its handlers ask for counts for ``heap_account``.
        """
        return HookScope(self, owner, heap_account)

    # Calls by name

    async def execute(self, name: str, data: Any) -> Any:
        """Call the hook of this name: the same as ``await registry.hook(name)(data)``."""
        answer = self.hook(name).start(data)
        if type(answer) is _hooks.PendingCall:
            answer = await answer
        return answer

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
        is logged and does not reach the call. Set it by `watch_cpu_time` to hear of long calls
        alone, which costs the others nothing.
        """
        return self._on_cpu_time

    @on_cpu_time.setter
    def on_cpu_time(self, observer: CpuObserver | None) -> None:
        self.watch_cpu_time(observer)

    def watch_cpu_time(self, observer: CpuObserver | None, *, at_least_ns: int = 0) -> None:
        """Set `on_cpu_time`, to be called for handler calls that took at least this CPU time.

        On hooks that are not timed nothing is measured, so nothing is told.
        """
        self._on_cpu_time = observer
        guarded = None if observer is None else self._guard(observer)
        self._meter.watch(guarded, at_least_ns)

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
        self._replays.cancel()
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

    def _swap(self, hook: Hook[Any, Any], change: Callable[[_Entries], _Entries]) -> object:
        """Change a hook's handlers, under the lock; return what must be dropped outside of it."""
        while True:
            entries = hook._entries  # noqa: SLF001 - its maker
            paused = self._paused
            changed = change(entries)
            active = (
                tuple(item for item in changed if item.owner not in paused) if paused else changed
            )
            targets, plans = hook._compiled(active, self._meter, closed=self._closed)  # noqa: SLF001 - its maker
            # Nothing between this comparison and the swap allocates: no __del__ can come between.
            if self._paused is paused and _hooks.exchange(hook, entries, changed, targets, plans):
                return entries, plans

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


def _reordered(entries: _Entries, hook: str) -> _Entries:
    """Sort what is left after a removal; wishes about what went have no effect any more."""
    if any(item.before or item.after for item in entries):
        return in_order(entries, hook)
    return entries


def _without_owner(owner: str, hook: str, entries: _Entries) -> _Entries:
    kept = tuple(item for item in entries if item.owner != owner)
    return entries if len(kept) == len(entries) else _reordered(kept, hook)


def _duplicate(entry: HookHandler) -> HookError:
    return HookError(
        f"{entry.label} is registered already",
        code="hook.duplicate",
        plugin=entry.owner,
        hint="register it once; unregister it first to change its priority",
        hook=entry.hook,
    )


def _check_history(name: str, mode: HookMode, history: object) -> int:
    if isinstance(history, bool) or not isinstance(history, int) or history < 0:
        raise HookTypeError(
            f"history of hook {name!r} is {history!r}, not a number of calls",
            hint="give how many past calls a late handler gets, such as history=100",
            hook=name,
        )
    if history and mode is not HookMode.NOTIFY:
        raise HookTypeError(
            f"hook {name!r} has history, but its mode is {mode.value}: nobody waits for the "
            "answers of past calls",
            hint="define it with mode=HookMode.NOTIFY, or without history",
            hook=name,
        )
    return history


def _check_deadline(deadline: object) -> float:
    # NaN compares false.
    if isinstance(deadline, bool) or not isinstance(deadline, int | float) or not deadline > 0:
        raise HookTypeError(
            f"deadline is {deadline!r}, not a number of seconds above 0",
            hint="give seconds, such as deadline=0.5, or None for no limit",
        )
    return float(deadline)


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
