"""mypy and pyright agree with what test_hook_types.py states, and find what it says is wrong.

Pyright runs as basedpyright, which brings its own Node, in pyright's "standard" mode.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STATED = Path(__file__).with_name("test_hook_types.py")

# Each is one mistake that a checker must find, with the line that makes it.
MISTAKES = """\
from pluginapi import ContextKey, Hook, HookMode, HookRegistry, PluginContext

hook = HookRegistry().define("h", int, str, mode=HookMode.COLLECT)
key = ContextKey("k", int)
context = PluginContext()
hook.call("text")
answer: list[int] = hook.call(1)
hook.subset().call(2.5)
narrower: Hook[object, list[str]] = hook
text: str = context[key]
context.set(key, "text")
context[key] = None
"""
FIRST_MISTAKE = 6
LINES = set(range(FIRST_MISTAKE, len(MISTAKES.splitlines()) + 1))


def mypy(*files: Path, cache: Path) -> list[int]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--output", "json"),
            *(
                "--config-file",
                "",
                "--cache-dir",
                cache,
                "--enable-error-code",
                "ignore-without-code",
            ),
            *files,
        ],
        cwd=cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(item["line"] for item in found if item["severity"] == "error")


def pyright(*files: Path, cache: Path) -> list[int]:
    settings: dict[str, Any] = {
        "include": [str(file) for file in files],
        "typeCheckingMode": "standard",
        "reportUnnecessaryTypeIgnoreComment": "error",
        "enableTypeIgnoreComments": True,
        "pythonVersion": "3.11",
    }
    project = cache / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "basedpyright", "--outputjson"),
            *("--project", project, "--pythonpath", sys.executable),
        ],
        cwd=cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    return sorted(
        item["range"]["start"]["line"] + 1
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    )


@pytest.mark.parametrize("check", [mypy, pyright])
def test_the_checker_agrees_with_what_is_stated(check: Any, tmp_path: Path) -> None:
    assert check(STATED, cache=tmp_path) == []


@pytest.mark.parametrize("check", [mypy, pyright])
def test_the_checker_finds_every_mistake(check: Any, tmp_path: Path) -> None:
    mistakes = tmp_path / "mistakes.py"
    mistakes.write_text(MISTAKES)
    assert set(check(mistakes, cache=tmp_path)) == LINES
