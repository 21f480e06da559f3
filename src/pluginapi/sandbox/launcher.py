"""Run any program in a sandbox, as plugins are run in one."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from pluginapi.errors import PluginProcessError, PluginTimeout, SandboxError
from pluginapi.process.nursery import Ended, Nursery, Refusal, native_command
from pluginapi.process.supervisor import Supervisor
from pluginapi.sandbox.confinement import Confinement, Confiner
from pluginapi.sandbox.pipes import Pipes
from pluginapi.sandbox.report import SandboxReport, read_report

if TYPE_CHECKING:
    from pluginapi.sandbox.config import SandboxConfig

__all__ = ["Completed", "Launcher", "Program"]

_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Completed(NamedTuple):
    """How a program ended, and what it printed.

    Attributes:
        code: ``si_code`` of waitid(2): CLD_EXITED, CLD_KILLED or CLD_DUMPED; None when whoever
            started it ended first.
        status: The exit status, or the signal.
        stdout: What it wrote to its standard output.
        stderr: What it wrote to its standard error.
    """

    code: int | None
    status: int | None
    stdout: bytes
    stderr: bytes

    @property
    def exit_status(self) -> int:
        """The status as a shell has it: 128 and the signal for a program that was killed."""
        if self.code == os.CLD_EXITED and self.status is not None:
            return self.status
        return 128 + (self.status or signal.SIGKILL)


@dataclass(eq=False)
class Program:
    """A program that runs in a sandbox; `Launcher.start` makes it."""

    id: int
    pid: int
    pidfd: int
    confinement: Confinement

    def __post_init__(self) -> None:
        self._done = threading.Event()
        self._ended = Ended(None, None)

    def report(self) -> SandboxReport:
        """Return what confines it, as the kernel says."""
        return read_report(self.pid, self.confinement)

    def kill(self) -> None:
        """End it, and all processes in its PID namespace, now."""
        self.confinement.kill()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> Ended | None:
        """Wait until it has ended; return how, or None when it has not."""
        return self._ended if self._done.wait(timeout) else None

    def ended(self, ended: Ended) -> None:
        """Take note that it has ended; called by the launcher."""
        self._ended = ended
        self._done.set()


class Launcher:
    """Run programs in sandboxes, for a configuration to be tried and for programs beside plugins.

    Whatever still runs ends with it, and with this process. Thread-safe.

    Args:
        start_timeout: Seconds that starting may take.
        cells: How many sets of namespaces are kept ready.

    Raises:
        UnsupportedPlatform: Elsewhere than on Linux.
    """

    def __init__(self, *, start_timeout: float = 30.0, cells: int = 1) -> None:
        native_command()
        self._timeout = start_timeout
        self._lock = threading.Lock()
        self._supervisor = Supervisor()
        self._nursery: Nursery | None = None
        self._running: dict[int, Program] = {}
        self._untold: dict[int, Ended] = {}
        self._closed = False
        self._confiner = Confiner(self._native, self._supervisor, cells=cells)

    def start(
        self,
        config: SandboxConfig,
        command: Sequence[str],
        *,
        fds: tuple[int, int, int],
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Start a program; the caller waits for it and calls `finish`.

        Args:
            config: What confines it.
            command: The path of the program as the sandbox shows it, and its arguments.
            fds: Its standard input, output and error. A terminal of the caller's does not belong
                here: a program could type into it.
            env: Its whole environment, in place of a PATH and a locale.

        Raises:
            SandboxError: When a layer could not be made, or the program not be executed there.
        """
        policy = self._confiner.policy(config, "command")
        packed = _packed(command, _ENVIRONMENT if env is None else env)
        nursery = self._native()
        self._confiner.prepare(nursery, policy)
        confinement = self._confiner.confine("command", policy)
        try:
            spawned = nursery.spawn(fds, confinement.request(command=packed))
        except Refusal as err:
            confinement.release()
            raise confinement.failed(err) from err
        except PluginProcessError as err:
            confinement.release()
            if err.details.get("call") == "execve":
                raise _not_executed(command[0], str(err.details.get("errno"))) from err
            raise
        except BaseException:
            confinement.release()
            raise
        confinement.started()
        made = Program(spawned.id, spawned.pid, spawned.pidfd, confinement)
        with self._lock:
            ended = self._untold.pop(spawned.id, None)
            if ended is None:
                self._running[spawned.id] = made
        if ended is not None:
            made.ended(ended)
        return made

    def finish(self, program: Program) -> None:
        """End a program if it runs, and give back what is held of it."""
        program.kill()
        program.wait(10)
        with self._lock:
            self._running.pop(program.id, None)
        program.confinement.release()
        os.close(program.pidfd)

    def run(
        self,
        config: SandboxConfig,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes = b"",  # noqa: A002 - as subprocess.run calls it
        timeout: float = 60.0,
        started: Callable[[Program], object] | None = None,
    ) -> Completed:
        """Run a program to its end and return what it printed, of which 64 MiB are kept.

        Args:
            config: What confines it.
            command: As for `start`.
            env: As for `start`.
            input: What it can read from its standard input.
            timeout: Seconds that it may take.
            started: Called with the program as soon as it runs, before its input is written.

        Raises:
            PluginTimeout: When it takes longer than ``timeout`` seconds; it has ended then.
            SandboxError: As `start`.
        """
        pipes = Pipes()
        try:
            program = self.start(config, command, fds=pipes.theirs, env=env)
        except BaseException:
            pipes.close()
            raise
        finally:
            pipes.close_theirs()
        try:
            if started is not None:
                started(program)
            finished = pipes.exchange(input, time.monotonic() + timeout, program.pidfd)
            ended = program.wait(timeout) if finished else None
        finally:
            pipes.close()
            self.finish(program)
        if ended is None:
            raise PluginTimeout(
                f"{' '.join(command)} did not end within {timeout:g} s",
                code="process.deadline",
                hint="give it more time",
            )
        return Completed(ended.code, ended.status, *pipes.outputs)

    def close(self) -> None:
        """End all programs; idempotent."""
        with self._lock:
            self._closed = True
            running = tuple(self._running.values())
            nursery, self._nursery = self._nursery, None
        self._confiner.stop()
        for program in running:
            program.kill()
        self._confiner.close()
        if nursery is not None:
            nursery.close()
        self._supervisor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _native(self) -> Nursery:
        with self._lock:
            if self._closed:
                raise PluginProcessError(
                    "the launcher is closed", code="process.state", hint="make another one"
                )
            if self._nursery is None or self._nursery.closed:
                self._nursery = Nursery(
                    "native", native_command(), self._supervisor, self._ended, self._timeout
                )
            return self._nursery

    def _ended(self, id_: int, ended: Ended) -> None:
        with self._lock:
            program = self._running.pop(id_, None)
            if program is None:
                self._untold[id_] = ended
        if program is not None:
            program.ended(ended)


def _packed(command: Sequence[str], env: Mapping[str, str]) -> bytes:
    """Return arguments and environment as the nursery takes them."""
    texts = [os.fsencode(text) for text in command]
    texts += [os.fsencode(f"{name}={value}") for name, value in env.items()]
    if not command or any(b"\0" in text for text in texts):
        raise SandboxError(
            "a command has a path at least, and no byte 0",
            code="sandbox.command",
            layer="start",
            hint="name the program by its path in the sandbox",
        )
    return struct.pack("=II", len(command), len(env)) + b"".join(text + b"\0" for text in texts)


def _not_executed(path: str, reason: str) -> SandboxError:
    return SandboxError(
        f"{path} cannot be executed in the sandbox: {reason}",
        code="sandbox.command",
        layer="start",
        hint="show it, its interpreter and its libraries: read_only_paths, or --read PATH",
        path=path,
    )
