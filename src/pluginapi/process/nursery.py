"""The host's side of the processes that start workers: the native nursery and the Python zygote."""

from __future__ import annotations

import errno
import itertools
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pluginapi import _native
from pluginapi.errors import PluginProcessError, UnsupportedPlatform
from pluginapi.process.orphans import end_orphans, new_mark
from pluginapi.process.wire import (
    APPLY,
    CELL,
    ENDED,
    FAILED,
    MADE,
    READY,
    REFUSED,
    SPARE,
    SPAWN,
    STARTED,
    TEMPLATE,
    Message,
    SpawnFlag,
    receive,
    send,
)

if TYPE_CHECKING:
    from pluginapi.process.supervisor import Supervisor

__all__ = [
    "Ended",
    "Nursery",
    "Refusal",
    "SpawnRequest",
    "Spawned",
    "native_command",
    "native_program",
    "python_command",
]

_ZYGOTE: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; from pluginapi.process.zygote import main; main()"
)

_ENVIRONMENT: Final = (
    b"PATH=/usr/local/bin:/usr/bin:/bin",
    b"LC_ALL=C.UTF-8",
    b"PYTHONUTF8=1",
)


class Spawned(NamedTuple):
    """A worker that was started; the pidfd is the caller's to close."""

    id: int
    pid: int
    pidfd: int


class SpawnRequest(NamedTuple):
    """How a worker is to be started.

    Attributes:
        fds: What the flags say, then those of the plan.
        flags: What of it is confined, and how.
        spare: Nobody waits for it: it may prepare itself for any plugin.
    """

    fds: tuple[int, ...] = ()
    flags: SpawnFlag = SpawnFlag(0)
    spare: bool = False


class Refusal(Exception):
    """A nursery could not do what it was asked.

    Attributes:
        step: The number of the plan's step that failed, or None.
        call: What failed.
        errno: The errno value.
    """

    def __init__(self, message: Message) -> None:
        super().__init__(f"{message.text}: {os.strerror(message.status)}")
        self.step = message.pid - 1 if message.pid > 0 else None
        self.call = message.text
        self.errno = message.status


class Ended(NamedTuple):
    """How a worker ended; both None when the nursery ended first and cannot tell.

    Attributes:
        code: ``si_code`` of waitid(2).
        status: ``si_status`` of waitid(2).
    """

    code: int | None
    status: int | None


def native_program() -> Path:
    """Return the program that is the native nursery, and the native worker.

    Raises:
        UnsupportedPlatform: The program was not built for this platform.
    """
    program = Path(_native.__file__).with_name("plugin-worker")
    if not program.exists():
        raise UnsupportedPlatform(
            f"there is no worker program {program}",
            hint="plugin processes need Linux; in a source tree run `make build`",
        )
    return program


def native_command() -> tuple[bytes, ...]:
    """Return how the native nursery is started.

    Raises:
        UnsupportedPlatform: The program was not built for this platform.
    """
    return os.fsencode(native_program()), b"nursery", str(os.getpid()).encode()


def python_command() -> tuple[bytes, ...]:
    """Return how the Python zygote is started: it imports from where this process does."""
    paths = (path for path in sys.path if Path(path).is_absolute())
    return tuple(
        map(
            os.fsencode,
            (sys.executable, "-I", "-S", "-B", "-c", _ZYGOTE, str(os.getpid()), *paths),
        )
    )


