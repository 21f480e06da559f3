"""Plugins' connects through the broker, on a machine of the tests' own."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("network namespaces are of Linux", allow_module_level=True)

import pluginapi.sandbox.network.broker  # noqa: F401
from pluginapi import NetworkTarget
from pluginapi.errors import SandboxConfigError
from pluginapi.sandbox.config import NetworkConfig, NetworkMode
from pluginapi.sandbox.launcher import Launcher
from pluginapi.sandbox.network.publishing import PublishedPort
from pluginapi.sandbox.seccomp import SeccompMode
from sandbox.network.dns_server import Records
from sandbox.network.world import (
    API,
    API6,
    NOBODY,
    OTHER,
    PYTHON,
    SHARED,
    World,
    in_world,
    wait_until,
)

# All is imported here: the child of another user may not be let read the library.

pytestmark = [
    pytest.mark.skipif(
        os.getuid() != 0 and "PLUGINAPI_MUST_SANDBOX" not in os.environ,
        reason="a machine of the tests' own takes root",
    ),
    pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}"),
]

tiers = pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "rootless"])


@pytest.mark.vm
@tiers
def test_a_plugin_reaches_what_is_named_and_nothing_else(user: int) -> None:
    places = [
        ("api.example.com", 80),
        ("API.Example.com.", 80),
        ("shared.example.com", 80),
        ("six.example.com", 80),
        ("tenant.evil.org", 80),  # On the same address as shared.example.com.
        ("evil.org", 80),
        ("api.example.com", 81),
        (API, 80),
        (SHARED, 80),
        (OTHER, 80),
    ]
    allowed = ("api.example.com:80", "shared.example.com:80", "six.example.com")

    def look(world: World) -> Any:
        return [
            world.reach(world.config(*allowed), *places),
            world.reach(world.open_config(), *places),
        ]

    confined, unconfined = in_world(look, user=user)
    assert confined == [
        f"{API} api.example.com",
        f"{API} API.Example.com.",
        f"{SHARED} shared.example.com",
        f"{API6} six.example.com",
        *["EACCES"] * 6,
    ]
    # The same program without the defence: there is something to be reached.
    assert unconfined == [
        f"{API} api.example.com",
        f"{API} API.Example.com.",
        f"{SHARED} shared.example.com",
        f"{API6} six.example.com",
        f"{SHARED} tenant.evil.org",
        f"{OTHER} evil.org",
        "ECONNREFUSED",
        f"{API} {API}",
        f"{SHARED} {SHARED}",
        f"{OTHER} {OTHER}",
    ]


def test_wildcards_addresses_and_other_scripts() -> None:
    zone: dict[str, Any] = {
        "a.b.example.net": [("A", 60, OTHER)],
        "evilexample.net": [("A", 60, OTHER)],
        "xn--bcher-kva.example": [("A", 60, OTHER)],
    }

    def look(world: World) -> Any:
        config = world.config("*.example.net:80", "93.184.215.14/31:80", "bücher.example")
        return world.reach(
            config,
            ("a.b.example.net", 80),
            ("evilexample.net", 80),
            ("bücher.example", 80),
            (API, 80),
            (SHARED, 80),
            (OTHER, 80),
            (f"::ffff:{API}", 80),
        )

    assert in_world(look, zone=zone) == [
        f"{OTHER} a.b.example.net",
        "EACCES",
        f"{OTHER} xn--bcher-kva.example",
        f"{API} {API}",
        f"{SHARED} {SHARED}",
        "EACCES",
        f"{API} ::ffff:{API}",
    ]


def test_names_that_lead_into_the_host_are_refused() -> None:
    """DNS rebinding: the name is allowed, the address that it suddenly has is not."""
    places = ("127.0.0.1", "10.9.8.7", "169.254.169.254", "::1", "::ffff:169.254.169.254")
    zone: dict[str, Records] = {
        f"n{number}.example.com": [("AAAA" if ":" in address else "A", 0, address)]
        for number, address in enumerate(places)
    }
    names = [(f"n{number}.example.com", 80) for number in range(len(places))]

    def look(world: World) -> Any:
        config = world.config("*.example.com")
        listed = world.config("*.example.com", *places[:3], "[::1]:80")
        return [world.reach(each, *names) for each in (config, world.open_config(), listed)]

    confined, unconfined, listed = in_world(look, zone=zone)
    assert confined == ["EACCES"] * 5
    for found in (unconfined, listed):
        assert [each.split()[0] for each in found] == [
            "127.0.0.1",
            "10.9.8.7",
            "169.254.169.254",
            "::1",
            "169.254.169.254",
        ]


def test_answers_are_used_as_long_as_they_say() -> None:
    turns: list[str] = []

    def rotating() -> Records:
        turns.append("")
        return [("A", 0, (API, OTHER)[len(turns) // 2 % 2])]

    def look(world: World) -> Any:
        config = world.config("*.example.com")
        rotated = world.reach(config, *[("turn.example.com", 80)] * 3)
        world.dns.asked.clear()
        kept = world.reach(config, *[("api.example.com", 80)] * 3)
        return rotated, kept, world.dns.asked

    rotated, kept, asked = in_world(look, zone={"turn.example.com": rotating})
    assert {each.split()[0] for each in rotated} == {API, OTHER}
    assert kept == [f"{API} api.example.com"] * 3
    assert asked == ["api.example.com A", "api.example.com AAAA"]


def test_an_alias_to_a_stranger_is_the_name_that_is_allowed() -> None:
    """The name counts, not who serves it: what a CDN does, whatever that is called today."""
    zone: dict[str, Any] = {
        "www.example.com": [("CNAME", 60, "cdn.evil.org.")],
        "cdn.evil.org": [("A", 60, SHARED)],
        "loop.example.com": [("CNAME", 60, "loop.example.com.")],
    }

    def look(world: World) -> Any:
        config = world.config("*.example.com")
        return world.reach(
            config,
            ("www.example.com", 80),
            ("cdn.evil.org", 80),
            ("none.example.com", 80),
            ("loop.example.com", 80),
        )

    reached, stranger, none, loop = in_world(look, zone=zone)
    assert reached == f"{SHARED} www.example.com"
    assert stranger == "EACCES"
    assert "not known" in none
    assert "failure" in loop


_OTHER_WAYS = """
import ctypes, errno, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, function):
    try:
        print(name, function())
    except OSError as err:
        print(name, errno.errorcode.get(err.errno, err))
