"""Roots of processes' own: what is seen in them, and what gets out of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pluginapi.errors import SandboxConfigError, SandboxError
from pluginapi.sandbox.plan import Mount, Plan
from sandbox.test_plan import confined, needs_root

pytestmark = needs_root

NEW_MOUNTS = 0x00020000
NEW_PIDS = 0x20000000

# A root with /usr of the host, what it links to, and a directory of the test.
ROOT = """
def path(name):
    return os.open(name, os.O_PATH)
fds = (path("/usr"), path(values["at"]), path("/dev/null"))
plan = Plan().new_namespaces(0x00020000).root(size_bytes=1 << 20, inodes=100)
plan.directory("usr").directory("data/deep").directory("tmp").directory("dev").directory("proc")
plan.link("lib", "usr/lib").link("lib64", "usr/lib64").link("bin", "usr/bin").file("dev/null")
plan.bind(0, "/usr", "usr", Mount.READ_ONLY | Mount.PLAIN | Mount.RECURSIVE)
plan.bind(1, values["at"], "data/deep", Mount(values["flags"]))
plan.bind(2, "/dev/null", "dev/null", Mount.NO_SUID | Mount.NO_EXEC)
plan.tmpfs("tmp", size_bytes=1 << 16, inodes=8)
plan.pivot()
from pathlib import Path
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    (made / "file").write_text("x")
    return made


def test_what_is_seen(data: Path) -> None:
    probe = """
        told["root"] = sorted(os.listdir("/"))
        told["cwd"] = os.getcwd()
        tell("secret", lambda: os.stat(values["at"]).st_ino)
        tell("file", lambda: open("/data/deep/file").read())
        tell("null", lambda: os.write(os.open("/dev/null", os.O_WRONLY), b"x"))
        tell("up", lambda: os.path.samefile("/..", "/"))
        told["mounts"] = len(told)
        tell("make", lambda: os.mkdir("/new"))
        tell("usr", lambda: os.mkdir("/usr/new"))
    """
    free = confined(ROOT, probe, apply=False, at=str(data), flags=12)
    assert isinstance(free["secret"], int)
    assert free["make"] is None
    Path("/new").rmdir()
    Path("/usr/new").rmdir()
    bound = confined(ROOT, probe, at=str(data), flags=12)
    entries = ["bin", "data", "dev", "lib", "lib64", "proc", "tmp", "usr"]
    assert bound["root"] == entries
    assert bound["cwd"] == "/"
    assert bound["secret"] == "ENOENT"
    assert (bound["file"], bound["null"], bound["up"]) == ("x", 1, True)
    assert (bound["make"], bound["usr"]) == ("EROFS", "EROFS")


def test_writing_reading_and_executing(data: Path) -> None:
    program = data / "program"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    probe = """
        tell("write", lambda: os.close(os.open("/data/deep/file", os.O_WRONLY)))
        def run():
            if (pid := os.fork()) == 0:
                try:
                    os.execv("/data/deep/program", ["program"])
                except OSError as err:
                    os._exit(err.errno)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        tell("run", run)
        tell("device", lambda: os.mknod("/data/deep/null", 0o20666, os.makedev(1, 3)))
        tell("open", lambda: os.close(os.open("/data/deep/null", os.O_RDONLY)))
    """
    loose = confined(ROOT, probe, at=str(data), flags=0)
    assert (loose["write"], loose["open"]) == (None, None)
    assert loose["run"] == 7
    (data / "null").unlink()
    writable = confined(ROOT, probe, at=str(data), flags=int(Mount.PLAIN | Mount.NO_EXEC))
    assert (writable["write"], writable["run"], writable["open"]) == (None, 13, "EACCES")
    (data / "null").unlink()
    bound = confined(ROOT, probe, at=str(data), flags=int(Mount.READ_ONLY | Mount.PLAIN))
    assert (bound["write"], bound["device"]) == ("EROFS", "EROFS")
    assert bound["run"] == 7


def test_read_only_goes_all_the_way_down(data: Path) -> None:
    below = data / "below"
    below.mkdir()
    prepare = """
        call(libc.unshare(0x00020000))
        call(libc.mount(None, b"/", None, 0x44000, None))
        call(libc.mount(b"t", (values["at"] + "/below").encode(), b"tmpfs", 0, None))
    """
    probe = """
        tell("above", lambda: os.mkdir("/data/deep/new"))
        tell("below", lambda: os.mkdir("/data/deep/below/new"))
        told["is a mount"] = os.stat("/data/deep/below").st_dev != os.stat("/data/deep").st_dev
    """
    plan = "import textwrap\nexec(textwrap.dedent(values['prepare']))\n" + ROOT
    loose = int(Mount.PLAIN | Mount.RECURSIVE)
    found = confined(plan, probe, at=str(data), flags=loose, prepare=prepare)
    assert found == {"above": None, "below": None, "is a mount": True}
    (data / "new").rmdir()
    sealed = loose | int(Mount.READ_ONLY)
    found = confined(plan, probe, at=str(data), flags=sealed, prepare=prepare)
    assert found == {"above": "EROFS", "below": "EROFS", "is a mount": True}


