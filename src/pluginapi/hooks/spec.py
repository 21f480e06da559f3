"""What a hook was defined as, and what follows when a call leaves the common path."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from pluginapi._native import _hooks
from pluginapi.errors import HookTypeError
from pluginapi.hooks.deadline import Deadline
from pluginapi.hooks.modes import ErrorPolicy, HookMode
from pluginapi.hooks.results import StopChain, Veto, VetoResult
from pluginapi.runtime_types import RuntimeType

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler

__all__ = ["HookSpec"]

_MODES: Final = {
    HookMode.CHAIN: 0,
    HookMode.NOTIFY: 1,
    HookMode.COLLECT: 2,
    HookMode.FIRST: 3,
    HookMode.VETO: 4,
}
_POLICIES: Final = {ErrorPolicy.RAISE: 0, ErrorPolicy.ISOLATE: 1, ErrorPolicy.COLLECT: 2}

_Classes: TypeAlias = tuple[type, ...] | None

_log = logging.getLogger("pluginapi.hooks")

_hooks.connect(StopChain, VetoResult(allowed=True))


@dataclass(frozen=True, slots=True)
class HookSpec:
    """Hold the definition of a hook. Plans keep it, so it knows neither hook nor handlers.

    Attributes:
        name: The hook's name.
        takes: The type of the value that a call takes.
        returns: The type of what one handler returns.
        mode: What becomes of results.
        on_error: What follows when a handler raises.
        timed: Whether the time of handlers is measured.
        history: How many past calls a handler that comes late is given.
    """

    name: str
    takes: RuntimeType
    returns: RuntimeType
    mode: HookMode
    on_error: ErrorPolicy
    timed: bool
    history: int
    _numbers: tuple[int, int, bool, _Classes, _Classes] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        # Looked up once: plans are made with every registration.
        numbers = (
            _MODES[self.mode],
            _POLICIES[self.on_error],
            self.timed,
            self.takes.classes,
            self.returns.classes,
        )
        object.__setattr__(self, "_numbers", numbers)

    def plan(
        self, handlers: tuple[HookHandler, ...], meter: _hooks.Meter, *, recorded: bool = False
    ) -> _hooks.Plan:
        """Compile handlers, in the order in which they run; `recorded` calls are remembered."""
        return _hooks.compiled(self, handlers, meter, *self._numbers, recorded)

    def plan_of_one(
        self, handler: HookHandler, meter: _hooks.Meter, rest: object = None
    ) -> _hooks.Plan:
        """Compile one handler alone; a wrapper runs around `rest`."""
        return _hooks.Plan(self, (handler,), meter, *self._numbers, rest)

    # Called by the loop, when something is out of the ordinary.

    def refuse_value(self, value: object) -> NoReturn:
        """Refuse a value that the hook does not take."""
        raise HookTypeError(
            f"hook {self.name!r} takes {self.takes.name}, not {type(value).__name__}",
            hint=f"call it with {self.takes.name}",
            hook=self.name,
        )

    def refuse_result(self, handler: HookHandler, result: object) -> NoReturn:
        """Refuse a result that is not of the hook's type."""
        expected = (
            "None, a bool or Veto"
            if self.mode is HookMode.VETO
            else f"a list of {self.returns.name}"
            if handler.wrapper and self.mode is HookMode.COLLECT
            else self.returns.name
        )
        raise HookTypeError(
            f"{handler.label} returned {type(result).__name__}, not {expected}",
            plugin=handler.owner,
            hint=f"return {expected} from the handler, or None to leave the value as it is",
            hook=self.name,
        )

    def objection(self, handler: HookHandler, result: object) -> VetoResult:
        """Turn what a handler of a veto hook said, other than None and True, into the answer."""
        if handler.wrapper:
            if isinstance(result, VetoResult):
                return result
            if result is True:
                return VetoResult(allowed=True)
        if isinstance(result, Veto):
            return VetoResult(False, handler.owner, handler.name, result.reason)
        if result is not False:
            self.refuse_result(handler, result)
        return VetoResult(False, handler.owner, handler.name)

    def isolated(self, handler: HookHandler, error: Exception) -> VetoResult | None:
        """Log a failure that does not end the call; on a veto hook it does, as a veto."""
        _log.warning("%s failed; the call goes on", handler.label, exc_info=error)
        if self.mode is not HookMode.VETO:
            return None
        reason = f"the check failed: {type(error).__name__}: {error}"
        return VetoResult(False, handler.owner, handler.name, reason)

    def parts(self, handler: HookHandler, error: Exception) -> list[Exception]:
        """Return what to gather of an error: of a wrapper, what the rest gathered already."""
        if isinstance(error, ExceptionGroup) and handler.passed_through(error):
            return list(error.exceptions)
        return [error]

    def raise_group(self, errors: list[Exception]) -> NoReturn:
        """Raise the errors of a call together."""
        raise ExceptionGroup(f"{len(errors)} handlers of hook {self.name!r} failed", errors)

    def suspended(self, handler: HookHandler) -> HookTypeError:
        """Return the error for a handler that waits in a synchronous call."""
        return HookTypeError(
            f"{handler.label} waits in a synchronous call",
            code="hook.suspended",
            plugin=handler.owner,
            hint=f"call the hook with 'await {self.name}(value)'",
            hook=self.name,
        )

    def stop_iteration(self, handler: HookHandler, error: StopIteration) -> RuntimeError:
        """Return what stands for a StopIteration, which would end whoever awaits the call."""
        made = RuntimeError(f"{handler.label} raised StopIteration")
        made.__cause__ = error
        return made

    def arm(self, handler: HookHandler, seconds: float) -> Deadline:
        """Start the clock of a handler that has begun to wait after so many seconds."""
        return Deadline(handler, handler.deadline - seconds)
