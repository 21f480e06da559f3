"""PluginFile: what is opened, how much of it is read, and what a copy of it is worth."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import SOURCE, elf, native, pyz, write
from pluginapi.errors import InvalidPlugin, IoError, PluginError, UnsupportedPlatform
from pluginapi.manifest import PluginKind
from pluginapi.metadata import read_manifest
from pluginapi.object_format import LibraryFormat, read_library_format
from pluginapi.plugin_file import DEFAULT_MAX_PLUGIN_BYTES, MAX_ENVELOPE_BYTES, PluginFile
from pluginapi.sealed_copy import PrivateCopy, make_sealed_copy

if TYPE_CHECKING:
    from pathlib import Path

linux = pytest.mark.skipif(sys.platform != "linux", reason="memfd_create exists on Linux only")


def refusal(path: Path | str, **options: int) -> PluginError:
    """Open in a thread that may hang without hanging the tests; return the error."""
    caught: list[BaseException] = []

    def work() -> None:
        try:
            PluginFile.open(path, **options)
        except BaseException as err:  # noqa: BLE001 - handed to the test
            caught.append(err)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the open waits"
    assert caught, "the file was accepted"
    assert isinstance(caught[0], PluginError)
    assert caught[0].hint
    return caught[0]


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("guard.py", SOURCE.encode(), PluginKind.PYTHON),
        ("guard.PY", SOURCE.encode(), PluginKind.PYTHON),
        ("guard.pyz", pyz({"plugin.py": SOURCE}), PluginKind.PYTHON_ZIP),
        ("guard.so", native(), PluginKind.NATIVE),
    ],
)
def test_opens_each_kind(tmp_path: Path, name: str, data: bytes, kind: PluginKind) -> None:
    path = write(tmp_path, name, data)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    file = PluginFile.open(path)
    assert (file.kind, file.data, file.size, file.path) == (kind, data, len(data), path)
    assert file.sha3_512 == hashlib.sha3_512(data).hexdigest()
    assert file.modified == 1_000_000_000
    assert file.envelope is None
    assert str(data[:20]) not in repr(file)
    assert file == PluginFile.from_bytes(path, data, modified=1_000_000_000)


def test_the_bytes_are_those_of_the_open_although_a_link_is_swapped(tmp_path: Path) -> None:
    good = write(tmp_path, "good.py", SOURCE)
    evil = write(tmp_path, "evil.py", SOURCE.replace("Acme", "Evil"))
    link = tmp_path / "guard.py"
    link.symlink_to(good)
    file = PluginFile.open(link)
    link.unlink()
    link.symlink_to(evil)
    assert file.data == SOURCE.encode()
    assert read_manifest(file).author == "Acme"
    assert read_manifest(PluginFile.open(link)).author == "Evil"


def test_missing_and_forbidden(tmp_path: Path) -> None:
    missing = refusal(tmp_path / "no.py")
    assert isinstance(missing, IoError)
    assert missing.code == "file.not_found"
    under_file = write(tmp_path, "file.py", SOURCE) / "x.py"
    assert refusal(under_file).code == "file.not_found"
    assert refusal("nul\0.py").code == "io.failed"
    loop = tmp_path / "loop.py"
    loop.symlink_to(loop)
    assert refusal(loop).code == "io.failed"


def test_empty_and_too_large(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "empty.py", b"")).code == "file.empty"
    path = write(tmp_path, "guard.py", SOURCE)
    err = refusal(path, max_bytes=len(SOURCE) - 1)
    assert err.code == "file.too_large"
    assert err.details["size"] == len(SOURCE)
    assert PluginFile.open(path, max_bytes=len(SOURCE)).size == len(SOURCE)


def test_sparse_file_of_4_gib_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.so"
    with path.open("wb") as stream:
        stream.truncate(4 << 30)
    err = refusal(path)
    assert err.code == "file.too_large"
    assert err.details["limit"] == DEFAULT_MAX_PLUGIN_BYTES


def test_pipe_directory_socket_and_device_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe.so"
    os.mkfifo(pipe)
    assert refusal(pipe).code == "file.not_regular"
    (tmp_path / "dir.py").mkdir()
    assert refusal(tmp_path / "dir.py").code == "file.not_regular"
    device = tmp_path / "device.py"
    device.symlink_to("/dev/zero")
    assert refusal(device).code == "file.not_regular"
    with socket.socket(socket.AF_UNIX) as server:
        # The name of a socket has at most 107 bytes; the temporary directory may be longer.
        monkeypatch.chdir(tmp_path)
        server.bind("s.py")
        assert refusal(tmp_path / "s.py").code == "file.not_regular"


def test_pipe_that_takes_the_place_of_the_file_after_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "guard.py", SOURCE)
    real = os.open

    def swap(target: str, flags: int, *rest: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return real(target, flags, *rest)

    monkeypatch.setattr("pluginapi.plugin_file.os.open", swap)
    assert refusal(path).code == "file.not_regular"


@pytest.mark.parametrize("change", [b"more", None, b"x" * len(SOURCE)])
def test_change_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes | None
) -> None:
    path = write(tmp_path, "guard.py", SOURCE)
    os.utime(path, (1, 1))
    real = os.read
    changed: list[bool] = []

    def read(fd: int, count: int) -> bytes:
        if not changed:
            changed.append(True)
            if change is None:
                os.truncate(path, 5)
            elif change == b"more":
                with path.open("ab") as stream:
                    stream.write(change)
            else:
                path.write_bytes(change)
        return real(fd, count)

    monkeypatch.setattr("pluginapi.plugin_file.os.read", read)
    assert refusal(path).code == "file.changed"
    monkeypatch.undo()
    assert PluginFile.open(path).size


def test_read_error_names_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "guard.py", SOURCE)

    def fail(fd: int, count: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pluginapi.plugin_file.os.read", fail)
    err = refusal(path)
    assert err.code == "io.failed"
    assert str(path) in str(err)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("guard.txt", b"x", "file.unknown_kind"),
        ("guard", b"x", "file.unknown_kind"),
        ("guard.so", b"\x7fEL", "file.format"),
        ("guard.so", SOURCE.encode(), "file.format"),
        ("guard.dll", elf(), "file.format"),
        ("guard.pyz", SOURCE.encode(), "file.format"),
    ],
)
def test_suffix_and_bytes_must_agree(tmp_path: Path, name: str, data: bytes, code: str) -> None:
    assert refusal(write(tmp_path, name, data)).code == code
    with pytest.raises(InvalidPlugin) as caught:
        PluginFile.from_bytes(name, data)
    assert caught.value.code == code


def test_envelope_is_read_with_the_same_care(tmp_path: Path) -> None:
    path = write(tmp_path, "guard.py", SOURCE)
    beside = write(tmp_path, "guard.py.sig", b"e" * MAX_ENVELOPE_BYTES)
    assert PluginFile.open(path).envelope == b"e" * MAX_ENVELOPE_BYTES
    beside.write_bytes(b"e" * (MAX_ENVELOPE_BYTES + 1))
    assert refusal(path).code == "file.envelope"
    beside.write_bytes(b"")
    assert refusal(path).code == "file.envelope"
    beside.unlink()
    os.mkfifo(beside)
    assert refusal(path).code == "file.envelope"
    beside.unlink()
    beside.symlink_to(beside)
    assert refusal(path).code == "io.failed"
    beside.unlink()
    assert PluginFile.open(path).envelope is None
    with pytest.raises(InvalidPlugin, match="more than"):
        PluginFile.from_bytes(path, b"x", envelope=b"e" * (MAX_ENVELOPE_BYTES + 1))


def descriptors() -> int:
    """Count the open descriptors of this process."""
    return int(psutil.Process().num_fds())


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    path = write(tmp_path, "guard.so", native())
    write(tmp_path, "guard.so.sig", b"{}")
    bad = write(tmp_path, "bad.py", b"")
    for _ in range(3):
        with PluginFile.open(path).sealed_copy():
            pass
    before = descriptors()
    for _ in range(20):
        with PluginFile.open(path).sealed_copy(), pytest.raises(InvalidPlugin):
            PluginFile.open(bad)
    assert descriptors() == before


@linux
def test_sealed_memory_file_cannot_be_changed() -> None:
    file = PluginFile.from_bytes("guard.so", native())
    with file.sealed_copy() as copy:
        assert copy.path.read_bytes() == file.data
        assert str(copy.path) == f"/proc/self/fd/{copy.fileno()}"
        for attempt in (
            lambda: os.pwrite(copy.fileno(), b"x", 0),
            lambda: os.ftruncate(copy.fileno(), 1),
            lambda: os.ftruncate(copy.fileno(), 1 << 20),
            lambda: copy.path.write_bytes(b"x"),
        ):
            with pytest.raises(OSError, match=r"not permitted|Permission"):
                attempt()
        assert not os.get_inheritable(copy.fileno())
        assert copy.path.read_bytes() == file.data
    with pytest.raises(ValueError, match="closed"):
        _ = copy.path
    copy.close()


@linux
def test_kernel_that_refuses_a_memory_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", fail)
    with pytest.raises(IoError, match="Too many open files"):
        PluginFile.from_bytes("guard.so", native()).sealed_copy()


@linux
def test_kernel_that_does_not_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pluginapi.sealed_copy.fcntl.fcntl", lambda *_: 0)
    with pytest.raises(IoError, match="seals"):
        PluginFile.from_bytes("guard.so", native()).sealed_copy()


def test_private_copy_is_private_and_goes_away() -> None:
    file = PluginFile.from_bytes("guard.so", native())
    with file.sealed_copy(private_copy=True) as copy:
        path = copy.path
        assert path.name == "guard.so"
        assert path.read_bytes() == file.data
        assert stat.S_IMODE(path.stat().st_mode) == 0o500
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
    copy.close()


def test_private_copy_of_another_hash_is_refused() -> None:
    with pytest.raises(InvalidPlugin) as caught:
        PrivateCopy(b"one", hashlib.sha3_512(b"two").hexdigest())
    assert caught.value.code == "file.changed"


def test_private_copy_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail(fd: int, mode: str) -> None:
        os.close(fd)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pluginapi.sealed_copy.os.fdopen", fail)
    with pytest.raises(IoError, match="No space left"):
        PrivateCopy(b"one", hashlib.sha3_512(b"one").hexdigest())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(IoError):
        PrivateCopy(b"one", hashlib.sha3_512(b"one").hexdigest())


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real shared library, made by the system's compiler."""
    place = tmp_path_factory.mktemp("library")
    code = write(place, "answer.c", "int answer(void) { return 42; }\n")
    target = place / "answer.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", target, code], check=True)
    return target


