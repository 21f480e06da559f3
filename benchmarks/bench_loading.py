"""What verification and loading cost, against hashlib and PyNaCl in a loop and a bare import."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
from pathlib import Path

import nacl.bindings
import pytest
from racing import Race

from pluginapi import (
    PluginFile,
    PluginLoader,
    PluginRegistry,
    PluginSecurity,
    SecurityPolicy,
    SigningKeyPair,
    TrustedPluginEntry,
)
from pluginapi.metadata import read_manifest
from pluginapi.security import sign_plugin

SOURCE = """
from pluginapi import make_plugin

@make_plugin(name="bench-{number}", version="1.0.0", author="Benchmarks")
class Bench:
    '''{padding}'''
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 100 signed Python plugins of 64 KiB."""
    root = tmp_path_factory.mktemp("plugins")
    for number in range(100):
        (root / f"bench_{number}.py").write_text(
            SOURCE.format(number=number, padding="x" * 64 * 1024)
        )
    return root


@pytest.fixture(scope="module")
def security(directory: Path) -> PluginSecurity:
    """Sign every plugin and trust it."""
    key = SigningKeyPair.generate()
    entries = []
    for path in directory.glob("*.py"):
        file = PluginFile.open(path)
        manifest = read_manifest(file)
        path.with_name(path.name + ".sig").write_bytes(sign_plugin(file, manifest, key))
        entries.append(
            TrustedPluginEntry(
                hash=file.sha3_512,
                name=manifest.name,
                version=str(manifest.version),
                key_id=key.public_key.key_id,
            )
        )
    return PluginSecurity(
        SecurityPolicy(trust_list_path=None),
        hardcoded_trusted_plugins=entries,
        hardcoded_public_keys=[key.public_key],
    )


def test_scan(race: Race, directory: Path, security: PluginSecurity) -> None:
    registry = PluginRegistry(PluginLoader(security))
    secret = nacl.bindings.crypto_sign_keypair()
    signature = nacl.bindings.crypto_sign(b"x" * 600, secret[1])

    def bare() -> None:
        for path in directory.glob("*.py"):
            hashlib.sha3_512(path.read_bytes()).hexdigest()
            nacl.bindings.crypto_sign_open(signature, secret[0])

    race(
        "scan and verify a directory of 100 signed plugins of 64 KiB",
        "hashlib + PyNaCl in a loop, no manifest, no policy",
        {
            "hashlib + PyNaCl in a loop, no manifest, no policy": bare,
            "pluginapi scan_directory": lambda: registry.scan_directory(directory),
        },
    )


def test_load_and_unload(race: Race, directory: Path, security: PluginSecurity) -> None:
    path = directory / "bench_0.py"
    registry = PluginRegistry(PluginLoader(security))

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
