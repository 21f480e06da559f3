"""Make src/pluginapi/sandbox/seccomp/syscall_data.py from the user headers of a Linux kernel.

    python scripts/syscall_tables.py x86_64=DIR[:DIR] aarch64=DIR[:DIR] riscv64=DIR[:DIR]

Each DIR is a directory of headers: the one that holds asm/unistd.h, then those that it includes
from. Good sources are linux-libc-dev of a distribution, and the package ziglang of PyPI, whose
lib/libc/include has x86-linux-any, aarch64-linux-any, riscv-linux-any and any-linux-any of a recent
kernel. Needs a C compiler, which need not be one for that architecture. Standard library only.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "src" / "pluginapi" / "sandbox" / "seccomp" / "syscall_data.py"
ARCHITECTURES = ("x86_64", "aarch64", "riscv64")
WIDTH = 96

# Names in the headers that are bounds or private calls of 32-bit ABIs, not calls.
NO_CALLS = frozenset({"syscalls", "arch_specific_syscall"})


def read_numbers(directories: list[str], compiler: str = "cc") -> dict[str, int]:
    """Return the numbers of all calls in the headers, by name."""
    includes = [part for directory in directories for part in ("-isystem", directory)]
    done = subprocess.run(
        [
            *(compiler, "-E", "-dM", "-undef", "-nostdinc", "-D__LP64__", "-D__SIZEOF_POINTER__=8"),
            *(*includes, "-include", "asm/unistd.h", "-x", "c", "/dev/null"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    defined = dict(re.findall(r"^#define (__NR\w+) (\w+)$", done.stdout, re.MULTILINE))
    numbers = {}
    for macro, value in defined.items():
        name = macro.removeprefix("__NR_")
        if name == macro or name in NO_CALLS:
            continue
        text = value
        while text in defined:  # __NR_fcntl is __NR3264_fcntl is 25
            text = defined[text]
        if text.isdecimal():
            numbers[name] = int(text)
    return numbers


def read_version(directories: list[str]) -> str:
    """Return the version of the kernel that the headers are of."""
    for directory in directories:
        path = Path(directory, "linux", "version.h")
        if path.is_file():
            code = int(re.findall(r"LINUX_VERSION_CODE (\d+)", path.read_text())[0])
            return f"{code >> 16}.{code >> 8 & 255}"
    raise SystemExit(f"linux/version.h is in none of {' '.join(directories)}")


def lines_of(numbers: dict[str, int]) -> list[str]:
    """Return lines of names in the order of their numbers; each starts with its first number."""
    by_number = {number: name for name, number in sorted(numbers.items(), reverse=True)}
    lines: list[str] = []
    expected = -1
    for number in sorted(by_number):
        name = by_number[number]
        if number == expected and len(lines[-1]) + len(name) < WIDTH:
            lines[-1] += f" {name}"
        else:
            lines.append(f"{number} {name}")
        expected = number + 1
    return lines


def module(tables: dict[str, dict[str, int]], version: str) -> str:
    """Return the text of the module."""
    parts = [
        textwrap.dedent(f'''\
            """The numbers of system calls, made by scripts/syscall_tables.py: not to be edited.

            A line is the number of its first name; the others follow it without a gap.
            """

            from __future__ import annotations

            from typing import Final

            __all__ = ["KERNEL", "NAMES"]

            # The kernel whose headers they are of.
            KERNEL: Final = "{version}"

            NAMES: Final = {{
            ''')
    ]
    for arch, numbers in tables.items():
        parts.append(f'    "{arch}": """\n' + "\n".join(lines_of(numbers)) + '\n""",\n')
    parts.append("}\n")
    return "".join(parts)


def main() -> int:
    """Write the module; exit 2 when the arguments are wrong."""
    sources = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    if tuple(sources) != ARCHITECTURES:
        print(__doc__, file=sys.stderr)
        return 2
    directories = {arch: value.split(":") for arch, value in sources.items()}
    versions = {read_version(found) for found in directories.values()}
    if len(versions) != 1:
        print(f"headers of several kernels: {' '.join(sorted(versions))}", file=sys.stderr)
        return 2
    tables = {arch: read_numbers(found) for arch, found in directories.items()}
    TARGET.write_text(module(tables, versions.pop()))
    print({arch: len(numbers) for arch, numbers in tables.items()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
