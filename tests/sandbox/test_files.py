"""Files that change for the sandbox alone, and roots of the operator's."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from escape.conftest import as_its_user
from pluginapi.errors import SandboxConfigError, SandboxError
from pluginapi.sandbox.config import FilesystemConfig, Overlay, SandboxConfig
from pluginapi.sandbox.launcher import Completed, Launcher
from pluginapi.sandbox.memory_files import memory_file
from pluginapi.sandbox.plan import Plan
from pluginapi.sandbox.seccomp import ALLOW, Rule, SeccompFilter
from pluginapi.sandbox.seccomp import errno as fails_with
from process.conftest import nothing_left  # noqa: F401 - a fixture
from sandbox.test_launcher import launcher, shared, shell  # noqa: F401 - fixtures

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(os.getuid() != 0, reason="it becomes other users"),
]
# Since then files in memory have the attributes that mark a directory as new, for rootless too.
LINUX_6_6 = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)

EVERYTHING = """
    cd {path}
    cat kept changed removed
    echo changed > changed; rm removed; echo new > new
    rm -r directory; mkdir directory; ls directory
    cat changed; ls
    cp /bin/true program; chmod +x program; ./program || echo not executed
"""


@pytest.fixture
def directory(shared: Path) -> Path:  # noqa: F811
    made = shared / "data"
    (made / "directory").mkdir(parents=True)
    (made / "directory" / "inside").write_text("inside")
    for name in ("kept", "changed", "removed"):
        (made / name).write_text(f"{name} of the host\n")
        (made / name).chmod(0o666)
    (made / "directory").chmod(0o777)
    return made


def over(path: Path, size_bytes: int = 1 << 20, inodes: int = 64) -> FilesystemConfig:
    return FilesystemConfig(overlays=(Overlay(str(path), size_bytes, inodes),))


def state(path: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


def check_everything(done: Completed) -> None:
    assert done.stderr.decode().count("\n") == 1, done.stderr  # It may not execute what it wrote.
    lines = done.stdout.decode().splitlines()
    assert lines[:3] == ["kept of the host", "changed of the host", "removed of the host"]
    # The directory that was made anew is empty.
    assert lines[3:] == ["changed", "changed", "directory", "kept", "new", "not executed"]


@pytest.mark.parametrize("round_", [1, 2])
def test_changes_are_the_processs_own(
    launcher: Launcher,  # noqa: F811
    directory: Path,
    round_: int,
) -> None:
    before = state(directory)
    for _ in range(round_):
        done = shell(
            launcher, EVERYTHING.format(path=directory), SandboxConfig(filesystem=over(directory))
        )
        check_everything(done)
        assert state(directory) == before
    # The control: shown for writing, the host's change.
    open_ = SandboxConfig(filesystem=FilesystemConfig(writable_paths=(str(directory),)))
    directory.chmod(0o777)
    shell(launcher, EVERYTHING.format(path=directory), open_)
    assert state(directory) != before


def test_without_the_rights_of_root(directory: Path) -> None:
    for each in (directory, *directory.rglob("*")):
        os.chown(each, 65_534, 65_534)
    before = state(directory)
    config = SandboxConfig(cgroup=None, filesystem=over(directory))
    script = (
        EVERYTHING if LINUX_6_6 else EVERYTHING.replace("rm -r directory; mkdir directory;", "")
    )

    def run() -> list[str]:
        with Launcher() as rootless:
            done = shell(rootless, script.format(path=directory), config)
            return [done.stdout.decode(), done.stderr.decode()]

    with Launcher() as first:  # So that all is imported that the child may not be let read.
        shell(first, "true", config)
    out, err = as_its_user("rootless", run)
    if not LINUX_6_6:
        out = out.replace("inside\n", "")
    check_everything(Completed(None, None, out.encode(), err.encode()))
    assert state(directory) == before


def test_changes_are_bounded(launcher: Launcher, directory: Path) -> None:  # noqa: F811
    small = SandboxConfig(filesystem=over(directory, 64 << 10, 24))
    script = f"cd {directory}; head -c 1M /dev/zero > big; for i in $(seq 50); do touch $i; done"
    done = shell(launcher, script, small)
    assert done.stderr.count(b"No space left on device") > 10
    assert shell(launcher, script, SandboxConfig(filesystem=over(directory))).stderr == b""


def test_the_layers_are_reached_by_nothing(
    launcher: Launcher,  # noqa: F811
    directory: Path,
) -> None:
    script = f"ls -a {directory}; ls {directory}/upper {directory}/lower; umount {directory}"
    done = shell(launcher, script, SandboxConfig(filesystem=over(directory)))
    assert done.stdout.split() == [b".", b"..", b"changed", b"directory", b"kept", b"removed"]
    assert done.stderr.count(b"\n") >= 2


def test_no_overlay_no_start(launcher: Launcher, directory: Path) -> None:  # noqa: F811
    config = SandboxConfig(filesystem=over(directory))
    assert shell(launcher, "true", config).exit_status == 0  # The control.
    refused = SeccompFilter((Rule(("mkdirat",), fails_with(38)),), default=ALLOW)
    with memory_file("plan", Plan().no_new_privs().seccomp(refused.build()).build()) as fd:
        launcher._confiner.native().apply((fd,))
    with pytest.raises(SandboxError) as caught:
        shell(launcher, f"touch {directory}/ran", config)
    assert (caught.value.code, caught.value.details["layer"]) == ("sandbox.step", "overlay")
    assert "mkdir" in caught.value.message


def test_what_is_no_directory_has_no_overlay(
    launcher: Launcher,  # noqa: F811
    directory: Path,
) -> None:
    with pytest.raises(SandboxError) as caught:
        shell(launcher, "true", SandboxConfig(filesystem=over(directory / "kept")))
    assert caught.value.details["layer"] == "overlay"


@pytest.fixture
def root(shared: Path) -> Path:  # noqa: F811
    """Return a root with places for programs and data, and things that roots have."""
    made = shared / "root"
    for name in ("usr", "etc", "dev", "data/place", "tmp"):
        (made / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (made / name).symlink_to(f"usr/{name}")
    (made / "etc" / "release").write_text("of the root\n")
    os.mkfifo(made / "pipe")
    os.mknod(made / "dev" / "memory", 0o666 | stat.S_IFCHR, os.makedev(1, 1))
    return made


def test_a_root_of_ones_own(launcher: Launcher, root: Path, directory: Path) -> None:  # noqa: F811
    files = FilesystemConfig(root_path=str(root), read_only_paths=("/usr", str(directory)))
    script = f"""
        cat /etc/release {directory}/kept
        echo $(ls /) $(ls /etc /data)
        echo x > /etc/release || echo not written
        ls /dev | grep -c memory
        echo y > /tmp/y && cat /tmp/y
    """
    done = shell(launcher, script, SandboxConfig(filesystem=files))
    assert done.stdout.decode().splitlines() == [
        "of the root",
        "kept of the host",
        # The pipe is none of what is shown, and the directory that is shown is below /var.
        "bin data dev etc lib lib64 proc tmp usr var /data: place /etc: release",
        "not written",
        "0",
        "y",
    ]


def test_a_place_in_a_root_must_be_there(
    launcher: Launcher,  # noqa: F811
    root: Path,
    directory: Path,
) -> None:
    from pluginapi.sandbox.config import BindMount

    def shown_at(target: str) -> SandboxConfig:
        mount = BindMount(str(directory), target)
        files = FilesystemConfig(
            root_path=str(root), read_only_paths=("/usr",), bind_mounts=(mount,)
        )
        return SandboxConfig(filesystem=files)

    done = launcher.run(shown_at("/data/place"), ["/bin/cat", "/data/place/kept"])
    assert done.stdout == b"kept of the host\n"
    with pytest.raises(SandboxError) as caught:
        launcher.run(shown_at("/data/nothing"), ["/bin/true"])
    assert caught.value.details["layer"] == "bind"
    assert not (root / "data" / "nothing").exists()


def test_a_root_that_is_not_there(launcher: Launcher) -> None:  # noqa: F811
    missing = SandboxConfig(filesystem=FilesystemConfig(root_path="/no/such/root"))
    with pytest.raises(SandboxError) as caught:
        launcher.run(missing, ["/bin/true"])
    assert caught.value.code == "sandbox.path"


def test_many_paths(launcher: Launcher, shared: Path) -> None:  # noqa: F811
    paths = []
    for number in range(128):
        (shared / str(number)).mkdir()
        paths.append(str(shared / str(number)))
    files = FilesystemConfig(read_only_paths=tuple(paths))
    done = shell(launcher, f"ls {shared}", SandboxConfig(filesystem=files))
    assert sorted(map(int, done.stdout.split())) == list(range(128))
    with pytest.raises(SandboxConfigError, match="more than 128"):
        replace(files, writable_paths=("/one/more",))
