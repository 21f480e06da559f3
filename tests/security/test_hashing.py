from __future__ import annotations

import os
import re
from pathlib import Path

import cryptography_vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import InvalidPlugin, IoError
from pluginapi.security.hashing import hash_file, is_sha3_512, sha3_512

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
        assert sha3_512(message) == digest


def test_the_empty_message() -> None:
    assert sha3_512(b"") == EMPTY
    assert is_sha3_512(EMPTY)
    assert not is_sha3_512(EMPTY.upper())
    assert not is_sha3_512(EMPTY[:-1])
    assert not is_sha3_512(EMPTY + "\n")
    assert not is_sha3_512(None)


@given(st.binary(max_size=200))
def test_views_hash_as_bytes_do(data: bytes) -> None:
    assert sha3_512(memoryview(bytearray(data))) == sha3_512(data)


def test_a_file_is_hashed_whole_whichever_way_it_is_named(tmp_path: Path) -> None:
    data = os.urandom(1_000_003)
    path = tmp_path / "plugin.so"
    path.write_bytes(data)
    assert hash_file(path) == hash_file(str(path)) == sha3_512(data)
    with path.open("rb") as stream:
        stream.seek(17)
        assert hash_file(stream.fileno()) == sha3_512(data)
        stream.seek(0)
        assert stream.read() == data


def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InvalidPlugin) as caught:
            hash_file(path)
        assert caught.value.code == "file.invalid"


def test_a_missing_file_is_an_io_error(tmp_path: Path) -> None:
    with pytest.raises(IoError, match="No such file") as caught:
        hash_file(tmp_path / "none.so")
    assert caught.value.code == "io.failed"
    assert caught.value.hint
    with pytest.raises(IoError):
        hash_file(1_000_000)
