"""Plugins of a host, with a network of named destinations."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("network namespaces are of Linux", allow_module_level=True)

from native.support import Native
from pluginapi import PluginRegistry
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcess, PluginProcessManager, ProcessSettings
from process.conftest import settings  # noqa: F401 - a fixture
from sandbox.network.world import API, World, fork, in_world
from support import Forge

pytestmark = pytest.mark.skipif(
    os.getuid() != 0, reason="a machine of the tests' own takes root, and so does this registry"
)

SPY = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.look)
def look(self, text):
    try:
        return repr(eval(text))
    except Exception as err:
        return repr((type(err).__name__, str(err)))
"""
TOP = """
import asyncio, concurrent.futures, socket, urllib.request
def get(url):
    return urllib.request.urlopen(url, timeout=20).read().decode()
async def get_async(host):
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(b"GET / HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\n\\r\\n")
    return (await reader.read()).rpartition(b"\\n")[2].decode()
def refusal(number):
    try:
        socket.create_connection((f"n{number}.evil.org", 80))
    except PermissionError as err:
        return str(err)
def all_refusals():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(refusal, range(16)))
"""


@dataclass
class Hosted:
    """A host with one plugin that evaluates what it is asked."""

    world: World
    forge: Forge
    registry: PluginRegistry
    manager: PluginProcessManager
    process: PluginProcess

    async def __call__(self, expression: str) -> Any:
        return ast.literal_eval(await self.registry.hooks.execute("shout", expression))


def hosted(
    body: Callable[[Hosted], Awaitable[Any]],
    settings: ProcessSettings,  # noqa: F811
    *allow: str,
    spares: bool = False,
) -> Any:
    """Run a host on a machine of its own; return what the body returns."""

    async def host(world: World, directory: Path) -> Any:
        forge = Forge(directory)
        config = world.config(*allow)
        with PluginProcessManager(settings, sandbox=config) as manager:
            if spares:
                manager.prepare("python")
            registry = forge.registry(init_timeout=30.0)
            registry.loader._processes = manager  # As one that the loader has made itself.
            path = forge.plugin("acme.spy", SPY, top_level=TOP)
            process = manager.get(await registry.load_plugin(path, isolation="process"))
            assert process is not None
            try:
                return await body(Hosted(world, forge, registry, manager, process))
            finally:
                await registry.unload_all()

    def run(world: World) -> Any:
        with tempfile.TemporaryDirectory() as directory:
            return asyncio.run(host(world, Path(directory)))

    return in_world(run)


@pytest.mark.parametrize("spares", [False, True], ids=["zygote", "spare"])
def test_a_python_plugin_connects_to_what_is_named(
    settings: ProcessSettings,  # noqa: F811
    spares: bool,
) -> None:
    async def body(spy: Hosted) -> Any:
        return [
            await spy("get('http://api.example.com/')"),
            await spy("asyncio.run(get_async('api.example.com'))"),
            await spy("get('http://evil.org/')"),
            await spy("asyncio.run(get_async('evil.org'))"),
            await spy(f"socket.create_connection(('{API}', 80))"),
            await spy("socket.create_connection(('api.example.com', 81))"),
            await spy("socket.socket().connect(('evil.org', 80))"),
            [refusal.plugin for refusal in spy.process.refused_connects()],
            [refusal.host for refusal in spy.process.refused_connects()],
            getattr(spy.process.network(), "refused", None),
        ]

    *found, plugins, hosts, refused = hosted(body, settings, "api.example.com:80", spares=spares)
    assert found[:2] == [f"{API} api.example.com"] * 2
    assert found[2][0] == "URLError"
    # The rule is named, and the line that would allow it.
    for error, place in zip(
        found[2:],
        ("evil.org:80", "evil.org:80", f"{API}:80", "api.example.com:81", "evil.org:80"),
        strict=True,
    ):
        assert f"plugin acme.spy may not connect to {place}: no rule allows this" in error[1]
        assert f"allow = ['{place}']" in error[1]
        assert "network.not_allowed" in error[1]
    assert [error[0] for error in found[3:]] == ["PermissionError"] * 4
    assert set(plugins) == {"acme.spy"}
    assert hosts == ["evil.org", "evil.org", API, "api.example.com", "evil.org"]
    assert refused == 5


def test_each_thread_is_told_its_own_refusal(
    settings: ProcessSettings,  # noqa: F811
) -> None:
    async def body(spy: Hosted) -> Any:
        return await spy("all_refusals()")

    told = hosted(body, settings, "api.example.com:80")
    assert len(told) == 16
    for number in range(16):
        assert sum(f"n{number}.evil.org:80:" in text for text in told) == 1


def test_a_restarted_plugin_connects_again(
    settings: ProcessSettings,  # noqa: F811
) -> None:
    async def body(spy: Hosted) -> Any:
        found = []
        for _ in range(3):
            found.append(await spy("get('http://api.example.com/')"))
            await asyncio.to_thread(spy.process.restart)
        return found

    assert hosted(body, settings, "api.example.com:80") == [f"{API} api.example.com"] * 3


@pytest.fixture
def networked(tmp_path: Path) -> PluginFile:
    return Native(tmp_path).file("networked.c")


def test_a_native_plugin_connects_to_what_is_named(
    settings: ProcessSettings,  # noqa: F811
    networked: PluginFile,
) -> None:
    places = ("api.example.com 80", "tenant.evil.org 80", f"{API} 80", "api.example.com 81")

    async def body(spy: Hosted) -> Any:
        await spy.registry.unload_plugin("acme.spy")
        copy = spy.forge.plugins / networked.path.name
        copy.write_bytes(networked.path.read_bytes())
        spy.forge.sign(copy)
        spy.forge.trust(copy)
        process = spy.manager.get(await spy.registry.load_plugin(copy, isolation="process"))
        assert process is not None
        found = [await spy.registry.hooks.execute("shout", place) for place in places]
        return found, [refusal.message for refusal in process.refused_connects()]

    found, refusals = hosted(body, settings, "api.example.com:80")
    assert found[0].endswith(f"{API} api.example.com")
    assert found[1:] == ["EACCES"] * 3
    assert len(refusals) == 3
    assert "plugin test.networked may not connect to tenant.evil.org:80" in refusals[0]


def test_a_fork_of_the_host_takes_nothing_from_its_plugins(
    settings: ProcessSettings,  # noqa: F811
) -> None:
    async def body(spy: Hosted) -> Any:
        found = [await spy("get('http://api.example.com/')")]
        pid = fork()
        if pid == 0:
            # It has let go of them; what it does as it ends is of no concern to them.
            spy.manager.close()
            os._exit(0)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        found.append(str(os.waitstatus_to_exitcode(status)))
        found.append(await spy("get('http://api.example.com/')"))
        return found

    answer = f"{API} api.example.com"
    assert hosted(body, settings, "api.example.com:80") == [answer, "0", answer]
