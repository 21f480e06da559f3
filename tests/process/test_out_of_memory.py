"""A worker that the kernel ends for want of memory, in a control group of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pluginapi import PluginRegistry
from pluginapi.errors import PluginError, SandboxUnavailable
from pluginapi.process import EndReason, PluginProcessManager, ProcessState
from pluginapi.sandbox.cgroups import Cgroup, CgroupConfig, CgroupManager
from process.conftest import eventually
from support import Forge

GREEDY = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    if text == "more":
        # Shared memory, which no limit of single processes counts.
        self.held = mmap.mmap(-1, 256 << 20)
        for at in range(0, 256 << 20, 4096):
            self.held[at] = 1
    return text + "!"
"""
LIMIT = 96 << 20


pytestmark = pytest.mark.vm


@pytest.fixture
def small_group() -> Iterator[Cgroup]:
    """Make a control group that holds 96 MiB; skip, or fail where that must not be, without."""
    with CgroupManager() as groups:
        try:
            group = groups.create("small", CgroupConfig(memory_limit_bytes=LIMIT))
        except SandboxUnavailable as err:
            if os.environ.get("PLUGINAPI_MUST_SANDBOX") == "1" and os.geteuid() == 0:
                raise
            pytest.skip(f"no control group for memory can be made here: {err}")
        yield group


async def test_the_reason_is_told(
    small_group: Cgroup, forge: Forge, registry: PluginRegistry, manager: PluginProcessManager
) -> None:
    name = await registry.load_plugin(
        forge.plugin("acme.greedy", GREEDY, top_level="import mmap"), isolation="process"
    )
    process = manager.get(name)
    assert process is not None
    # It fits as long as nothing bounds it.
    assert await registry.hooks.execute("shout", "more") == "more!"
    process.restart()
    assert process.pid is not None
    small_group.attach(process.pid)
    ends = len(process.status().ends)
    assert await registry.hooks.execute("shout", "some") == "some!"
    with pytest.raises(PluginError):
        await registry.hooks.execute("shout", "more")
    # Its channel closes before its end is known.
    eventually(lambda: len(process.status().ends) > ends)
    eventually(lambda: process.state is ProcessState.RUNNING)
    end = process.last_end
    assert end is not None
    assert (end.reason, end.signal) == (EndReason.OUT_OF_MEMORY, 9)
    assert "ran out of memory" in str(end)
    assert await registry.hooks.execute("shout", "again") == "again!"
    await registry.unload_all()
