"""The file system that the virtual machine starts with: busybox, a few modules and `init.sh`."""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vm.errors import MachineError
from vm.kernels import Kernel

INIT = Path(__file__).with_name("init.sh")
# What the machine cannot start without; what they depend on is found.
# vsock: what the attacks of tests/escape look for, which the kernel would load on demand elsewhere.
MODULES = (
    *("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "vsock"),
    # What a machine with a network loads by itself: sock_diag, links and the firewall. The first is
    # what another one needs without saying so in modules.dep.
    "crc32c_generic",
    *("tcp_diag", "veth", "nf_tables", "nft_ct", "nft_reject_inet", "nft_chain_nat", "nft_masq"),
    "nft_connlimit",
)


@dataclass(frozen=True)
class Entry:
    """A file of an archive.

    Attributes:
        mode: Kind and permissions, as in stat(2).
        data: What it holds.
        device: Major and minor number of a device.
    """

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def archive(entries: Mapping[str, Entry]) -> bytes:
    """Return a cpio archive as the kernel reads it ("newc"); directories have to come first.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
    """
    end = ("TRAILER!!!", Entry(0))
    return b"".join(
        _record(number, name, entry)
        for number, (name, entry) in enumerate([*entries.items(), end], 1)
    )


def _record(number: int, name: str, entry: Entry) -> bytes:
    path = os.fsencode(name) + b"\0"
    links, owner, time, check = 1, 0, 0, 0
    fields = (
        *(number, entry.mode, owner, owner, links, time, len(entry.data)),
        *(0, 0, *entry.device, len(path), check),
    )
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def base(kernel: Kernel, busybox: Path) -> bytes:
    """Return the archive that is the same for every run with a kernel.

    Raises:
        MachineError: When the kernel lacks a module.
    """
    modules = {}
    for path in load_order(kernel.modules, MODULES):
        data, name = (kernel.modules / path).read_bytes(), Path(path).name
        if name.endswith(".xz"):
            # Busybox loads plain files alone.
            data, name = lzma.decompress(data), name.removesuffix(".xz")
        modules[name] = data
    entries = {name: Entry(0o040755) for name in ("bin", "dev", "modules")}
    entries["dev/console"] = Entry(0o020600, device=(5, 1))
    entries["bin/busybox"] = Entry(0o100755, busybox.read_bytes())
    entries["init"] = Entry(0o100755, INIT.read_bytes())
    entries["modules/order"] = Entry(0o100644, "\n".join(modules).encode())
    for name, data in modules.items():
        entries[f"modules/{name}"] = Entry(0o100644, data)
    return archive(entries)


def job(command: str, cgroups: str) -> bytes:
    """Return the archive that is unpacked on top of it for one run."""
    return archive(
        {
            "job": Entry(0o040755),
            "job/command": Entry(0o100644, command.encode()),
            "job/cgroups": Entry(0o100644, cgroups.encode()),
        }
    )


def load_order(modules: Path, wanted: Iterable[str]) -> list[str]:
    """Return the files of modules and of those that they need, in the order to load them in.

    Args:
        modules: A directory with ``modules.dep`` and ``modules.builtin``.
        wanted: Names of modules; those that are part of the kernel itself need no file.

    Raises:
        MachineError: When the kernel has no such module.
    """
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    paths = {_name(path): path for path in needs}
    builtin = {_name(path) for path in (modules / "modules.builtin").read_text().split()}
    order: dict[str, None] = {}
    for name in wanted:
        if name in paths:
            # depmod lists what a module needs with the deepest last.
            order.update(dict.fromkeys((*reversed(needs[paths[name]]), paths[name])))
        elif name not in builtin:
            raise MachineError(f"the kernel {modules.name} has no module {name}")
    return list(order)


def _name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")
