"""Await a plugin's coroutine so that the host can give it up even if it ignores that."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["GRACE_SECONDS", "run_in_own_task"]

GRACE_SECONDS: Final = 1.0
"""How long a coroutine that was cancelled may take to clean up before nobody waits for it."""

logger = logging.getLogger("pluginapi.runtime")


async def run_in_own_task(work: Awaitable[Any], name: str) -> Any:
    """Await something in a task of its own and return or raise what it comes to.

    Cancelling this call, as `asyncio.timeout` does, cancels that task and waits for it up to
    `GRACE_SECONDS`. A coroutine that catches its cancellation and goes on is then left behind: it
    keeps nobody waiting, but it runs until it ends or the process does. Context variables that it
    sets are its own.
    """
    task = asyncio.create_task(_outcome(work), name=name)
    try:
        await asyncio.wait({task})
    except BaseException:
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE_SECONDS)
        if not task.done():
            text = "%s ignores that it was cancelled; it goes on and nobody waits for it"
            logger.error(text, name)  # noqa: TRY400 - the traceback is of the cancellation
        raise
    value, error = task.result()
    if error is not None:
        try:
            raise error
        finally:
            # The traceback refers to this frame; without the name there is no cycle.
            del error
    return value


async def _outcome(work: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Carry exceptions as values: a task lets SystemExit out of the event loop."""
    try:
        return await work, None
    except asyncio.CancelledError:
        raise
    except BaseException as err:  # noqa: BLE001 - it is raised again where it is awaited
        return None, err
