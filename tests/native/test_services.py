"""What a plugin gets from its host: memory, context, log."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pluginapi.errors import ContextKeyNotFound, HookError, ResourceViolation

if TYPE_CHECKING:
    from native.support import Active, Native
    from pluginapi.plugin_file import PluginFile

LIMIT = 65_536  # The probe's manifest declares it; the harness grants it.
BLOCK = 48


@pytest.fixture
async def active(native: Native, probe: PluginFile) -> Active:
    return await native.activate(probe)


@pytest.fixture(params=["in-process", "process"])
async def either(native: Native, probe: PluginFile, request: pytest.FixtureRequest) -> Active:
    """The probe, in this process and in one of its own: what holds here holds there."""
    return await (native.isolate if request.param == "process" else native.activate)(probe)


def test_memory_is_granted_up_to_the_limit(active: Active) -> None:
    assert active.plugin.heap_limit == LIMIT
    assert active.call("alloc", [LIMIT - BLOCK, 0]) is True
    assert active.call("alloc", [LIMIT - BLOCK + 1, 0]) is False
    assert active.call("alloc", [2**64 - 1, 0]) is False
    assert active.plugin.heap_peak_bytes == LIMIT
    assert active.plugin.heap_bytes() == 0


@pytest.mark.parametrize("align", [0, 1, 2, 8, 16, 32, 64, 512, 4096])
def test_alignments(either: Active, align: int) -> None:
    for size in (1, 7, 100, 4097):
        assert either.call("alloc", [size, align]) is True


@pytest.mark.parametrize(("size", "align"), [(0, 0), (8, 3), (8, 8192), (8, 2**63)])
def test_impossible_requests(active: Active, size: int, align: int) -> None:
    assert active.call("alloc", [size, align]) is False
    assert active.plugin._instance.heap_refused == 0


def test_blocks_grow_and_shrink(active: Active) -> None:
    for size in (1, 10_000, 300, LIMIT - BLOCK):
        assert active.call("keep", size) is True
        assert active.plugin.heap_bytes() == size + BLOCK
        assert active.plugin._instance.heap_blocks == 1
    assert active.call("keep", LIMIT) is False
    assert active.plugin.heap_bytes() == LIMIT
    assert active.plugin._instance.heap_refused == 1
    assert active.call("keep", 0) is True
    assert active.plugin.heap_bytes() == 0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("size", r"free\(0x[0-9a-f]+, size 101\): the block was allocated with size 100"),
        ("align", r"alignment 64\): the block was allocated with alignment 0"),
        ("wild", r"free\(0x[0-9a-f]+, size 1\): not a live block"),
        ("resize", r"realloc\(0x[0-9a-f]+, size 101\): the block was allocated with size 100"),
        ("overrun", "something wrote past the end of this block of 100 bytes"),
    ],
)
def test_misuse_is_found_and_changes_nothing(
    active: Active, caplog: pytest.LogCaptureFixture, how: str, message: str
) -> None:
    active.call("keep", 100)
    assert active.plugin.heap_faults == 0
    assert active.call("misuse", how) is None
    assert active.plugin.heap_faults == 1
    assert active.plugin.heap_bytes() == 100 + BLOCK
    record = caplog.records[-1]
    assert record.levelno == logging.ERROR
    assert re.search(message, record.message)


def test_a_block_freed_twice(active: Active, caplog: pytest.LogCaptureFixture) -> None:
    active.call("keep", 100)
    active.call("misuse", "twice")
    assert "not a live block; never allocated or freed already" in caplog.text
    assert active.plugin.heap_faults == 1
    assert active.plugin.heap_bytes() == 0


async def test_what_a_plugin_forgets_is_released(
    native: Native, probe: PluginFile, caplog: pytest.LogCaptureFixture
) -> None:
    active = await native.activate(probe, config={"fail": "destroy"})
    active.call("keep", 1000)
    active.plugin.close()
    assert active.plugin.heap_bytes() == 0
    assert "destroy left 1 blocks of the host's memory allocated; released" in caplog.text


def test_context_values(either: Active) -> None:
    assert either.call("context_get", "key") == "value"
    assert either.call("context_has", "key") == 0
    assert either.call("context_has", "absent") == -11
    assert either.call("context_set", {"other": [1, {"a": None}]}) is None
    assert either.call("context_get", "other") == [1, {"a": None}]


def test_context_refusals(either: Active) -> None:
    with pytest.raises(HookError, match="PA_ERR_NOT_FOUND"):
        either.call("context_get", "absent")
    with pytest.raises(HookError, match="PA_ERR_DENIED"):
        either.call("context_set", {"denied": 1})
    with pytest.raises(HookError, match="PA_ERR_BAD_ARG"):
        either.call("context_set", {"typed": 1})


def test_a_refusal_of_the_context_is_the_cause(active: Active) -> None:
    with pytest.raises(HookError) as missing:
        active.call("context_get", "absent")
    assert isinstance(missing.value.__cause__, ContextKeyNotFound)


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_names_are_bounded(either: Active, name: str) -> None:
    with pytest.raises(HookError, match="PA_ERR_BAD_ARG"):
        either.call("context_get", name)
    assert either.call("context_has", "x" * 256) == -11


def test_a_name_that_is_no_text(active: Active) -> None:
    # fixstr of one byte, 0xff: not UTF-8.
    status, *_ = active.scope.registered["context_get"].handler.native(b"\xa1\xff")
    assert status == -2


async def test_context_values_are_bounded(native: Native, probe: PluginFile) -> None:
    active = await native.activate(probe, max_result_bytes=1000)
    active.context.values["large"] = b"\xc5\x03\xe5" + b"x" * 997
    assert active.call("context_get", "large") == b"x" * 997
    active.context.values["larger"] = b"\xc5\x03\xe6" + b"x" * 998
    with pytest.raises(ResourceViolation):
        active.call("context_get", "larger")
    with pytest.raises(ResourceViolation):
        active.call("context_set", {"other": b"x" * 998})


def test_context_belongs_to_the_calling_thread(
    active: Active, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert active.call("thread") == -8
    assert [record.message for record in caplog.records] == [
        "from another thread",
        "nobody asked",
    ]


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, 10), (10, 10), (20, 20), (25, 30), (30, 30), (40, 40), (2**31 - 1, 40)],
)
def test_log_levels(
    active: Active, caplog: pytest.LogCaptureFixture, level: int, expected: int
) -> None:
    caplog.set_level(logging.DEBUG)
    active.call("log", [level, "hello %s"])
    record: Any = caplog.records[-1]
    assert (record.levelno, record.message) == (expected, "hello %s")
    assert record.name == "pluginapi.plugins.test.probe"
    assert record.plugin == "test.probe"


def test_log_lines_are_bounded_and_printable(
    active: Active, caplog: pytest.LogCaptureFixture
) -> None:
    active.call("log", [30, "x" * 5000])
    assert caplog.records[-1].message == "x" * 4096
    active.call("log", [30, "a\nERROR forged \x1b[2J"])
    assert caplog.records[-1].message == "a\\nERROR forged \\x1b[2J"


async def test_a_logger_of_the_caller(
    native: Native, probe: PluginFile, caplog: pytest.LogCaptureFixture
) -> None:
    active = await native.activate(probe, logger=logging.getLogger("mine"))
    active.call("log", [30, "hello"])
    assert caplog.records[-1].name == "mine"


def test_a_broken_log_handler_does_not_reach_the_plugin(
    active: Active, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    seen: list[Any] = []
    monkeypatch.setattr(logging.Logger, "log", broken)
    monkeypatch.setattr(sys, "unraisablehook", lambda found: seen.append(found.exc_type))
    assert active.call("log", [30, "hello"]) is None
    assert seen == [ZeroDivisionError]
