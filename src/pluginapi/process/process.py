"""One plugin in a process of its own, kept running."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pluginapi.errors import (
    IpcClosed,
    IpcProtocolError,
    PluginError,
    PluginProcessError,
    PluginTimeout,
)
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.protocol import (
    GetMetrics,
    Initialize,
    Log,
    Metrics,
    Ready,
    Shutdown,
    Success,
)
from pluginapi.monitor.metrics import PluginUsage
from pluginapi.process.child import Worker
from pluginapi.process.endings import Doom, describe_end, oom_kills
from pluginapi.process.handler import ProcessHandler, load_failure
from pluginapi.process.health import HealthWatch, gives_sign_of_life
from pluginapi.process.nursery import Ended, Nursery
from pluginapi.process.output import OutputReader
from pluginapi.process.settings import ProcessSettings
from pluginapi.process.status import EndReason, ProcessEnd, ProcessState, ProcessStatus
from pluginapi.process.watching import Watchers, WorkerWatch
from pluginapi.runtime.native_status import printable

if TYPE_CHECKING:
    from pluginapi.limits import LimitInForce, ResourceLimits, Violation
    from pluginapi.monitor.sampler import SampledProcess
    from pluginapi.process.budget import RestartBudget
    from pluginapi.process.supervisor import Supervisor
    from pluginapi.sandbox.network.refusals import NetworkCounts, Refusal
    from pluginapi.sandbox.report import SandboxReport
    from pluginapi.sealed_copy import SealedCopy

__all__ = ["PluginProcess", "Worker"]

_MAX_ENDS: Final = 16

_log = logging.getLogger("pluginapi.process")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlan:
    """What is needed to start the process of one plugin, again and again.

    Attributes:
        name: The plugin.
        copy: Its verified bytes.
        initialize: What the worker is told.
        logger: Takes what it logs and prints.
        on_request: Serves its requests.
        limits: What the plugin may use; None bounds nothing.
    """

    name: str
    copy: SealedCopy
    initialize: Initialize
    logger: logging.Logger
    on_request: Callable[[Any, Any], Any]
    limits: ResourceLimits | None = None


class PluginProcess:
    """Run one plugin in a process of its own and keep it running.

    A process that ends unasked is started again after a pause that doubles each time, until the
    budget of restarts is spent; calls in between fail at once with `IpcClosed`. One that lets a
    call's deadline pass and then gives no sign of life is ended and counts as hung. Thread-safe.
    `start`, `stop`, `restart` and `health_check` block: on an event loop, call them in a thread.

    `PluginProcessManager.create` makes one.
    """

    def __init__(
        self,
        plan: ProcessPlan,
        settings: ProcessSettings,
        *,
        supervisor: Supervisor,
        budget: RestartBudget,
        hire: Callable[[], Worker],
        watchers: Watchers,
        on_gone: Callable[[PluginProcess], object],
    ) -> None:
        self.name = plan.name
        self.settings = settings
        self.handlers: list[ProcessHandler] = []
        self.on_channel: Callable[[IpcChannel], object] | None = None
        self._plan = plan
        self._supervisor = supervisor
        self._budget = budget
        self._hire = hire
        self.on_kill: Callable[[str, str], object] | None = None
        self.on_violation: Callable[[Violation], object] | None = None
        self._watchers = watchers
        self._watch: WorkerWatch | None = None
        self._ended_cpu_ms = 0.0
        self._on_gone = on_gone
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._state = ProcessState.STOPPED
        self._worker: Worker | None = None
        self._ready: Ready | None = None
        self._doom: Doom | None = None
        self._ends: deque[ProcessEnd] = deque(maxlen=_MAX_ENDS)
        self._starts = 0
        self._health: HealthWatch | None = None
        self._output: OutputReader | None = None
        self._oom_kills = 0
        self._abandoned = False

    def __repr__(self) -> str:
        return f"<PluginProcess of {self.name}, {self._state.value}, pid {self.pid}>"

    # ---- Queries ----

    @property
    def state(self) -> ProcessState:
        """Where it is in its life."""
        return self._state

    @property
    def pid(self) -> int | None:
        """The process id, or None without a process. For messages: never signal a bare number."""
        worker = self._worker
        return None if worker is None else worker.pid

    @property
    def worker_id(self) -> tuple[Nursery, int] | None:
        """Who started the process, and its number there."""
        worker = self._worker
        return None if worker is None else (worker.nursery, worker.id)

    @property
    def channel(self) -> IpcChannel:
        """The channel to the process.

        Raises:
            PluginProcessError: With code ``process.state`` when it never had one.
        """
        worker = self._worker
        if worker is None:
            raise self._not("running")
        return worker.channel

    @property
    def uptime(self) -> float:
        """Seconds since the process started; 0 without one."""
        worker = self._worker
        return 0.0 if worker is None else time.monotonic() - worker.started

    @property
    def last_end(self) -> ProcessEnd | None:
        """How the latest process ended, or None."""
        return self._ends[-1] if self._ends else None

    def status(self) -> ProcessStatus:
        """Describe it as of now."""
        with self._lock:
            return ProcessStatus(
                name=self.name,
                state=self._state,
                pid=self.pid,
                uptime=self.uptime,
                restarts=self._budget.used(),
                starts=self._starts,
                ends=tuple(self._ends),
            )

    def metrics(self, timeout: float = 1.0) -> dict[str, int | float]:
        """Return what the worker says of itself, by name; a claim, not a measurement."""
        return self.channel.request(GetMetrics(), Metrics, timeout=timeout).values

    def usage(self, *, now: bool = True) -> PluginUsage:
        """Return what the plugin uses; without ``now``, as the monitor found it the last time.

        Processor time is that of all its processes so far. Measuring takes some microseconds.
        """
        with self._lock:
            watch, starts, ended = self._watch, self._starts, self._ended_cpu_ms
        usage = PluginUsage()
        if watch is not None:
            usage = watch.usage.now() if now else watch.usage.latest()
        return replace(
            usage,
            cpu_time_ms=None if not starts else ended + (usage.cpu_time_ms or 0.0),
            restarts=max(0, starts - 1),
            thread_refusals=None if watch is None else watch.thread_refusals,
        )

    def heap_bytes(self) -> int | None:
        """Return the memory that the plugin uses besides its worker, or None without a process."""
        return self.usage().heap_bytes

    @property
    def sampled(self) -> SampledProcess | None:
        """What the manager's sampler knows the process as, or None without a process."""
        watch = self._watch
        return None if watch is None else watch.usage.process

    def limits_in_force(self) -> tuple[LimitInForce, ...]:
        """Return what keeps the plugin to each of its limits; empty without a process."""
        watch = self._watch
        return () if watch is None else watch.limits

    def report(self) -> SandboxReport:
        """Return what confines the process, as the kernel says; of one that nothing confines, too.

        Raises:
            PluginProcessError: With code ``process.state`` without a process.
            SandboxError: With code ``sandbox.report`` when it has just ended.
        """
        from pluginapi.sandbox.report import read_report  # noqa: PLC0415 - few ask for it

        worker = self._worker
        if worker is None:
            raise self._not("running")
        return read_report(worker.pid, worker.confinement)

    def network(self) -> NetworkCounts | None:
        """Return how its connects went; None when nothing connects for it, or it does not run."""
        worker = self._worker
        door = None if worker is None or worker.confinement is None else worker.confinement.door
        return None if door is None else door.counts()

    def refused_connects(self) -> tuple[Refusal, ...]:
        """Return the latest connects that its process was refused, at most 64, the newest last."""
        worker = self._worker
        door = None if worker is None or worker.confinement is None else worker.confinement.door
        return () if door is None else door.refusals.latest()

    # ---- Life ----

    def start(self, timeout: float | None = None) -> Ready:
        """Start the process, load the plugin in it, and return what it registered.

        Raises:
            PluginProcessError: When no process could be started (``process.start_failed``), or it
                ended while the plugin was loaded (``process.ended``); the message says how.
            PluginError: What the load, or init or register_hooks of the plugin raised there.
            PluginTimeout: When that takes longer than ``timeout`` seconds.
        """
        with self._lock:
            if self._state not in (ProcessState.STOPPED, ProcessState.FAILED):
                raise self._not("stopped")
            self._state = ProcessState.STARTING
        try:
            return self._bring_up(timeout)
        except BaseException:
            with self._lock:
                if self._state is ProcessState.STARTING:
                    self._enter(ProcessState.STOPPED)
            raise

    def stop(
        self,
        grace: float | None = None,
        *,
        reason: EndReason = EndReason.MANUAL,
        detail: str = "stopped on request",
    ) -> None:
        """Let the plugin shut down, and end the process; after ``grace`` seconds by SIGTERM.

        SIGKILL follows when that does not end it within the settings' ``terminate_grace``. A
        process that waits for its restart is not started again. Idempotent.

        Args:
            grace: Seconds; None for the settings' ``stop_grace``.
            reason: Why it ends, for its status.
            detail: What led to it.

        Raises:
            ShutdownError: When the plugin's shutdown failed; the process has ended all the same.
            PluginTimeout: When it did not shut down in time; the process has ended all the same.
        """
        grace = self.settings.stop_grace if grace is None else grace
        with self._lock:
            worker = self._worker
            running = self._state is ProcessState.RUNNING
            if worker is None:
                self._enter(ProcessState.STOPPED)
                return
            self._enter(ProcessState.STOPPING)
            if self._health is not None:
                self._health.stop()
            self._doom = self._doom or Doom(reason, detail)
        deadline = time.monotonic() + grace
        failure: PluginError | None = None
        if running:
            try:
                worker.channel.request(Shutdown(), Success, timeout=grace or 0.001)
            except IpcClosed:
                # It ended meanwhile: what there is to say of it is told with its end.
                pass
            except PluginError as err:
                failure = load_failure(err, self.name)
        if not running:
            worker.kill()
        elif not worker.wait(deadline - time.monotonic()):
            worker.terminate()
            if not worker.wait(self.settings.terminate_grace):
                worker.kill()
        self._await_end(worker)
        if failure is not None:
            raise failure

    def kill(self, detail: str = "killed on request") -> None:
        """End the process by SIGKILL, now; it is not started again. Does not wait."""
        with self._lock:
            worker = self._worker
            if worker is None:
                self._enter(ProcessState.STOPPED)
                return
            self._enter(ProcessState.STOPPING)
            self._doom = Doom(EndReason.MANUAL, detail)
            worker.kill()

    def restart(self, grace: float | None = None) -> None:
        """Stop the process and start it again at once; this counts against no budget.

        Raises:
            PluginError: As `start`. A failed shutdown is logged.
        """
        try:
            self.stop(grace)
        except PluginError as err:
            _log.warning("plugin %s did not stop cleanly for its restart: %s", self.name, err)
        with self._lock:
            self._state = ProcessState.STARTING
        try:
            self._bring_up(None)
        except BaseException:
            with self._lock:
                if self._state is ProcessState.STARTING:
                    self._enter(ProcessState.STOPPED)
            raise

    def health_check(self, timeout: float | None = None) -> bool:
        """Ask for a sign of life; tell whether it came within ``timeout`` seconds."""
        timeout = self.settings.hang_grace if timeout is None else timeout
        worker = self._worker
        try:
            return worker is not None and gives_sign_of_life(worker, timeout)
        except PluginError:
            return False

    def wait_for(self, *states: ProcessState, timeout: float) -> bool:
        """Wait until it is in one of these states; tell whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state in states, timeout)

    # ---- What happens to it ----

    def ended(self, ended: Ended) -> None:
        """Take note that the process has ended. Called by the manager, on any thread."""
        with self._lock:
            worker = self._worker
            if worker is None or self._abandoned:
                return
            end = describe_end(worker, ended, self._doom, self._oom_kills)
            self._ends.append(end)
            watch, self._watch = self._watch, None
            if watch is not None:
                self._ended_cpu_ms += watch.close()
            self._worker = None
            health, self._health = self._health, None
            output, self._output = self._output, None
            # It was stopped before its worker was there, or with it.
            asked = self._state in (ProcessState.STOPPING, ProcessState.STOPPED)
            starting = self._state is ProcessState.STARTING
            if asked:
                self._enter(ProcessState.STOPPED)
            elif not starting:
                self._enter(ProcessState.WAITING)
            self._changed.notify_all()
        if health is not None:
            health.stop()
        if output is not None:
            output.finish()
        worker.release()
        self._on_gone(self)
        if end.signal is not None and self.on_kill is not None:
            self.on_kill(end.reason.value, str(end))
        if asked:
            _log.info("plugin %s: %s", self.name, end)
        elif not starting:
            self._plan_restart(end)

    def abandon(self) -> None:
        """Let go of it in a process that was forked from the one that it belongs to."""
        self._abandoned = True
        if self._output is not None:
            self._output.abandon()
        # Its descriptors are closed with it; another thread may have had the sampler's lock.
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.abandon()
        if self._worker is not None:
            self._worker.abandon(self.name)
        self._plan.copy.close()

    def _bring_up(self, timeout: float | None) -> Ready:
        worker = self._hire()
        channel = worker.channel
        channel.plugin = self.name
        channel._failures.plugin = self.name  # noqa: SLF001 - a spare had no name yet
        if worker.confinement is not None:
            worker.confinement.rename(self.name)
        with self._lock:
            self._worker = worker
            self._starts += 1
            self._oom_kills = oom_kills()
            # It may have been stopped, or given up, while the worker was made.
            wanted = self._state is ProcessState.STARTING
            self._doom = None if wanted else Doom(EndReason.MANUAL, "stopped while it was started")
        channel.on_request(self._plan.on_request)
        channel.on_log(self._logged)
        output, worker.output = worker.output, -1
        self._output = OutputReader(
            output,
            self._supervisor,
            self.name,
            self._plan.logger,
            self.settings.output_bytes_per_second,
        )
        if worker.wait(0):
            # A spare that ended: its end may have been told before it was anybody's.
            self._on_gone(self)
        if not wanted:
            raise self._start_failed(worker, self._not("wanted any more"))
        try:
            self._begin_to_watch(worker)
            worker.hand_over(self._plan.copy)
            ready = channel.request(self._initialize(worker), Ready, timeout=timeout)
        except BaseException as err:
            raise self._start_failed(worker, err) from err
        told = (ready.plugin, ready.version)
        if told != (self._plan.initialize.plugin, self._plan.initialize.version):
            mistaken = IpcProtocolError(
                f"the worker of {self.name} reports {ready.plugin} {ready.version}",
                code="ipc.identity",
                plugin=self.name,
                hint="this is a fault of the library",
            )
            raise self._start_failed(worker, mistaken)
        channel.on_end(self._channel_ended)
        before = self._ready
        if before is not None and before.handlers != ready.handlers:
            changed = PluginProcessError(
                f"plugin {self.name} registered other handlers than before its restart",
                code="process.changed",
                plugin=self.name,
                hint="let register_hooks depend on the configuration alone, or load it again",
            )
            raise self._start_failed(worker, changed)
        self._runs(worker, ready)
        return ready

    def _runs(self, worker: Worker, ready: Ready) -> None:
        """Let calls go to a worker whose plugin has registered its handlers."""
        for handler in self.handlers:
            handler.rebind(worker.channel)
        health = HealthWatch(self.name, worker, self.settings, self._supervisor, self._doom_worker)
        worker.channel.on_deadline(health.deadline_passed)
        with self._lock:
            if self._worker is not worker or self._state is not ProcessState.STARTING:
                raise self._ended_early()
            self._health = health
            self._ready = ready
            if ready.thread_safe and self._watch is not None:
                self._watch.allow_concurrent()
            self._enter(ProcessState.RUNNING)
        if self.on_channel is not None:
            self.on_channel(worker.channel)
        health.start()

    def _begin_to_watch(self, worker: Worker) -> None:
        """Look what the worker uses by itself, and bound what is used besides."""
        try:
            watch = WorkerWatch(
                worker, self._plan.limits, self._watchers, self._violated, self._refused
            )
        except ProcessLookupError:
            # Whatever is asked of it next fails, and says how it ended.
            return
        with self._lock:
            wanted = self._worker is worker
            if wanted:
                self._watch = watch
        if not wanted:
            watch.close()

    def _violated(self, violation: Violation) -> None:
        report = self.on_violation
        if report is None:
            _log.warning("plugin %s violated %s", self.name, violation)
        else:
            report(violation)

    def _refused(self, count: int) -> None:
        limits = self._plan.limits
        most = "no limit" if limits is None else f"max_threads = {limits.max_threads}"
        _log.warning(
            "plugin %s was refused a thread or process %d times: it has as many as it may (%s)",
            self.name,
            count,
            most,
        )

    def _initialize(self, worker: Worker) -> Initialize:
        message = self._plan.initialize
        if worker.confinement is None or worker.confinement.door is None:
            return message
        return msgspec.structs.replace(message, limits={**message.limits, "brokered": 1})

    def _start_failed(self, worker: Worker, err: BaseException) -> BaseException:
        with self._lock:
            self._doom = self._doom or Doom(EndReason.START, str(err)[:500])
        if isinstance(err, IpcClosed):
            # Its own end says more than that of the channel; it follows, or it is helped.
            worker.wait(1.0)
        worker.kill()
        self._await_end(worker)
        if isinstance(err, IpcClosed):
            return self._ended_early()
        if isinstance(err, PluginTimeout):
            return PluginTimeout(
                f"plugin {self.name} did not finish loading and init in its process in time",
                code="lifecycle.init_timeout",
                plugin=self.name,
                hint="raise `init_timeout_secs` in section [lifecycle] of pluginapi.toml",
            )
        return load_failure(err, self.name) if isinstance(err, PluginError) else err

    def _ended_early(self) -> PluginProcessError:
        return PluginProcessError(
            f"the process of plugin {self.name} ended while the plugin was loaded: "
            f"{self.last_end or 'nobody knows how'}",
            code="process.ended",
            plugin=self.name,
            hint="see the plugin's log for what it printed",
        )

    def _plan_restart(self, end: ProcessEnd) -> None:
        delay = self._budget.take()
        if delay is None:
            with self._lock:
                if self._state is ProcessState.WAITING:
                    self._enter(ProcessState.FAILED)
            _log.error(
                "plugin %s: %s; it is not started again: %d restarts within %g s are spent",
                self.name,
                end,
                self.settings.restarts,
                self.settings.restart_window,
            )
            return
        _log.warning("plugin %s: %s; it is started again in %g s", self.name, end, delay)
        self._supervisor.call_later(delay, self._begin_restart)

    def _begin_restart(self) -> None:
        with self._lock:
            if self._state is not ProcessState.WAITING:
                return
            self._enter(ProcessState.STARTING)
        name = f"pluginapi-restart-{self.name}"
        threading.Thread(target=self._restart, name=name, daemon=True).start()

    def _restart(self) -> None:
        try:
            self._bring_up(self.settings.start_timeout + self.settings.call_timeout)
        except PluginError as err:
            with self._lock:
                if self._state is ProcessState.STARTING:
                    self._enter(ProcessState.WAITING)
                elif self._state is not ProcessState.WAITING:
                    return
                end = self.last_end
            _log.warning("plugin %s could not be started again: %s", self.name, err)
            if end is None:
                end = ProcessEnd(reason=EndReason.START, pid=0, detail=str(err))
            self._plan_restart(end)

    def _logged(self, line: Log) -> None:
        extra = {"plugin": self.name, "stream": line.logger}
        self._plan.logger.log(line.level, "%s", printable(line.message), extra=extra)

    # ---- Signs of trouble; called on any thread, in the middle of calls ----

    def _channel_ended(self, reason: PluginError) -> None:
        worker = self._worker
        if worker is None or self._abandoned:
            return
        if isinstance(reason, IpcProtocolError):
            self._doom_worker(worker, EndReason.PROTOCOL, reason.message)
        else:
            # A process that ends closes its channel. One that goes on without is no use.
            self._supervisor.call_later(
                1.0,
                lambda: self._doom_worker(worker, EndReason.PROTOCOL, "it closed its channel"),
            )

    def _doom_worker(self, worker: Worker, reason: EndReason, detail: str) -> None:
        with self._lock:
            if self._worker is not worker:
                return
            if self._doom is None:
                self._doom = Doom(reason, detail)
            worker.kill()

    # ---- Helpers ----

    def _enter(self, state: ProcessState) -> None:
        self._state = state
        self._changed.notify_all()

    def _await_end(self, worker: Worker) -> None:
        """Wait until the end of a process that was killed, or has ended, has been told."""
        with self._changed:
            if self._changed.wait_for(lambda: self._worker is not worker, 10.0):
                return
        # Nobody told: it is not in the hands of its nursery any more.
        self.ended(Ended(None, None))

    def _not(self, state: str) -> PluginProcessError:
        end = self.last_end
        return PluginProcessError(
            f"the process of plugin {self.name} is not {state}: it is {self._state.value}"
            + (f"; {end}" if end is not None else ""),
            code="process.state",
            plugin=self.name,
            hint="see its status for how it ended",
        )
