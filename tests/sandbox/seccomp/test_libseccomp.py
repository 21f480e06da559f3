"""Programs that libseccomp made, in this library's interpreter, beside its own programs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pluginapi.sandbox.seccomp import DockerProfile, SeccompProgram, architecture
from sandbox.seccomp.libseccomp import MISSING, export, random_arguments, random_policy

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

VECTOR = Path(__file__).with_name("vectors") / "docker-default.json"


@pytest.mark.parametrize("optimize", [1, 2])
def test_dockers_profile_means_the_same(optimize: int) -> None:
    made = DockerProfile.decode(VECTOR.read_bytes()).filter(kernel="6.12", exact=True, unknown=None)
    theirs = SeccompProgram(export(made, optimize))
    draw = random.Random(1)
    for number in [*range(600), 0x3FFFFFFF]:
        for arguments in ((), (40,), (0x7E020000,), *(random_arguments(draw) for _ in range(5))):
            ours = made.program().simulate(number, arguments).action
            assert theirs.simulate(number, arguments).action == ours, (number, arguments)
    assert len(made.program()) * 3 <= len(theirs)


@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_random_policies_mean_the_same_in_no_more_instructions(seed: int) -> None:
    draw = random.Random(seed)
    numbers = architecture().numbers
    for _ in range(250):
        made = random_policy(draw)
        ours = made.program()
        theirs = SeccompProgram(export(made))
        assert len(ours) <= len(theirs)
        named = [name for rule in made.rules for name in rule.names]
        for _ in range(20):
            number = numbers[draw.choice(named)] if named else draw.randrange(500)
            arguments = random_arguments(draw)
            assert (
                ours.simulate(number, arguments).action == theirs.simulate(number, arguments).action
            ), (made, number, arguments)
