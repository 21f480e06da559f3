"""Name the functions that addresses of a native process belong to."""

from __future__ import annotations

import bisect
import itertools
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pluginapi.errors import UnsupportedPlatform

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["AddressNames", "Mapping", "read_mappings"]

_MOST_BYTES: Final = 512 << 20
_MOST_SYMBOLS: Final = 1_000_000
_MEMORY_FILE: Final = "/memfd:"

_log = logging.getLogger("pluginapi.profiling")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Describe a part of a process's memory that may hold code; a line of ``/proc/PID/maps``.

    Attributes:
        start: First address.
        end: First address behind it.
        offset: Where it begins in its file.
        device: Device of the file, as ``major:minor`` in hexadecimal.
        inode: Number of the file, or 0.
        path: Path of the file, or what the kernel calls it.
    """

    start: int
    end: int
    offset: int
    device: str
    inode: int
    path: str


def read_mappings(text: str) -> list[Mapping]:
    """Return what can be executed of the content of ``/proc/PID/maps``; proc_pid_maps(5)."""
    found = []
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 5 or "x" not in fields[1]:  # noqa: PLR2004 - the path may be absent
            continue
        start, _, end = fields[0].partition("-")
        try:
            numbers = int(start, 16), int(end, 16), int(fields[2], 16), int(fields[4])
        except ValueError:
            continue
        path = fields[5] if len(fields) > 5 else ""  # noqa: PLR2004 - as above
        found.append(Mapping(*numbers[:3], fields[3], numbers[3], path))
    return sorted(found, key=lambda each: each.start)


class AddressNames:
    """Name addresses of a process as ``function (file)``, or ``[file]`` where that is all.

    Functions are known of files that are those which the process has mapped, by device and inode,
    and of the plugin, which is mapped from memory.

    Args:
        mappings: What the process has mapped.
        plugin: The plugin's file.

    Raises:
        UnsupportedPlatform: pyelftools is not installed.
    """

    def __init__(self, mappings: list[Mapping], plugin: Path) -> None:
        self._mappings = mappings
        self._starts = [each.start for each in mappings]
        self._plugin = plugin
        self._files: dict[str, Callable[[int], str | None]] = {}

    def name(self, address: int) -> str:
        """Return the name of an address."""
        place = bisect.bisect_right(self._starts, address) - 1
        if place < 0 or address >= self._mappings[place].end:
            return "[unknown]"
        mapping = self._mappings[place]
        label = self._label(mapping)
        if mapping.path not in self._files:
            self._files[mapping.path] = self._functions(mapping)
        name = self._files[mapping.path](address - mapping.start + mapping.offset)
        return f"[{label}]" if name is None else f"{name} ({label})"

    def _is_plugin(self, mapping: Mapping) -> bool:
        return mapping.path.startswith(_MEMORY_FILE)

    def _label(self, mapping: Mapping) -> str:
        if self._is_plugin(mapping):
            return self._plugin.name
        return mapping.path.rpartition("/")[2].strip("[]") or "anonymous"

    def _functions(self, mapping: Mapping) -> Callable[[int], str | None]:
        path = self._plugin if self._is_plugin(mapping) else Path(mapping.path)
        if not path.is_absolute():
            return _nothing
        try:
            # What a process has mapped may be anything: a pipe would keep us waiting.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return _nothing
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
                return _nothing
            if not self._is_plugin(mapping) and not _same(found, mapping):
                return _nothing
            return _functions_of(file)


def _same(found: os.stat_result, mapping: Mapping) -> bool:
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    return (device, found.st_ino) == (mapping.device, mapping.inode)


def _nothing(offset: int) -> str | None:
    del offset
    return None


def _functions_of(file: BinaryIO) -> Callable[[int], str | None]:
    try:
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - an extra
        from elftools.elf.sections import SymbolTableSection  # noqa: PLC0415 - as above
    except ImportError as err:
        raise UnsupportedPlatform(
            "pyelftools is not installed, which names the functions of native code",
            hint="run: pip install 'pluginapi[profile]'",
        ) from err
    try:
        elf = ELFFile(file)
        segments = [
            (each["p_offset"], each["p_filesz"], each["p_vaddr"])
            for each in elf.iter_segments()
            if each["p_type"] == "PT_LOAD"
        ]
        functions = sorted(
            {
                (symbol["st_value"], symbol["st_size"], symbol.name)
                for section in elf.iter_sections()
                if isinstance(section, SymbolTableSection)
                for symbol in itertools.islice(section.iter_symbols(), _MOST_SYMBOLS)
                if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_value"]
            }
        )
    except Exception as err:  # noqa: BLE001 - a broken library raises anything there
        _log.debug("a library has no names that can be read: %r", err)
        return _nothing
    starts = [start for start, _, _ in functions]

    def name(offset: int) -> str | None:
        for begin, size, address in segments:
            if begin <= offset < begin + size:
                wanted = offset - begin + address
                break
        else:
            return None
        place = bisect.bisect_right(starts, wanted) - 1
        if place < 0:
            return None
        start, size, found = functions[place]
        return found if wanted < start + max(size, 1) else None

    return name