class Nursery:
    """A process that starts workers, and what it says of them.

    Thread-safe. It ends when the host does, or on `close`, and its workers with it.

    Args:
        kind: What it is called, for messages.
        command: Program and arguments.
        supervisor: Watches it.
        on_ended: Told how a worker ended, by its id; on any thread.
        timeout: Seconds until it must be ready, and until it must have started a worker.

    Raises:
        PluginProcessError: With code ``process.start_failed`` when it does not start.
    """

    def __init__(
        self,
        kind: str,
        command: tuple[bytes, ...],
        supervisor: Supervisor,
        on_ended: Callable[[int, Ended], object],
        timeout: float,
    ) -> None:
        from pluginapi._native import _spawn  # noqa: PLC0415 - Linux only

        self.kind = kind
        self._supervisor = supervisor
        self._on_ended = on_ended
        self._timeout = timeout
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._alive: set[int] = set()
        self._answers: dict[int, tuple[Message, list[int]]] = {}
        self._refusals: dict[int, Message] = {}
        self._closed = False
        self._mark = new_mark()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self.pid, self.pidfd = _spawn.spawn(
                    command[0],
                    command,
                    (*_ENVIRONMENT, self._mark),
                    (-1, -1, 2, theirs.fileno()),
                )
        except OSError as err:
            self._control.close()
            raise PluginProcessError(
                f"the {kind} nursery cannot be started: {err}",
                code="process.start_failed",
                hint="see the errno; limits of processes and memory are the usual reason",
            ) from err
        try:
            with self._lock:
                self._await(lambda: READY in self._answers, time.monotonic() + timeout)
                del self._answers[READY]
        except BaseException:
            self._release()
            raise
        supervisor.watch(self._control.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def spawn(self, fds: tuple[int, int, int], request: SpawnRequest = SpawnRequest()) -> Spawned:  # noqa: B008 - it is immutable
        """Start a worker with its channel, the socket of the hand-over, and where its output goes.

        Args:
            fds: These three; of a command, its standard input, output and error.
            request: How.

        Raises:
            PluginProcessError: With code ``process.start_failed``.
            Refusal: When a step of its plan failed.
        """
        code = SPARE if request.spare else 0
        answer, received = self._ask(
            Message(SPAWN, code=code, status=request.flags), (*fds, *request.fds)
        )
        if answer.op == STARTED and len(received) == 1:
            return Spawned(answer.id, answer.pid, received[0])
        for fd in received:
            os.close(fd)
        confined = SpawnFlag.PLAN in request.flags and not answer.text.startswith("exec")
        if answer.op == FAILED and confined:
            raise Refusal(answer)
        raise PluginProcessError(
            f"no worker could be started: {answer.text}: {os.strerror(answer.status)}",
            code="process.start_failed",
            hint="see the errno; limits of processes and memory are the usual reason",
            call=answer.text,
            errno=errno.errorcode.get(answer.status, str(answer.status)),
        )

    def make_cell(self, namespaces: int, ids: tuple[int, int], fds: Sequence[int]) -> int:
        """Make a process that holds namespaces open; return its pidfd, the caller's to close.

        Args:
            namespaces: CLONE_NEW*.
            ids: User and group that a user namespace maps.
            fds: Where it waits for its end, the plan, and the plan's descriptors.

        Raises:
            Refusal: When it could not be made.
        """
        return self._made(Message(CELL, pid=namespaces, code=ids[0], status=ids[1]), fds, 1)[0]

    def make_template(self, fds: Sequence[int]) -> int:
        """Make a mount namespace by a plan; return its descriptor, the caller's to close.

        Args:
            fds: The plan, and the plan's descriptors.

        Raises:
            Refusal: When it could not be made.
        """
        return self._made(Message(TEMPLATE), fds, 1)[0]

    def apply(self, fds: Sequence[int]) -> None:
        """Run a plan on the nursery itself.

        Args:
            fds: The plan, and the plan's descriptors.

        Raises:
            Refusal: When a step failed; those before it are done.
        """
        self._made(Message(APPLY), fds, 0)

    def refusal(self, id_: int) -> Refusal | None:
        """Return why a worker that was started could not be confined, once, or None."""
        events: list[tuple[int, Ended]] = []
        with self._lock:
            if not self._closed:
                self._receive(events)
            found = self._refusals.pop(id_, None)
        self._tell_later(events)
        return None if found is None else Refusal(found)

    def _made(self, message: Message, fds: Sequence[int], count: int) -> list[int]:
        answer, received = self._ask(message, tuple(fds))
        if answer.op == MADE and len(received) == count:
            return received
        for fd in received:
            os.close(fd)
        raise Refusal(answer)

    def _ask(self, message: Message, fds: tuple[int, ...]) -> tuple[Message, list[int]]:
        """Send a request and wait for its answer."""
        deadline = time.monotonic() + self._timeout
        with self._lock:
            id_ = next(self._ids) + READY
            if self._closed:
                raise self._gone()
            try:
                self._send(message._replace(id=id_), fds, deadline)
                self._await(lambda: id_ in self._answers, deadline)
            except OSError as err:
                raise self._gone() from err
            return self._answers.pop(id_)

    def forget(self, id_: int) -> None:
        """Tell nobody any more how this worker ends."""
        with self._lock:
            self._alive.discard(id_)
            self._refusals.pop(id_, None)

    def close(self) -> None:
        """End it and all of its workers, and wait for that."""
        self._ended()

    def abandon(self) -> None:
        """Let go of it in a process that was forked from the one that it belongs to."""
        if self._closed:
            return
        self._closed = True
        self._control.close()
        os.close(self.pidfd)

    # ---- What it says ----

    def _readable(self) -> None:
        events: list[tuple[int, Ended]] = []
        with self._lock:
            going = self._receive(events)
        for id_, ended in events:
            self._on_ended(id_, ended)
        if not going:
            self._ended()

    def _await(self, done: Callable[[], bool], deadline: float) -> None:
        """Receive until an answer is there. The lock is held."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        events: list[tuple[int, Ended]] = []
        while not done():
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise PluginProcessError(
                    f"the {self.kind} nursery did not answer in time",
                    code="process.start_failed",
                    hint="the machine may be overloaded; raise start_timeout_secs",
                )
            if not self._receive(events):
                raise self._gone()
        self._tell_later(events)

    def _tell_later(self, events: list[tuple[int, Ended]]) -> None:
        for id_, ended in events:
            self._supervisor.call_later(0, lambda id_=id_, ended=ended: self._on_ended(id_, ended))  # type: ignore[misc]

    def _send(self, message: Message, fds: tuple[int, ...], deadline: float) -> None:
        while True:
            try:
                send(self._control, message, fds)
                return
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._control, select.POLLOUT)
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise

    def _receive(self, events: list[tuple[int, Ended]]) -> bool:
        """Take what has arrived; False when it has ended. The lock is held."""
        while not self._closed:
            try:
                message, fds = receive(self._control, 1)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if message is None:
                return False
            if message.op == READY:
                self._answers[READY] = message, fds
            elif message.op in (STARTED, FAILED, MADE):
                if message.op == STARTED:
                    self._alive.add(message.id)
                self._answers[message.id] = message, fds
            elif message.op == REFUSED:
                self._refusals[message.id] = message
            elif message.op == ENDED and message.id in self._alive:
                self._alive.discard(message.id)
                events.append((message.id, Ended(message.code, message.status)))
        return False

    def _gone(self) -> PluginProcessError:
        return PluginProcessError(
            f"the {self.kind} nursery, which starts plugin processes, has ended",
            code="process.nursery",
            hint="the next start begins a new one",
        )

    def _ended(self) -> None:
        self._release()
        with self._lock:
            alive, self._alive = self._alive, set()
        for id_ in alive:
            self._on_ended(id_, Ended(None, None))

    def _release(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._supervisor.unwatch(self._control.fileno())
            # Its end is that of the nursery, which first ends all of its workers.
            self._control.close()
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(5000):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        orderly = False
        try:
            result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            orderly = result is not None and result.si_code == os.CLD_EXITED
        except OSError as err:
            # Somebody else in this process waits for every child: then it is done already.
            if err.errno != errno.ECHILD:
                raise
        finally:
            os.close(self.pidfd)
        if not orderly:
            end_orphans(self._mark)
