"""Plugin archives that would escape, explode or say two things, through the whole host."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import pyz
from pluginapi import InvalidPlugin
from zip_builder import Zip

from .arena import Arena

SOURCE = """\
from pluginapi import make_plugin
with open({mark!r}, "w") as file:
    file.write("ran")
@make_plugin(name="packed", version="1.0.0", author="a")
class Packed:
    pass
"""


def flat_bomb(archive: Zip, target: Path) -> None:
    archive.add(b"bomb", bytes(15 * 1024 * 1024))


def lying_bomb(archive: Zip, target: Path) -> None:
    archive.add(b"bomb", bytes(64 * 1024 * 1024), central_size=10, local_size=10)


def many_entries(archive: Zip, target: Path) -> None:
    for number in range(2500):
        archive.add(b"f%d" % number)


def overlapping_bomb(archive: Zip, target: Path) -> None:
    archive.add(b"a", os.urandom(10_000))
    record = archive.directory[-(46 + 1) :]
    for name in (b"b", b"c", b"d"):
        archive.directory += record[:-1] + name
        archive.count += 1


def total_bomb(archive: Zip, target: Path) -> None:
    block = os.urandom(3 * 1024 * 1024)
    for number in range(30):
        archive.add(b"f%d" % number, block, method=0)


def parent_directory(archive: Zip, target: Path) -> None:
    archive.add(b"../escaped", b"escaped")


def far_parent_directory(archive: Zip, target: Path) -> None:
    archive.add(b"a/" + b"../" * 30 + str(target / "escaped").encode()[1:], b"escaped")


def absolute_name(archive: Zip, target: Path) -> None:
    archive.add(str(target / "escaped").encode(), b"escaped")


def drive_letter(archive: Zip, target: Path) -> None:
    archive.add(b"C:escaped", b"escaped")


def backslash(archive: Zip, target: Path) -> None:
    archive.add(b"..\\escaped", b"escaped")


def symbolic_link(archive: Zip, target: Path) -> None:
    archive.add(b"link", str(target).encode(), mode=stat.S_IFLNK | 0o777)


def device_node(archive: Zip, target: Path) -> None:
    archive.add(b"zero", mode=stat.S_IFCHR | 0o666)


def duplicate(archive: Zip, target: Path) -> None:
    archive.add(b"plugin.py", b"raise SystemExit")


def duplicate_in_another_case(archive: Zip, target: Path) -> None:
    archive.add(b"PLUGIN.py", b"raise SystemExit")


def file_and_directory(archive: Zip, target: Path) -> None:
    archive.add(b"plugin.py/x", b"")


def encrypted(archive: Zip, target: Path) -> None:
    archive.add(b"secret", b"x", flags=0x801)


def other_compression(archive: Zip, target: Path) -> None:
    archive.add(b"a", b"x", method=14)


def wrong_checksum(archive: Zip, target: Path) -> None:
    archive.add(b"a", b"x", crc=zlib.crc32(b"y"))


def two_names(archive: Zip, target: Path) -> None:
    archive.add(b"a", b"x", local_name=b"b")


DEFECTS: dict[Callable[[Zip, Path], None], str] = {
    flat_bomb: "archive.limits",
    lying_bomb: "archive.limits",
    many_entries: "archive.limits",
    overlapping_bomb: "archive.structure",
    total_bomb: "archive.limits",
    parent_directory: "archive.name",
    far_parent_directory: "archive.name",
    absolute_name: "archive.name",
    drive_letter: "archive.name",
    backslash: "archive.name",
    symbolic_link: "archive.link",
    device_node: "archive.link",
    duplicate: "archive.duplicate",
    duplicate_in_another_case: "archive.duplicate",
    file_and_directory: "archive.duplicate",
    encrypted: "archive.encrypted",
    other_compression: "archive.compression",
    wrong_checksum: "archive.structure",
    two_names: "archive.structure",
}


@pytest.mark.parametrize(
    ("spoil", "code"), DEFECTS.items(), ids=[spoil.__name__ for spoil in DEFECTS]
)
async def test_a_hostile_archive(
    arena: Arena, spoil: Callable[[Zip, Path], None], code: str
) -> None:
    source = SOURCE.format(mark=str(arena.mark)).encode()
    path = arena.plugins / "packed.pyz"
    text = arena.config.read_text()
    arena.config.write_text(text.replace("16777216", "268435456"))
    before = sorted(arena.root.rglob("*"))

    archive = Zip().add(b"plugin.py", source)
    spoil(archive, arena.root)
    path.write_bytes(archive.end())
    error = await arena.refused(path, code)
    assert isinstance(error, InvalidPlugin)
    await arena.host_refuses(path, code)
    if spoil is not total_bomb:
        said = arena.command("explain", path, *arena.state_option)
        assert said["error"]["code"] == code
    path.unlink()
    assert sorted(arena.root.rglob("*")) == before, "something was written"

    # The control: without the entry the same archive is read, refused for its signature only,
    # and runs once it is trusted.
    path.write_bytes(Zip().add(b"plugin.py", source).end())
    await arena.refused(path, "signature.missing")
    arena.forge.sign(path)
    arena.forge.trust(path)
    await arena.loads(path)
    assert arena.steps() == "ran"


async def test_an_archive_cannot_import_what_lies_beside_it(arena: Arena) -> None:
    (arena.plugins / "_beside.py").write_text(f"open({str(arena.mark)!r}, 'w').close()")
    path = arena.plugins / "packed.pyz"
    source = SOURCE.format(mark=os.devnull)
    path.write_bytes(pyz({"plugin.py": "import _beside\n" + source}))
    arena.forge.sign(path)
    arena.forge.trust(path)
    error = await arena.refused(path, "load.execution_failed")
    assert "_beside" in str(error)
    path.write_bytes(pyz({"plugin.py": "import _beside\n" + source, "_beside.py": ""}))
    arena.forge.sign(path)
    arena.forge.trust(path)
    await arena.loads(path)
    assert not arena.mark.exists()
