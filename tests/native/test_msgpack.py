"""The msgpack reader and writer for plugin authors, against msgspec and under sanitizers."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.support import HARNESS, INCLUDE, STRICT, Native

if TYPE_CHECKING:
    from pathlib import Path

BAD_ARG, LIMIT, NOT_FOUND = -2, -5, -11


class Harness:
    """Call the C functions with bytes."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        for name in ("reencode", "skip", "find", "typed"):
            getattr(library, name).restype = ctypes.c_long

    def reencode(self, data: bytes, capacity: int = 1 << 16) -> bytes | int:
        output = ctypes.create_string_buffer(capacity)
        size = self.library.reencode(
            data, ctypes.c_size_t(len(data)), output, ctypes.c_size_t(capacity)
        )
        return output.raw[:size] if size >= 0 else int(size)

    def skip(self, data: bytes) -> int:
        return int(self.library.skip(data, ctypes.c_size_t(len(data))))

    def find(self, data: bytes, key: str) -> int:
        name = key.encode()
        return int(
            self.library.find(data, ctypes.c_size_t(len(data)), name, ctypes.c_size_t(len(name)))
        )

    def typed(self, data: bytes) -> int:
        return int(self.library.typed(data, ctypes.c_size_t(len(data))))


@pytest.fixture(scope="session")
def harness(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    native = Native(tmp_path_factory.mktemp("harness"))
    return Harness(ctypes.CDLL(str(native.compile(HARNESS / "msgpack_harness.c"))))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary(max_size=20)),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)


@given(value=VALUES)
def test_what_msgspec_writes_is_written_again_the_same(harness: Harness, value: Any) -> None:
    data = msgspec.msgpack.encode(value)
    assert harness.reencode(data) == data
    assert harness.skip(data + b"\xc1") == len(data)


@given(value=VALUES, cut=st.integers(1, 50))
def test_what_is_cut_off_is_refused(harness: Harness, value: Any, cut: int) -> None:
    data = msgspec.msgpack.encode(value)
    shorter = data[: max(0, len(data) - cut)]
    assert harness.skip(shorter) == BAD_ARG


@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_are_judged_as_msgspec_judges_them(harness: Harness, data: bytes) -> None:
    size = harness.skip(data)
    try:
        msgspec.msgpack.decode(data[: size if size >= 0 else None], type=msgspec.Raw)
    except msgspec.DecodeError:
        assert size == BAD_ARG
    else:
        assert size > 0
    harness.typed(data)
    harness.find(data, "key")


# One line for each format of the specification, with the shortest form that holds the value.
@pytest.mark.parametrize(
    ("data", "again"),
    [
        (b"\xcc\x05", b"\x05"),
        (b"\xcd\x00\xff", b"\xcc\xff"),
        (b"\xce\x00\x00\xff\xff", b"\xcd\xff\xff"),
        (b"\xcf" + b"\xff" * 8, b"\xcf" + b"\xff" * 8),
        (b"\xd0\x05", b"\x05"),
        (b"\xd0\xff", b"\xff"),
        (b"\xd1\xff\x80", b"\xd0\x80"),
        (b"\xd2\xff\xff\x80\x00", b"\xd1\x80\x00"),
        (b"\xd3\x80" + b"\x00" * 7, b"\xd3\x80" + b"\x00" * 7),
        (b"\xd3\x7f" + b"\xff" * 7, b"\xcf\x7f" + b"\xff" * 7),
        (b"\xca" + struct.pack(">f", 1.5), b"\xcb" + struct.pack(">d", 1.5)),
        (b"\xd9\x01x", b"\xa1x"),
        (b"\xda\x00\x01x", b"\xa1x"),
        (b"\xdb\x00\x00\x00\x01x", b"\xa1x"),
        (b"\xc5\x00\x01x", b"\xc4\x01x"),
        (b"\xc6\x00\x00\x00\x01x", b"\xc4\x01x"),
        (b"\xdc\x00\x01\x01", b"\x91\x01"),
        (b"\xdd\x00\x00\x00\x01\x01", b"\x91\x01"),
        (b"\xde\x00\x01\x01\x02", b"\x81\x01\x02"),
        (b"\xdf\x00\x00\x00\x01\x01\x02", b"\x81\x01\x02"),
        (b"\xd4\x80x", b"\xd4\x80x"),
        (b"\xc7\x01\x80x", b"\xd4\x80x"),
        (b"\xc8\x00\x03\x01xyz", b"\xc7\x03\x01xyz"),
        (b"\xc9\x00\x00\x00\x00\x01", b"\xc7\x00\x01"),
    ],
)
def test_every_format(harness: Harness, data: bytes, again: bytes) -> None:
    assert harness.reencode(data) == again
    for size in range(len(data)):
        assert harness.skip(data[:size]) == BAD_ARG


