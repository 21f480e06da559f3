"""Sample a process that runs Python: with py-spy, which reads its memory from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from pluginapi.errors import PluginError, UnsupportedPlatform
from pluginapi.profiling.stacks import Stacks

__all__ = ["parse_collapsed", "sample_python"]

# To find the interpreter's structures in a process, and to write what was found.
_BESIDES_SECONDS: Final = 30.0
_MOST_BYTES: Final = 256 << 20
_OURS: Final = ("pluginapi/", "<string>:", "<frozen ")


def sample_python(pid: int, seconds: float, rate: int, *, pause: bool = True) -> Stacks:
    """Sample the stacks of a process that runs Python; this takes ``seconds``.

    Args:
        pid: The process.
        seconds: How long.
        rate: Samples in a second.
        pause: Stop the process for each sample, for a fraction of a millisecond; otherwise stacks
            that change while they are read are wrong now and then.

    Raises:
        UnsupportedPlatform: py-spy is not installed.
        PluginError: With code ``profile.failed`` when it cannot look into the process.
    """
    with tempfile.TemporaryDirectory(prefix="pluginapi-profile-") as directory:
        output = Path(directory, "stacks")
        command = [
            *(_py_spy(), "record", "--pid", str(pid), "--format", "raw", "--function"),
            *("--duration", f"{max(1, round(seconds))}", "--rate", str(rate)),
            *("--output", str(output), *(() if pause else ("--nonblocking",))),
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="backslashreplace",
                check=False,
                timeout=seconds + _BESIDES_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as err:
            raise _failed(pid, "py-spy does not end") from err
        if done.returncode != 0 or not output.exists():
            lines = done.stderr.strip().splitlines()
            # What went wrong comes first; where in py-spy, after it.
            why = next((line for line in lines if line.startswith("Error")), None)
            raise _failed(pid, why or (lines or [f"py-spy ended with {done.returncode}"])[-1])
        if output.stat().st_size > _MOST_BYTES:
            raise _failed(pid, f"its stacks take more than {_MOST_BYTES >> 20} MiB")
        return parse_collapsed(output.read_text("utf-8", "backslashreplace"))


def parse_collapsed(text: str) -> Stacks:
    """Return the stacks of lines ``outermost;...;innermost count``; other lines count as lost.

    The outermost frames that are the worker's own are left out.
    """
    stacks = Stacks()
    for line in text.splitlines():
        names, _, count = line.rpartition(" ")
        if not names or not count.isascii() or not count.isdigit() or len(count) > 9:  # noqa: PLR2004 - digits
            stacks.lost += 1
            continue
        frames = names.split(";")
        ours = 0
        while ours < len(frames) and _is_ours(frames[ours]):
            ours += 1
        # Nothing else: the worker itself is at work.
        stacks.add(frames[ours:] or frames[-1:], int(count))
    return stacks


def _is_ours(frame: str) -> bool:
    _, _, place = frame.rpartition(" (")
    return place.startswith(_OURS)


def _py_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise UnsupportedPlatform(
            "py-spy is not installed, which samples processes that run Python",
            hint="run: pip install 'pluginapi[profile]'",
        )
    return found


def _failed(pid: int, why: str) -> PluginError:
    return PluginError(
        f"process {pid} cannot be profiled: {why}",
        code="profile.failed",
        hint="profile as root, or as the user that the host runs as, while the plugin runs",
        pid=pid,
    )
