"""The typed messages: what they carry, and that nothing else gets through."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluginapi._native import _channel
from pluginapi.errors import IpcProtocolError
from pluginapi.ipc import protocol
from pluginapi.ipc.protocol import (
    MAX_CONTEXT_KEYS,
    MAX_HANDLERS,
    MAX_NAME_CHARS,
    ContextGet,
    ContextWrites,
    Error,
    ExecuteHook,
    GetMetrics,
    HandlerSpec,
    HookResult,
    Initialize,
    IpcRequest,
    IpcResponse,
    Log,
    Metrics,
    PluginRequest,
    Ready,
    ServiceCall,
    Shutdown,
    Success,
    Value,
    decode,
    encode,
)

MESSAGES = [
    Initialize("p", "1", push=("tenant",), write=("cart",), config=b"\x80", limits={"heap": 1}),
    Shutdown("because"),
    GetMetrics(),
    ExecuteHook(1, b"\x01", deadline_ns=5),
    ContextGet("key"),
    ServiceCall("db", "query", b"\x80"),
]
ANSWERS = [
    Success(),
    Ready("p", "1", (HandlerSpec(1, "on_request", 100),)),
    Metrics({"calls": 1, "seconds": 0.5}),
    Value(b"\x01"),
    Error("hook.failed", "no", "ValueError"),
    HookResult(b"\x01", stop=True),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_requests_come_back_as_they_were(message: Any) -> None:
    assert decode(encode(message), IpcRequest) == message


@pytest.mark.parametrize("message", ANSWERS, ids=lambda message: type(message).__name__)
def test_answers_come_back_as_they_were(message: Any) -> None:
    assert decode(encode(message), IpcResponse) == message


def test_the_bytes_are_these() -> None:
    assert encode(Success()) == b"\x91\xa7success"
    assert encode(ContextGet("k")) == b"\x92\xabcontext_get\xa1k"
    assert encode(Log(20, "hi", "out")) == b"\x93\x14\xa2hi\xa3out"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        msgspec.msgpack.encode(["initialize", "p", "1"]),
        msgspec.msgpack.encode(["context_get"]),
        msgspec.msgpack.encode(["context_get", 5]),
        msgspec.msgpack.encode(["context_get", ""]),
        msgspec.msgpack.encode(["context_get", "x" * (MAX_NAME_CHARS + 1)]),
        msgspec.msgpack.encode({"type": "context_get", "key": "k"}),
        b"\x92\xabcontext_get\xa1\xff",
        b"\x92\xabcontext_get" + b"\x91" * 100_000,
        b"\x92\xabcontext_get\xdb\xff\xff\xff\xff",
        encode(ContextGet("k")) + b"\x01",
    ],
)
def test_anything_else_is_one_error(data: bytes) -> None:
    with pytest.raises(IpcProtocolError) as caught:
        decode(data, PluginRequest)
    assert caught.value.code == "ipc.message"


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (["ready", "p", "1", [[0, "h"]]], Ready),
        (["ready", "p", "1", [[65_536, "h"]]], Ready),
        (["ready", "p", "1", [[1, "h", -1]]], Ready),
        (["ready", "p", "1", [[1, "h"]] * (MAX_HANDLERS + 1)], Ready),
        (["metrics", {str(n): n for n in range(1025)}], Metrics),
        (["metrics", {"a": "text"}], Metrics),
        ([{"x" * n: 1 for n in range(1, MAX_CONTEXT_KEYS + 2)}], ContextWrites),
        ([101, "text", ""], Log),
        ([20, "x" * 4097, ""], Log),
        (["error", "c", "m", "k", "h", 2**40], Error),
    ],
)
def test_values_out_of_bounds_are_refused(value: Any, type_: Any) -> None:
    with pytest.raises(IpcProtocolError):
        decode(msgspec.msgpack.encode(value), type_)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for type_ in (PluginRequest, IpcResponse, Ready, ContextWrites, Log):
        try:
            decode(data, type_)
        except IpcProtocolError:
            continue


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=50,
)


@settings(max_examples=100, deadline=None)
@given(_json)
def test_every_value_passes_the_look_before_decoding(value: Any) -> None:
    data = msgspec.msgpack.encode(value)
    assert _channel.scan(data, 256, 10_000, 10_000)
    assert not _channel.scan(data + b"\x01", 256, 10_000, 10_000)
    assert not _channel.scan(data[:-1], 256, 10_000, 10_000)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=100))
def test_what_passes_the_look_is_decoded_or_bad_text(data: bytes) -> None:
    if not _channel.scan(data, 64, 1000, 1000):
        return
    try:
        msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        # UTF-8, and keys that are lists or maps, are left to the decoder.
        assert "Invalid" not in str(err) or "utf" in str(err).lower()  # noqa: PT017
    except TypeError as err:
        assert "unhashable" in str(err)  # noqa: PT017


def test_the_look_counts_depth_containers_and_items() -> None:
    def nested(levels: int) -> bytes:
        return b"\x91" * levels + b"\x01"

    assert _channel.scan(nested(5), 5, 100, 100)
    assert not _channel.scan(nested(6), 5, 100, 100)
    assert _channel.scan(b"\x93\x90\x90\x90", 5, 4, 100)
    assert not _channel.scan(b"\x93\x90\x90\x90", 5, 3, 100)
    assert _channel.scan(b"\x93\x01\x02\x03", 5, 4, 4)
    assert not _channel.scan(b"\x93\x01\x02\x03", 5, 4, 3)
    assert not _channel.scan(b"", 5, 5, 5)


def test_the_look_at_hostile_bytes_takes_no_time() -> None:
    bomb = b"\xdd\x00\x10\x00\x00" + b"\x90" * (1 << 20)
    began = time.process_time()
    for _ in range(100):
        assert not _channel.scan(bomb, 64, 32_768, 262_144)
    assert time.process_time() - began < 5


def test_every_message_is_public() -> None:
    assert all(hasattr(protocol, name) for name in protocol.__all__)
