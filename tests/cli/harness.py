"""Runs the command line: in this process for breadth, as the installed command for the rest."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pluginapi.cli import main
from support import Forge

INSTALLED = Path(sys.executable).with_name("pluginapi")
TRUST_KEY_HEX = bytes(range(32)).hex()


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    def error(self) -> dict[str, Any]:
        """The error object of a command that was asked for JSON and refused."""
        assert self.code != 0
        error = self.json()["error"]
        assert isinstance(error, dict)
        return error


class Cli:
    """The command line over one forge, in its directory."""

    def __init__(self, forge: Forge, capsys: pytest.CaptureFixture[str]) -> None:
        self.forge = forge
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Done:
        self._capsys.readouterr()
        environment = dict(os.environ)
        code = main([str(argument) for argument in arguments])
        # `run` takes secrets out of the environment; the next call is a new process's.
        os.environ.update(environment)
        out, err = self._capsys.readouterr()
        return Done(code, out, err)

    @property
    def trust(self) -> tuple[str, ...]:
        """The options that open the forge's trust list; its key is in the environment."""
        forge = self.forge
        return ("--trust-list", str(forge.trust_list_path), "--state-dir", str(forge.state_dir))

    def public_key(self) -> Path:
        path = self.forge.root / "forge.pub"
        if not path.exists():
            self.forge.key.public_key.save(path)
        return path

    def private_key(self) -> Path:
        path = self.forge.root / "forge.key"
        if not path.exists():
            self.forge.key.save(path, unencrypted=True)
        return path


def installed(
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    stdin: str = "",
) -> Done:
    """Run the installed command with no terminal anywhere."""
    done = subprocess.run(
        [INSTALLED, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        env={**os.environ, **(environment or {})},
        cwd=cwd,
        pass_fds=pass_fds,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def on_terminal(
    *arguments: object,
    answers: Sequence[str] = (),
    presses: Sequence[tuple[str, str]] = (),
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Done:
    """Run the installed command on a pseudo-terminal.

    Answer each prompt that ends in a colon, and press each key once its text has been shown.
    """
    pid, master = pty.fork()
    if pid == 0:
        try:
            if cwd is not None:
                os.chdir(cwd)
            values = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
            values.pop("NO_COLOR", None)
            values.update(environment or {})
            os.execve(INSTALLED, [str(INSTALLED), *map(str, arguments)], values)
        finally:
            os._exit(127)
    seen = bytearray()
    waiting = list(answers)
    to_press = list(presses)
    answered_at = 0
    while select.select([master], [], [], 60)[0]:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
        if waiting and seen[answered_at:].rstrip().endswith(b":"):
            answered_at = len(seen)
            os.write(master, waiting.pop(0).encode() + b"\n")
        if to_press and to_press[0][0].encode() in seen:
            os.write(master, to_press.pop(0)[1].encode())
    os.close(master)
    _, status = os.waitpid(pid, 0)
    return Done(os.waitstatus_to_exitcode(status), seen.decode(errors="backslashreplace"), "")
