"""Tell what kind of shared library some bytes are, and whether all of it is there.

Only headers are read. A library whose headers name bytes beyond its end is refused here, because
mapping it raises SIGBUS in the process that does.
"""

from __future__ import annotations

import platform
import struct
import sys
from dataclasses import dataclass
from typing import Final

from pluginapi.errors import InvalidPlugin, UnsupportedPlatform

__all__ = ["LibraryFormat", "read_library_format"]

_ELF_MACHINES: Final = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
_PE_MACHINES: Final = {0x14C: "x86", 0x8664: "x86_64", 0xAA64: "aarch64"}
_MACH_MACHINES: Final = {7: "x86", 0x0100_0007: "x86_64", 12: "arm", 0x0100_000C: "aarch64"}
_MACHINE_NAMES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_PLATFORM_FORMATS: Final = {"linux": "elf", "darwin": "mach-o", "win32": "pe"}

_ET_DYN: Final = 3
_PT_LOAD: Final = 1
_PE_DLL: Final = 0x2000
_PE_MACHINE_32: Final = 0x14C
_MH_DYLIB: Final = 6
_MH_BUNDLE: Final = 8
_LC_SEGMENT: Final = 0x1
_LC_SEGMENT_64: Final = 0x19
_MAX_SLICES: Final = 16
_MAX_COMMANDS: Final = 4096

# The layouts of ELF by byte order and width: type and machine, offsets of the program and section
# headers, their sizes and counts, and of a program header the type, offset and size in the file.
_ELF_KIND: Final = {end: struct.Struct(f"{end}HH") for end in "<>"}
_ELF_TABLES: Final = {
    **{(end, True): struct.Struct(f"{end}QQ6xHHHH") for end in "<>"},
    **{(end, False): struct.Struct(f"{end}II6xHHHH") for end in "<>"},
}
_ELF_SEGMENT: Final = {
    **{(end, True): struct.Struct(f"{end}I4xQ16xQ") for end in "<>"},
    **{(end, False): struct.Struct(f"{end}II8xI") for end in "<>"},
}


@dataclass(frozen=True, slots=True)
class LibraryFormat:
    """Name the container of a shared library and what it was built for.

    Attributes:
        container: ``elf``, ``pe`` or ``mach-o``.
        machines: One processor, or several for a universal Mach-O library.
        bits: 32 or 64, the size of a pointer.
    """

    container: str
    machines: tuple[str, ...]
    bits: int

    def require_loadable(self, plugin: str | None = None) -> None:
        """Refuse a library that this process cannot load.

        Raises:
            UnsupportedPlatform: The container, the pointer size or the processor is another.
        """
        wanted = _PLATFORM_FORMATS.get(sys.platform, "elf")
        bits = struct.calcsize("P") * 8
        machine = platform.machine().lower()
        machine = _MACHINE_NAMES.get(machine, machine)
        known = machine in _ELF_MACHINES.values()
        # A 32-bit process on a 64-bit kernel is told the kernel's processor: compare sizes only.
        fits = machine in self.machines or not known or bits == struct.calcsize("I") * 8
        if self.container == wanted and self.bits == bits and fits:
            return
        raise UnsupportedPlatform(
            f"the library is {self.container} for {', '.join(self.machines)} ({self.bits} bit), "
            f"this process loads {wanted} for {machine} ({bits} bit)",
            plugin=plugin,
            hint="install the build of this plugin for this platform",
            container=self.container,
            machines=list(self.machines),
            bits=self.bits,
        )


def read_library_format(data: bytes | memoryview, suffix: str) -> LibraryFormat:
    """Read the headers of an ELF, PE or Mach-O library.

    Args:
        data: The whole file.
        suffix: ``.so``, ``.dll`` or ``.dylib``: which containers are accepted.

    Raises:
        InvalidPlugin: Code ``file.format`` when the bytes are no such library, code
            ``file.truncated`` when the headers name bytes beyond the end.
    """
    view = memoryview(data)
    magic = bytes(view[:4])
    try:
        if suffix == ".so" and magic == b"\x7fELF":
            return _read_elf(view)
        if suffix == ".dll" and magic.startswith(b"MZ"):
            return _read_pe(view)
        if suffix in {".so", ".dylib"} and magic == b"\xca\xfe\xba\xbe":
            return _read_universal(view)
        if suffix in {".so", ".dylib"} and magic in _MACH_MAGICS:
            return _read_mach(view)
    except struct.error as err:
        raise _truncated("the headers") from err
    raise _wrong(f"the first bytes, {magic.hex(' ')}, are not those of a {suffix} library")


def _wrong(found: str) -> InvalidPlugin:
    return InvalidPlugin(
        f"not a shared library: {found}",
        code="file.format",
        hint="build the plugin as a shared library (cc -shared) and keep its suffix",
    )


