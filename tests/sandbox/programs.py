"""Python programs that tests start, to have done to them what a process cannot take back."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import traceback
from typing import Any


def run_program(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter; in the virtual machine of `make test-vm`, in a fork.

    There, an interpreter takes seconds to import the library.
    """
    command = [sys.executable, "-c", source, *arguments]
    if "PLUGINAPI_VM" in os.environ:
        return _forked(command)
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _forked(command: list[str]) -> subprocess.CompletedProcess[str]:
    with (
        os.fdopen(os.memfd_create("out"), "r") as out,
        os.fdopen(os.memfd_create("err"), "r") as err,
    ):
        pid = os.fork()
        if pid == 0:
            os._exit(_run(command, out.fileno(), err.fileno()))
        _, status = os.waitpid(pid, 0)
        for each in (out, err):
            each.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def _run(command: list[str], out: int, err: int) -> int:
    try:
        for number, fd in enumerate((out, err), 1):
            os.dup2(fd, number)
        # pytest has others of its own.
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        faulthandler.disable()
        sys.argv = ["-c", *command[3:]]
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(command[2], "<program>", "exec"), names)  # noqa: S102
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - as an interpreter would
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0
