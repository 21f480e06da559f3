# ruff: noqa: SLF001, T201 - it looks at the parts, and prints
"""What a sandbox costs: around a program, around a plugin's process, and for a call.

    taskset -c 1 python benchmarks/bench_sandbox.py

Prints the figures of this machine, each beside its target, taking turns with the peers: posix_spawn
of the same program with nothing around it, and bubblewrap and crun where they are installed. On one
processor: a wake-up of another one takes longer here than a sandbox. As root.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from bench_process import Kind, Plugins, line, spread, timed

from pluginapi.process import PluginProcessManager, ProcessSettings
from pluginapi.process.child import Worker
from pluginapi.sandbox.config import SandboxConfig
from pluginapi.sandbox.launcher import Launcher

ROUNDS = 60
CYCLES = 1000
CALLS = 2000
TRUE = "/bin/true"
TMP = "/tmp"  # noqa: S108 - of sandboxes
IMPORTS = ["asyncio", "json", "socket", "logging", "dataclasses", "typing", "inspect", "msgspec"]
ONE_NETWORK = 0.02
KINDS: tuple[Kind, ...] = ("python", "native")


def spawned() -> None:
    """Start a program with nothing around it, and wait for its end."""
    pid = os.posix_spawn(TRUE, [TRUE], {})
    os.waitpid(pid, 0)


def bubblewrapped() -> None:
    command = ["bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr"]
    command += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", TMP]
    command += ["--die-with-parent", "--new-session", "/usr/bin/true"]
    pid = os.posix_spawn(shutil.which("bwrap") or "", command, {})
    os.waitpid(pid, 0)


class Crun:
    """A bundle for crun, with the same namespaces and no control group: it refuses hybrid ones."""

    def __init__(self, directory: Path) -> None:
        self.number = 0
        root = directory / "root"
        for name in ("usr", "proc", "tmp", "dev"):
            (root / name).mkdir(parents=True)
        for name in ("lib", "lib64", "bin"):
            (root / name).symlink_to(f"usr/{name}")
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 65534, "gid": 65534},
                "args": ["/usr/bin/true"],
                "cwd": "/",
                "noNewPrivileges": True,
            },
            "root": {"path": str(root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": TMP, "type": "tmpfs", "source": "tmpfs"},
                {
                    "destination": "/usr",
                    "type": "bind",
                    "source": "/usr",
                    "options": ["rbind", "ro"],
                },
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
            },
        }
        self.bundle = directory
        (directory / "config.json").write_text(json.dumps(config))

    def __call__(self) -> None:
        self.number += 1
        command = ["crun", "--cgroup-manager=disabled", "run", "--bundle", str(self.bundle)]
        command.append(f"bench-{os.getpid()}-{self.number}")
        # It says on each start that it takes no hybrid control groups; none are asked for.
        quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        pid = os.posix_spawn(
            shutil.which("crun") or "", command, {"PATH": "/usr/bin:/bin"}, file_actions=quiet
        )
        os.waitpid(pid, 0)


def launched(launcher: Launcher, config: SandboxConfig, null: int) -> Callable[[], None]:
    def once() -> None:
        program = launcher.start(config, [TRUE], fds=(null, null, null))
        program.wait(10)
        launcher.finish(program)

    return once


def around_a_program() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    pooled, cold, bare = (Launcher(cells=count) for count in (2, 0, 0))
    full = SandboxConfig(cgroup=None)
    none = SandboxConfig.without_namespaces(seccomp=None, enable_landlock=False)
    contenders: dict[str, Callable[[], None]] = {
        "posix_spawn": spawned,
        "the launcher, with nothing around": launched(bare, none, null),
        "pooled": launched(pooled, full, null),
        "cold": launched(cold, full, null),
    }
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        if shutil.which("bwrap"):
            contenders["bubblewrap"] = bubblewrapped
        if shutil.which("crun"):
            contenders["crun"] = Crun(Path(directory))
        for number in range(ROUNDS + 1):
            for name, contender in contenders.items():
                pooled._confiner.fill()
                time.sleep(ONE_NETWORK)
                took = timed(contender)
                if number:
                    times.setdefault(name, []).append(took)
    for launcher in (pooled, cold, bare):
        launcher.close()
    os.close(null)
    compare(times)


def compare(times: dict[str, list[float]]) -> None:
    targets = {"pooled": "+0.35 ms", "cold": "+1.0 ms"}
    for name, values in times.items():
        line(f"/bin/true, {name}", values, targets.get(name, ""))
    middle = {name: statistics.median(values) for name, values in times.items()}
    base, own = middle["posix_spawn"], middle["the launcher, with nothing around"]
    for name in ("pooled", "cold"):
        print(
            f"  {name}: +{middle[name] - base:.3f} ms over posix_spawn, "
            f"of which the launcher is {own - base:.3f}"
        )
    for name, target in (("bubblewrap", "1/8"), ("crun", "1/12")):
        if name in middle:
            share = (middle["pooled"] - base) / (middle[name] - base)
            print(f"  overhead against {name}'s: {share:.3f} (1/{1 / share:.1f}); target {target}")


def interpreter() -> None:
    code = f"import {', '.join(IMPORTS)}"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def start_worker(manager: PluginProcessManager, kind: Kind) -> Worker:
    nursery = manager._nursery(kind)
    confinement = manager._confine(kind, nursery, "bench", manager.sandbox)
    return Worker(nursery, manager.settings, confinement=confinement)


def worker_round(managers: dict[str, PluginProcessManager], times: dict[str, list[float]]) -> None:
    for kind in KINDS:
        for name, manager in managers.items():
            if manager.sandbox is not None:
                manager._confining().fill()
            time.sleep(ONE_NETWORK)
            start = time.perf_counter()
            made = start_worker(manager, kind)
            times.setdefault(f"{kind} {name}", []).append((time.perf_counter() - start) * 1e3)
            manager._dismiss(made)


def workers() -> None:
    settings = ProcessSettings(health_interval=0)
    times: dict[str, list[float]] = {}
    with (
        PluginProcessManager(settings, sandbox=SandboxConfig(cgroup=None)) as confined,
        PluginProcessManager(settings) as open_,
    ):
        managers = {"confined": confined, "unconfined": open_}
        for manager in managers.values():
            for kind in KINDS:
                manager.prepare(kind)
        worker_round(managers, {})
        for number in range(ROUNDS):
            worker_round(managers, times)
            if number % 6 == 0:
                times.setdefault("interpreter", []).append(timed(interpreter))
    targets = {"python confined": "1.6 ms", "native confined": "1.4 ms"}
    for name, values in times.items():
        what = "exec and imports" if name == "interpreter" else f"{name} worker at hand"
        line(what, values, targets.get(name, ""))
    middle = {name: statistics.median(values) for name, values in times.items()}
    longer = middle["interpreter"] / middle["python confined"]
    print(f"  exec of an interpreter with the same imports: {longer:.1f}x as long; target 30")


def calls(plugins: Plugins) -> None:
    settings = ProcessSettings(health_interval=0)
    value = msgspec.msgpack.encode("hello")
    took: dict[str, list[float]] = {"confined": [], "unconfined": []}
    with (
        PluginProcessManager(settings, sandbox=SandboxConfig()) as confined,
        PluginProcessManager(settings) as open_,
    ):
        ready = []
        for name, manager in (("confined", confined), ("unconfined", open_)):
            process = plugins.process(manager, "python")
            number = process.start(10).handlers[0].id
            ready.append((name, process, number))
        for _ in range(12):
            for name, process, number in ready:
                channel = process.channel
                start = time.perf_counter()
                for _ in range(CALLS):
                    channel.call(number, value)
                took[name].append((time.perf_counter() - start) / CALLS * 1e6)
    for name, values in took.items():
        print(f"{f'a call of a Python plugin, {name}':44} {spread(values, 'us')}")
    middle = {name: statistics.median(values) for name, values in took.items()}
    print(f"  confined / unconfined: {middle['confined'] / middle['unconfined']:.3f}; target 1.05")


def left(plugins: Plugins) -> None:
    """Count what a thousand confined starts and stops leave behind."""

    def facts() -> tuple[int, int, int]:
        groups = sum(1 for _ in Path("/sys/fs/cgroup").glob(f"**/pluginapi-*-{os.getpid()}-*"))
        mounts = len(Path("/proc/self/mountinfo").read_text("utf-8").splitlines())
        return len(list(Path("/proc/self/fd").iterdir())), groups, mounts

    before = facts()
    with PluginProcessManager(ProcessSettings(health_interval=0), sandbox=SandboxConfig()) as made:
        process = plugins.process(made, "native")
        start = time.perf_counter()
        for _ in range(CYCLES):
            process.start(10)
            process.stop()
        took = time.perf_counter() - start
        made.discard(process)
    time.sleep(1)
    print(
        f"{CYCLES} confined starts and stops of a native plugin took {took:.1f} s; "
        f"descriptors, control groups, mounts before {before}, after {facts()}"
    )


def main() -> None:
    print(f"{os.cpu_count()} processors, allowed {len(os.sched_getaffinity(0))}")
    with tempfile.TemporaryDirectory() as directory:
        plugins = Plugins(Path(directory))
        around_a_program()
        workers()
        calls(plugins)
        left(plugins)


if __name__ == "__main__":
    main()
