"""The calls of a hook: what hooks and subsets of them have in common."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from pluginapi._native._hooks import HookCore, PendingCall, Plan
from pluginapi.errors import HookError
from pluginapi.hooks.modes import Fold, new_fold, unwrap
from pluginapi.hooks.results import HookExecutionError, HookOutcome

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler
    from pluginapi.hooks.spec import HookSpec

__all__ = ["CallableHook"]

In = TypeVar("In", contravariant=True)  # noqa: PLC0105 - the names that the documentation uses
Out = TypeVar("Out", covariant=True)  # noqa: PLC0105 - the names that the documentation uses


class CallableHook(HookCore, Generic[In, Out]):
    """Call handlers; `Hook` and `HookSubset` are both."""

    __slots__ = ()

    _plan: Plan | None
    _entries: tuple[HookHandler, ...]

    if TYPE_CHECKING:
        # Compiled, in HookCore.
        def call(self, value: In) -> Out:
            """Run the handlers without an event loop and return the answer."""

        def start(self, value: In) -> Out | PendingCall[Out]:
            """Run the handlers up to the first that waits; return the answer, or what waits."""

    async def __call__(self, value: In) -> Out:
        """Run the handlers on a value and return the answer.

        Raises:
            HookTypeError: When the value, or under ``RAISE`` a handler's result, is not of the
                hook's type.
            HookError: With code ``hook.closed`` when the registry is closed.
            ExceptionGroup: Under ``COLLECT``, with the exceptions of all handlers that failed.
        """
        answer = self.start(value)
        if type(answer) is PendingCall:
            waited: Out = await answer
            return waited
        return answer

    async def execute_until_error(self, value: In) -> list[Any]:
        """Run the handlers until one fails and return what each returned.

        Values pass from handler to handler as the hook's mode says; the error policy does not
        apply.

        Raises:
            HookExecutionError: When a handler failed; ``results`` holds what the handlers before
                it returned and ``__cause__`` is its exception.
        """
        outcomes = await self._outcomes(value, until_error=True)
        results: list[Any] = []
        for outcome in outcomes:
            if outcome.error is not None:
                name = self._spec.name
                raise HookExecutionError(
                    f"handler {outcome.handler} failed on hook {name!r}: {outcome.error}",
                    results=tuple(results),
                    plugin=outcome.owner,
                    hint="the cause of this error is the handler's own exception",
                    hook=name,
                ) from outcome.error
            results.append(outcome.value)
        return results

    async def execute_all(self, value: In) -> list[HookOutcome]:
        """Run every handler, whatever the others do, and return the outcome of each.

        Values pass from handler to handler as the hook's mode says; one that failed leaves the
        value as it is. A handler that ends the call, as `HookMode` tells, still does. A wrapper
        gets the answer of those that did not fail; its own outcome comes after theirs.
        """
        return await self._outcomes(value, until_error=False)

    def __len__(self) -> int:
        """Return how many handlers a call that starts now would run."""
        plan, count = self._plan, 0
        while plan is not None:
            count += len(plan)
            plan = plan.rest
        return count

    # Without this an empty hook would be false, and `if hook:` a trap.
    def __bool__(self) -> bool:
        return True

    @property
    def _spec(self) -> HookSpec:
        raise NotImplementedError

    def _plan_for(self, value: Any) -> Plan:
        """Return the plan of a call that is not the common case; called by `HookCore` too."""
        del value
        plan = self._plan
        if plan is None:
            self._refuse_closed()
        return plan

    def _refuse_closed(self) -> NoReturn:
        name = self._spec.name
        raise HookError(
            f"hook {name!r} was called after its registry was closed",
            code="hook.closed",
            hint="call hooks only while the host runs",
            hook=name,
        )

    async def _outcomes(self, value: Any, *, until_error: bool) -> list[HookOutcome]:
        plan = self._plan_for(value)
        if not self._spec.takes.admits(value):
            self._spec.refuse_value(value)
        survey = _Survey(self._spec, until_error)
        try:
            await survey.run(plan, value)
        except Exception:
            # What a handler raised is in its outcome; it has only ended the survey.
            if all(outcome.ok for outcome in survey.outcomes):
                raise
        return survey.outcomes


class _Survey:
    """Run a plan handler by handler and write down what each did."""

    def __init__(self, spec: HookSpec, until_error: bool) -> None:
        self.spec = spec
        self.until_error = until_error
        self.outcomes: list[HookOutcome] = []

    async def run(self, plan: Plan, value: Any) -> Any:
        """Run all of a plan and return its answer; under `until_error`, raise what failed."""
        fold = new_fold(self.spec.mode, value, self.spec.takes)
        for index, handler in enumerate(plan.handlers):
            if handler.wrapper:
                return await self._wrapper(plan, handler, fold)
            try:
                result, final = await self._one(plan, index, handler, fold.value)
            except Exception as err:
                self.outcomes.append(HookOutcome(handler.owner, handler.name, error=err))
                if self.until_error:
                    raise
                continue
            final = fold.take(handler, result) or final
            self.outcomes.append(HookOutcome(handler.owner, handler.name, result, final=final))
            if final:
                break
        return fold.answer()

    async def _one(
        self, plan: Plan, index: int, handler: HookHandler, value: Any
    ) -> tuple[Any, bool]:
        result = plan.start_one(index, value)
        if type(result) is PendingCall:
            result = await result
        try:
            return unwrap(self.spec, handler, result)
        except Exception as err:
            handler.blame(err)
            handler.count_error()
            raise

    async def _wrapper(self, plan: Plan, handler: HookHandler, fold: Fold) -> Any:
        """Run a wrapper around the rest, whose handlers are surveyed as well."""
        alone = self.spec.plan_of_one(handler, plan.meter, _SurveyedRest(self, plan.rest))
        try:
            answer = alone.start_one(0, fold.value)
            if type(answer) is PendingCall:
                answer = await answer
        except Exception as err:
            if not handler.passed_through(err):
                self.outcomes.append(HookOutcome(handler.owner, handler.name, error=err))
            if self.until_error:
                raise
            return fold.answer()
        self.outcomes.append(HookOutcome(handler.owner, handler.name, answer))
        return answer


class _SurveyedRest:
    """Stand in for the plan that a wrapper runs around."""

    def __init__(self, survey: _Survey, plan: Plan) -> None:
        self._survey = survey
        self._plan = plan

    def start(self, value: Any) -> Awaitable[Any]:
        """Return what runs the rest."""
        return self._survey.run(self._plan, value)
