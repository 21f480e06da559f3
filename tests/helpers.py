"""Build plugin files of every kind for tests, sound ones and damaged ones."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from typing import TYPE_CHECKING

from pluginapi.metadata.native_blob import encode_native_blob

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SOURCE = """\
from pluginapi.plugin import make_plugin


@make_plugin(name="acme.guard", version="1.2.3", author="Acme")
class Guard:
    pass
"""

FIELDS = {"name": "acme.guard", "version": "1.2.3", "author": "Acme"}


def source(body: str = "    pass\n", *, head: str = "", arguments: str = "") -> str:
    """Return the source of a plugin class `Guard` with these statements in it."""
    return (
        f"{head}from pluginapi.plugin import make_plugin\n\n\n"
        f'@make_plugin(name="acme.guard", version="1.2.3", author="Acme"{arguments})\n'
        f"class Guard:\n{body}"
    )


def pyz(files: Mapping[str, str | bytes], *, shebang: bytes = b"") -> bytes:
    """Return a deflated zip archive of these files."""
    stream = io.BytesIO()
    stream.write(shebang)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def elf(payload: bytes = b"") -> bytes:
    """Return a minimal 64-bit ELF shared object for this processor, with a payload in it."""
    size = 64 + 56 + len(payload)
    machine = {"x86_64": 62, "aarch64": 183}.get(_machine(), 62)
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    return header + segment + payload


def native(fields: Mapping[str, object] | None = None) -> bytes:
    """Return a minimal ELF shared object that carries a manifest."""
    return elf(b"data" + encode_native_blob(fields or FIELDS) + b"more data")


def write(directory: Path, name: str, data: bytes | str) -> Path:
    """Write a file and return its path."""
    path = directory / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def _machine() -> str:
    import platform

    return platform.machine() if sys.platform != "win32" else "x86_64"
