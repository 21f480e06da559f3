"""Programs in sandboxes: what they get, what is left of them, what happens when set-up fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pluginapi.errors import PluginTimeout, SandboxError
from pluginapi.sandbox.capabilities import CapabilitiesConfig, Capability
from pluginapi.sandbox.config import (
    BindMount,
    FilesystemConfig,
    NetworkConfig,
    NetworkMode,
    SandboxConfig,
)
from pluginapi.sandbox.landlock import landlock_abi
from pluginapi.sandbox.launcher import Completed, Launcher
from pluginapi.sandbox.memory_files import memory_file
from pluginapi.sandbox.plan import Plan
from pluginapi.sandbox.report import SandboxReport
from pluginapi.sandbox.rlimits import RlimitsConfig
from pluginapi.sandbox.seccomp import ALLOW, Condition, Rule, SeccompFilter, SeccompMode
from pluginapi.sandbox.seccomp import errno as fails_with
from process.conftest import descendants, eventually, nothing_left  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(os.getuid() != 0, reason="tests/escape has the tiers of others"),
]
# Without some of the namespaces only a newer Landlock is a wall.
NEW_LANDLOCK = landlock_abi() >= 6


@pytest.fixture
def launcher(nothing_left: None) -> Iterator[Launcher]:  # noqa: F811
    with Launcher() as made:
        yield made


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a directory that every user may enter."""
    import shutil
    import tempfile

    # Not below /tmp, which is the sandbox's own.
    made = Path(tempfile.mkdtemp(prefix="pluginapi-test-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def shell(launcher: Launcher, script: str, config: SandboxConfig, **options: Any) -> Completed:
    return launcher.run(config, ["/bin/sh", "-c", script], **options)


def report_of(launcher: Launcher, config: SandboxConfig) -> SandboxReport:
    """Return what confines a program that waits for its input until it was looked at."""
    reports: list[SandboxReport] = []
    shell(
        launcher,
        "read line",
        config,
        input=b"\n",
        started=lambda each: reports.append(each.report()),
    )
    return reports[0]


def test_a_program_runs_with_nothing_of_the_host(launcher: Launcher) -> None:
    done = shell(launcher, "cat; echo err >&2; pwd; env; exit 3", SandboxConfig(), input=b"hello\n")
    assert (done.code, done.status, done.exit_status) == (os.CLD_EXITED, 3, 3)
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["hello", "/"]
    assert {line.partition("=")[0] for line in lines[2:]} <= {"PATH", "LC_ALL", "PWD"}
    assert done.stderr == b"err\n"


def test_how_it_ended_is_told(launcher: Launcher) -> None:
    done = shell(launcher, "kill -9 $$", SandboxConfig())
    assert (done.code, done.status, done.exit_status) == (os.CLD_KILLED, 9, 137)


def test_one_that_takes_too_long_is_ended(launcher: Launcher) -> None:
    with pytest.raises(PluginTimeout):
        shell(launcher, "sleep 100", SandboxConfig(), timeout=0.5)


def test_what_is_not_shown_cannot_be_executed(launcher: Launcher, shared: Path) -> None:
    program = shared / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    with pytest.raises(SandboxError, match="cannot be executed") as caught:
        launcher.run(SandboxConfig(), [str(program)])
    assert caught.value.code == "sandbox.command"
    files = FilesystemConfig(read_only_paths=(str(shared),))
    done = launcher.run(SandboxConfig(filesystem=files), [str(program)])
    assert done.stdout == b"ran\n"


def test_paths_of_each_kind(launcher: Launcher, shared: Path) -> None:
    for name in ("read", "write", "bound"):
        (shared / name).mkdir()
        (shared / name / "file").write_text(f"{name}\n")
        (shared / name).chmod(0o777)
    files = FilesystemConfig(
        read_only_paths=(str(shared / "read"),),
        writable_paths=(str(shared / "write"),),
        bind_mounts=(BindMount(str(shared / "bound"), "/data"),),
    )
    script = f"""
        cat {shared}/read/file {shared}/write/file /data/file
        touch {shared}/read/new || echo no
        touch /data/new || echo no
        touch {shared}/write/new && echo yes
        cp /bin/true {shared}/write/true && {shared}/write/true || echo not executed
        ls {shared}
    """
    done = shell(launcher, script, SandboxConfig(filesystem=files))
    expected = "read write bound no no yes not executed read write"
    assert done.stdout.decode().split() == expected.split()
    assert (shared / "write" / "new").stat().st_uid >= 0x5041_0000
    assert not (shared / "read" / "new").exists()


def test_a_link_that_is_swapped_shows_nothing_else(launcher: Launcher, shared: Path) -> None:
    """A path is opened when the sandbox is configured and must be the same when it is made."""
    inside, secret = shared / "inside", shared / "secret"
    inside.mkdir()
    secret.mkdir()
    (secret / "file").write_text("hunter2")
    files = FilesystemConfig(read_only_paths=(str(inside),))

    from pluginapi.sandbox.filesystem import build_root

    plan = Plan()
    fds = build_root(files, plan, first_descriptor=0, own_proc=True)
    try:
        nursery = launcher._confiner.native()

        def make() -> int:
            with memory_file("plan", plan.build(len(fds))) as fd:
                return nursery.make_template((fd, *fds))

        os.close(make())  # The control: nothing was swapped.
        inside.rename(shared / "moved")
        inside.symlink_to(secret)
        with pytest.raises(Exception, match=r"Too many levels|Stale|another file"):
            make()
        inside.unlink()
        secret.rename(inside)
        with pytest.raises(Exception, match=r"another file|Stale"):
            make()
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ("enable_pid_namespace", "pid"),
        ("enable_ipc_namespace", "ipc"),
        ("enable_uts_namespace", "uts"),
        ("enable_mount_namespace", "mnt"),
    ],
)
def test_each_namespace_can_be_left_out(launcher: Launcher, layer: str, kind: str) -> None:
    without: dict[str, Any] = {layer: False}
    plain = SandboxConfig(enable_landlock=NEW_LANDLOCK)
    reports = [report_of(launcher, config) for config in (plain, replace(plain, **without))]
    full, less = ({name for name, own in each.namespaces.items() if own} for each in reports)
    assert full - less == {kind}


