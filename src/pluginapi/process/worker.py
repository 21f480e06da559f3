"""The Python worker: one Python plugin in a process of its own.

It is forked by the zygote, has nothing of the host but its channel, and gets the verified bytes of
its plugin as a sealed memory file.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import io
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import msgspec

from pluginapi._native import _channel
from pluginapi.context_key import ContextKey
from pluginapi.errors import (
    HookError,
    HookTypeError,
    InitializationError,
    InvalidState,
    IpcClosed,
    IpcError,
    LoadError,
    PluginError,
    ShutdownError,
)
from pluginapi.hooks import HookPriority, HookRegistry, define_standard_hooks
from pluginapi.hooks.fit import check_fit
from pluginapi.hooks.forms import specs_of
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.context_proxy import ContextProxy
from pluginapi.ipc.protocol import (
    GetMetrics,
    HandlerSpec,
    HookSpec,
    HostRequest,
    Initialize,
    Log,
    Metrics,
    Ready,
    Shutdown,
    Success,
    decode,
)
from pluginapi.ipc.serving import WorkerServer, is_async, served
from pluginapi.process.network_errors import explain_refused_connects
from pluginapi.process.source import described_plugin
from pluginapi.runtime.python import PythonPlugin, describe_failure, load_python_as
from pluginapi.sealed_copy import read_sealed

if TYPE_CHECKING:
    from pluginapi.ipc.protocol import HostRequest as _HostRequest

__all__ = ["run_worker", "serve_plugin", "warm_up"]

F = TypeVar("F", bound=Callable[[Any], object])

_MAX_LINE: Final = 4096
_CLASSES: Final = (type, type(msgspec.Struct))
_STANDARD_TYPES: Final[dict[str, Any]] = {}


def warm_up() -> None:
    """Do in the zygote what every worker would have to do."""
    registry = HookRegistry()
    points = define_standard_hooks(registry)
    specs_of(registry)
    for field in dataclasses.fields(points):
        hook = getattr(points, field.name)
        _STANDARD_TYPES[hook.name] = hook.input_type


class _Stream(io.TextIOBase):
    """Send what is printed to the host's log, line by line."""

    def __init__(self, name: str, level: int, fd: int) -> None:
        self.channel: IpcChannel
        self._name = name
        self._level = level
        self._lock = threading.RLock()
        self._line = ""
        self.buffer = io.FileIO(fd, "wb", closefd=False)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def fileno(self) -> int:
        return self.buffer.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._line = (self._line + text).split("\n")
            if len(self._line) > _MAX_LINE:
                lines.append(self._line)
                self._line = ""
            for line in lines:
                self.channel.log(Log(self._level, line[:_MAX_LINE], self._name))
        return len(text)

    def flush(self) -> None:
        with self._lock:
            line, self._line = self._line, ""
            if line:
                self.channel.log(Log(self._level, line[:_MAX_LINE], self._name))


class _LogHandler(logging.Handler):
    """Send log records to the host's log."""

    channel: IpcChannel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            level = min(max(record.levelno, 0), 100)
            self.channel.log(Log(level, text[:_MAX_LINE], record.name[:256]))
        except Exception:  # noqa: BLE001 - as logging does with what goes wrong in a handler
            self.handleError(record)


# They are made before the fork and get their channel after it.
_stdout: Final = _Stream("stdout", logging.INFO, 1)
_stderr: Final = _Stream("stderr", logging.WARNING, 2)
_log_handler: Final = _LogHandler()
_config_decoder: Final = msgspec.msgpack.Decoder(dict[str, Any])


