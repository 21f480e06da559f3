"""Run Python in a process of its own, with system calls made by number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

__all__ = ["Ended", "run"]

_PRELUDE = """
import ctypes, errno, json, mmap, os, signal, sys, threading
from pluginapi.sandbox.seccomp import *
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_pid = os.getpid()
_rooms = []

def call(number, *arguments):
    "Make a system call; return its result, or the error as a negative number."
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(a) for a in arguments))
    return result if result != -1 else -ctypes.get_errno()

def tell(**facts):
    os.write(1, json.dumps(facts).encode() + b"\\n")

def i386(number):
    "Make a system call of the 32-bit ABI: push rbx; mov eax, number; int 0x80; pop rbx; ret."
    code = b"\\x53\\xb8" + number.to_bytes(4, "little") + b"\\xcd\\x80\\x5b\\xc3"
    room = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    room.write(code)
    _rooms.append((room, ctypes.c_char.from_buffer(room)))
    there = ctypes.addressof(_rooms[-1][1])
    return ctypes.CFUNCTYPE(ctypes.c_int)(there)
"""


@dataclass
class Ended:
    """How the process ended and what it told."""

    code: int
    told: dict[str, Any]
    error: str

    @property
    def by_sigsys(self) -> bool:
        return self.code == -signal.SIGSYS


def run(body: str, given: Any = None, *, main: bool = True) -> Ended:
    """Run a script after the prelude; `given` is what it was passed, `tell` what it answers.

    With `main` the fault of a script is the test's; a signal never is.
    """
    source = _PRELUDE + f"given = json.loads({json.dumps(json.dumps(given))})\n"
    source += textwrap.dedent(body)
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # It would write files where none may be.
    environment.pop("COVERAGE_PROCESS_START", None)
    done = subprocess.run(
        [sys.executable, "-c", source],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    told: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        told |= json.loads(line)
    if main and done.returncode > 0:
        raise AssertionError(done.stderr)
    return Ended(done.returncode, told, done.stderr)
