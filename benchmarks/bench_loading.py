"""What verification and loading cost, against hashlib and PyNaCl in a loop and a bare import."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import time
from pathlib import Path

import nacl.bindings
import pytest
from racing import Race
from signed_directory import KINDS, write_directory

from pluginapi import PluginLoader, PluginRegistry

KIB = 1024
COUNTS = {"native": 1000, "Python, mostly data": 1000, "Python, all code": 50}


@pytest.mark.parametrize("signers", [1, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_scan(race: Race, tmp_path: Path, kind: str, signers: int) -> None:
    """Race a scan with a loop that does less.

    The loop has decoded all signatures beforehand and reads no manifest; it knows no policy.
    """
    count = COUNTS[kind]
    directory = write_directory(tmp_path, kind, count=count, size=64 * KIB, signers=signers)

    def bare() -> None:
        for path, (signed, key) in directory.signatures.items():
            hashlib.sha3_512(path.read_bytes()).hexdigest()
            nacl.bindings.crypto_sign_open(signed, key)

    def scan() -> None:
        registry = PluginRegistry(PluginLoader(directory.security))
        report = registry.scan_directory(directory.path)
        assert len(report) == count
        assert all(info.error is None for info in report.plugins)

    contestants = {"read + hashlib + PyNaCl in a loop": bare, "pluginapi scan_directory": scan}
    title = f"scan {count} plugins of 64 KiB ({kind}) by {signers} signers"
    race(title, "read + hashlib + PyNaCl in a loop", contestants)
    # Of all threads together: what it costs where every processor is busy.
    race(
        f"{title}: processor time",
        "read + hashlib + PyNaCl in a loop",
        contestants,
        clock=time.process_time,
    )


def test_load_and_unload(race: Race, tmp_path: Path) -> None:
    kind = "Python, mostly data"
    directory = write_directory(tmp_path, kind, count=1, size=64 * KIB, signers=1)
    (path,) = directory.signatures
    registry = PluginRegistry(PluginLoader(directory.security))

    def bare() -> None:
        spec = importlib.util.spec_from_file_location("bench_bare", path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

    with asyncio.Runner() as runner:

        async def cycle() -> None:
            await registry.load_plugin(path)
            await registry.unload_plugin("bench-0")

        race(
            "load and unload one Python plugin of 64 KiB",
            "importlib, no verification, no unload",
            {
                "importlib, no verification, no unload": bare,
                "pluginapi load_plugin + unload_plugin": lambda: runner.run(cycle()),
            },
        )