class WorkerScope:
    """Collect what a plugin registers; it goes to the host when `register_hooks` has returned.

    Attributes:
        owner: Name of the plugin.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.registered: list[tuple[HandlerSpec, Callable[[Any], Any]]] = []
        self.sealed = False

    def register(
        self,
        name: str,
        priority: int,
        handler: F,
        *,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
    ) -> F:
        """Add a handler."""
        self._check_open("register", name)
        if not callable(handler):
            raise HookTypeError(
                f"the handler for {name!r} is a {type(handler).__name__}, not a function",
                plugin=self.owner,
                hint="register a function of one argument",
                hook=name,
            )
        label = getattr(handler, "__qualname__", type(handler).__qualname__)
        try:
            spec = msgspec.convert(
                [len(self.registered) + 1, name, priority, [*before], [*after], label[:256]],
                HandlerSpec,
            )
        except msgspec.ValidationError as err:
            raise HookTypeError(
                f"the handler for {name!r} cannot be registered: {err}",
                plugin=self.owner,
                hint="give a name of 1 to 256 characters and a priority of at least 0",
                hook=str(name)[:256],
            ) from err
        self.registered.append((spec, handler))
        return handler

    def on(
        self,
        name: str,
        *,
        priority: int = HookPriority.NORMAL,
        before: Iterable[str] = (),
        after: Iterable[str] = (),
    ) -> Callable[[F], F]:
        """Decorate a function to register it: ``@hooks.on("on_request")``."""

        def decorate(handler: F) -> F:
            return self.register(name, priority, handler, before=before, after=after)

        return decorate

    def unregister(self, name: str, handler: object) -> None:
        """Remove a handler that was registered before."""
        self._check_open("unregister", name)
        kept = [(s, h) for s, h in self.registered if not (s.hook == name and h == handler)]
        if len(kept) == len(self.registered):
            raise HookError(
                f"no such handler is registered for {name!r}",
                code="hook.unknown",
                plugin=self.owner,
                hint="unregister what was registered",
            )
        self.registered = [
            (msgspec.structs.replace(spec, id=number), each)
            for number, (spec, each) in enumerate(kept, 1)
        ]

    def hook(self, name: str) -> Any:
        """Refuse: a plugin in a process of its own cannot call the hooks of the host."""
        raise IpcError(
            f"hook {name!r} belongs to the host, which this plugin's process cannot call",
            code="ipc.unsupported",
            plugin=self.owner,
            hint="register a handler, or let the host run the plugin inside of its own process",
        )

    def _check_open(self, what: str, name: str) -> None:
        if self.sealed:
            raise InvalidState(
                f"{what} of a handler for {str(name)[:80]!r} after register_hooks has returned",
                code="ipc.unsupported",
                plugin=self.owner,
                hint="in a process of its own a plugin registers its handlers in register_hooks",
            )


class PluginWorker:
    """Load one plugin when the host says so, and serve its handlers."""

    def __init__(self, channel: IpcChannel, handoff: socket.socket) -> None:
        self.channel = channel
        self._handoff = handoff
        self._server = WorkerServer(channel, self._control)
        self._plugin: PythonPlugin | None = None
        self._failed: PluginError | None = None
        self._context: ContextProxy | None = None
        self._scope = WorkerScope("")
        self._hooks: dict[str, HookSpec] = {}
        self._started = time.monotonic()

    def run(self) -> None:
        """Serve until the host says `Shutdown`, or is gone."""
        try:
            first = self._await_initialize()
        except IpcClosed:
            return
        if first is None:
            return
        message: Initialize = decode(first.payload, HostRequest)
        try:
            self._plugin = self._load(message, read_sealed(self._handoff))
        except PluginError as err:
            self._failed = err
        if self._plugin is not None and _is_async(self._plugin.instance):
            asyncio.run(self._server.serve_async(first))
        else:
            self._server.serve(first)

    def close(self) -> None:
        """Forget the plugin and its modules: for a process that goes on."""
        if self._plugin is not None:
            self._plugin.close()

    def _await_initialize(self) -> _channel.Request | None:
        """Serve what comes before; None when there is nothing to do any more."""
        while True:
            request = self.channel.core.receive()
            if request is None:
                continue
            if request.kind == _channel.REQUEST and isinstance(
                decode(request.payload, HostRequest), Initialize
            ):
                return request
            if self._server.dispatch(request):
                return None

    # ---- The host's requests ----

    def _control(self, message: _HostRequest) -> Any:
        if isinstance(message, Initialize):
            if self._failed is not None:
                raise self._failed
            if self._plugin is None or self._scope.sealed:
                raise InvalidState("a plugin is loaded already", code="load.failed")
            instance = self._plugin.instance
            return self._ready_async() if _is_async(instance) else self._ready()
        if isinstance(message, Shutdown):
            return self._shutdown()
        if isinstance(message, GetMetrics):
            return self._metrics()
        raise IpcError(f"the worker serves no {type(message).__name__}", code="ipc.unsupported")

    def load_and_forget(self, message: Initialize, data: bytes) -> None:
        """Do what `Initialize` does, with these bytes and without the host; then let go of it."""
        self._plugin = self._load(message, data)
        msgspec.msgpack.encode(self._ready())
        self.close()

    def _load(self, message: Initialize, data: bytes) -> PythonPlugin:
        config = _config_decoder.decode(message.config)
        level = message.limits.get("log_level", logging.INFO)
        if logging.getLogger().level != level:
            logging.getLogger().setLevel(level)
        if message.limits.get("brokered"):
            explain_refused_connects()
        file, described = described_plugin(message.source, data)
        name, version = described["name"], described["version"]
        if (name, version) != (message.plugin, message.version):
            raise LoadError(
                f"the host handed over {name} {version}, not {message.plugin} {message.version}",
                hint="this is a fault of the library",
            )
        plugin = load_python_as(file, described)
        self._hooks = {spec.name: spec for spec in message.hooks}
        self._scope = WorkerScope(name)
        self._context = ContextProxy(
            self.channel,
            name,
            write=message.write,
            own={
                ContextKey.Configuration: config,
                ContextKey.Logger: logging.getLogger(f"pluginapi.plugin.{name}"),
            },
            services=message.services,
        )
        return plugin

    def _steps(self) -> Iterable[tuple[str, Any]]:
        assert self._plugin is not None  # noqa: S101 - it was loaded before
        for method, argument in (("init", self._context), ("register_hooks", self._scope)):
            function = getattr(self._plugin.instance, method, None)
            if function is None:
                continue
            try:
                yield method, function(argument)
            except Exception as err:
                raise self._failure(method, err, InitializationError) from err

    def _ready(self) -> Ready:
        for method, result in self._steps():
            if inspect.isawaitable(result):
                try:
                    asyncio.run(_finish(result))
                except Exception as err:
                    raise self._failure(method, err, InitializationError) from err
        return self._seal()

    async def _ready_async(self) -> Ready:
        for method, result in self._steps():
            if inspect.isawaitable(result):
                try:
                    await result
                except Exception as err:
                    raise self._failure(method, err, InitializationError) from err
        return self._seal()

    def _seal(self) -> Ready:
        assert self._plugin is not None  # noqa: S101 - it was loaded before
        self._scope.sealed = True
        for spec, handler in self._scope.registered:
            self._server.add(spec.id, self._served(spec, handler))
        manifest = self._plugin.manifest
        return Ready(
            manifest.name,
            str(manifest.version),
            tuple(spec for spec, _ in self._scope.registered),
            # Those that wait let others run.
            thread_safe=any(is_async(handler) for _, handler in self._scope.registered),
            pid=os.getpid(),
        )

    def _served(self, spec: HandlerSpec, handler: Callable[[Any], Any]) -> _channel.Served:
        input_type = _input_type(handler, spec.hook)
        check_fit(self._hooks.get(spec.hook), spec, handler, input_type)
        try:
            return served(handler, input_type=input_type, hook=spec.hook, context=self._context)
        except TypeError as err:
            raise HookTypeError(
                f"values for the handler {spec.name} of hook {spec.hook} cannot be made: {err}",
                plugin=self._scope.owner,
                hint="annotate its argument with a type that msgspec knows, such as a Struct",
                hook=spec.hook,
            ) from err

    def _shutdown(self) -> Any:
        function = None
        if self._plugin is not None and self._scope.sealed:
            function = getattr(self._plugin.instance, "shutdown", None)
        if function is None:
            return Success()
        try:
            result = function()
        except Exception as err:
            raise self._failure("shutdown", err, ShutdownError) from err
        return self._shut_down(result) if inspect.isawaitable(result) else Success()

    async def _shut_down(self, result: Any) -> Success:
        try:
            await result
        except Exception as err:
            raise self._failure("shutdown", err, ShutdownError) from err
        return Success()

    def _failure(self, method: str, err: Exception, error: type[PluginError]) -> PluginError:
        name = self._scope.owner
        return error(
            f"{method} of the plugin {name} failed: {describe_failure(err)}",
            plugin=name,
            hint="the traceback of the cause names the line; report it to the plugin's author",
        )

    def _metrics(self) -> Metrics:
        usage = os.times()
        return Metrics(
            {
                "cpu_ns": round((usage.user + usage.system) * 1e9),
                "uptime_seconds": time.monotonic() - self._started,
                "thread_count": threading.active_count(),
            }
        )


async def _finish(awaitable: Any) -> Any:
    return await awaitable


def _is_async(instance: object) -> bool:
    return any(
        inspect.iscoroutinefunction(getattr(instance, method, None))
        for method in ("init", "register_hooks", "shutdown")
    )


def _input_type(handler: Callable[[Any], Any], hook: str) -> Any:
    """Return what a handler's value is made as: as it annotates, or as the hook is known."""
    otherwise = _STANDARD_TYPES.get(hook, Any)
    plain = _plain_annotation(handler)
    if plain is not inspect.Parameter.empty:
        return otherwise if plain is None or plain is object else plain
    function = handler if inspect.isroutine(handler) else type(handler).__call__
    try:
        hints = get_type_hints(function)
        parameters = list(inspect.signature(handler).parameters)
    except (NameError, TypeError, ValueError):
        # It cannot be told: an annotation that exists for type checkers alone, or no signature.
        return otherwise
    found = hints.get(parameters[0]) if parameters else None
    return otherwise if found is None or found is object or found is Any else found


