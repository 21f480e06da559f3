"""Reading and searching natively gives what Python gives, whatever lies there."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi._native import _reading
from pluginapi.errors import PluginError
from pluginapi.reading import (
    MAX_ENVELOPE_BYTES,
    NativeReader,
    PythonReader,
    ReadFile,
    make_reader,
    read_file,
)

LIMIT = 10_000
ENOUGH = 1 << 20
# The errors that a place in `hostile` must give; None for those that can be read.
CODES: dict[str, str | None] = {
    "plain.so": None,
    "signed.so": None,
    "linked.so": None,
    "at-the-limit.so": None,
    "one-byte.so": None,
    "of-links.so": None,
    "a\udcff\n .so": None,
    "empty.so": "file.empty",
    "too-large.so": "file.too_large",
    "sparse.so": "file.too_large",
    "directory.so": "file.not_regular",
    "pipe.so": "file.not_regular",
    "socket.so": "file.not_regular",
    "device.so": "file.not_regular",
    "missing.so": "file.not_found",
    "dangling.so": "file.not_found",
    "plain.so/inside.so": "file.not_found",
    "loop.so": "io.failed",
    "null\0.so": "io.failed",
    "\ud800.so": "io.failed",
    "n" * 300 + ".so": "io.failed",
    "signature-empty.so": "file.envelope",
    "signature-large.so": "file.envelope",
    "signature-directory.so": "file.envelope",
    "signature-pipe.so": "file.envelope",
    "signature-loop.so": "io.failed",
    "signature-dangling.so": None,
    "n" * 252 + ".so": "io.failed",  # The name of its signature file is too long.
}


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[list[str]]:
    """Make a file of every kind; return the places in the order of CODES."""
    for name, size in {
        "plain.so": 5000,
        "signed.so": 5000,
        "at-the-limit.so": LIMIT,
        "one-byte.so": 1,
        "a\udcff\n .so": 100,
        "empty.so": 0,
        "too-large.so": LIMIT + 1,
        "n" * 252 + ".so": 10,
    }.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    (tmp_path / "signed.so.sig").write_bytes(b"signature")
    (tmp_path / "at-the-limit.so.sig").write_bytes(b"s" * MAX_ENVELOPE_BYTES)
    (tmp_path / "linked.so").symlink_to("signed.so")
    (tmp_path / "of-links.so").symlink_to("linked.so")
    (tmp_path / "of-links.so.sig").symlink_to("signed.so.sig")
    (tmp_path / "sparse.so").touch()
    os.truncate(tmp_path / "sparse.so", 1 << 40)
    (tmp_path / "directory.so").mkdir()
    os.mkfifo(tmp_path / "pipe.so")
    (tmp_path / "device.so").symlink_to("/dev/zero")
    (tmp_path / "dangling.so").symlink_to("nothing")
    (tmp_path / "loop.so").symlink_to("loop.so")
    for what in ("empty", "large", "directory", "pipe", "loop", "dangling"):
        (tmp_path / f"signature-{what}.so").write_bytes(b"plugin")
    (tmp_path / "signature-empty.so.sig").touch()
    (tmp_path / "signature-large.so.sig").write_bytes(b"s" * (MAX_ENVELOPE_BYTES + 1))
    (tmp_path / "signature-directory.so.sig").mkdir()
    os.mkfifo(tmp_path / "signature-pipe.so.sig")
    (tmp_path / "signature-loop.so.sig").symlink_to("signature-loop.so.sig")
    (tmp_path / "signature-dangling.so.sig").symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # The path of a socket must be short.
        try:
            server.bind("socket.so")
        finally:
            os.chdir(here)
        yield [f"{tmp_path}/{name}" for name in CODES]


def shown(result: ReadFile | PluginError) -> object:
    if isinstance(result, PluginError):
        cause = result.__cause__
        return type(result), result.to_dict(), type(cause), str(cause)
    return bytes(result.data), result.modified, result.envelope


def test_both_readers_give_the_same(hostile: list[str]) -> None:
    native = NativeReader().read(hostile, LIMIT, ENOUGH)
    python = PythonReader().read(hostile, LIMIT, ENOUGH)
    assert [shown(result) for result in native] == [shown(result) for result in python]
    codes = [item.code if isinstance(item, PluginError) else None for item in native]
    assert dict(zip(CODES, codes, strict=True)) == CODES


def test_what_is_read_is_what_lies_there(hostile: list[str]) -> None:
    read = NativeReader().read(hostile, LIMIT, ENOUGH)
    for place, result in zip(hostile, read, strict=True):
        if isinstance(result, ReadFile):
            path = Path(place)
            assert bytes(result.data) == path.read_bytes()
            assert result.modified == path.stat().st_mtime
            signature = path.with_name(f"{path.name}.sig")
            assert result.envelope == (signature.read_bytes() if signature.exists() else None)


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.so"
    path.write_bytes(b"x")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # The superuser reads everything.
        os.seteuid(65534)
    try:
        (native,) = NativeReader().read([str(path)], LIMIT, ENOUGH)
        (python,) = PythonReader().read([str(path)], LIMIT, ENOUGH)
    finally:
        os.seteuid(user)
    assert isinstance(native, PluginError)
    assert native.code == "io.failed"
    assert "ermission denied" in native.message
    assert shown(native) == shown(python)


@pytest.mark.parametrize("enough", [1, 5001, 12_000, 40_000, ENOUGH])
def test_both_stop_at_the_same_file(hostile: list[str], enough: int) -> None:
    left = hostile
    while left:
        read = NativeReader().read(left, LIMIT, enough)
        assert 1 <= len(read) <= len(left)
        # The native one counts what lies between files, to the next cache line, as well.
        assert len(read) <= len(PythonReader().read(left, LIMIT, enough))
        left = left[len(read) :]
    assert NativeReader().read([], LIMIT, enough) == []


def test_no_descriptor_stays_open(hostile: list[str]) -> None:
    before = descriptors()
    for _ in range(3):
        NativeReader().read(hostile, LIMIT, ENOUGH)
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_that_keeps_changing_is_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "changing.so"
    # Each in one page: a longer write grows the file page by page, and a length between is a whole
    # file too as long as the writer is held up there.
    states = [bytes([65 + number]) * (1000 + 700 * number) for number in range(4)]
    path.write_bytes(states[0])
    done = threading.Event()

    def change() -> None:
        number = 0
        while not done.is_set():
            number += 1
            with path.open("r+b", buffering=0) as file:
                file.truncate(0)
                file.write(states[number % 4])

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for reader in (NativeReader(), PythonReader()):
            for _ in range(300):
                (result,) = reader.read([str(path)], LIMIT, ENOUGH)
                if isinstance(result, PluginError):
                    assert result.code in {"file.changed", "file.empty"}
                else:
                    # A rewriting in one tick of the clock and of the same size shows in no time.
                    assert len(result.data) in {len(state) for state in states}
                del result
    finally:
        done.set()
        thread.join()


def test_memory_is_used_again_when_nothing_views_it(tmp_path: Path) -> None:
    path = tmp_path / "p.so"
    path.write_bytes(b"first")
    arena = _reading.Arena()
    data = view(arena, path)
    assert bytes(data) == b"first"
    assert data.readonly
    part = data[1:3]
    del data
    with pytest.raises(BufferError, match="still viewed"):
        view(arena, path)
    assert bytes(part) == b"ir"
    del part
    path.write_bytes(b"second one")
    data = view(arena, path)
    del arena
    gc.collect()
    assert bytes(data) == b"second one"


def view(arena: _reading.Arena, path: Path) -> memoryview:
    (found,) = arena.read([str(path)], LIMIT, LIMIT, ENOUGH)
    data = found[2]
    assert data is not None
    assert arena.is_viewed
    return data


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="AddressSanitizer keeps what is freed, to notice when it is used again",
)
def test_large_files_leave_no_memory_behind(tmp_path: Path) -> None:
    small, large = tmp_path / "small.so", tmp_path / "large.so"
    small.write_bytes(b"x")
    large.touch()
    os.truncate(large, 64 << 20)
    reader = NativeReader()
    before = resident()
    reader.read([str(large)], 1 << 30, ENOUGH)
    assert resident() - before > 60 << 20
    reader.read([str(small)], 1 << 30, ENOUGH)
    assert resident() - before < 8 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_platform_reads_with_one_of_them() -> None:
    assert isinstance(make_reader(), NativeReader if os.name == "posix" else PythonReader)


def test_one_file_is_read_as_many(hostile: list[str]) -> None:
    for place, result in zip(hostile, NativeReader().read(hostile, LIMIT, ENOUGH), strict=True):
        try:
            alone: ReadFile | PluginError = read_file(place, LIMIT)
        except PluginError as err:
            alone = err
        assert shown(alone) == shown(result)


@given(
    st.binary(max_size=400) | st.lists(st.sampled_from([b"ab", b"aab", b"x" * 130])).map(b"".join),
    st.binary(min_size=1, max_size=20) | st.sampled_from([b"a", b"ab", b"aa", b"abaab", b"x" * 16]),
    st.integers(0, 500),
)
def test_search_finds_what_bytes_find(data: bytes, needle: bytes, start: int) -> None:
    assert _reading.find(data, needle, start) == data.find(needle, start)
    view = memoryview(b"#" + data)[1:]
    assert _reading.find(view, needle) == data.find(needle)
    whole = data + needle + data
    assert _reading.find(whole, needle, start) == whole.find(needle, start)


def test_search_refuses_what_it_cannot_answer() -> None:
    with pytest.raises(ValueError, match="empty needle"):
        _reading.find(b"x", b"")
    with pytest.raises(ValueError, match="negative start"):
        _reading.find(b"x", b"x", -1)
    with pytest.raises(TypeError):
        _reading.find(b"x", None)  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        _reading.find(memoryview(b"abcd")[::2], b"x")
