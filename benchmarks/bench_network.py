# ruff: noqa: T201 - it prints
"""What a network of named destinations costs: to connect, once connected, to start, to firewall.

    taskset -c 1 python benchmarks/bench_network.py

Prints the figures of this machine, each beside its target; peers take turns with what is measured:
the same static C program with nothing around it, and `nft -f` where nftables is installed. As root,
in a network namespace of its own.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench_process import line, spread, timed

from pluginapi import NetworkTarget
from pluginapi.sandbox.config import FilesystemConfig, NetworkConfig, NetworkMode, SandboxConfig
from pluginapi.sandbox.launcher import Launcher, Program
from pluginapi.sandbox.network.nftables import Firewall
from pluginapi.sandbox.seccomp import SeccompMode

PORT = 7070
ROUNDS = 11
CONNECTS = 2000
TURNS = 4000
MIB = 512
PLUGINS = 1000
TRUE = "/bin/true"
TARGETS = ("192.0.2.1:53/udp", "10.0.0.0/8:5432", "[2001:db8::1]:443", "198.51.99.0/24:8080")
NFT = """
add chain inet {table} {chain}
add rule inet {table} {chain} ip saddr != 100.127.0.1 drop
add rule inet {table} {chain} ip6 saddr != fd70:6c75:6769:1::1 drop
add rule inet {table} {chain} ct state established,related accept
add rule inet {table} {chain} ct count over 100 reject with icmpx admin-prohibited
add rule inet {table} {chain} ip daddr 192.0.2.1 udp dport 53 accept
add rule inet {table} {chain} ip daddr 10.0.0.0/8 tcp dport 5432 accept
add rule inet {table} {chain} ip6 daddr 2001:db8::1 tcp dport 443 accept
add rule inet {table} {chain} ip daddr 198.51.99.0/24 tcp dport 8080 accept
add rule inet {table} {chain} reject with icmpx admin-prohibited
add element inet {table} plugins {{ "{chain}" : goto {chain} }}
"""


def network(*allow: str, link: bool = False) -> NetworkConfig:
    targets = tuple(map(NetworkTarget.parse, allow))
    return NetworkConfig(mode=NetworkMode.RESTRICTED, allow=targets, link=link)


class Peer:
    """The program, alone and in a sandbox."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "network_peer"
        source = Path(__file__).with_name("network_peer.c")
        subprocess.run(["cc", "-O2", "-static", "-o", str(self.path), str(source)], check=True)
        directory.chmod(0o755)
        files = FilesystemConfig(read_only_paths=(str(directory),))
        self.config = SandboxConfig(
            cgroup=None, filesystem=files, network=network(f"127.0.0.1:{PORT}")
        )
        self.open = replace(
            self.config,
            seccomp=SeccompMode.PERMISSIVE,
            network=NetworkConfig(mode=NetworkMode.FULL),
            enable_network_namespace=False,
        )

    def command(self, what: str, times: int) -> list[str]:
        return [str(self.path), what, "127.0.0.1", str(PORT), str(times)]

    def alone(self, what: str, times: int) -> float:
        done = subprocess.run(self.command(what, times), check=True, capture_output=True)
        return float(done.stdout.split()[0])

    def confined(self, launcher: Launcher, config: SandboxConfig, what: str, times: int) -> float:
        done = launcher.run(config, self.command(what, times))
        assert done.exit_status == 0, done.stderr
        return float(done.stdout.split()[0])

    @contextmanager
    def serving(self) -> Iterator[None]:
        command = [str(self.path), "serve", str(PORT)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            try:
                yield
            finally:
                server.kill()


def beside(
    what: str,
    unit: str,
    scale: float,
    measures: dict[str, Callable[[], float]],
    target: str,
    *,
    higher: bool = False,
) -> dict[str, float]:
    """Measure in turns; print medians and the ratio of each to the first."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            found[name].append(measure() / scale)
    middle = {name: statistics.median(values) for name, values in found.items()}
    first = next(iter(middle.values()))
    for name, values in found.items():
        ratio = middle[name] / first
        print(f"{f'{what}, {name}':52} {spread(values, unit)}; {ratio:.3f} of the first")
    print(f"  target {target}{' (more is better)' if higher else ''}")
    return middle


def connections(peer: Peer) -> None:
    with Launcher() as launcher, peer.serving():
        for what, times, unit, scale, target in (
            ("connect", CONNECTS, "us", 1e3, "at most 2.5"),
            ("turn", TURNS, "us", 1e3, "at most 1.05"),
            ("stream", MIB, "MB/s", 1.0, "at least 0.95"),
        ):
            beside(
                what,
                unit,
                scale,
                {
                    "direct": partial(peer.alone, what, times),
                    "confined, full network": partial(
                        peer.confined, launcher, peer.open, what, times
                    ),
                    "through the broker": partial(
                        peer.confined, launcher, peer.config, what, times
                    ),
                },
                target,
                higher=what == "stream",
            )


def starts(peer: Peer) -> None:
    """Start a program with a network made ahead, and with the host's."""
    measures: dict[str, SandboxConfig] = {
        "the host's": peer.open,
        "isolated": replace(peer.config, network=NetworkConfig()),
        "restricted": peer.config,
        "restricted, with a link": replace(
            peer.config, network=network("192.0.2.1:53/udp", link=True)
        ),
    }
    took: dict[str, list[float]] = {name: [] for name in measures}
    with Launcher(cells=2) as launcher:
        for config in measures.values():
            launcher.run(config, [TRUE])
        for _ in range(40):
            for name, config in measures.items():
                # What is made ahead is made when whoever takes it has it.
                launcher._confiner.fill()  # noqa: SLF001
                took[name].append(timed(partial(launcher.run, config, [TRUE])))
    first = statistics.median(next(iter(took.values())))
    for name, values in took.items():
        line(f"a program from start to end, network {name}", values)
        print(f"  {statistics.median(values) - first:+.3f} ms; target at most +0.1")


def rules() -> None:
    targets = tuple(map(NetworkTarget.parse, TARGETS))
    addresses = (
        ipaddress.ip_address("100.127.0.1"),
        ipaddress.ip_address("fd70:6c75:6769:1::1"),
    )
    firewall = Firewall("pluginapi_bench", "bench-", [ipaddress.ip_network("100.127.0.0/16")])
    ours, theirs = [], []
    nft = shutil.which("nft")
    table = "peer"
    if nft is not None:
        subprocess.run([nft, "add", "table", "inet", table], check=True)
        kind = "{ type ifname : verdict; }"
        subprocess.run([nft, f"add map inet {table} plugins {kind}"], check=True)
    for number in range(60):
        name = f"bench-{number:04x}"
        ours.append(timed(partial(firewall.permit, name, addresses, targets, 100)) * 1e3)
        if nft is not None:
            text = NFT.format(table=table, chain=name).encode()
            run = partial(subprocess.run, [nft, "-f", "-"], input=text, check=True)
            theirs.append(timed(run) * 1e3)
    line("the rules of a plugin installed", ours, "at most 250 us", "us")
    if theirs:
        line("  nft -f of the same rules", theirs, unit="us")
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(f"  nft -f / ours: {ratio:.1f}; target at least 10")
    else:
        print("  nftables is not installed: no peer")
    firewall.close()


def many(peer: Peer) -> None:
    """Connect with one plugin, and with a thousand more that have rules of their own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Launcher(cells=0) as launcher, peer.serving(), open(os.devnull, "rb+") as null:  # noqa: PTH123
        fds = (null.fileno(), null.fileno(), null.fileno())

        def connect() -> float:
            return peer.confined(launcher, peer.config, "connect", CONNECTS) / 1e3

        alone = [connect() for _ in range(ROUNDS)]
        programs: list[Program] = []
        start = time.perf_counter()
        for number in range(PLUGINS):
            allow = (f"n{number}.example.com:443", f"10.{number >> 8}.{number & 255}.0/24")
            # Programs of one name share 256 users; plugins have names of their own.
            users = (0x5041_0000 + 8 * number, 8)
            config = replace(peer.config, network=network(*allow), user_ids=users)
            programs.append(launcher.start(config, ["/bin/sleep", "600"], fds=fds))
        took = time.perf_counter() - start
        beside_many = [connect() for _ in range(ROUNDS)]
        for program in programs:
            launcher.finish(program)
    print(f"{PLUGINS} plugins with rules of their own started in {took:.1f} s")
    again = [statistics.median(values) for values in (alone, beside_many)]
    line("connect, one plugin", alone, unit="us")
    line("connect, beside the others", beside_many, unit="us")
    print(f"  {again[1] / again[0]:.3f} of one alone; target at most 1.10")


def main() -> None:
    if os.getuid() != 0:
        sys.exit("it takes root: a network namespace of its own")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x4000_0000) == 0, os.strerror(ctypes.get_errno())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    subprocess.run([shutil.which("ip") or "/sbin/ip", "link", "set", "lo", "up"], check=True)
    print(f"{os.cpu_count()} processors, allowed {len(os.sched_getaffinity(0))}")
    parts = {"connections": connections, "starts": starts, "many": many}
    wanted = sys.argv[1:] or [*parts, "rules"]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        peer = Peer(Path(directory))
        for name in wanted:
            if name == "rules":
                rules()
            else:
                parts[name](peer)


if __name__ == "__main__":
    main()