@linux
@pytest.mark.parametrize("private_copy", [False, True])
def test_dlopen_loads_the_copy(library: Path, private_copy: bool) -> None:
    file = PluginFile.open(library)
    assert file.library is not None
    file.library.require_loadable()
    with file.sealed_copy(private_copy=private_copy) as copy:
        assert ctypes.CDLL(str(copy.path)).answer() == 42


@linux
def test_library_cut_anywhere_is_refused(library: Path) -> None:
    data = library.read_bytes()
    assert read_library_format(data, ".so").container == "elf"
    for size in (5, 20, 63, 64, 200, len(data) // 2, len(data) - 1):
        with pytest.raises(InvalidPlugin) as caught:
            PluginFile.from_bytes("answer.so", data[:size])
        assert caught.value.code == "file.truncated", size


def pe(machine: int = 0x8664, *, flags: int = 0x2022, raw: int = 16) -> bytes:
    head = b"MZ" + bytes(58) + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 0, flags)
    section = b".text\0\0\0" + struct.pack("<IIIIIIHHI", 16, 0, raw, 128, 0, 0, 0, 0, 0)
    return head + coff + section + bytes(16)


def mach(machine: int = 0x0100_000C, *, kind: int = 6, size: int = 104, wide: bool = True) -> bytes:
    if wide:
        command = struct.pack("<II16sQQQQIIII", 0x19, 72, b"", 0, 0, 0, size, 0, 0, 0, 0)
        head = struct.pack("<IIIIIIII", 0xFEEDFACF, machine, 0, kind, 1, 72, 0, 0)
    else:
        command = struct.pack("<II16sIIIIIIII", 1, 56, b"", 0, 0, 0, size, 0, 0, 0, 0)
        head = struct.pack("<IIIIIII", 0xFEEDFACE, machine, 0, kind, 1, 56, 0)
    return head + command


