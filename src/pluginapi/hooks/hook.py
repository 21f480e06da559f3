"""One hook: its types, its mode, and the calls that run its handlers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks.modes import ErrorPolicy, HookMode, new_fold, unwrap
from pluginapi.hooks.priority import HookPriority
from pluginapi.hooks.results import HookExecutionError, HookOutcome

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler
    from pluginapi.hooks.registry import HookRegistry
    from pluginapi.runtime_types import RuntimeType

__all__ = ["Hook"]

In = TypeVar("In", contravariant=True)  # noqa: PLC0105 - the names that the documentation uses
Out = TypeVar("Out", covariant=True)  # noqa: PLC0105 - the names that the documentation uses

_log = logging.getLogger("pluginapi.hooks")


class _Call:
    """Remember which handler a call is in: a synchronous call that suspends names it."""

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current: HookHandler | None = None


class Hook(Generic[In, Out]):
    """Call the handlers of one hook; `HookRegistry.define` makes it.

    ``In`` is the type of the value that a call takes, ``Out`` that of its answer: the output type
    for a chain, None for notify, a list for collect, the output type or None for first, a
    `VetoResult` for veto.

    A call takes the snapshot of handlers at its start and keeps it: handlers that are registered
    or removed meanwhile change later calls only. Handlers run one after the other, in the
    caller's task and thread; async ones are awaited in place, without a task of their own. Calls
    may run at the same time from any number of threads and tasks.

    Exceptions of handlers follow the hook's `ErrorPolicy`; under ``RAISE`` the handler's own
    exception propagates, with a note that names hook, handler and owner.

    Attributes:
        name: The hook's name.
        mode: What becomes of results.
        on_error: What follows when a handler raises.
        defined: False while nobody but by-name registration has named the hook.
    """

    __slots__ = (
        "__weakref__",
        "_entries",
        "_input",
        "_output",
        "_registry",
        "_snapshot",
        "defined",
        "mode",
        "name",
        "on_error",
    )

    def __init__(
        self,
        registry: HookRegistry,
        name: str,
        *,
        input_type: RuntimeType,
        output_type: RuntimeType,
        mode: HookMode,
        on_error: ErrorPolicy,
    ) -> None:
        self._registry = registry
        self.name = name
        self._input = input_type
        self._output = output_type
        self.mode = mode
        self.on_error = on_error
        self.defined = True
        self._entries: tuple[HookHandler, ...] = ()  # All handlers, in order.
        self._snapshot: tuple[HookHandler, ...] = ()  # Those whose owner is not paused.

    def _define(
        self,
        input_type: RuntimeType,
        output_type: RuntimeType,
        mode: HookMode,
        on_error: ErrorPolicy,
    ) -> None:
        self._input, self._output, self.mode, self.on_error = (
            input_type,
            output_type,
            mode,
            on_error,
        )
        self.defined = True

    def _is(
        self,
        input_type: RuntimeType,
        output_type: RuntimeType,
        mode: HookMode,
        on_error: ErrorPolicy,
    ) -> bool:
        own = (self._input, self._output, self.mode, self.on_error)
        return own == (input_type, output_type, mode, on_error)

    @property
    def input_type(self) -> Any:
        """The type of the value that a handler is given; ``Any`` when it is not checked."""
        return self._input.annotation

    @property
    def output_type(self) -> Any:
        """The type that one handler returns; native results are decoded into it."""
        return self._output.annotation

    def register(
        self,
        handler: Callable[[In], object],
        *,
        priority: int = HookPriority.NORMAL,
        owner: str | None = None,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
    ) -> HookHandler:
        """Add a handler; `HookRegistry.register` tells the rules and errors."""
        return self._registry.register(
            self.name, priority, handler, owner=owner, before=before, after=after
        )

    def unregister(
        self, handler: Callable[[In], object] | HookHandler, *, owner: str | None = None
    ) -> None:
        """Remove a handler; `HookRegistry.unregister` tells the rules and errors."""
        self._registry.unregister(self.name, handler, owner=owner)

    async def __call__(self, value: In) -> Out:
        """Run the handlers on a value and return the answer.

        Raises:
            HookTypeError: When the value, or under ``RAISE`` a handler's result, is not of the
                hook's type.
            HookError: With code ``hook.closed`` when the registry is closed.
            ExceptionGroup: Under ``COLLECT``, with the exceptions of all handlers that failed.
        """
        answer: Out = await self._run(value, _Call())
        return answer

    def call(self, value: In) -> Out:
        """Run the handlers without an event loop and return the answer.

        Async handlers are fine as long as they do not wait for anything.

        Raises:
            HookTypeError: With code ``hook.suspended`` when a handler waits; its coroutine is
                closed first. Otherwise as for ``await hook(value)``.
        """
        call = _Call()
        running = self._run(value, call)
        try:
            running.send(None)
        except StopIteration as done:
            answer: Out = done.value
            return answer
        waiting = call.current
        error = HookTypeError(
            f"{waiting.label if waiting else self.name} waits in a synchronous call",
            code="hook.suspended",
            plugin=waiting.owner if waiting else None,
            hint=f"call the hook with 'await {self.name}(value)'",
            hook=self.name,
        )
        try:
            running.close()
        except Exception as err:
            raise error from err
        raise error

    async def execute_until_error(self, value: In) -> list[Any]:
        """Run the handlers until one fails and return what each returned.

        Values pass from handler to handler as the hook's mode says; the error policy does not
        apply.

        Raises:
            HookExecutionError: When a handler failed; ``results`` holds what the handlers before
                it returned and ``__cause__`` is its exception.
        """
        outcomes = await self._outcomes(value, until_error=True)
        results = [outcome.value for outcome in outcomes if outcome.ok]
        failed = outcomes[-1] if len(results) < len(outcomes) else None
        if failed is not None:
            raise HookExecutionError(
                f"handler {failed.handler} failed on hook {self.name!r}: {failed.error}",
                results=tuple(results),
                plugin=failed.owner,
                hint="the cause of this error is the handler's own exception",
                hook=self.name,
            ) from failed.error
        return results

    async def execute_all(self, value: In) -> list[HookOutcome]:
        """Run every handler, whatever the others do, and return the outcome of each.

        Values pass from handler to handler as the hook's mode says; one that failed leaves the
        value as it is. A handler that ends the call, as `HookMode` tells, still does.
        """
        return await self._outcomes(value, until_error=False)

    def __len__(self) -> int:
        """Return how many handlers a call that starts now would run."""
        return len(self._snapshot)

    # Without this an empty hook would be false, and `if hook:` a trap.
    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return (
            f"<Hook {self.name!r} ({self.mode.value}, {self.on_error.value}): "
            f"{self._input.name} -> {self._output.name}, {len(self._entries)} handlers>"
        )

    def _start(self, value: Any) -> tuple[HookHandler, ...]:
        if self._registry.closed:
            raise HookError(
                f"hook {self.name!r} was called after its registry was closed",
                code="hook.closed",
                hint="call hooks only while the host runs",
                hook=self.name,
            )
        if not self._input.admits(value):
            raise HookTypeError(
                f"hook {self.name!r} takes {self._input.name}, not {type(value).__name__}",
                hint=f"call it with {self._input.name}",
                hook=self.name,
            )
        return self._snapshot

    def _accept(self, handler: HookHandler, result: Any) -> tuple[Any, bool]:
        return unwrap(self.mode, self._output, handler, result)

    async def _run(self, value: Any, call: _Call) -> Any:
        handlers = self._start(value)
        observer = self._registry.observer
        fold = new_fold(self.mode, value, self._input)
        errors: list[Exception] = []
        for handler in handlers:
            call.current = handler
            try:
                result, final = await handler.run(fold.value, self._accept, observer)
            except Exception as err:
                if self.on_error is ErrorPolicy.RAISE:
                    raise
                if self.on_error is ErrorPolicy.COLLECT:
                    errors.append(err)
                    continue
                _log.warning("%s failed; the call goes on", handler.label, exc_info=True)
                if fold.take_failure(handler, err):
                    break
                continue
            if fold.take(handler, result) or final:
                break
        if not errors:
            return fold.answer()
        try:
            raise ExceptionGroup(f"{len(errors)} handlers of hook {self.name!r} failed", errors)
        finally:
            # The group's traceback holds this frame: the list would tie a knot that keeps the
            # failed handlers alive until the garbage collector comes by.
            del errors, handlers, handler, call, fold

    async def _outcomes(self, value: Any, *, until_error: bool) -> list[HookOutcome]:
        handlers = self._start(value)
        observer = self._registry.observer
        fold = new_fold(self.mode, value, self._input)
        outcomes: list[HookOutcome] = []
        for handler in handlers:
            try:
                result, final = await handler.run(fold.value, self._accept, observer)
            except Exception as err:  # noqa: BLE001 - the outcome carries it
                outcomes.append(HookOutcome(handler.owner, handler.name, error=err))
                if until_error:
                    break
                continue
            final = fold.take(handler, result) or final
            outcomes.append(HookOutcome(handler.owner, handler.name, result, final=final))
            if final:
                break
        return outcomes
