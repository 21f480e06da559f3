"""Named pipes of Windows, as far as they can be tried elsewhere."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI

from ipc.peers import (
    CALL,
    ERROR,
    LOG,
    REQUEST,
    RESPONSE,
    RESULT,
    SocketStream,
    encode,
    frame,
)
from pluginapi.errors import IpcClosed, IpcProtocolError, PluginError, UnsupportedPlatform
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.named_pipe import PipeListener, connect
from pluginapi.ipc.settings import ChannelSettings

WINDOWS = Path(__file__).parents[2] / "src" / "_native" / "windows"
MINGW = shutil.which("x86_64-w64-mingw32-gcc")


@pytest.mark.skipif(sys.platform == "win32", reason="it exists there")
def test_elsewhere_it_says_so() -> None:
    for attempt in (PipeListener, lambda: connect(r"\\.\pipe\x", 1)):
        with pytest.raises(UnsupportedPlatform) as caught:
            attempt()
        assert caught.value.hint


def test_cffi_reads_the_declarations() -> None:
    ffi = FFI()
    ffi.cdef((WINDOWS / "named_pipe.h").read_text())
    assert ffi.typeof("pa_pipe **").kind == "pointer"


@pytest.mark.skipif(MINGW is None, reason="needs gcc-mingw-w64-x86-64")
def test_it_compiles_and_links_against_the_windows_api(tmp_path: Path) -> None:
    subprocess.run(
        [
            *(str(MINGW), "-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-shared"),
            *("-o", str(tmp_path / "pipe.dll"), str(WINDOWS / "named_pipe.c"), "-ladvapi32"),
        ],
        check=True,
    )


PING = encode(["ping"])
BREACHES = {
    "kind": frame(9, call=1),
    "greeting": frame(1, b"x" * 16),
    "flags": frame(RESULT, b"\x01", flags=128, call=1),
    "no call": frame(RESULT, b"\x01"),
    "hook": frame(RESULT, b"\x01", hook=2, call=1),
    "never made": frame(RESULT, b"\x01", call=99),
    "wrong answer": frame(RESPONSE, b"\x01", call=1),
    "too long": frame(RESULT, call=1, length=2**32 - 1),
    "short prefix": frame(RESULT, b"\x01", flags=4, call=1),
    "context": frame(RESULT, struct.pack("<I", 9), flags=4, call=1),
    "unchanged": frame(RESULT, b"\x01", flags=32, call=1),
    "deadline": frame(REQUEST, bytes(8) + PING, flags=1, call=3),
    "parent": frame(REQUEST, bytes(8) + PING, flags=2, call=3),
    "cancel": frame(7, b"\x01", call=3),
    "a call": frame(CALL, b"\x01", hook=1, call=3),
    "an error": frame(ERROR, b"\x01", call=1),
    "deep": frame(RESULT, b"\x91" * 70 + b"\x01", call=1),
    "log": frame(LOG, b"\xc1"),
    "twice": frame(REQUEST, encode(["context_get", "k"]), call=3) * 2,
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_over_a_stream_ends_the_channel(name: str) -> None:
    host, other = socket.socketpair()
    hold = threading.Event()
    channel = IpcChannel.over_stream(
        SocketStream(host), is_host=True, settings=ChannelSettings(), plugin="acme.liar"
    )

    def slow(_message: Any, _scope: object) -> Any:
        hold.wait(5)
        raise ValueError

    channel.on_request(slow)
    caught: list[PluginError] = []

    def call() -> None:
        try:
            channel.call(1, encode(0), timeout=10)
        except PluginError as err:
            caught.append(err)

    thread = threading.Thread(target=call)
    thread.start()
    with other:
        other.recv(16 + 8 + 1, socket.MSG_WAITALL)
        other.sendall(BREACHES[name])
        thread.join(10)
    hold.set()
    channel.close()
    channel.core._reader.join(10)  # type: ignore[attr-defined]
    assert len(caught) == 1
    assert isinstance(caught[0], IpcProtocolError), repr(caught[0])


def test_the_end_of_a_stream_is_the_end_of_the_channel() -> None:
    host, other = socket.socketpair()
    channel = IpcChannel.over_stream(SocketStream(host), is_host=True)
    other.close()
    with pytest.raises(IpcClosed):
        channel.call(1, encode(0), timeout=10)
    channel.core._reader.join(10)  # type: ignore[attr-defined]
    assert channel.reason is not None