def _plain_annotation(handler: Callable[[Any], Any]) -> Any:
    """Return the class that a plain function's first argument is annotated with, None without one.

    `Parameter.empty` for whatever takes a closer look, which takes as long as the rest of a start.
    """
    function = getattr(handler, "__func__", handler)
    if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
        return inspect.Parameter.empty
    code, bound = function.__code__, int(function is not handler)
    if code.co_argcount <= bound:
        return inspect.Parameter.empty
    found = function.__annotations__.get(code.co_varnames[bound])
    # The parametrised ones, such as list[str], are no classes of their own.
    return found if found is None or type(found) in _CLASSES else inspect.Parameter.empty


def run_worker(
    channel_fd: int,
    handoff_fd: int,
    *,
    lock: Callable[[], object] | None = None,
    prepare: Callable[[IpcChannel], object] | None = None,
) -> int:
    """Be a worker on these descriptors until the host is done with it; return the exit status.

    ``lock`` is called when the channel is joined, ``prepare`` before the first request is awaited.
    """
    # Random numbers and locks were seen to by the interpreter when it forked: os.register_at_fork.
    handoff = socket.socket(fileno=handoff_fd)
    channel = IpcChannel.join(socket.socket(fileno=channel_fd), timeout=30.0)
    status = 0
    if lock is not None:
        lock()
    if prepare is not None:
        prepare(channel)
    try:
        serve_plugin(channel, handoff)
    except SystemExit as err:
        status = err.code if isinstance(err.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def serve_plugin(channel: IpcChannel, handoff: socket.socket) -> PluginWorker:
    """Serve the plugin that the host hands over until the host is done with it.

    What is printed or logged in this process goes to the host from now on.
    """
    _stdout.channel = _stderr.channel = _log_handler.channel = channel
    sys.stdout, sys.stderr = _stdout, _stderr
    logging.getLogger().addHandler(_log_handler)
    worker = PluginWorker(channel, handoff)
    worker.run()
    return worker
