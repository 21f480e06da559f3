"""All plugins of a host: discovery, life cycle and queries."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pluginapi.context import PluginContext
from pluginapi.errors import (
    AlreadyLoaded,
    InvalidState,
    NotFound,
    PluginError,
    ResourceViolation,
)
from pluginapi.hooks import HookRegistry, PluginEvent
from pluginapi.info import PluginInfo, PluginStatus, ScanReport, UnloadReport
from pluginapi.lifecycle import PluginLifecycle, RunningPlugin
from pluginapi.limits import (
    LimitInForce,
    ResourceLimits,
    UnmountBehavior,
    Violation,
    ViolationTracker,
    ViolationType,
    limits_in_process,
)
from pluginapi.loader import Inspection, PluginLoader
from pluginapi.monitor import PluginMetrics, ResourceMonitor
from pluginapi.monitor.plugin_metrics import plugin_metrics
from pluginapi.monitor.totals import Totals
from pluginapi.quarantine import Quarantine
from pluginapi.registry_state import (
    Known,
    Loaded,
    State,
    describe,
    find_plugin_files,
    info_of_loaded,
)

if TYPE_CHECKING:
    from pluginapi.export.security_log import SecurityLog
    from pluginapi.hooks import HandlerStats
    from pluginapi.isolation import Isolation
    from pluginapi.manifest import PluginManifest
    from pluginapi.process import PluginProcess
    from pluginapi.scan import Finding
    from pluginapi.security import TrustLevel

__all__ = ["PluginRegistry", "find_plugin_files"]

logger = logging.getLogger("pluginapi.registry")

# Of a limit: what hovers around it is not told as falling below it over and over.
_RECOVERED: Final = 0.95


class PluginRegistry:
    """Discover, load, watch and unload the plugins of one host.

    Coroutines belong to one event loop; queries may be called from any thread. Whatever goes
    wrong in a load, an unload or between the two, nothing half-loaded stays behind: a plugin is
    either loaded with all of its handlers or not at all.

    Args:
        loader: Verifies and loads files.
        hooks: Where plugins register their handlers.
        context: What plugins see of the host.
        configs: Configuration of single plugins by name, given to them at load.
        service_grants: Service methods that single plugins may call, by their name; they must
            declare them too. Nothing is granted by default.
        init_timeout: Seconds for the top-level code, `init` and `register_hooks` together.
        shutdown_timeout: Seconds for `shutdown`.
        violation_threshold: Violations that unmount a plugin.
        violation_window: Count only violations of the last so many seconds; None counts all.
        unmount_behavior: What follows when the threshold is reached.
        quarantine: Refuses plugins that were unmounted; one minute at first, unless given.
        security_log: Takes what concerns security: loads, refusals, grants, violations and what
            followed from them. The caller closes it.

    Attributes:
        totals: What plugins did in all of their loads.
    """

    def __init__(
        self,
        loader: PluginLoader,
        *,
        hooks: HookRegistry | None = None,
        context: PluginContext | None = None,
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        service_grants: Mapping[str, Iterable[str]] | None = None,
        init_timeout: float = 30.0,
        shutdown_timeout: float = 10.0,
        violation_threshold: int = 10,
        violation_window: float | None = None,
        unmount_behavior: UnmountBehavior | None = None,
        quarantine: Quarantine | None = None,
        security_log: SecurityLog | None = None,
    ) -> None:
        self.loader = loader
        self.hooks = hooks if hooks is not None else HookRegistry()
        self.context = context if context is not None else PluginContext()
        self.configs = dict(configs or {})
        self.service_grants = {name: tuple(each) for name, each in (service_grants or {}).items()}
        self.violation_threshold = violation_threshold
        self.violation_window = violation_window
        self.quarantine = Quarantine() if quarantine is None else quarantine
        self.totals = Totals()
        self._security_log = security_log
        self._unmount_behavior = unmount_behavior or UnmountBehavior()
        self._lifecycle = PluginLifecycle(
            loader,
            self.hooks,
            self.context,
            init_timeout,
            shutdown_timeout,
            granted=lambda name: self.service_grants.get(name, ()),
            resources=self._resources,
        )
        self._lock = threading.RLock()
        self._state = State()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: tuple[PluginProcess, ...] = ()
        self._background: set[asyncio.Task[None]] = set()
        # The smallest limit is 1 ms: shorter calls cost nothing.
        self.hooks.watch_cpu_time(self._on_cpu_time, at_least_ns=1_000_000)

    # Discovery

    def discover_plugin(self, path: Path | str) -> PluginInfo:
        """Read one plugin file and remember it, running nothing of it.

        Raises:
            InvalidPlugin: When the file cannot be a plugin.
            InvalidManifest: When its metadata cannot be read.
        """
        inspection = self.loader.inspect(path)
        with self._lock:
            self._remember(inspection.finding)
            return self._info(inspection.file.path)

    def scan_directory(self, directory: Path | str) -> ScanReport:
        """Discover every plugin file that lies directly in a directory, running none of them.

        Files are plugins by their suffix (``.so .dll .dylib .py .pyz``); names that begin with
        ``.`` or ``_`` are passed over. A file that cannot be read is reported and the scan goes
        on. Files that were there at an earlier scan and are gone are forgotten, unless loaded.

        Raises:
            NotFound: With code ``registry.no_directory`` when there is no such directory.
            TrustListError: When the trust list cannot be read: no file can be judged then, and
                what was known stays known.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise NotFound(
                f"plugin directory {str(directory)!r} does not exist",
                code="registry.no_directory",
                hint="create it, or set `directory` in section [plugins] of pluginapi.toml",
                path=str(directory),
            )
        paths = find_plugin_files(directory)
        found: list[Path] = []
        problems: dict[Path, PluginError] = {}
        for path, result in self.loader.inspect_many(paths):
            if isinstance(result, PluginError):
                problems[path] = result
                logger.warning("%s is no readable plugin: %s (%s)", path, result, result.code)
                continue
            with self._lock:
                self._remember(result)
            found.append(path)
        with self._lock:
            self._forget_missing(directory, found)
            # Another thread's scan may have forgotten a file that vanished since it was read.
            kept = (path for path in found if path in self._state.known)
            return ScanReport(tuple(self._info(path) for path in kept), problems)

    def _remember(self, found: Finding) -> None:
        known = Known.of(found)
        before = self._state.known.get(known.path)
        if (
            before is not None
            and before.hash == known.hash
            and before.status is PluginStatus.FAILED
            and known.status is PluginStatus.AVAILABLE
        ):
            # A plugin that failed stays FAILED until its file changes or a load succeeds.
            known.status, known.error = before.status, before.error
        self._state.known[known.path] = known

    def _forget_missing(self, directory: Path, found: list[Path]) -> None:
        kept = {*found, *(loaded.known.path for loaded in self._state.loaded.values())}
        for path in [path for path in self._state.known if path not in kept]:
            if path.parent == directory:
                del self._state.known[path]

    # Life cycle

    async def load_plugin(
        self,
        path: Path | str,
        trust_level: TrustLevel | None = None,
        *,
        isolation: Isolation | str | None = None,
    ) -> str:
        """Verify, load and start the plugin in a file; return its name.

        Its handlers become visible to the hooks all at once, after `register_hooks` returned. On
        any failure, a time-out or a cancellation, what was done is undone before this returns.

        Args:
            path: The plugin file.
            trust_level: The least trust that will do; None leaves it to the policy.
            isolation: Where it runs: ``"in-process"`` or ``"process"``; None leaves it to the
                loader's policy.

        Raises:
            SecurityError: When a check refuses; no byte of the plugin ran.
            AlreadyLoaded: When a plugin of this name is loaded or being loaded.
            ResourceViolation: With code ``limits.quarantined`` when it was unmounted for its
                violations a short time ago.
            LoadError: When the library or module cannot be loaded.
            InitializationError: When `init` or `register_hooks` failed.
            PluginTimeout: When they did not finish within `init_timeout`.
        """
        self._loop = asyncio.get_running_loop()
        inspection = await asyncio.to_thread(self.loader.inspect, path)
        name = inspection.manifest.name
        with self._lock:
            self._remember(inspection.finding)
        try:
            self.loader.require(inspection, trust_level)
            self.quarantine.check(name, inspection.file.sha3_512)
        except PluginError as err:
            self._note("refuse", name, _facts(inspection), code=err.code, message=err.message)
            raise
        with self._lock:
            self._reserve(name)
        try:
            running = await self._lifecycle.bring_up(
                inspection, self.configs.get(name, {}), isolation
            )
            with self._lock:
                known = self._state.known[inspection.file.path] = Known.of(inspection.finding)
                loaded = self._state.loaded[name] = Loaded(
                    known,
                    running,
                    self.loader.limits_for(inspection.manifest),
                    ViolationTracker(
                        self.violation_threshold, window_seconds=self.violation_window
                    ),
                )
            running.live.on_violation(lambda violation: self._on_event(name, violation))
            running.live.on_kill(lambda reason, detail: self._on_kill(name, reason, detail))
        except PluginError as err:
            err.plugin = err.plugin or name
            self._note("refuse", name, _facts(inspection), code=err.code, message=err.message)
            self._mark_failed(inspection.file.path, inspection.file.sha3_512, err)
            raise
        finally:
            with self._lock:
                self._state.loading.pop(name).set()
        logger.info("loaded plugin %s %s", name, inspection.manifest.version)
        if self._security_log is not None:
            self._note_load(inspection, running)
        try:
            await self._announce("on_plugin_load", known)
        except BaseException:
            # The caller is told that the load failed or was cancelled: then nothing stays loaded.
            await self._unload_quietly(loaded)
            raise
        return name

    async def load_plugin_by_name(
        self,
        name: str,
        trust_level: TrustLevel | None = None,
        *,
        isolation: Isolation | str | None = None,
    ) -> str:
        """Load a discovered plugin by the name in its manifest.

        Where several files bear the name, those that the policy refuses do not count: nobody can
        keep a plugin from loading by dropping a forged copy beside it.

        Raises:
            NotFound: When no plugin of this name was discovered.
            InvalidState: With code ``registry.ambiguous`` when two files that may load, or only
                refused ones, bear the name.
            PluginError: Everything that `load_plugin` raises.
        """
        with self._lock:
            paths = self._paths_of(name)
            allowed = [path for path in paths if self._state.known[path].verdict.allowed]
        if not paths:
            raise _not_found(name)
        paths = allowed or paths
        if len(paths) > 1:
            raise InvalidState(
                f"{len(paths)} files bear the plugin name {name!r}: {', '.join(map(str, paths))}",
                code="registry.ambiguous",
                plugin=name,
                hint="remove all but one of them, or load one by its path",
                paths=[str(path) for path in paths],
            )
        return await self.load_plugin(paths[0], trust_level, isolation=isolation)

    def _reserve(self, name: str) -> None:
        if name in self._state.loaded:
            raise AlreadyLoaded(
                f"plugin {name!r} is loaded already, from {self._state.loaded[name].known.path}",
                plugin=name,
                hint=f"unload it first: await registry.unload_plugin({name!r})",
            )
        if name in self._state.loading:
            raise AlreadyLoaded(
                f"plugin {name!r} is being loaded at this moment",
                code="registry.busy",
                plugin=name,
                hint="wait for the other load to end",
            )
        self._state.loading[name] = asyncio.Event()

    def _mark_failed(self, path: Path, sha3_512: str, error: PluginError) -> None:
        with self._lock:
            known = self._state.known.get(path)
            # Another file that was put there meanwhile has not failed.
            if known is not None and known.hash == sha3_512:
                known.status = PluginStatus.FAILED
                known.error = error

    async def unload_plugin(self, name: str) -> None:
        """Take a plugin out: its handlers first, then `shutdown`, then everything it holds.

        Calls of a hook that run at this moment end with the handlers they began with. The
        plugin is out when this returns, and also when it raises for a failed shutdown.

        Raises:
            NotFound: When it is not loaded.
            ShutdownError: When its `shutdown` failed.
            PluginTimeout: When its `shutdown` did not finish within `shutdown_timeout`.
        """
        await self._unload(name)

    async def _unload(self, name: str, why: str = "") -> None:
        with self._lock:
            loaded = self._require_loaded(name)
            if loaded.unloading:
                raise InvalidState(
                    f"plugin {name!r} is being unloaded at this moment",
                    code="registry.busy",
                    plugin=name,
                    hint="wait for the other unload to end",
                )
            loaded.unloading = True
        try:
            await self._announce("on_plugin_unload", loaded.known)
        finally:
            # Also when the announcement is cancelled or a handler of it fails.
            try:
                try:
                    self.totals.unloaded(self.get_plugin_metrics(name))
                finally:
                    await self._lifecycle.take_down(name, loaded.running, why)
            finally:
                with self._lock:
                    del self._state.loaded[name]
                loaded.gone.set()
        logger.info("unloaded plugin %s", name)
        self._note("unload", name, why=why or "on request")

    async def _unload_quietly(self, loaded: Loaded, why: str = "") -> None:
        name = loaded.known.manifest.name
        if self._state.loaded.get(name) is not loaded or loaded.unloading:
            return
        try:
            await self._unload(name, why)
        except PluginError as err:
            logger.warning("plugin %s did not unload cleanly: %s", name, err)

    async def unload_all(self) -> UnloadReport:
        """Unload every plugin, the last loaded first, and report which shutdowns failed.

        Loads that are under way end first, within their time limit, and are unloaded with the
        rest. A plugin that somebody else unloads at this moment is waited for and not reported.
        """
        with self._lock:
            loading = list(self._state.loading.values())
        for ended in loading:
            await ended.wait()
        with self._lock:
            everything = list(reversed(self._state.loaded.items()))
        failed: dict[str, PluginError] = {}
        unloaded: list[str] = []
        for name, loaded in everything:
            if loaded.unloading:
                await loaded.gone.wait()
                continue
            try:
                await self.unload_plugin(name)
            except PluginError as err:
                failed[name] = err
                logger.warning("plugin %s did not unload cleanly: %s", name, err)
            unloaded.append(name)
        return UnloadReport(tuple(unloaded), failed)

    def deactivate_plugin(self, name: str) -> None:
        """Pause a plugin: it stays loaded, its handlers are no longer called (INACTIVE)."""
        with self._lock:
            loaded = self._require_loaded(name)
            self.hooks.pause_owner(name)
            loaded.status = PluginStatus.INACTIVE

    def activate_plugin(self, name: str) -> None:
        """Resume a paused plugin (ACTIVE)."""
        with self._lock:
            loaded = self._require_loaded(name)
            self.hooks.resume_owner(name)
            loaded.status = PluginStatus.ACTIVE

    async def _announce(self, hook: str, known: Known) -> None:
        if hook in self.hooks:
            event = PluginEvent(known.manifest.name, str(known.manifest.version))
            await self.hooks.execute(hook, event)

    # Queries

    def get_all_plugins(self) -> list[PluginInfo]:
        """Describe every known plugin, sorted by name and path."""
        with self._lock:
            infos = [self._info(path) for path in self._state.known]
            infos += [
                info_of_loaded(loaded)
                for loaded in self._state.loaded.values()
                if self._describes_another(loaded)
            ]
        return sorted(infos, key=lambda info: (info.name, info.path))

    def list_loaded_plugins(self) -> list[PluginInfo]:
        """Describe the loaded plugins, ACTIVE or INACTIVE."""
        with self._lock:
            infos = [info_of_loaded(loaded) for loaded in self._state.loaded.values()]
        return sorted(infos, key=lambda info: info.name)

    def get_available_plugins(self) -> list[PluginInfo]:
        """Describe the plugins that could be loaded now."""
        return [i for i in self.get_all_plugins() if i.status is PluginStatus.AVAILABLE]

    def get_untrusted_plugins(self) -> list[PluginInfo]:
        """Describe the plugins that the policy refuses; `PluginInfo.error` says why."""
        return [i for i in self.get_all_plugins() if i.status is PluginStatus.UNTRUSTED]

    def get_plugin_info(self, name: str) -> PluginInfo:
        """Describe one plugin: the loaded one of this name, else the first by path.

        Raises:
            NotFound: When no plugin of this name is known.
        """
        with self._lock:
            if name in self._state.loaded:
                return info_of_loaded(self._state.loaded[name])
            paths = self._paths_of(name)
            if not paths:
                raise _not_found(name)
            return self._info(paths[0])

    def is_loaded(self, name: str) -> bool:
        """Tell whether a plugin of this name is loaded, ACTIVE or INACTIVE."""
        with self._lock:
            return name in self._state.loaded

    def plugin_count(self) -> int:
        """Count the loaded plugins."""
        with self._lock:
            return len(self._state.loaded)

    def total_plugin_count(self) -> int:
        """Count all known plugins, as `get_all_plugins` lists them."""
        with self._lock:
            others = sum(map(self._describes_another, self._state.loaded.values()))
            return len(self._state.known) + others

    def _paths_of(self, name: str) -> list[Path]:
        return sorted(
            path for path, known in self._state.known.items() if known.manifest.name == name
        )

    def _require_loaded(self, name: str) -> Loaded:
        loaded = self._state.loaded.get(name)
        if loaded is None:
            known = bool(self._paths_of(name))
            raise NotFound(
                f"plugin {name!r} is not loaded" if known else f"no plugin {name!r} is known",
                code="registry.not_loaded" if known else "registry.not_found",
                plugin=name,
                hint=f"load it first: await registry.load_plugin_by_name({name!r})",
            )
        return loaded

    def _describes_another(self, loaded: Loaded) -> bool:
        """Tell whether the file of a loaded plugin has been replaced by another plugin's."""
        known = self._state.known.get(loaded.known.path)
        return known is None or known.manifest.name != loaded.known.manifest.name

    def _info(self, path: Path) -> PluginInfo:
        known = self._state.known[path]
        loaded = self._state.loaded.get(known.manifest.name)
        if loaded is not None and loaded.known.path == path:
            # The file may have changed since; what is described is what runs.
            return info_of_loaded(loaded)
        limits = known.manifest.resource_limits
        return describe(known, known.status, known.error, limits)

    # Limits, violations and metrics

    def get_resource_limits(self, name: str) -> ResourceLimits:
        """Return the limits in force for a loaded plugin."""
        with self._lock:
            return self._require_loaded(name).limits

    def get_limits_in_force(self, name: str) -> tuple[LimitInForce, ...]:
        """Return what keeps a loaded plugin to each of its limits: the kernel, or only a look."""
        with self._lock:
            loaded = self._require_loaded(name)
        live = loaded.running.live
        return live.limits_in_force() or limits_in_process(loaded.limits, live.heap_limit)

    def record_violation(self, name: str, violation: Violation) -> bool:
        """Count a violation; unmount the plugin when that reaches the threshold.

        Returns:
            Whether the threshold is reached and the behaviour says to unmount. The unload then
            runs on the registry's event loop.
        """
        loaded = self._count_violation(name, violation)
        if loaded is None:
            return False
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._start_unmount, loaded, violation)
            except RuntimeError as err:
                # The loop was closed with the plugin loaded: nothing can unload it any more.
                logger.error("plugin %s cannot be unmounted: %s", name, err)  # noqa: TRY400 - see above
        return True

    async def report_violation(self, name: str, violation: Violation) -> None:
        """Count a violation as `record_violation` does, and end after the unload it may cause."""
        loaded = self._count_violation(name, violation)
        if loaded is not None:
            await self._unmount(loaded, violation)

    def _count_violation(self, name: str, violation: Violation) -> Loaded | None:
        """Count and log a violation; return the plugin if it is to be unmounted for it."""
        with self._lock:
            loaded = self._require_loaded(name)
            if loaded.doomed:
                # It is being unmounted: that it goes on until then changes nothing.
                return None
            behavior = loaded.unmount or self._unmount_behavior
            reached = loaded.doomed = loaded.tracker.record(violation) and behavior.auto_unmount
            if reached and not loaded.unloading:
                # No new calls from here on: those that run go on until it is unloaded.
                self.hooks.pause_owner(name)
                loaded.status = PluginStatus.INACTIVE
        action = "unmount" if reached else "log"
        self.totals.violated(name, violation.type, action)
        self._note("violation", name, violation.to_dict(), action=action)
        if behavior.log_violations:
            logger.warning(
                "plugin %s violated %s; %d of %d violations %s",
                name,
                violation,
                loaded.tracker.count(),
                loaded.tracker.violation_threshold,
                loaded.tracker.window,
            )
        return loaded if reached else None

    def _start_unmount(self, loaded: Loaded, violation: Violation) -> None:
        task = asyncio.ensure_future(self._unmount(loaded, violation))
        # The event loop holds tasks weakly; the set keeps this one until it is done.
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _unmount(self, loaded: Loaded, violation: Violation) -> None:
        """Unload a plugin, with what force it takes, and refuse it for a while."""
        name = loaded.known.manifest.name
        behavior = loaded.unmount or self._unmount_behavior
        with self._lock:
            # By identity: a plugin that was loaded again since has done nothing yet.
            if self._state.loaded.get(name) is not loaded or loaded.unloading:
                return
            threshold = loaded.tracker.violation_threshold
        why = (
            f"{loaded.tracker.count()} violations {loaded.tracker.window} reached the threshold "
            f"{threshold}; the last was {violation}"
        )
        logger.error(
            "unmounting plugin %s, whose calls are refused already: %s. To change this raise the "
            "plugin's limits or `violation_threshold` in [monitoring].",
            name,
            why,
        )
        self.totals.unmounted(name, violation.type)
        self._note("unmount", name, why=why)
        await self._unload_quietly(loaded, why)
        seconds = 0.0
        if behavior.quarantine:
            seconds = self.quarantine.add(name, loaded.known.hash, f"the last was {violation}")
        if seconds:
            logger.error("plugin %s is in quarantine for %g s", name, seconds)
            self._note("quarantine", name, sha3_512=loaded.known.hash, seconds=seconds)
        self._mark_failed(
            loaded.known.path,
            loaded.known.hash,
            ResourceViolation(
                f"plugin {name!r} was unmounted: {why}",
                code="limits.unmounted",
                plugin=name,
                hint="raise its limits, or `violation_threshold` in section [monitoring] of "
                "pluginapi.toml, then load it again"
                + (f"; that is refused for {seconds:g} s" if seconds else ""),
            ),
        )

    def _note_load(self, inspection: Inspection, running: RunningPlugin) -> None:
        name, needs = inspection.manifest.name, inspection.manifest.requirements
        self._note(
            *("load", name, _facts(inspection)),
            trust_level=inspection.verdict.trust_level.name.lower(),
            limits=[str(each) for each in self.get_limits_in_force(name)],
        )
        self._note(
            *("grant", name, _facts(inspection)),
            context_read=list(needs.context_read),
            context_write=list(needs.context_write),
            services=list(running.context.services),
        )

    def _on_kill(self, name: str, reason: str, detail: str) -> None:
        """Take note that a plugin's process was ended, by this host or by the kernel."""
        self._note("kill", name, reason=reason, detail=detail)

    def _note(
        self, event: str, name: str, facts: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        if self._security_log is not None:
            self._security_log.record(event, name, {**(facts or {}), **more})

    def release_quarantine(self, name: str) -> bool:
        """Let a plugin be loaded again now; tell whether it was in quarantine."""
        return self.quarantine.release(name)

    def _resources(self, manifest: PluginManifest) -> dict[str, Any]:
        """Return what a plugin is told of itself."""
        with self._lock:
            loaded = self._state.loaded.get(manifest.name)
        if loaded is None:
            # It is being loaded.
            limits, used, count = self.loader.limits_for(manifest), None, 0
        else:
            limits, count = loaded.limits, loaded.tracker.count()
            used = PluginMetrics.of_usage(manifest.name, loaded.running.live.usage())
        return {
            "limits": limits.to_dict(),
            "usage": {kind.value: used and used.amount_of(kind) for kind in ViolationType},
            "violations": count,
            "threshold": self.violation_threshold,
        }

    def _on_cpu_time(self, owner: str | None, hook: str, cpu_ns: int) -> None:
        """Turn the CPU time of one handler call into a violation where it passed the limit."""
        if owner is None:
            return
        with self._lock:
            loaded = self._state.loaded.get(owner)
        if loaded is None or cpu_ns <= loaded.limits.max_cpu_time_ms * 1_000_000:
            return
        # Rounded up, so that a violation never reads "used 1000 ms, limit 1000 ms".
        used = -(-cpu_ns // 1_000_000)
        limit = loaded.limits.max_cpu_time_ms
        self._on_event(owner, Violation.now(ViolationType.CPU_TIME, used, limit, f"hook:{hook}"))

    def _on_event(self, name: str, violation: Violation) -> None:
        """Record what was seen while the plugin may be unloaded at the same time."""
        try:
            self.record_violation(name, violation)
        except NotFound:
            logger.debug("plugin %s was unloaded before its violation was recorded", name)

    def get_violation_count(self, name: str) -> int:
        """Count the violations of a loaded plugin since its load or the last reset."""
        with self._lock:
            return self._require_loaded(name).tracker.count()

    def get_violations(self, name: str) -> tuple[Violation, ...]:
        """Return the newest violations of a loaded plugin, oldest first."""
        with self._lock:
            return self._require_loaded(name).tracker.violations()

    def reset_violations(self, name: str) -> None:
        """Forget the violations of a loaded plugin."""
        with self._lock:
            self._require_loaded(name).tracker.reset()

    def set_unmount_behavior(self, behavior: UnmountBehavior, name: str | None = None) -> None:
        """Say what follows from the threshold, for one loaded plugin or for all."""
        with self._lock:
            if name is None:
                self._unmount_behavior = behavior
            else:
                self._require_loaded(name).unmount = behavior

    def get_plugin_metrics(self, name: str) -> PluginMetrics:
        """Measure a loaded plugin; what cannot be attributed to it is None, never 0."""
        with self._lock:
            loaded = self._require_loaded(name)
            return self._metrics(name, loaded, self.hooks.stats(name), now=True)

    def _metrics(
        self, name: str, loaded: Loaded, stats: Sequence[HandlerStats], *, now: bool
    ) -> PluginMetrics:
        return plugin_metrics(
            name, loaded.running, stats, loaded.tracker.count(), loaded.rates, now=now
        )

    # What a monitor needs

    def measured_processes(self) -> int:
        """Count the processes that `measure` looks at."""
        processes = self.loader.running_processes
        return 0 if processes is None else len(processes.sampler)

    def pass_seconds(self) -> float | None:
        """Return how long the latest `measure` took for all processes, or None without one."""
        processes = self.loader.running_processes
        return None if processes is None else processes.sampler.pass_seconds()

    def measure(self) -> None:
        """Measure the processes of all plugins, once; blocks, any thread may."""
        processes = self.loader.running_processes
        self._over = () if processes is None else processes.measure()

    def exceeded(self) -> list[tuple[str, Violation]]:
        """Return what the latest `measure` found above a limit, and heaps in this process."""
        found: list[tuple[str, Violation]] = []
        over = {process.name for process in self._over}
        with self._lock:
            loaded = tuple(self._state.loaded.items())
        for name, each in loaded:
            # In this process there is the heap of native plugins alone, which is known anyway.
            if name in over or each.above or each.running.live.heap_limit is not None:
                used = PluginMetrics.of_usage(name, each.running.live.usage(now=False))
                violations = used.violations_of(each.limits)
                found += ((name, violation) for violation in violations)
                self._note_recovery(name, each, used, {each.type for each in violations})
        return found

    @staticmethod
    def _note_recovery(
        name: str, loaded: Loaded, used: PluginMetrics, violated: set[ViolationType]
    ) -> None:
        """Say once when something that was above its limit is clearly below it again."""
        loaded.above |= violated
        for kind in tuple(loaded.above - violated):
            amount, limit = used.amount_of(kind), getattr(loaded.limits, kind.value)
            if amount is None or amount < limit * _RECOVERED:
                loaded.above.discard(kind)
                logger.info(
                    "plugin %s is below %s again: %s of %d", name, kind.value, amount, limit
                )

    def monitored(self) -> list[PluginMetrics]:
        """Return the metrics of all loaded plugins, of processes as they were measured last."""
        stats: dict[str | None, list[HandlerStats]] = {}
        for each in self.hooks.stats():
            stats.setdefault(each.owner, []).append(each)
        with self._lock:
            return [
                self._metrics(name, loaded, stats.get(name, ()), now=False)
                for name, loaded in self._state.loaded.items()
            ]

    def start_resource_monitor(self, interval: float = 10.0) -> ResourceMonitor:
        """Start watching the loaded plugins every `interval` seconds; stop with `stop()`."""
        monitor = ResourceMonitor(self, interval=interval)
        monitor.start()
        return monitor


def _facts(inspection: Inspection) -> dict[str, Any]:
    """Return what identifies a file, for the security log."""
    return {
        "version": str(inspection.manifest.version),
        "path": str(inspection.file.path),
        "sha3_512": inspection.file.sha3_512,
    }


def _not_found(name: str) -> NotFound:
    return NotFound(
        f"no plugin {name!r} is known",
        plugin=name,
        hint="scan its directory first: registry.scan_directory(...); `pluginapi list` shows names",
    )
