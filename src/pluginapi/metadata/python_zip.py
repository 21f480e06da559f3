"""Read a plugin archive (``.pyz``) into memory, strictly.

The format is the zip of PKWARE's APPNOTE 6.3 without ZIP64, encryption, links and comments that
hide data. Both directories of the archive must agree, every byte between the start and the
central directory must belong to exactly one entry, and what is counted are the bytes that really
come out of the decompressor, never what a header claims. ``zipfile`` of the standard library reads
such archives too; it accepts many others, in which different readers see different files.
"""

from __future__ import annotations

import stat
import struct
import unicodedata
import zlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn

from pluginapi.errors import InvalidPlugin

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_ENTRIES",
    "MAX_ENTRY_BYTES",
    "MAX_RATIO",
    "MAX_TOTAL_BYTES",
    "Archive",
    "EntryModule",
    "read_archive",
]

MAX_ENTRIES: Final = 2000
"""How many entries an archive may have, directories included."""

MAX_ENTRY_BYTES: Final = 16 * 1024 * 1024
"""How many bytes one entry may expand to, 16 MiB."""

MAX_TOTAL_BYTES: Final = 64 * 1024 * 1024
"""How many bytes all entries together may expand to, 64 MiB."""

MAX_RATIO: Final = 200
"""How many times its compressed size an entry of more than 64 KiB may expand to."""

_RATIO_FLOOR: Final = 64 * 1024
_MAX_SHEBANG: Final = 512
_MAX_NAME: Final = 512

_END: Final = struct.Struct("<4s4H2IH")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_END_MAGIC: Final = b"PK\x05\x06"
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_DESCRIPTOR_MAGIC: Final = b"PK\x07\x08"
_MAX_COMMENT: Final = 0xFFFF
_U16: Final = 0xFFFF
_U32: Final = 0xFFFF_FFFF

