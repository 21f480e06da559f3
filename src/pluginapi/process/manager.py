"""All plugin processes of a host."""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from pluginapi.errors import PluginError, PluginProcessError, UnsupportedPlatform
from pluginapi.monitor.sampler import open_sampler
from pluginapi.process.budget import RestartBudget
from pluginapi.process.cpu_budget import CpuBudgets
from pluginapi.process.nursery import Ended, Nursery, native_command, python_command
from pluginapi.process.process import PluginProcess, ProcessPlan, Worker
from pluginapi.process.settings import DEFAULT_PROCESS_SETTINGS, ProcessSettings
from pluginapi.process.supervisor import Supervisor
from pluginapi.process.watching import Watchers

if TYPE_CHECKING:
    from pluginapi.ipc.protocol import Initialize
    from pluginapi.limits import ResourceLimits
    from pluginapi.monitor.sampler import ProcessSampler
    from pluginapi.sandbox.config import SandboxConfig
    from pluginapi.sandbox.confinement import Confinement, Confiner
    from pluginapi.sealed_copy import SealedCopy

__all__ = ["SAME_SANDBOX", "PluginProcessManager", "SameSandbox", "WorkerKind"]

WorkerKind: TypeAlias = Literal["native", "python"]

_COMMANDS: Final[dict[str, Callable[[], tuple[bytes, ...]]]] = {
    "native": native_command,
    "python": python_command,
}

_REFILL_DELAY: Final = 0.02


class SameSandbox:
    """In place of a sandbox: the manager's."""


SAME_SANDBOX: Final = SameSandbox()

_log = logging.getLogger("pluginapi.process")
_managers: Final[weakref.WeakSet[PluginProcessManager]] = weakref.WeakSet()


