"""The attacks, what they are to reach, and what came of them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from escape.cases import CASES
from escape.runner import run, run_in_plugin
from native_build import INCLUDE

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]

SOURCE = Path(__file__).parent / "attack.c"
PLUGIN = Path(__file__).parent / "attack_plugin.c"
NOBODY = 65_534


@dataclass(frozen=True)
class Arena:
    """A host with secrets, sockets and keys that attacks are after.

    Attributes:
        directory: Has the attacks; it is shown in the sandbox.
        words: What stands for the names in braces.
    """

    directory: Path
    words: dict[str, str]

    def args(self, args: tuple[str, ...]) -> list[str]:
        return [arg.format_map(self.words) for arg in args]

    def unconfined(self, args: tuple[str, ...], **options: Any) -> int:
        """Run an attack with nothing around it; return its exit status."""
        command = [str(self.directory / "attack"), *self.args(args)]
        return subprocess.run(command, check=False, timeout=60, **options).returncode


def _add_key(name: str) -> None:
    # The number of add_key(2), which has no function in the C library.
    number = {"x86_64": 248, "aarch64": 217, "riscv64": 217}[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    value = b"hunter2"
    session = ctypes.c_int(-3)
    if libc.syscall(number, b"user", name.encode(), value, len(value), session) < 0:
        raise OSError(ctypes.get_errno(), "add_key")


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with ExitStack() as stack:
        # Not pytest's directory, which other users may not enter.
        directory = Path(tempfile.mkdtemp(prefix="pluginapi-escape-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        subprocess.run(
            ["cc", "-std=gnu11", "-O1", "-static", "-o", directory / "attack", SOURCE, "-lutil"],
            check=True,
        )
        subprocess.run(
            [
                *("cc", "-std=gnu11", "-O1", "-shared", "-fPIC", f"-I{INCLUDE}", "-pthread"),
                *("-o", directory / "attack.so", PLUGIN, "-lutil"),
            ],
            check=True,
        )
        outside = Path(tempfile.mkdtemp(prefix="pluginapi-secret-"))
        stack.callback(shutil.rmtree, outside)
        outside.chmod(0o755)
        secret = outside / "secret"
        secret.write_text("hunter2")
        secret.chmod(0o666)
        os.chown(secret, NOBODY, NOBODY) if os.getuid() == 0 else None
        abstract = f"pluginapi-escape-{os.getpid()}"
        words = {"shown": str(directory), "secret": str(secret), "abstract": abstract}
        for kind, address in (("abstract", f"\0{abstract}"), ("socket", str(outside / "socket"))):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen(64)
            if kind == "socket":
                words["socket"] = address
                Path(address).chmod(0o777)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        words |= {"tcp": str(tcp.getsockname()[1]), "udp": str(udp.getsockname()[1])}
        host = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _HOST],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert host.stdout is not None
        words |= {"host": str(host.pid), "address": host.stdout.readline().strip()}
        stack.callback(host.kill)
        _add_key("pluginapi-escape")
        yield Arena(directory, words)


# A process of the host's, with something in its memory.
_HOST = """
import ctypes, sys
secret = ctypes.create_string_buffer(b"hunter2")
print(ctypes.addressof(secret), flush=True)
sys.stdin.read()
"""


def as_its_user(tier: str, function: Callable[[], Any]) -> Any:
    """Call a function in a child that is another user where the tier is not root's.

    A fork, since that user may not be let read the interpreter's files: all has been imported.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.umask(0o022)
            if tier != "root" and os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            text = json.dumps(function())
            status = 0
        except BaseException:  # noqa: BLE001 - the parent raises it
            text = traceback.format_exc()
        with os.fdopen(write, "w") as out:
            out.write(text)
        os._exit(status)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text
    return json.loads(text)


@pytest.fixture(scope="module")
def outcome(arena: Arena) -> Callable[[str, str], list[Any]]:
    """Return how an attack ended in a tier; those of a tier run one by one, each in a sandbox."""
    return _finding(arena, run, {case.name: arena.args(case.args) for case in CASES})


@pytest.fixture(scope="module")
def plugin_outcome(arena: Arena) -> Callable[[str, str], list[Any]]:
    """Return how an attack ended that a plugin tried, in a process of its own each."""
    attacks = {case.name: arena.args(case.args) for case in CASES if case.by_plugin}
    return _finding(arena, run_in_plugin, attacks)


def _finding(
    arena: Arena,
    runner: Callable[[str, str, dict[str, list[str]]], dict[str, list[Any]]],
    attacks: dict[str, list[str]],
) -> Callable[[str, str], list[Any]]:
    known: dict[str, dict[str, list[Any]]] = {}

    def find(tier: str, name: str) -> list[Any]:
        if tier not in known:
            if os.getuid() == 0:
                # So that all is imported that the child may not be let read.
                runner("root", str(arena.directory), {"first": ["core"]})
            known[tier] = as_its_user(tier, lambda: runner(tier, str(arena.directory), attacks))
        return known[tier][name]

    return find
