"""Each attack fails in each tier but where the table says otherwise, and works with no sandbox."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path
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
FILLED = Path(next(case.args[1] for case in CASES if case.args[0] == "fill"))
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
    if there_is(tier):
        check(case, outcome(tier, case.name), stopped=tier not in case.open_in)


@pytest.mark.parametrize(
    "case", [case for case in ON_THIS if case.by_plugin], ids=lambda case: case.name
)
@pytest.mark.parametrize("tier", TIERS)
def test_attack_by_a_plugin(
    tier: str, case: Case, plugin_outcome: Callable[[str, str], list[Any]]
) -> None:
    if there_is(tier):
        stopped = case.plugin_is_stopped or tier not in case.open_in
        check(case, plugin_outcome(tier, case.name), stopped=stopped)


def there_is(tier: str) -> bool:
    """Tell whether a tier can be had; where it cannot, check that it is refused."""
    if tier == "root" and os.getuid() != 0:
        pytest.skip("this tier is root's")
    if tier != "minimal" or landlock_abi() >= MINIMAL_ABI:
        return True
    # Nothing but Landlock is between a program and the host there.
    with pytest.raises(SandboxUnavailable, match=f"needed in version {MINIMAL_ABI}"):
        Policy(config_of(tier, "/usr"), "command", privileged=False).plan(
            uid=1, cgroups=(), template=None, first_descriptor=0
        )
    return False


def check(case: Case, ended: list[Any], *, stopped: bool) -> None:
    code, status, text = ended
    if stopped:
        assert (code, status) in STOPPED, f"it ended with {code}, {status}: {text}"
    else:
        assert (code, status) == (os.CLD_EXITED, 0), f"it is stopped after all: {text}"
        assert case.why


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
        FILLED.unlink(missing_ok=True)
