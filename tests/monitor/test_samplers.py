"""What samplers say of real processes, and psutil as the oracle."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from monitor.programs import Program, run_program
from pluginapi.monitor.native import NativeSampler
from pluginapi.monitor.procfs import ProcfsSampler
from pluginapi.monitor.psutil_sampler import PsutilSampler
from pluginapi.monitor.sampler import ProcessSampler, SampledProcess, open_sampler
from pluginapi.monitor.usage import ProcessLife, ProcessUsage, UsageBounds
from pluginapi.process.measuring import WorkerUsage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these processes are of Linux")

MIB = 1 << 20
MAKERS: dict[str, Callable[[], ProcessSampler]] = {
    "native": NativeSampler,
    "lean": lambda: NativeSampler(keep=0),
    "procfs": ProcfsSampler,
    "psutil": PsutilSampler,
}
OURS = ["native", "lean", "procfs"]


@pytest.fixture(params=list(MAKERS))
def sampler(request: pytest.FixtureRequest) -> Iterator[ProcessSampler]:
    made = MAKERS[request.param]()
    yield made
    made.close()
    assert len(made) == 0


@pytest.fixture(params=OURS)
def our_sampler(request: pytest.FixtureRequest) -> Iterator[ProcessSampler]:
    made = MAKERS[request.param]()
    yield made
    made.close()


@pytest.fixture
def program() -> Iterator[Program]:
    with run_program() as made:
        yield made


def look(sampler: ProcessSampler, pid: int) -> ProcessUsage:
    process = sampler.add(pid)
    try:
        sampler.sample(peak=True, switches=True)
        return process.read()
    finally:
        process.close()


def until(usage: Callable[[], ProcessUsage], holds: Callable[[ProcessUsage], bool]) -> ProcessUsage:
    deadline = time.monotonic() + 20
    while True:
        found = usage()
        if holds(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def test_the_platform_has_a_sampler() -> None:
    assert open_sampler().name == "native"


@pytest.mark.parametrize("kind", OURS)
def test_psutil_says_the_same_of_every_process(kind: str, program: Program) -> None:
    """Processes change meanwhile: compared is what psutil finds the same before and after.

    What changes back between the two differs once in a while, but not each time.
    """
    sampler = MAKERS[kind]()
    asked = {}
    for oracle in psutil.process_iter():
        if oracle.pid == os.getpid():
            # psutil counts the descriptors that it opens for counting.
            continue
        try:
            asked[oracle] = sampler.add(oracle.pid)
        except ProcessLookupError:
            continue
    same, other = _compared(sampler, asked)
    for _ in range(5):
        if other:
            other &= _compared(sampler, asked)[1]
    assert not other
    # Of the program at least; root sees all that there are.
    assert len(same) >= (20 if os.getuid() == 0 else 3)
    assert program.pid in {oracle.pid for oracle in asked}
    sampler.close()


_Amount = tuple[psutil.Process, str]


def _compared(
    sampler: ProcessSampler, asked: dict[psutil.Process, SampledProcess]
) -> tuple[set[_Amount], set[_Amount]]:
    """Return the amounts that psutil says as well, and those of which it says other ones."""
    before = {oracle: _told(oracle) for oracle in asked}
    sampler.sample(connections=False, peak=True, switches=True)
    after = {oracle: _told(oracle) for oracle in asked}
    same: set[_Amount] = set()
    other: set[_Amount] = set()
    for oracle, process in asked.items():
        usage = process.read()
        assert abs(process.started - oracle.create_time()) < 2
        low, high = before[oracle], after[oracle]
        if low is None or high is None or usage.life is not ProcessLife.LIVE:
            continue
        for name in ("threads", "memory_bytes", "descriptors"):
            value = getattr(usage, name)
            assert type(value) is int
            assert value >= 0
            if low[name] == high[name]:
                (same if value == low[name] else other).add((oracle, name))
        # psutil counts in ticks of 10 ms, rounded down twice.
        assert usage.cpu_ns is not None
        assert low["cpu"] - 0.001 <= usage.cpu_ns / 1e9 <= high["cpu"] + 0.021
        if high["memory_bytes"]:
            assert usage.peak_bytes is not None
        if low["threads"] == high["threads"] == 1:
            assert usage.voluntary_switches is not None
            assert low["voluntary"] <= usage.voluntary_switches <= high["voluntary"]
    return same, other


def _told(oracle: psutil.Process) -> dict[str, float] | None:
    try:
        if oracle.status() == psutil.STATUS_ZOMBIE:
            return None
        return {
            "memory_bytes": oracle.memory_info().rss,
            "threads": oracle.num_threads(),
            "descriptors": oracle.num_fds(),
            "cpu": sum(oracle.cpu_times()[:2]),
            "voluntary": oracle.num_ctx_switches().voluntary,
        }
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def test_what_a_process_does_is_seen(sampler: ProcessSampler, program: Program) -> None:
    process = sampler.add(program.pid)
    sampler.sample()
    before = process.read()
    program.do("kept.append(bytearray(40 << 20))")
    program.do("kept += [open('/dev/null') for _ in range(7)]")
    program.do(
        "[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in 'abc']"
    )
    program.do("[sum(range(1000)) for _ in range(3000)]")
    sampler.sample()
    after = process.read()
    assert 40 * MIB <= _grown(before, after, "memory_bytes") < 60 * MIB
    assert _grown(before, after, "descriptors") == 7
    assert _grown(before, after, "threads") == 3
    assert _grown(before, after, "cpu_ns") > 10_000_000
    program.do("kept.clear()")
    sampler.sample()
    assert _grown(before, process.read(), "descriptors") == 0


def _grown(before: ProcessUsage, after: ProcessUsage, name: str) -> int:
    found = getattr(after, name) - getattr(before, name)
    assert isinstance(found, int)
    return found


def test_connections_are_counted_and_what_listens_is_not(
    sampler: ProcessSampler, program: Program
) -> None:
    process = sampler.add(program.pid)
    counts = []

    def count(line: str) -> None:
        program.do(line)
        sampler.sample()
        counts.append(process.read().connections)

    count("server = socket.create_server(('127.0.0.1', 0))")
    count("server6 = socket.create_server(('::1', 0), family=socket.AF_INET6)")
    count("kept += [socket.socket(), socket.socket(type=socket.SOCK_DGRAM), *socket.socketpair()]")
    count("kept.append(socket.create_connection(server.getsockname()))")
    count("kept.append(socket.create_connection(server6.getsockname()[:2]))")
    count("kept.append(server.accept()[0])")
    count("kept.append(open('/dev/null'))")
    # A connection in the place of a file.
    count("kept.pop().close(); kept.append(socket.create_connection(server.getsockname()))")
    # What was closed here waits for the other side, and is nobody's.
    count("kept.pop().close()")
    count("[each.close() for each in kept]")
    assert counts == [0, 0, 0, 1, 2, 3, 3, 4, 3, 0]


@pytest.mark.parametrize("kind", ["native", "lean"])
def test_connections_of_many_are_asked_for_once(kind: str, program: Program) -> None:
    """Beyond a few descriptors, the kernel is asked which connections there are."""
    sampler = MAKERS[kind]()
    process = sampler.add(program.pid)
    program.do("kept += [open('/dev/null') for _ in range(400)]")
    program.do("server = socket.create_server(('127.0.0.1', 0))")
    counts = []

    def count(line: str) -> None:
        program.do(line)
        sampler.sample()
        counts.append(process.read().connections)

    count("ends = [socket.create_connection(server.getsockname()) for _ in range(5)]")
    count("kept += [server.accept()[0] for _ in ends]")
    count("ends.pop().close()")
    # As many descriptors as before, and another connection.
    count("ends.pop().close(); ends.append(socket.create_connection(server.getsockname()))")
    count("os.dup2(ends[0].fileno(), kept[0].fileno())")
    # A connection in the place of a file.
    count("kept[1].close(); ends.append(socket.create_connection(server.getsockname()))")
    assert counts == [5, 10, 9, 9, 9, 10]
    sampler.close()


def test_connections_of_a_network_of_its_own(program: Program) -> None:
    if os.getuid() != 0:
        pytest.skip("a network of its own takes root or a user namespace")
    sampler = NativeSampler()
    process = sampler.add(program.pid)
    program.do("kept += [open('/dev/null') for _ in range(400)]")
    program.do("assert ctypes.CDLL(None).unshare(0x40000000) == 0")
    program.do(
        "import fcntl, struct; s = socket.socket(); "
        "fcntl.ioctl(s, 0x8914, struct.pack('16sH14x', b'lo', 1))"
    )
    program.do("server = socket.create_server(('127.0.0.1', 0))")
    program.do("kept += [socket.create_connection(server.getsockname()) for _ in range(3)]")
    sampler.sample()
    assert process.read().connections == 3
    program.do("kept.pop().close()")
    sampler.sample()
    assert process.read().connections == 2
    sampler.close()


def test_the_peak_is_that_since_the_look_before(program: Program) -> None:
    sampler = NativeSampler()
    process = sampler.add(program.pid)
    sampler.sample(peak=True)
    base = process.read().memory_bytes or 0
    peaks = []
    for line in ("bytearray(60 << 20)", "pass", "bytearray(20 << 20)"):
        program.do(line)
        sampler.sample(peak=True)
        usage = process.read()
        assert (usage.memory_bytes or 0) - base < 10 * MIB
        peaks.append(((usage.peak_bytes or 0) - base) // MIB)
    assert 58 <= peaks[0] <= 65
    assert peaks[1] < 10
    assert 18 <= peaks[2] <= 28
    sampler.close()


# Identity


def test_what_ended_is_gone_and_nothing_is_said_of_it(
    sampler: ProcessSampler, program: Program
) -> None:
    process = sampler.add(program.pid)
    program.process.kill()
    # Not waited for: a zombie.
    usage = until(process.measure, lambda usage: usage.life is ProcessLife.ZOMBIE)
    assert usage.life is ProcessLife.ZOMBIE
    assert usage.memory_bytes is None
    assert usage.descriptors is None
    program.process.wait()
    usage = process.measure()
    assert usage.life is ProcessLife.GONE
    assert (usage.memory_bytes, usage.cpu_ns, usage.threads, usage.connections) == (None,) * 4
    with pytest.raises(ProcessLookupError):
        sampler.add(program.pid)


def test_a_number_that_is_another_processs_now_is_not_measured(
    our_sampler: ProcessSampler, program: Program
) -> None:
    """In a PID namespace of its own, whose next number can be chosen."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if os.getuid() != 0 or not last.exists():
        pytest.skip("choosing the next process's number takes root and CONFIG_CHECKPOINT_RESTORE")
    script = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[1]), *sys.path]!r}
