"""Run a command in a throw-away virtual machine, with the files and the directory of this one.

It has a kernel of Debian's and this machine's root file system, read only under a layer of memory:
the same Python, the same checkout, and everything that is written is gone afterwards. So it is the
place for what changes a whole machine, and for kernels and layouts of control groups that this
machine has not. It is emulated (no KVM): programs are 20 to 50 times slower.

The exit status is the command's; 2 when the machine cannot be made, 124 when it took too long, 125
when it stopped before the command did. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from vm import initramfs, kernels
from vm.errors import MachineError
from vm.machine import Machine

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".vm"
BUSYBOX = Path("/bin/busybox")
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "depmod": "kmod",
}
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")


def main() -> int:
    """Make the machine, run the command, and return its exit status."""
    options = parse()
    try:
        check_tools()
        image, base = files(kernels.SERIES[options.kernel])
        machine = Machine(
            image, base, options.cgroups, options.memory, options.cpus, options.timeout
        )
    except MachineError as err:
        print(f"vm: {err}", file=sys.stderr)
        return 2
    return machine.run(options.command, environment(options.cgroups, image.name))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--kernel", choices=kernels.SERIES, default="6.1", help="the series of kernels [6.1]"
    )
    parser.add_argument(
        "--cgroups",
        choices=("v2", "v1", "hybrid"),
        default="v2",
        help="how control groups are mounted [v2]",
    )
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB", help="memory [1024]")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="processors [2]")
    parser.add_argument(
        "--timeout", type=float, default=900, metavar="SECONDS", help="the longest run [900]"
    )
    parser.add_argument("command", nargs="+", help="what to run")
    return parser.parse_args()


def check_tools() -> None:
    """Raise MachineError when tools are missing, with the command that installs them."""
    lacks = {tool: package for tool, package in NEEDED.items() if shutil.which(tool) is None}
    if shutil.which(kernels.depmod()) is not None:
        lacks.pop("depmod", None)
    if not BUSYBOX.exists() or _is_dynamic(BUSYBOX):
        lacks["a busybox without shared libraries"] = "busybox-static"
    if lacks:
        raise MachineError("missing: " + ", ".join(lacks), packages=[*lacks.values()])


def _is_dynamic(program: Path) -> bool:
    """Tell whether a program of ELF names an interpreter, as those with shared libraries do."""
    return b"ld-linux" in program.read_bytes()[:4096]


def files(series: kernels.Series) -> tuple[Path, Path]:
    """Return the kernel of a series and the archive that it starts with, made when needed.

    Raises:
        MachineError: When they cannot be made.
    """
    package = kernels.fetch(series, CACHE)
    made_of = hashlib.sha256(package.name.encode())
    for source in (Path(initramfs.__file__), initramfs.INIT, BUSYBOX):
        made_of.update(source.read_bytes())
    directory = package.parent / f"made-{made_of.hexdigest()[:16]}"
    if not directory.exists():
        with tempfile.TemporaryDirectory(dir=package.parent) as temporary:
            kernel = kernels.unpack(package, Path(temporary, "unpacked"))
            new = Path(temporary, "made")
            new.mkdir()
            shutil.copy(kernel.image, new / f"vmlinuz-{kernel.release}")
            (new / "initramfs").write_bytes(initramfs.base(kernel, BUSYBOX))
            for old in package.parent.glob("made-*"):
                shutil.rmtree(old)
            new.rename(directory)
    (image,) = directory.glob("vmlinuz-*")
    return image, directory / "initramfs"


def environment(cgroups: str, image: str) -> dict[str, str]:
    """Return the environment of the command: a part of this one, and what tells where it runs."""
    names = [name for name in os.environ if name in INHERITED or name.startswith("PLUGINAPI_")]
    return {
        **{name: os.environ[name] for name in names},
        "TMPDIR": "/vm/tmp",
        "PLUGINAPI_VM": f"{image.removeprefix('vmlinuz-')} {cgroups}",
    }


if __name__ == "__main__":
    raise SystemExit(main())
