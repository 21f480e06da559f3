"""What the tests of signatures and trust share: keys, plugin files, lists, all made afresh."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from pluginapi.security import SigningKeyPair, TrustKey

from .trust_bench import Bench

# No test asserts a time: other work on the machine is no failure.
settings.register_profile("security", deadline=None)
settings.load_profile("security")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(
        directory=tmp_path,
        plugin=tmp_path / "filter.py",
        list_path=tmp_path / "data" / "plugin_trust_list.enc",
        state_dir=tmp_path / "state",
        trust_key=TrustKey.from_bytes(bytes(range(32))),
        signer=SigningKeyPair(b"\x01" * 32),
        stranger=SigningKeyPair(b"\x02" * 32),
    )
    made.write_plugin()
    return made