def test_memory_file_systems_are_bounded(data: Path) -> None:
    probe = """
        def fill():
            with open("/tmp/big", "wb", buffering=0) as file:
                return sum(file.write(bytes(4096)) for _ in range(15))
        def overfill():
            with open("/tmp/bigger", "wb", buffering=0) as file:
                for _ in range(32):
                    file.write(bytes(4096))
        def crowd():
            for number in range(16):
                os.mkdir(f"/tmp/{number}")
        tell("fill", fill)
        tell("overfill", overfill)
        tell("crowd", crowd)
        status = os.statvfs("/tmp")
        told["size"] = status.f_blocks * status.f_frsize
    """
    found = confined(ROOT, probe, at=str(data), flags=12)
    assert found["fill"] == 15 * 4096
    assert (found["overfill"], found["crowd"]) == ("ENOSPC", "ENOSPC")
    assert found["size"] == 1 << 16


def test_nothing_is_mounted_in_the_host(data: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    probe = """
        if os.fork() == 0:
            os._exit(libc.mount(b"t", b"/tmp", b"tmpfs", 0, None) & 1)
        told["mounted"] = os.waitstatus_to_exitcode(os.wait()[1])
    """
    assert confined(ROOT, probe, at=str(data), flags=12)["mounted"] == 0
    assert Path("/proc/self/mountinfo").read_text() == before


def test_proc_is_that_of_the_own_processes(data: Path) -> None:
    plan = ROOT.replace("plan.pivot()", "plan.proc().pivot()").replace("0x00020000", "0x20020000")
    # Who makes a PID namespace is not in it; its children are.
    probe = """
        told["pids"] = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
        told["pid"] = os.getpid()
    """
    fork = """
        if __name__ == "__main__":
            call(libc.unshare(0x20000000))
            reader, writer = os.pipe()
            if (child := os.fork()) != 0:
                os.close(writer)
                data = os.read(reader, 65536)
                os.waitpid(child, 0)
                sys.stdout.write(data.decode())
                sys.stdout.flush()
                os._exit(0)
            os.dup2(writer, 1)
    """
    whole = "import textwrap\nexec(textwrap.dedent(values['fork']))\n" + plan.replace(
        "0x20020000", "0x00020000"
    )
    found = confined(whole, probe, at=str(data), flags=12, fork=fork)
    assert found == {"pids": [1], "pid": 1}


def test_a_place_that_is_swapped_for_a_link_is_not_followed(data: Path) -> None:
    code = ROOT.replace('.directory("data/deep")', '.link("data", "/usr")')
    code = code.replace('"data/deep"', '"data"')
    with pytest.raises(AssertionError, match=r"step \d+ of the sandbox, bind, failed: openat2"):
        confined(code, "told['x'] = 1", at=str(data), flags=12)


def test_a_source_that_is_swapped_is_not_shown(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("other")
    probe = 'told["file"] = open("/data/deep/file").read()'
    assert confined(ROOT, probe, at=str(data), flags=12)["file"] == "x"
    for how, what in (
        ('os.rename(at, at + "2"); os.rename(values["other"], at)', "another file is there"),
        ('os.rename(at, at + "3"); os.symlink(at + "2", at)', "openat2"),
    ):
        code = ROOT + 'at = values["at"]\n' + how
        with pytest.raises(AssertionError, match="bind, failed: " + what):
            confined(code, probe, at=str(data), flags=12, other=str(other))


@pytest.mark.parametrize("path", ["", "/", "..", "a/../b", "a/..", ".", "a\0b", "x" * 5000])
def test_paths_that_lead_elsewhere(path: str) -> None:
    for make in (Plan().directory, Plan().file, Plan().proc):
        with pytest.raises(SandboxConfigError, match="no path in the root"):
            make(path)


def test_an_old_root_is_not_to_be_had(data: Path) -> None:
    """A descriptor that was open before still leads out: plans close them, or must not pass any."""
    code = ROOT + "\nleak = os.open('/', os.O_RDONLY)"
    probe = """
        tell("out", lambda: os.stat(values["at"][1:], dir_fd=leak).st_ino and True)
        tell("inside", lambda: os.stat(values["at"]).st_ino)
        tell("dots", lambda: os.path.samefile("/../..", "/"))
    """
    found = confined(code, probe, at=str(data), flags=12)
    assert found == {"out": True, "inside": "ENOENT", "dots": True}


def test_steps_in_the_wrong_order(data: Path) -> None:
    for code, what in (
        ("plan = Plan().new_namespaces(0x20000).pivot()", "pivot, failed: no root was begun"),
        (
            "plan = Plan().new_namespaces(0x20000)" + 2 * ".root(size_bytes=8192, inodes=9)",
            "root, failed: a second root",
        ),
    ):
        with pytest.raises(AssertionError, match=what):
            confined("fds = ()\n" + code, "told['x'] = 1", at=str(data), flags=12)


def test_without_a_namespace_of_ones_own_nothing_is_done_to_the_host() -> None:
    """As another user: the first step of a root is refused."""
    code = """
        fds = ()
        plan = Plan().become(65534, 65534).root(size_bytes=8192, inodes=9)
    """
    probe = "told['x'] = 1"
    before = Path("/proc/self/mountinfo").read_text()
    with pytest.raises(AssertionError, match="root, failed: mount: Operation not permitted"):
        confined(code, probe)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_bounds_of_memory_file_systems() -> None:
    for size, inodes in ((1, 1), (8192, 0)):
        with pytest.raises(SandboxError, match="cannot be"):
            Plan().tmpfs("tmp", size_bytes=size, inodes=inodes)
    assert os.getuid() == 0
