"""`pluginapi doctor`: what this machine is, and which compiled paths the library uses on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import requires, version
from typing import Any

import click
from packaging.requirements import Requirement

from pluginapi._native import _cpu, _sha3
from pluginapi.cli._output import Output, json_option

__all__ = ["doctor_command"]


@click.command("doctor", epilog="Example: pluginapi doctor --json")
@json_option
def doctor_command(as_json: bool) -> None:
    """Show the platform, the CPU level in use for each primitive, and library versions.

    The environment variable PLUGINAPI_CPU lowers the level: portable, bmi2, avx2, avx512vl or
    avx512ifma.
    """
    output = Output(as_json=as_json)
    report = _report()
    output.result(report)
    for section, facts in report.items():
        output.text(section, style="bold")
        for name, fact in facts.items():
            output.text(f"  {name:<12} {_text(fact)}")


def _report() -> dict[str, dict[str, Any]]:
    return {
        "platform": {
            "system": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
        },
        "cpu": {
            "level": _cpu.LEVELS[_cpu.level()],
            "detected": _cpu.LEVELS[_cpu.detected()],
            "lowered_by": os.environ.get(_cpu.ENVIRONMENT_VARIABLE),
            "features": list(_cpu.features()),
        },
        "primitives": {
            "sha3_512": {"level": _cpu.LEVELS[_sha3.level()], "paths": _sha3.paths()},
        },
        "libraries": {name: version(name) for name in ["pluginapi", *_dependencies()]},
    }


def _dependencies() -> list[str]:
    """Return the names of the required libraries, without those of extras."""
    needed = (Requirement(text) for text in requires("pluginapi") or ())
    return [
        item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})
    ]


def _text(fact: object) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{name} {_text(value)}" for name, value in fact.items())
    if isinstance(fact, list):
        return " ".join(fact) or "none"
    return "-" if fact is None else str(fact)
