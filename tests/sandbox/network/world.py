"""A machine of the tests' own: a network namespace with servers, names and nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pluginapi import NetworkTarget
from pluginapi.sandbox.config import NetworkConfig, NetworkMode, SandboxConfig
from pluginapi.sandbox.launcher import Completed, Launcher
from pluginapi.sandbox.seccomp import SeccompMode
from sandbox.network.dns_server import DnsServer, Zone

NOBODY = 65_534
CLONE_NEWNS = 0x0002_0000
CLONE_NEWNET = 0x4000_0000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCGIFINDEX = 0x8914, 0x8916, 0x891C, 0x8933
_UP = 0x41
# Where curl, c-ares and httpx find what they trust does not matter: all of it is plain HTTP.
PYTHON = "/usr/bin/python3"

API = "93.184.215.14"
SHARED = "93.184.215.15"
OTHER = "93.184.215.16"
API6 = "2606:2800:220:1::14"


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter_new_machine(files: dict[str, str]) -> None:
    """Enter a network with public addresses, and files of its own in place of the machine's."""
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare")
    check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    for path, text in files.items():
        fd, name = tempfile.mkstemp(prefix="pluginapi-network-")
        with os.fdopen(fd, "w") as file:
            file.write(text)
        Path(name).chmod(0o644)
        check(libc.mount(name.encode(), path.encode(), None, _MS_BIND, None), f"mount {path}")
        Path(name).unlink()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP))
        for number, address in enumerate((API, SHARED, OTHER, "169.254.169.254", "10.9.8.7")):
            packed = struct.pack(
                "16sHH4s8x", f"lo:{number}".encode(), socket.AF_INET, 0, socket.inet_aton(address)
            )
            fcntl.ioctl(control, _SIOCSIFADDR, packed)
            mask = struct.pack("16sHH4s8x", f"lo:{number}".encode(), socket.AF_INET, 0, b"\xff" * 4)
            fcntl.ioctl(control, _SIOCSIFNETMASK, mask)
        index = fcntl.ioctl(control, _SIOCGIFINDEX, struct.pack("16si12x", b"lo", 0))
    (number,) = struct.unpack_from("i", index, 16)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        packed = struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, API6), 128, number)
        fcntl.ioctl(control, _SIOCSIFADDR, packed)


class World:
    """What a test finds there.

    Attributes:
        dns: The name server, on 127.0.0.1:53 of that machine.
        port: Where something listens on every address, that says who was asked for and by which
            name.
    """

    def __init__(self, zone: Zone) -> None:
        self.dns = DnsServer(zone, ("127.0.0.1", 53))
        self._server = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = 80
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            taken, _ = self._server.accept()
            self.connections += 1
            threading.Thread(target=self._answer, args=(taken,), daemon=True).start()

    @staticmethod
    def _answer(taken: socket.socket) -> None:
        with taken, contextlib.suppress(OSError):
            address = taken.getsockname()[0].removeprefix("::ffff:")
            head = b""
            while b"\r\n\r\n" not in head and (more := taken.recv(4096)):
                head += more
            host = head.partition(b"Host: ")[2].partition(b"\r")[0].decode()
            body = f"{address} {host}"
            taken.sendall(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                f"Connection: close\r\n\r\n{body}".encode()
            )

    def config(self, *allow: str, **changes: Any) -> SandboxConfig:
        network = NetworkConfig(
            mode=NetworkMode.RESTRICTED,
            allow=tuple(map(NetworkTarget.parse, allow)),
            publish=changes.pop("publish", ()),
            link=changes.pop("link", False),
            verify_tls_names=changes.pop("verify_tls_names", False),
            max_connections=changes.pop("max_connections", 1024),
        )
        return SandboxConfig(**{"cgroup": None, "network": network, **changes})

    @staticmethod
    def open_config() -> SandboxConfig:
        """What shows that an attack works without the defence: the host's network."""
        return SandboxConfig(
            cgroup=None,
            # Without a network of its own, it would take a newer one than some kernels have.
            enable_landlock=False,
            seccomp=SeccompMode.PERMISSIVE,
            network=NetworkConfig(mode=NetworkMode.FULL),
            enable_network_namespace=False,
        )

    @staticmethod
    def run(config: SandboxConfig, *command: str, timeout: float = 60) -> Completed:
        with Launcher() as launcher:
            return launcher.run(config, command, timeout=timeout)

    def python(self, config: SandboxConfig, source: str) -> str:
        """Run a program; return what it printed."""
        done = self.run(config, PYTHON, "-I", "-c", source)
        if done.exit_status != 0:
            raise AssertionError(done.stderr.decode())
        return done.stdout.decode()

    def reach(self, config: SandboxConfig, *places: tuple[str, int]) -> list[str]:
        """Connect to places; return for each what answered, or the name of the error."""
        return self.python(config, _REACH.format(places=places)).splitlines()


_REACH = """
import errno, socket
for host, port in {places!r}:
    try:
        with socket.create_connection((host, port), 20) as made:
            made.sendall(b"GET / HTTP/1.1\\r\\nHost: " + host.encode("idna") + b"\\r\\n\\r\\n")
            print(made.makefile().read().rpartition("\\n")[2])
    except OSError as err:
        print(errno.errorcode.get(err.errno, err))
"""

ZONE: Zone = {
    "api.example.com": [("A", 60, API)],
    "six.example.com": [("AAAA", 60, API6)],
    "shared.example.com": [("A", 60, SHARED)],
    "tenant.evil.org": [("A", 60, SHARED)],
    "evil.org": [("A", 60, OTHER)],
}


def fork() -> int:
    """Fork, without a word of the threads that the child does not have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def in_world(
    function: Callable[[World], Any],
    *,
    user: int = 0,
    zone: Zone | None = None,
    privileged_ports: bool = False,
) -> Any:
    """Call a function in a child, on a machine of its own, as a user; return what it returns.

    With ``privileged_ports``, that user may listen on those below 1024 of that machine.
    """
    read, write = os.pipe()
    pid = fork()
    if pid == 0:
        status = 1
        try:
            os.umask(0o022)
            enter_new_machine(
                {
                    "/etc/resolv.conf": "nameserver 127.0.0.1\n",
                    "/etc/hosts": "127.0.0.1 localhost\n",
                }
            )
            world = World({**ZONE, **(zone or {})})
            if privileged_ports:
                Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
                # What a change of the user turns off, and a plain user's process has.
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
            answer = json.dumps(function(world)).encode()
            status = 0
        except BaseException:  # noqa: BLE001 - it is told to the parent
            answer = traceback.format_exc().encode()
        with os.fdopen(write, "wb") as out:
            out.write(answer)
        os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as into:
        data = into.read()
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise AssertionError(data.decode() or f"the child ended with {status}")
    return json.loads(data)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
