"""The bounds of a channel."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pluginapi.errors import IpcError
from pluginapi.ipc.settings import ChannelSettings, usable_cpus


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_message_bytes": 0},
        {"max_message_bytes": 1 << 40},
        {"ring_bytes": 5000},
        {"ring_bytes": 1024},
        {"area_bytes": 3 << 20},
        {"area_bytes": 16 << 20},
        {"spin_us": -1},
        {"spin_us": 1.5},
        {"in_flight": 0},
        {"queued": -1},
        {"requests": 0},
        {"max_depth": 257},
        {"max_containers": 0},
        {"max_items": 0},
        {"logs_per_second": -1},
    ],
)
def test_values_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(IpcError) as caught:
        ChannelSettings(**wrong)
    assert caught.value.code == "ipc.settings"
    assert next(iter(wrong)) in str(caught.value)


def test_the_defaults_are_sound() -> None:
    settings = ChannelSettings()
    assert settings.area_bytes >= 2 * settings.max_message_bytes


def test_spinning_is_off_on_one_processor() -> None:
    every = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(every)})
        assert usable_cpus() == 1
        assert ChannelSettings(spin_us=50).spin_ns() == 0
        assert ChannelSettings(spin_us=50).spin_ns(os.getpid()) == 0
    finally:
        os.sched_setaffinity(0, every)
    if len(every) > 1 and usable_cpus() > 1:
        assert ChannelSettings(spin_us=50).spin_ns() == 50_000


def test_a_peer_that_is_gone_counts_for_nothing() -> None:
    assert usable_cpus(2**22 + 1) == usable_cpus()
