"""The ready-made filters: what they must refuse, and that their sets suffice for their work."""

from __future__ import annotations

import errno as error
import sys
from pathlib import Path

import pytest

from pluginapi.errors import InvalidSeccompFilter
from pluginapi.sandbox.seccomp import (
    ALLOW,
    KILL_PROCESS,
    Action,
    DockerProfile,
    SeccompFilter,
    SeccompMode,
    errno,
)
from pluginapi.sandbox.seccomp.tables import ARCHITECTURES
from sandbox.seccomp.confined import run

VECTOR = Path(__file__).with_name("vectors") / "docker-default.json"
ENOSYS = errno(error.ENOSYS)
EPERM = errno(error.EPERM)
EACCES = errno(error.EACCES)
MODES = list(SeccompMode)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="seccomp(2) is Linux's")
HIGH = 1 << 32


def action(mode: SeccompMode, call: str | int, *arguments: int, arch: str = "x86_64") -> Action:
    return mode.filter().explain(call, arguments, arch=arch).action


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
def test_whatever_docker_denies_is_denied(mode: SeccompMode, arch: str) -> None:
    docker = DockerProfile.decode(VECTOR.read_bytes()).filter(arch, kernel="6.12")
    argument_corners = [(), (2,), (38,), (40,), (0x10000000,), (0x7E020000,), (0xFFFFFFFF,)]
    denied = 0
    for call in ARCHITECTURES[arch].numbers:
        for arguments in argument_corners:
            if docker.explain(call, arguments, arch=arch).action != ALLOW:
                denied += 1
                assert action(mode, call, *arguments, arch=arch) != ALLOW, (call, arguments)
    assert denied > 400


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES)
def test_what_every_mode_refuses(mode: SeccompMode, arch: str) -> None:
    for call in ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"):
        assert action(mode, call, arch=arch) == ENOSYS
    for call in ("kexec_load", "init_module", "finit_module", "reboot", "pivot_root"):
        assert action(mode, call, arch=arch) == KILL_PROCESS
    for call in (
        "unshare",
        "setns",
        "mount",
        "ptrace",
        "bpf",
        "keyctl",
        "add_key",
        "perf_event_open",
    ):
        assert action(mode, call, arch=arch) == EPERM
    for request in (0x5412, 0x541C):
        assert action(mode, "ioctl", 0, request, arch=arch) == EPERM
        assert action(mode, "ioctl", 0, request | HIGH, arch=arch) == EPERM
    for bit in (0x80, *(1 << at for at in (17, 25, 26, 27, 28, 29, 30))):
        for flags in (bit, bit | 0x3D0F00, bit | 1 << 63):
            assert action(mode, "clone", flags, arch=arch) == EPERM
    assert action(mode, "fcntl", 3, 8, arch=arch) == EPERM
    assert action(mode, "fcntl", 3, 8 | HIGH, arch=arch) == EPERM
    assert action(mode, "fcntl", 3, 3, arch=arch) == ALLOW
    newest = max(ARCHITECTURES[arch].names)
    for number in (newest + 1, 700, 0x3FFFFFFF):
        assert action(mode, number, arch=arch) == ENOSYS


@pytest.mark.parametrize("mode", MODES)
def test_only_local_and_internet_sockets(mode: SeccompMode) -> None:
    for domain in range(64):
        allowed = mode is SeccompMode.PERMISSIVE and domain in {1, 2, 10}
        for high in (0, HIGH, 1 << 63):
            assert (action(mode, "socket", domain | high, 1, 0) == ALLOW) == allowed
    assert action(SeccompMode.PERMISSIVE, "socket", 40) == errno(error.EAFNOSUPPORT)
    assert action(SeccompMode.PERMISSIVE, "socket", 2, 1, 262) == errno(error.EPROTONOSUPPORT)
    assert action(SeccompMode.BASIC, "socketpair", 1, 1, 0) == ALLOW
    assert action(SeccompMode.BASIC, "socketpair", 16, 1, 0) == errno(error.EAFNOSUPPORT)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_mode_allows_what_the_stricter_one_does(arch: str) -> None:
    before: set[str] = set()
    for mode in MODES:
        allowed = {
            call
            for call in ARCHITECTURES[arch].numbers
            if action(mode, call, 1, arch=arch) == ALLOW
        }
        assert before < allowed
        before = allowed


def test_files_fail_as_without_permission() -> None:
    for mode in (SeccompMode.STRICT, SeccompMode.BASIC):
        for call in ("open", "openat", "openat2", "stat", "statx", "execve", "unlink", "mkdir"):
            assert action(mode, call) == EACCES
    assert action(SeccompMode.MODERATE, "openat") == ALLOW
    assert action(SeccompMode.MODERATE, "openat2") == EACCES


