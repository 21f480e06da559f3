"""How host and worker find out who the other one is."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from ipc.peers import HELLO, Liar, frame, hello, open_descriptors
from pluginapi.errors import IpcClosed, IpcProtocolError, PluginError, PluginTimeout
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.peer import Credentials, check_child, check_user, make_pair
from pluginapi.ipc.settings import ChannelSettings


def refused(*data: bytes, **options: Any) -> PluginError:
    """Return why a host refuses a worker that says this first."""
    host, other = IpcChannel.pair()
    with other:
        for each in data:
            other.sendall(each)
        if not data:
            other.close()
        with pytest.raises(PluginError) as caught:
            IpcChannel.accept(host, plugin="acme.guard", timeout=0.2, **options)
        assert host.fileno() == -1
        assert caught.value.plugin == "acme.guard"
        assert caught.value.hint
        return caught.value


def test_a_worker_that_greets_is_welcome() -> None:
    host, other = IpcChannel.pair()
    liar = Liar(other)
    thread = threading.Thread(target=liar.join)
    thread.start()
    with IpcChannel.accept(host, timeout=5) as channel:
        thread.join()
        assert channel.core.shared
        assert liar.capacity == channel.settings.ring_bytes
    liar.close()


def test_a_worker_without_rings_gets_none() -> None:
    host, other = IpcChannel.pair()
    liar = Liar(other)
    thread = threading.Thread(target=liar.join, args=(0,))
    thread.start()
    with IpcChannel.accept(host, timeout=5) as channel:
        thread.join()
        assert not channel.core.shared
    liar.close()


@pytest.mark.parametrize(
    "data",
    [
        hello(magic=0x41414141),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        frame(HELLO, b"x" * 16, call=1),
        frame(HELLO, b"x" * 16, length=17),
        frame(2, struct.pack("<IHHII", 0x31434150, 1, 1, 1, 0)),
        bytes(32),
        b"\xff" * 32,
    ],
)
def test_what_is_no_greeting_is_refused(data: bytes) -> None:
    err = refused(data)
    assert isinstance(err, IpcProtocolError)
    assert err.code == "ipc.protocol"


def test_another_version_is_refused() -> None:
    err = refused(hello(lowest=2, highest=7))
    assert err.code == "ipc.version"
    assert "2 to 7" in str(err)
    assert "speaks 1" in str(err)


def test_a_range_of_versions_that_holds_ours_is_fine() -> None:
    host, other = IpcChannel.pair()
    other.sendall(hello(lowest=1, highest=9))
    with other:
        IpcChannel.accept(host, timeout=5).close()


@pytest.mark.parametrize("cut", [1, 15, 16, 31])
def test_half_a_greeting_runs_out_of_time(cut: int) -> None:
    err = refused(hello()[:cut])
    assert isinstance(err, PluginTimeout)
    assert err.code == "ipc.handshake_timeout"


def test_a_worker_that_is_gone_is_reported() -> None:
    assert isinstance(refused(), IpcClosed)


def test_descriptors_in_the_greeting_are_closed() -> None:
    host, other = IpcChannel.pair()
    before = open_descriptors()
    with Path(os.devnull).open() as null:
        socket.send_fds(other, [hello()], [null.fileno()] * 50)
    with IpcChannel.accept(host, timeout=5, settings=ChannelSettings(shared=False)):
        assert open_descriptors() <= before
    other.close()


def test_the_greeting_must_come_from_the_child() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfd = os.pidfd_open(sleeper.pid)
    try:
        err = refused(hello(), pidfd=pidfd)
        assert err.code == "ipc.identity"
        assert f"process {os.getpid()}" in str(err)
        assert f"process {sleeper.pid}" in str(err)
    finally:
        os.close(pidfd)
        sleeper.communicate(b"\n")


def test_a_child_that_greets_is_the_child() -> None:
    program = """
        import socket, sys
        from pluginapi.ipc.channel import IpcChannel
        channel = IpcChannel.join(socket.socket(fileno=int(sys.argv[1])))
        try:
            channel.core.receive()
        except ConnectionError:
            pass
    """
    host, other = IpcChannel.pair()
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(other.fileno())],
        pass_fds=[other.fileno()],
    )
    other.close()
    pidfd = os.pidfd_open(child.pid)
    try:
        with IpcChannel.accept(host, pidfd=pidfd, uid=os.geteuid(), timeout=20) as channel:
            assert not channel.closed
        assert child.wait(10) == 0
    finally:
        os.close(pidfd)


def test_a_child_that_has_ended_is_nobody() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    pidfd = os.pidfd_open(child.pid)
    try:
        child.wait(20)
        with pytest.raises(IpcProtocolError) as caught:
            check_child(Credentials(child.pid, 0, 0), pidfd)
        assert caught.value.code == "ipc.identity"
    finally:
        os.close(pidfd)


def test_another_user_is_refused() -> None:
    check_user(Credentials(1, 1000, 1000), 1000)
    with pytest.raises(IpcProtocolError) as caught:
        check_user(Credentials(1, 1000, 1000), 1001)
    assert caught.value.code == "ipc.identity"
    assert refused(hello(), uid=os.geteuid() + 1).code == "ipc.identity"


def test_no_end_of_a_pair_is_inherited() -> None:
    host, other = make_pair()
    with host, other:
        assert not os.get_inheritable(host.fileno())
        assert not os.get_inheritable(other.fileno())


# ---- The worker's side ----


def welcome(**changes: Any) -> bytes:
    fields = {
        "magic": 0x31434150,
        "version": 1,
        "features": 0,
        "max_len": 65_536,
        "capacity": 0,
        "area": 0,
        "spin": 0,
        **changes,
    }
    body = struct.pack(
        "<IHHIIQQQQ",
        *(fields["magic"], fields["version"], 0, fields["features"], fields["max_len"]),
        *(fields["capacity"], fields["area"], fields["spin"], 0),
    )
    return frame(HELLO, body)


def joined(data: bytes, fds: list[int] | None = None) -> IpcChannel:
    """Let a worker join a host that answers so."""
    host, other = socket.socketpair()
    with host:
        if fds:
            socket.send_fds(host, [data], fds)
        elif data:
            host.sendall(data)
        else:
            host.shutdown(socket.SHUT_WR)
        return IpcChannel.join(other, timeout=0.2)


def test_a_worker_takes_a_sound_welcome() -> None:
    channel = joined(welcome())
    assert not channel.core.shared
    channel.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"magic": 1},
        {"version": 2},
        {"features": 2},
        {"max_len": 2**31},
        {"spin": 10**12},
        {"features": 1, "capacity": 5000, "area": 0},
        {"features": 1, "capacity": 2**40, "area": 0},
        {"features": 1, "capacity": 4096, "area": 12_345},
        {"features": 1, "capacity": 4096, "area": 8192},  # no memory file comes with it
    ],
)
def test_a_worker_refuses_a_welcome_that_makes_no_sense(changes: dict[str, int]) -> None:
    with pytest.raises(IpcProtocolError):
        joined(welcome(**changes))


def test_a_worker_refuses_memory_that_could_shrink() -> None:
    import fcntl

    data = welcome(features=1, capacity=4096, area=8192)
    size = 4096 + 2 * 4096 + 2 * 8192
    plain = os.memfd_create("plain", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(plain, size)
        with pytest.raises(IpcProtocolError):
            joined(data, [plain])
        fcntl.fcntl(
            plain, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
        channel = joined(data, [plain])
        assert channel.core.shared
        channel.close()
    finally:
        os.close(plain)


def test_a_worker_refuses_memory_that_is_too_small() -> None:
    import fcntl

    small = os.memfd_create("small", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(small, 4096)
        fcntl.fcntl(
            small, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
        with pytest.raises(IpcProtocolError):
            joined(welcome(features=1, capacity=4096, area=8192), [small])
    finally:
        os.close(small)


def test_a_worker_whose_host_says_nothing_runs_out_of_time() -> None:
    host, other = socket.socketpair()
    with host, pytest.raises(PluginTimeout) as caught:
        IpcChannel.join(other, timeout=0.05)
    assert caught.value.code == "ipc.handshake_timeout"


def test_a_worker_that_is_refused_hears_of_it() -> None:
    with pytest.raises(IpcClosed):
        joined(b"")
