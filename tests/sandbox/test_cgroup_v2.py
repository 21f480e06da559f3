"""Control groups of version 2 alone: what that version has, and how it is delegated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginapi.errors import SandboxError
from pluginapi.sandbox.cgroups import CgroupConfig, CgroupManager, read_layout
from pluginapi.sandbox.cgroups.group import Cgroup
from sandbox.programs import run_program

pytestmark = pytest.mark.vm_only

MIB = 1 << 20
ROOT = Path("/sys/fs/cgroup")
USER = 54321
CONTROLLERS = ("memory", "pids", "cpu", "io")
ALL = CgroupConfig(
    memory_limit_bytes=64 * MIB,
    swap_limit_bytes=0,
    cpu_quota_us=50_000,
    cpu_weight=50,
    pids_limit=20,
)


def in_time(check: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not check():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture(autouse=True, scope="module")
def version_2() -> None:
    assert read_layout().kind == "v2"


@pytest.fixture
def manager() -> Iterator[CgroupManager]:
    with CgroupManager() as made:
        yield made


def start(group: Cgroup, text: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program in a group; it waits for a line first."""
    prelude = "import mmap, os, sys, time\nsys.stdin.readline()\n"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", prelude + textwrap.dedent(text), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    group.attach(process.pid)
    return process


class TestBounds:
    def test_all_are_what_the_kernel_says(self, manager: CgroupManager) -> None:
        assert manager.create("all", ALL).limits() == {
            "memory_limit_bytes": 64 * MIB,
            "swap_limit_bytes": 0,
            "cpu_quota_us": 50_000,
            "cpu_period_us": 100_000,
            "cpu_weight": 50,
            "pids_limit": 20,
        }

    @pytest.mark.parametrize("whole", [True, False])
    def test_want_of_memory_ends_the_whole_group(self, manager: CgroupManager, whole: bool) -> None:
        group = manager.create("oom", CgroupConfig(memory_limit_bytes=48 * MIB))
        (directory,) = group.directories
        assert (directory / "memory.oom.group").read_text() == "1\n"
        if not whole:
            (directory / "memory.oom.group").write_text("0")
        with start(group, "time.sleep(600)") as idle, start(group, "b'x' * (96 << 20)") as greedy:
            greedy.communicate("go\n", timeout=120)
            assert greedy.returncode == -signal.SIGKILL
            if whole:
                assert idle.wait(60) == -signal.SIGKILL
            else:
                assert idle.poll() is None
            assert (group.events().oom_kills or 0) >= (2 if whole else 1)
            idle.kill()

    def test_memory_that_is_no_processs_counts(self, manager: CgroupManager) -> None:
        group = manager.create("tmpfs", CgroupConfig(memory_limit_bytes=48 * MIB))
        fill = """
            fd = os.memfd_create("x")
            for _ in range(96):
                os.write(fd, bytes(1 << 20))
        """
        with start(group, fill) as process:
            process.communicate("go\n", timeout=120)
        assert process.returncode == -signal.SIGKILL

    def test_processor_time_is_held_back(self, manager: CgroupManager) -> None:
        spin = """
            print("ready", flush=True)
            sys.stdin.readline()
            before, until = time.process_time(), time.monotonic() + 3
            while time.monotonic() < until:
                pass
            print(time.process_time() - before)
        """
        group = manager.create("cpu", CgroupConfig(cpu_quota_us=100_000))
        with start(group, spin) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            # A tenth of a processor, now that it has started.
            (group.directories[0] / "cpu.max").write_text("10000 100000")
            out, _ = process.communicate("go\n", timeout=120)
        assert group.limits()["cpu_quota_us"] == 10_000
        assert (group.events().throttled_periods or 0) > 0
        # Three seconds have thirty periods; whatever else runs here can only make it less.
        assert 0 < float(out) < 1


class TestEnding:
    def test_a_process_is_born_in_the_group(self, manager: CgroupManager) -> None:
        group = manager.create("born", CgroupConfig(pids_limit=5))
        fd = group.open_unified()
        assert fd is not None
        # clone_args of clone(2), 11 numbers: CLONE_INTO_CGROUP, and the descriptor last.
        born = """
            import ctypes, struct
            arguments = struct.pack("=11Q", 1 << 33, 0, 0, 0, 17, 0, 0, 0, 0, 0, int(sys.argv[1]))
            pid = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, len(arguments))
            where = open("/proc/self/cgroup").read()
            os.write(1, (("child " if pid == 0 else "parent ") + where).encode())
            os._exit(0) if pid == 0 else os.waitpid(pid, 0)
        """
        try:
            done = subprocess.run(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    "import os, sys\n" + textwrap.dedent(born),
                    str(fd),
                ],
                pass_fds=(fd,),
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        finally:
            os.close(fd)
        (directory,) = group.directories
        own = Path("/proc/self/cgroup").read_text()
        lines = sorted(done.stdout.splitlines())
        assert lines == [f"child 0::/{directory.relative_to(ROOT)}", f"parent {own.strip()}"]

    def test_groups_below_it_end_with_it(self, manager: CgroupManager) -> None:
        group = manager.create("nested", CgroupConfig(pids_limit=20))
        (directory,) = group.directories
        inner = directory / "inner"
        inner.mkdir()
        with start(group, "time.sleep(600)") as process:
            (inner / "cgroup.procs").write_text(str(process.pid))
            group.kill()
            assert process.wait(60) == -signal.SIGKILL
        manager.discard(group)
        assert not directory.exists()

    def test_a_frozen_group_can_be_ended(self, manager: CgroupManager) -> None:
        group = manager.create("frozen", CgroupConfig(pids_limit=20))
        with start(group, "time.sleep(600)") as process:
            group.freeze()
            assert group.frozen()
            manager.discard(group)
            assert process.wait(60) == -signal.SIGKILL


