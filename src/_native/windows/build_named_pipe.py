"""Bind named_pipe.c with cffi: `setup.py` uses this on Windows."""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

_HERE = Path(__file__).parent

ffibuilder = FFI()
ffibuilder.cdef((_HERE / "named_pipe.h").read_text())
ffibuilder.set_source(
    "pluginapi._native._named_pipe",
    (_HERE / "named_pipe.c").read_text(),
    include_dirs=[str(_HERE)],
    libraries=["advapi32"],
)
