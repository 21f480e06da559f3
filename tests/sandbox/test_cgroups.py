"""Control groups of the tests' own, on whichever hierarchies this machine has."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pluginapi.errors import SandboxError, SandboxUnavailable
from pluginapi.sandbox.cgroups import Cgroup, CgroupConfig, CgroupManager, read_layout
from sandbox.programs import run_program

pytestmark = pytest.mark.vm

MIB = 1 << 20
PRELUDE = "import os, sys, time, mmap, signal; print('ready', flush=True); sys.stdin.readline()\n"


def in_time(check: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not check():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)


def left() -> set[Path]:
    """Return the directories that managers of this process have made and not removed."""
    found: set[Path] = set()
    for hierarchy in read_layout().hierarchies:
        for parent in (hierarchy.own, hierarchy.own.parent):
            found |= set(parent.glob(f"pluginapi-*-{os.getpid()}-*"))
    return found


@pytest.fixture
def manager() -> Iterator[CgroupManager]:
    made = CgroupManager()
    try:
        made.discard(made.create("probe", CgroupConfig(memory_limit_bytes=64 * MIB, pids_limit=9)))
    except SandboxUnavailable as err:
        if os.environ.get("PLUGINAPI_MUST_SANDBOX") == "1" and os.geteuid() == 0:
            raise
        pytest.skip(f"no control group can be made here: {err}")
    with made:
        yield made
    assert not left()


class Program:
    """A Python program that waits for a line before it does what it is to do."""

    def __init__(self, group: Cgroup | None, text: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PRELUDE + textwrap.dedent(text)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        if group is not None:
            group.attach(self.process.pid)

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def run(self) -> tuple[int, str]:
        out, _ = self.process.communicate("go\n", timeout=60)
        return self.process.returncode, out

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


FILL = "b = b'x' * (128 << 20); print(len(b) >> 20)"
FORK = """
    children = []
    try:
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            children.append(pid)
        print("all")
    except OSError as err:
        print("refused", err.errno)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
"""
SPIN = """
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        pass
    print(time.process_time())