from monitor.test_samplers import MAKERS, reuse
reuse({our_sampler.name!r})
"""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "gone None None None\n", done.stderr
    del program


def reuse(kind: str) -> None:
    """Measure a process, end it, let another one have its number, and say what is measured."""
    first = subprocess.Popen(["sleep", "60"])
    sampler = MAKERS[kind]()
    process = sampler.add(first.pid)
    first.kill()
    first.wait()
    for _ in range(100):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
        with subprocess.Popen(["sleep", "60"]) as second:
            usage = process.measure()
            second.kill()
        if second.pid == first.pid:
            print(usage.life.value, usage.memory_bytes, usage.cpu_ns, usage.threads)  # noqa: T201
            return
    raise AssertionError("no other process got the number")


class EndedWorker:
    """A worker that has ended, whose number this process has by now."""

    pid = os.getpid()
    confinement = None

    def wait(self, timeout: float) -> bool:
        return timeout == 0


def test_a_worker_that_ended_before_it_was_added_is_refused(sampler: ProcessSampler) -> None:
    with pytest.raises(ProcessLookupError):
        WorkerUsage(sampler, EndedWorker(), None)  # type: ignore[arg-type]
    assert len(sampler) == 0


def test_numbers_that_no_process_has_are_refused(sampler: ProcessSampler) -> None:
    for pid in (0, -1):
        with pytest.raises(ValueError, match="above 0"):
            sampler.add(pid)
    with pytest.raises(ProcessLookupError):
        sampler.add((1 << 22) + 5)


def test_another_program_is_the_same_process(sampler: ProcessSampler, program: Program) -> None:
    process = sampler.add(program.pid)
    program.do("kept.append(bytearray(40 << 20))")
    sampler.sample()
    before = process.read()
    program.tell("os.execv('/bin/sleep', ['sleep', '60'])")
    usage = until(
        process.measure, lambda usage: (usage.memory_bytes or 0) < (before.memory_bytes or 0) / 4
    )
    assert 0 < (usage.memory_bytes or 0) < 20 * MIB
    assert usage.life is ProcessLife.LIVE
    assert (usage.cpu_ns or 0) >= (before.cpu_ns or 0) > 0


def test_one_that_hides_behind_a_thread_is_found(
    our_sampler: ProcessSampler, program: Program
) -> None:
    """The control is psutil, which takes the process for a zombie that uses nothing."""
    process = our_sampler.add(program.pid)
    program.do("kept.append(bytearray(30 << 20))")
    program.do("server = socket.create_server(('127.0.0.1', 0))")
    program.do("kept.append(socket.create_connection(server.getsockname()))")
    program.do("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()")
    our_sampler.sample()
    before = process.read()
    program.tell("ctypes.CDLL(None).pthread_exit(None)")
    usage = until(process.measure, lambda usage: usage.life is ProcessLife.LEADER_GONE)
    our_sampler.sample()
    usage = process.read()
    oracle = psutil.Process(program.pid)
    assert (oracle.status(), oracle.memory_info().rss) == ("zombie", 0)
    if os.getuid() == 0:
        # Others may not look.
        assert oracle.num_fds() == 0
    assert usage.life is ProcessLife.LEADER_GONE
    assert (usage.memory_bytes or 0) > 30 * MIB
    assert usage.descriptors == before.descriptors
    assert (before.threads, usage.threads) == (2, 1)
    assert (before.connections, usage.connections) == (1, 1)


@pytest.mark.parametrize("name", [") R 1 (", "a b", "(((", ")))", "x) Z 0", "\n) S"])
def test_names_of_programs_say_nothing(
    our_sampler: ProcessSampler, program: Program, name: str
) -> None:
    process = our_sampler.add(program.pid)
    program.do(f"open('/proc/self/comm', 'w').write({name!r})")
    usage = process.measure()
    assert usage.life is ProcessLife.LIVE
    assert usage.threads == 1
    again = our_sampler.add(program.pid)
    assert again.started == pytest.approx(process.started, abs=0.5)


# Bounds


BOUNDS = {
    "memory_before": 0,
    "memory": 1 << 40,
    "threads_before": 0,
    "threads": 100,
    "descriptors_before": 0,
    "descriptors": 1000,
    "connections": 100,
}


@pytest.mark.parametrize(
    ("bound", "line"),
    [
        ("memory", "kept.append(bytearray(8 << 20))"),
        ("threads", "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"),
        ("descriptors", "kept.append(open('/dev/null'))"),
        ("connections", "kept.append(socket.create_connection(server.getsockname()))"),
    ],
)
def test_what_is_above_a_bound_is_named(
    sampler: ProcessSampler, program: Program, bound: str, line: str
) -> None:
    with run_program() as other:
        program.do("server = socket.create_server(('127.0.0.1', 0))")
        process, unbound = sampler.add(program.pid), sampler.add(other.pid)
        sampler.sample()
        usage = process.read()
        used = {
            "memory": (usage.memory_bytes or 0) + 4 * MIB,
            "threads": usage.threads or 0,
            "descriptors": usage.descriptors or 0,
            "connections": usage.connections or 0,
        }
        process.bound(UsageBounds(**{**BOUNDS, bound: used[bound]}))
        unbound.measure()
        assert list(sampler.sample()) == []
        program.do(line)
        assert list(sampler.sample()) == [process]
        before = {f"{bound}_before": used[bound]} if bound != "connections" else {}
        process.bound(UsageBounds(**{**BOUNDS, **before}))
        assert list(sampler.sample()) == []
        unbound.close()


# Sharing and letting go


def test_many_threads_may_use_it(our_sampler: ProcessSampler) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()

    def guarded(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as err:  # noqa: BLE001 - told below
                failures.append(err)

        return run

    kept = our_sampler.add(os.getpid())

    def come_and_go() -> None:
        process = our_sampler.add(os.getpid())
        assert process.measure().threads
        process.close()
        process.close()
        assert process.read().threads is None

    works: list[Callable[[], object]] = [come_and_go, come_and_go, our_sampler.sample, kept.read]
    threads = [threading.Thread(target=guarded(work)) for work in works]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(our_sampler) == 1


def test_descriptors_are_given_back(our_sampler: ProcessSampler) -> None:
    place = Path("/proc/self/fd")
    our_sampler.sample()
    before = len(list(place.iterdir()))
    with socket.create_server(("127.0.0.1", 0)):
        for _ in range(300):
            process = our_sampler.add(os.getpid())
            our_sampler.sample()
            process.close()
    # The native one keeps its question to the kernel open.
    assert len(list(place.iterdir())) - before <= 1
    with pytest.raises(ProcessLookupError):
        our_sampler.add((1 << 22) + 1)
    assert len(list(place.iterdir())) - before <= 1


def test_beyond_its_descriptors_processes_are_measured_all_the_same() -> None:
    """The first one fits into what it may keep, the others hold one descriptor each."""
    sampler = NativeSampler(keep=3)
    processes = [sampler.add(os.getpid()) for _ in range(10)]
    sampler.sample()
    count, kept, descriptors, passes, took = sampler.core.facts()
    assert (count, kept, descriptors, passes) == (10, 1, 13, 1)
    assert took > 0
    assert len({process.read().descriptors for process in processes}) == 1
    sampler.close()
    assert sampler.core.facts()[:3] == (0, 0, 0)
