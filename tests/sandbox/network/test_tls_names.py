"""Domain fronting: a plugin connects to a name that it may, and asks for another one by TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("network namespaces are of Linux", allow_module_level=True)

import pluginapi.sandbox.network.broker
import pluginapi.sandbox.network.relay  # noqa: F401
from sandbox.network.test_client_hello import hello
from sandbox.network.world import API, NOBODY, PYTHON, World, in_world

pytestmark = [
    pytest.mark.skipif(
        os.getuid() != 0 and "PLUGINAPI_MUST_SANDBOX" not in os.environ,
        reason="a machine of the tests' own takes root",
    ),
    pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}"),
]

CLIENT = """
import errno, socket
for host, port, data, more, blocks in {sent!r}:
    try:
        made = socket.create_connection((host, port), None if blocks else 20)
        made.sendall(data + b"x" * more)
        made.shutdown(socket.SHUT_WR)
        got = b""
        while more := made.recv(65536):
            got += more
        print(len(got), got[:7].hex())
    except OSError as err:
        print(errno.errorcode.get(err.errno, err))
"""
ALERT = "15030300020270"


def front(heard: list[bytes]) -> None:
    """Stand in for a front end: whatever is sent is kept, and a megabyte comes back."""
    server = socket.create_server((API, 443))

    def serve() -> None:
        while True:
            taken, _ = server.accept()
            with taken, contextlib.suppress(OSError):
                data = b""
                while more := taken.recv(65536):
                    data += more
                heard.append(data)
                taken.sendall(b"ok" * (1 << 19))

    threading.Thread(target=serve, daemon=True).start()


@pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "rootless"])
def test_another_name_by_tls_reaches_nobody(user: int) -> None:
    good = hello("api.example.com") + b"\x17\3\3\0\5hello"
    bad = hello("evil.example.com")
    plain = b"GET / HTTP/1.1\r\nHost: evil.example.com\r\n\r\n"
    sent = [
        ("api.example.com", 443, good, 1 << 20, True),
        ("api.example.com", 443, good, 1 << 20, False),
        ("api.example.com", 443, bad, 0, True),
        ("api.example.com", 443, plain, 0, True),
        ("api.example.com", 444, good, 0, True),  # Nobody is there.
    ]

    def look(world: World) -> Any:
        heard: list[bytes] = []
        front(heard)
        config = world.config("api.example.com", verify_tls_names=True)
        checked = world.python(config, CLIENT.format(sent=sent)).splitlines()
        reached = [data.hex() for data in heard]
        unchecked = world.python(world.config("api.example.com"), CLIENT.format(sent=sent[2:3]))
        return checked, reached, unchecked.split(), [data.hex() for data in heard]

    checked, reached, unchecked, heard = in_world(look, user=user, privileged_ports=True)
    assert [line.split()[0] for line in checked[:2]] == [str(1 << 20)] * 2
    assert [line.split() for line in checked[2:4]] == [["7", ALERT]] * 2
    assert checked[4] == "ECONNREFUSED"
    # Nothing of what was refused got there.
    assert sorted({data for data in reached if data}) == [(good + b"x" * (1 << 20)).hex()]
    # The same without the check: it gets what it asks for.
    assert unchecked[0] == str(1 << 20)
    assert heard[-1] == bad.hex()
