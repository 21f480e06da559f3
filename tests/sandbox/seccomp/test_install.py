"""Filters in force: what the kernel does with them, and that it does what the simulation says.

Every refusal is shown beside the same call without the filter, which works.
"""

from __future__ import annotations

import errno
import platform
import random
import signal
import struct
import sys

import pytest

from pluginapi.errors import InvalidSeccompFilter, SandboxError, UnsupportedPlatform
from pluginapi.sandbox.seccomp import (
    ALLOW,
    Condition,
    Rule,
    SeccompFilter,
    SeccompMode,
    SeccompProgram,
    architecture,
)
from pluginapi.sandbox.seccomp import errno as fails
from sandbox.seccomp.confined import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp(2) is Linux's")
x86_64_only = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="x32 and int 0x80 are x86-64's"
)


def test_allowed_refused_and_logged() -> None:
    ended = run(
        """
        numbers = architecture().numbers
        before = call(numbers["getppid"])
        SeccompFilter(
            (Rule(("getppid",), errno(19)), Rule(("getuid",), LOG), Rule(("getgid",), errno(0))),
            default=ALLOW,
        ).install()
        tell(before=before > 0, after=call(numbers["getppid"]), uid=call(numbers["getuid"]),
             gid=call(numbers["getgid"]), real_uid=os.getuid(), unnamed=call(100_000))
        """
    )
    assert ended.code == 0
    assert ended.told["before"]
    assert ended.told["after"] == -19
    assert ended.told["uid"] == ended.told["real_uid"]
    assert ended.told["gid"] == 0
    assert ended.told["unnamed"] == -errno.ENOSYS


@pytest.mark.parametrize("action", ["KILL_PROCESS", "KILL_THREAD", "trap(7)"])
def test_killed(action: str) -> None:
    body = f"""
        made = SeccompFilter((Rule(("getppid",), {action}),), default=ALLOW)
        if given:
            made.install()
        call(architecture().numbers["getppid"])
        tell(alive=True)
        """
    assert run(body, False).told == {"alive": True}
    ended = run(body, True)
    assert ended.by_sigsys
    assert ended.told == {}


def test_kill_thread_ends_one_thread_and_kill_process_all() -> None:
    body = """
        made = SeccompFilter(
            (Rule(("getppid",), KILL_PROCESS if given else KILL_THREAD),), default=ALLOW
        )
        made.install()
        # A thread without Python: its end leaves no lock held.
        function = ctypes.cast(_libc.getppid, ctypes.c_void_p)
        thread = ctypes.c_ulong()
        _libc.pthread_create(ctypes.byref(thread), None, function, None)
        threading.Event().wait(0.2)
        tell(alive=True)
        os._exit(0)
        """
    assert run(body, False).told == {"alive": True}
    assert run(body, True).by_sigsys


def test_trap_tells_its_handler() -> None:
    ended = run(
        """
        signal.signal(signal.SIGSYS, lambda *_: tell(trapped=True))
        SeccompFilter((Rule(("getppid",), trap(7)),), default=ALLOW).install()
        call(architecture().numbers["getppid"])
        """
    )
    assert ended.told == {"trapped": True}


def test_all_threads_are_filtered_with_tsync_and_one_without() -> None:
    body = """
        number = architecture().numbers["getppid"]
        go, done, found = threading.Event(), threading.Event(), []
        def other():
            go.wait()
            found.append(call(number))
            done.set()
        threading.Thread(target=other).start()
        SeccompFilter((Rule(("getppid",), errno(19)),), default=ALLOW).install(tsync=given)
        go.set()
        done.wait()
        tell(here=call(number), there=found[0])
        """
    without = run(body, False).told
    assert without["here"] == -19
    assert without["there"] > 0
    assert run(body, True).told == {"here": -19, "there": -19}


def test_a_thread_with_a_filter_of_its_own_stops_tsync() -> None:
    ended = run(
        """
        number = architecture().numbers["getppid"]
        own, end = threading.Event(), threading.Event()
        def other():
            SeccompFilter((Rule(("getuid",), errno(19)),), default=ALLOW).install(tsync=False)
            own.set()
            end.wait()
        thread = threading.Thread(target=other)
        thread.start()
        own.wait()
        from pluginapi.errors import SandboxError
        try:
            SeccompFilter((Rule(("getppid",), errno(19)),), default=ALLOW).install()
        except SandboxError as err:
            tell(code=err.code, message=str(err), thread=thread.native_id, hint=err.hint)
        tell(after=call(number))
        end.set()
        """
    )
    assert ended.told["code"] == "seccomp.refused"
    assert f"thread {ended.told['thread']}" in ended.told["message"]
    assert "before threads are started" in ended.told["hint"]
    assert ended.told["after"] > 0  # Nobody has the filter.


