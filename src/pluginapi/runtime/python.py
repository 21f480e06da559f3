"""Run a Python plugin in this process, from the bytes that were verified.

In-process Python plugins share the interpreter with the host: what confines a plugin is a
sandboxed process, not this module. What it guarantees is which bytes run, that their identity is
the verified one, that failures stay failures of the plugin, and that unloading leaves nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pluginapi.errors import (
    InitializationError,
    InvalidManifest,
    InvalidState,
    LoadError,
    PluginError,
    ShutdownError,
)
from pluginapi.manifest import PluginKind, PluginManifest
from pluginapi.metadata.parsing import SOURCE_NAME_PREFIX
from pluginapi.metadata.python_zip import EntryModule, read_archive
from pluginapi.monitor.metrics import PluginUsage
from pluginapi.plugin import MANIFEST_ATTRIBUTE
from pluginapi.runtime.heap import HeapAccount
from pluginapi.runtime.python_modules import PluginModules
from pluginapi.runtime.tasks import run_in_own_task
from pluginapi.runtime.threads import run_in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pluginapi.limits import LimitInForce, Violation
    from pluginapi.plugin_file import PluginFile

__all__ = [
    "PythonPlugin",
    "describe_failure",
    "load_python",
    "load_python_as",
    "load_python_async",
]

_MAX_MESSAGE: Final = 500
_MAX_CAUSES: Final = 8


class PythonPlugin:
    """A Python plugin that is loaded into this process.

    Attributes:
        manifest: The verified manifest.
        heap_limit: Bytes that it may hold of the interpreter's heap, or None where that is not
            counted, as in a worker.
        heap_account: Number of the account that its handlers work for; 0 for none.
    """

    def __init__(
        self,
        manifest: PluginManifest,
        instance: object,
        modules: PluginModules,
        heap: HeapAccount | None = None,
    ) -> None:
        self.manifest = manifest
        self.heap_limit = None if heap is None else heap.limit
        self.heap_account = 0 if heap is None else heap.number
        self._instance: object | None = instance
        self._modules = modules
        self._heap = heap
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<PythonPlugin {self.manifest.name} {self.manifest.version}>"

    @property
    def instance(self) -> object:
        """The instance of the plugin's class.

        Raises:
            InvalidState: The plugin is closed.
        """
        instance = self._instance
        if instance is None:
            raise InvalidState(
                f"the plugin {self.manifest.name} is unloaded",
                code="load.closed",
                plugin=self.manifest.name,
                hint="load it again",
            )
        return instance

    async def init(self, context: Any) -> None:
        """Call the plugin's `init` with a `PluginContext`.

        Raises:
            InitializationError: The plugin raised; its exception is the cause.
        """
        await self._call("init", context, InitializationError)

    async def register_hooks(self, hooks: Any) -> None:
        """Call the plugin's `register_hooks` with a `HookScope`.

        Raises:
            InitializationError: The plugin raised; its exception is the cause.
        """
        await self._call("register_hooks", hooks, InitializationError)

    async def shutdown(self, why: str = "") -> None:
        """Call the plugin's `shutdown`.

        Raises:
            ShutdownError: The plugin raised; its exception is the cause.
        """
        del why
        await self._call("shutdown", None, ShutdownError)

    def on_violation(self, report: Callable[[Violation], object]) -> None:
        """Report nothing: the host itself sees what a call took, after it."""

    def on_kill(self, report: Callable[[str, str], object]) -> None:
        """Report nothing: what shares the host's process cannot be ended without it."""

    def limits_in_force(self) -> tuple[LimitInForce, ...]:
        """Return nothing: see `pluginapi.limits.limits_in_process`."""
        return ()

    def usage(self, *, now: bool = True) -> PluginUsage:
        """Return what is attributed to the plugin: its heap alone."""
        del now
        heap = self._heap
        if heap is None:
            return PluginUsage()
        return PluginUsage(heap_bytes=heap.used(), heap_peak_bytes=heap.peak())

    def close(self) -> None:
        """Forget the instance and all modules of the plugin; a second call does nothing."""
        with self._lock:
            self._instance = None
        if self._heap is not None:
            self._heap.close()
        self._modules.close()

    async def _call(self, method: str, argument: object | None, error: type[PluginError]) -> None:
        """Call a method that may be absent, sync or async.

        A sync one runs in a daemon thread and an async one in a task of its own, so that
        cancelling this call gives either up, whatever it does about it.
        """
        function = getattr(self.instance, method, None)
        if function is None:
            return
        arguments = () if argument is None and method == "shutdown" else (argument,)
        name = f"plugin-{self.manifest.name}-{method}"
        try:
            if inspect.iscoroutinefunction(function):
                result = function(*arguments)
            else:
                result = await run_in_daemon_thread(self._run, function, *arguments, name=name)
            if inspect.isawaitable(result):
                heap = self._heap
                await run_in_own_task(result if heap is None else heap.awaited(result), name)
        except asyncio.CancelledError as err:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this task: the plugin raised it.
            raise self._failed(method, err, error) from err
        except (KeyboardInterrupt, GeneratorExit):
            # The operator's interrupt, and the closing of this coroutine.
            raise
        except BaseException as err:
            raise self._failed(method, err, error) from err

    def _run(self, function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments) if self._heap is None else self._heap.call(function, *arguments)

    def _failed(self, method: str, err: BaseException, error: type[PluginError]) -> PluginError:
        return error(
            f"{method} of the plugin {self.manifest.name} failed: {describe_failure(err)}",
            plugin=self.manifest.name,
            hint="the traceback of the cause names the line; report it to the plugin's author",
        )