def test_the_native_worker_has_four_calls_in_strict() -> None:
    made = SeccompMode.STRICT.filter("native")
    for arch in ARCHITECTURES.values():
        allowed = {name for name in arch.numbers if made.explain(name, arch=arch).action == ALLOW}
        assert allowed == {"read", "write", "exit", "rt_sigreturn"}
    assert made.explain("exit_group").action == KILL_PROCESS
    for mode in MODES[1:]:
        assert mode.filter("native") is mode.filter("python")
    with pytest.raises(InvalidSeccompFilter, match="wasm"):
        SeccompMode.STRICT.filter("wasm")  # type: ignore[arg-type]


# The sets suffice. Whatever is not allowed ends the process, so that nothing goes unseen.

_WORK = """
import asyncio, asyncio.unix_events, concurrent.futures.thread, encodings.idna, gc, hashlib
import queue, random, select, socket, tempfile, shutil, sqlite3, subprocess, time, traceback

ours, theirs = socket.socketpair()
poll = select.epoll()
poll.register(theirs, select.EPOLLIN)
traceback.format_exception(ValueError("reads the sources that a trace shows"))

def strict():
    for turn in range(100):
        ours.send(json.dumps({"turn": turn, "items": list(range(40))}).encode())
        assert poll.poll(1) and json.loads(theirs.recv(65536))["turn"] == turn
    blocks = [bytearray(1 << 20) for _ in range(20)]
    del blocks
    table = {number: str(number) for number in range(100_000)}
    gc.collect()
    random.seed()
    hashlib.sha256(b"x" * 100_000).digest()
    time.sleep(0.001)
    os.urandom(8)
    try:
        table["missing"]
    except KeyError as err:
        traceback.format_exception(err)

def basic():
    strict()
    results = queue.Queue()
    threads = [threading.Thread(target=results.put, args=(n,)) for n in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert list(pool.map(abs, range(-20, 0)))[0] == 20
    async def main():
        await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(5)))
        await asyncio.to_thread(time.sleep, 0.001)
    asyncio.run(main())

def moderate():
    basic()
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "a")
    with open(path, "w") as stream:
        stream.write("text")
    shutil.copy(path, path + "2")
    assert sorted(os.listdir(directory)) == ["a", "a2"]
    database = sqlite3.connect(path + ".db")
    database.execute("create table t (a)")
    database.commit()
    database.close()
    shutil.rmtree(directory)
    import xml.dom.minidom

def permissive():
    moderate()
    listening = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listening.getsockname())
    served, _ = listening.accept()
    client.send(b"x")
    assert served.recv(1) == b"x"
    subprocess.run(["/bin/true"], check=True)

mode, work, form = given
made = SeccompMode(mode).filter()
if form == "killing but for files":
    made = SeccompFilter(made.rules, KILL_PROCESS)
elif form == "killing":
    made = SeccompFilter(
        tuple(rule for rule in made.rules if rule.action == ALLOW), KILL_PROCESS
    ).replacing(Rule(("clone3",), errno(38)))
made.install()
{"strict": strict, "basic": basic, "moderate": moderate, "permissive": permissive}[work]()
os.write(1, b'{"done": true}\\n')
os._exit(0)
"""


@linux_only
@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("strict", "killing"),
        # CPython counts processors in /sys, and goes on when it may not.
        ("basic", "killing but for files"),
        ("moderate", "killing"),
        ("permissive", "killing"),
        *((mode.value, "as shipped") for mode in SeccompMode),
    ],
)
def test_the_work_of_a_mode_is_done_under_it(mode: str, form: str) -> None:
    ended = run(_WORK, [mode, mode, form])
    assert ended.code == 0, ended
    assert ended.told == {"done": True}


@linux_only
@pytest.mark.parametrize(
    ("mode", "work"), [("strict", "basic"), ("basic", "moderate"), ("moderate", "permissive")]
)
def test_the_work_of_a_milder_mode_is_not(mode: str, work: str) -> None:
    assert run(_WORK, [mode, work, "killing"]).by_sigsys
    refused = run(_WORK, [mode, work, "as shipped"], main=False)
    assert refused.code == 1
    assert "Error" in refused.error


@linux_only
def test_a_native_worker_reads_writes_and_exits() -> None:
    body = """
        read, write = os.pipe()
        os.write(write, b"ping")
        SeccompMode.STRICT.filter("native").install()
        if os.read(read, 4) == b"ping":
            os.write(1, b'{"done": true}\\n')
        if given:
            os._exit(0)  # exit_group, which is not among the four
        _libc.syscall(ctypes.c_long(architecture().numbers["exit"]), ctypes.c_long(0))
        """
    ended = run(body, False)
    assert ended.told == {"done": True}
    assert ended.code == 0
    assert run(body, True).by_sigsys


def test_the_filters_are_small() -> None:
    assert isinstance(SeccompMode.BASIC.filter(), SeccompFilter)
    for mode in MODES:
        for arch in ARCHITECTURES:
            assert len(mode.filter().program(arch)) < 160
