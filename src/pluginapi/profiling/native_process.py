"""Sample a native process: with the kernel's own sampling, perf_event_open(2)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from pluginapi._native import _profile
from pluginapi.errors import PluginError
from pluginapi.profiling.stacks import Stacks
from pluginapi.profiling.symbols import AddressNames, read_mappings

__all__ = ["sample_native"]

_LOOK_SECONDS: Final = 0.1
_MOST_THREADS: Final = 256


def sample_native(pid: int, plugin: Path, seconds: float, rate: int) -> Stacks:
    """Sample the stacks of a native process; this takes ``seconds``.

    Sampled is what uses processor time, of all threads, without the kernel's own part. Stacks are
    followed by frame pointers: of code that was built without them, the innermost function is
    right and its callers may be missing.

    Args:
        pid: The process.
        plugin: The plugin's file.
        seconds: How long.
        rate: Samples in a second of processor time.

    Raises:
        PluginError: With code ``profile.failed`` when the kernel does not let this user look into
            the process, or it has ended.
        UnsupportedPlatform: pyelftools is not installed.
    """
    found: list[tuple[int, ...]] = []
    samplers: dict[int, _profile.ThreadSampler] = {}
    until = time.monotonic() + seconds
    try:
        while True:
            mappings = _mappings(pid)
            _follow(pid, rate, samplers)
            for sampler in samplers.values():
                found += sampler.samples()
            left = until - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, _LOOK_SECONDS))
        stacks = Stacks(lost=sum(sampler.lost for sampler in samplers.values()))
    finally:
        for sampler in samplers.values():
            sampler.close()
    names = AddressNames(read_mappings(mappings), plugin)
    for frames in found:
        stacks.add(names.name(address) for address in reversed(frames))
    return stacks


def _mappings(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text("utf-8", "backslashreplace")
    except OSError as err:
        raise _failed(pid, err) from err


def _follow(pid: int, rate: int, samplers: dict[int, _profile.ThreadSampler]) -> None:
    """Sample the threads that have been started since."""
    try:
        threads = sorted(int(each.name) for each in Path(f"/proc/{pid}/task").iterdir())
    except OSError as err:
        raise _failed(pid, err) from err
    for thread in threads:
        if thread in samplers or len(samplers) >= _MOST_THREADS:
            continue
        try:
            samplers[thread] = _profile.ThreadSampler(thread, rate)
        except ProcessLookupError:
            # It has ended since.
            continue
        except OSError as err:
            raise _failed(pid, err) from err


def _failed(pid: int, err: OSError) -> PluginError:
    return PluginError(
        f"process {pid} cannot be profiled: {err.strerror or err}",
        code="profile.failed",
        hint="profile as root, or as the user that the host runs as, while the plugin runs; the "
        "kernel's perf_event_paranoid may be at most 2",
        pid=pid,
    )
