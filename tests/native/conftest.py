"""Fixtures that build plugins once and close what a test has loaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from native.support import EXAMPLES, Native
from pluginapi.plugin_file import PluginFile


@pytest.fixture(scope="session")
def compiler() -> str:
    found = shutil.which("cc")
    assert found is not None, "the tests build plugins: install a C compiler"
    return found


@pytest.fixture(scope="session")
def probe(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> PluginFile:
    """The probe without any defect; the manifest is read from the same bytes."""
    return Native(tmp_path_factory.mktemp("probe")).file("probe.c")


@pytest.fixture(scope="session")
def filter_file(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> PluginFile:
    """The request filter example."""
    directory = tmp_path_factory.mktemp("filter")
    return Native(directory).file(EXAMPLES / "request_filter" / "request_filter.c")


@pytest.fixture(scope="session")
def redactor_file(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> PluginFile:
    """The redactor example."""
    return Native(tmp_path_factory.mktemp("redactor")).file(EXAMPLES / "redactor" / "redactor.cpp")


@pytest.fixture
def native(compiler: str, tmp_path: Path) -> Iterator[Native]:
    directory = tmp_path / "build"
    directory.mkdir()
    harness = Native(directory)
    yield harness
    harness.close()
