"""Run every example of the README and the documentation, page by page.

In a page, in order and in one empty directory:

* a block whose first line says ``file: NAME`` in a comment is written to that file;
* a ``python`` block without a file name is run as a script;
* a ``console`` block runs its ``$`` lines with bash; exported variables and the directory are kept
  for all that follows. A command must succeed, or say ``# exits N``; output shown below it must
  appear, where ``...`` stands for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^(?:#|//|/\*)\s*file:\s*(?P<name>\S+)(?:\s*\*/)?\s*$")
EXITS = re.compile(r"#\s*exits\s+(?P<code>\d+)\s*$")


@dataclass
class Block:
    language: str
    body: str
    line: int

    @property
    def file(self) -> str | None:
        match = FILE.match(self.body.split("\n", 1)[0])
        return match["name"] if match else None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        words = match["info"].strip().split()
        language = words[0] if words else ""
        if language == "{code-block}" and len(words) > 1:
            language = words[1]
        yield Block(language, match["body"], text.count("\n", 0, match.start()) + 1)


def test_the_pages_are_there() -> None:
    assert len(PAGES) > 5
    assert sum(1 for page in PAGES for block in blocks(page) if block.language == "console") > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    workdir.mkdir()
    shell = Shell(workdir, tmp_path / "environment")
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.file is not None:
            target = workdir / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.body)
        elif block.language == "python":
            shell.python(block.body, where)
        elif block.language == "console":
            for command, expected in commands(block.body):
                shell.run(command, expected, where)


def commands(body: str) -> Iterator[tuple[str, str]]:
    command: list[str] = []
    output: list[str] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            if command:
                yield "\n".join(command), "\n".join(output)
            command, output = [line[2:]], []
        elif command and command[-1].endswith("\\") and not output:
            command.append(line.removeprefix("> "))
        else:
            output.append(line)
    if command:
        yield "\n".join(command), "\n".join(output)


class Shell:
    def __init__(self, workdir: Path, state: Path) -> None:
        self.workdir = workdir
        self.state = state
        home = state.with_name("home")
        home.mkdir()
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "PLUGINAPI_SOURCE": str(ROOT),
            "COLUMNS": "200",
        }
        self.bash = shutil.which("bash")
        if self.bash is None:
            pytest.skip("the examples of the pages need bash")

    def python(self, source: str, where: str) -> None:
        script = self.workdir.parent / "example.py"
        script.write_text(source)
        command = shlex.join([sys.executable, "-W", "error", str(script)])
        self._bash(command, source, "", where, 0)

    def run(self, command: str, expected: str, where: str) -> None:
        match = EXITS.search(command)
        code = int(match["code"]) if match else 0
        self._bash(command, command, expected, where, code)

    def _bash(self, command: str, shown: str, expected: str, where: str, code: int) -> None:
        keep = f"trap 'code=$?; {{ pwd; export -p; }} > {self.state}; exit $code' EXIT\n"
        restore = ""
        if self.state.exists():
            restore = f'source <(tail -n +2 {self.state})\ncd "$(head -n 1 {self.state})"\n'
        script = restore + keep + command + "\n"
        assert self.bash is not None
        self._check([self.bash, "-c", script], shown, expected, where, code)

    def _check(self, argv: list[str], shown: str, expected: str, where: str, code: int) -> None:
        done = subprocess.run(
            argv,
            cwd=self.workdir,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        told = f"{where}\n$ {shown}\nexit code {done.returncode}\n{done.stdout}"
        assert done.returncode == code, told
        pattern = ".*".join(map(_spaced, expected.strip().split("...")))
        assert re.search(pattern, done.stdout, re.DOTALL), f"expected:\n{expected}\ngot: {told}"


def _spaced(text: str) -> str:
    """Match a text with white space of any length and kind where it has some."""
    return r"\s+".join(re.escape(word) for word in re.split(r"\s+", text))
