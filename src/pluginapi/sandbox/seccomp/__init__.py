"""Filters for the system calls of a process: made, looked into, tried and put in force.

Making and trying filters works on every platform, for x86_64, aarch64 and riscv64; putting them in
force is Linux's seccomp(2).
"""

from __future__ import annotations

from pluginapi.sandbox.seccomp.actions import (
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    USER_NOTIF,
    Action,
    ActionKind,
    errno,
    trace,
    trap,
)
from pluginapi.sandbox.seccomp.conditions import Comparison, Condition, Rule
from pluginapi.sandbox.seccomp.docker import DockerProfile
from pluginapi.sandbox.seccomp.filter import SeccompFilter
from pluginapi.sandbox.seccomp.modes import SeccompMode
from pluginapi.sandbox.seccomp.program import Decision, SeccompProgram
from pluginapi.sandbox.seccomp.tables import Architecture, architecture

__all__ = [
    "ALLOW",
    "KILL_PROCESS",
    "KILL_THREAD",
    "LOG",
    "USER_NOTIF",
    "Action",
    "ActionKind",
    "Architecture",
    "Comparison",
    "Condition",
    "Decision",
    "DockerProfile",
    "Rule",
    "SeccompFilter",
    "SeccompMode",
    "SeccompProgram",
    "architecture",
    "errno",
    "trace",
    "trap",
]
