"""Give past calls to handlers that come late."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pluginapi._native._hooks import Meter, PendingCall, Plan

if TYPE_CHECKING:
    from pluginapi.hooks.handler import HookHandler
    from pluginapi.hooks.spec import HookSpec

__all__ = ["Replays"]

_log = logging.getLogger("pluginapi.hooks")


class Replays:
    """Run past calls of one registry; what waits goes on in a task of its own."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, spec: HookSpec, handler: HookHandler, values: list[Any]) -> None:
        """Give a handler past values, the oldest first.

        A handler that waits goes on in a task of the running event loop, where a failure is
        logged.

        Raises:
            HookTypeError: With code ``hook.suspended`` when it waits and no event loop runs.
            Exception: What the handler raised, as the error policy says.
        """
        plan = spec.plan_of_one(handler, self._meter)
        for index, value in enumerate(values):
            answer = plan.start(value)
            if type(answer) is PendingCall:
                self._go_on(spec, handler, plan, answer, values[index + 1 :])
                return

    def _go_on(
        self,
        spec: HookSpec,
        handler: HookHandler,
        plan: Plan,
        pending: PendingCall[Any],
        values: list[Any],
    ) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as err:
            pending.close()
            raise spec.suspended(handler) from err
        task = loop.create_task(
            _finish(handler, plan, pending, values), name=f"pluginapi-replay-{spec.name}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel what still waits; from another thread than the loop's, soon."""
        for task in list(self._tasks):
            task.get_loop().call_soon_threadsafe(task.cancel)


async def _finish(
    handler: HookHandler, plan: Plan, pending: PendingCall[Any], values: list[Any]
) -> None:
    try:
        await pending
        for value in values:
            answer = plan.start(value)
            if type(answer) is PendingCall:
                await answer
    except Exception:  # noqa: BLE001 - nobody awaits the task
        _log.exception("%s failed on a past call", handler.label)
