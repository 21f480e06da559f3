"""The check of plans, on bytes that nobody wrote as a plan."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi._native import _confine
from pluginapi.sandbox.capabilities import CapabilitiesConfig
from pluginapi.sandbox.plan import Mount, Plan
from pluginapi.sandbox.rlimits import RlimitsConfig

GOOD = (
    Plan()
    .rlimits(RlimitsConfig(open_files=9))
    .join_cgroup(0)
    .new_keyring()
    .enter_namespaces(0, 0x0002_0000)
    .new_namespaces(0x0002_0000)
    .new_user_namespace(1, 1)
    .root(size_bytes=4096, inodes=9)
    .directory("a/b")
    .file("a/c")
    .link("d", "a")
    .bind(0, "/source", "a/b")
    .tmpfs("tmp", size_bytes=4096, inodes=1)
    .proc(processes_only=True)
    .seal("a", Mount.READ_ONLY)
    .pivot()
    .overlay("a/b", size_bytes=4096, inodes=8, in_user_namespace=True)
    .hostname("plugin")
    .become(1, 1)
    .capabilities(CapabilitiesConfig())
    .die_with_parent()
    .dumpable(on=False)
    .landlock(0)
    .landlock_rules([("/", 1), ("/a/b", 3)], files=7)
    .seccomp(bytes(24))
    .build(1)
)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_plan(data: bytes) -> None:
    with pytest.raises(ValueError, match="this is no plan"):
        _confine.check(data, 4)


@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), fds=st.integers(0, 2))
def test_a_damaged_plan_is_refused_or_is_another(at: int, byte: int, fds: int) -> None:
    damaged = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    try:
        _confine.check(damaged, fds)
    except ValueError as err:
        assert "this is no plan" in str(err)  # noqa: PT017 - either is right


@given(size=st.integers(0, len(GOOD) - 1))
def test_a_plan_that_is_cut_off(size: int) -> None:
    with pytest.raises(ValueError, match="this is no plan"):
        _confine.check(GOOD[:size], 1)
    shorter = GOOD[:4] + struct.pack("=I", size) + GOOD[8:]
    with pytest.raises(ValueError, match="this is no plan"):
        _confine.check(shorter[:size], 1)


def test_descriptors_that_are_too_many() -> None:
    with pytest.raises(ValueError, match=f"{_confine.MOST_FDS + 1} descriptors"):
        _confine.apply(GOOD, (0,) * (_confine.MOST_FDS + 1))
