"""Channels to real processes: what they carry, and how their ends look from here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ipc.peers import decode, encode
from pluginapi.errors import IpcClosed
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.protocol import Shutdown, Success
from pluginapi.ipc.settings import ChannelSettings

PROGRAM = """
    import os, socket, sys, time
    from pluginapi.ipc.channel import IpcChannel
    from pluginapi.ipc.protocol import Success
    from pluginapi.ipc.serving import WorkerServer, served

    async def nap(seconds):
        import asyncio
        await asyncio.sleep(seconds)
        return os.getpid()

    channel = IpcChannel.join(socket.socket(fileno=int(sys.argv[1])))
    server = WorkerServer(channel, lambda message: Success())
    server.add(1, served(lambda value: [os.getpid(), value]))
    server.add(2, served(time.sleep))
    server.add(3, served(lambda code: os._exit(code)))
    server.add(4, served(nap))
    server.serve()
"""


@contextmanager
def process(**settings: Any) -> Iterator[tuple[IpcChannel, subprocess.Popen[bytes]]]:
    host, other = IpcChannel.pair()
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(other.fileno())],
        pass_fds=[other.fileno()],
    )
    other.close()
    pidfd = os.pidfd_open(child.pid)
    try:
        with IpcChannel.accept(
            host, pidfd=pidfd, settings=ChannelSettings(**settings), plugin="acme.guard", timeout=30
        ) as channel:
            yield channel, child
    finally:
        os.close(pidfd)
        child.wait(10)


def test_a_process_answers_and_shuts_down(transport: dict[str, Any]) -> None:
    with process(**transport) as (channel, child):
        assert decode(channel.call(1, encode("x"), timeout=10)[3]) == [child.pid, "x"]
        data = b"z" * (1 << 20)
        assert decode(channel.call(1, encode(data), timeout=10)[3]) == [child.pid, data]
        assert channel.request(Shutdown(), Success, timeout=10) == Success()
        assert child.wait(10) == 0


def test_async_handlers_in_a_process(transport: dict[str, Any]) -> None:
    with process(**transport) as (channel, child):
        assert decode(channel.call(4, encode(0.01), timeout=10)[3]) == child.pid
        for number in range(50):
            assert decode(channel.call(1, encode(number), timeout=10)[3]) == [child.pid, number]


def test_a_process_ends_when_its_host_lets_go(transport: dict[str, Any]) -> None:
    with process(**transport) as (channel, child):
        channel.close()
        assert child.wait(10) == 0


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_process_that_dies_in_a_call(transport: dict[str, Any], how: str) -> None:
    with process(**transport) as (channel, child):
        if how == "kill":
            threading.Timer(0.1, child.send_signal, [signal.SIGKILL]).start()
        began = time.monotonic()
        with pytest.raises(IpcClosed) as caught:
            channel.call(3 if how == "exit" else 2, encode(7 if how == "exit" else 60), timeout=60)
        assert caught.value.code == "ipc.disconnected"
        assert time.monotonic() - began < 30


def test_a_process_that_was_idle_is_woken(transport: dict[str, Any]) -> None:
    with process(**transport) as (channel, child):
        for _ in range(5):
            time.sleep(0.05)
            assert decode(channel.call(1, encode(1), timeout=10)[3]) == [child.pid, 1]


def test_what_a_process_sent_before_it_died_counts(transport: dict[str, Any]) -> None:
    with process(**transport) as (channel, child):
        got: list[Any] = []
        thread = threading.Thread(
            target=lambda: got.append(channel.call(1, encode("last"), timeout=10))
        )
        thread.start()
        thread.join(10)
        child.kill()
        child.wait(10)
        assert decode(got[0][3]) == [child.pid, "last"]
        with pytest.raises(IpcClosed):
            channel.call(1, encode("more"), timeout=10)