class PluginProcessManager:
    """Start, watch and end the processes of a host's plugins. Thread-safe.

    Nothing is started before it is needed: the first Python plugin starts the zygote, the first
    native one the native nursery, and either starts one thread that watches. When the host ends,
    however it ends, all of them end within moments, and the processes below them.

    Args:
        settings: The bounds.
        sandbox: What confines the processes for which nothing else is said, and the spares; None
            confines nothing.

    Raises:
        UnsupportedPlatform: On a platform without pidfds: plugin processes need Linux.
    """

    def __init__(
        self,
        settings: ProcessSettings = DEFAULT_PROCESS_SETTINGS,
        *,
        sandbox: SandboxConfig | None = None,
    ) -> None:
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            raise UnsupportedPlatform(
                f"plugin processes need Linux 5.9 or newer, this is {sys.platform}",
                hint="run the plugins inside of the host's process",
            )
        self.settings = settings
        self.sandbox = sandbox
        self.sampler: ProcessSampler = open_sampler()
        self._supervisor = Supervisor()
        self._cpu_budgets = CpuBudgets(self._supervisor)
        # For what makes the kernel wait; its thread starts with the first of it.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="pluginapi-memory")
        self._watchers = Watchers(self.sampler, self._cpu_budgets, self._supervisor, self._executor)
        self._confiner: Confiner | None = None
        self._lock = threading.Lock()
        self._starting = {"native": threading.Lock(), "python": threading.Lock()}
        self._nurseries: dict[str, Nursery] = {}
        self._processes: dict[str, PluginProcess] = {}
        self._working: dict[tuple[Nursery, int], PluginProcess] = {}
        self._untold: dict[tuple[Nursery, int], Ended] = {}
        self._budgets: dict[str, RestartBudget] = {}
        self._spares: list[Worker] = []
        self._refilling = False
        self._closed = False
        _managers.add(self)

    # ---- Processes ----

    def create(
        self,
        kind: WorkerKind,
        name: str,
        copy: SealedCopy,
        initialize: Initialize,
        *,
        on_request: Callable[[Any, Any], Any],
        logger: logging.Logger | None = None,
        sandbox: SandboxConfig | SameSandbox | None = SAME_SANDBOX,
        limits: ResourceLimits | None = None,
    ) -> PluginProcess:
        """Return the process of a plugin, not started yet.

        Args:
            kind: Which worker runs it.
            name: The plugin; one process for each name.
            copy: Its verified bytes; the caller keeps them until it discards the process.
            initialize: What the worker is told.
            on_request: Serves what the plugin asks.
            logger: Takes what it logs and prints; without one ``pluginapi.plugin.<name>``.
            sandbox: What confines it, in place of the manager's `sandbox`; None confines nothing.
            limits: What the plugin may use before `measure` returns it; None bounds nothing.

        Raises:
            SandboxUnavailable: When this machine, or this user, cannot have that sandbox.
            PluginProcessError: With code ``process.state`` when there is one of this name, or the
                manager is closed.
        """
        confined_by = self.sandbox if isinstance(sandbox, SameSandbox) else sandbox
        if confined_by is not None:
            self._confining().policy(confined_by, kind)
        plan = ProcessPlan(
            name=name,
            copy=copy,
            initialize=initialize,
            logger=logger or logging.getLogger(f"pluginapi.plugin.{name}"),
            on_request=on_request,
            limits=limits,
        )
        with self._lock:
            self._check_open()
            if name in self._processes:
                raise PluginProcessError(
                    f"plugin {name} has a process already",
                    code="process.state",
                    plugin=name,
                    hint="discard it first",
                )
            budget = self._budgets.setdefault(name, RestartBudget(self.settings))
            made: PluginProcess
            made = self._processes[name] = PluginProcess(
                plan,
                self.settings,
                supervisor=self._supervisor,
                budget=budget,
                hire=lambda: self._hire(kind, made, confined_by),
                watchers=self._watchers,
                on_gone=self._gone,
            )
        return made

    def get(self, name: str) -> PluginProcess | None:
        """Return the process of a plugin, or None."""
        return self._processes.get(name)

    def processes(self) -> tuple[PluginProcess, ...]:
        """Return all processes, in the order of their creation."""
        with self._lock:
            return tuple(self._processes.values())

    def measure(self) -> tuple[PluginProcess, ...]:
        """Measure all processes, once, and return those that use more than they may.

        Blocks for some microseconds for each of them; not with the GIL.
        """
        over = set(self.sampler.sample(peak=True))
        if not over:
            return ()
        return tuple(process for process in self.processes() if process.sampled in over)

    def discard(self, process: PluginProcess) -> None:
        """End a process if it runs, and forget it; its budget of restarts is remembered."""
        process.kill("unloaded")
        with self._lock:
            if self._processes.get(process.name) is process:
                del self._processes[process.name]

    def prepare(self, kind: WorkerKind = "python") -> None:
        """Start what starts workers of this kind, and the spares, so that later starts are quick.

        Blocks until they are there.
        """
        self._nursery(kind)
        if self.sandbox is not None:
            confiner = self._confining()
            policy = confiner.policy(self.sandbox, kind)
            confiner.prepare(self._nursery(kind), policy)
            confiner.confine("spare", policy).release()
            confiner.fill()
        if kind == "python":
            self._refill()

    def close(self) -> None:
        """End all processes now, and what starts them; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            processes = tuple(self._processes.values())
            nurseries = tuple(self._nurseries.values())
            spares, self._spares = self._spares, []
            confiner = self._confiner
        if confiner is not None:
            confiner.stop()
        for process in processes:
            process.kill("the host closes")
        for spare in spares:
            self._dismiss(spare)
        for nursery in nurseries:
            nursery.close()
        self._cpu_budgets.close()
        self._supervisor.close()
        self._executor.shutdown(cancel_futures=True)
        for process in processes:
            process.ended(Ended(None, None))
        self.sampler.close()
        if confiner is not None:
            confiner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- Workers ----

    def _nursery(self, kind: str) -> Nursery:
        with self._starting[kind]:
            with self._lock:
                self._check_open()
                known = self._nurseries.get(kind)
            if known is not None and not known.closed:
                return known
            made: Nursery
            made = Nursery(
                kind,
                _COMMANDS[kind](),
                self._supervisor,
                lambda id_, ended: self._ended((made, id_), ended),
                self.settings.start_timeout,
            )
            with self._lock:
                closed = self._closed
                if not closed:
                    self._nurseries[kind] = made
            if closed:
                made.close()
                raise _closed()
            return made

    def _confining(self) -> Confiner:
        """Return what makes sandboxes, which only hosts have that ask for one."""
        from pluginapi.sandbox.confinement import Confiner  # noqa: PLC0415 - Linux only

        with self._lock:
            self._check_open()
            if self._confiner is None:
                self._confiner = Confiner(lambda: self._nursery("native"), self._supervisor)
            return self._confiner

    def _confine(
        self, kind: WorkerKind, nursery: Nursery, name: str, sandbox: SandboxConfig | None
    ) -> Confinement | None:
        if sandbox is None:
            return None
        confiner = self._confining()
        policy = confiner.policy(sandbox, kind)
        confiner.prepare(nursery, policy)
        return confiner.confine(name, policy)

    def _hire(
        self, kind: WorkerKind, process: PluginProcess, sandbox: SandboxConfig | None
    ) -> Worker:
        worker = self._spare() if kind == "python" and sandbox == self.sandbox else None
        if worker is None:
            nursery = self._nursery(kind)
            confinement = self._confine(kind, nursery, process.name, sandbox)
            worker = Worker(nursery, self.settings, confinement=confinement)
        with self._lock:
            closed = self._closed
            if not closed:
                self._working[worker.nursery, worker.id] = process
        if closed:
            self._dismiss(worker)
            raise _closed()
        return worker

    def _spare(self) -> Worker | None:
        with self._lock:
            worker = self._spares.pop() if self._spares else None
            refill = len(self._spares) < self.settings.spares and not self._refilling
            self._refilling = self._refilling or refill
        if refill:
            # Not now: whoever took this one needs the processor.
            self._supervisor.call_later(_REFILL_DELAY, self._begin_refill)
        return worker

    def _begin_refill(self) -> None:
        threading.Thread(target=self._refill_later, name="pluginapi-spares", daemon=True).start()

    def _refill_later(self) -> None:
        try:
            self._refill()
        except PluginError as err:
            _log.warning("no spare worker could be started: %s", err)
        finally:
            self._refilling = False

    def _refill(self) -> None:
        while True:
            with self._lock:
                if self._closed or len(self._spares) >= self.settings.spares:
                    return
            nursery = self._nursery("python")
            confinement = self._confine("python", nursery, "spare", self.sandbox)
            worker = Worker(nursery, self.settings, spare=True, confinement=confinement)
            with self._lock:
                kept = self._open()
                if kept:
                    self._spares.append(worker)
            if not kept:
                self._dismiss(worker)

    @staticmethod
    def _dismiss(worker: Worker) -> None:
        worker.nursery.forget(worker.id)
        worker.kill()
        os.close(worker.output)
        worker.release()

    def _ended(self, key: tuple[Nursery, int], ended: Ended) -> None:
        with self._lock:
            process = self._working.pop(key, None)
            spare = None
            if process is None:
                spare = next((w for w in self._spares if (w.nursery, w.id) == key), None)
                if spare is not None:
                    self._spares.remove(spare)
                elif not self._closed:
                    # It is being hired at this moment.
                    self._untold[key] = ended
        if process is not None:
            process.ended(ended)
        elif spare is not None:
            os.close(spare.output)
            spare.release()

    def _gone(self, process: PluginProcess) -> None:
        """Tell a process what it could not be told before, and forget its worker."""
        key = process.worker_id
        with self._lock:
            ended = None if key is None else self._untold.pop(key, None)
        if ended is not None:
            process.ended(ended)

    def _open(self) -> bool:
        return not self._closed

    def _check_open(self) -> None:
        if self._closed:
            raise _closed()

    # ---- fork() of the host ----

    def _abandon(self) -> None:
        """Let go of everything in a process that was forked from the host, taking no lock."""
        self._closed = True
        self._lock = threading.Lock()
        self._supervisor.abandon()
        self.sampler.abandon()
        self._cpu_budgets.abandon()
        for process in self._processes.values():
            process.abandon()
        for spare in self._spares:
            spare.abandon("(none yet)")
        self._spares = []
        for nursery in self._nurseries.values():
            nursery.abandon()
        if self._confiner is not None:
            self._confiner.abandon()


def _closed() -> PluginProcessError:
    return PluginProcessError(
        "the manager of plugin processes is closed",
        code="process.state",
        hint="make another one",
    )


def _after_fork() -> None:
    for manager in tuple(_managers):
        manager._abandon()  # noqa: SLF001 - a function of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
