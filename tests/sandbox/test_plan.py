"""What processes give up by a plan, each beside the same process that gave up nothing."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pluginapi._native import _confine
from pluginapi.errors import SandboxConfigError, SandboxError, SandboxUnavailable
from pluginapi.sandbox.capabilities import CapabilitiesConfig, Capability, read_capabilities
from pluginapi.sandbox.landlock import (
    FileAccess,
    LandlockConfig,
    LandlockRule,
    landlock_abi,
    make_ruleset,
)
from pluginapi.sandbox.plan import Plan, apply_plan
from pluginapi.sandbox.rlimits import RlimitsConfig
from sandbox.programs import run_program

pytestmark = pytest.mark.vm

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has what is to be given up")

PRELUDE = """
import codecs, ctypes, errno, json, os, resource, signal, socket, subprocess, sys
codecs.lookup("ascii")
from pluginapi.errors import PluginError
from pluginapi.sandbox.capabilities import *
from pluginapi.sandbox.landlock import *
from pluginapi.sandbox.plan import *
from pluginapi.sandbox.rlimits import *
libc = ctypes.CDLL(None, use_errno=True)
told = {}
def tell(name, function):
    try:
        told[name] = function()
    except OSError as err:
        told[name] = errno.errorcode[err.errno]
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
"""


def confined(plan: str, probe: str, *, apply: bool = True, **values: Any) -> dict[str, Any]:
    """Run a probe in a process that applied a plan, or did not; return what it told."""
    parts = [PRELUDE, "values = json.loads(sys.argv[1])", textwrap.dedent(plan)]
    parts += ["apply_plan(plan, fds)" if apply else "", textwrap.dedent(probe)]
    parts.append("sys.stdout.write(json.dumps(told))")
    done = run_program("\n".join(parts), json.dumps(values))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


NO_CAPS = """
fds = ()
plan = Plan().capabilities(CapabilitiesConfig())
"""


@needs_root
class TestCapabilities:
    PROBE = """
        tell("chown", lambda: os.chown(values["file"], 1, 1))
        tell("uid", lambda: os.setuid(1))
        told["sets"] = [getattr(read_capabilities(), each) for each in CapabilitySets.__slots__]
        status = open("/proc/self/status").read()
        told["nnp"] = status.partition("NoNewPrivs:\\t")[2][0]
    """

    def test_all_are_dropped(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        free = confined(NO_CAPS, self.PROBE, apply=False, file=str(file))
        assert (free["chown"], free["nnp"]) == (None, "0")
        os.chown(file, 0, 0)
        bound = confined(NO_CAPS, self.PROBE, file=str(file))
        assert (bound["chown"], bound["uid"], bound["nnp"]) == ("EPERM", "EPERM", "1")
        assert bound["sets"] == [0] * 5

    def test_some_are_kept(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        plan = """
            fds = ()
            plan = Plan().capabilities(CapabilitiesConfig(allowed_caps=("CAP_CHOWN",)))
        """
        bound = confined(plan, self.PROBE, file=str(file))
        assert (bound["chown"], bound["uid"]) == (None, "EPERM")
        assert bound["sets"] == [0, 1, 1, 1, 0]

    def test_ambient_ones_go_on_as_another_user(self) -> None:
        plan = """
            fds = ()
            caps = ("CAP_NET_BIND_SERVICE", "CAP_KILL")
            plan = Plan().become(65534, 65534).capabilities(
                CapabilitiesConfig(allowed_caps=caps, ambient_caps=caps[:1])
            )
        """
        probe = """
            import subprocess
            out = subprocess.run(["cat", "/proc/self/status"], stdout=-1, text=True).stdout
            told["caps"] = [int(l.split()[1], 16) for l in out.splitlines() if l[:3] == "Cap"]
            told["uid"] = out.partition("Uid:\\t")[2].split()[0]
            told["groups"] = out.partition("Groups:\\t")[2].partition("\\n")[0].strip()
        """
        bind, kill = 1 << 10, 1 << 5
        assert confined(plan, probe) == {
            "caps": [bind, bind, bind, bind | kill, bind],
            "uid": "65534",
            "groups": "",
        }

    def test_root_gets_none_back_by_executing(self) -> None:
        probe = """
            import subprocess
            out = subprocess.run(["cat", "/proc/self/status"], stdout=-1, text=True).stdout
            told["eff"] = int(out.partition("CapEff:\\t")[2].split()[0], 16)
        """
        assert confined(NO_CAPS, probe, apply=False)["eff"] != 0
        assert confined(NO_CAPS, probe)["eff"] == 0

    def test_what_is_not_there_cannot_be_kept(self) -> None:
        probe = """
            try:
                apply_plan(Plan().capabilities(CapabilitiesConfig(allowed_caps=("CAP_KILL",))))
            except PluginError as err:
                told["error"] = [err.code, err.details["layer"], err.details["errno"]]
        """
        assert confined(NO_CAPS, probe)["error"] == ["sandbox.step", "capabilities", "EPERM"]


@needs_root
def test_another_user_may_not_do_what_root_may(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    plan = "fds = ()\nplan = Plan().become(54321, 54321)"
    probe = """
        tell("read", lambda: open(values["file"]).read())
        tell("back", lambda: os.setuid(0))
        told["ids"] = os.getresuid() + os.getresgid()
    """
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    assert confined(plan, probe, apply=False, file=str(secret))["read"] == "x"
    bound = confined(plan, probe, file=str(secret))
    assert (bound["read"], bound["back"]) == ("EACCES", "EPERM")
    assert bound["ids"] == [54321] * 6


class TestBounds:
    def test_limits(self) -> None:
        plan = "fds = ()\nplan = Plan().rlimits(RlimitsConfig(open_files=12, stack_bytes=1 << 20))"
        probe = """
            opened = []
            def open_many():
                for _ in range(20):
                    opened.append(os.open("/dev/null", os.O_RDONLY))
                return "all"
            tell("open", open_many)
            told["core"] = resource.getrlimit(resource.RLIMIT_CORE)
            told["stack"] = resource.getrlimit(resource.RLIMIT_STACK)
            if opened:
                os.close(opened[0])
        """
        assert confined(plan, probe, apply=False)["open"] == "all"
        bound = confined(plan, probe)
        assert bound == {"open": "EMFILE", "core": [1, 1], "stack": [1 << 20] * 2}

    def test_the_keyring_is_another(self) -> None:
        probe = """
            add, read, session = 248, 11, -3
            def key():
                args = (250, 10, session, b"user", b"pluginapi-test", 0)
                return call(libc.syscall(*args)) and "found"
            tell("key", key)
        """
        plan = "fds = ()\nplan = Plan().new_keyring()"
        if os.uname().machine != "x86_64":
            pytest.skip("the numbers of the calls are those of x86_64")
        add = """
            call(libc.syscall(250, 1, None))
            call(libc.syscall(248, b"user", b"pluginapi-test", b"hunter2", 7, -3))
        """
        before = textwrap.dedent(add) + plan
        assert confined(before, probe, apply=False)["key"] == "found"
        assert confined(before, probe)["key"] == "ENOKEY"

    def test_who_is_not_dumpable_is_not_its_users(self) -> None:
        probe = 'told["dumpable"] = libc.prctl(3, 0, 0, 0, 0)'
        plan = "fds = ()\nplan = Plan().dumpable(on=False)"
        assert confined(plan, probe, apply=False)["dumpable"] == 1
        assert confined(plan, probe)["dumpable"] == 0

    @needs_root
    def test_the_name_of_the_host_is_its_own(self) -> None:
        probe = 'told["name"] = os.uname().nodename'
        plan = 'fds = ()\nplan = Plan().new_namespaces(0x04000000).hostname("plugin")'
        assert confined(plan, probe, apply=False)["name"] == os.uname().nodename != "plugin"
        assert confined(plan, probe)["name"] == "plugin"
        assert os.uname().nodename != "plugin"

    @needs_root
    def test_a_network_namespace_is_entered(self) -> None:
        plan = """
            before = os.open("/proc/self/ns/net", os.O_RDONLY)
            call(libc.unshare(0x40000000))
            fds = (os.open("/proc/self/ns/net", os.O_RDONLY),)
            call(libc.setns(before, 0x40000000))
            plan = Plan().enter_namespaces(0, 0x40000000)
        """
        probe = 'told["same"] = os.readlink("/proc/self/ns/net") == values["net"]'
        own = str(Path("/proc/self/ns/net").readlink())
        assert confined(plan, probe, apply=False, net=own)["same"]
        assert not confined(plan, probe, net=own)["same"]


def refused(config: LandlockConfig) -> bool:
    """Tell whether the kernel's Landlock is too old for something, having seen the error then."""
    abi = landlock_abi()
    assert abi > 0, "the kernel has no Landlock, or has it off"
    if abi >= config.needed_abi:
        return False
    with pytest.raises(SandboxUnavailable) as error:
        make_ruleset(config)
    assert error.value.code == "sandbox.landlock"
    needs = f"is needed in version {config.needed_abi}, the kernel has version {abi}"
    assert needs in error.value.message
    return True


