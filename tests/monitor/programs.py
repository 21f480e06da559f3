"""Processes to be measured: real ones, that do what they are told."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

__all__ = ["Program", "run_program"]

_LOOP = """
import ctypes, os, socket, sys, threading, time
kept = []
print("ready", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Program:
    """A Python process that runs one line after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def do(self, line: str) -> None:
        """Run a line in it, and wait until that is done."""
        self.tell(line)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n"

    def tell(self, line: str) -> None:
        """Run a line in it, and do not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


@contextlib.contextmanager
def run_program() -> Iterator[Program]:
    """Run one, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _LOOP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield Program(process)
        finally:
            process.kill()
