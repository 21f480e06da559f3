"""SHA3-512 (FIPS 202) of data and of files: the identity of a plugin.

Many buffers or files are hashed at once, each in a lane of a wide register where the processor has
such: eight at the cost of less than two. ``pluginapi doctor`` shows what this machine uses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from pluginapi._native import _sha3
from pluginapi._native._sha3 import sha3_512
from pluginapi.errors import InvalidPlugin, IoError, PluginError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "SHA3_512_HEX_CHARS",
    "HashableFile",
    "HashingPool",
    "PendingHashes",
    "hash_file",
    "hash_files",
    "is_sha3_512",
    "sha3_512",
    "sha3_512_many",
]

HashableFile: TypeAlias = "str | os.PathLike[str] | int"
"""A path, or an open descriptor: it is read from its first byte, stays open, keeps its position."""

SHA3_512_HEX_CHARS: Final = 128
_HEX: Final = re.compile(r"[0-9a-f]{128}")
# Less work than this is done before a thread for it has started.
_BYTES_PER_THREAD: Final = 1024 * 1024
# More than this is hashed by another thread, so that this one can be interrupted.
_UNINTERRUPTED_BYTES: Final = 16 * 1024 * 1024
_PROGRESS_SECONDS: Final = 0.05


def is_sha3_512(text: object) -> bool:
    """Tell whether a value is a hash as `hash_file` writes it."""
    return isinstance(text, str) and _HEX.fullmatch(text) is not None


def sha3_512_many(buffers: Iterable[Buffer], *, threads: int | None = None) -> list[str]:
    """Return the SHA3-512 of each buffer, in their order, 128 lower-case hexadecimal digits each.

    The buffers must not change meanwhile. The interpreter lock is released.

    Args:
        buffers: Objects with a contiguous buffer: bytes, memory views, arrays.
        threads: How many threads hash; None takes as many as there are processors and work.
    """
    batch = _sha3.BufferBatch(given := list(buffers))
    _run(batch, len(given), threads)
    return [digest.hex() for digest in batch.digests()]


def hash_file(file: HashableFile, *, progress: Callable[[int], object] | None = None) -> str:
    """Return the SHA3-512 of a whole regular file, read in pieces of constant size.

    Args:
        file: A path or an open descriptor; see `HashableFile`.
        progress: Called now and then with the number of bytes read since it was called last.

    Raises:
        InvalidPlugin: With code ``file.invalid`` when it is not a regular file, ``file.changed``
            when it changed while it was read.
        IoError: When the operating system refuses to open or read it.
    """
    (result,) = hash_files([file], threads=1, progress=progress)
    if isinstance(result, PluginError):
        raise result
    return result


def hash_files(
    files: Iterable[HashableFile],
    *,
    threads: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[str | PluginError]:
    """Return for each file, in their order, its SHA3-512 or the error that `hash_file` raises.

    A file that cannot be hashed does not keep the others from it: tell by ``isinstance(result,
    PluginError)``. Each thread has at most eight files open, and reads each in pieces of 64 KiB;
    a file that shrinks or grows meanwhile is an error, never a hash of bytes it did not have.

    Args:
        files: Paths and open descriptors; see `HashableFile`.
        threads: How many threads hash; None takes as many as there are processors and work.
        progress: Called now and then, by the calling thread, with the number of bytes read since
            it was called last. What it raises ends the work and is raised.
    """
    given = list(files)
    names = [_name(file) for file in given]
    readable = [name for name in names if name is not None]
    batch = _sha3.FileBatch(readable)
    _run(batch, len(readable), threads, progress)
    found = iter(batch.results())
    return [
        _result(file, *next(found)) if name is not None else _null_in(file)
        for file, name in zip(given, names, strict=True)
    ]


def _name(file: HashableFile) -> bytes | int | None:
    if isinstance(file, int):
        return file
    name = os.fsencode(file)
    return None if b"\0" in name else name


def _result(
    file: HashableFile, status: _sha3.FileStatus, number: int, digest: bytes | None
) -> str | PluginError:
    if digest is not None:
        return digest.hex()
    what = f"descriptor {file}" if isinstance(file, int) else str(Path(file))
    if status is _sha3.FileStatus.NOT_REGULAR:
        return InvalidPlugin(f"{what} is not a regular file", hint="name a plugin file", path=what)
    if status is _sha3.FileStatus.CHANGED:
        return InvalidPlugin(
            f"{what} changed while it was read",
            code="file.changed",
            hint="wait until it is written, or install it by renaming a finished file into place",
            path=what,
        )
    refusal = OSError(number, os.strerror(number), what)
    error = IoError(
        f"{what} cannot be hashed: {refusal.strerror}",
        hint="check that the file exists and that this user may read it",
        path=what,
    )
    error.__cause__ = refusal
    return error


def _null_in(file: HashableFile) -> IoError:
    return IoError(
        f"the path {str(file)!r} holds a null character, which no path can",
        hint="check the path",
        path=str(file),
    )


def _run(
    batch: _sha3.BufferBatch | _sha3.FileBatch,
    count: int,
    wanted: int | None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Hash a batch: a small one in this thread, unless something is to be told meanwhile."""
    threads = _threads(wanted, count, batch.total_bytes)
    lanes = min(_sha3.MAX_LANES, max(1, -(-count // threads)))
    if threads == 1 and progress is None and batch.total_bytes <= _UNINTERRUPTED_BYTES:
        batch.run(lanes)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="pluginapi-hash") as pool:
        try:
            runs = [pool.submit(batch.run, lanes) for _ in range(threads)]
            told = 0
            pending = set(runs)
            while pending:
                pending = wait(pending, None if progress is None else _PROGRESS_SECONDS).not_done
                if progress is not None and isinstance(batch, _sha3.FileBatch):
                    now = batch.bytes_read
                    progress(now - told)
                    told = now
        except BaseException:
            batch.cancel()
            raise
    for run in runs:
        run.result()


class PendingHashes:
    """The hashes of some buffers, which other threads are at."""

    def __init__(self, buffers: Iterable[Buffer], pool: ThreadPoolExecutor, threads: int) -> None:
        given = list(buffers)
        batch = _sha3.BufferBatch(given)
        self._batch: _sha3.BufferBatch | None = batch
        self._digests: list[str] = []
        self._lanes = min(_sha3.MAX_LANES, max(1, -(-len(given) // threads)))
        # The thread that waits for a large batch must stay interruptible, so it does not help.
        self._helps = batch.total_bytes <= _UNINTERRUPTED_BYTES
        others = threads - 1 if self._helps else threads
        self._runs = [pool.submit(batch.run, self._lanes) for _ in range(others)]

    def result(self) -> list[str]:
        """Return the hashes in the order of the buffers; until they are there, help with them.

        The buffers are let go.
        """
        if self._batch is not None:
            if self._helps:
                self._batch.run(self._lanes)
            for run in self._runs:
                run.result()
            self._digests = [digest.hex() for digest in self._batch.digests()]
            self._batch = None
        return self._digests

    def cancel(self) -> None:
        """Let the threads end after the buffers that they are at."""
        if self._batch is not None:
            self._batch.cancel()


class HashingPool:
    """Hash buffers in other threads while the calling thread does something else.

    Use it as a context manager: at its end, what was begun and not asked for is given up.

    Args:
        threads: How many threads hash, the calling one included while it waits; None takes as
            many as there are processors.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = _processors() if threads is None else threads
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="pluginapi-hash")
        self._begun: list[PendingHashes] = []

    def begin(self, buffers: Iterable[Buffer]) -> PendingHashes:
        """Begin to hash buffers, which must not change until `PendingHashes.result` returned."""
        pending = PendingHashes(buffers, self._pool, self._threads)
        # Two are enough to keep all threads busy; whoever begins more asks for the first before.
        self._begun = [*self._begun[-1:], pending]
        return pending

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pending in self._begun:
            pending.cancel()
        self._pool.shutdown()


def _threads(wanted: int | None, count: int, total_bytes: int) -> int:
    if wanted is None:
        wanted = min(_processors(), total_bytes // _BYTES_PER_THREAD)
    elif wanted < 1:
        raise ValueError(f"threads is {wanted}, not at least 1")
    return max(1, min(wanted, count))


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
