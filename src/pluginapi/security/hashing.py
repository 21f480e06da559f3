"""SHA3-512 (FIPS 202) of data and of files: the identity of a plugin."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pluginapi.errors import InvalidPlugin, IoError

__all__ = ["SHA3_512_HEX_CHARS", "hash_file", "is_sha3_512", "sha3_512"]

SHA3_512_HEX_CHARS: Final = 128
_HEX: Final = re.compile(r"[0-9a-f]{128}")
_PIECE_BYTES: Final = 1024 * 1024
_OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def sha3_512(data: bytes | bytearray | memoryview) -> str:
    """Return the SHA3-512 of the data as 128 lower-case hexadecimal digits."""
    return hashlib.sha3_512(data).hexdigest()


def is_sha3_512(text: object) -> bool:
    """Tell whether a value is a hash as `sha3_512` writes it."""
    return isinstance(text, str) and _HEX.fullmatch(text) is not None


def hash_file(
    file: str | os.PathLike[str] | int, *, progress: Callable[[int], object] | None = None
) -> str:
    """Return the SHA3-512 of a whole regular file, read in pieces of constant size.

    Args:
        file: A path, or an open descriptor: it is read from its first byte, whatever its
            position, and stays open with its position at the end.
        progress: Called after each piece with its number of bytes.

    Raises:
        InvalidPlugin: With code ``file.invalid`` when it is not a regular file.
        IoError: When the operating system refuses to open or read it.
    """
    what = f"descriptor {file}" if isinstance(file, int) else str(Path(file))
    try:
        if isinstance(file, int):
            return _hash_descriptor(file, what, progress)
        descriptor = os.open(file, _OPEN_FLAGS)
        try:
            return _hash_descriptor(descriptor, what, progress)
        finally:
            os.close(descriptor)
    except OSError as err:
        raise IoError(
            f"{what} cannot be hashed: {err.strerror}",
            hint="check that the file exists and that this user may read it",
            path=what,
        ) from err


def _hash_descriptor(descriptor: int, what: str, progress: Callable[[int], object] | None) -> str:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise InvalidPlugin(f"{what} is not a regular file", hint="name a plugin file", path=what)
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
        if progress is None:
            return hashlib.file_digest(stream, "sha3_512").hexdigest()
        digest = hashlib.sha3_512()
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
            progress(len(piece))
        return digest.hexdigest()
