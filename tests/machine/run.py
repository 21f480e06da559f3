"""Run the harnesses on real AVX-512 instructions, in Bochs, an emulator of whole machines.

Exits 0 when every harness ended well, 1 when one did not, 2 when the tools are missing. The machine
has no operating system: this directory has its ROM and the few functions of the C library that the
harnesses need. For Ed25519 it is the fuzz target, with random inputs. Bochs decodes what the
compiler made of the intrinsics, with masks, immediates and the 52-bit multiply-add, so this checks
both the kernels and the emulation of the intrinsics.

Standard library only.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "src" / "_native" / "kernels"
HARNESS = ROOT / "tests" / "native_harness"
FUZZ = ROOT / "tests" / "fuzz"
MACHINE = Path(__file__).parent
# The first that Bochs 2.7 has with AVX-512 IFMA.
PROCESSOR = "corei7_icelake_u"
SECONDS = 600
VGA_BIOS = Path("/usr/share/vgabios/vgabios.bin")
BLOCK = 65536

FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-U_FORTIFY_SOURCE", "-DPA_NO_SYSTEM", f"-I{KERNELS}"),
    *("-ffreestanding", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror"),
)
LINK = (
    *("-static", "-nostdlib", "-no-pie", f"-Wl,-T,{MACHINE / 'program.ld'}"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--no-warn-rwx-segments"),
)
EMULATED = ("-DPA_CPU_EMULATED", f"-I{HARNESS / 'emulation'}", "-Wno-psabi")

# A part is a source with the flags that it needs besides.
Part = tuple[Path, tuple[str, ...]]


def kernels(*names: str, without: Sequence[str] = ()) -> list[Part]:
    """Return the sources of some kernels, without the files that need an operating system."""
    paths = [path for name in names for path in sorted((KERNELS / name).glob("*.c"))]
    return [(path, ("-O2",)) for path in paths if path.name not in without]


CHECK = HARNESS / "intrinsics_check.c"
# What is run: the parts of each program, and what it has to print.
PROGRAMS: dict[str, tuple[list[Part], str]] = {
    "keccak": (
        [
            (HARNESS / "keccak_harness.c", ("-O2",)),
            *kernels("cpu", "keccak", without=["files_posix.c"]),
        ],
        "5 levels ok\n",
    ),
    "ed25519": (
        [
            (FUZZ / "random_inputs.c", ("-O2", "-DINPUTS=16")),
            (FUZZ / "ed25519_fuzz.c", ("-O2",)),
            *kernels("cpu", "ed25519"),
        ],
        "16 inputs up to avx512ifma: ok\n",
    ),
    "intrinsics": (
        [
            (CHECK, ("-O0", "-DINTRINSICS_TABLE=intrinsics_emulated", *EMULATED)),
            (CHECK, ("-O1", "-DINTRINSICS_TABLE=intrinsics_native")),
            (CHECK, ("-O2",)),
            *kernels("cpu"),
        ],
        "calls compared, 0 differ\n",
    ),
}


def missing() -> list[str]:
    """Return the tools that are not there, with what brings them."""
    lacks = [
        f"{tool} ({package})"
        for tool, package in {
            "bochs": "bochs, bochs-term",
            "cc": "gcc",
            "ld": "binutils",
            "objcopy": "binutils",
        }.items()
        if shutil.which(tool) is None
    ]
    if not VGA_BIOS.exists():
        lacks.append(f"{VGA_BIOS} (vgabios)")
    return lacks


def build(name: str, directory: Path) -> Path:
    """Make the ROM that holds a program and boots it."""
    parts = [*PROGRAMS[name][0], (MACHINE / "library.c", ("-O1", "-fno-builtin"))]
    objects = []
    for number, (source, flags) in enumerate(parts):
        objects.append(str(directory / f"{name}{number}.o"))
        subprocess.run(["cc", *FLAGS, *flags, "-c", "-o", objects[-1], str(source)], check=True)
    program, binary = directory / f"{name}.elf", directory / f"{name}.bin"
    subprocess.run(["cc", *LINK, "-o", str(program), *objects, "-lgcc"], check=True)
    subprocess.run(["objcopy", "-O", "binary", str(program), str(binary)], check=True)
    image = binary.read_bytes()
    image += bytes(-len(image) % BLOCK)
    boot, boot_object = directory / "boot.bin", str(directory / "boot.o")
    subprocess.run(
        ["cc", f"-DPROGRAM_SIZE={len(image)}", "-c", "-o", boot_object, str(MACHINE / "rom.S")],
        check=True,
    )
    subprocess.run(
        [
            *("ld", "-Ttext", "0", "--oformat", "binary", "-e", "0"),
            *("-o", str(boot), boot_object),
        ],
        check=True,
    )
    rom = directory / f"{name}.rom"
    rom.write_bytes(image + boot.read_bytes())
    return rom


def configure(rom: Path, printed: Path, log: Path) -> str:
    """Return what Bochs is told: a processor, memory, a ROM and a serial port."""
    return f"""\
config_interface: textconfig
display_library: term
megs: 256
cpu: model={PROCESSOR}, count=1, ips=50000000, reset_on_triple_fault=0
romimage: file={rom}
vgaromimage: file={VGA_BIOS}
com1: enabled=1, mode=file, dev={printed}
clock: sync=none
sound: waveoutdrv=dummy
log: {log}
panic: action=fatal
error: action=report
info: action=ignore
"""


def emulate(rom: Path, directory: Path) -> str:
    """Run the machine until it ends itself; return what it printed on its serial port."""
    printed, log = directory / f"{rom.stem}.txt", directory / f"{rom.stem}.log"
    configuration, commands = directory / "bochsrc", directory / "commands"
    configuration.write_text(configure(rom, printed, log))
    commands.write_text("c\n")  # Debian's build has the debugger, which waits for this.
    # The only display that opens neither a window nor a port wants a terminal.
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bochs", "-q", "-f", str(configuration), "-rc", str(commands)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    )
    end = time.monotonic() + SECONDS
    while process.poll() is None:
        if time.monotonic() > end:
            process.kill()
        if select.select([ours], [], [], 0.2)[0]:
            os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    if not printed.exists():
        return f"nothing was printed; the end of the log:\n{log.read_text()[-600:]}"
    return printed.read_text(errors="replace")


def main() -> int:
    """Build and run every program."""
    lacks = missing()
    if lacks:
        print("missing: " + "; ".join(lacks), file=sys.stderr)
        print(
            "Debian, Ubuntu:  sudo apt-get install --no-install-recommends "
            "gcc binutils bochs bochs-term bochsbios vgabios",
            file=sys.stderr,
        )
        return 2
    failed = 0
    for name, (_, expected) in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            began = time.monotonic()
            printed = emulate(build(name, directory), directory)
        good = printed.endswith(f"{expected}exit 0\n")
        failed += not good
        print(f"{name}: {'ok' if good else 'FAILED'} ({time.monotonic() - began:.0f} s)")
        print("  " + "\n  ".join(printed.splitlines()[-40:]))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