# Becomes a user, in a group that it was put into, and makes a group with bounds; says what came.
HOST = """
import codecs, json, os, subprocess, sys
from pathlib import Path
from pluginapi.errors import PluginError
from pluginapi.sandbox.cgroups import CgroupConfig, CgroupManager

codecs.lookup("ascii")
values = json.loads(sys.argv[1])
Path(values["group"], "cgroup.procs").write_text(str(os.getpid()))
if values["user"]:
    os.setgroups([])
    os.setresgid(*[values["user"]] * 3)
    os.setresuid(*[values["user"]] * 3)
told = {}
try:
    with CgroupManager() as manager:
        group = manager.create("mine", CgroupConfig(**values["bounds"]))
        told["limits"] = group.limits()
        told["directory"] = str(group.directories[0])
        child = subprocess.Popen(["sleep", "600"])
        group.attach(child.pid)
        told["inside"] = group.processes() == {child.pid}
        group.freeze()
        group.thaw()
        group.kill()
        told["ended"] = child.wait(60)
        if "stranger" in values:
            group.attach(values["stranger"])
    told["left"] = Path(told["directory"]).parent.exists()
except PluginError as err:
    told["error"] = [err.code, err.message, err.hint]
print(json.dumps(told))
"""


@pytest.fixture
def delegated() -> Iterator[Path]:
    """Make a group that belongs to a user, with all controllers, and one in it to be in."""
    (ROOT / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in CONTROLLERS))
    group = ROOT / f"delegated-{os.getpid()}"
    group.mkdir()
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(group / name, USER, USER)
    (group / "host").mkdir()
    os.chown(group / "host", USER, USER)
    os.chown(group / "host/cgroup.procs", USER, USER)
    yield group
    (group / "host").rmdir()
    in_time(lambda: _rmdir(group))


def _rmdir(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def told(group: Path, *, user: int = USER, **values: Any) -> dict[str, Any]:
    """Run a host in a group, as a user; return what it told."""
    bounds = {
        name: getattr(ALL, name)
        for name in ("memory_limit_bytes", "cpu_quota_us", "cpu_weight", "pids_limit")
    }
    given = {"group": str(group), "user": user, "bounds": bounds, **values}
    done = run_program(HOST, json.dumps(given))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class TestDelegation:
    @pytest.mark.parametrize("user", [USER, 0])
    def test_a_host_beside_its_groups(self, delegated: Path, user: int) -> None:
        found = told(delegated / "host", user=user)
        assert "error" not in found
        assert Path(found["directory"]).parents[1] == delegated
        assert found["limits"]["memory_limit_bytes"] == 64 * MIB
        assert found["limits"]["cpu_quota_us"] == 50_000
        assert found["limits"]["pids_limit"] == 20
        assert (found["inside"], found["ended"], found["left"]) == (True, -9, False)

    def test_a_group_that_is_somebody_elses(self, delegated: Path) -> None:
        code, message, hint = told(delegated / "host", user=USER + 1)["error"]
        assert code == "sandbox.cgroup_delegation"
        assert f"{delegated}/host: this process may not make groups there" in message
        assert f"{delegated}: this process may not make groups there" in message
        assert "Delegate=yes" in hint

    def test_a_host_in_the_delegated_group_itself(self, delegated: Path) -> None:
        """A group with processes hands nothing on, and the one above is not the user's."""
        code, message, hint = told(delegated)["error"]
        assert code == "sandbox.cgroup_delegation"
        assert f"{delegated}: it has processes" in message
        assert f"{ROOT}: this process may not make groups there" in message
        assert "DelegateSubgroup" in hint
        # The same host does, once it is beside them.
        assert told(delegated / "host")["ended"] == -9

    def test_a_controller_that_was_not_handed_on(self, delegated: Path) -> None:
        control = ROOT / "cgroup.subtree_control"
        control.write_text("-memory")
        try:
            code, message, _ = told(delegated / "host")["error"]
        finally:
            control.write_text("+memory")
        assert code == "sandbox.cgroup_delegation"
        assert f"{delegated}: it has no memory" in message

    def test_a_process_from_outside_cannot_be_taken(self, delegated: Path) -> None:
        """What ends with the group must not be somebody else's, whoever owns the process."""
        stranger = subprocess.Popen(["sleep", "600"], user=USER)
        try:
            code, message, _ = told(delegated / "host", stranger=stranger.pid)["error"]
            assert stranger.poll() is None
            assert code == "sandbox.cgroup_failed"
            assert "cgroup.procs cannot be set" in message
        finally:
            stranger.kill()
            stranger.wait()


def test_what_the_group_above_allows_holds(delegated: Path) -> None:
    """The bounds of a plugin are within those of the host's group, whatever it asks for."""
    (delegated / "pids.max").write_text("3")
    with CgroupManager(parent=delegated) as manager:
        group = manager.create("wide", CgroupConfig(pids_limit=1000))
        fork = """
            for number in range(9):
                try:
                    if os.fork() == 0:
                        time.sleep(600)
                except OSError as err:
                    print(number, err.errno, flush=True)
                    break
            time.sleep(600)
        """
        with start(group, fork) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "2 11\n"
            group.kill()
            process.wait(60)
    with pytest.raises(SandboxError, match="there is no such group"):
        CgroupManager(parent=ROOT / "none").create("none", CgroupConfig(pids_limit=2))
