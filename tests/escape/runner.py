"""Run attacks in a tier, as the user that this process is."""

from __future__ import annotations

from typing import Any

from pluginapi.sandbox.config import FilesystemConfig, SandboxConfig
from pluginapi.sandbox.launcher import Launcher


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