class TestLandlock:
    # What versions of the interface add to one another is asked for by the configuration alone.
    FILES_ALONE = LandlockConfig(minimum_abi=1, scope_signals=False, scope_abstract_sockets=False)

    @pytest.mark.parametrize("config", [FILES_ALONE, LandlockConfig()], ids=["oldest", "default"])
    def test_files(self, tmp_path: Path, config: LandlockConfig) -> None:
        if refused(config):
            return
        for name in ("read", "write", "none"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text("x")
        plan = """
            rules = (
                LandlockRule(values["at"] + "/read"),
                LandlockRule(values["at"] + "/write", FileAccess.READ_WRITE),
            )
            fds = (make_ruleset(LandlockConfig(rules=rules, **values["config"])),)
            plan = Plan().no_new_privs().landlock(0)
        """
        probe = """
            at = values["at"]
            for name in ("read", "write", "none"):
                file = f"{at}/{name}/file"
                tell("read " + name, lambda: os.close(os.open(file, os.O_RDONLY)))
                tell("write " + name, lambda: os.close(os.open(file, os.O_WRONLY)))
                tell("truncate " + name, lambda: os.truncate(file, 1))
                tell("make " + name, lambda: os.mkdir(f"{at}/{name}/new"))
        """
        asked = ("minimum_abi", "scope_signals", "scope_abstract_sockets")
        values: dict[str, Any] = {
            "at": str(tmp_path),
            "config": {name: getattr(config, name) for name in asked},
        }
        free = confined(plan, probe, apply=False, **values)
        assert set(free.values()) == {None}
        for name in ("read", "write", "none"):
            (tmp_path / name / "new").rmdir()
        bound = confined(plan, probe, **values)
        allowed = {"read read", "read write", "write write", "truncate write", "make write"}
        if landlock_abi() < 3:
            # What the documentation of `minimum_abi` warns of.
            allowed |= {"truncate read", "truncate none"}
        assert {what for what, how in bound.items() if how is None} == allowed
        assert {how for what, how in bound.items() if what not in allowed} == {"EACCES"}

    def test_ports(self) -> None:
        if refused(
            LandlockConfig(
                bind_ports=(), connect_ports=(), scope_signals=False, scope_abstract_sockets=False
            )
        ):
            return
        plan = """
            server = socket.create_server(("127.0.0.1", 0))
            config = LandlockConfig(
                rules=(LandlockRule("/"),), bind_ports=(), connect_ports=(),
                scope_signals=False, scope_abstract_sockets=False,
            )
            fds = (make_ruleset(config),)
            plan = Plan().no_new_privs().landlock(0)
        """
        probe = """
            def connect():
                socket.create_connection(server.getsockname()).close()
            def bind():
                socket.create_server(("127.0.0.1", 0)).close()
            tell("connect", connect)
            tell("bind", bind)
        """
        assert confined(plan, probe, apply=False) == {"connect": None, "bind": None}
        assert confined(plan, probe) == {"connect": "EACCES", "bind": "EACCES"}

    def test_signals_and_abstract_sockets(self) -> None:
        if refused(LandlockConfig()):
            return
        plan = """
            outside = os.fork()
            if outside == 0:
                signal.pause()
            server = socket.socket(socket.AF_UNIX)
            name = f"\\0pluginapi-test-{os.getpid()}"
            if (peer := os.fork()) == 0:
                server.bind(name)
                server.listen()
                os.kill(outside, 0)
                signal.pause()
            import time
            for _ in range(500):
                if name[1:] in open("/proc/net/unix").read():
                    break
                time.sleep(0.01)
            fds = (make_ruleset(LandlockConfig(rules=(LandlockRule("/"),))),)
            plan = Plan().no_new_privs().landlock(0)
            killer = os.fork()
            if killer == 0:
                # Not restricted: it ends those that this process may not end any more.
                time.sleep(2)
                os.kill(outside, 9)
                os.kill(peer, 9)
                os._exit(0)
        """
        probe = """
            def connect():
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(name)
            tell("signal", lambda: os.kill(outside, 0))
            tell("connect", connect)
            for child in (outside, peer, killer):
                os.waitpid(child, 0)
        """
        assert confined(plan, probe, apply=False) == {"signal": None, "connect": None}
        assert confined(plan, probe) == {"signal": "EPERM", "connect": "EPERM"}

    def test_it_needs_no_new_privs(self) -> None:
        plan = """
            config = LandlockConfig(
                rules=(LandlockRule("/"),), minimum_abi=1,
                scope_signals=False, scope_abstract_sockets=False,
            )
            fds = (make_ruleset(config),)
            plan = Plan().capabilities(CapabilitiesConfig(no_new_privs=False))
        """
        probe = """
            try:
                apply_plan(Plan().landlock(0), fds)
            except PluginError as err:
                told["error"] = [err.code, err.details["layer"], err.details["errno"], err.hint]
        """
        code, layer, number, hint = confined(plan, probe)["error"]
        assert (code, layer, number) == ("sandbox.step", "landlock", "EPERM")
        assert "no_new_privs" in hint

    def test_what_the_kernel_lacks_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # No more than it has: what is asked of it below has to be there.
        older = min(3, landlock_abi())
        monkeypatch.setattr(_confine, "landlock_abi", lambda: older)
        os.close(make_ruleset(self.FILES_ALONE))
        assert refused(LandlockConfig())
        assert refused(LandlockConfig(scope_signals=False, bind_ports=()))
        monkeypatch.setattr(_confine, "landlock_abi", lambda: 0)
        with pytest.raises(SandboxError, match="the kernel has none"):
            make_ruleset(LandlockConfig())

    def test_a_path_that_is_not_there(self) -> None:
        config = replace(self.FILES_ALONE, rules=(LandlockRule("/not/there"),))
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(SandboxError, match="/not/there") as failed:
            make_ruleset(config)
        assert failed.value.code == "sandbox.landlock_rule"
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_relative_paths_and_ports_out_of_bounds(self) -> None:
        with pytest.raises(SandboxConfigError, match="not absolute"):
            LandlockRule("usr")
        with pytest.raises(SandboxConfigError, match="65536"):
            LandlockConfig(bind_ports=(65_536,))


class TestSeccomp:
    # ld [nr]; jeq getppid; ret ERRNO 77; ret ALLOW
    PLAN = """
        import struct
        rows = [(0x20, 0, 0, 0), (0x15, 0, 1, 110), (0x06, 0, 0, 0x5004d), (0x06, 0, 0, 0x7fff0000)]
        fds = ()
        plan = Plan().no_new_privs().seccomp(b"".join(struct.pack("=HBBI", *row) for row in rows))
    """

    @pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number is that of x86_64")
    def test_a_filter(self) -> None:
        probe = 'tell("ppid", lambda: call(libc.syscall(110)) > 0)\ntold["pid"] = os.getpid() > 0'
        assert confined(self.PLAN, probe, apply=False) == {"ppid": True, "pid": True}
        assert confined(self.PLAN, probe) == {"ppid": "EBADFD", "pid": True}

    def test_one_that_the_kernel_does_not_take(self) -> None:
        plan = "fds = ()\nplan = Plan().no_new_privs()"
        probe = """
            try:
                apply_plan(Plan().seccomp(bytes(8)))
            except PluginError as err:
                told["error"] = [err.code, err.details["call"], err.details["errno"]]
        """
        assert confined(plan, probe)["error"] == ["sandbox.step", "seccomp", "EINVAL"]


class TestPlans:
    def test_the_first_step_that_fails_is_named(self) -> None:
        # Of this process, which goes on: a first step that changes nothing of it.
        plan = Plan().dumpable(on=True).enter_namespaces(0, 0x40000000)
        null = os.open("/dev/null", os.O_RDONLY)
        before = read_capabilities()
        try:
            with pytest.raises(SandboxError) as failed:
                apply_plan(plan.capabilities(CapabilitiesConfig()), (null,))
        finally:
            os.close(null)
        assert failed.value.code == "sandbox.step"
        assert failed.value.details["layer"] == "setns"
        assert failed.value.details["step"] == 1
        assert failed.value.details["errno"] == "EINVAL"
        assert failed.value.hint
        assert read_capabilities() == before

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda: Plan().landlock(0), "step 0 of it has a value"),
            (lambda: Plan().no_new_privs().enter_namespaces(1, 0x40000000), "step 1 of it has"),
            (lambda: Plan().enter_namespaces(0, 3), "has a value"),
            (lambda: Plan().new_namespaces(1), "has a value"),
            (lambda: Plan().seccomp(b""), "of another size"),
            (lambda: Plan().seccomp(bytes(8 * 4097)), "of another size"),
        ],
    )
    def test_what_makes_no_plan(self, make: Any, why: str) -> None:
        with pytest.raises(SandboxConfigError, match=why):
            make().build()

    @pytest.mark.parametrize("number", [0, -1, 2**32 - 1, 2**33])
    def test_root_is_what_nobody_becomes(self, number: int) -> None:
        with pytest.raises(SandboxConfigError, match="cannot be the user"):
            Plan().become(number, 1)
        with pytest.raises(SandboxConfigError, match="cannot be the user"):
            Plan().become(1, number)

    @pytest.mark.parametrize("name", ["", "x" * 65, "münchen"])
    def test_names_of_hosts(self, name: str) -> None:
        with pytest.raises(SandboxConfigError, match="name of a host"):
            Plan().hostname(name)

    def test_capabilities_that_contradict(self) -> None:
        with pytest.raises(SandboxConfigError, match="CAP_KILL"):
            CapabilitiesConfig(ambient_caps=(Capability.CAP_KILL,))
        with pytest.raises(SandboxConfigError, match="drop_all is off"):
            CapabilitiesConfig(drop_all=False, allowed_caps=(Capability.CAP_KILL,))
        with pytest.raises(SandboxConfigError, match="CAP_EVERYTHING"):
            CapabilitiesConfig(allowed_caps=("CAP_EVERYTHING",))  # type: ignore[arg-type]

    @pytest.mark.parametrize("bounds", [{"open_files": -1}, {"core_bytes": True}])
    def test_limits_out_of_bounds(self, bounds: dict[str, int]) -> None:
        with pytest.raises(SandboxConfigError, match=next(iter(bounds))):
            RlimitsConfig(**bounds)


def test_accesses() -> None:
    assert FileAccess.READ_WRITE & FileAccess.EXECUTE == 0
    assert FileAccess.READ in FileAccess.READ_EXECUTE