def _truncated(what: str) -> InvalidPlugin:
    return InvalidPlugin(
        f"{what} of the library end beyond the end of the file",
        code="file.truncated",
        hint="the file is incomplete: copy or download it again",
    )


def _require_inside(view: memoryview, offset: int, size: int, what: str) -> None:
    if offset + size > len(view):
        raise _truncated(what)


def _read_elf(view: memoryview) -> LibraryFormat:
    """Read an ELF header, the program headers and the extent of the sections (System V gABI)."""
    width, order, version = struct.unpack_from("BBB", view, 4)
    if width not in {1, 2} or order not in {1, 2} or version != 1:
        raise _wrong(f"ELF class {width}, byte order {order}, version {version}")
    end = "<" if order == 1 else ">"
    wide = width == 2  # noqa: PLR2004 - ELFCLASS64
    kind, machine = _ELF_KIND[end].unpack_from(view, 16)
    if kind != _ET_DYN:
        raise _wrong(f"ELF type {kind} instead of {_ET_DYN}, a shared object")
    program, sections, entry, count, section_entry, section_count = _ELF_TABLES[
        end, wide
    ].unpack_from(view, 32 if wide else 28)
    if not count or entry < (56 if wide else 32):
        raise _wrong(f"{count} program headers of {entry} bytes")
    _require_inside(view, program, entry * count, "the program headers")
    if sections:
        # Linkers write the section headers last: their end tells a file that was cut anywhere.
        _require_inside(view, sections, section_entry * section_count, "the section headers")
    segment = _ELF_SEGMENT[end, wide]
    for index in range(count):
        segment_kind, offset, size = segment.unpack_from(view, program + index * entry)
        if segment_kind == _PT_LOAD:
            _require_inside(view, offset, size, "a loadable segment")
    name = _ELF_MACHINES.get(machine, f"machine {machine}")
    return LibraryFormat("elf", (name,), 64 if wide else 32)


def _read_pe(view: memoryview) -> LibraryFormat:
    """Read the COFF header and the section table (Microsoft PE format)."""
    (start,) = struct.unpack_from("<I", view, 0x3C)
    signature, machine, count = struct.unpack_from("<4sHH", view, start)
    if signature != b"PE\0\0":
        raise _wrong("an MZ file without a PE header")
    optional, flags = struct.unpack_from("<HH", view, start + 20)
    if not flags & _PE_DLL:
        raise _wrong("a PE program instead of a DLL")
    for index in range(count):
        at = start + 24 + optional + index * 40
        size, offset = struct.unpack_from("<II", view, at + 16)
        _require_inside(view, offset, size, "a section")
    bits = 32 if machine == _PE_MACHINE_32 else 64
    return LibraryFormat("pe", (_PE_MACHINES.get(machine, f"machine {machine:#x}"),), bits)


_MACH_MAGICS: Final = (b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")


def _read_mach(view: memoryview) -> LibraryFormat:
    """Read a little-endian Mach-O header and its segment commands (<mach-o/loader.h>)."""
    wide = view[0] == _MACH_MAGICS[1][0]
    machine, kind, count = struct.unpack_from("<I4xII", view, 4)
    if kind not in {_MH_DYLIB, _MH_BUNDLE} or count > _MAX_COMMANDS:
        raise _wrong(f"Mach-O type {kind} with {count} load commands")
    at = 32 if wide else 28
    for _ in range(count):
        command, size = struct.unpack_from("<II", view, at)
        if size < 8:  # noqa: PLR2004 - the two fields just read
            raise _wrong(f"a Mach-O load command of {size} bytes")
        if command == _LC_SEGMENT_64:
            offset, length = struct.unpack_from("<QQ", view, at + 40)
            _require_inside(view, offset, length, "a segment")
        elif command == _LC_SEGMENT:
            offset, length = struct.unpack_from("<II", view, at + 32)
            _require_inside(view, offset, length, "a segment")
        at += size
    name = _MACH_MACHINES.get(machine, f"cpu {machine:#x}")
    return LibraryFormat("mach-o", (name,), 64 if wide else 32)


def _read_universal(view: memoryview) -> LibraryFormat:
    """Read a universal Mach-O library: every slice must be one itself (<mach-o/fat.h>)."""
    (count,) = struct.unpack_from(">I", view, 4)
    if not 0 < count <= _MAX_SLICES:
        raise _wrong(f"a universal Mach-O file of {count} slices")
    slices = []
    for index in range(count):
        offset, size = struct.unpack_from(">II", view, 8 + index * 20 + 8)
        _require_inside(view, offset, size, "a slice")
        part = view[offset : offset + size]
        if bytes(part[:4]) not in _MACH_MAGICS:
            raise _wrong("a universal Mach-O file with a slice that is not Mach-O")
        slices.append(_read_mach(part))
    names = tuple(name for item in slices for name in item.machines)
    return LibraryFormat("mach-o", names, max(item.bits for item in slices))
