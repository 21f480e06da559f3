"""The CPU level: what is detected, and how PLUGINAPI_CPU lowers it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from pluginapi._native import _cpu
from pluginapi.errors import ConfigError

CPUINFO = Path("/proc/cpuinfo")
OURS = {
    "bmi1",
    "bmi2",
    "adx",
    "avx2",
    "fma",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512ifma",
}


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLUGINAPI_CPU", raising=False)


def test_the_levels_and_their_order() -> None:
    assert _cpu.LEVELS == ("portable", "bmi2", "avx2", "avx512vl", "avx512ifma")
    assert [_cpu.number_of(name) for name in _cpu.LEVELS] == [0, 1, 2, 3, 4]


def test_only_an_emulated_build_says_that_it_is_one() -> None:
    # `make test-emulated` sets the variable for the build and for the tests.
    emulated = os.environ.get("PLUGINAPI_EMULATE") == "1"
    assert ("emulated" in _cpu.features()) == emulated
    if emulated:
        assert _cpu.detected() == len(_cpu.LEVELS) - 1


@pytest.mark.skipif("emulated" in _cpu.features(), reason="the features are emulated")
@pytest.mark.skipif(
    platform.machine() != "x86_64" or not CPUINFO.exists(),
    reason="the kernel's list of x86 processor features is in /proc/cpuinfo on Linux alone",
)
def test_the_features_are_those_that_the_kernel_lists() -> None:
    flags = next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags"))
    assert set(_cpu.features()) == OURS & set(flags.split())


def test_the_detected_level_needs_its_features() -> None:
    features = set(_cpu.features())
    assert _cpu.level() == _cpu.detected()
    assert (_cpu.detected() >= _cpu.number_of("bmi2")) == ({"bmi1", "bmi2"} <= features)
    if _cpu.detected() >= _cpu.number_of("avx512vl"):
        assert {"avx2", "fma", "avx512f", "avx512vl"} <= features


@pytest.mark.parametrize("name", _cpu.LEVELS)
def test_the_environment_lowers_the_level_and_never_raises_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGINAPI_CPU", name)
    assert _cpu.level() == min(_cpu.detected(), _cpu.LEVELS.index(name))


@pytest.mark.parametrize("name", ["", "AVX2", "avx", "ref", "bmi2 ", "ä", "\udcff"])
def test_an_unknown_level_is_an_error_that_names_the_known_ones(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGINAPI_CPU", name)
    with pytest.raises(ConfigError) as caught:
        _cpu.level()
    assert caught.value.code == "config.cpu_level"
    assert "avx512ifma" in str(caught.value.hint)


def test_a_level_with_a_null_character_is_no_prefix_match() -> None:
    with pytest.raises(ConfigError):
        _cpu.number_of("bmi2\0x")
