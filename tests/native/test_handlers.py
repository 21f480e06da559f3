"""Hook handlers in C: values in and out, errors, bounds, re-entry, threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluginapi.errors import (
    AbiIncompatible,
    HookError,
    HookTypeError,
    InvalidState,
    ResourceViolation,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from native.support import Active, Native
    from pluginapi.plugin_file import PluginFile

MIB = 1024 * 1024


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


TYPES = {"echo": Point, "stop": Point, "stop_bare": Point}


@pytest.fixture(params=["in-process", "process"])
async def active(native: Native, probe: PluginFile, request: pytest.FixtureRequest) -> Active:
    """The probe, in this process and in one of its own: what holds here holds there."""
    if request.param == "process":
        return await native.isolate(probe, types=TYPES)
    return await native.activate(probe, types=TYPES)


@pytest.fixture
async def here(native: Native, probe: PluginFile) -> Active:
    """The probe in this process, for what is of this process alone."""
    return await native.activate(probe, types=TYPES)


def test_values_are_decoded_as_the_hook_says(active: Active) -> None:
    assert active.call("echo", Point(3, 4)) == Point(3, 4)
    assert active.call("echo", {"x": 5}) == Point(5)


def test_nothing_written_is_unchanged(active: Active) -> None:
    assert active.call("unchanged", Point(1)) is None


def test_stop_ends_the_chain(active: Active) -> None:
    from pluginapi.hooks import StopChain

    for hook, value in (("stop", Point(1)), ("stop_bare", Point(2))):
        stopped = active.call(hook, value)
        assert isinstance(stopped, StopChain)
        assert stopped.value == value


def test_a_value_that_cannot_be_encoded(active: Active) -> None:
    with pytest.raises(HookTypeError, match="cannot be given to") as refused:
        active.call("echo", object())
    assert refused.value.plugin == "test.probe"


@pytest.mark.parametrize(("hook", "value"), [("echo", {"x": "text"}), ("echo", 1)])
def test_a_result_of_another_type(active: Active, hook: str, value: Any) -> None:
    with pytest.raises(HookTypeError, match="that are not of its type") as refused:
        active.call(hook, value)
    assert isinstance(refused.value.__cause__, msgspec.DecodeError)


def test_a_result_that_is_no_msgpack(active: Active) -> None:
    with pytest.raises(HookTypeError, match="returned 1 bytes for hook garbage"):
        active.call("garbage")


def test_an_error_carries_the_plugins_words(active: Active) -> None:
    with pytest.raises(HookError, match="with PA_ERR_FAIL: queue full ä") as failed:
        active.call("fail", "queue full ä")
    assert failed.value.code == "hook.failed"
    assert failed.value.details == {"status": "PA_ERR_FAIL"}


def test_an_error_is_bounded_and_made_printable(active: Active) -> None:
    with pytest.raises(HookError) as failed:
        active.call("fail", "x" * 10_000)
    assert 4096 < len(str(failed.value)) < 4300
    with pytest.raises(HookError, match=r"\\x1b\[31m.\\u202e"):
        active.call("fail", b"\x1b[31m\xff\xe2\x80\xae")


@pytest.mark.parametrize(
    ("status", "error", "name"),
    [
        (-1, HookError, "PA_ERR_FAIL"),
        (-4, HookError, "PA_ERR_DENIED"),
        (-5, ResourceViolation, "PA_ERR_LIMIT"),
        (-8, InvalidState, "PA_ERR_STATE"),
        (-9, AbiIncompatible, "PA_ERR_ABI"),
        (-12, HookError, "PA_ERR_AGAIN"),
        (-13, HookError, "PA_ERR_FAIL"),
        (-(2**31), HookError, "PA_ERR_FAIL"),
        (2, AbiIncompatible, "the status 2, which does not exist"),
        (2**31 - 1, AbiIncompatible, "the status 2147483647, which does not exist"),
    ],
)
def test_every_status_has_its_error(
    active: Active, status: int, error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name):
        active.call("status", status)
    assert active.call("status", 0) is True


async def test_a_result_up_to_the_bound(native: Native, probe: PluginFile) -> None:
    active = await native.activate(probe, max_result_bytes=10_000)
    assert active.call("big", 10_000 - 5) == b"x" * (10_000 - 5)
    with pytest.raises(ResourceViolation, match="the result is larger than 10000 bytes") as over:
        active.call("big", 10_000 - 4)
    assert over.value.code == "limits.exceeded"
    assert active.call("big", 3) == b"xxx"


def test_the_default_bound_is_16_mib(here: Active) -> None:
    assert len(here.call("big", 16 * MIB - 5)) == 16 * MIB - 5
    with pytest.raises(ResourceViolation, match="larger than 16777216 bytes"):
        here.call("big", 16 * MIB - 4)


def test_hooks_are_registered_in_register_hooks_only(active: Active) -> None:
    with pytest.raises(InvalidState, match="PA_ERR_STATE"):
        active.call("register")


def test_re_entry_is_refused(active: Active) -> None:
    refused = []

    def call_again(name: str) -> None:
        with pytest.raises(InvalidState, match="from inside a call of the same plugin") as again:
            active.call("echo", Point(1))
        refused.append(again.value.code)

    active.context.on_get = call_again
    assert active.call("context_get", "key") == "value"
    assert refused == ["abi.call_state"]
    # Nothing is stuck afterwards.
    assert active.call("echo", Point(1)) == Point(1)


async def test_re_entry_of_a_thread_safe_plugin(native: Native) -> None:
    active = await native.activate(native.file("probe.c", "-DPROBE_FLAGS=PA_F_THREAD_SAFE"))
    assert active.plugin.thread_safe
    active.context.on_get = lambda name: active.call("echo", name)
    assert active.call("context_get", "key") == "value"


async def test_one_plugin_may_call_another(native: Native, probe: PluginFile) -> None:
    first = await native.activate(probe)
    second = await native.activate(probe)
    answers = []
    first.context.on_get = lambda name: answers.append(second.call("echo", 7))
    assert first.call("context_get", "key") == "value"
    assert answers == [7]


def test_an_exception_of_the_host_is_the_cause(here: Active) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError

    here.context.on_get = broken
    with pytest.raises(HookError, match="PA_ERR_FAIL") as failed:
        here.call("context_get", "key")
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_an_interrupt_passes_through_the_plugin(here: Active) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    here.context.on_get = interrupt
    with pytest.raises(KeyboardInterrupt):
        here.call("context_get", "key")


def test_calls_wait_for_each_other(active: Active) -> None:
    with ThreadPoolExecutor(8) as pool:
        crowds = list(pool.map(lambda _: active.call("crowd"), range(64)))
    assert max(crowds) == 1


async def test_calls_of_a_thread_safe_plugin_do_not(native: Native, pipes: Pipes) -> None:
    active = await native.activate(native.file("probe.c", "-DPROBE_FLAGS=PA_F_THREAD_SAFE"))
    threads = [pipes.block(active) for _ in range(3)]
    pipes.wait_until_inside(3)
    assert active.plugin.running_calls == 3
    pipes.release(3)
    for thread in threads:
        thread.join()


async def test_shutdown_waits_for_running_handlers(
    native: Native, probe: PluginFile, pipes: Pipes
) -> None:
    active = await native.activate(probe)
    thread = pipes.block(active)
    pipes.wait_until_inside(1)
    stopper = threading.Thread(target=active.plugin._instance.shutdown)
    stopper.start()
    while active.plugin._instance.state.name != "STOPPING":
        pass
    with pytest.raises(InvalidState, match="the plugin is stopping"):
        active.call("echo", 1)
    pipes.release(1)
    thread.join()
    stopper.join()
    active.plugin.close()
    assert active.plugin._instance.state.name == "GONE"


async def test_a_plugin_is_not_destroyed_under_a_handler(
    native: Native, probe: PluginFile, pipes: Pipes, caplog: pytest.LogCaptureFixture
) -> None:
    active = await native.activate(probe)
    thread = pipes.block(active)
    pipes.wait_until_inside(1)
    active.plugin.close()
    assert "a call of it has not returned (active)" in caplog.text
    pipes.release(1)
    thread.join()
    assert active.plugin._instance.state.name == "ACTIVE"


class Pipes:
    """Hold threads inside the probe's block handler until they are released."""

    def __init__(self) -> None:
        self.inside, self.ready = os.pipe()
        self.go, self.opener = os.pipe()

    def block(self, active: Active) -> threading.Thread:
        thread = threading.Thread(target=active.call, args=("block", [self.ready, self.go]))
        thread.start()
        return thread

    def wait_until_inside(self, count: int) -> None:
        for _ in range(count):
            assert os.read(self.inside, 1) == b"r"

    def release(self, count: int) -> None:
        os.write(self.opener, b"g" * count)

    def close(self) -> None:
        for fd in (self.inside, self.ready, self.go, self.opener):
            os.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    held = Pipes()
    yield held
    held.close()


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def test_every_value_survives(here: Active) -> None:
    native = here.scope.registered["echo"].handler.native

    @given(value=_VALUES)
    @settings(deadline=None)
    def echoed(value: Any) -> None:
        data = msgspec.msgpack.encode(value)
        assert native(data) == (0, data, "", None)

    echoed()