def test_the_network_of_the_host(launcher: Launcher) -> None:
    network = NetworkConfig(mode=NetworkMode.FULL)
    config = SandboxConfig(
        network=network,
        enable_network_namespace=False,
        enable_landlock=NEW_LANDLOCK,
        seccomp=SeccompMode.PERMISSIVE,
    )
    devices = "wc -l < /proc/self/net/dev"
    isolated = SandboxConfig(seccomp=SeccompMode.PERMISSIVE)
    assert shell(launcher, "ls /proc/self/ns/net", config).code == os.CLD_EXITED
    there, none = (int(shell(launcher, devices, each).stdout) for each in (config, isolated))
    assert there >= none == 3  # Two lines of headings, and lo.


def test_a_user_namespace_of_its_own(launcher: Launcher) -> None:
    reports: list[Any] = []
    config = SandboxConfig(enable_user_namespace=True)
    done = shell(
        launcher,
        "read line; id -u; cat /proc/self/uid_map",
        config,
        input=b"\n",
        started=lambda each: reports.append(each.report()),
    )
    uid, *mapped = map(int, done.stdout.split())
    assert reports[0].namespaces["user"]
    assert mapped == [uid, uid, 1]
    assert reports[0].users[0] == uid


def test_capabilities_and_limits_that_are_asked_for(launcher: Launcher) -> None:
    config = SandboxConfig(
        capabilities=CapabilitiesConfig(
            allowed_caps=(Capability.CAP_NET_BIND_SERVICE,),
            ambient_caps=(Capability.CAP_NET_BIND_SERVICE,),
        ),
        rlimits=RlimitsConfig(open_files=50, stack_bytes=1 << 20),
    )
    report = report_of(launcher, config)
    names = report.capabilities.names()
    assert names["effective"] == names["bounding"] == names["ambient"] == ["CAP_NET_BIND_SERVICE"]
    assert report.limits["Max open files"] == 50
    assert report.limits["Max stack size"] == 1 << 20


def test_a_filter_of_ones_own(launcher: Launcher) -> None:
    denied = SeccompFilter((Rule(("uname",), fails_with(errno.ENOSYS)),), default=ALLOW)
    assert shell(launcher, "uname -s", SandboxConfig(seccomp=denied)).status != 0
    assert shell(launcher, "uname -s", SandboxConfig(seccomp=None)).status == 0


def test_cells_are_made_ahead(nothing_left: None) -> None:  # noqa: F811
    with Launcher(cells=2) as launcher:
        shell(launcher, "true", SandboxConfig())
        pool = launcher._confiner._cells
        eventually(lambda: [len(ready) for ready in pool._ready.values()] == [2])
        shell(launcher, "true", SandboxConfig())
        eventually(lambda: [len(ready) for ready in pool._ready.values()] == [2])


def test_who_hides_ends_with_the_program(launcher: Launcher) -> None:
    hide = "(setsid sh -c 'trap \"\" TERM HUP; sleep 1000' &) ; sleep 0.3; exit 0"
    config = replace(SandboxConfig(), seccomp=SeccompMode.PERMISSIVE)
    groups: list[Any] = []
    done = shell(
        launcher, hide, config, started=lambda each: groups.append(each.confinement.cgroup)
    )
    assert done.exit_status == 0
    eventually(lambda: not any(each.exists() for each in groups[0].directories))


