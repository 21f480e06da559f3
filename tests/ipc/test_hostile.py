"""A worker that breaks every rule: the host stays up, bounded, and says what was wrong."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ipc.peers import (
    CALL,
    CANCEL,
    ERROR,
    HEADER,
    HELLO,
    LOG,
    REQUEST,
    RESPONSE,
    RESULT,
    Liar,
    connected,
    decode,
    encode,
    frame,
    lied_to,
    open_descriptors,
)
from pluginapi.errors import IpcError, IpcProtocolError, PluginError, PluginTimeout
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.protocol import Ping, Success

Transport = dict[str, Any]
MEGABYTE = 1 << 20
SO_PASSRIGHTS = 83  # linux/asm-generic/socket.h; Python has no name for it
PING = encode(["ping"])


def breach_of(channel: IpcChannel, liar: Liar, *frames: bytes) -> PluginError:
    """Let a call be answered by these frames; return how it ended."""
    caught: list[PluginError] = []

    def call() -> None:
        try:
            channel.call(1, encode(0), timeout=10)
        except PluginError as err:
            caught.append(err)

    thread = threading.Thread(target=call)
    thread.start()
    liar.next_frame()
    for each in frames:
        liar.push(each)
    thread.join(10)
    assert not thread.is_alive()
    assert len(caught) == 1, "the call was answered"
    return caught[0]


def deep(levels: int) -> bytes:
    return b"\x91" * levels + b"\x01"


BREACHES = {
    "kind 0": frame(0, call=1),
    "kind 9": frame(9, call=1),
    "kind 255": frame(255, call=1),
    "hello again": frame(HELLO, b"x" * 16),
    "unknown flag": frame(RESULT, b"\x01", flags=128, call=1),
    "a flag of another kind": frame(RESULT, b"\x01" * 9, flags=1, call=1),
    "no call id": frame(RESULT, b"\x01", call=0),
    "a hook id in a result": frame(RESULT, b"\x01", hook=1, call=1),
    "an answer to a call never made": frame(RESULT, b"\x01", call=99),
    "an answer of the wrong kind": frame(RESPONSE, b"\x01", call=1),
    "too long": frame(RESULT, b"", call=1, length=2**32 - 2),
    "padding": frame(0, b"", length=2**32 - 1),
    "context longer than the body": frame(
        RESULT, struct.pack("<I", 100) + b"\x80", flags=4, call=1
    ),
    "flags that do not fit": frame(RESULT, b"", flags=4, call=1),
    "unchanged, with a payload": frame(RESULT, b"\x01", flags=32, call=1),
    "a call of the host's hooks": frame(CALL, b"\x01", hook=1, call=5),
    "a request without a hook id": frame(CALL, b"\x01", hook=0, call=5),
    "deadline 0": frame(REQUEST, bytes(8) + PING, flags=1, call=5),
    "parent 0": frame(REQUEST, bytes(8) + PING, flags=2, call=5),
    "a cancellation with a body": frame(CANCEL, b"\x01", call=5),
    "an unknown request": frame(REQUEST, encode(["format_disk"]), call=5),
    "a request of the host": frame(REQUEST, encode(["shutdown", ""]), call=5),
    "an error that is none": frame(ERROR, b"\x01", call=1),
    "a request twice": frame(REQUEST, PING, call=5) + frame(REQUEST, PING, call=5),
    "not msgpack": frame(RESULT, b"\xc1", call=1),
    "msgpack that is cut off": frame(RESULT, b"\x92\x01", call=1),
    "msgpack and more": frame(RESULT, b"\x01\x01", call=1),
    "an extension type": frame(RESULT, b"\xd4\x01\x01", call=1),
    "a length without bytes": frame(RESULT, b"\xdb\xff\xff\xff\xff", call=1),
    "an array without items": frame(RESULT, b"\xdd\xff\xff\xff\xff", call=1),
    "a map without items": frame(RESULT, b"\xdf\xff\xff\xff\xff", call=1),
    "65 levels": frame(RESULT, deep(65), call=1),
    "100,000 levels": frame(RESULT, deep(100_000), call=1),
    "a million empty arrays": frame(RESULT, b"\xdd\x00\x10\x00\x00" + b"\x90" * MEGABYTE, call=1),
    "a million numbers": frame(RESULT, b"\xdd\x00\x10\x00\x00" + b"\x01" * MEGABYTE, call=1),
    "hostile context": frame(
        RESULT, struct.pack("<I", 80) + b"\x91" * 79 + b"\x01" + b"\x01", flags=4, call=1
    ),
}
# Large bodies stand in the area of a ring: those tests use the socket.
LARGE = {name for name, data in BREACHES.items() if len(data) > 16_384}
# Two frames at once; what the second breaks is seen only while the first is unanswered.
PIPELINED = {"a request twice"}


@pytest.mark.parametrize("name", sorted(BREACHES.keys() - PIPELINED))
def test_a_breach_ends_the_channel_and_names_itself(name: str, transport: Transport) -> None:
    if transport["shared"] and name in LARGE:
        transport = {"shared": False}
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.process_time()
    with lied_to(**transport) as (channel, liar):
        err = breach_of(channel, liar, BREACHES[name])
        assert isinstance(err, IpcProtocolError), repr(err)
        assert err.plugin == "acme.liar"
        assert err.hint
        assert channel.closed
        assert isinstance(channel.reason, IpcProtocolError)
        with pytest.raises(IpcProtocolError):
            channel.call(1, encode(0))
    assert time.process_time() - began < 2
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_maxrss - before.ru_maxrss < 64 * 1024


def test_the_same_exchange_without_a_breach_is_fine(transport: Transport) -> None:
    with lied_to(**transport) as (channel, liar):
        result: list[Any] = []
        thread = threading.Thread(
            target=lambda: result.append(channel.call(1, encode(0), timeout=10))
        )
        thread.start()
        _, _, _, call, _ = liar.next_frame()
        liar.push(frame(LOG, encode([20, "fine", ""])))
        liar.push(frame(REQUEST, PING, call=5))
        kind, _, _, asked, body = liar.next_frame()
        assert (kind, asked, body) == (RESPONSE, 5, encode(["success"]))
        liar.push(frame(RESULT, deep(64), call=call))
        thread.join(10)
        assert result[0][3] == deep(64)
        assert not channel.closed


def test_a_request_id_may_not_be_used_twice_at_a_time(transport: Transport) -> None:
    with lied_to(**transport) as (channel, liar):
        release = threading.Event()

        async def wait(_message: Any, _scope: object) -> Success:
            return Success()

        channel.on_request(wait)
        two = [frame(REQUEST, encode(["context_get", "k"]), call=5)] * 2
        # Both are there before the first is served.
        thread = threading.Thread(target=lambda: liar.push_all(two))
        thread.start()
        thread.join()
        channel.poll()
        release.set()
        assert isinstance(channel.reason, IpcProtocolError)


def test_more_requests_at_a_time_than_agreed_are_a_breach(transport: Transport) -> None:
    with lied_to(requests=8, **transport) as (channel, liar):
        for number in range(1, 10):
            liar.push(frame(REQUEST, PING, call=number))
        channel.poll()
        assert isinstance(channel.reason, IpcProtocolError)
        assert "more requests at a time" in str(channel.reason)


def test_so_many_requests_as_agreed_are_none(transport: Transport) -> None:
    with lied_to(requests=8, **transport) as (channel, liar):
        for number in range(1, 9):
            liar.push(frame(REQUEST, PING, call=number))
        channel.poll()
        assert channel.reason is None
        assert [liar.next_frame()[3] for _ in range(8)] == list(range(1, 9))


def test_frames_cut_at_every_byte_are_waited_for() -> None:
    # Over the socket: a ring has no partial frames.
    with lied_to(shared=False) as (channel, liar):
        result: list[Any] = []
        thread = threading.Thread(
            target=lambda: result.append(channel.call(1, encode(0), timeout=10))
        )
        thread.start()
        _, _, _, call, _ = liar.next_frame()
        for byte in frame(RESULT, encode(["slow", 1]), call=call):
            liar.sock.sendall(bytes([byte]))
            time.sleep(0.001)
        thread.join(10)
        assert decode(result[0][3]) == ["slow", 1]


@pytest.mark.parametrize("cut", range(1, 20))
def test_an_end_in_the_middle_of_a_frame(cut: int) -> None:
    with lied_to(shared=False) as (channel, liar):
        data = frame(RESULT, encode("some text"), call=1)
        caught: list[PluginError] = []

        def call() -> None:
            with pytest.raises(PluginError) as info:
                channel.call(1, encode(0), timeout=10)
            caught.append(info.value)

        thread = threading.Thread(target=call)
        thread.start()
        liar.next_frame()
        liar.sock.sendall(data[:cut])
        liar.sock.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert caught[0].code == "ipc.disconnected"


# ---- Rings ----

INDICES = [
    ("one byte", lambda liar: 1),
    ("not a multiple of 16", lambda liar: 24),
    ("a byte beyond the ring", lambda liar: liar.capacity + 16),
    ("far beyond", lambda liar: 1 << 40),
    ("backwards", lambda liar: -16),
    ("the largest number", lambda liar: 2**64 - 1),
    ("the sign bit", lambda liar: 1 << 63),
]


@pytest.mark.parametrize(("name", "head"), INDICES, ids=[name for name, _ in INDICES])
def test_hostile_heads(name: str, head: Any) -> None:
    with lied_to() as (channel, liar):
        liar.set_head(head(liar))
        liar.ring()
        with pytest.raises(IpcProtocolError):
            channel.call(1, encode(0), timeout=10)


@pytest.mark.parametrize(("name", "tail"), INDICES, ids=[name for name, _ in INDICES])
def test_hostile_tails(name: str, tail: Any) -> None:
    # A tail is looked at when the ring seems full: it must not make room that is not there.
    with lied_to(ring_bytes=4096, area_bytes=32 << 20, in_flight=1000) as (channel, liar):
        liar.set_tail(tail(liar) if name != "one byte" else 4096 + 16)
        for _ in range(50):
            with pytest.raises((IpcProtocolError, PluginTimeout)):
                channel.call(1, encode("x" * 200), timeout=0.001)
        assert isinstance(channel.reason, IpcProtocolError)


def test_a_full_ring_that_nobody_reads_ends_in_deadlines() -> None:
    with lied_to(ring_bytes=4096, in_flight=200) as (channel, _):
        for _ in range(100):
            with pytest.raises(PluginTimeout):
                channel.call(1, encode("x" * 500), timeout=0.001)
        assert not channel.closed


@pytest.mark.parametrize("length", [5000, 1 << 20, (16 << 20) + 1, 2**32 - 1])
def test_a_body_longer_than_what_was_written(length: int) -> None:
    with lied_to() as (channel, liar):
        liar.push(frame(LOG, b"\x01", length=length))
        with pytest.raises(IpcProtocolError):
            channel.call(1, encode(0), timeout=10)


def test_padding_without_an_end() -> None:
    # A consumer that skips padding as long as there is some would never come back.
    pad = HEADER.pack(2**32 - 1, 0, 0, 0, 0)
    with lied_to(ring_bytes=4096) as (channel, liar):
        start = 4096 + liar.capacity
        for offset in range(0, liar.capacity, 16):
            liar.put(start + offset, pad)
        liar.set_head(liar.capacity)
        liar.ring()
        with pytest.raises(IpcProtocolError):
            channel.call(1, encode(0), timeout=10)


@pytest.mark.parametrize(
    ("position", "length"),
    [
        (0, (16 << 20) + 1),
        (1 << 62, 100),
        (2**64 - 1, 100),
        ((32 << 20) - 50, 100),
        ((64 << 20), 100),
        (2**64 - 100, 100),
    ],
)
def test_references_out_of_the_payload_area(position: int, length: int) -> None:
    with lied_to() as (channel, liar):
        header = HEADER.pack(length, LOG, 8, 0, 0)
        liar.push(header + struct.pack("<Q", position))
        with pytest.raises(IpcProtocolError):
            channel.call(1, encode(0), timeout=10)


def test_memory_that_changes_while_it_is_read() -> None:
    """Flip a header between two values, thousands of times a second, under the reader."""
    good = frame(LOG, encode([20, "line", ""]))
    stop = threading.Event()
    with lied_to(logs_per_second=0) as (channel, liar):
        start = 4096 + liar.capacity
        bad = HEADER.pack(2**31, RESULT, 8, 7, 7)

        def flip() -> None:
            while not stop.is_set():
                liar.put(start, bad)
                liar.put(start, good[:16])

        thread = threading.Thread(target=flip)
        thread.start()
        try:
            for _ in range(200):
                liar.push(good)
                channel.poll()
                if channel.closed:
                    break
        finally:
            stop.set()
            thread.join()
        # Either every frame was the good one or one was refused: never anything else.
        assert channel.reason is None or isinstance(channel.reason, IpcProtocolError)


def test_the_memory_file_cannot_be_truncated() -> None:
    with lied_to() as (_, liar):
        size = os.fstat(liar.memory_fd).st_size
        for new in (0, size - 1, size + 1):
            with pytest.raises(PermissionError):
                os.ftruncate(liar.memory_fd, new)
        assert os.fstat(liar.memory_fd).st_size == size


def test_memory_without_seals_would_kill_whoever_reads_it() -> None:
    """What the seals are for: the same reads, of a file that its other owner may truncate."""
    program = (
        "import mmap, os, sys\n"
        "fd = os.memfd_create('unsealed')\n"
        "os.ftruncate(fd, 8192)\n"
        "memory = mmap.mmap(fd, 8192)\n"
        "if sys.argv[1] == 'truncated': os.ftruncate(fd, 0)\n"
        "sys.exit(memory[0])\n"
    )
    ends = [
        subprocess.run([sys.executable, "-c", program, how], check=False).returncode
        for how in ("whole", "truncated")
    ]
    assert ends == [0, -signal.SIGBUS]


def test_a_hole_in_the_memory_file_reads_as_zeros() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    with lied_to() as (channel, liar):
        size = os.fstat(liar.memory_fd).st_size
        # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE: the seals do not forbid it.
        punched = libc.fallocate(liar.memory_fd, 3, ctypes.c_long(0), ctypes.c_long(size))
        assert punched == 0, ctypes.get_errno()
        with pytest.raises((PluginTimeout, IpcProtocolError)):
            channel.call(1, encode(0), timeout=0.1)


def test_bells_without_end_are_a_breach() -> None:
    stop = threading.Event()
    with lied_to() as (channel, liar):

        def flood() -> None:
            while not stop.is_set():
                try:
                    liar.sock.send(b"\1" * 64)
                except OSError:
                    return

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            with pytest.raises(IpcProtocolError, match="bells without frames"):
                channel.call(1, encode(0), timeout=20)
        finally:
            stop.set()
            channel.close()
            thread.join()


# ---- Floods ----


def test_a_flood_of_log_lines_does_not_hold_up_a_deadline(transport: Transport) -> None:
    stop = threading.Event()
    line = frame(LOG, encode([20, "x" * 50, "stdout"]))
    with lied_to(**transport) as (channel, liar):

        def flood() -> None:
            while not stop.is_set():
                try:
                    if not transport["shared"]:
                        liar.sock.send(line * 16)
                    elif liar.head - struct.unpack("<Q", liar.memory[384:392])[0] < (  # type: ignore[index]
                        liar.capacity - 4096
                    ):
                        liar.push_wrapping(line)
                except (OSError, ValueError):
                    return

        thread = threading.Thread(target=flood)
        thread.start()
        began = time.monotonic()
        try:
            with pytest.raises(PluginTimeout):
                channel.call(1, encode(0), timeout=0.3)
            assert time.monotonic() - began < 10
            assert channel.stats()["dropped_logs"] > 0
        finally:
            stop.set()
            channel.close()
            thread.join()


def allow_descriptors(channel: IpcChannel) -> None:
    """Undo what keeps descriptors from being sent, as on kernels that cannot forbid it."""
    with socket.socket(fileno=os.dup(channel.fileno())) as host, suppress(OSError):
        host.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 1)


def test_descriptors_that_nobody_asked_for_are_not_kept(transport: Transport) -> None:
    before = open_descriptors()
    with lied_to(**transport) as (channel, liar):
        allow_descriptors(channel)
        inside = open_descriptors()
        with Path(os.devnull).open() as null:
            for number in range(1, 21):
                socket.send_fds(
                    liar.sock, [frame(REQUEST, PING, call=number)], [null.fileno()] * 200
                )
                channel.poll()
                if transport["shared"]:
                    break
        assert open_descriptors() <= inside
    assert open_descriptors() <= before


def test_descriptors_cannot_even_be_sent_where_the_kernel_can_forbid_it() -> None:
    probe = socket.socket(socket.AF_UNIX)
    with probe:
        try:
            probe.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS)
        except OSError:
            pytest.skip("this kernel discards descriptors, and lets them be sent (before 6.16)")
    with lied_to() as (_, liar), Path(os.devnull).open() as null:
        with pytest.raises(PermissionError):
            socket.send_fds(liar.sock, [b"\1"], [null.fileno()])
        # The same byte without them passes.
        assert liar.sock.send(b"\1") == 1


def test_requests_whose_answers_are_never_read_do_not_fill_memory(transport: Transport) -> None:
    tracemalloc.start()
    try:
        with lied_to(ring_bytes=4096, requests=8, **transport) as (channel, liar):
            for number in range(1, 20_000):
                try:
                    liar.push_wrapping(frame(REQUEST, PING, call=number), bell=False)
                except OSError:
                    break  # The host has hung up.
                channel.poll()
            assert tracemalloc.get_traced_memory()[1] < MEGABYTE
            assert isinstance(channel.reason, IpcProtocolError)
            assert "more requests at a time" in str(channel.reason)
    finally:
        tracemalloc.stop()


def test_any_number_of_requests_is_fine_when_the_answers_are_read(transport: Transport) -> None:
    with lied_to(ring_bytes=4096, requests=8, **transport) as (channel, liar):
        for number in range(1, 1000):
            liar.push_wrapping(frame(REQUEST, PING, call=number), bell=False)
            channel.poll()
            assert liar.next_frame()[3] == number
        assert channel.reason is None


def test_answers_after_the_deadline_are_dropped_once(transport: Transport) -> None:
    with lied_to(**transport) as (channel, liar):
        with pytest.raises(PluginTimeout):
            channel.call(1, encode(0), timeout=0.01)
        _, _, _, call, _ = liar.next_frame()
        liar.push(frame(RESULT, b"\x01", call=call))
        channel.poll()
        assert channel.reason is None
        assert channel.stats()["abandoned"] == 0
        # The second one answers nothing.
        liar.push(frame(RESULT, b"\x01", call=call))
        channel.poll()
        assert isinstance(channel.reason, IpcProtocolError)


def test_calls_that_are_never_answered_do_not_pile_up(transport: Transport) -> None:
    with lied_to(in_flight=4, queued=4, **transport) as (channel, _):
        for _ in range(8):
            with pytest.raises(PluginTimeout):
                channel.call(1, encode(0), timeout=0.01)
        with pytest.raises(IpcError) as caught:
            channel.call(1, encode(0), timeout=0.01)
        assert caught.value.code == "ipc.busy"
        assert channel.stats()["pending"] == 8


def test_a_late_request_of_a_call_that_is_over(transport: Transport) -> None:
    with lied_to(**transport) as (channel, liar):
        with pytest.raises(PluginTimeout):
            channel.call(1, encode(0), timeout=0.01)
        _, _, _, call, _ = liar.next_frame()
        liar.next_frame()
        parent = struct.pack("<Q", call)
        liar.push(frame(REQUEST, parent + encode(["context_get", "k"]), flags=2, call=3))
        channel.poll()
        kind, _, _, asked, body = liar.next_frame()
        assert (kind, asked, decode(body)[:2]) == (ERROR, 3, ["error", "ipc.unsupported"])


def test_the_host_survives_a_thousand_hostile_workers() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(300):
        with lied_to(shared=number % 2 == 0) as (channel, liar):
            liar.push(frame(number % 256, b"\x91" * (number % 50), call=number, flags=number % 64))
            try:
                channel.call(1, encode(0), timeout=0.002)
            except (PluginError, TimeoutError):
                continue
    with connected({1: lambda value: value}) as (channel, _):
        assert channel.request(Ping(), Success, timeout=5) == Success()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
