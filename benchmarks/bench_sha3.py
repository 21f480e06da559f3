"""SHA3-512 through every compiled path against hashlib.

Pin the process for the figures of one core: `taskset -c 1 python -m pytest -p racing
benchmarks/bench_sha3.py`. The race between one and two threads needs two processors.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from levels import at_every_level, use
from racing import Race

from pluginapi._native import _sha3
from pluginapi.security import hash_files, sha3_512, sha3_512_many

FILES = 256
KIB = 1024


@pytest.fixture(autouse=True)
def _own_level() -> Any:
    yield
    use(_sha3, None)


@pytest.mark.parametrize("size", [64 * KIB, 1024 * KIB], ids=["64KiB", "1MiB"])
def test_one_stream(race: Race, size: int) -> None:
    data = os.urandom(size)
    assert sha3_512(data).digest() == hashlib.sha3_512(data).digest()
    race(
        f"one message of {size // KIB} KiB",
        "hashlib",
        {
            "hashlib": lambda: hashlib.sha3_512(data).digest(),
            **at_every_level(_sha3, lambda: sha3_512(data).digest()),
        },
        clock=time.process_time,
    )


@pytest.mark.parametrize("size", [64 * KIB, 4 * KIB], ids=["64KiB", "4KiB"])
def test_many_buffers(race: Race, size: int) -> None:
    buffers = [os.urandom(size) for _ in range(FILES)]
    race(
        f"{FILES} buffers of {size // KIB} KiB, one thread",
        "hashlib one after the other",
        {
            "hashlib one after the other": lambda: [
                hashlib.sha3_512(buffer).hexdigest() for buffer in buffers
            ],
            **at_every_level(_sha3, lambda: sha3_512_many(buffers, threads=1)),
        },
        clock=time.process_time,
    )


def _write(directory: Path, sizes: list[int]) -> list[Path]:
    paths = []
    for number, size in enumerate(sizes):
        paths.append(directory / str(number))
        paths[-1].write_bytes(os.urandom(size))
    return paths


@pytest.mark.parametrize("mixed", [False, True], ids=["equal", "mixed"])
def test_many_files(race: Race, tmp_path: Path, mixed: bool) -> None:
    sizes = [4 * KIB << number % 8 if mixed else 64 * KIB for number in range(FILES)]
    paths = _write(tmp_path, sizes)
    race(
        f"{FILES} files of {'4 to 512' if mixed else '64'} KiB in the page cache, one thread",
        "hashlib one after the other",
        {
            "hashlib one after the other": lambda: [
                hashlib.sha3_512(path.read_bytes()).hexdigest() for path in paths
            ],
            **at_every_level(_sha3, lambda: hash_files(paths, threads=1)),
        },
        clock=time.process_time,
    )


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="two threads need two processors: do not pin"
)
def test_two_threads(race: Race, tmp_path: Path) -> None:
    buffers = [os.urandom(64 * KIB) for _ in range(4 * FILES)]
    race(
        f"{4 * FILES} buffers of 64 KiB by two threads",
        "one thread",
        {
            "one thread": lambda: sha3_512_many(buffers, threads=1),
            "two threads": lambda: sha3_512_many(buffers, threads=2),
        },
    )
    paths = _write(tmp_path, [64 * KIB] * 4 * FILES)
    race(
        f"{4 * FILES} files of 64 KiB in the page cache by two threads",
        "one thread",
        {
            "one thread": lambda: hash_files(paths, threads=1),
            "two threads": lambda: hash_files(paths, threads=2),
        },
    )


def test_a_short_message(race: Race) -> None:
    data = os.urandom(64)
    race(
        "one message of 64 bytes: construct and digest",
        "hashlib",
        {
            "hashlib": lambda: hashlib.sha3_512(data).digest(),
            "pluginapi sha3_512": lambda: sha3_512(data).digest(),
            "pluginapi digest_of (private)": lambda: _sha3.digest_of(data),
        },
        clock=time.process_time,
    )
