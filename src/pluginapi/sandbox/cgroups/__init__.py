"""Control groups: bounds on the memory, processor time and processes of a plugin (Linux)."""

from __future__ import annotations

from pluginapi.sandbox.cgroups.config import CgroupConfig
from pluginapi.sandbox.cgroups.group import Cgroup, CgroupManager
from pluginapi.sandbox.cgroups.hierarchy import CgroupLayout, Hierarchy, read_layout
from pluginapi.sandbox.cgroups.usage import CgroupEvents, CgroupUsage

__all__ = [
    "Cgroup",
    "CgroupConfig",
    "CgroupEvents",
    "CgroupLayout",
    "CgroupManager",
    "CgroupUsage",
    "Hierarchy",
    "read_layout",
]
