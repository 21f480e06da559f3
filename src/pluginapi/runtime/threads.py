"""Run blocking code of unknown duration so that an event loop can give it up."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Generic, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_in_daemon_thread"]

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


class _Call(Generic[_T]):
    """What a call came to, handed over exactly once: to the waiting task or to ``abandoned``.

    Exceptions are carried as values: a future refuses StopIteration as its exception.
    """

    def __init__(self, abandoned: Callable[[_T], object] | None) -> None:
        self._abandoned = abandoned
        self._lock = threading.Lock()
        self._given_up = False
        self._value: list[_T] = []
        self._error: BaseException | None = None

    def finish(self, value: list[_T], error: BaseException | None) -> bool:
        """Store the result; tell whether somebody still waits for it."""
        with self._lock:
            self._value, self._error = value, error
            wanted = not self._given_up
        if not wanted:
            self.give_up()
        return wanted

    def give_up(self) -> None:
        """Release the result if it is there already, or when it comes."""
        with self._lock:
            self._given_up = True
            value, self._value, self._error = self._value, [], None
        if value and self._abandoned is not None:
            self._abandoned(value[0])

    def take(self) -> _T:
        """Return the result or raise what the call raised."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                # The traceback refers to this frame; without the name there is no cycle.
                del error
        return self._value.pop()


async def run_in_daemon_thread(
    function: Callable[[*_Args], _T],
    /,
    *args: *_Args,
    name: str = "pluginapi-call",
    abandoned: Callable[[_T], object] | None = None,
) -> _T:
    """Call a function in a thread of its own and wait for what it returns or raises.

    Cancelling the waiting task, as `asyncio.timeout` does, gives the call up at once: the thread
    goes on, but nobody waits for it and it does not keep the process alive. Context variables are
    copied into the thread. Everything that the function raises is raised here, SystemExit and
    KeyboardInterrupt included.

    Args:
        function: What to call.
        args: Its positional arguments.
        name: The name of the thread.
        abandoned: Takes a result that nobody waits for any more, to release it. It is called in
            the thread of the call, or in the loop's when the result was there already.

    Raises:
        RuntimeError: The system gives no further thread.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    context = contextvars.copy_context()
    call = _Call(abandoned)

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    def work() -> None:
        try:
            wanted = call.finish([context.run(function, *args)], None)
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            wanted = call.finish([], error)
        if wanted:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:
                # The loop was closed meanwhile: the waiting task is gone with it.
                call.give_up()

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        await done
    except BaseException:
        call.give_up()
        raise
    return call.take()
