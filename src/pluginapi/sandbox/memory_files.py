"""Bytes that another process reads from memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

__all__ = ["memory_file"]


@contextlib.contextmanager
def memory_file(name: str, data: bytes) -> Iterator[int]:
    """Give the descriptor of a sealed memory file with this content; memfd_create(2)."""
    fd = os.memfd_create(f"pluginapi-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, data)
        fcntl.fcntl(
            fd,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL,
        )
        yield fd
    finally:
        os.close(fd)
