from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import threading
from pathlib import Path

import cryptography_vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import InvalidPlugin, IoError, PluginError
from pluginapi.security import hash_file, hash_files, sha3_512, sha3_512_many
from pluginapi.security.hashing import is_sha3_512

# FIPS 202 example value: SHA3-512 of the empty message.
EMPTY = (
    "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a6"
    "15b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26"
)


def nist_vectors(name: str) -> list[tuple[bytes, str]]:
    with cryptography_vectors.open_vector_file(f"hashes/SHA3/{name}", "r") as file:
        text = file.read()
    found = re.findall(r"Len = (\d+)\s+Msg = ([0-9a-f]+)\s+MD = ([0-9a-f]+)", text)
    return [(bytes.fromhex(msg)[: int(bits) // 8], digest) for bits, msg, digest in found]


@pytest.mark.parametrize("name", ["SHA3_512ShortMsg.rsp", "SHA3_512LongMsg.rsp"])
def test_nist_vectors(name: str) -> None:
    vectors = nist_vectors(name)
    assert len(vectors) >= 70
    for message, digest in vectors:
        assert sha3_512(message).hexdigest() == digest


def test_the_empty_message() -> None:
    assert sha3_512(b"").hexdigest() == EMPTY
    assert is_sha3_512(EMPTY)
    assert not is_sha3_512(EMPTY.upper())
    assert not is_sha3_512(EMPTY[:-1])
    assert not is_sha3_512(EMPTY + "\n")
    assert not is_sha3_512(None)


@given(st.binary(max_size=200))
def test_views_hash_as_bytes_do(data: bytes) -> None:
    assert sha3_512(memoryview(bytearray(data))).hexdigest() == sha3_512(data).hexdigest()


def test_a_file_is_hashed_whole_whichever_way_it_is_named(tmp_path: Path) -> None:
    data = os.urandom(1_000_003)
    path = tmp_path / "plugin.so"
    path.write_bytes(data)
    assert hash_file(path) == hash_file(str(path)) == sha3_512(data).hexdigest()
    with path.open("rb") as stream:
        stream.seek(17)
        assert hash_file(stream.fileno()) == sha3_512(data).hexdigest()
        assert stream.tell() == 17
        assert stream.read() == data[17:]


def refusal(file: str | os.PathLike[str] | int) -> PluginError:
    """Return the error of `hash_file`; `hash_files` gives the same one beside a sound file."""
    with pytest.raises(PluginError) as caught:
        hash_file(file)
    beside, same = hash_files([__file__, file])
    assert beside == hashlib.sha3_512(Path(__file__).read_bytes()).hexdigest()
    assert isinstance(same, PluginError)
    assert (type(same), same.to_dict()) == (type(caught.value), caught.value.to_dict())
    assert same.hint
    return caught.value


def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading, writing = os.pipe()
    for file in (tmp_path / "pipe", tmp_path, reading, "/dev/null"):
        error = refusal(file)
        assert isinstance(error, InvalidPlugin)
        assert error.code == "file.invalid"
    os.close(reading)
    os.close(writing)


def test_what_the_system_refuses_is_an_io_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for file, reason in (
        (tmp_path / "none.so", "No such file"),
        (loop, "symbolic links"),
        (1_000_000, "Bad file descriptor"),
        (-1, "Bad file descriptor"),
        ("a\0b", "null character"),
    ):
        error = refusal(file)
        assert isinstance(error, IoError)
        assert (error.code, reason in error.message) == ("io.failed", True)


@pytest.mark.parametrize("size", [9_000_000, 11_000_000], ids=["shrinks", "grows"])
def test_a_file_that_changes_while_it_is_read_has_no_hash(tmp_path: Path, size: int) -> None:
    path = tmp_path / "plugin.so"
    path.write_bytes(b"x" * 10_000_000)
    stop = threading.Event()

    def resize() -> None:
        with path.open("r+b") as stream:
            while not stop.is_set():
                stream.truncate(size)
                stream.truncate(10_000_000)

    thread = threading.Thread(target=resize)
    thread.start()
    try:
        results = (hash_files([path])[0] for _ in range(1000))
        error = next(result for result in results if isinstance(result, PluginError))
    finally:
        stop.set()
        thread.join()
    assert isinstance(error, InvalidPlugin)
    assert error.code == "file.changed"
    assert hash_file(path) == hashlib.sha3_512(path.read_bytes()).hexdigest()


def test_many_files_in_their_order_for_any_number_of_threads(tmp_path: Path) -> None:
    data = random.Random(1)
    paths = []
    for number in range(100):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(data.randbytes(data.choice([0, 72, 1000, 70_000, 150_000])))
    expected = [hashlib.sha3_512(path.read_bytes()).hexdigest() for path in paths]
    for threads in (None, 1, 2, 5, 1000):
        assert hash_files(paths, threads=threads) == expected
        assert sha3_512_many([p.read_bytes() for p in paths], threads=threads) == expected
    assert hash_files(iter(paths)) == expected
    assert hash_files([]) == sha3_512_many([]) == []
    with pytest.raises(ValueError, match="threads"):
        hash_files(paths, threads=0)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    before = len(list(Path("/dev/fd").iterdir()))
    hash_files([tmp_path / "file", tmp_path, tmp_path / "none"] * 20, threads=2)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_progress_adds_up_and_can_end_the_work(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_bytes(b"x" * 100_000)
    told: list[int] = []
    hash_files([*paths, tmp_path / "none"], progress=told.append)
    assert sum(told) == 20 * 100_000

    class Stop(Exception):
        pass

    def stop(_: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        hash_files(paths, progress=stop)
    with pytest.raises(Stop):
        hash_file(paths[0], progress=stop)


def test_a_signal_ends_the_work(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 40)  # Sparse: would take an hour.
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Stop):
            hash_file(path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