# What setting up a sandbox asks of the kernel, and what the error calls it.
STEPS = {
    "clone3": "start",
    "setns": "start",
    "unshare": "unshare",
    "keyctl": "keyring",
    "setresgid": "ids",
    "setresuid": "ids",
    "capset": "capabilities",
    "sethostname": "hostname",
    "fsopen": "root",
    "fsmount": "root",
    "open_tree": "bind",
    "mount_setattr": "bind",
    "move_mount": "root",
    "pivot_root": "pivot",
    "openat2": "link",
    "umount2": "pivot",
    "landlock_create_ruleset": "landlock",
    "landlock_add_rule": "landlock",
    "landlock_restrict_self": "landlock",
    "prlimit64": "rlimit",
    "seccomp": "seccomp",
    "mkdirat": "directory",
    "fchmodat": "directory",
    "symlinkat": "link",
    "fsconfig": "root",
    "fchdir": "pivot",
    "prctl PR_SET_NO_NEW_PRIVS": "no_new_privs",
    "prctl PR_SET_PDEATHSIG": "start",
    "prctl PR_CAPBSET_DROP": "capabilities",
    # When the tree of files is there already.
    "fsopen again": "tmpfs",
    "unshare again": "unshare",
}
# <linux/prctl.h>
PRCTLS = {"PR_SET_PDEATHSIG": 1, "PR_CAPBSET_DROP": 24, "PR_SET_NO_NEW_PRIVS": 38}


@pytest.mark.parametrize("call", [*STEPS, "none"])
def test_a_step_that_fails_ends_the_start(call: str, launcher: Launcher, shared: Path) -> None:
    """The kernel is made to refuse one call to those who set up sandboxes."""
    shared.chmod(0o777)
    files = FilesystemConfig(writable_paths=(str(shared),))
    config = SandboxConfig(filesystem=files)
    nursery = launcher._confiner.native()
    name, _, which = call.partition(" ")
    if which == "again":
        assert shell(launcher, "true", config).exit_status == 0
    if call != "none":
        when = (Condition.eq(0, PRCTLS[which], width=32),) if name == "prctl" else ()
        refused = SeccompFilter((Rule((name,), fails_with(errno.EPERM), when),), default=ALLOW)
        with memory_file("plan", Plan().no_new_privs().seccomp(refused.build()).build()) as fd:
            nursery.apply((fd,))
    ran = shared / "ran"
    if call == "none":
        # The control: without a refusal it runs.
        assert shell(launcher, f"touch {ran}", config).exit_status == 0
        assert ran.exists()
        return
    with pytest.raises(SandboxError) as caught:
        shell(launcher, f"touch {ran}", config)
    assert caught.value.code == "sandbox.step"
    assert caught.value.details["errno"] == "EPERM"
    assert caught.value.details["layer"] == STEPS[call], caught.value.message
    assert caught.value.hint
    assert not ran.exists()
    assert not launcher._running


def test_it_starts_programs_where_clone3_is_denied(launcher: Launcher) -> None:
    """Containers deny it: their filters cannot look at its flags."""
    minimal = SandboxConfig.without_namespaces(enable_landlock=NEW_LANDLOCK)
    nursery = launcher._confiner.native()
    denied = SeccompFilter((Rule(("clone3",), fails_with(errno.ENOSYS)),), default=ALLOW)
    with memory_file("plan", Plan().no_new_privs().seccomp(denied.build()).build()) as fd:
        nursery.apply((fd,))
    for status in (3, 4):
        assert shell(launcher, f"exit {status}", minimal).exit_status == status
    # What clone cannot do is an error: namespaces are made with clone3.
    with pytest.raises(SandboxError, match="clone3"):
        shell(launcher, "true", SandboxConfig(cgroup=None))


HOST = """
import os, sys, time
from pluginapi.sandbox.config import SandboxConfig
from pluginapi.sandbox.launcher import Launcher
launcher = Launcher()
null = os.open("/dev/null", os.O_RDWR)
programs = [
    launcher.start(SandboxConfig(cgroup=None), ["/bin/sleep", "1000"], fds=(null, null, null))
    for _ in range(3)
]
print(*[each.pid for each in programs], flush=True)
time.sleep(1000)
"""


def test_all_end_when_the_host_is_killed(nothing_left: None) -> None:  # noqa: F811
    host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    pids = [int(text) for text in host.stdout.readline().split()]
    assert len(pids) == 3
    handles = [os.pidfd_open(pid) for pid in pids]
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()
    until = time.monotonic() + 10
    import select

    for handle in handles:
        assert select.select([handle], [], [], until - time.monotonic())[0]
        os.close(handle)


def test_many_starts_leave_nothing(nothing_left: None) -> None:  # noqa: F811
    groups = Path("/sys/fs/cgroup")
    with Launcher() as launcher:
        for _ in range(50):
            assert shell(launcher, "exit 0", SandboxConfig()).exit_status == 0
    assert not list(groups.glob(f"**/pluginapi-*-{os.getpid()}-*"))
    assert not descendants()
