"""SHA3-512 through every compiled path: published vectors, hashlib, threads."""

from __future__ import annotations

import array
import copy
import hashlib
import mmap
import os
import pickle
import random
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from Crypto.Hash import SHA3_512
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pluginapi._native import _cpu, _sha3
from pluginapi._native._sha3 import BufferBatch, FileBatch, FileStatus, sha3_512

PATHS = range(_cpu.detected() + 1)
RATE = 72


@pytest.fixture(params=PATHS, ids=[_cpu.LEVELS[level] for level in PATHS])
def path(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run the test on each CPU level that this machine has."""
    _sha3._force_level(request.param)
    yield request.param
    _sha3._force_level(None)


# The fixture only chooses the code under test; it holds for all examples of one run.
every_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def reference(data: bytes) -> bytes:
    return hashlib.sha3_512(data).digest()


def many(buffers: list[Any], lanes: int = 8) -> list[bytes]:
    batch = BufferBatch(buffers)
    batch.run(lanes)
    return batch.digests()


def read_vectors(name: str) -> str:
    with cryptography_vectors.open_vector_file(f"hashes/SHA3/{name}", "r") as file:
        return str(file.read())


def nist_vectors(name: str) -> list[tuple[bytes, bytes]]:
    found = re.findall(r"Len = (\d+)\s+Msg = ([0-9a-f]+)\s+MD = ([0-9a-f]+)", read_vectors(name))
    return [(bytes.fromhex(msg)[: int(bits) // 8], bytes.fromhex(md)) for bits, msg, md in found]


def test_the_paths_are_those_of_the_level(path: int) -> None:
    assert _sha3.level() == path
    assert ("x8" in _sha3.paths()) == (path >= _cpu.LEVELS.index("avx512vl"))
    assert ("x4" in _sha3.paths()) == (path >= _cpu.LEVELS.index("avx2"))


def test_only_levels_of_this_machine_can_be_forced() -> None:
    for level in (-1, _cpu.detected() + 1, len(_cpu.LEVELS)):
        with pytest.raises(ValueError, match="no CPU level"):
            _sha3._force_level(level)


@pytest.mark.parametrize("name", ["SHA3_512ShortMsg.rsp", "SHA3_512LongMsg.rsp"])
def test_nist_messages(path: int, name: str) -> None:
    vectors = nist_vectors(name)
    assert len(vectors) >= 70
    for message, digest in vectors:
        assert sha3_512(message).digest() == _sha3.digest_of(message) == digest
    for lanes in range(1, 9):
        assert many([message for message, _ in vectors], lanes) == [md for _, md in vectors]


def test_nist_monte_carlo(path: int) -> None:
    text = read_vectors("SHA3_512Monte.rsp")
    seed = re.search(r"Seed = ([0-9a-f]+)", text)
    assert seed is not None
    expected = [bytes.fromhex(md) for md in re.findall(r"MD = ([0-9a-f]+)", text)]
    assert len(expected) == 100
    # SHA3VS, section 6.2.3: a thousand hashes between two checkpoints. In lanes, the same chain
    # runs eight times side by side.
    digest = bytes.fromhex(seed[1])
    digests = [digest] * 8
    for number, checkpoint in enumerate(expected):
        for _ in range(1000):
            digest = sha3_512(digest).digest()
        assert digest == checkpoint
        if number < 3:
            for _ in range(1000):
                digests = many(digests)
            assert digests == [checkpoint] * 8


def test_every_length(path: int) -> None:
    data = random.Random(1).randbytes(301)
    pieces = [data[:length] for length in range(301)]
    expected = [reference(piece) for piece in pieces]
    assert [sha3_512(piece).digest() for piece in pieces] == expected
    assert [_sha3.digest_of(piece) for piece in pieces] == expected
    assert many(pieces) == expected


def test_every_split_of_every_length(path: int) -> None:
    data = random.Random(2).randbytes(300)
    for length in range(301):
        expected = reference(data[:length])
        for at in range(length + 1):
            hashing = sha3_512(data[:at])
            hashing.update(data[at:length])
            assert hashing.digest() == expected


@every_path
@given(data=st.binary(max_size=5000) | st.integers(0, 100_000).map(bytes))
def test_pycryptodome_gives_the_same(path: int, data: bytes) -> None:
    expected = SHA3_512.new(data).digest()
    assert sha3_512(data).digest() == _sha3.digest_of(data) == expected
    assert many([data] * 5) == [expected] * 5


@every_path
@given(pieces=st.lists(st.binary(max_size=3000) | st.integers(0, 500).map(bytes), max_size=8))
def test_pieces_of_any_size(path: int, pieces: list[bytes]) -> None:
    ours, theirs = sha3_512(), hashlib.sha3_512()
    for piece in pieces:
        ours.update(piece)
        theirs.update(piece)
        assert ours.digest() == theirs.digest()
    assert ours.hexdigest() == theirs.hexdigest()


@every_path
@given(
    sizes=st.lists(st.integers(0, 2000) | st.sampled_from([0, 71, 72, 73, 144]), max_size=40),
    lanes=st.integers(1, 8),
    seed=st.integers(0, 2**32),
)
def test_many_buffers_of_any_sizes(path: int, sizes: list[int], lanes: int, seed: int) -> None:
    data = random.Random(seed)
    buffers = [data.randbytes(size) for size in sizes]
    assert many(buffers, lanes) == [reference(buffer) for buffer in buffers]


def test_large_messages_in_lanes(path: int) -> None:
    data = random.Random(3)
    buffers = [data.randbytes(size) for size in (1 << 20, 1 << 20, 300_001, 65_536, 1, 0)]
    assert many(buffers) == [reference(buffer) for buffer in buffers]


# The interface of hashlib


def test_the_names_of_hashlib() -> None:
    ours, theirs = sha3_512(), hashlib.sha3_512()
    assert (ours.name, ours.digest_size, ours.block_size) == (
        (theirs.name, theirs.digest_size, theirs.block_size)
    )
    assert sha3_512.block_size == RATE
    assert sha3_512(b"abc", usedforsecurity=False).hexdigest() == (
        hashlib.sha3_512(b"abc").hexdigest()
    )


def test_a_digest_ends_nothing_and_a_copy_is_independent() -> None:
    first = sha3_512(b"a" * 100)
    assert first.digest() == first.digest() == reference(b"a" * 100)
    second = first.copy()
    second.update(b"b")
    assert first.digest() == reference(b"a" * 100)
    assert second.digest() == reference(b"a" * 100 + b"b")
    third = second.copy()
    del first, second
    assert third.digest() == reference(b"a" * 100 + b"b")


def test_every_buffer_is_a_message(tmp_path: Path) -> None:
    data = bytes(range(256)) * 16
    (tmp_path / "file").write_bytes(data)
    with (
        (tmp_path / "file").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        views: list[Any] = [
            data,
            bytearray(data),
            memoryview(data),
            memoryview(data).cast("I"),
            array.array("Q", data),
            mapped,
        ]
        for view in views:
            assert sha3_512(view).digest() == _sha3.digest_of(view) == reference(data)
        assert many(views) == [reference(data)] * len(views)


@pytest.mark.parametrize("wrong", ["text", 7, object(), memoryview(b"abcd")[::2], [1, 2]])
def test_what_is_no_contiguous_buffer_is_refused(wrong: Any) -> None:
    hashing = sha3_512(b"before")
    for call in (hashing.update, sha3_512, _sha3.digest_of, lambda data: BufferBatch([data])):
        with pytest.raises((TypeError, BufferError)):
            call(wrong)
    assert hashing.digest() == reference(b"before")
    with pytest.raises(TypeError):
        sha3_512(b"", b"")  # type: ignore[arg-type, call-arg]
    with pytest.raises(TypeError):
        sha3_512(data=b"")  # type: ignore[call-arg]


def test_it_is_neither_pickled_nor_copied_by_the_copy_module() -> None:
    for change in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            change(sha3_512(b"x"))


def test_buffers_are_given_back() -> None:
    data = bytearray(5000)
    sha3_512(data).update(data)
    _sha3.digest_of(data)
    many([data, data])
    with pytest.raises(TypeError):
        BufferBatch([data, "text"])  # type: ignore[list-item]
    data.append(0)  # BufferError while a view of it exists.
    batch = BufferBatch([data])
    with pytest.raises(BufferError):
        data.append(0)
    del batch
    data.append(0)


def test_no_reference_is_kept() -> None:
    data = os.urandom(4096)
    batch = [data] * 10
    before = sys.getrefcount(data)
    for _ in range(50):
        sha3_512(data).digest()
        _sha3.digest_of(data)
        many(batch)
    assert sys.getrefcount(data) == before


# Threads


def test_one_object_in_many_threads_loses_nothing(path: int) -> None:
    # The same piece from everyone: every order of the updates gives the same message.
    small, large = b"s" * 999, b"s" * 9990
    hashing = sha3_512()
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait(20)
        for turn in range(50):
            hashing.update(small if (turn + number) % 3 else large)
            hashing.copy().digest()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    sizes = [999 if (turn + number) % 3 else 9990 for turn in range(50) for number in range(8)]
    assert hashing.digest() == reference(b"s" * sum(sizes))


def test_several_threads_share_a_batch(path: int) -> None:
    data = random.Random(4)
    buffers = [data.randbytes(data.randrange(20_000)) for _ in range(200)]
    batch = BufferBatch(buffers)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: batch.run(8), range(4)))
    assert batch.digests() == [reference(buffer) for buffer in buffers]


def test_a_batch_has_no_digests_before_it_ran() -> None:
    batch = BufferBatch([b"x"])
    with pytest.raises(RuntimeError):
        batch.digests()
    for lanes in (0, 9):
        with pytest.raises(ValueError, match="lanes"):
            batch.run(lanes)
    batch.run(1)
    assert batch.digests() == [reference(b"x")]
    batch.run(1)
    assert batch.digests() == [reference(b"x")]
    cancelled = BufferBatch([b"x"])
    cancelled.cancel()
    cancelled.run(1)
    with pytest.raises(RuntimeError):
        cancelled.digests()


# Files


def write_files(directory: Path, sizes: list[int]) -> list[bytes]:
    data = random.Random(5)
    names = []
    for number, size in enumerate(sizes):
        (directory / str(number)).write_bytes(data.randbytes(size))
        names.append(os.fsencode(directory / str(number)))
    return names


def test_many_files(path: int, tmp_path: Path) -> None:
    sizes = [0, 1, 71, 72, 73, 65_591, 65_592, 65_593, 131_184, 200_000, 1 << 20]
    sizes += [random.Random(6).randrange(30_000) for _ in range(60)]
    names = write_files(tmp_path, sizes)
    expected = [
        (FileStatus.HASHED, 0, reference(Path(os.fsdecode(name)).read_bytes())) for name in names
    ]
    for lanes in (1, 3, 8):
        batch = FileBatch([*names])
        assert batch.total_bytes == sum(sizes)
        batch.run(lanes)
        assert batch.results() == expected
        assert batch.bytes_read == sum(sizes)


def test_a_cancelled_batch_says_so_for_each_file(tmp_path: Path) -> None:
    names = write_files(tmp_path, [10, 20])
    batch = FileBatch([*names])
    batch.cancel()
    batch.run(8)
    assert [status for status, _, _ in batch.results()] == [FileStatus.REFUSED] * 2


def test_arguments_of_a_file_batch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="null byte"):
        FileBatch([b"a\0b"])
    with pytest.raises(TypeError):
        FileBatch(["text"])  # type: ignore[list-item]
    with pytest.raises(OverflowError):
        FileBatch([1 << 40])
    empty = FileBatch([])
    empty.run(8)
    assert empty.results() == []
    unhashed = FileBatch([os.fsencode(tmp_path)])
    with pytest.raises(RuntimeError):
        unhashed.results()
