"""What handlers return and what a hook call answers, beyond plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pluginapi.errors import HookError

__all__ = ["HookExecutionError", "HookOutcome", "StopChain", "Veto", "VetoResult"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StopChain(Generic[T]):
    """Return this from a handler: the value is final and no later handler runs."""

    value: T


@dataclass(frozen=True, slots=True)
class Veto:
    """Return this from a handler of a veto hook to object, with a reason for the caller."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class VetoResult:
    """Answer a veto hook; true exactly when nobody objected.

    Attributes:
        allowed: Whether nobody objected.
        by: Owner of the handler that objected; None for the host's own, or when allowed.
        handler: Name of that handler, empty when allowed.
        reason: What it said.
    """

    allowed: bool
    by: str | None = None
    handler: str = ""
    reason: str = ""

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class HookOutcome:
    """Tell what one handler did in `Hook.execute_all`.

    Attributes:
        owner: Plugin of the handler, or None for the host.
        handler: Its name.
        value: What it returned (of a `StopChain`, the value in it); None after an error.
        error: What it raised, or None.
        final: Whether it ended the call: later handlers did not run.
    """

    owner: str | None
    handler: str
    value: Any = None
    error: Exception | None = None
    final: bool = False

    @property
    def ok(self) -> bool:
        """Whether the handler returned."""
        return self.error is None


class HookExecutionError(HookError):
    """A handler failed in `Hook.execute_until_error`; its exception is the ``__cause__``.

    Attributes:
        results: What the handlers before it returned, in order.
    """

    def __init__(self, message: str, *, results: tuple[Any, ...], **context: Any) -> None:
        super().__init__(message, **context)
        self.results = results
