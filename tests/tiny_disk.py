"""Runs a script with a file system that is soon full, in namespaces of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["run_on_tiny_disk"]

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")
_MOUNT = 'disk=$1; shift; mount -t tmpfs -o size=64k none "$disk" && exec "$@"'


def run_on_tiny_disk(disk: Path, script: str, *arguments: str) -> list[str]:
    """Run a Python script that sees a tmpfs of 64 KiB at `disk`, and return what it printed.

    Nobody outside of the script's own user and mount namespace sees that file system. Where none
    can be made the test is skipped, or fails with PLUGINAPI_MUST_SANDBOX=1.
    """
    disk.mkdir()
    probe = subprocess.run(
        [*_UNSHARE, "mount", "-t", "tmpfs", "none", str(disk)],
        capture_output=True,
        check=False,
        text=True,
    )
    if probe.returncode:
        if os.environ.get("PLUGINAPI_MUST_SANDBOX") == "1":
            pytest.fail(f"no file system of our own can be mounted: {probe.stderr}")
        pytest.skip(f"no file system of our own can be mounted: {probe.stderr}")
    command = [*_UNSHARE, "sh", "-c", _MOUNT, "sh", str(disk), sys.executable, "-c", script]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