def universal(*parts: bytes) -> bytes:
    head, body = struct.pack(">II", 0xCAFEBABE, len(parts)), b""
    start = 8 + 20 * len(parts)
    for part in parts:
        head += struct.pack(">IIIII", 0, 0, start + len(body), len(part), 0)
        body += part
    return head + body


@pytest.mark.parametrize(
    ("suffix", "data", "expected"),
    [
        (".dll", pe(0x14C), ("pe", ("x86",), 32)),
        (".dll", pe(0x8664), ("pe", ("x86_64",), 64)),
        (".dylib", mach(), ("mach-o", ("aarch64",), 64)),
        (".so", mach(kind=8), ("mach-o", ("aarch64",), 64)),
        (".dylib", mach(7, size=80, wide=False), ("mach-o", ("x86",), 32)),
        (".dylib", universal(mach(), mach(0x0100_0007)), ("mach-o", ("aarch64", "x86_64"), 64)),
    ],
)
def test_foreign_libraries_are_read_but_not_loadable(
    suffix: str, data: bytes, expected: tuple[str, tuple[str, ...], int]
) -> None:
    found = read_library_format(data, suffix)
    assert found == LibraryFormat(*expected)
    if sys.platform == "linux":
        with pytest.raises(UnsupportedPlatform, match=found.container):
            found.require_loadable("acme.guard")


