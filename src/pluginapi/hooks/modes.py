"""How a hook treats values and errors: its mode and its error policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Any

from pluginapi.hooks.results import StopChain, Veto, VetoResult

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler
    from pluginapi.hooks.spec import HookSpec
    from pluginapi.runtime_types import RuntimeType

__all__ = ["ErrorPolicy", "Fold", "HookMode", "new_fold", "unwrap"]


class HookMode(Enum):
    """Say what becomes of the handlers' results.

    In every mode a `StopChain` returned by a handler ends the call.
    """

    CHAIN = "chain"
    """The result of one handler is the input of the next and the last one is the answer. None
    leaves the value as it is. A result that only the output type admits is final."""

    NOTIFY = "notify"
    """All handlers get the same value, results do not matter, the answer is None."""

    COLLECT = "collect"
    """All handlers get the same value; the answer is the list of results that are not None."""

    FIRST = "first"
    """All handlers get the same value until one returns something other than None: the answer."""

    VETO = "veto"
    """All handlers get the same value until one objects with `Veto` or False; None and True let
    it pass. The answer is a `VetoResult`."""


class ErrorPolicy(Enum):
    """Say what follows when a handler raises an `Exception`.

    Cancellation and other exceptions outside `Exception` always pass through at once. Every
    exception carries a note that names the hook, the handler and its owner.
    """

    RAISE = "raise"
    """The handler's own exception ends the call."""

    ISOLATE = "isolate"
    """It is logged with level WARNING and counted, and the call goes on as if the handler had
    returned None; on a veto hook, where that would let pass what nobody could check, it counts
    as a veto."""

    COLLECT = "collect"
    """All handlers run, then the exceptions are raised together in an `ExceptionGroup`."""


class Fold(ABC):
    """Gather the results of one call that is surveyed handler by handler, mode by mode.

    Calls that are not surveyed do the same in hook_loop.h.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value  # What the next handler is given.

    @abstractmethod
    def take(self, handler: HookHandler, result: Any, /) -> bool:
        """Take a handler's result; tell whether the call ends with it."""

    @abstractmethod
    def answer(self) -> Any:
        """Return what the call answers."""


class _ChainFold(Fold):
    __slots__ = ("_input",)

    def __init__(self, value: Any, input_type: RuntimeType) -> None:
        super().__init__(value)
        self._input = input_type

    def take(self, _handler: HookHandler, result: Any, /) -> bool:
        if result is None:
            return False
        self.value = result
        return not self._input.admits(result)

    def answer(self) -> Any:
        return self.value


class _NotifyFold(Fold):
    __slots__ = ()

    def take(self, _handler: HookHandler, _result: Any, /) -> bool:
        return False

    def answer(self) -> None:
        return None


class _CollectFold(Fold):
    __slots__ = ("_results",)

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._results: list[Any] = []

    def take(self, _handler: HookHandler, result: Any, /) -> bool:
        if result is not None:
            self._results.append(result)
        return False

    def answer(self) -> list[Any]:
        return self._results


class _FirstFold(Fold):
    __slots__ = ("_found",)

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._found: Any = None

    def take(self, _handler: HookHandler, result: Any, /) -> bool:
        self._found = result
        return result is not None

    def answer(self) -> Any:
        return self._found


class _VetoFold(Fold):
    __slots__ = ("_verdict",)

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._verdict = VetoResult(allowed=True)

    def take(self, handler: HookHandler, result: Any, /) -> bool:
        if result is None or result is True:
            return False
        reason = result.reason if isinstance(result, Veto) else ""
        self._verdict = VetoResult(False, handler.owner, handler.name, reason)
        return True

    def answer(self) -> VetoResult:
        return self._verdict


def new_fold(mode: HookMode, value: Any, input_type: RuntimeType) -> Fold:
    """Return the fold of one call."""
    if mode is HookMode.CHAIN:
        return _ChainFold(value, input_type)
    return _FOLDS[mode](value)


_FOLDS: dict[HookMode, type[_NotifyFold | _CollectFold | _FirstFold | _VetoFold]] = {
    HookMode.NOTIFY: _NotifyFold,
    HookMode.COLLECT: _CollectFold,
    HookMode.FIRST: _FirstFold,
    HookMode.VETO: _VetoFold,
}


def unwrap(spec: HookSpec, handler: HookHandler, result: Any) -> tuple[Any, bool]:
    """Return a handler's checked result and whether it asked to stop.

    Raises:
        HookTypeError: When the result is not of a type that the hook takes.
    """
    final = isinstance(result, StopChain)
    value = result.value if final else result
    if value is None or spec.mode is HookMode.NOTIFY:
        return value, final
    good = (
        isinstance(value, bool | Veto) if spec.mode is HookMode.VETO else spec.returns.admits(value)
    )
    if not good:
        spec.refuse_result(handler, value)
    return value, final
