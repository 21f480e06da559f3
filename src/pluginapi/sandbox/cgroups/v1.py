"""Version 1 of control groups: bounds and figures, one hierarchy for each controller."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pluginapi.sandbox.cgroups.config import CgroupConfig
from pluginapi.sandbox.cgroups.files import flat, number, write
from pluginapi.sandbox.cgroups.usage import CgroupEvents, CgroupUsage

__all__ = ["apply", "events", "limits", "usage"]

# Without a bound, the kernel says this or what the machine has, whichever is less.
_UNLIMITED: Final = 1 << 62
_NORMAL: Final = 100


def apply(places: dict[str, Path], config: CgroupConfig) -> None:
    """Set the bounds in the directories of the controllers; raises SandboxError."""
    if config.memory_limit_bytes is not None:
        write(places["memory"] / "memory.limit_in_bytes", config.memory_limit_bytes)
        if config.swap_limit_bytes is not None:
            # This one counts memory and swap together.
            both = config.memory_limit_bytes + config.swap_limit_bytes
            write(places["memory"] / "memory.memsw.limit_in_bytes", both)
    if config.cpu_quota_us is not None:
        write(places["cpu"] / "cpu.cfs_period_us", config.cpu_period_us)
        write(places["cpu"] / "cpu.cfs_quota_us", config.cpu_quota_us)
    if config.cpu_weight is not None:
        write(places["cpu"] / "cpu.shares", max(2, config.cpu_weight * 1024 // _NORMAL))
    if config.pids_limit is not None:
        write(places["pids"] / "pids.max", config.pids_limit)
    if config.io_weight is not None:
        weight = places["io"] / "blkio.weight"
        if not weight.exists():
            weight = places["io"] / "blkio.bfq.weight"
        write(weight, _disk_weight(config.io_weight))


def _disk_weight(weight: int) -> int:
    """Return a weight of 1 to 10,000 on the scale of 10 to 1,000; 100 is normal on both."""
    if weight <= _NORMAL:
        return max(10, weight)
    return _NORMAL + (weight - _NORMAL) * (1000 - _NORMAL) // (10_000 - _NORMAL)


def limits(places: dict[str, Path]) -> dict[str, int]:
    """Return the bounds that the kernel says are in force, by the names of `CgroupConfig`."""
    found: dict[str, int | None] = {}
    if "memory" in places:
        memory = number(places["memory"] / "memory.limit_in_bytes")
        both = number(places["memory"] / "memory.memsw.limit_in_bytes")
        if memory is not None and memory < _UNLIMITED:
            found["memory_limit_bytes"] = memory
            if both is not None and both < _UNLIMITED:
                found["swap_limit_bytes"] = both - memory
    if "cpu" in places:
        quota = number(places["cpu"] / "cpu.cfs_quota_us")
        found["cpu_period_us"] = number(places["cpu"] / "cpu.cfs_period_us")
        found["cpu_quota_us"] = None if quota is None or quota < 0 else quota
        shares = number(places["cpu"] / "cpu.shares")
        found["cpu_weight"] = None if shares is None else round(shares * _NORMAL / 1024)
    if "pids" in places:
        found["pids_limit"] = number(places["pids"] / "pids.max")
    return {name: value for name, value in found.items() if value is not None}


def usage(places: dict[str, Path]) -> CgroupUsage:
    """Return what the group uses."""
    memory, cpu = places.get("memory"), places.get("cpuacct")
    now = number(memory / "memory.usage_in_bytes") if memory else None
    both = number(memory / "memory.memsw.usage_in_bytes") if memory else None
    nanoseconds = number(cpu / "cpuacct.usage") if cpu else None
    return CgroupUsage(
        memory_bytes=now,
        memory_peak_bytes=number(memory / "memory.max_usage_in_bytes") if memory else None,
        swap_bytes=None if now is None or both is None else max(0, both - now),
        cpu_us=None if nanoseconds is None else nanoseconds // 1000,
        pids=number(places["pids"] / "pids.current") if "pids" in places else None,
    )


def events(places: dict[str, Path]) -> CgroupEvents:
    """Return how often the bounds were met."""
    memory, cpu, pids = places.get("memory"), places.get("cpu"), places.get("pids")
    return CgroupEvents(
        oom_kills=flat(memory / "memory.oom_control").get("oom_kill") if memory else None,
        pids_refused=flat(pids / "pids.events").get("max") if pids else None,
        throttled_periods=flat(cpu / "cpu.stat").get("nr_throttled") if cpu else None,
    )
