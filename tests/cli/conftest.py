"""A forge, and the command line over it, with an environment that holds nothing of the user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import Forge

from .harness import TRUST_KEY_HEX, Cli


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PLUGINAPI_") and name != "PLUGINAPI_MUST_SANDBOX":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PLUGINAPI_TRUST_KEY", TRUST_KEY_HEX)
    # Where lists that were seen are remembered unless a command says otherwise.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home-state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(Forge(tmp_path), capsys)
