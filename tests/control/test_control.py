"""The control socket of a host: who may ask, and what is answered."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pluginapi import Violation, ViolationType
from pluginapi.control.answers import snapshot
from pluginapi.control.client import ask
from pluginapi.control.server import ControlServer
from pluginapi.errors import IpcError, NotFound
from support import Forge

SHOUT = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, lambda text: text + "!")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def server(place: Path) -> Iterator[ControlServer]:
    def fail(_: object) -> dict[str, object]:
        raise ZeroDivisionError("bug")

    def refuse(_: object) -> dict[str, object]:
        raise NotFound("no such thing", hint="look elsewhere")

    with ControlServer(place, {"echo": dict, "fail": fail, "refuse": refuse}) as made:
        yield made


def code_of(place: Path, question: str = "echo") -> str:
    with pytest.raises(IpcError) as caught:
        ask(place, question)
    return str(caught.value.code)


def test_a_question_is_answered(server: ControlServer) -> None:
    assert ask(server.path, "echo", more=[1, "two"]) == {"ask": "echo", "more": [1, "two"]}


def test_only_its_user_can_reach_it(server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="being another user takes root")
def test_another_user_is_refused_though_it_reaches_the_socket() -> None:
    """The control: with the file modes out of the way, its own user is answered."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "run", "control.sock")
        with ControlServer(path, {"echo": dict}) as server:
            for each in (server.path, *server.path.parents[:2]):
                each.chmod(0o777)
            _ask_as_nobody(server)


def _ask_as_nobody(server: ControlServer) -> None:
    script = (
        "import os, socket, sys; os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])\n"
        "try: s.sendall(b'{}\\n'); print(s.recv(100))\n"
        "except ConnectionError: print(b'')\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", script, str(server.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "b''\n", found.stderr
    assert ask(server.path, "echo") == {"ask": "echo"}


def test_what_goes_wrong_is_answered_and_others_are_served(server: ControlServer) -> None:
    for question, text in (
        ("fail", "bug"),
        ("refuse", "no such thing"),
        ("party", "nothing is known of 'party'"),
    ):
        with pytest.raises(IpcError, match=text) as caught:
            ask(server.path, question)
        assert caught.value.code == "control.refused"
    assert ask(server.path, "echo") == {"ask": "echo"}


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"[]\n", b"null\n", b'{"ask": []}\n', b"\xff\n", b"[" * 4096],
)
def test_what_is_no_question_is_told_so(server: ControlServer, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(4096):
            answer += part
    assert "error" in json.loads(answer)
    assert ask(server.path, "echo") == {"ask": "echo"}


def test_one_that_does_not_stop_is_cut_off(server: ControlServer) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        with pytest.raises(OSError, match=r"reset|pipe"):
            client.sendall(bytes(64 << 20))
    assert ask(server.path, "echo") == {"ask": "echo"}


def test_one_that_hangs_up_early_harms_nobody(server: ControlServer) -> None:
    for data in (b"", b'{"ask": "echo"}\n'):
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(server.path))
                client.sendall(data)
    assert ask(server.path, "echo") == {"ask": "echo"}


def test_nobody_is_there(place: Path) -> None:
    assert code_of(place) == "control.unreachable"
    with ControlServer(place, {}):
        pass
    assert not place.exists()
    assert code_of(place) == "control.unreachable"


def test_a_second_host_does_not_take_it_over(server: ControlServer) -> None:
    with pytest.raises(IpcError) as caught:
        ControlServer(server.path, {})
    assert caught.value.code == "ipc.address"
    assert "no socket for operators" in str(caught.value)
    assert ask(server.path, "echo") == {"ask": "echo"}


def test_it_is_closed_while_somebody_hangs_on(place: Path) -> None:
    server = ControlServer(place, {"echo": dict})
    threads = threading.active_count()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
        client.sendall(b'{"ask": "echo"}\n')
        assert client.recv(100)
    server.close()
    server.close()
    assert threading.active_count() == threads - 1
    assert not place.exists()


async def test_a_snapshot_has_all_that_is_known(tmp_path: Path) -> None:
    forge = Forge(tmp_path)
    registry = forge.registry()
    await registry.load_plugin(forge.plugin("acme.apart", SHOUT), isolation="process")
    await registry.load_plugin(forge.plugin("acme.inside", SHOUT))
    await registry.hooks.execute("shout", "a")
    registry.record_violation("acme.apart", Violation.now(ViolationType.THREADS, 9, 4, "test"))
    registry.quarantine.add("acme.bad", "ab", "why")
    found = json.loads(json.dumps(await asyncio.to_thread(snapshot, registry)))
    apart, inside = sorted(found["plugins"], key=lambda each: str(each["name"]))
    assert found["host"]["pid"] == os.getpid()
    assert found["pass_ms"] > 0
    assert [each["name"] for each in found["quarantine"]] == ["acme.bad"]
    assert (apart["status"], apart["version"], apart["fd_count"]) == ("active", "1.0.0", 0)
    assert inside["fd_count"] is None
    assert apart["limits"]["max_threads"] == 4
    assert {each["mechanism"] for each in apart["limits_in_force"]} >= {"rlimit", "cpu-clock"}
    kept_by = {each["mechanism"] for each in inside["limits_in_force"]}
    assert kept_by == {"allocator", "hook-clock", "none"}
    (violation,) = apart["violations"]
    assert (violation["used"], violation["limit"], violation["source"]) == (9, 4, "test")
    assert apart["hooks"][0]["calls"] == 1
    await registry.unload_all()
    await asyncio.to_thread(registry.loader.close)
