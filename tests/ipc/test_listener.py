"""The named socket for workers that somebody else starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from ipc.peers import decode, encode
from pluginapi.errors import IpcError, IpcProtocolError, PluginTimeout
from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.listener import IpcListener

PROGRAM = """
    import socket, sys
    from pluginapi.ipc.channel import IpcChannel
    from pluginapi.ipc.protocol import Success
    from pluginapi.ipc.serving import WorkerServer, served
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(sys.argv[1])
    server = WorkerServer(IpcChannel.join(sock), lambda message: Success())
    server.add(1, served(lambda value: value * 2))
    server.serve()
"""


def test_a_worker_that_somebody_else_started_connects(tmp_path: Path) -> None:
    path = tmp_path / "workers" / "socket"
    with IpcListener(path) as listener:
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM), str(path)])
        accepted = listener.accept(timeout=30)
        assert accepted.credentials.pid == child.pid
        assert accepted.credentials.uid == os.geteuid()
        pidfd = accepted.pidfd if accepted.pidfd >= 0 else os.pidfd_open(child.pid)
        with IpcChannel.accept(accepted.sock, pidfd=None, timeout=10) as channel:
            assert decode(channel.call(1, encode(21), timeout=10)[3]) == 42
        os.close(pidfd)
        assert child.wait(10) == 0
    assert not path.exists()


def test_nobody_comes(tmp_path: Path) -> None:
    with IpcListener(tmp_path / "d" / "s") as listener, pytest.raises(PluginTimeout) as caught:
        listener.accept(timeout=0.01)
    assert caught.value.code == "ipc.handshake_timeout"


def test_a_user_who_may_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d" / "s"
    with (
        IpcListener(path, uids=frozenset({os.geteuid() + 1})) as listener,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path))
        with pytest.raises(IpcProtocolError) as caught:
            listener.accept(timeout=5)
        assert caught.value.code == "ipc.identity"
        assert client.recv(1) == b""


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(0o755)
    with pytest.raises(IpcError, match="0755") as caught:
        IpcListener(directory / "s")
    assert caught.value.code == "ipc.address"
    assert f"chmod 0700 {directory}" in str(caught.value.hint)
    directory.chmod(0o700)
    IpcListener(directory / "s").close()


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(IpcError, match="no directory"):
        IpcListener(tmp_path / "link" / "s")


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IpcError, match="longer than"):
        IpcListener(tmp_path / ("x" * 100) / "s")


def test_a_missing_parent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IpcError) as caught:
        IpcListener(tmp_path / "none" / "none" / "s")
    assert caught.value.code == "ipc.address"


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "d" / "s"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with IpcListener(path):
        assert path.is_socket()


def test_a_socket_in_use_and_a_file_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "d" / "s"
    with IpcListener(path):
        with pytest.raises(IpcError, match="another process listens"):
            IpcListener(path)
        assert path.is_socket()
    path.write_text("mine")
    with pytest.raises(IpcError, match="no socket"):
        IpcListener(path)
    assert path.read_text() == "mine"


def test_close_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    path = tmp_path / "d" / "s"
    listener = IpcListener(path)
    path.unlink()
    path.write_text("somebody else's")
    listener.close()
    listener.close()
    assert path.read_text() == "somebody else's"


def test_close_wakes_nobody_but_ends(tmp_path: Path) -> None:
    listener = IpcListener(tmp_path / "d" / "s")
    thread = threading.Thread(target=listener.close)
    thread.start()
    thread.join(5)
    assert listener.fileno() == -1
