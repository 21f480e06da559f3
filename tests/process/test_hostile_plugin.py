"""Plugins that attack the host from their process: the host stays up and says what they did."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import psutil
import pytest

from pluginapi import PluginRegistry
from pluginapi.errors import PluginError, PluginTimeout
from pluginapi.ipc.settings import ChannelSettings
from pluginapi.process import (
    EndReason,
    PluginProcess,
    PluginProcessManager,
    ProcessSettings,
    ProcessState,
)
from process.conftest import open_fds
from support import Forge

# What a plugin can reach of its channel: descriptor 3, and the memory that it shares with the host.
HOSTILE = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)

def shout(self, text):
    attack = getattr(self, "attack_" + text, None)
    return text + "!" if attack is None else attack() or text + "!"

def shared(self):
    for line in open("/proc/self/maps"):
        if "memfd:" in line and "rw-s" in line:
            return int(line.partition("-")[0], 16)
    raise LookupError("no memory is shared")

def attack_nothing(self):
    self.shared() if self.rings() else None

def rings(self):
    return any("memfd:" in line and "rw-s" in line for line in open("/proc/self/maps"))

def attack_garbage(self):
    import os
    os.write(3, bytes([255]) * 64)

def attack_half_a_frame(self):
    import os, struct
    os.write(3, struct.pack("<IBBHQ", 1 << 20, 5, 0, 0, 1))
    os.close(3)

def attack_answers(self):
    import os, struct
    frame = struct.pack("<IBBHQ", 1, 5, 0, 0, 987654321) + bytes(1)
    for _ in range(2000):
        os.write(3, frame * 100)

def attack_oversized(self):
    import os, struct
    os.write(3, struct.pack("<IBBHQ", 0xffffffff, 5, 0, 0, 1))

def attack_descriptors(self):
    import os, socket
    ours, theirs = socket.socketpair()
    return f"{self.send(ours)} {self.send(socket.socket(fileno=os.dup(3)))}"

def send(self, channel):
    import array, os, socket
    channel.setblocking(False)
    null = os.open("/dev/null", os.O_RDONLY)
    rights = array.array("i", [null] * 250)
    sent = 0
    for _ in range(64):
        try:
            channel.sendmsg([bytes(1)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            sent += 1
        except OSError:
            break
    os.close(null)
    channel.close()
    return sent

def later(self, attack):
    # Not within the handler: the worker's own next frame would put right what is written there.
    import threading, time
    threading.Thread(target=lambda: (time.sleep(0.05), attack()), daemon=True).start()

def attack_indices(self):
    import ctypes, os
    base = self.shared()
    def attack():
        ctypes.memset(base + 256, 255, 256)
        os.write(3, bytes(1))
    self.later(attack)

def attack_frames(self):
    import ctypes, os
    base, capacity = self.shared(), 131072
    head = ctypes.c_uint64.from_address(base + 256)
    def attack():
        ctypes.memset(base + 4096 + capacity, 255, capacity)
        head.value += 16
        os.write(3, bytes(1))
    self.later(attack)

def attack_bells(self):
    import os
    def attack():
        while True:
            os.write(3, bytes(4096))
    self.later(attack)

def attack_logs(self):
    import logging
    for number in range(20000):
        logging.getLogger("flood").warning("line %d %s", number, "x" * 1000)
    return "logged"

def attack_stopped(self):
    import os, signal
    os.kill(os.getpid(), signal.SIGSTOP)
"""

QUIET = """
def register_hooks(self, hooks):
    hooks.register("whisper", 200, self.whisper)
def whisper(self, text):
    return text + "."
"""


async def in_time(check: Callable[[], bool]) -> None:
    """Wait until something is true, with the event loop running."""
    until = time.monotonic() + 10
    while not check():
        assert time.monotonic() < until, "it did not come true in time"
        await asyncio.sleep(0.01)


