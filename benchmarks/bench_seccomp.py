"""Filters for system calls against libseccomp: instructions, making them, putting them in force.

libseccomp is used through pyseccomp (ctypes). "Generating alone" leaves out the calls that add
rules: it is seccomp_export_bpf, which libseccomp also does when it loads a filter. Times are of
the processor, since other processes take it away.
"""

from __future__ import annotations

import ctypes
import os
import random
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from racing import Race, Result

from pluginapi.sandbox.seccomp import DockerProfile, SeccompFilter, SeccompProgram, architecture
from sandbox.seccomp.libseccomp import MISSING, export, finish, prepare, random_policy

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="seccomp(2) is Linux's"),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]

VECTOR = (
    Path(__file__).parents[1] / "tests" / "sandbox" / "seccomp" / "vectors" / "docker-default.json"
)
ROUNDS = 60


@pytest.fixture(scope="module")
def docker() -> SeccompFilter:
    profile = DockerProfile.decode(VECTOR.read_bytes())
    return profile.filter(kernel="6.12", exact=True, unknown=None)


def test_instructions(race: Race, docker: SeccompFilter) -> None:
    ours = docker.program()
    theirs = {level: SeccompProgram(export(docker, level)) for level in (1, 2)}
    steps = {
        name: statistics.mean(program.simulate(number).instructions for number in range(450))
        for name, program in (("ours", ours), ("theirs", theirs[2]))
    }
    calls = sum(
        ours.simulate(number).action.kind.name == "ALLOW" for number in architecture().names
    )
    race.notes.append(
        f"Docker's profile ({calls} calls allowed), instructions: {len(ours)}; libseccomp "
        f"{len(theirs[1])}, with optimize=2 {len(theirs[2])}: {len(theirs[2]) / len(ours):.1f} "
        f"times as many. Run for one of the numbers 0 to 449, on average: {steps['ours']:.1f} "
        f"and {steps['theirs']:.1f}"
    )


def test_a_thousand_random_policies(race: Race) -> None:
    draw = random.Random(2026)  # noqa: S311 - the same policies in every run
    ratios = []
    for _ in range(1000):
        made = random_policy(draw)
        ratios.append(len(export(made)) / len(made.build()))
    fewer = sum(ratio > 1 for ratio in ratios)
    more = sum(ratio < 1 for ratio in ratios)
    race.notes.append(
        f"1000 random policies: libseccomp optimize=2 makes {statistics.median(ratios):.2f} times "
        f"as many instructions (median; {min(ratios):.2f} to {max(ratios):.2f}); ours has fewer in "
        f"{fewer}, more in {more}"
    )


def test_build(race: Race, docker: SeccompFilter) -> None:
    arch = architecture()
    race(
        "make the program of Docker's profile from its rules",
        "libseccomp optimize=2 (pyseccomp)",
        {
            "libseccomp optimize=2 (pyseccomp)": lambda: export(docker, 2),
            "libseccomp (pyseccomp)": lambda: export(docker, 1),
            "pluginapi": lambda: docker.assemble(arch),
        },
        clock=time.process_time,
    )
    theirs = prepare(docker)
    race(
        "the same, without what libseccomp spends on adding rules",
        "libseccomp optimize=2, generating alone",
        {
            "libseccomp optimize=2, generating alone": lambda: finish(theirs),
            "pluginapi, from rules to program": lambda: docker.assemble(arch),
        },
        clock=time.process_time,
    )


def _in_child(work: Callable[[], float]) -> float:
    """Return what a child measured: a filter cannot be taken off again."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, struct.pack("d", work()))
        os._exit(0)
    os.close(write)
    (seconds,) = struct.unpack("d", os.read(read, 8))
    os.close(read)
    os.waitpid(child, 0)
    return float(seconds)


def _load(program: SeccompProgram) -> Callable[[], float]:
    def work() -> float:
        # The quickest of several in one process: the first one pays for pages that fork left out.
        times = []
        for _ in range(12):
            began = time.process_time()
            program.install(tsync=False)
            times.append(time.process_time() - began)
        return min(times)

    return work


def _calls(program: SeccompProgram | None, number: int, *arguments: int) -> Callable[[], float]:
    call = ctypes.CDLL(None).syscall

    def work() -> float:
        if program is not None:
            program.install(tsync=False)
        times = []
        for _ in range(10):
            began = time.process_time()
            for _ in range(4000):
                call(number, *arguments)
            times.append((time.process_time() - began) / 4000)
        return min(times)

    return work


def _race(race: Race, title: str, baseline: str, works: dict[str, Any], rounds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(_in_child(work))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    race.results.append(Result(title, baseline, medians))


def test_load(race: Race, docker: SeccompFilter) -> None:
    works = {
        "libseccomp optimize=2": _load(SeccompProgram(export(docker, 2))),
        "libseccomp": _load(SeccompProgram(export(docker, 1))),
        "pluginapi": _load(docker.program()),
    }
    _race(
        race, "put Docker's profile in force (seccomp(2))", "libseccomp optimize=2", works, ROUNDS
    )


def test_calls(race: Race, docker: SeccompFilter) -> None:
    numbers = architecture().numbers
    theirs = SeccompProgram(export(docker, 2))
    for title, number, arguments in (
        ("getppid, always allowed: the kernel runs no filter", numbers["getppid"], ()),
        (
            "personality, refused after a look at its argument",
            numbers["personality"],
            (0x12345678,),
        ),
    ):
        _race(
            race,
            title,
            "libseccomp optimize=2",
            {
                "libseccomp optimize=2": _calls(theirs, number, *arguments),
                "pluginapi": _calls(docker.program(), number, *arguments),
                "no filter": _calls(None, number, *arguments),
            },
            9,
        )
