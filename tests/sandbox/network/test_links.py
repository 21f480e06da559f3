"""Plugins with a link of their own: what passes the firewall, and what is left of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("network namespaces are of Linux", allow_module_level=True)

import pluginapi.sandbox.network.broker
import pluginapi.sandbox.network.links  # noqa: F401
from pluginapi import NetworkTarget
from pluginapi.errors import SandboxConfigError, SandboxUnavailable
from pluginapi.sandbox.config import NetworkConfig, NetworkMode, SandboxConfig
from pluginapi.sandbox.launcher import Launcher
from pluginapi.sandbox.network.links import Links
from pluginapi.sandbox.network.netlink import message
from sandbox.network.world import (
    API,
    API6,
    NOBODY,
    OTHER,
    PYTHON,
    World,
    fork,
    in_world,
    wait_until,
)

pytestmark = [
    pytest.mark.skipif(
        os.getuid() != 0 and "PLUGINAPI_MUST_SANDBOX" not in os.environ, reason="links take root"
    ),
    pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}"),
]

FAR = "198.51.99.7"  # A host that is reached through this one.
PORT = 5353

# Sends a datagram to places, connected and not, and says what came back.
SEND = """
import errno, socket
for host, port, connected in {places!r}:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.settimeout({seconds})
        try:
            if connected:
                made.connect((host, port))
                made.send(b"hello")
            else:
                made.sendto(b"hello", (host, port))
            print(made.recv(100).decode())
        except TimeoutError:
            print("nothing")
        except OSError as err:
            print(errno.errorcode[err.errno])
"""


def echo(address: str, port: int = PORT) -> None:
    """Answer datagrams with who sent them, as it looks from there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, port))

    def serve() -> None:
        while True:
            data, sender = server.recvfrom(1000)
            server.sendto(data + b" " + sender[0].encode(), sender)

    threading.Thread(target=serve, daemon=True).start()


def route() -> None:
    """Let this machine, which is the test's own, route."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")


def linked(world: World, *allow: str, **changes: Any) -> SandboxConfig:
    return world.config(*allow, link=True, **changes)


def send(
    world: World, config: SandboxConfig, *places: tuple[str, int, bool], seconds: float = 0.5
) -> list[str]:
    return world.python(config, SEND.format(places=places, seconds=seconds)).splitlines()


def tables() -> list[str]:
    """Return the names of all tables of the firewall here."""
    found: list[str] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as asking:
        asking.sendto(message(10 << 8 | 1, 0x300, struct.pack("!BBH", 0, 0, 0)), (0, 0))
        while True:
            data = asking.recv(1 << 16)
            at = 0
            while at < len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                if kind == 3:  # NLMSG_DONE
                    return found
                name_size, name_kind = struct.unpack_from("=HH", data, at + 20)
                assert name_kind == 1  # NFTA_TABLE_NAME
                found.append(data[at + 24 : at + 20 + name_size].rstrip(b"\0").decode())
                at += size + (-size % 4)


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex() if name.startswith("pl")]


@contextlib.contextmanager
def far_host() -> Any:
    """Another machine behind this one, that knows no way to plugins' own addresses."""
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert ip is not None, "the tests need iproute2"
    ready, told = os.pipe()
    pid = fork()
    if pid == 0:
        os.close(ready)
        ctypes.CDLL(None).unshare(0x4000_0000)
        os.write(told, b"r")
        for _ in range(400):
            with contextlib.suppress(OSError):
                echo(FAR)
                os.write(told, b"l")
                break
            time.sleep(0.05)
        signal.pause()
        os._exit(0)
    os.close(told)
    try:
        os.read(ready, 1)
        for command in (
            f"link add far0 type veth peer name near0 netns {pid}",
            "addr add 198.51.99.1/24 dev far0",
            "link set far0 up",
        ):
            subprocess.run([ip, *command.split()], check=True)
        for command in (f"addr add {FAR}/24 dev near0", "link set near0 up", "link set lo up"):
            enter = ["nsenter", "-t", str(pid), "-n", ip, *command.split()]
            subprocess.run(enter, check=True)
        os.read(ready, 1)
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)


