"""The compiled face itself: what only the library's own modules reach."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from pluginapi._native import _abi

if TYPE_CHECKING:
    from pluginapi.plugin_file import PluginFile


class Services:
    """Services that nobody calls here, but log."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def log(self, level: int, message: str) -> None:
        self.lines.append((level, message))

    def context_get(self, key: str) -> bytes:
        raise KeyError(key)

    def context_set(self, key: str, value: bytes) -> None:
        raise KeyError(key)

    def context_has(self, key: str) -> bool:
        return False

    def register_hook(self, name: str, priority: int, handler: _abi.Handler) -> None:
        pass

    def service_call(self, service: str, method: str, arguments: bytes) -> bytes:
        raise KeyError(service)


def _instance(services: Services | None = None, **sizes: int) -> _abi.Instance:
    limits = {"heap_limit": 1 << 16, "out_limit": 1 << 16, **sizes}
    return _abi.Instance(services or Services(), (), **limits)


def test_enumerations_are_those_of_the_kernel(probe: PluginFile) -> None:
    instance = _instance()
    assert instance.state.name == "LOADED"
    with probe.sealed_copy() as copy:
        assert instance.open(str(copy.path)) is True
    assert instance.create(b"\x80", "test.probe", "0.0.0")[0] == -9
    assert _abi.Flaw(instance.flaw) is _abi.Flaw.VERSION
    assert instance.state.name == "GONE"


def test_misuse_by_the_host_raises(probe: PluginFile) -> None:
    instance = _instance()
    with pytest.raises(RuntimeError, match="no library"):
        instance.create(b"\x80", "x", "1.0.0")
    with probe.sealed_copy() as copy:
        instance.open(str(copy.path))
        with pytest.raises(RuntimeError, match="has a library already"):
            instance.open(str(copy.path))
    with pytest.raises(OSError, match="no-such-file"):
        _instance().open("/no-such-file.so")
    with pytest.raises(TypeError, match="made by plugins"):
        _abi.Handler()
    with pytest.raises(OverflowError):
        _instance(heap_limit=-1)


def test_calls_before_create_are_refused() -> None:
    instance = _instance()
    for call in (instance.init, instance.register_hooks, instance.shutdown, instance.destroy):
        status, output, message, cause = call()
        assert (status, output, cause) == (-8, None, None)
        assert "was refused: the plugin is loaded" in message


def test_an_instance_that_never_held_a_plugin_is_freed() -> None:
    reference = weakref.ref(_instance())
    gc.collect()
    assert reference() is None


def test_a_handler_takes_any_buffer(probe: PluginFile) -> None:
    handlers: dict[str, _abi.Handler] = {}

    class Keeping(Services):
        def register_hook(self, name: str, priority: int, handler: _abi.Handler) -> None:
            handlers[name] = handler

    services = Keeping()
    instance = _instance(services)
    with probe.sealed_copy() as copy:
        instance.open(str(copy.path))
    for result in (
        instance.create(b"\x80", "test.probe", "1.2.3"),
        instance.init(),
        instance.register_hooks(),
    ):
        assert result == (0, None, "", None)
    data: Any
    for data in (b"\x01", bytearray(b"\x01"), memoryview(b"\x01")):
        assert handlers["echo"](data) == (0, b"\x01", "", None)
    with pytest.raises(TypeError, match="bytes-like"):
        handlers["echo"]("text")  # type: ignore[arg-type]
    assert handlers["echo"].instance is instance
    assert instance.unloadable is False
    assert instance.shutdown()[0] == instance.destroy()[0] == 0
    assert services.lines == [(10, "destroyed")]
