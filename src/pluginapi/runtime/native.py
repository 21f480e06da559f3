"""Native plugins in this process: shared libraries with the C ABI of ``pluginapi.h``."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Protocol, TypeAlias

import msgspec

from pluginapi._native import _abi, _hooks
from pluginapi.errors import (
    AbiIncompatible,
    ConfigError,
    ContextError,
    ContextKeyNotFound,
    ContextTypeError,
    HookError,
    HookOrderError,
    HookTypeError,
    InitializationError,
    InvalidPlugin,
    InvalidState,
    LoadError,
    PluginError,
    PluginTimeout,
    ResourceViolation,
    ServiceError,
    ShutdownError,
    SymbolNotFound,
)
from pluginapi.limits import LimitInForce, ResourceLimits, Violation
from pluginapi.manifest import PluginManifest
from pluginapi.monitor.metrics import PluginUsage
from pluginapi.plugin_file import PluginFile
from pluginapi.runtime.native_status import native_failure, printable
from pluginapi.runtime.threads import run_in_daemon_thread

__all__ = [
    "DEFAULT_MAX_RESULT_BYTES",
    "NativeHandler",
    "NativePlugin",
    "check_config",
    "check_native",
    "load_native",
]

DEFAULT_MAX_RESULT_BYTES: Final = 16 * 1024 * 1024
"""The largest result of one hook handler and the sum of context values it may read, 16 MiB."""

_EMPTY_CONFIG: Final = b"\x80"
_ERR_STATE: Final = -8

_Result: TypeAlias = tuple[int, bytes | None, str, Exception | None]


_CONTEXT_CODES: Final[dict[str, type[PluginError]]] = {
    "context.full": ResourceViolation,
    "context.closed": InvalidState,
}


class _Unsupported(ServiceError):
    """A service method that cannot be called from where the plugin calls it."""


_SERVICE_CODES: Final[dict[str, type[PluginError]]] = {
    "service.too_large": ResourceViolation,
    "service.suspended": _Unsupported,
    "service.deadline": PluginTimeout,
}

# What a plugin is told when a service that it called raised.
_SERVICE_STATUSES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (ContextKeyNotFound, -11),
    (ContextTypeError, -2),
    (ContextError, -4),
    (InvalidState, -8),
    (ResourceViolation, -5),
    (PluginTimeout, -6),
    (_Unsupported, -3),
    (HookTypeError, -2),
    (HookOrderError, -2),
    (LookupError, -11),
    (ValueError, -2),
    (TypeError, -2),
    (MemoryError, -5),
)

_FLAW_CODES: Final = {
    _abi.Flaw.NO_PLUGIN: "abi.plugin_struct",
    _abi.Flaw.SIZE: "abi.plugin_struct",
    _abi.Flaw.ABI: "abi.incompatible",
    _abi.Flaw.NAME: "abi.identity",
    _abi.Flaw.VERSION: "abi.identity",
    _abi.Flaw.CALLBACK: "abi.plugin_struct",
}

_FLAW_HINTS: Final = {
    "abi.plugin_struct": "rebuild the plugin with this host's pluginapi.h (`pluginapi include`)",
    "abi.incompatible": "rebuild the plugin with this host's pluginapi.h (`pluginapi include`)",
    "abi.identity": "make PA_MANIFEST and the pa_plugin structure say the same, then sign again",
}


class HookRegistrar(Protocol):
    """What is needed of a `pluginapi.hooks.scope.HookScope`."""

    def hook(self, name: str, /) -> Any:
        """Return the `pluginapi.hooks.hook.Hook` of this name."""

    def register(self, name: str, priority: int, handler: Callable[[Any], object], /) -> object:
        """Add a handler."""


class ContextAccess(Protocol):
    """What is needed of a `pluginapi.context.PluginContext`."""

    def get_bytes(self, name: str, /) -> bytes:
        """Return a value as msgpack."""

    def set_bytes(self, name: str, data: bytes, /) -> None:
        """Store a value that is given as msgpack."""

    def has(self, name: str, /) -> bool:
        """Tell whether `get_bytes` would find a value."""

    def call_service(self, service: str, method: str, arguments: bytes, /) -> bytes:
        """Call a service method with msgpack and return msgpack."""


class NativeHandler(_hooks.Native):
    """Call one hook handler of a native plugin with a Python value.

    The value crosses as msgpack; the result is decoded and validated as the hook's output type. A
    `msgspec.Raw` crosses as it is, in both directions. Returns None when the plugin left the value
    unchanged, and a `pluginapi.hooks.StopChain` when it stopped the chain. Hooks call the C
    function straight from their plan. Thread-safe; calls of one plugin wait for each other unless
    it declares itself thread-safe.

    Raises:
        HookTypeError: When the value cannot be encoded, or the result is not of the hook's type.
        HookError: When the handler returned an error; the message is the plugin's.
        ResourceViolation: When the result is too large or the plugin ran out of its memory.
        InvalidState: When the plugin is called from inside its own call, or is not active.
    """

    __slots__ = ("_hook", "_hooks", "_plugin")

    def __init__(
        self, plugin: NativePlugin, hooks: HookRegistrar, hook: str, call: _abi.Handler
    ) -> None:
        from pluginapi.hooks import StopChain  # noqa: PLC0415 - hooks import live plugins

        super().__init__(call, msgspec.msgpack.Encoder().encode, StopChain)
        self._plugin = plugin
        self._hooks = hooks
        self._hook = hook

    def __repr__(self) -> str:
        return f"<native handler of {self._plugin.manifest.name} for {self._hook}>"

    def __call__(self, value: Any) -> Any:
        """Run the handler on one value."""
        self.returns(self._hooks.hook(self._hook).output_type)
        return self.run(value)

    # Called by the compiled part, which raises errors that these let pass.

    def _unencodable(self, _value: object, err: Exception) -> None:
        if not isinstance(err, TypeError | ValueError | OverflowError | RecursionError):
            return
        raise HookTypeError(
            f"the value of hook {self._hook} cannot be given to the native plugin "
            f"{self._plugin.manifest.name}: {err}",
            plugin=self._plugin.manifest.name,
            hint="pass types that msgspec can encode as msgpack",
            hook=self._hook,
        ) from err

    def _failed(self, result: _Result) -> NoReturn:
        raise self._plugin.failure(
            f"its handler for {self._hook}", HookError, "hook.failed", result
        )

    def _undecodable(self, output: bytes, err: Exception) -> None:
        if not isinstance(
            err, msgspec.DecodeError | TypeError | RecursionError | UnicodeDecodeError
        ):
            return
        raise HookTypeError(
            f"plugin {self._plugin.manifest.name} returned {len(output)} bytes for hook "
            f"{self._hook} that are not of its type: {err}",
            plugin=self._plugin.manifest.name,
            hint="report this to the plugin's author",
            hook=self._hook,
        ) from err


@contextmanager
def _context_errors() -> Iterator[None]:
    """Give the errors of a context that are no refusal the class that has their status."""
    try:
        yield
    except ContextError as err:
        other = _CONTEXT_CODES.get(err.code)
        if other is None:
            raise
        raise other(str(err), plugin=err.plugin, hint=err.hint) from err


@contextmanager
def _service_errors() -> Iterator[None]:
    """Give the errors of a service the class that has their status."""
    try:
        yield
    except ServiceError as err:
        other = _SERVICE_CODES.get(err.code)
        if other is None:
            raise
        code = err.code if other is _Unsupported else None
        raise other(str(err), code=code, plugin=err.plugin, hint=err.hint) from err


class _Services:
    """What the plugin's calls into the host reach. Called on any thread."""

    def __init__(self, name: str, logger: logging.Logger) -> None:
        self.name = name
        self.logger = logger
        self.context: ContextAccess | None = None
        self.hooks: HookRegistrar | None = None
        self.wrap: Callable[[HookRegistrar, str, _abi.Handler], NativeHandler] | None = None

    def log(self, level: int, message: str) -> None:
        known = (logging.DEBUG, logging.INFO, logging.WARNING)
        rounded = next((each for each in known if level <= each), logging.ERROR)
        self.logger.log(rounded, "%s", printable(message), extra={"plugin": self.name})

    def context_get(self, key: str) -> bytes:
        with _context_errors():
            return self._context().get_bytes(key)

    def context_set(self, key: str, value: bytes) -> None:
        with _context_errors():
            self._context().set_bytes(key, value)

    def context_has(self, key: str) -> bool:
        with _context_errors():
            return self._context().has(key)

    def service_call(self, service: str, method: str, arguments: bytes) -> bytes:
        with _context_errors(), _service_errors():
            return self._context().call_service(service, method, arguments)

    def register_hook(self, name: str, priority: int, handler: _abi.Handler) -> None:
        if self.hooks is None or self.wrap is None:
            raise InvalidState(
                f"plugin {self.name} registers hook {name} after the host stopped waiting for it",
                plugin=self.name,
            )
        self.hooks.register(name, priority, self.wrap(self.hooks, name, handler))

    def _context(self) -> ContextAccess:
        if self.context is None:
            raise InvalidState(f"plugin {self.name} has no context now", plugin=self.name)
        return self.context