"""


def test_memory(manager: CgroupManager) -> None:
    assert Program(None, FILL).run() == (0, "128\n")
    group = manager.create("memory", CgroupConfig(memory_limit_bytes=48 * MIB))
    assert group.limits()["memory_limit_bytes"] == 48 * MIB
    code, out = Program(group, FILL).run()
    assert (code, out) == (-signal.SIGKILL, "")
    assert (group.events().oom_kills or 0) >= 1
    assert (group.usage().memory_peak_bytes or 0) > 8 * MIB


def test_processes(manager: CgroupManager) -> None:
    assert Program(None, FORK).run() == (0, "all\n")
    group = manager.create("pids", CgroupConfig(pids_limit=8))
    assert group.limits()["pids_limit"] == 8
    code, out = Program(group, FORK).run()
    assert (code, out) == (0, "refused 11\n")
    assert (group.events().pids_refused or 0) >= 1


def test_processor_time(manager: CgroupManager) -> None:
    config = CgroupConfig(cpu_quota_us=10_000, cpu_weight=50)
    group = manager.create("cpu", config)
    assert group.limits() == {"cpu_quota_us": 10_000, "cpu_period_us": 100_000, "cpu_weight": 50}
    code, _ = Program(group, SPIN).run()
    assert code == 0
    assert (group.events().throttled_periods or 0) > 0
    assert (group.usage().cpu_us or 0) > 0


def test_freezing(manager: CgroupManager) -> None:
    group = manager.create("frozen", CgroupConfig(pids_limit=20))
    program = Program(group, "print('on', flush=True); sys.stdin.readline(); print('out')")
    assert not group.frozen()
    group.freeze()
    assert group.frozen()
    program.go()
    time.sleep(0.05)
    assert program.process.poll() is None
    group.thaw()
    assert not group.frozen()
    assert program.run() == (0, "on\nout\n")


def test_a_fork_bomb_is_ended_whole(manager: CgroupManager) -> None:
    bomb = """
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.001)
    """
    group = manager.create("bomb", CgroupConfig(pids_limit=40))
    program = Program(group, bomb)
    program.go()
    in_time(lambda: len(group.processes()) >= 30)
    group.kill()
    in_time(lambda: not group.processes())
    program.end()
    assert program.process.returncode == -signal.SIGKILL


def test_one_that_is_in_use_is_ended_and_removed(manager: CgroupManager) -> None:
    group = manager.create("busy", CgroupConfig(pids_limit=20))
    program = Program(group, "time.sleep(60)")
    assert program.process.pid in group.processes()
    manager.discard(group)
    assert program.process.wait(20) == -signal.SIGKILL
    program.end()
    assert not any(directory.exists() for directory in group.directories)
    group.remove()


def test_clone_into_the_group(manager: CgroupManager) -> None:
    group = manager.create("clone", CgroupConfig(pids_limit=20))
    fd = group.open_unified()
    if fd is None:
        assert read_layout().kind == "v1"
        return
    try:
        assert Path(f"/proc/self/fd/{fd}").samefile(group.directories[-1])
    finally:
        os.close(fd)


def test_many_groups_leave_nothing(manager: CgroupManager) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50 if "PLUGINAPI_VM" in os.environ else 1000):
        group = manager.create("many", CgroupConfig(memory_limit_bytes=64 * MIB, pids_limit=20))
        manager.discard(group)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    for top in left():
        assert not [each for each in top.iterdir() if each.is_dir()]


def test_a_failing_bound_leaves_nothing(
    manager: CgroupManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pluginapi.sandbox.cgroups import v1, v2

    before = {each for top in left() for each in top.iterdir() if each.is_dir()}
    for module in (v1, v2):
        monkeypatch.setattr(module, "apply", _refuse)
    with pytest.raises(SandboxError, match="no"):
        manager.create("failing", CgroupConfig(pids_limit=20))
    assert {each for top in left() for each in top.iterdir() if each.is_dir()} == before


def _refuse(*_: object) -> None:
    raise SandboxError("no")


def test_a_name_that_leads_elsewhere(manager: CgroupManager) -> None:
    for name in ("../up", "a/b", "", ".", "x" * 100, "new\nline"):
        with pytest.raises(SandboxError, match="cannot be the name"):
            manager.create(name, CgroupConfig())


@pytest.fixture
def alone() -> Iterator[None]:
    """Wait for the same test of another run, which would sweep what this one has left."""
    with Path(tempfile.gettempdir(), "pluginapi-test-sweep").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("alone")
def test_what_a_killed_host_leaves_is_swept(manager: CgroupManager) -> None:
    host = """
        import subprocess, sys
        from pluginapi.sandbox.cgroups import CgroupConfig, CgroupManager
        manager = CgroupManager()
        config = CgroupConfig(memory_limit_bytes=64 << 20, pids_limit=20)
        group = manager.create("orphan", config)
        child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=2)
        group.attach(child.pid)
        print(child.pid, *group.directories, flush=True)
        sys.stdin.readline()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(host)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    pid, *directories = process.stdout.readline().split()
    manager.sweep()
    assert all(Path(directory).is_dir() for directory in directories)
    process.kill()
    process.communicate()
    assert all(Path(directory).is_dir() for directory in directories)
    (name,) = manager.sweep()
    assert str(process.pid) in name
    assert not any(Path(directory).exists() for directory in directories)
    assert not any(Path(directory).parent.exists() for directory in directories)
    in_time(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(int(pid)))


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_the_right_to_make_groups_the_error_says_so(manager: CgroupManager) -> None:
    asker = """
        import codecs, os
        from pluginapi.errors import SandboxUnavailable
        from pluginapi.sandbox.cgroups import CgroupConfig, CgroupManager
        codecs.lookup("ascii")  # The codec is a file, which nobody else may be able to read.
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            CgroupManager().create("mine", CgroupConfig(pids_limit=20))
        except SandboxUnavailable as err:
            print(err.code, err)
    """
    done = run_program(textwrap.dedent(asker))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sandbox.cgroup_delegation no control group can be made: /")