@pytest.mark.vm
def test_datagrams_reach_what_is_named_and_nothing_else() -> None:
    places = [
        (API, PORT, True),
        (API, PORT, False),
        (API6, PORT, True),
        (API6, PORT, False),
        (FAR, PORT, True),
        (FAR, PORT, False),
        (API, PORT + 1, True),  # Another port.
        (API, PORT + 1, False),
        (OTHER, PORT, True),  # Another address.
        (OTHER, PORT, False),
        ("127.0.0.1", PORT, False),
        ("100.127.0.0", PORT, False),
    ]

    def look(world: World) -> Any:
        route()
        for address, port in ((API, PORT), (API, PORT + 1), (API6, PORT), (OTHER, PORT)):
            echo(address, port)
        with far_host():
            config = linked(
                world, f"{API}:{PORT}/udp", f"[{API6}]:{PORT}/udp", f"198.51.99.6/31:{PORT}/udp"
            )
            return [
                # What is answered is waited for; what is not, not for long.
                [*send(world, config, *places[:6], seconds=20), *send(world, config, *places[6:])],
                send(world, world.open_config(), *places[:10], seconds=20),
            ]

    confined, unconfined = in_world(look)
    assert [text.split()[0] for text in confined[:6]] == ["hello"] * 6
    # As it looks from there: the plugin's own address on this machine, this machine's beyond it.
    assert confined[0].split()[1].startswith("100.127.")
    assert confined[2].split()[1].startswith("fd70:6c75:6769:1:")
    assert confined[4].split()[1] == "198.51.99.1"
    assert confined[6] == confined[8] == "EACCES"
    assert "hello" not in " ".join(confined[6:])
    # The same without the defence.
    assert [text.split()[0] for text in unconfined] == ["hello"] * 10


def test_tcp_to_an_address_goes_over_the_link_and_to_a_name_through_the_broker() -> None:
    source = """
import errno, socket
for host, port in {places!r}:
    with socket.socket() as made:
        made.settimeout({timeout})
        try:
            made.connect((host, port))
            print(made.getsockname()[0])
        except OSError as err:
            print(errno.errorcode.get(err.errno, err))
""".format

    places = [(API, 80), (API, 81), (OTHER, 80), ("shared.example.com", 80)]

    def look(world: World) -> Any:
        route()
        config = linked(world, f"{API}:80", "shared.example.com:80")
        return [
            world.python(config, source(places=places, timeout=timeout)).splitlines()
            for timeout in (None, 5)  # With a timeout, the socket does not wait.
        ]

    for found in in_world(look):
        assert found[0].startswith("100.127.")
        assert found[1:3] == ["EACCES"] * 2
        assert not found[3].startswith("100.127.")
        assert found[3].count(".") == 3


def test_plugins_do_not_reach_each_other() -> None:
    serve = """
import socket, sys
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.sendto(b"here", ({address!r}, {port}))
print(made.recv(100).decode().split()[1], flush=True)
print(made.getsockname()[1], flush=True)
made.settimeout(20)
print(made.recv(100).decode())
"""

    def look(world: World) -> Any:
        route()
        echo(API)
        config = linked(world, f"{API}:{PORT}/udp", "100.127.0.0/16/udp")
        read, write = os.pipe()
        with Launcher() as launcher:
            program = launcher.start(
                config,
                [PYTHON, "-I", "-c", serve.format(address=API, port=PORT)],
                fds=(0, write, 2),
            )
            os.close(write)
            with os.fdopen(read) as said:
                address, port = said.readline().strip(), int(said.readline())
                # All of the addresses of plugins are allowed to it, by name.
                others = send(world, config, (address, port, True), (address, port, False))
                # What comes from the host, which is not kept from it, does arrive.
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
                    host.sendto(b"of the host", (address, port))
                heard = said.readline().strip()
            launcher.finish(program)
        return others, heard

    others, heard = in_world(look)
    assert "hello" not in " ".join(others)
    assert heard == "of the host"


