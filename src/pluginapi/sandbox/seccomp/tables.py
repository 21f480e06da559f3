"""Architectures, and the numbers of their system calls."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

from pluginapi.errors import InvalidSeccompFilter, UnsupportedPlatform
from pluginapi.sandbox.seccomp.syscall_data import NAMES

__all__ = ["ARCHITECTURES", "KNOWN", "Architecture", "architecture"]


def _table(text: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for line in text.split("\n"):
        if line:
            first, *names = line.split()
            numbers.update(zip(names, range(int(first), int(first) + len(names)), strict=True))
    return numbers


@dataclass(frozen=True)
class Architecture:
    """Describe how an architecture makes system calls.

    Attributes:
        name: As ``uname -m`` names it.
        audit: AUDIT_ARCH_* of <linux/audit.h>, what a filter finds in seccomp_data.arch.
        big_endian: Whether the high half of an argument comes first in memory.
        end: Numbers from here on belong to another ABI (x32), or 0 when there is none.
        docker: The architecture's name in the conditions of Docker's profiles.
        scmp: Its name in their lists of architectures.
    """

    name: str
    audit: int
    big_endian: bool
    end: int
    docker: str
    scmp: str

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each system call that Linux has, by name."""
        return _table(NAMES[self.name])

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each system call, by number."""
        return {number: name for name, number in self.numbers.items()}

    def __hash__(self) -> int:
        return hash(self.name)


ARCHITECTURES: Final = MappingProxyType(
    {
        arch.name: arch
        for arch in (
            Architecture("x86_64", 0xC000_003E, False, 0x4000_0000, "amd64", "SCMP_ARCH_X86_64"),
            Architecture("aarch64", 0xC000_00B7, False, 0, "arm64", "SCMP_ARCH_AARCH64"),
            Architecture("riscv64", 0xC000_00F3, False, 0, "riscv64", "SCMP_ARCH_RISCV64"),
        )
    }
)

_OTHER_NAMES: Final = {"amd64": "x86_64", "AMD64": "x86_64", "arm64": "aarch64"}


def architecture(name: str | Architecture | None = None) -> Architecture:
    """Return an architecture by its name; without one, that of this machine.

    Raises:
        InvalidSeccompFilter: With code ``seccomp.arch`` when the name is unknown.
        UnsupportedPlatform: There is no table for this machine.
    """
    if isinstance(name, Architecture):
        return name
    machine = platform.machine()
    wanted = machine if name is None else name
    found = ARCHITECTURES.get(_OTHER_NAMES.get(wanted, wanted))
    if found is not None:
        return found
    known = ", ".join(ARCHITECTURES)
    if name is None:
        raise UnsupportedPlatform(
            f"there is no table of system calls for {machine!r}",
            hint=f"filters are made for {known}; name one of them to make it on this machine",
        )
    raise InvalidSeccompFilter(
        f"there is no table of system calls for the architecture {name!r}",
        code="seccomp.arch",
        hint=f"name one of {known}",
    )


# The names of the calls of all architectures.
KNOWN: Final[frozenset[str]] = frozenset().union(*(arch.numbers for arch in ARCHITECTURES.values()))
