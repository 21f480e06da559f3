"""The Python zygote: a warm interpreter that forks workers on request.

The host starts it by executing a program, never by a fork, with a clean environment and no
descriptor but its control socket (`pluginapi.process.wire`). It has one thread, runs no code of a
plugin, and adopts the orphans of its workers: none of them outlives it, and it does not outlive the
host.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from pluginapi._native import _confine, _spawn
from pluginapi.process.wire import (
    APPLY,
    ENDED,
    FAILED,
    MADE,
    MOST_FDS,
    READY,
    REFUSED,
    SPARE,
    SPAWN,
    STARTED,
    Message,
    SpawnFlag,
    receive,
    send,
)

if TYPE_CHECKING:
    from pluginapi.ipc.channel import IpcChannel

__all__ = ["main"]

CONTROL_FD: Final = 3
_FDS: Final = 3
_CHILDREN: Final = Path("/proc/thread-self/children")
_ACCEPTED: Final = (
    SpawnFlag.PLAN | SpawnFlag.LOCKED | SpawnFlag.CGROUP | SpawnFlag.CELL | SpawnFlag.PID
)
_MOST_PLAN_BYTES: Final = 1 << 20


def _read(fd: int) -> bytes:
    return os.pread(fd, _MOST_PLAN_BYTES + 1, 0)


def _failure(op: int, id_: int, err: Exception) -> Message:
    """Say what failed, as a message."""
    if isinstance(err, _confine.StepFailed):
        return Message(op, id_, err.step + 1, status=err.errno or 0, text=err.call)
    number = err.errno if isinstance(err, OSError) else errno.EINVAL
    return Message(op, id_, status=number or 0, text="fork" if isinstance(err, OSError) else "plan")


class _Confine:
    """Confine a process that was just forked."""

    def __init__(self, plan: bytes, lock: bytes | None, cell: int | None, fds: list[int]) -> None:
        self.plan = plan
        self.locks = lock
        self.cell = -1 if cell is None else cell
        self.fds = fds

    def enter(self, standard: tuple[int, ...], control: int, id_: int) -> None:
        """Keep these descriptors alone, and run the plan; on failure tell the host and end."""
        extra = (control, self.cell, *self.fds)
        _spawn.settle((*standard, *extra))
        first = len(standard)
        placed = tuple(range(first + 1, first + len(extra)))
        try:
            _confine.apply(self.plan, placed)
        except (OSError, ValueError) as err:
            with socket.socket(fileno=first) as told:
                send(told, _failure(REFUSED, id_, err))
            os._exit(70)
        os.closerange(first, first + len(extra))

    def lock(self) -> None:
        """Give up what joining the channel took."""
        if self.locks is not None:
            _confine.apply(self.locks)


class _Zygote:
    def __init__(self, control: socket.socket, host: int) -> None:
        self.control = control
        self.host = host
        self.pid = os.getpid()
        self.workers: dict[int, tuple[int, int]] = {}  # pidfd: pid, id
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.poll.register(host, select.POLLIN)

    def run(self) -> None:
        """Serve until the host is gone."""
        if not self.tell(Message(READY)):
            return
        while True:
            # An orphan that was ended a moment ago has to be looked for again.
            for fd, _ in self.poll.poll(20 if self.orphans() else None):
                if fd == self.host:
                    return
                going = self.ended(fd) if fd in self.workers else self.take()
                if not going:
                    return

    def tell(self, message: Message, pidfd: int | None = None) -> bool:
        """Send a message; False when the host is gone."""
        fds = () if pidfd is None else (pidfd,)
        while True:
            try:
                send(self.control, message, fds)
                return True
            except BlockingIOError:
                wait = select.poll()
                wait.register(self.control, select.POLLOUT)
                wait.register(self.host, select.POLLIN)
                if any(fd == self.host for fd, _ in wait.poll(1000)):
                    return False
            except OSError:
                return False

    def take(self) -> bool:
        """Take one request; False when the host is gone or sends what it should not."""
        try:
            message, fds = receive(self.control, MOST_FDS)
        except BlockingIOError:
            return True
        except OSError:
            return False
        try:
            if message is not None and message.op == SPAWN and len(fds) >= _FDS:
                return self.spawn(message, fds)
            if message is not None and message.op == APPLY and fds:
                return self.apply(message, fds)
            return False
        finally:
            for fd in fds:
                os.close(fd)

    def apply(self, message: Message, fds: list[int]) -> bool:
        """Run a plan on this process."""
        try:
            _confine.apply(_read(fds[0]), tuple(fds[1:]))
        except (OSError, ValueError) as err:
            return self.tell(_failure(FAILED, message.id, err))
        return self.tell(Message(MADE, message.id))

    def spawn(self, message: Message, fds: list[int]) -> bool:
        """Fork a worker."""
        flags = SpawnFlag(message.status)
        if flags & ~_ACCEPTED:
            return False
        standard, rest = fds[:_FDS], fds[_FDS:]
        try:
            plan = _read(rest.pop(0)) if flags & SpawnFlag.PLAN else None
            lock = _read(rest.pop(0)) if flags & SpawnFlag.LOCKED else None
            group = rest.pop(0) if flags & SpawnFlag.CGROUP else -1
            cell = rest.pop(0) if flags & SpawnFlag.CELL else None
            inside = cell if cell is not None and flags & SpawnFlag.PID else -1
            pid, pidfd = self.fork(inside, group)
        except (OSError, ValueError, IndexError) as err:
            return self.tell(_failure(FAILED, message.id, err))
        if pid == 0:
            confine = None if plan is None else _Confine(plan, lock, cell, rest)
            self.become_worker(message, standard, confine)
        self.workers[pidfd] = pid, message.id
        self.poll.register(pidfd, select.POLLIN)
        return self.tell(Message(STARTED, message.id, pid), pidfd)

    @staticmethod
    def fork(inside: int, group: int) -> tuple[int, int]:
        """Fork, into a PID namespace and a control group unless these are -1."""
        if inside >= 0 or group >= 0:
            return _spawn.fork_into(inside, group)
        pid = os.fork()
        # It was not waited for: the number is still its own.
        return pid, os.pidfd_open(pid) if pid else -1

    def become_worker(self, message: Message, fds: list[int], confine: _Confine | None) -> NoReturn:
        """Go on as a worker; does not return."""
        status = 70
        try:
            # What they hold is closed as a number, which others may have by the time of their end.
            control = self.control.detach()
            channel, handoff, output = fds
            standard = (-1, output, output, channel, handoff)
            if confine is None:
                _spawn.settle(standard)
                _spawn.die_with(self.pid)
            else:
                confine.enter(standard, control, message.id)
            from pluginapi.process.worker import run_worker  # noqa: PLC0415 - imported before

            status = run_worker(
                *(3, 4),
                lock=None if confine is None else confine.lock,
                prepare=_prepare if message.code == SPARE else None,
            )
        except BaseException:  # noqa: BLE001 - there is nobody above
            import traceback  # noqa: PLC0415 - imported before

            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        finally:
            os._exit(status)

    def ended(self, pidfd: int) -> bool:
        """Wait for a worker that has ended and tell how."""
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        pid, id_ = self.workers.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        if result is None:
            return True
        return self.tell(Message(ENDED, id_, pid, result.si_code, result.si_status))

    def orphans(self, *, everyone: bool = False) -> bool:
        """End whoever is a child of this process and no worker; tell whether there was one."""
        workers = () if everyone else {pid for pid, _ in self.workers.values()}
        found = False
        for pid in map(int, _CHILDREN.read_text("ascii").split()):
            if pid not in workers:
                found = True
                # It was not waited for: the number is still its own.
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        return found

    def end_all(self) -> None:
        """End everyone below this process, and wait for them."""
        while True:
            self.orphans(everyone=True)
            try:
                # Children of those that end become this process's; the next round ends them.
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def _prepare(channel: IpcChannel) -> None:
    """Let a spare worker load a plugin of the library, and forget it.

    It touches what any plugin's start touches while nobody waits.
    """
    from pluginapi.process.rehearsal import load_and_forget  # noqa: PLC0415 - imported before
    from pluginapi.runtime.python_modules import prepare_modules  # noqa: PLC0415

    load_and_forget(channel)
    prepare_modules()
    gc.collect()


def _warm_up() -> None:
    """Do what workers need done, so that none of them has to."""
    from pluginapi.process import worker  # noqa: PLC0415
    from pluginapi.process.rehearsal import rehearse  # noqa: PLC0415
    from pluginapi.runtime.python_modules import prepare_modules  # noqa: PLC0415

    worker.warm_up()
    rehearse()
    prepare_modules()
    gc.collect()
    # The collector writes to the objects that it looks at: those of now are never looked at again.
    gc.freeze()


def main() -> None:
    """Run the zygote: ``argv[1]`` is the process id of the host."""
    host_pid = int(sys.argv[1])
    control = socket.socket(fileno=CONTROL_FD)
    control.set_inheritable(False)
    try:
        host = os.pidfd_open(host_pid)
    except ProcessLookupError:
        return
    if os.getppid() != host_pid:
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _spawn.adopt_orphans()
    if not _CHILDREN.exists():
        raise OSError(errno.ENOSYS, "the kernel does not tell the children of a thread")
    _warm_up()
    zygote = _Zygote(control, host)
    try:
        zygote.run()
    finally:
        zygote.end_all()
