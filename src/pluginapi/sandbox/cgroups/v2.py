"""Version 2 of control groups: bounds and figures, all in one directory."""

from __future__ import annotations

from pathlib import Path

from pluginapi.sandbox.cgroups.config import CgroupConfig
from pluginapi.sandbox.cgroups.files import flat, number, read, write
from pluginapi.sandbox.cgroups.usage import CgroupEvents, CgroupUsage

__all__ = ["apply", "events", "limits", "usage"]


def apply(place: Path, config: CgroupConfig) -> None:
    """Set the bounds; raises SandboxError."""
    if config.memory_limit_bytes is not None:
        write(place / "memory.max", config.memory_limit_bytes)
        # A plugin that has lost one of its processes is of no use.
        write(place / "memory.oom.group", 1)
    if config.swap_limit_bytes is not None:
        write(place / "memory.swap.max", config.swap_limit_bytes)
    if config.cpu_quota_us is not None:
        write(place / "cpu.max", f"{config.cpu_quota_us} {config.cpu_period_us}")
    if config.cpu_weight is not None:
        write(place / "cpu.weight", config.cpu_weight)
    if config.pids_limit is not None:
        write(place / "pids.max", config.pids_limit)
    if config.io_weight is not None:
        weight = place / "io.weight"
        if not weight.exists():
            weight = place / "io.bfq.weight"
        write(weight, f"default {config.io_weight}")


def limits(place: Path) -> dict[str, int]:
    """Return the bounds that the kernel says are in force, by the names of `CgroupConfig`."""
    quota, _, period = (read(place / "cpu.max") or "").partition(" ")
    found = {
        "memory_limit_bytes": number(place / "memory.max"),
        "swap_limit_bytes": number(place / "memory.swap.max"),
        "cpu_quota_us": int(quota) if quota.isdigit() else None,
        "cpu_period_us": int(period) if period.isdigit() else None,
        "cpu_weight": number(place / "cpu.weight"),
        "pids_limit": number(place / "pids.max"),
        "io_weight": flat(place / "io.weight").get("default"),
    }
    return {name: value for name, value in found.items() if value is not None}


def usage(place: Path) -> CgroupUsage:
    """Return what the group uses."""
    return CgroupUsage(
        memory_bytes=number(place / "memory.current"),
        memory_peak_bytes=number(place / "memory.peak"),
        swap_bytes=number(place / "memory.swap.current"),
        cpu_us=flat(place / "cpu.stat").get("usage_usec"),
        pids=number(place / "pids.current"),
    )


def events(place: Path) -> CgroupEvents:
    """Return how often the bounds were met."""
    return CgroupEvents(
        oom_kills=flat(place / "memory.events").get("oom_kill"),
        pids_refused=flat(place / "pids.events").get("max"),
        throttled_periods=flat(place / "cpu.stat").get("nr_throttled"),
    )