async def load(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> PluginProcess:
    """Load the hostile plugin and a quiet one; return the process of the hostile one."""
    await registry.load_plugin(forge.plugin("acme.quiet", QUIET), isolation="process")
    name = await registry.load_plugin(forge.plugin("acme.hostile", HOSTILE), isolation="process")
    process = manager.get(name)
    assert process is not None
    assert await registry.hooks.execute("shout", "nothing") == "nothing!"
    return process


class Attacks:
    """What every attack that breaks the protocol comes to."""

    async def ends_it(
        self, attack: str, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
    ) -> None:
        process = await load(forge, registry, manager)
        quiet = manager.get("acme.quiet")
        assert quiet is not None
        before = psutil.Process().memory_info().rss
        first, quiet_pid = process.pid, quiet.pid
        # Some are found out at once, some when the host looks at its channel the next time.
        with contextlib.suppress(PluginError):
            await registry.hooks.execute("shout", attack)
        await in_time(lambda: process.state is ProcessState.RUNNING and process.pid != first)
        end = process.last_end
        assert end is not None
        assert end.reason is EndReason.PROTOCOL
        assert end.detail
        assert await registry.hooks.execute("shout", "again") == "again!"
        assert await registry.hooks.execute("whisper", "psst") == "psst."
        assert quiet.pid == quiet_pid
        assert psutil.Process().memory_info().rss - before < 64 << 20
        await registry.unload_all()


class TestRings(Attacks):
    @pytest.mark.parametrize("attack", ["indices", "frames", "bells"])
    async def test_an_attack_on_the_rings_ends_the_plugin_alone(
        self, attack: str, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
    ) -> None:
        await self.ends_it(attack, forge, registry, manager)


class TestSocket(Attacks):
    @pytest.fixture
    def settings(self) -> ProcessSettings:
        return ProcessSettings(
            call_timeout=2.0,
            hang_grace=0.3,
            backoff_first=0.01,
            health_interval=0,
            channel=ChannelSettings(shared=False),
        )

    @pytest.mark.parametrize("attack", ["garbage", "oversized", "answers"])
    async def test_an_attack_on_the_socket_ends_the_plugin_alone(
        self, attack: str, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
    ) -> None:
        await self.ends_it(attack, forge, registry, manager)

    async def test_half_a_frame_is_an_end(
        self, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
    ) -> None:
        process = await load(forge, registry, manager)
        with pytest.raises(PluginError):
            await registry.hooks.execute("shout", "half_a_frame")
        await in_time(lambda: process.last_end is not None)
        await in_time(lambda: process.state is ProcessState.RUNNING)
        await registry.unload_all()


async def test_descriptors_that_nobody_asked_for_are_not_taken(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    await load(forge, registry, manager)
    before = open_fds()
    elsewhere, _ = map(int, (await registry.hooks.execute("shout", "descriptors")).split())
    # The control. Over the channel the kernel refuses them, or takes them and discards them.
    assert elsewhere > 0
    assert await registry.hooks.execute("whisper", "psst") == "psst."
    assert open_fds() == before
    await registry.unload_all()


async def test_a_flood_of_log_lines_is_dropped(
    forge: Forge,
    registry: PluginRegistry,
    manager: PluginProcessManager,
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = await load(forge, registry, manager)
    caplog.set_level(logging.INFO)
    assert await registry.hooks.execute("shout", "logs") == "logged"
    lines = [record for record in caplog.records if record.getMessage().startswith("line ")]
    limit = process.settings.channel.logs_per_second
    assert 0 < len(lines) < 20_000
    assert len(lines) <= limit * (2 + process.uptime)
    assert {getattr(record, "plugin", None) for record in lines} == {"acme.hostile"}
    await registry.unload_all()


async def test_a_plugin_that_stops_itself_is_found_by_its_deadline(
    forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    process = await load(forge, registry, manager)
    first = process.pid
    with pytest.raises(PluginTimeout):
        await registry.hooks.execute("shout", "stopped")
    await in_time(lambda: process.state is ProcessState.RUNNING and process.pid != first)
    assert process.last_end is not None
    assert process.last_end.reason is EndReason.DEADLINE
    await registry.unload_all()
