"""Plugin archives: what is read, and every way in which an archive can lie."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import SOURCE, pyz
from pluginapi.errors import InvalidPlugin
from pluginapi.manifest import PluginKind
from pluginapi.metadata import read_manifest
from pluginapi.metadata.python_zip import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_TOTAL_BYTES,
    read_archive,
)
from pluginapi.plugin_file import PluginFile
from zip_builder import Zip

PACKAGE = {"guard/__init__.py": SOURCE, "guard/rules.json": "[]"}


def refused(data: bytes, code: str, words: str = "") -> InvalidPlugin:
    with pytest.raises(InvalidPlugin) as caught:
        read_archive(data, "guard.pyz")
    assert caught.value.code == code, caught.value
    assert words in str(caught.value)
    assert caught.value.hint
    assert str(caught.value).startswith("guard.pyz")
    return caught.value


def plugin() -> Zip:
    return Zip().add(b"plugin.py", SOURCE.encode())


def test_reads_a_package_and_a_module() -> None:
    archive = read_archive(pyz(PACKAGE), "guard.pyz")
    assert dict(archive.files) == {name: text.encode() for name, text in PACKAGE.items()}
    assert archive.entry.name == "guard"
    assert archive.entry.label == "guard.pyz/guard/__init__.py"
    archive = read_archive(pyz({**PACKAGE, "plugin.py": SOURCE, "helper.py": ""}), "guard.pyz")
    assert archive.entry.name == "plugin"
    manifest = read_manifest(PluginFile.from_bytes("guard.pyz", pyz(PACKAGE)))
    assert (manifest.name, manifest.kind) == ("acme.guard", PluginKind.PYTHON_ZIP)


def test_reads_what_common_tools_write() -> None:
    assert read_archive(plugin().end(), "a").files["plugin.py"] == SOURCE.encode()
    assert read_archive(plugin().end(comment=b"a comment"), "a").entry.name == "plugin"
    assert read_archive(pyz(PACKAGE, shebang=b"#!/usr/bin/env python3\n"), "a").files
    concatenated = b"#!/usr/bin/env python3\n" + pyz(PACKAGE)
    assert read_archive(concatenated, "a").files
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.mkdir("guard")
        archive.writestr("guard/__init__.py", SOURCE)
    assert list(read_archive(stream.getvalue(), "a").files) == ["guard/__init__.py"]

    class Pipe(io.RawIOBase):
        """Not seekable: zipfile writes data descriptors."""

        data = b""

        def writable(self) -> bool:
            return True

        def write(self, piece: object, /) -> int:
            self.data += bytes(piece)  # type: ignore[call-overload]
            return len(bytes(piece))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plugin.py", SOURCE)
        archive.writestr("ü.txt", "ü")
    assert set(read_archive(pipe.data, "a").files) == {"plugin.py", "ü.txt"}


@pytest.mark.parametrize(
    "files",
    [
        {"README": "x"},
        {"a/__init__.py": "", "b/__init__.py": SOURCE},
        {"not-a-name/__init__.py": SOURCE},
        {"a/b/__init__.py": SOURCE},
        {"__main__.py": SOURCE},
    ],
)
def test_layout(files: dict[str, str]) -> None:
    refused(pyz(files), "archive.layout")
    assert read_archive(pyz({**files, "plugin.py": SOURCE}), "a").entry.name == "plugin"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../plugin.py", "leaves"),
        ("a/../../b", "leaves"),
        ("..", "leaves"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("C:/x", "':'"),
        ("a:stream", "':'"),
        ("a\\b", r"'\\'"),
        ("..\\b", r"'\\'"),
        ("a\0b", "x00"),
        ("a\nb", "n'"),
        ("\x1b[2J", "x1b"),
        ("a\u202eb", "u202e"),
        ("a//b", "empty"),
        ("./a", "empty"),
        ("", "empty"),
        ("a/./b", "empty"),
        ("x" * 513, "longer"),
    ],
)
def test_names(name: str, words: str) -> None:
    refused(plugin().add(name.encode()).end(), "archive.name", words)


def test_names_without_the_utf8_flag_are_ascii() -> None:
    refused(plugin().add(b"\x81", flags=0).end(), "archive.name")
    refused(plugin().add(b"\xff").end(), "archive.name")
    assert read_archive(plugin().add(b"a", flags=0).end(), "a").files


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("rules.json", "Rules.JSON"),
        ("stra\u00dfe", "STRASSE"),
        ("\u00e9", "e\u0301"),
        ("a", "a/"),
        ("a", "a/b"),
        ("A", "a/b/c"),
        ("a/b/c", "a/b"),
    ],
)
def test_duplicates(first: str, second: str) -> None:
    archive = plugin().add(first.encode()).add(second.encode())
    refused(archive.end(), "archive.duplicate")


def test_directories_and_their_files_are_no_duplicates() -> None:
    archive = plugin().add(b"a/", mode=stat.S_IFDIR | 0o755).add(b"a/b").add(b"a/c/d")
    assert set(read_archive(archive.end(), "a").files) == {"plugin.py", "a/b", "a/c/d"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_special_files(kind: int) -> None:
    refused(plugin().add(b"a", b"/etc/passwd", mode=kind | 0o777).end(), "archive.link")
    ok = plugin().add(b"a", b"/etc/passwd", mode=stat.S_IFREG | 0o777).end()
    assert read_archive(ok, "a").files["a"] == b"/etc/passwd"


def test_encryption_and_methods() -> None:
    refused(plugin().add(b"a", flags=0x801).end(), "archive.encrypted")
    refused(plugin().add(b"a", flags=0x840).end(), "archive.structure", "flags")
    refused(plugin().add(b"a", flags=0x2800).end(), "archive.structure", "flags")
    for method in (1, 9, 12, 14, 93, 99):
        refused(plugin().add(b"a", method=method).end(), "archive.compression")
    assert read_archive(plugin().add(b"a", b"x", method=0).end(), "a").files["a"] == b"x"
    refused(pyz(PACKAGE).replace(b"PK\1\2", b"PK\1\3"), "archive.structure")


def test_too_many_entries() -> None:
    archive = plugin()
    for number in range(MAX_ENTRIES - 1):
        archive.add(b"f%d" % number)
    assert len(read_archive(archive.end(), "a").files) == MAX_ENTRIES
    refused(archive.add(b"one more").end(), "archive.limits", "2001 entries")


def test_flat_bombs() -> None:
    refused(plugin().add(b"a", bytes(MAX_ENTRY_BYTES + 1)).end(), "archive.limits")
    refused(plugin().add(b"a", bytes(1 << 20)).end(), "archive.limits", "200 times")
    # Random data of the same size is no bomb.
    import random

    noise = random.Random(1).randbytes(1 << 20)
    assert len(read_archive(plugin().add(b"a", noise).end(), "a").files["a"]) == 1 << 20


def test_total_size() -> None:
    import random

    noise = random.Random(1).randbytes(MAX_ENTRY_BYTES)
    archive = plugin()
    for name in (b"a", b"b", b"c"):
        archive.add(name, noise, method=0)
    assert len(read_archive(archive.end(), "a").files) == 4
    archive.add(b"d", noise, method=0)
    refused(archive.end(), "archive.limits", str(MAX_TOTAL_BYTES))


def test_headers_that_promise_less_than_comes_out() -> None:
    content = bytes(range(256)) * 64
    assert read_archive(plugin().add(b"a", content).end(), "a").files["a"] == content
    short = plugin().add(b"a", content, central_size=100).end()
    refused(short, "archive.limits", "100 bytes")
    long = plugin().add(b"a", content, central_size=len(content) + 1).end()
    refused(long, "archive.structure")
    refused(plugin().add(b"a", content, crc=1).end(), "archive.structure", "content")
    stored = plugin().add(b"a", content, method=0, central_size=5).end()
    refused(stored, "archive.structure")


def test_overlapping_entries_are_refused() -> None:
    archive = plugin().add(b"a", b"x" * 1000)
    archive.directory += archive.directory[-(46 + 1) :].replace(b"a", b"b")
    archive.count += 1
    refused(archive.end(), "archive.structure", "begins at byte")
    # David Fifield's bomb: the header of the next entry quoted inside the data of the one before.
    inner = Zip().add(b"b", b"y" * 100)
    outer = plugin().add(b"a", inner.body, method=0)
    outer.add(b"b", b"y" * 100, offset=len(outer.body) - len(inner.body))
    refused(outer.end(), "archive.structure")


def test_nested_archives_are_data() -> None:
    inner = pyz({"plugin.py": "raise SystemExit", "../x": ""})
    archive = read_archive(plugin().add(b"inner.pyz", inner, method=0).end(), "a")
    assert archive.files["inner.pyz"] == inner


def test_hidden_bytes() -> None:
    refused(plugin().end(gap=b"hidden"), "archive.structure", "belong to no entry")
    refused(plugin().end() + b"x", "archive.structure", "bytes follow")
    refused(b"x" + plugin().end(shift=1), "archive.structure")
    refused(b"x" + plugin().end(), "archive.structure", "central directory")
    refused(b"#!" + b"x" * 600 + plugin().end(shift=602), "archive.structure", "interpreter line")
    refused(b"#!sh\nrm -rf\n" + plugin().end(shift=12), "archive.structure")


def test_contradicting_headers() -> None:
    refused(plugin().add(b"a", local_name=b"b").end(), "archive.structure", "contradict")
    refused(plugin().add(b"a", local_name=b"ab").end(), "archive.structure", "contradict")
    refused(plugin().add(b"a", b"x", local_size=2).end(), "archive.structure", "contradict")
    refused(plugin().end(count=2), "archive.structure")
    refused(plugin().add(b"a").end(count=1), "archive.structure")
    refused(plugin().add(b"a", disk=1).end(), "archive.structure")
    refused(plugin().add(b"a", offset=1 << 20).end(), "archive.structure")


def test_extra_fields() -> None:
    stamp = struct.pack("<HHBI", 0x5455, 5, 1, 0)
    ok = plugin().add(b"a", extra=stamp, local_extra=stamp).end()
    assert "a" in read_archive(ok, "a").files
    unicode_path = struct.pack("<HHBIc", 0x7075, 6, 1, 0, b"b")
    for extra in (unicode_path, struct.pack("<HHQ", 1, 8, 5), b"abc", struct.pack("<HH", 9, 9)):
        refused(plugin().add(b"a", extra=extra).end(), "archive.structure", "extra field")
        refused(plugin().add(b"a", local_extra=extra).end(), "archive.structure", "extra field")


def test_zip64_and_multipart() -> None:
    refused(plugin().end(count=0xFFFF), "archive.limits", "ZIP64")
    refused(plugin().add(b"a", offset=0xFFFF_FFFF).end(), "archive.limits", "ZIP64")
    data = bytearray(plugin().end())
    data[-18] = 1
    refused(bytes(data), "archive.structure", "several parts")


def test_data_descriptors() -> None:
    content = b"x" * 50
    numbers = struct.pack("<3I", zlib.crc32(content), len(content), len(content))
    for good in (numbers, b"PK\7\x08" + numbers):
        archive = plugin().add(b"a", content, method=0, flags=0x808, descriptor=good)
        assert read_archive(archive.add(b"z").end(), "a").files["a"] == content
    for bad in (b"", numbers[:-1] + b"\1", b"PK\7\x07" + numbers, bytes(12)):
        archive = plugin().add(b"a", content, method=0, flags=0x808, descriptor=bad)
        refused(archive.end(), "archive.structure")


def test_damaged_deflate_streams() -> None:
    content = b"abc" * 50
    good = zlib.compress(content, wbits=-15)
    assert read_archive(plugin().add(b"a", content, packed=good).end(), "a").files["a"] == content
    for packed in (b"", b"\xff" * 9, good[:-1], good + b"x"):
        refused(plugin().add(b"a", content, packed=packed).end(), "archive.structure")


def test_directory_with_content() -> None:
    refused(plugin().add(b"a/", b"x").end(), "archive.structure", "has content")


def test_every_truncation_is_refused() -> None:
    data = pyz(PACKAGE)
    assert read_archive(data, "a").files
    for size in range(len(data)):
        with pytest.raises(InvalidPlugin):
            read_archive(data[:size], "a")


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(InvalidPlugin):
        read_archive(data, "a")


@given(st.data())
def test_any_changed_byte_gives_an_archive_or_a_refusal(data: st.DataObject) -> None:
    whole = bytearray(pyz(PACKAGE))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        archive = read_archive(bytes(whole), "a")
    except InvalidPlugin as err:
        assert err.hint  # noqa: PT017 - a value or a refusal
    else:
        assert set(archive.files.values()) == {text.encode() for text in PACKAGE.values()}