def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(5)
        made.sendto(b"ping", ({api!r}, 53))
        return "sent"
def connected_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect(({api!r}, 53))
        return "connected"
def fast_open(flags=0x20000000):
    with socket.socket() as made:
        made.sendto(b"GET / HTTP/1.0", flags, ({api!r}, 80))
        return "sent"
def fast_open_message():
    with socket.socket() as made:
        made.sendmsg([b"GET / HTTP/1.0"], [], 0x20000000, ({api!r}, 80))
        return "sent"
def multipath():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as made:
        made.connect(({api!r}, 80))
        return "connected"
def made(*kind):
    return lambda: socket.socket(*kind).close() or "made"
def unspecified(reached):
    # AF_UNSPEC ends a connection, and the socket could be connected elsewhere.
    result = libc.connect(reached.fileno(), struct.pack("H14x", 0), 16)
    if result:
        raise OSError(ctypes.get_errno(), "connect")
    return "disconnected"
def again(reached, address):
    reached.connect(address)
    return "connected"
attempt("UDP", datagram)
attempt("UDP connected", connected_datagram)
attempt("fast open", fast_open)
attempt("fast open message", fast_open_message)
attempt("MPTCP", multipath)
attempt("raw", made(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet", made(socket.AF_PACKET, socket.SOCK_RAW))
attempt("netlink", made(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("vsock", made(40, socket.SOCK_STREAM))
attempt("unix", made(socket.AF_UNIX, socket.SOCK_STREAM))
attempt("SCTP", made(socket.AF_INET, socket.SOCK_STREAM, 132))
reached = socket.create_connection(("api.example.com", 80), 20)
attempt("bind", lambda: socket.create_server(("0.0.0.0", 8080)))
attempt("unspecified", lambda: unspecified(reached))
attempt("again", lambda: again(reached, ({other!r}, 80)))
attempt("fast open again", lambda: reached.sendto(b"x", 0x20000000, ({other!r}, 80)))
attempt("listen", lambda: reached.listen())
def interfaces():
    room = ctypes.create_string_buffer(4096)
    asked = ctypes.create_string_buffer(struct.pack("iP", 4096, ctypes.addressof(room)))
    if libc.ioctl(reached.fileno(), 0x8912, asked):  # SIOCGIFCONF
        raise OSError(ctypes.get_errno(), "ioctl")
    found = [room.raw[at + 20 : at + 24] for at in range(0, 4000, 40)]
    return "told" if socket.inet_aton({api!r}) in found else "other"
attempt("interfaces", interfaces)
reached.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
print("still", reached.makefile().read().split()[-2])
"""


@tiers
def test_there_is_no_other_way_out(user: int) -> None:
    source = _OTHER_WAYS.format(api=API, other=OTHER)

    def look(world: World) -> Any:
        allowed = [
            world.config("api.example.com:80", seccomp=mode)
            for mode in (SeccompMode.MODERATE, SeccompMode.PERMISSIVE)
        ]
        control = replace(world.open_config(), seccomp=None)
        return [world.python(each, source) for each in (*allowed, control)]

    *confined, unconfined = (
        dict(line.rsplit(" ", 1) for line in text.splitlines())
        for text in in_world(look, user=user)
    )
    for found in confined:
        assert found == {
            "UDP": "ENETUNREACH",
            "UDP connected": "EACCES",
            "fast open": "ENOTSUP",
            "fast open message": "ENOTSUP",
            "MPTCP": "EPROTONOSUPPORT",
            "raw": "EPROTONOSUPPORT",
            "packet": "EAFNOSUPPORT",
            "netlink": "EAFNOSUPPORT",
            "vsock": "EAFNOSUPPORT",
            "unix": "EAFNOSUPPORT",
            "SCTP": "EPROTONOSUPPORT",
            "bind": "EACCES",
            "unspecified": "EISCONN",
            "again": "EISCONN",
            "fast open again": "ENOTSUP",
            "listen": "EACCES",
            "interfaces": "EPERM",
            "still": API,
        }
    # Without the broker the socket does get elsewhere, and datagrams leave.
    assert unconfined["UDP"] == "sent"
    assert unconfined["UDP connected"] == "connected"
    assert unconfined["unspecified"] == "disconnected"
    assert unconfined["again"] == "connected"
    assert unconfined["interfaces"] == "told"
    assert unconfined["fast open"] == unconfined["fast open message"] == "sent"
    assert unconfined["MPTCP"] == "connected"
    # Raw and packet sockets take rights that it has not either; SCTP is not in every kernel.
    assert {unconfined[kind] for kind in ("netlink", "vsock", "unix")} == {"made"}


_FLIP = """
import ctypes, socket, struct, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.connect.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
good = struct.pack("!HH4s8x", 0, 80, socket.inet_aton({api!r}))
good = struct.pack("H", 2) + good[2:]
evil = good[:4] + socket.inet_aton({other!r}) + good[8:]
place = ctypes.create_string_buffer(good, 16)
going = True
def flip():
    while going:
        ctypes.memmove(place, evil, 16)
        ctypes.memmove(place, good, 16)
thread = threading.Thread(target=flip)
thread.start()
seen = set()
for _ in range(300):
    with socket.socket() as made:
        if libc.connect(made.fileno(), place, 16) == 0:
            seen.add(made.getpeername()[0])
going = False
thread.join()
print(sorted(seen))
"""


def test_a_thread_that_changes_the_address_meanwhile_wins_nothing() -> None:
    def look(world: World) -> Any:
        source = _FLIP.format(api=API, other=OTHER)
        config = world.config(f"{API}:80")
        return [world.python(each, source).strip() for each in (config, world.open_config())]

    confined, unconfined = in_world(look)
    assert confined == f"['{API}']"
    assert OTHER in unconfined


_EVENT_LOOP = """
import asyncio
async def one(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\n\\r\\n")
    text = await reader.read()
    writer.close()
    return text.split()[-2].decode()
async def main():
    print(await asyncio.gather(*[one("api.example.com", 80) for _ in range(20)]))
    try:
        await one("api.example.com", 81)
    except OSError as err:
        print(type(err).__name__)
    await one("evil.org", 80)
try:
    asyncio.run(main())
except PermissionError as err:
    print("refused")
"""


def test_sockets_that_do_not_wait() -> None:
    def look(world: World) -> Any:
        config = world.config("api.example.com:80", "api.example.com:81")
        return world.python(config, _EVENT_LOOP)

    assert in_world(look).splitlines() == [str([API] * 20), "ConnectionRefusedError", "refused"]


_URLLIB = """
import urllib.request
print(urllib.request.urlopen("http://api.example.com/").read().decode())
try:
    urllib.request.urlopen("http://evil.org/")
except OSError as err:
    print(err.reason.strerror)
"""


def test_clients_just_work() -> None:
    def look(world: World) -> Any:
        config = world.config("api.example.com:80")
        found: list[Any] = [world.python(config, _URLLIB)]
        for url in ("http://api.example.com/", "http://evil.org/"):
            done = world.run(config, "/usr/bin/curl", "-s", "--max-time", "20", url)
            found.append([done.exit_status, done.stdout.decode()])
        return found

    python, curl, refused = in_world(look)
    assert python == f"{API} api.example.com\nPermission denied\n"
    assert curl == [0, f"{API} api.example.com"]
    assert refused == [7, ""]  # CURLE_COULDNT_CONNECT


def test_options_of_a_socket_come_along() -> None:
    source = """
import socket
made = socket.socket()
made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 7)
made.settimeout(20)
made.connect(("api.example.com", 80))
made.setblocking(True)
print(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
      made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
      made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
"""
    found = in_world(lambda world: world.python(world.config("api.example.com"), source))
    assert found.split() == ["1", "1", "7"]


_MANY = """
import errno, socket
kept, answers = [], []
for _ in range(5):
    try:
        kept.append(socket.create_connection(("api.example.com", 80), 20))
        answers.append("connected")
    except OSError as err:
        answers.append(errno.errorcode[err.errno])
kept.pop().close()
kept.append(socket.create_connection(("api.example.com", 80), 20))
print(" ".join(answers), "and one more")
"""


def test_connections_are_bounded_and_closed_ones_do_not_count() -> None:
    def look(world: World) -> Any:
        config = world.config("api.example.com", max_connections=3)
        return world.python(config, _MANY).strip()

    expected = "connected connected connected EMFILE EMFILE and one more"
    assert in_world(look) == expected


_AT_ONCE = """
import errno, socket, threading, time
found = []
def connect():
    made = socket.socket()
    while True:
        try:
            made.connect(("api.example.com", 7071))
        except BlockingIOError:
            # More names are being looked up for it than may be at once.
            time.sleep(0.01)
        except OSError as err:
            found.append(errno.errorcode[err.errno])
            break
        else:
            kept.append(made)
            found.append("connected")
            break
kept = []
threads = [threading.Thread(target=connect) for _ in range(40)]
for thread in threads:
    thread.start()
print("begun", flush=True)
for thread in threads:
    thread.join()
print(*sorted(set(found)), found.count("connected"), flush=True)
"""


def test_connects_that_end_at_once_are_no_more_than_there_may_be() -> None:
    """Each began when there was room for it."""

    def look(world: World) -> Any:
        server = socket.create_server((API, 7071), backlog=1)
        # Whoever comes now waits until these are taken.
        filling = [socket.socket() for _ in range(4)]
        for each in filling:
            each.setblocking(False)
            each.connect_ex((API, 7071))
        config = world.config("api.example.com", max_connections=3)
        read, write = os.pipe()
        taken = []
        with Launcher() as launcher:
            program = launcher.start(config, [PYTHON, "-I", "-c", _AT_ONCE], fds=(0, write, 2))
            os.close(write)
            with os.fdopen(read) as said:
                assert said.readline() == "begun\n"
                time.sleep(0.5)

                def accept() -> None:
                    server.settimeout(20)
                    with contextlib.suppress(OSError):
                        while True:
                            taken.append(server.accept()[0])

                threading.Thread(target=accept, daemon=True).start()
                answer = said.readline().split()
            launcher.finish(program)
        return answer

    assert in_world(look) == ["EMFILE", "connected", "3"]


def test_refusals_are_counted_and_say_what_would_allow_them() -> None:
    def look(world: World) -> Any:
        source = """
import socket, sys
for place in (("evil.org", 443), ("api.example.com", 81), ("93.184.215.16", 80)):
    try:
        socket.create_connection(place, 20)
    except PermissionError:
        pass
kept = [socket.create_connection(("api.example.com", 80), 20) for _ in range(2)]
print("done", flush=True)
sys.stdin.read()
"""
        with Launcher() as launcher:
            into, out = os.pipe(), os.pipe()
            fds = (into[0], out[1], 2)
            config = world.config("api.example.com:80")
            program = launcher.start(config, [PYTHON, "-I", "-c", source], fds=fds)
            assert os.read(out[0], 4) == b"done"
            door = program.confinement.door
            assert door is not None
            counts = door.counts()
            messages = [each.message for each in door.refusals.latest()]
            launcher.finish(program)
            return [counts.connected, counts.refused, counts.open, counts.reasons], messages

    counts, messages = in_world(look)
    assert counts == [2, 3, 2, {"network.not_allowed": 3}]
    start, end = "plugin command may not connect to ", " (network.not_allowed)"
    to_allow = "; to allow it: [sandboxing.network] allow = "
    assert messages == [
        f"{start}{place}: no rule allows this {why}{to_allow}['{place}']{end}"
        for place, why in (
            ("evil.org:443", "name"),
            ("api.example.com:81", "name at this port"),
            (f"{OTHER}:80", "address"),
        )
    ]


@pytest.mark.vm
def test_bytes_are_counted() -> None:
    source = """
import socket
made = socket.create_connection(("api.example.com", 7070), 20)
other = socket.create_connection(("api.example.com", 7070), 20)
for each, times in ((made, 300), (other, 1)):
    each.sendall(b"x" * 1000 * times)
    got = 0
    while got < 2000 * times:
        got += len(each.recv(65536))
print("done", flush=True)
input()
other.close()
print("gone", flush=True)
input()
"""

    def serve() -> None:
        server = socket.create_server((API, 7070))
        while True:
            taken, _ = server.accept()
            threading.Thread(target=answer, args=(taken,), daemon=True).start()

    def answer(taken: socket.socket) -> None:
        with taken:
            while data := taken.recv(65536):
                taken.sendall(data * 2)

    def look(world: World) -> Any:
        threading.Thread(target=serve, daemon=True).start()
        found = []
        with Launcher() as launcher:
            into, out = os.pipe(), os.pipe()
            config = world.config("api.example.com:7070")
            command = [PYTHON, "-I", "-c", source]
            program = launcher.start(config, command, fds=(into[0], out[1], 2))
            door = program.confinement.door
            assert door is not None
            for told in (b"done", b"gone"):
                assert os.read(out[0], 5).strip() == told
                counts = door.counts()
                found.append([counts.open, counts.sent_bytes, counts.received_bytes])
                os.write(into[1], b"\n")
            launcher.finish(program)
        return found

    # The one that was closed was seen before.
    assert in_world(look) == [[2, 301_000, 602_000], [1, 301_000, 602_000]]


def test_nothing_is_left_when_it_has_ended() -> None:
    def look(world: World) -> Any:
        config = world.config("api.example.com:80")
        with Launcher() as launcher:

            def cycle() -> int:
                done = launcher.run(config, [PYTHON, "-I", "-c", "import socket"])
                assert done.exit_status == 0
                return len(list(Path("/proc/self/fd").iterdir()))

            first = max(cycle() for _ in range(5))
            return wait_until(lambda: cycle() <= first)

    assert in_world(look) is True


def test_what_cannot_be_is_refused() -> None:
    restricted = NetworkMode.RESTRICTED
    target = NetworkTarget.parse
    wrong: list[dict[str, Any]] = [
        {"mode": restricted, "allow": (target("a.example:53/udp"),)},
        {"mode": restricted, "allow": ("a.example",)},
        {"mode": restricted, "allow": [target("a.example")] * 257},
        {"mode": restricted, "max_connections": -1},
        {"allow": (target("a.example"),)},
    ]
    for each in wrong:
        with pytest.raises(SandboxConfigError):
            NetworkConfig(**each)


SERVER = """
import socket, sys
results = []
for address, port in [("0.0.0.0", 9001), ("127.0.0.1", 9002), ("::", 9003)]:
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        server.bind((address, port))
        server.listen(5)
        results.append("bound")
    except OSError as err:
        results.append(type(err).__name__)
        continue
    taken, _ = server.accept()
    results.append(taken.recv(100).decode())
    taken.sendall(b"hello back")
    taken.close()
try:
    socket.socket().listen(1)
except OSError as err:
    results.append(type(err).__name__)
client = socket.socket()
client.bind(("0.0.0.0", 0))
client.connect(("api.example.com", 80))
try:
    client.listen(1)
except OSError as err:
    results.append(type(err).__name__)
print(*results, sep="|")
"""


@pytest.mark.vm
@tiers
def test_a_published_port_is_given_to_who_listens_on_it(user: int) -> None:
    def look(world: World) -> Any:
        config = world.config(
            "api.example.com:80",
            publish=(PublishedPort.parse("127.0.0.1:9080:9001"), PublishedPort(9003, "::1")),
        )
        heard: list[str] = []

        def talk() -> None:
            for place in (("127.0.0.1", 9080), ("::1", 9003)):
                for _ in range(400):
                    try:
                        with socket.create_connection(place, 20) as made:
                            made.sendall(b"hello")
                            heard.append(made.recv(100).decode())
                        break
                    except ConnectionRefusedError:
                        time.sleep(0.05)

        with Launcher() as launcher:
            thread = threading.Thread(target=talk)
            thread.start()
            done = launcher.run(config, [PYTHON, "-I", "-c", SERVER], timeout=60)
            thread.join()
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 9080), 5).close()
            heard.append("still there")
        return done.stdout.decode().strip(), done.stderr.decode(), heard

    out, err, heard = in_world(look, user=user)
    assert out.split("|") == [
        *("bound", "hello"),  # At its own port, which is another one of the host's.
        "PermissionError",  # It is not published.
        *("bound", "hello"),
        *("PermissionError", "PermissionError"),  # No port, and a socket of the host's network.
    ], err
    assert heard == ["hello back"] * 2


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    source = """
import socket
try:
    socket.socket().bind(("0.0.0.0", 80))
except OSError as err:
    print(err.errno)
"""

    def look(world: World) -> Any:
        config = world.config("api.example.com", publish=(PublishedPort(80, "0.0.0.0"),))  # noqa: S104
        logged: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("pluginapi.sandbox.network").addHandler(handler)
        return world.python(config, source).strip(), logged

    number, logged = in_world(look)
    assert int(number) == errno.EADDRINUSE
    assert "0.0.0.0:80:80 of the host: Address already in use (network.listen)" in logged[0]
