"""Fixtures for the tests of the channel."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(params=["rings", "socket", "stream"])
def any_transport(request: pytest.FixtureRequest) -> dict[str, Any]:
    """As `transport`, and over a stream without a descriptor, which named pipes are."""
    return {"shared": request.param == "rings", "stream": request.param == "stream"}


@pytest.fixture(params=["rings", "socket"])
def transport(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Run a test over both ways that frames travel."""
    return {"shared": request.param == "rings"}


@pytest.fixture(autouse=True)
def no_descriptor_leaks() -> Iterator[None]:
    """Fail a test after which sockets, memory files, events or processes stay open."""
    before = of_channels()
    yield
    # A thread of the test may still be about to close its own.
    until = time.monotonic() + 10
    while (left := of_channels() - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left


def of_channels() -> Counter[str]:
    """Return what this process has open of the kinds that channels are made of, and how often.

    Files on disk are none of them: whoever logs a traceback reads the sources.
    """
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(entry.readlink())
            if not target.startswith("/") or target.startswith("/memfd:"):
                found[target] += 1
    return found
