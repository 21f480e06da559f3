"""`pluginapi doctor`: what this machine is, and which compiled paths the library uses on it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import requires, version
from typing import Any

import click
from packaging.requirements import Requirement

from pluginapi._native import _cpu, _ed25519, _sha3
from pluginapi.cli._output import Output, json_option

__all__ = ["doctor_command"]


@click.command("doctor", epilog="Example: pluginapi doctor --json")
@json_option
def doctor_command(as_json: bool) -> None:
    """Show the platform, the CPU level in use for each primitive, library versions, the sandbox.

    Each layer of the sandbox is tried; what is missing is named with its remedy.

    The environment variable PLUGINAPI_CPU lowers the level: portable, bmi2, avx2, avx512vl or
    avx512ifma.
    """
    output = Output(as_json=as_json)
    report = _report()
    output.result(report)
    for section, facts in report.items():
        output.text(section, style="bold")
        for name, fact in facts.items():
            output.text(f"  {name:<14} {_text(fact)}")


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
            "ed25519": {"level": _cpu.LEVELS[_ed25519.level()], "paths": _ed25519.paths()},
        },
        "libraries": {name: version(name) for name in ["pluginapi", *_dependencies()]},
        "sandbox": _sandbox(),
    }


def _sandbox() -> dict[str, Any]:
    """Return what sandbox there can be: the tier, and each layer with what was found."""
    if sys.platform != "linux":
        return {"tier": "none", "reason": f"the sandbox needs Linux, this is {sys.platform}"}
    from pluginapi.sandbox.abilities import read_abilities  # noqa: PLC0415 - Linux only

    abilities = read_abilities()
    found: dict[str, Any] = {"tier": abilities.tier.value}
    for name, ability in abilities.found.items():
        found[name] = {"there": ability.there, "detail": ability.detail, "remedy": ability.remedy}
    return found


def _dependencies() -> list[str]:
    """Return the names of the required libraries, without those of extras."""
    needed = (Requirement(text) for text in requires("pluginapi") or ())
    return [
        item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})
    ]


def _text(fact: object) -> str:
    if isinstance(fact, dict) and "there" in fact:
        remedy = f"; {fact['remedy']}" if fact["remedy"] else ""
        return f"{'yes' if fact['there'] else 'NO'}: {fact['detail']}{remedy}"
    if isinstance(fact, dict):
        return ", ".join(f"{name} {_text(value)}" for name, value in fact.items())
    if isinstance(fact, list):
        return " ".join(fact) or "none"
    return "-" if fact is None else str(fact)
