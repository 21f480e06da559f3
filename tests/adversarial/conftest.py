"""The host that the tests of this directory attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from .arena import Arena


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)
