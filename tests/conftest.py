"""Settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# No test asserts a time: other work on the machine is no failure.
settings.register_profile("pluginapi", deadline=None)
# Everything is much slower there; the inputs are tried on the machine itself.
settings.register_profile("vm", deadline=None, max_examples=5)

IN_VM = "PLUGINAPI_VM" in os.environ
settings.load_profile("vm" if IN_VM else "pluginapi")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what changes a whole machine, but in the virtual machine of `make test-vm`."""
    if IN_VM:
        return
    out = [item for item in items if item.get_closest_marker("vm_only")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not item.get_closest_marker("vm_only")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let nothing be skipped in the virtual machine, which has all that tests can ask for."""
    report = yield
    if IN_VM and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