def load_python(file: PluginFile, manifest: PluginManifest) -> PythonPlugin:
    """Execute a Python plugin from the bytes in ``file`` and return it, not yet initialised.

    Nothing is read from disk and nothing is written there. The plugin's modules get private names
    (see `pluginapi.runtime.python_modules`); a failed load leaves none of them behind. This call
    takes as long as the plugin's top-level code does: on an event loop use `load_python_async`.

    Args:
        file: The verified file.
        manifest: What `pluginapi.metadata.read_manifest` read from it. The class that exists
            after execution must carry the same.

    Raises:
        LoadError: The plugin's code raised (``load.execution_failed``); the message gives file
            and line, and the plugin's exception is the cause. SystemExit counts as failure;
            KeyboardInterrupt is not the plugin's and passes.
        InvalidManifest: The class is missing or has another manifest (``manifest.mismatch``).
        InvalidPlugin: The archive may not be loaded (``archive.*``).
    """
    return load_python_as(file, manifest.to_dict())


def load_python_as(file: PluginFile, described: Mapping[str, Any]) -> PythonPlugin:
    """Do what `load_python` does, where the manifest was read in another process.

    Args:
        file: The verified file.
        described: What `PluginManifest.to_dict` gave there.

    Raises:
        PluginError: As `load_python`.
    """
    entry, files = _entry(file)
    return _load(entry, described, PluginModules(described["name"], files))


async def load_python_async(
    file: PluginFile, manifest: PluginManifest, *, max_heap_bytes: int | None = None
) -> PythonPlugin:
    """Do what `load_python` does in a daemon thread.

    With ``max_heap_bytes``, what the plugin's code holds of the interpreter's heap is counted and
    bounded, where that can be; see `pluginapi.runtime.heap`.

    Cancelling it, as `asyncio.timeout` does, gives up a plugin whose top-level code does not
    return: its modules are forgotten at once, and what the thread still produces is released.

    Raises:
        PluginError: As `load_python`.
    """
    entry, files = await run_in_daemon_thread(_entry, file)
    modules = PluginModules(manifest.name, files)
    heap = None if max_heap_bytes is None else HeapAccount(manifest.name, max_heap_bytes)
    try:
        return await run_in_daemon_thread(
            _load,
            entry,
            manifest.to_dict(),
            modules,
            heap,
            name=f"plugin-{manifest.name}-load",
            abandoned=PythonPlugin.close,
        )
    except BaseException:
        modules.close()
        if heap is not None:
            heap.close()
        raise


