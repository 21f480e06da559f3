"""Starting the virtual machine, and what comes out of it."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm import initramfs

# crypto: its self tests take seconds. mitigations: there is nobody to defend against.
PARAMETERS = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check "
    "cryptomgr.notests random.trust_cpu=on"
)
CONSOLE_SHOWN = 3000
NO_END, TIMED_OUT = 125, 124


@dataclass(frozen=True)
class Machine:
    """What is started.

    Attributes:
        kernel: The image of the kernel.
        base: The archive that it starts with.
        cgroups: How control groups are mounted: ``v2``, ``v1`` or ``hybrid``.
        memory_mib: Memory.
        processors: Processors.
        seconds: When it is ended.
    """

    kernel: Path
    base: Path
    cgroups: str
    memory_mib: int
    processors: int
    seconds: float

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a command in this directory; pass on what it prints, return its exit status.

        `TIMED_OUT` when it was ended, `NO_END` when the machine stopped before the command did;
        then the end of the kernel's messages goes to standard error.
        """
        with tempfile.TemporaryDirectory(prefix="pluginapi-vm-") as temporary:
            directory = Path(temporary)
            initrd, status = directory / "initrd", directory / "status"
            console = directory / "console"
            script = _script(command, environment, Path.cwd())
            initrd.write_bytes(self.base.read_bytes() + initramfs.job(script, self.cgroups))
            ours, theirs = os.pipe()
            arguments = self._arguments(initrd, console, status, theirs)
            try:
                process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=(theirs,))
            finally:
                os.close(theirs)
            with _ended(process):
                copier = threading.Thread(target=_copy, args=(ours,))
                copier.start()
                timed_out = not _wait(process, self.seconds)
            copier.join()
            ended = status.read_text("ascii").strip() if status.exists() else ""
            if ended.isdigit():
                return int(ended)
            messages = console.read_text(errors="replace") if console.exists() else ""
        what = f"took more than {self.seconds:g} s and was ended" if timed_out else "stopped"
        print(
            f"{messages[-CONSOLE_SHOWN:]}\nvm: the machine {what}; above is what its kernel said",
            file=sys.stderr,
        )
        return TIMED_OUT if timed_out else NO_END

    def _arguments(self, initrd: Path, console: Path, status: Path, output: int) -> list[str]:
        files = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
        return [
            *("qemu-system-x86_64", "-M", "q35", "-nodefaults", "-no-user-config"),
            # Emulated, so that it runs in virtual machines too, and wherever Linux does. Without
            # la57 the kernel spares itself a level of page tables.
            *("-accel", "tcg", "-cpu", "max,la57=off", "-smp", str(self.processors)),
            *("-m", str(self.memory_mib), "-no-reboot", "-display", "none"),
            *("-kernel", str(self.kernel), "-initrd", str(initrd), "-append", PARAMETERS),
            *("-serial", f"file:{console}", "-device", "virtio-serial-pci"),
            *("-add-fd", f"fd={output},set=1"),
            *("-chardev", "file,id=output,path=/dev/fdset/1,append=on"),
            *("-device", "virtserialport,chardev=output,nr=1"),
            *("-chardev", f"file,id=status,path={status}"),
            *("-device", "virtserialport,chardev=status,nr=2"),
            *("-fsdev", files, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        ]


def _script(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> str:
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()
    )
    return f"cd {shlex.quote(str(directory))} || exit\n{exports}exec {shlex.join(command)}\n"


def _copy(source: int) -> None:
    with open(source, "rb", buffering=0) as output:
        while data := output.read(1 << 16):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a process; tell whether it came in time."""
    until = time.monotonic() + seconds
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, until - time.monotonic()))
        return True
    return False


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process with the block, whatever happens in it."""
    try:
        yield
    finally:
        process.kill()
        process.wait()