def test_what_comes_from_another_address_is_dropped() -> None:
    """Plugins cannot send such, without rights: somebody in a network with a link does here."""
    other = "100.127.255.255"

    def send_both(ready: int, go: int) -> None:
        ctypes.CDLL(None).unshare(0x4000_0000)
        os.write(ready, b"r")
        os.read(go, 1)
        command = ["/bin/sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin ip addr add {other} dev link0"]
        subprocess.run(command, check=True)
        for source in ("", other):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.bind((source, 0))
                made.sendto(source.encode() or b"own", (API, PORT))

    def look(_: World) -> Any:
        route()
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((API, PORT))
        server.settimeout(1)
        ready, go = os.pipe(), os.pipe()
        pid = fork()
        if pid == 0:
            send_both(ready[1], go[0])
            os._exit(0)
        os.read(ready[0], 1)
        links = Links()
        allow = (NetworkTarget.ip(API, PORT, "udp"),)
        links.make(
            os.pidfd_open(pid), NetworkConfig(mode=NetworkMode.RESTRICTED, allow=allow, link=True)
        )
        os.write(go[1], b"g")
        status = os.waitpid(pid, 0)[1]
        arrived = []
        with contextlib.suppress(TimeoutError):
            while True:
                arrived.append(server.recv(100).decode())
        links.close()
        return status, arrived

    assert in_world(look) == [0, ["own"]]


@pytest.mark.vm
def test_nothing_is_left_of_links_and_no_other_table_is_touched() -> None:
    def look(world: World) -> Any:
        route()
        echo(API)
        config = linked(world, f"{API}:{PORT}/udp")
        before = tables()
        found = []
        with Launcher() as launcher:
            for _ in range(3):
                done = launcher.run(
                    config, [PYTHON, "-I", "-c", SEND.format(places=[(API, PORT, True)], seconds=5)]
                )
                found.append(done.stdout.decode().split()[0])
            during = tables()
        gone = wait_until(lambda: not interfaces())
        return before, found, during, tables(), gone

    before, found, during, after, gone = in_world(look)
    assert found == ["hello"] * 3
    assert len(during) == len(before) + 1
    assert during[-1].startswith("pluginapi_")
    assert after == before
    assert gone


def test_a_host_that_is_killed_leaves_no_rules() -> None:
    def look(world: World) -> Any:
        route()
        config = linked(world, f"{API}:{PORT}/udp")
        read, write = os.pipe()
        pid = fork()
        if pid == 0:
            launcher = Launcher()
            launcher.start(config, [PYTHON, "-I", "-c", "input()"], fds=(0, 1, 2))
            os.write(write, b"x")
            signal.pause()
        os.close(write)
        os.read(read, 1)
        during = tables(), interfaces()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return during, wait_until(lambda: not tables() and not interfaces())

    (named, links), gone = in_world(look)
    assert len(named) == 1
    assert links
    assert gone


def test_more_connections_than_it_may_have_are_refused() -> None:
    source = f"""
import socket
kept = []
for _ in range(4):
    made = socket.socket()
    made.settimeout(10)
    try:
        made.connect(({API!r}, 80))
        kept.append(made)
    except OSError as err:
        print(type(err).__name__)
print(len(kept))
"""

    def look(world: World) -> Any:
        route()
        few = linked(world, f"{API}:80", max_connections=2)
        many = linked(world, f"{API}:80")
        return [world.python(config, source).split() for config in (few, many)]

    few, many = in_world(look)
    assert few[-1] == "2"
    assert len(few) == 3
    assert many == ["4"]


@pytest.mark.parametrize(
    ("user", "forwards", "says"),
    [(NOBODY, True, "root"), (0, False, "net.ipv4.ip_forward")],
    ids=["rootless", "not routing"],
)
def test_what_a_link_takes_and_is_not_there_is_an_error(
    user: int, forwards: bool, says: str
) -> None:
    def look(world: World) -> Any:
        if forwards and os.getuid() == 0:
            route()
        try:
            world.run(linked(world, f"{API}:{PORT}/udp"), "/bin/true")
        except SandboxUnavailable as err:
            return f"{err} {err.hint}"
        return "it ran"

    assert says in in_world(look, user=user)


def test_udp_takes_a_link_and_addresses() -> None:
    udp = NetworkTarget.ip(API, 53, "udp")
    name = NetworkTarget.domain("a.example", 53, "udp")
    for network in (
        {"allow": (udp,)},
        {"allow": (name,), "link": True},
    ):
        with pytest.raises(SandboxConfigError, match="broker connects TCP alone"):
            NetworkConfig(mode=NetworkMode.RESTRICTED, **network)
    NetworkConfig(mode=NetworkMode.RESTRICTED, allow=(udp,), link=True)
    with pytest.raises(SandboxConfigError, match="link"):
        NetworkConfig(link=True)
