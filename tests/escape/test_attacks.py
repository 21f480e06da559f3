"""Each attack fails in each tier but where the table says otherwise, and works with no sandbox."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable
from typing import Any

import pytest

from escape.cases import CASES, TIERS, Case
from escape.conftest import Arena
from escape.runner import config_of
from pluginapi.errors import SandboxUnavailable
from pluginapi.sandbox.landlock import landlock_abi
from pluginapi.sandbox.policy import Policy

pytestmark = pytest.mark.vm
ON_THIS = [case for case in CASES if case.runs_on in ("", platform.machine())]
MINIMAL_ABI = 6
# To end a hostile program is to stop it.
STOPPED = {
    (os.CLD_EXITED, 1),
    (os.CLD_KILLED, signal.SIGSYS),
    (os.CLD_KILLED, signal.SIGKILL),
    (os.CLD_DUMPED, signal.SIGSYS),
}


@pytest.mark.parametrize("case", ON_THIS, ids=lambda case: case.name)
@pytest.mark.parametrize("tier", TIERS)
def test_attack(tier: str, case: Case, outcome: Callable[[str, str], list[Any]]) -> None:
    if tier == "root" and os.getuid() != 0:
        pytest.skip("this tier is root's")
    if tier == "minimal" and landlock_abi() < MINIMAL_ABI:
        # Nothing but Landlock is between a program and the host there: there is no such tier.
        with pytest.raises(SandboxUnavailable, match=f"needed in version {MINIMAL_ABI}"):
            Policy(config_of(tier, "/usr"), "command", privileged=False).plan(
                uid=1, cgroups=(), template=None, first_descriptor=0
            )
        return
    code, status, text = outcome(tier, case.name)
    if tier in case.open_in:
        assert (code, status) == (os.CLD_EXITED, 0), f"it is stopped after all: {text}"
        assert case.why
    else:
        assert (code, status) in STOPPED, f"it ended with {code}, {status}: {text}"


@pytest.mark.parametrize("case", ON_THIS, ids=lambda case: case.name)
def test_the_attack_works_without_a_sandbox(case: Case, arena: Arena) -> None:
    options: dict[str, Any] = {}
    if case.name.startswith("02"):
        # What a careless host leaves open.
        careless = os.open("/", os.O_RDONLY)
        options = {"pass_fds": (careless,)}
    try:
        assert arena.unconfined(case.args, **options) == 0
    finally:
        if options:
            os.close(careless)
