"""Limits that the kernel keeps a plugin's process to, set before the plugin is loaded."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pluginapi.errors import SandboxError
from pluginapi.limits import LimitInForce, ResourceLimits, ViolationType

if TYPE_CHECKING:
    from pluginapi.monitor.usage import ProcessUsage
    from pluginapi.process.child import Worker
    from pluginapi.sandbox.cgroups import Cgroup

__all__ = ["set_kernel_limits"]

_MIB: Final = 1 << 20
# The stack of a thread counts as memory that is the process's own; glibc gives it this much.
_STACK_BYTES: Final = 8 * _MIB
# So that what goes through the limit slowly is seen by the monitor first.
_SLACK_BYTES: Final = 16 * _MIB
# A worker takes the plugin and imports modules through descriptors of its own: of a plugin that may
# have fewer than this, the monitor sees what is above.
_LEAST_DESCRIPTORS: Final = 4


def set_kernel_limits(
    worker: Worker, before: ProcessUsage, limits: ResourceLimits
) -> tuple[LimitInForce, ...]:
    """Let the kernel keep a worker to what its plugin may use besides it, by what works first.

    Nothing that is in force already is widened. Where nothing works, the monitor is left, and the
    answer says so.

    Args:
        worker: The worker, which has no plugin yet.
        before: What it uses by itself.
        limits: What its plugin may use.
    """
    confinement = worker.confinement
    group = None if confinement is None else confinement.cgroup
    door = None if confinement is None else confinement.door
    bounds = {} if group is None else group.limits()
    cpu = LimitInForce(
        resource=ViolationType.CPU_TIME,
        limit=limits.max_cpu_time_ms,
        mechanism="cpu-clock",
        detail="the clock of the process, read every 3 ms while a call runs",
    )
    connections = LimitInForce(
        resource=ViolationType.CONNECTIONS,
        limit=limits.max_connections,
        mechanism="monitor" if door is None else "broker",
        bound=None if door is None else limits.max_connections,
        detail="" if door is None else "connects beyond it fail with EMFILE",
    )
    return (
        _memory(worker, bounds, limits),
        cpu,
        _threads(group, bounds, before, limits),
        _descriptors(worker, before, limits),
        connections,
    )


def _memory(worker: Worker, bounds: dict[str, int], limits: ResourceLimits) -> LimitInForce:
    kind, limit = ViolationType.HEAP_MEMORY, limits.max_heap_bytes
    if "memory_limit_bytes" in bounds:
        return LimitInForce(
            resource=kind,
            limit=limit,
            mechanism="cgroup",
            bound=bounds["memory_limit_bytes"],
            detail="memory of the control group; beyond it the kernel ends the plugin",
        )
    data = _data_bytes(worker.pid)
    if data is None:
        return _monitored(kind, limit, "its memory cannot be read")
    return _rlimit(
        worker.pid,
        resource.RLIMIT_DATA,
        LimitInForce(
            resource=kind,
            limit=limit,
            mechanism="rlimit",
            bound=data + limit + limits.max_threads * _STACK_BYTES + _SLACK_BYTES,
            detail="RLIMIT_DATA",
        ),
    )


def _data_bytes(pid: int) -> int | None:
    """Return what RLIMIT_DATA compares with: memory that is private and writable."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("VmData:")]
    return int(found[0][1]) * 1024 if found else None


def _threads(
    group: Cgroup | None, bounds: dict[str, int], before: ProcessUsage, limits: ResourceLimits
) -> LimitInForce:
    kind, limit = ViolationType.THREADS, limits.max_threads
    if group is None:
        # RLIMIT_NPROC counts all processes of a user.
        return _monitored(kind, limit, "only a control group can bound them")
    if "pids_limit" not in bounds or before.group_tasks is None:
        return _monitored(kind, limit, "its control group does not bound them")
    bound = min(bounds["pids_limit"], before.group_tasks + limit)
    try:
        group.bound_tasks(bound)
    except SandboxError as err:
        return _monitored(kind, limit, err.message)
    return LimitInForce(
        resource=kind, limit=limit, mechanism="cgroup", bound=bound, detail="pids.max"
    )


def _descriptors(worker: Worker, before: ProcessUsage, limits: ResourceLimits) -> LimitInForce:
    kind, limit = ViolationType.FILE_DESCRIPTORS, limits.max_file_descriptors
    if before.descriptors is None:
        return _monitored(kind, limit, "its descriptors cannot be counted")
    return _rlimit(
        worker.pid,
        resource.RLIMIT_NOFILE,
        LimitInForce(
            resource=kind,
            limit=limit,
            mechanism="rlimit",
            bound=before.descriptors + max(limit, _LEAST_DESCRIPTORS),
            detail="RLIMIT_NOFILE",
        ),
    )


def _rlimit(pid: int, number: int, limit: LimitInForce) -> LimitInForce:
    """Set a limit of the process that ``limit`` describes; or say why it cannot be set."""
    try:
        # What is in force already is not widened.
        there = [each for each in resource.prlimit(pid, number) if each != resource.RLIM_INFINITY]
        bound = min([limit.bound or 0, *there])
        resource.prlimit(pid, number, (bound, bound))
    except (OSError, ValueError) as err:
        return _monitored(limit.resource, limit.limit, f"{limit.detail} cannot be set: {err}")
    return replace(limit, bound=bound)


def _monitored(kind: ViolationType, limit: int, why: str) -> LimitInForce:
    return LimitInForce(resource=kind, limit=limit, mechanism="monitor", detail=why)
