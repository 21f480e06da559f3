"""Names of native functions: right for what is mapped, none for what is not that file."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native_build import compile_plugin
from pluginapi.profiling.symbols import AddressNames, Mapping, _functions_of, read_mappings

LINE = "7f1834468000-7f1834469000 r-xp 00001000 00:01 118642    /memfd:busy.so (deleted)\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_plugin("busy.c", tmp_path_factory.mktemp("busy") / "busy.so")


def test_mappings_are_read() -> None:
    text = (
        "5634d1a26000-5634d1a3f000 r-xp 00003000 fe:00 5308434  /opt/a b/plugin-worker\n"
        "5634d1b26000-5634d1b3f000 rw-p 00003000 fe:00 5308434  /opt/a b/plugin-worker\n"
        "7f1834474000-7f1834476000 r-xp 00000000 00:00 0 [vdso]\n"
        "7f1834479000-7f183447a000 r-xp 00000000 00:00 0\n"
        f"nonsense\nxyz r-xp 0 0 0\n{LINE}"
    )
    found = read_mappings(text)
    assert [each.path for each in found] == [
        "/opt/a b/plugin-worker",
        "/memfd:busy.so (deleted)",
        "[vdso]",
        "",
    ]
    assert found[1] == Mapping(
        0x7F1834468000, 0x7F1834469000, 0x1000, "00:01", 118642, "/memfd:busy.so (deleted)"
    )


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    assert all(each.start >= 0 for each in read_mappings(text))


def function(library: Path, name: str) -> int:
    out = subprocess.run(["nm", str(library)], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[0], 16) for line in out.splitlines() if line.endswith(f" {name}"))


def test_functions_of_the_plugin_have_names(library: Path) -> None:
    # The first executable segment, mapped at some address, as in LINE.
    place = function(library, "busy_inner")
    mapping = Mapping(0x10000, 0x12000, 0x1000, "00:01", 1, "/memfd:busy.so (deleted)")
    names = AddressNames([mapping], library)
    assert names.name(0x10000 + place - 0x1000 + 2) == "busy_inner (busy.so)"
    assert names.name(0x10000) != "busy_inner (busy.so)"
    assert names.name(0x9000) == "[unknown]"
    assert names.name(0x12000) == "[unknown]"


def test_names_are_of_the_file_that_is_mapped(library: Path, tmp_path: Path) -> None:
    found = library.stat()
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    address = function(library, "create_plugin")
    same = Mapping(0x10000, 0x12000, 0x1000, device, found.st_ino, str(library))
    other = Mapping(0x10000, 0x12000, 0x1000, device, found.st_ino + 1, str(library))
    within = 0x10000 + address - 0x1000
    assert AddressNames([same], tmp_path).name(within) == "create_plugin (busy.so)"
    assert AddressNames([other], tmp_path).name(within) == "[busy.so]"


def test_what_is_no_library_has_no_names_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    pipe, text, broken = tmp_path / "pipe", tmp_path / "text", tmp_path / "broken"
    os.mkfifo(pipe)
    text.write_text("no library")
    broken.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(range(200)))
    for plugin in (pipe, text, broken, tmp_path / "absent", Path("relative")):
        mapping = Mapping(0x1000, 0x2000, 0, "00:01", 1, "/memfd:x (deleted)")
        assert AddressNames([mapping], plugin).name(0x1500) == f"[{plugin.name}]"
    for path in ("[vdso]", "", "relative"):
        mapping = Mapping(0x1000, 0x2000, 0, "00:00", 0, path)
        label = path.strip("[]") or "anonymous"
        assert AddressNames([mapping], text).name(0x1500) == f"[{label}]"


@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic_are_survived(data: bytes) -> None:
    name = _functions_of(io.BytesIO(b"\x7fELF\x02\x01\x01" + data))
    assert name(100) is None or isinstance(name(100), str)