_STORED: Final = 0
_DEFLATED: Final = 8
_FLAG_ENCRYPTED: Final = 0x0001
_FLAG_DESCRIPTOR: Final = 0x0008
_FLAG_UTF8: Final = 0x0800
# Bits 1 and 2 tell how hard the compressor tried; they change nothing for a reader.
_FLAGS_KNOWN: Final = 0x0006 | _FLAG_DESCRIPTOR | _FLAG_UTF8
# Extra fields that give another size (ZIP64) or another name (Info-ZIP Unicode path) to readers
# that look at them.
_EXTRA_REFUSED: Final = frozenset({0x0001, 0x7075})
_EXTRA_HEADER: Final = struct.Struct("<HH")
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class EntryModule:
    """The module that holds the plugin's class: its dotted name, source and place in messages."""

    name: str
    source: bytes
    label: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Hold all files of a plugin archive, expanded and checked.

    Attributes:
        files: The bytes of every file by its name, such as ``guard/rules.json``.
        entry: The entry module: ``plugin.py``, or ``__init__.py`` of the only package.
    """

    files: Mapping[str, bytes]
    entry: EntryModule


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def read_archive(data: bytes, label: str) -> Archive:
    """Check the structure of an archive and expand all of it.

    Args:
        data: The whole file. A first line that begins with ``#!`` is allowed.
        label: The name of the archive in messages.

    Raises:
        InvalidPlugin: The code says which rule was broken (``archive.*``).
    """
    reader = _Reader(data, label)
    files = reader.read()
    return Archive(MappingProxyType(files), _find_entry(files, label))


def _find_entry(files: Mapping[str, bytes], label: str) -> EntryModule:
    """Return ``plugin.py``, or else the ``__init__.py`` of the only package at the top level."""
    if "plugin.py" in files:
        return EntryModule("plugin", files["plugin.py"], f"{label}/plugin.py")
    packages = sorted(
        name.partition("/")[0]
        for name in files
        if name.count("/") == 1 and name.endswith("/__init__.py")
    )
    if len(packages) == 1 and packages[0].isidentifier():
        place = f"{packages[0]}/__init__.py"
        return EntryModule(packages[0], files[place], f"{label}/{place}")
    found = ", ".join(name[:40] for name in packages[:5]) or "none"
    raise InvalidPlugin(
        f"{label} has neither plugin.py nor exactly one package at its top level (found: {found})",
        code="archive.layout",
        hint="pack one package with `python -m zipfile -c plugin.pyz <package>/`, or add a "
        "plugin.py that holds the decorated class",
    )


class _Reader:
    def __init__(self, data: bytes, label: str) -> None:
        self._data = data
        self._label = label

    def read(self) -> dict[str, bytes]:
        entries, directory = self._directory()
        self._check_names(entries)
        files: dict[str, bytes] = {}
        at = self._start()
        total = 0
        for entry in sorted(entries, key=lambda item: item.offset):
            # Entries follow each other without gap or overlap: nothing is hidden between them,
            # and no compressed bytes are counted once and expanded many times.
            if entry.offset != at:
                self._refuse(
                    f"entry {entry.name!r} begins at byte {entry.offset}, not at {at} where the "
                    "one before it ends"
                )
            start = self._check_local(entry, directory)
            content = self._expand(entry, start, MAX_TOTAL_BYTES - total)
            at = self._skip_descriptor(entry, start + entry.packed, directory)
            total += len(content)
            if not entry.name.endswith("/"):
                files[entry.name] = content
        if at != directory:
            self._refuse(f"{directory - at} bytes belong to no entry")
        return files

    def _refuse(
        self, message: str, code: str = "archive.structure", hint: str | None = None
    ) -> NoReturn:
        raise InvalidPlugin(
            f"{self._label}: {message}",
            code=code,
            hint=hint or "pack it again with `python -m zipfile -c plugin.pyz <package>/`",
        )

    def _start(self) -> int:
        """Return where the first entry must begin: 0, or after the interpreter line."""
        if not self._data.startswith(b"#!"):
            return 0
        end = self._data.find(b"\n", 0, _MAX_SHEBANG)
        if end < 0:
            self._refuse("the interpreter line has no end")
        return end + 1

    def _directory(self) -> tuple[list[_Entry], int]:
        """Read the end record and the central directory; return it and where it begins."""
        data = self._data
        at = data.rfind(_END_MAGIC, max(0, len(data) - _END.size - _MAX_COMMENT))
        if at < 0 or at + _END.size > len(data):
            self._refuse("no end record: the archive is cut off, or no zip archive")
        _, disk, first, here, count, size, offset, comment = _END.unpack_from(data, at)
        if at + _END.size + comment != len(data):
            self._refuse("bytes follow the end record")
        if disk or first or here != count:
            self._refuse("the archive is one of several parts")
        if _U16 in {count, here} or _U32 in {size, offset}:
            self._refuse("the archive is in the ZIP64 format", "archive.limits")
        if count > MAX_ENTRIES:
            self._refuse(
                f"{count} entries, more than {MAX_ENTRIES}",
                "archive.limits",
                "pack what the plugin needs at run time only",
            )
        start = at - size
        # An archive that was appended to an interpreter line counts its offsets from the zip's
        # own start; one that was written after it counts from the file's.
        shift = start - offset
        if start < 0 or shift not in {0, self._start()}:
            self._refuse(f"the central directory is not at byte {offset} where the end says")
        entries = []
        position = start
        for _ in range(count):
            entry, position = self._central(position, at, shift)
            entries.append(entry)
        if position != at:
            self._refuse("the central directory has another size than the end says")
        return entries, start

    def _central(self, at: int, end: int, shift: int) -> tuple[_Entry, int]:
        if at + _CENTRAL.size > end:
            self._refuse("the central directory is cut off")
        fields = _CENTRAL.unpack_from(self._data, at)
        magic, _, _, flags, method, _, _, crc, packed, size = fields[:10]
        name_size, extra_size, comment_size, disk, _, attributes, offset = fields[10:]
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_size
        after = extra_at + extra_size + comment_size
        if magic != _CENTRAL_MAGIC or after > end or disk:
            self._refuse("the central directory is damaged")
        raw_name = self._data[name_at:extra_at]
        name = self._decode(raw_name, flags)
        if _U32 in {packed, size, offset}:
            self._refuse(f"entry {name!r} is in the ZIP64 format", "archive.limits")
        self._check_flags(name, flags, method)
        self._check_extra(name, self._data[extra_at : extra_at + extra_size])
        self._check_type(name, attributes >> 16)
        if size > MAX_ENTRY_BYTES:
            self._too_large(name, f"to more than {MAX_ENTRY_BYTES} bytes")
        entry = _Entry(name, raw_name, flags, method, crc, packed, size, offset + shift)
        return entry, after

    def _decode(self, raw: bytes, flags: int) -> str:
        try:
            # Without the UTF-8 flag the encoding is whatever the packing system used.
            return raw.decode("utf-8" if flags & _FLAG_UTF8 else "ascii")
        except UnicodeDecodeError:
            self._refuse(
                f"the name {raw[:80]!r} is neither ASCII nor UTF-8",
                "archive.name",
                "rename it, or pack it with a tool that writes UTF-8 names",
            )

    def _check_flags(self, name: str, flags: int, method: int) -> None:
        if flags & _FLAG_ENCRYPTED:
            self._refuse(
                f"entry {name!r} is encrypted", "archive.encrypted", "pack it without a password"
            )
        if flags & ~_FLAGS_KNOWN:
            self._refuse(f"entry {name!r} has the unknown flags {flags & ~_FLAGS_KNOWN:#06x}")
        if method not in {_STORED, _DEFLATED}:
            self._refuse(
                f"entry {name!r} is compressed by method {method}",
                "archive.compression",
                "use deflate, the default of every tool, or no compression",
            )

    def _check_extra(self, name: str, extra: bytes) -> None:
        at = 0
        while at < len(extra):
            if at + _EXTRA_HEADER.size > len(extra):
                self._refuse(f"the extra field of entry {name!r} is damaged")
            kind, size = _EXTRA_HEADER.unpack_from(extra, at)
            at += _EXTRA_HEADER.size + size
            if kind in _EXTRA_REFUSED or at > len(extra):
                self._refuse(f"the extra field {kind:#06x} of entry {name!r} is not allowed")

    def _check_type(self, name: str, mode: int) -> None:
        wanted = stat.S_IFDIR if name.endswith("/") else stat.S_IFREG
        if stat.S_IFMT(mode) not in {0, wanted}:
            self._refuse(
                f"entry {name!r} is a link or special file (mode {mode:o})",
                "archive.link",
                "pack the file that the link points to",
            )

    def _check_names(self, entries: list[_Entry]) -> None:
        seen: dict[str, str] = {}
        for entry in entries:
            self._check_name(entry.name)
            key = _fold(entry.name.rstrip("/"))
            if key in seen:
                self._refuse(
                    f"the names {seen[key]!r} and {entry.name!r} are the same, or would be on "
                    "some file system",
                    "archive.duplicate",
                    "pack every file once",
                )
            seen[key] = entry.name
        for name in list(seen.values()):
            parent = name.rstrip("/")
            while "/" in parent:
                parent = parent.rpartition("/")[0]
                owner = seen.get(_fold(parent))
                if owner is not None and owner != f"{parent}/":
                    self._refuse(
                        f"{owner!r} and the directory of {name!r} have the same name",
                        "archive.duplicate",
                        "give the file or the directory another name",
                    )

    def _check_name(self, name: str) -> None:
        parts = name.removesuffix("/").split("/")
        bad = next((char for char in name if char in '\\:*?"<>|' or not char.isprintable()), None)
        if bad is not None:
            problem = f"contains {bad!r}"
        elif name.startswith("/"):
            problem = "is absolute"
        elif ".." in parts:
            problem = "leaves the archive"
        elif "" in parts or "." in parts:
            problem = "has an empty part"
        elif len(name) > _MAX_NAME:
            problem = f"is longer than {_MAX_NAME} characters"
        else:
            return
        self._refuse(
            f"the name {name[:80]!r} {problem}",
            "archive.name",
            "use relative names with '/' and without characters that file systems refuse",
        )

    def _check_local(self, entry: _Entry, limit: int) -> int:
        """Compare an entry's local header with the central one; return where its data begins."""
        at = entry.offset
        if at + _LOCAL.size > limit:
            self._refuse(f"entry {entry.name!r} is cut off")
        fields = _LOCAL.unpack_from(self._data, at)
        magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = fields
        name_at = at + _LOCAL.size
        extra_at = name_at + name_size
        start: int = extra_at + extra_size
        numbers = (crc, packed, size)
        late = bool(flags & _FLAG_DESCRIPTOR) and not any(numbers)
        if (
            magic != _LOCAL_MAGIC
            or start + entry.packed > limit
            or (flags, method) != (entry.flags, entry.method)
            or self._data[name_at:extra_at] != entry.raw_name
            or not (late or numbers == (entry.crc, entry.packed, entry.size))
        ):
            self._refuse(f"the two headers of entry {entry.name!r} contradict each other")
        self._check_extra(entry.name, self._data[extra_at:start])
        return start

    def _expand(self, entry: _Entry, start: int, budget: int) -> bytes:
        """Expand one entry, giving up at the first byte over a limit."""
        packed = memoryview(self._data)[start : start + entry.packed]
        allowed = min(MAX_ENTRY_BYTES, budget)
        if entry.packed * MAX_RATIO < entry.size and entry.size > _RATIO_FLOOR:
            self._too_large(entry.name, f"to more than {MAX_RATIO} times its compressed size")
        if entry.size > allowed:
            self._too_large(entry.name, f"the archive to more than {MAX_TOTAL_BYTES} bytes")
        if entry.method == _STORED:
            content = bytes(packed) if entry.packed == entry.size else b""
        else:
            content = self._inflate(entry, packed)
        if len(content) != entry.size or zlib.crc32(content) != entry.crc:
            self._refuse(f"the content of entry {entry.name!r} is not what its header says")
        if entry.name.endswith("/") and content:
            self._refuse(f"the directory {entry.name!r} has content")
        return content

    def _inflate(self, entry: _Entry, packed: memoryview) -> bytes:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        parts: list[bytes] = []
        count = 0
        pending: bytes | memoryview = packed
        try:
            while not stream.eof and count <= entry.size:
                # One byte more than announced is enough to see that there is more.
                part = stream.decompress(pending, min(_CHUNK, entry.size + 1 - count))
                pending = stream.unconsumed_tail
                if not part and not pending:
                    break
                count += len(part)
                parts.append(part)
        except zlib.error as err:
            raise InvalidPlugin(
                f"{self._label}: entry {entry.name!r} cannot be expanded: {err}",
                code="archive.structure",
                hint="the archive is damaged: copy or pack it again",
            ) from err
        if count > entry.size:
            self._too_large(entry.name, f"to more than the {entry.size} bytes that its header says")
        if not stream.eof or stream.unused_data or pending:
            self._refuse(f"the compressed data of entry {entry.name!r} does not end where it says")
        return b"".join(parts)

    def _too_large(self, name: str, what: str) -> NoReturn:
        self._refuse(
            f"entry {name!r} expands {what}",
            "archive.limits",
            f"the limits are {MAX_ENTRY_BYTES} bytes for one entry, {MAX_TOTAL_BYTES} for all, "
            f"and a ratio of {MAX_RATIO}",
        )

    def _skip_descriptor(self, entry: _Entry, at: int, limit: int) -> int:
        """Return where the entry ends, after the data descriptor if it has one."""
        if not entry.flags & _FLAG_DESCRIPTOR:
            return at
        numbers = struct.pack("<3I", entry.crc, entry.packed, entry.size)
        # The magic number in front of a descriptor is optional (APPNOTE 4.3.9.3).
        size = len(numbers)
        if self._data.startswith(_DESCRIPTOR_MAGIC, at):
            size += len(_DESCRIPTOR_MAGIC)
        if at + size > limit or not self._data[at : at + size].endswith(numbers):
            self._refuse(f"the data descriptor of entry {entry.name!r} contradicts its header")
        return at + size


def _fold(name: str) -> str:
    """Return the form in which file systems that ignore case and composition compare names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
