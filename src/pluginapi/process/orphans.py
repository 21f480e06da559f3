"""Whoever is left of a nursery that was killed, found by the mark in its environment."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from pathlib import Path
from typing import Final

__all__ = ["MARK", "end_orphans", "new_mark"]

MARK: Final = b"PLUGINAPI_NURSERY"
"""The variable; `src/_native/worker/nursery.c` hands it on to workers."""

_ROUNDS: Final = 20


def new_mark() -> bytes:
    """Return an environment entry that no other nursery has."""
    return MARK + b"=" + secrets.token_hex(8).encode()


def end_orphans(mark: bytes) -> int:
    """End every process that was started with a mark in its environment; return how many.

    The nursery ends whoever is below it, but not when it is itself killed: then processes that
    plugins have let go of belong to nobody. The kernel keeps the environment that a program was
    started with, and a fork has that of its parent, so daemons are found; a plugin that wants to
    hide can start a program with another environment, which only a PID namespace or a control group
    prevents. Looks again until none is found, since they may be forking.
    """
    ended = 0
    for _ in range(_ROUNDS):
        found = sum(_end(entry, mark) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        ended += found
        if not found:
            break
        time.sleep(0.005)
    return ended


def _end(entry: Path, mark: bytes) -> bool:
    if not _has(entry, mark):
        return False
    try:
        pidfd = os.pidfd_open(int(entry.name))
    except ProcessLookupError:
        return False
    try:
        # The number was this process's before the descriptor was: is it still?
        if not _has(entry, mark):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
    return True


def _has(entry: Path, mark: bytes) -> bool:
    try:
        environment = (entry / "environ").read_bytes()
    except OSError:
        # It is gone, or another user's, which no process of a nursery is.
        return False
    return mark in environment.split(b"\0")
