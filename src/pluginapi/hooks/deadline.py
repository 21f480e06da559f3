"""The time limit of one handler, from when it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pluginapi.errors import HookError, PluginTimeout

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler

__all__ = ["Deadline"]


class Deadline:
    """Cancel what a handler waits for when its time is over, and turn that into a `PluginTimeout`.

    Made in the task that awaits the call. It is an `asyncio.timeout` in all but form, so that
    cancellations from outside, and nested time limits, are told apart as asyncio does it.

    Args:
        handler: Whose limit it is.
        seconds: What is left of it; less than 0 ends it at once.

    Raises:
        HookError: With code ``hook.deadline`` outside of an asyncio task.
    """

    __slots__ = ("_armed", "_handler", "_timeout")

    def __init__(self, handler: HookHandler, seconds: float) -> None:
        self._handler = handler
        self._armed = False
        try:
            self._timeout = asyncio.timeout(seconds)
            _run(self._timeout.__aenter__())
        except RuntimeError as err:
            raise HookError(
                f"{handler.label} has a deadline, and waits where no asyncio task can end it",
                code="hook.deadline",
                plugin=handler.owner,
                hint="await the hook in an asyncio task, or register the handler without deadline",
                hook=handler.hook,
            ) from err
        self._armed = True

    def disarm(self, error: BaseException | None) -> BaseException | None:
        """Stop the clock; return the error that the handler ended with, as others shall see it."""
        self._armed = False
        kind, traceback = (type(error), error.__traceback__) if error is not None else (None, None)
        try:
            _run(self._timeout.__aexit__(kind, error, traceback))
        except TimeoutError:
            handler = self._handler
            made = PluginTimeout(
                f"{handler.label} did not end within {handler.deadline:g} s",
                code="hook.deadline",
                plugin=handler.owner,
                hint="make the handler faster, or register it with a longer deadline",
            )
            made.__cause__ = error
            return made
        return error

    def release(self) -> None:
        """Stop the clock of a handler that was closed, outside of its task or within it."""
        if self._armed:
            self._armed = False
            # When it has just rung, the task is being cancelled already.
            with contextlib.suppress(RuntimeError):
                self._timeout.reschedule(None)

    def __del__(self) -> None:
        # A call that was dropped: the timer would cancel a task that has gone on.
        self.release()


def _run(steps: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that does not wait for anything."""
    try:
        steps.send(None)
    except StopIteration:
        return
    steps.close()
    raise RuntimeError("asyncio.timeout waits where it never did")
