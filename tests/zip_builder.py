"""Writes zip archives field by field, so that any of them can be wrong."""

from __future__ import annotations

import struct
import zlib

__all__ = ["Zip"]


class Zip:
    """Write an archive field by field, so that any of them can be wrong."""

    def __init__(self) -> None:
        self.body = b""
        self.directory = b""
        self.count = 0

    def add(
        self,
        name: bytes,
        content: bytes = b"",
        *,
        method: int = 8,
        flags: int = 0x800,
        mode: int = 0,
        packed: bytes | None = None,
        local_name: bytes | None = None,
        central_size: int | None = None,
        local_size: int | None = None,
        crc: int | None = None,
        offset: int | None = None,
        extra: bytes = b"",
        local_extra: bytes = b"",
        descriptor: bytes | None = None,
        disk: int = 0,
    ) -> Zip:
        if packed is None:
            squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
            packed = squeeze.compress(content) + squeeze.flush() if method == 8 else content
        crc = zlib.crc32(content) if crc is None else crc
        size = len(content) if central_size is None else central_size
        if offset is None:
            offset = len(self.body)
        numbers = (crc, len(packed), size if local_size is None else local_size)
        here = (0, 0, 0) if descriptor is not None else numbers
        shown = name if local_name is None else local_name
        head = struct.pack(
            "<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 33, *here, len(shown), len(local_extra)
        )
        self.body += head + shown + local_extra + packed + (descriptor or b"")
        self.directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 0x314, 20, flags, method, 0, 33, crc, len(packed), size,
            len(name), len(extra), 0, disk, 0, mode << 16, offset,
        ) + name + extra  # fmt: skip
        self.count += 1
        return self

    def end(
        self, *, count: int | None = None, comment: bytes = b"", shift: int = 0, gap: bytes = b""
    ) -> bytes:
        count = self.count if count is None else count
        body = self.body + gap
        tail = struct.pack(
            "<4s4H2IH",
            b"PK\5\6",
            0,
            0,
            count,
            count,
            len(self.directory),
            len(body) + shift,
            len(comment),
        )
        return body + self.directory + tail + comment