def elf32(size: int = 84) -> bytes:
    header = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 3, 3, 1, 0, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 0, 0, 0, size, size, 5, 4096)


def test_32_bit_elf() -> None:
    assert read_library_format(elf32(), ".so") == LibraryFormat("elf", ("x86",), 32)
    with pytest.raises(InvalidPlugin, match="segment"):
        read_library_format(elf32(85), ".so")


@pytest.mark.parametrize(
    ("suffix", "data", "code"),
    [
        (".dll", pe(flags=2), "file.format"),
        (".dll", pe(raw=17), "file.truncated"),
        (".dll", pe()[:70], "file.truncated"),
        (".dll", pe().replace(b"PE\0\0", b"NE\0\0"), "file.format"),
        (".dylib", mach(kind=2), "file.format"),
        (".dylib", mach(size=105), "file.truncated"),
        (".dylib", mach(7, size=105, wide=False), "file.truncated"),
        (".dylib", mach()[:40], "file.truncated"),
        (".dylib", mach()[:36] + bytes(4) + mach()[40:], "file.format"),
        (".dylib", universal(mach(), mach())[:-1], "file.truncated"),
        (".dylib", universal(elf()), "file.format"),
        (".dylib", universal(), "file.format"),
        (".so", elf()[:4] + b"\3" + elf()[5:], "file.format"),
        (".so", elf()[:16] + b"\2" + elf()[17:], "file.format"),
        (".so", elf()[:56] + b"\0" + elf()[57:], "file.format"),
        (".so", elf()[:40] + b"\xff" + elf()[41:60] + b"\1" + elf()[61:], "file.truncated"),
    ],
)
def test_damaged_libraries(suffix: str, data: bytes, code: str) -> None:
    with pytest.raises(InvalidPlugin) as caught:
        read_library_format(data, suffix)
    assert caught.value.code == code
    assert caught.value.hint


@given(st.binary(max_size=300), st.sampled_from([".so", ".dll", ".dylib"]), st.integers(0, 5))
def test_any_bytes_give_a_format_or_a_refusal(data: bytes, suffix: str, start: int) -> None:
    heads = [b"", b"\x7fELF\2\1\1", b"MZ", b"\xca\xfe\xba\xbe\0\0\0", b"\xcf\xfa\xed\xfe", elf()]
    try:
        found = read_library_format(heads[start] + data, suffix)
    except InvalidPlugin as err:
        assert err.code in {"file.format", "file.truncated"}  # noqa: PT017 - or a value
    else:
        assert found.container in {"elf", "pe", "mach-o"}


def test_make_sealed_copy_chooses_by_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha3_512(b"x").hexdigest()
    monkeypatch.setattr("pluginapi.sealed_copy.sys.platform", "darwin")
    with make_sealed_copy(b"x", digest, "x.dylib") as copy:
        assert isinstance(copy, PrivateCopy)