def test_high_bits_do_not_dodge_a_comparison_of_32_bits() -> None:
    body = """
        number = architecture().numbers["socket"]
        width = given
        if width:
            SeccompFilter(
                (Rule(("socket",), errno(13), (Condition.eq(0, 2, width=width),)),), default=ALLOW
            ).install()
        tell(plain=call(number, 2, 2, 0), high=call(number, 2 | 1 << 32, 2, 0))
        """
    control = run(body, None).told
    # The kernel takes an int: the socket of the high bits is the same socket.
    assert control["plain"] > 0
    assert control["high"] > 0
    assert run(body, 32).told == {"plain": -13, "high": -13}
    # Why the width is asked for: 64 bits would have let it through.
    dodged = run(body, 64).told
    assert dodged["plain"] == -13
    assert dodged["high"] > 0


@x86_64_only
@pytest.mark.parametrize("number", [0x4000_0027, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_numbers_of_the_x32_abi_end_the_process(number: int) -> None:
    body = """
        if given[1]:
            SeccompFilter((), default=ALLOW).install()
        tell(result=call(given[0]))
        """
    assert run(body, [number, False]).told["result"] != 0
    assert run(body, [number, True]).by_sigsys


@x86_64_only
def test_the_32_bit_abi_ends_the_process() -> None:
    body = """
        getpid = i386(20)
        if given:
            SeccompFilter((), default=ALLOW).install()
        tell(result=getpid(), pid=_pid)
        """
    control = run(body, False)
    if control.code == -signal.SIGSEGV:
        pytest.skip("this kernel has no 32-bit ABI (CONFIG_IA32_EMULATION)")
    assert control.told["result"] == control.told["pid"]
    assert run(body, True).by_sigsys


def test_a_listener_is_told() -> None:
    ended = run(
        """
        listener = SeccompFilter((Rule(("getppid",), USER_NOTIF),), default=ALLOW).install(
            listener=True
        )
        name = os.readlink(f"/proc/self/fd/{listener}")
        tell(name=name, inheritable=os.get_inheritable(listener))
        from pluginapi.errors import SandboxError
        try:
            SeccompFilter((), default=ALLOW).install(listener=True)
        except SandboxError as err:
            tell(hint=err.hint)
        """
    )
    assert ended.told["name"] == "anon_inode:seccomp notify"
    assert not ended.told["inheritable"]
    assert "listener is in force already" in ended.told["hint"]


def test_a_filter_is_inherited_and_no_new_privs_is_set() -> None:
    ended = run(
        """
        SeccompFilter((Rule(("getppid",), errno(19)),), default=ALLOW).install(log=True)
        status = dict(
            line.split(":", 1) for line in open("/proc/self/status").read().splitlines()
        )
        child = os.fork()
        if child == 0:
            os._exit(-call(architecture().numbers["getppid"]))
        tell(child=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]),
             nnp=int(status["NoNewPrivs"]), mode=int(status["Seccomp"]))
        """
    )
    assert ended.told == {"child": 19, "nnp": 1, "mode": 2}


def test_without_privileges_no_new_privs_is_needed_and_the_error_says_so() -> None:
    body = """
        if os.getuid() == 0:
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        from pluginapi.errors import SandboxError
        try:
            SeccompFilter((), default=ALLOW).install(no_new_privs=given)
            tell(installed=True)
        except SandboxError as err:
            tell(code=err.code, hint=err.hint, layer=err.details["layer"])
        """
    assert run(body, True).told == {"installed": True}
    refused = run(body, False).told
    assert refused["code"] == "seccomp.refused"
    assert refused["layer"] == "seccomp"
    assert "no_new_privs=True" in refused["hint"]


def test_a_filter_over_a_filter_that_forbids_it_names_the_remedy() -> None:
    ended = run(
        """
        SeccompFilter(
            (Rule(("seccomp", "prctl"), errno(1)),), default=ALLOW
        ).install()
        from pluginapi.errors import SandboxError
        try:
            SeccompFilter((), default=ALLOW).install()
        except SandboxError as err:
            tell(message=str(err), hint=err.hint)
        """
    )
    assert "no_new_privs" in ended.told["message"]
    assert "allow seccomp" in ended.told["hint"]


def test_an_action_that_the_kernel_does_not_know_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pluginapi._native import _seccomp

    monkeypatch.setattr(
        _seccomp, "knows", lambda action: errno.EOPNOTSUPP if action == 0x7FC00000 else 0
    )
    from pluginapi.sandbox.seccomp import USER_NOTIF

    with pytest.raises(SandboxError, match="USER_NOTIF") as refused:
        SeccompFilter((Rule(("getppid",), USER_NOTIF),), default=ALLOW).install()
    assert refused.value.code == "seccomp.refused"


def test_a_filter_for_another_machine_is_refused() -> None:
    other = "riscv64" if platform.machine() != "riscv64" else "x86_64"
    with pytest.raises(InvalidSeccompFilter, match=other) as refused:
        SeccompFilter((), default=ALLOW).program(other).install()
    assert refused.value.code == "seccomp.arch"


def test_other_platforms_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UnsupportedPlatform, match="seccomp"):
        SeccompMode.BASIC.filter().install()


# The simulation against the kernel

_CHILDREN = """
        results = []
        for code, tries in given:
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                program = SeccompProgram(bytes.fromhex(code))
                program.install(tsync=False)
                found = [call(number, *arguments) for number, arguments in tries]
                os.write(write, json.dumps(found).encode())
                os._exit(0)
            os.close(write)
            with open(read) as answers:
                results.append(json.load(answers))
            os.waitpid(child, 0)
        tell(results=results)
        """


def _expect(program: SeccompProgram, number: int, arguments: list[int]) -> int:
    value = program.simulate(number, tuple(arguments)).action
    return -value.data if value.kind.name == "ERRNO" else 1


def _check(programs: list[tuple[SeccompProgram, list[tuple[int, list[int]]]]]) -> None:
    given = [(program.code.hex(), tries) for program, tries in programs]
    told = run(_CHILDREN, given).told["results"]
    for (program, tries), found in zip(programs, told, strict=True):
        for (number, arguments), result in zip(tries, found, strict=True):
            expected = _expect(program, number, arguments)
            assert min(result, 1) == expected, (program.disassemble(), arguments)


def test_random_conditions_do_what_the_simulation_says() -> None:
    draw = random.Random(6)
    corners = [0, 1, 5, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 5 << 32, 1 << 63, (1 << 64) - 1]
    number = architecture().numbers["getppid"]  # It looks at none of its arguments.
    makers = [Condition.eq, Condition.ne, Condition.lt, Condition.le, Condition.gt, Condition.ge]
    programs: list[tuple[SeccompProgram, list[tuple[int, list[int]]]]] = []
    for _ in range(25):
        rules = []
        for rank in range(draw.randrange(1, 5)):
            when = []
            for argument in draw.sample(range(6), draw.randrange(1, 4)):
                wide = draw.random() < 0.6
                value = draw.choice(corners) & (0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF)
                when.append(draw.choice(makers)(argument, value, width=64 if wide else 32))
            rules.append(Rule(("getppid",), fails(100 + rank), tuple(when)))
        tries = []
        for _ in range(40):
            arguments = [
                (draw.choice(corners) + draw.choice([-1, 0, 0, 1])) % (1 << 64) for _ in range(6)
            ]
            tries.append((number, arguments))
        programs.append((SeccompFilter(tuple(rules), ALLOW).program(), tries))
    _check(programs)


def _random_program(draw: random.Random, number: int) -> bytes:
    """Return a program with every instruction, whose result for `number` is an error from 0."""
    arithmetic = [0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xA4]
    words = [0, 1, 3, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    body: list[tuple[int, int, int, int]] = [(0x02, 0, 0, slot) for slot in range(16)]
    for left in range(30, 0, -1):
        kind = draw.randrange(8)
        if kind == 0:
            body.append((0x20, 0, 0, 4 * draw.randrange(4, 16)))
        elif kind == 1:
            code = draw.choice(arithmetic)
            limit = {0x34: [1, 3, 7], 0x64: [0, 5, 31], 0x74: [0, 5, 31]}.get(code, words)
            body.append((code, 0, 0, draw.choice(limit)))
        elif kind == 2:
            # Division by a register that may be 0 ends the thread: not by register.
            body.append((draw.choice([code for code in arithmetic if code != 0x34]) | 8, 0, 0, 0))
        elif kind == 3:
            body.append((draw.choice([0x60, 0x61, 0x02, 0x03]), 0, 0, draw.randrange(16)))
        elif kind == 4:
            body.append((draw.choice([0x07, 0x87, 0x84, 0x80, 0x81]), 0, 0, 0))
        elif kind == 5:
            body.append((draw.choice([0x00, 0x01]), 0, 0, draw.choice(words)))
        elif kind == 6:
            code = draw.choice([0x15, 0x25, 0x35, 0x45]) | draw.choice([0, 8])
            body.append(
                (
                    code,
                    draw.randrange(min(left, 4)),
                    draw.randrange(min(left, 4)),
                    draw.choice(words),
                )
            )
        else:
            body.append((0x05, 0, 0, draw.randrange(min(left, 4))))
    body += [(0x54, 0, 0, 0x7FF), (0x44, 0, 0, 0x50000), (0x16, 0, 0, 0)]
    head = [(0x20, 0, 0, 0), (0x15, 1, 0, number), (0x06, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("=HBBI", *item) for item in head + body)


def test_random_programs_do_what_the_interpreter_says() -> None:
    draw = random.Random(11)
    number = architecture().numbers["getppid"]
    programs: list[tuple[SeccompProgram, list[tuple[int, list[int]]]]] = []
    while len(programs) < 40:
        program = SeccompProgram(_random_program(draw, number))
        tries = [
            (number, [draw.choice([0, 5, 1 << 31, draw.getrandbits(64)]) for _ in range(6)])
            for _ in range(10)
        ]
        programs.append((program, tries))
    _check(programs)
