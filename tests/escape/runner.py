"""Run attacks in a tier, as the user that this process is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from pluginapi.errors import IpcClosed
from pluginapi.ipc.protocol import Initialize
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcess, PluginProcessManager, ProcessSettings
from pluginapi.sandbox.config import FilesystemConfig, SandboxConfig
from pluginapi.sandbox.launcher import Launcher
from process.conftest import eventually


def config_of(tier: str, directory: str) -> SandboxConfig:
    """Return the sandbox of a tier, in which a directory is shown."""
    files = FilesystemConfig(read_only_paths=(directory,))
    if tier == "minimal":
        return SandboxConfig.without_namespaces(filesystem=files)
    if tier == "rootless":
        # Nobody has let this user make control groups.
        return SandboxConfig(filesystem=files, cgroup=None)
    return SandboxConfig(filesystem=files)


def run(tier: str, directory: str, attacks: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Return for each attack how it ended: code, status, and what it printed."""
    results: dict[str, list[Any]] = {}
    with Launcher() as launcher:
        for name, args in attacks.items():
            done = launcher.run(config_of(tier, directory), [f"{directory}/attack", *args])
            text = (done.stdout + done.stderr).decode("utf-8", "replace")
            results[name] = [done.code, done.status, text]
    return results


def run_in_plugin(tier: str, directory: str, attacks: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Return the same when a native plugin tries them, each in a worker of its own."""
    results: dict[str, list[Any]] = {}
    settings = ProcessSettings(start_timeout=150, call_timeout=150, health_interval=0, restarts=0)
    with PluginProcessManager(settings, sandbox=config_of(tier, directory)) as manager:
        file = PluginFile.open(Path(directory, "attack.so"))
        for name, args in attacks.items():
            copy = file.sealed_copy()
            initialize = Initialize("test.attack", "1.0.0", limits={"max_heap_bytes": 1 << 20})
            process = manager.create(
                "native", "test.attack", copy, initialize, on_request=lambda *_: None
            )
            try:
                process.start(150)
                results[name] = _attack(process, args)
            finally:
                manager.discard(process)
                copy.close()
    return results


def _attack(process: PluginProcess, args: list[str]) -> list[Any]:
    try:
        reply = process.channel.call(1, msgspec.msgpack.encode(args), timeout=150)
    except IpcClosed as err:
        end = eventually(lambda: process.last_end)
        return [os.CLD_KILLED, end.signal, f"{err}: {end}"]
    return [os.CLD_EXITED, msgspec.msgpack.decode(reply[3]), ""]