@pytest.mark.parametrize("size", [31, 32, 255, 256, 65_535, 65_536])
def test_lengths_at_the_edges(harness: Harness, size: int) -> None:
    for value in ("x" * size, b"x" * size, [None] * size, dict.fromkeys(range(size))):
        data = msgspec.msgpack.encode(value)
        assert harness.reencode(data, 1 << 20) == data


def test_announced_counts_are_bounded_by_what_is_there(harness: Harness) -> None:
    assert harness.reencode(b"\xdd\xff\xff\xff\xff\x00") == BAD_ARG
    assert harness.reencode(b"\xdf\x80\x00\x00\x00\x00") == BAD_ARG
    assert harness.skip(b"\x91" * 100_000 + b"\x00") == 100_001
    assert harness.skip(b"\x91" * 100_000) == BAD_ARG


def test_a_refused_write_is_the_writers_status(harness: Harness) -> None:
    assert harness.reencode(msgspec.msgpack.encode("x" * 100), 100) == LIMIT


def test_find(harness: Harness) -> None:
    data = msgspec.msgpack.encode({"a": [1, {"b": 2}], "b": 3})
    assert data[harness.find(data, "b")] == 3
    assert harness.find(data, "c") == NOT_FOUND
    assert harness.find(b"\x93abc", "a") == NOT_FOUND
    assert harness.find(b"\x82\xa1x\x01\xa1y", "a") == BAD_ARG
    assert harness.find(b"\x82\x07\x01\xa1a\x02", "a") == 5
    assert harness.find(b"", "a") == BAD_ARG


@pytest.mark.parametrize(
    ("value", "bits"),
    [({}, 1), ([], 2), ("x", 4), (b"x", 8), (7, 16), (True, 32), (None, 0), (-1, 0), (1.5, 0)],
)
def test_typed_reading_takes_its_own_type_only(harness: Harness, value: Any, bits: int) -> None:
    assert harness.typed(msgspec.msgpack.encode(value)) == bits


@pytest.mark.parametrize(
    ("command", "standard"),
    [("cc", "-std=c99"), ("cc", "-std=c17"), ("c++", "-std=c++11"), ("c++", "-std=c++17")],
)
def test_the_headers_compile_clean(command: str, standard: str, tmp_path: Path) -> None:
    source = tmp_path / ("use.c" if command == "cc" else "use.cpp")
    source.write_text(
        "#include <stdbool.h>\n#include <pluginapi.h>\n#include <pluginapi_msgpack.h>\n"
        'PA_MANIFEST({"name": "x", "version": "1.0.0", "author": "y", "flag": true});\n'
    )
    library = tmp_path / "use.so"
    subprocess.run(
        [
            *(command, standard, *STRICT, "-O2", f"-I{INCLUDE}", "-shared", "-fPIC"),
            *("-o", str(library), str(source)),
        ],
        check=True,
    )
    assert b'"flag": true}\x1aPLGEND\n' in library.read_bytes()
