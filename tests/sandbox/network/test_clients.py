"""Programs that know nothing of the broker, through it: clients, resolvers, proxies."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("network namespaces are of Linux", allow_module_level=True)

import pluginapi.sandbox.network.broker  # noqa: F401
from pluginapi.sandbox.config import FilesystemConfig, SandboxConfig
from pluginapi.sandbox.policy import python_paths
from sandbox.network.world import API, NOBODY, OTHER, PYTHON, SHARED, World, in_world

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 and "PLUGINAPI_MUST_SANDBOX" not in os.environ,
    reason="a machine of the tests' own takes root",
)

HTTPX = """
import asyncio, httpx
for url in ("http://api.example.com/", "http://evil.org/"):
    try:
        print(httpx.get(url, timeout=20).text)
    except httpx.ConnectError as err:
        print("refused", err)
async def main():
    async with httpx.AsyncClient(timeout=20) as client:
        print((await client.get("http://shared.example.com/")).text)
        try:
            await client.get("http://tenant.evil.org/")
        except httpx.ConnectError as err:
            print("refused")
asyncio.run(main())
"""

AIOHTTP = """
import asyncio, aiohttp
async def main():
    for resolver in (aiohttp.ThreadedResolver, aiohttp.AsyncResolver):
        connector = aiohttp.TCPConnector(resolver=resolver())
        async with aiohttp.ClientSession(connector=connector) as session:
            for url in ("http://api.example.com/", "http://tenant.evil.org/"):
                try:
                    async with session.get(url) as answer:
                        print(await answer.text())
                except aiohttp.ClientConnectorError:
                    print("refused")
asyncio.run(main())
"""


def own_python(config: SandboxConfig) -> SandboxConfig:
    """Show this Python and what is installed for it, which the machine's own may not have."""
    paths = {sys.prefix, sys.base_prefix, *python_paths()}
    shown = tuple(
        sorted(path for path in paths if not any(path.startswith(f"{each}/") for each in paths))
    )
    return replace(config, filesystem=FilesystemConfig(read_only_paths=shown))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            HTTPX,
            [
                f"{API} api.example.com",
                "refused [Errno 13] Permission denied",
                f"{SHARED} shared.example.com",
                "refused",
            ],
        ),
        (AIOHTTP, [f"{API} api.example.com", "refused"] * 2),
    ],
    ids=["httpx", "aiohttp"],
)
def test_http_clients_of_python(source: str, expected: list[str]) -> None:
    def look(world: World) -> Any:
        config = own_python(world.config("api.example.com:80", "shared.example.com:80"))
        done = world.run(config, sys.executable, "-I", "-c", source)
        return done.stdout.decode().splitlines(), done.stderr.decode()

    out, err = in_world(look)
    assert out == expected, err


STATIC = r"""
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words) {
    int i;
    for (i = 1; i + 1 < count; i += 2) {
        const struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
        struct addrinfo *found;
        char text[512];
        ssize_t got;
        int fd;
        if (getaddrinfo(words[i], words[i + 1], &wanted, &found) != 0) {
            puts("no such name");
            continue;
        }
        fd = socket(found->ai_family, SOCK_STREAM, 0);
        if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
            puts(strerrorname_np(errno));
            continue;
        }
        dprintf(fd, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", words[i]);
        got = read(fd, text, sizeof text - 1);
        text[got > 0 ? got : 0] = 0;
        puts(strrchr(text, '\n') + 1);
        close(fd);
    }
    return 0;
}
"""


@pytest.fixture
def static_program(tmp_path: Path) -> Iterator[str]:
    # Where another user may read it.
    directory = Path(f"/var/tmp/pluginapi-static-{os.getpid()}")
    directory.mkdir(mode=0o755)
    source = tmp_path / "client.c"
    source.write_text(STATIC)
    program = directory / "client"
    command = ["cc", "-D_GNU_SOURCE", "-static", "-O1", "-o", str(program), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True)
        yield str(program)
    finally:
        program.unlink(missing_ok=True)
        directory.rmdir()


@pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "rootless"])
def test_a_static_program(static_program: str, user: int) -> None:
    places = [
        "api.example.com",
        "80",
        "tenant.evil.org",
        "80",
        API,
        "80",
        "nowhere.example.com",
        "80",
    ]

    def look(world: World) -> Any:
        files = FilesystemConfig(read_only_paths=(str(Path(static_program).parent),))
        config = replace(world.config("api.example.com:80", "*.example.com:80"), filesystem=files)
        open_ = replace(world.open_config(), filesystem=files)
        return [
            world.run(each, static_program, *places).stdout.decode().splitlines()
            for each in (config, open_)
        ]

    confined, unconfined = in_world(look, user=user)
    assert confined == [f"{API} api.example.com", "EACCES", "EACCES", "no such name"]
    assert unconfined == [
        f"{API} api.example.com",
        f"{SHARED} tenant.evil.org",
        f"{API} {API}",
        "no such name",
    ]


# Through a proxy that relays to anywhere, and from a name server that is asked over HTTP.
DETOURS = """
import errno, socket
def ask(place, *lines):
    with socket.create_connection(place, 20) as made:
        made.sendall(lines[0])
        got = made.recv(4096)
        if len(lines) > 1:
            made.sendall(lines[1])
            got = b""
            while more := made.recv(4096):
                got += more
        return got.decode().rpartition("\\n")[2] or got.decode().split("\\r")[0]
for place, *lines in [
    (("proxy.evil.org", 3128), b"CONNECT tenant.evil.org:80 HTTP/1.1\\r\\n\\r\\n",
     b"GET / HTTP/1.1\\r\\nHost: tenant.evil.org\\r\\n\\r\\n"),
    (("{other}", 3128), b"CONNECT tenant.evil.org:80 HTTP/1.1\\r\\n\\r\\n",
     b"GET / HTTP/1.1\\r\\nHost: tenant.evil.org\\r\\n\\r\\n"),
    (("127.0.0.1", 3128), b"CONNECT tenant.evil.org:80 HTTP/1.1\\r\\n\\r\\n",
     b"GET / HTTP/1.1\\r\\nHost: tenant.evil.org\\r\\n\\r\\n"),
    (("doh.evil.org", 80), b"GET /dns-query?dns=AAAB HTTP/1.1\\r\\nHost: doh.evil.org\\r\\n\\r\\n"),
]:
    try:
        print(ask(place, *lines))
    except OSError as err:
        print(errno.errorcode.get(err.errno, err))
"""


def proxy() -> None:
    """Relay whatever CONNECT asks for, as on a machine of the host's there may be."""
    server = socket.create_server(("::", 3128), family=socket.AF_INET6, dualstack_ipv6=True)

    def serve(taken: socket.socket) -> None:
        with taken, contextlib.suppress(OSError):
            taken.recv(4096)
            with socket.create_connection((SHARED, 80)) as beyond:
                taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                beyond.sendall(taken.recv(4096))
                while more := beyond.recv(4096):
                    taken.sendall(more)

    def accept() -> None:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


@pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}")
def test_proxies_and_name_servers_elsewhere_are_out_of_reach() -> None:
    zone: dict[str, Any] = {
        "proxy.evil.org": [("A", 60, OTHER)],
        "doh.evil.org": [("A", 60, OTHER)],
    }
    source = DETOURS.replace("{other}", OTHER)

    def look(world: World) -> Any:
        proxy()
        return [
            world.python(config, source).splitlines()
            for config in (world.config("api.example.com:80"), world.open_config())
        ]

    confined, unconfined = in_world(look, zone=zone)
    assert confined == ["EACCES"] * 4
    assert unconfined == [*[f"{SHARED} tenant.evil.org"] * 3, f"{OTHER} doh.evil.org"]