class NativePlugin:
    """A loaded native plugin; `load_native` makes it.

    Every method may be called from any thread. `init`, `register_hooks` and `shutdown` run the
    plugin's code in a daemon thread of their own, so that the caller can stop waiting for it
    (``asyncio.timeout``). Code that is running is never pulled away: a plugin that does not
    return stays in memory until the process ends, and the log says so.

    Attributes:
        manifest: The manifest that was verified.
        heap_limit: Bytes that it may allocate from the host.
        heap_account: 0: what it allocates is not the interpreter's.
    """

    heap_account = 0

    def __init__(
        self,
        manifest: PluginManifest,
        instance: _abi.Instance,
        services: _Services,
        heap_limit: int,
    ) -> None:
        self.manifest = manifest
        self.heap_limit = heap_limit
        self._instance = instance
        self._services = services
        self._lock = threading.Lock()
        self._threads = 0
        self._closed = False
        services.wrap = self._wrap

    def __repr__(self) -> str:
        return f"<native plugin {self.manifest.name} {self.manifest.version}>"

    @property
    def thread_safe(self) -> bool:
        """Whether the plugin's handlers may run concurrently."""
        return self._instance.thread_safe

    @property
    def running_calls(self) -> int:
        """Number of calls that are running in the plugin's code."""
        return self._instance.running

    @property
    def heap_faults(self) -> int:
        """Number of faulty calls to the host's free and realloc; each is in the log."""
        return self._instance.heap_faults

    def heap_bytes(self) -> int | None:
        """Return the bytes that the plugin holds of the host's memory.

        Counted are blocks from the host's ``alloc``, each with 48 bytes of administration. What
        the plugin takes from the C library directly cannot be told apart in one process.
        """
        return self._instance.heap_bytes

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
        return PluginUsage(heap_bytes=self.heap_bytes(), heap_peak_bytes=self.heap_peak_bytes)

    @property
    def heap_peak_bytes(self) -> int:
        """The largest value of `heap_bytes` so far."""
        return self._instance.heap_peak_bytes

    async def init(self, context: ContextAccess) -> None:
        """Call the plugin's init; from now on the plugin reads and writes this context.

        Raises:
            InitializationError: When it returned an error; the message is the plugin's.
        """
        self._services.context = context
        result = await self._in_thread("init", self._instance.init)
        if result[0] < 0:
            raise self.failure("init", InitializationError, "lifecycle.init_failed", result)

    async def register_hooks(self, hooks: HookRegistrar) -> None:
        """Let the plugin register its handlers; they stay registered when it fails half-way.

        Raises:
            InitializationError: When it returned an error; chained to what the registry raised.
        """
        self._services.hooks = hooks
        try:
            result = await self._in_thread("register_hooks", self._instance.register_hooks)
        finally:
            self._services.hooks = None
        if result[0] < 0:
            raise self.failure(
                "register_hooks", InitializationError, "lifecycle.init_failed", result
            )

    async def shutdown(self, why: str = "") -> None:
        """Wait for running handlers, then call the plugin's shutdown. New calls are refused.

        Raises:
            ShutdownError: When it returned an error; the plugin counts as shut down all the same.
        """
        del why
        result = await self._in_thread("shutdown", self._instance.shutdown)
        if result[0] < 0:
            raise self.failure("shutdown", ShutdownError, "lifecycle.shutdown_failed", result)

    def close(self) -> None:
        """Destroy the plugin and release its memory; idempotent.

        A plugin that is still active is shut down first, on this thread. A plugin whose code is
        running is left as it is, for ever.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            busy = self._threads > 0
        name = self.manifest.name
        state = self._instance.state
        extra = {"plugin": name}
        if state is _abi.State.GONE:
            return
        if not busy and self._instance.running == 0:
            if state in (_abi.State.INITIALISED, _abi.State.ACTIVE):
                result = self._instance.shutdown()
                if result[0] < 0:
                    error = self.failure(
                        "shutdown", ShutdownError, "lifecycle.shutdown_failed", result
                    )
                    self._services.logger.warning("%s", error, extra=extra)
            if self._instance.destroy()[0] == 0:
                self._services.context = None
                return
        self._services.context = None
        self._services.logger.error(
            "plugin %s is not released: a call of it has not returned (%s); its memory stays in "
            "use until this process ends",
            name,
            state.name.lower(),
            extra=extra,
        )

    def failure(
        self, what: str, error: type[PluginError], code: str, result: _Result
    ) -> PluginError:
        """Make the exception for a call that returned a negative status, with its cause."""
        number, _, message, cause = result
        made = native_failure(self.manifest.name, what, error, code, number, message)
        made.__cause__ = cause
        return made

    def _wrap(self, hooks: HookRegistrar, hook: str, handler: _abi.Handler) -> NativeHandler:
        return NativeHandler(self, hooks, hook, handler)

    async def _in_thread(self, what: str, call: Callable[[], _Result]) -> _Result:
        """Run a call in a daemon thread; when the waiting is cancelled, the thread goes on."""
        with self._lock:
            if self._closed:
                raise InvalidState(
                    f"{what} of plugin {self.manifest.name} was called after close",
                    code="abi.call_state",
                    plugin=self.manifest.name,
                    hint="load the plugin again",
                )
            self._threads += 1

        started = threading.Event()

        def run() -> _Result:
            started.set()
            try:
                return call()
            finally:
                with self._lock:
                    self._threads -= 1

        try:
            return await run_in_daemon_thread(
                run,
                name=f"pluginapi-{self.manifest.name}-{what}",
                abandoned=lambda _: self._late(what),
            )
        except RuntimeError:
            if not started.is_set():
                # The system gave no thread: `run` has not counted it down.
                with self._lock:
                    self._threads -= 1
            raise

    def _late(self, what: str) -> None:
        self._services.logger.warning(
            "%s of plugin %s returned after the host had stopped waiting for it",
            what,
            self.manifest.name,
            extra={"plugin": self.manifest.name},
        )


def load_native(
    file: PluginFile,
    manifest: PluginManifest,
    *,
    limits: ResourceLimits,
    config: bytes = _EMPTY_CONFIG,
    logger: logging.Logger | None = None,
    max_result_bytes: int = DEFAULT_MAX_RESULT_BYTES,
) -> NativePlugin:
    """Load the verified bytes of a native plugin and construct it.

    Runs the library's constructors and its ``create_plugin`` on the calling thread. Verification
    comes before: this function trusts the bytes. After an error the library stays mapped, since
    it has not said that it is unloadable, and nothing else is left.

    Args:
        file: The verified file; what is loaded is its sealed copy, never its path.
        manifest: The manifest that was read from these bytes.
        limits: ``max_heap_bytes`` bounds what the plugin allocates from the host.
        config: The operator's configuration of the plugin: one msgpack map.
        logger: Receives the plugin's log lines, with ``plugin`` in ``extra``. Without it, the
            logger ``pluginapi.plugins.<name>``.
        max_result_bytes: Bound on one handler's result and on the context values it reads.

    Raises:
        InvalidPlugin: When the file is not a native plugin.
        UnsupportedPlatform: When the library is for another operating system or processor.
        ConfigError: When ``config`` is not a msgpack map.
        AbiIncompatible: When the plugin was built for another ABI major, or what it hands out
            breaks the ABI or disagrees with the manifest; the message names the member.
        SymbolNotFound: When it does not export ``create_plugin``.
        LoadError: When the linker refuses it or ``create_plugin`` fails.
    """
    name = manifest.name
    check_native(file, manifest)
    check_config(config, name)
    services = _Services(name, logger or logging.getLogger(f"pluginapi.plugins.{name}"))
    instance = _abi.Instance(
        services,
        _SERVICE_STATUSES,
        heap_limit=limits.max_heap_bytes,
        out_limit=max_result_bytes,
    )
    try:
        with file.sealed_copy() as copy:
            found = instance.open(os.fspath(copy.path))
    except OSError as err:
        if isinstance(err, PluginError):
            raise
        raise LoadError(
            f"the linker refuses {file.path}: {printable(str(err))}",
            code="abi.load_failed",
            plugin=name,
            hint="build the plugin for this machine, with the libraries it needs installed",
        ) from err
    if not found:
        raise SymbolNotFound(
            f"{file.path} does not export create_plugin",
            plugin=name,
            hint="define `PA_EXPORT pa_status create_plugin(...)`, in C++ too",
        )
    plugin = NativePlugin(manifest, instance, services, limits.max_heap_bytes)
    result = instance.create(config, name, str(manifest.version))
    flaw = _abi.Flaw(instance.flaw)
    if flaw is not _abi.Flaw.NONE:
        code = _FLAW_CODES[flaw]
        raise AbiIncompatible(
            f"plugin {name} breaks the ABI in {printable(result[2])}",
            code=code,
            plugin=name,
            hint=_FLAW_HINTS[code],
        )
    if result[0] < 0:
        raise plugin.failure("create_plugin", LoadError, "abi.create_failed", result)
    return plugin


def check_native(file: PluginFile, manifest: PluginManifest) -> None:
    """Refuse a file that is no native plugin for this machine and this version of the ABI.

    Raises:
        InvalidPlugin: When the file is not a native plugin.
        UnsupportedPlatform: When the library is for another operating system or processor.
        AbiIncompatible: When the plugin was built for another ABI major.
    """
    if file.library is None:
        raise InvalidPlugin(
            f"{file.path} is a {file.kind.value} plugin, not a native one",
            plugin=manifest.name,
            hint="load it as what it is",
        )
    file.library.require_loadable(manifest.name)
    _check_abi(manifest)


def _check_abi(manifest: PluginManifest) -> None:
    if manifest.abi is not None and manifest.abi[0] == _abi.ABI_MAJOR:
        return
    built = "no ABI" if manifest.abi is None else f"ABI {manifest.abi[0]}.{manifest.abi[1]}"
    raise AbiIncompatible(
        f"plugin {manifest.name} was built for {built}; "
        f"this host runs ABI {_abi.ABI_MAJOR}.{_abi.ABI_MINOR}",
        plugin=manifest.name,
        hint=_FLAW_HINTS["abi.incompatible"],
    )


def check_config(config: bytes, name: str) -> None:
    """Refuse a configuration that is not a msgpack map.

    Raises:
        ConfigError: It is anything else.
    """
    try:
        decoded = msgspec.msgpack.decode(config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise _not_a_map(name, str(err)) from err
    if not isinstance(decoded, dict):
        raise _not_a_map(name, f"it is a {type(decoded).__name__}")


def _not_a_map(name: str, found: str) -> ConfigError:
    return ConfigError(
        f"the configuration of plugin {name} is not a msgpack map: {found}",
        plugin=name,
        hint="encode a mapping with msgspec.msgpack.encode",
    )