def _entry(file: PluginFile) -> tuple[EntryModule, Mapping[str, bytes]]:
    """Return the entry module and all files of a plugin."""
    if file.kind is PluginKind.PYTHON:
        # The module is named like its file, so that it shadows no other module for itself.
        name = re.sub(r"\W", "_", file.path.stem)
        return EntryModule(name, file.data, file.path.name), {f"{name}.py": file.data}
    if file.kind is PluginKind.PYTHON_ZIP:
        archive = read_archive(file.data, file.path.name)
        return archive.entry, archive.files
    raise LoadError(
        f"{file.path} is a {file.kind.value} plugin, not a Python one",
        hint="load it through PluginLoader, which chooses by kind",
    )


def _load(
    entry: EntryModule,
    described: Mapping[str, Any],
    modules: PluginModules,
    heap: HeapAccount | None = None,
) -> PythonPlugin:
    name = described["name"]
    run = _run_plainly if heap is None else heap.call
    try:
        with _Execution(name):
            module = run(modules.import_module, entry.name)
        found: Any = vars(module).get(described["entry"] or "")
        manifest = _identified(found, described, entry.label)
        with _Execution(name):
            instance = run(found)
    except BaseException:
        modules.close()
        raise
    return PythonPlugin(manifest, instance, modules, heap)


def _run_plainly(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


class _Execution:
    """Turn whatever a plugin's code raises while it is loaded into a LoadError."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            return
        raise LoadError(
            f"the code of the plugin {self._plugin} failed while it was loaded: "
            f"{describe_failure(error)}",
            code="load.execution_failed",
            plugin=self._plugin,
            hint="the traceback of the cause names the line; report it to the plugin's author",
        ) from error


def _identified(found: Any, described: Mapping[str, Any], label: str) -> PluginManifest:
    """Return the manifest of the plugin's class if it is what was read from its source."""
    own = vars(found).get(MANIFEST_ATTRIBUTE) if isinstance(found, type) else None
    if not isinstance(own, PluginManifest):
        raise InvalidManifest(
            f"{label} has no decorated class {described['entry']} after it was executed",
            code="manifest.mismatch",
            plugin=described["name"],
            hint="do not replace or delete the class after make_plugin",
        )
    # The class does not know how it is packaged.
    own = replace(own, kind=PluginKind(described["kind"]))
    mine = own.to_dict()
    field = next((key for key in mine if mine[key] != described[key]), None)
    if field is not None:
        raise InvalidManifest(
            f"{label} reports {field} {str(mine[field])[:80]!r} after it was executed; its source "
            f"says {str(described[field])[:80]!r}",
            code="manifest.mismatch",
            plugin=described["name"],
            hint="do not change what make_plugin attached, nor the names that it takes",
            field=field,
        )
    return own


def describe_failure(err: BaseException) -> str:
    """Return type, message and, where the plugin's code is in the traceback, file and line.

    The message is made by the plugin: at most 500 characters of it are taken, and an exception
    that cannot be turned into text is described by its type.
    """
    name = type(err).__name__
    try:
        message = str(err)[:_MAX_MESSAGE]
    except Exception as fault:  # noqa: BLE001 - any exception may come from the plugin's __str__
        message = f"its text could not be made: {type(fault).__name__}"
    text = f"{name}: {message}" if message else name
    cause: BaseException | None = err
    # StopIteration out of a coroutine is replaced by a RuntimeError of the interpreter: the
    # plugin's frames are those of its cause.
    for _ in range(_MAX_CAUSES):
        if cause is None:
            break
        places = [
            f" ({frame.f_code.co_filename}:{line})"
            for frame, line in traceback.walk_tb(cause.__traceback__)
            if frame.f_code.co_filename.startswith(SOURCE_NAME_PREFIX)
        ]
        if places:
            return text + places[-1]
        cause = cause.__cause__ or cause.__context__
    return text
