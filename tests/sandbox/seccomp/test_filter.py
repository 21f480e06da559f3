"""Rules, conditions and what becomes of them."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import pytest

from pluginapi.errors import InvalidSeccompFilter, UnsupportedPlatform
from pluginapi.sandbox.seccomp import (
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    USER_NOTIF,
    Action,
    ActionKind,
    Architecture,
    Comparison,
    Condition,
    Rule,
    SeccompFilter,
    SeccompProgram,
    architecture,
    errno,
    trace,
    trap,
)
from pluginapi.sandbox.seccomp.tables import ARCHITECTURES

EPERM = errno(1)
BY_STRICTNESS = [KILL_PROCESS, KILL_THREAD, trap(3), errno(5), USER_NOTIF, trace(2), LOG, ALLOW]


def code_of(call: Any) -> str:
    with pytest.raises(InvalidSeccompFilter) as refused:
        call()
    assert refused.value.hint
    return refused.value.code


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_allowed_by_name_and_the_rest_refused(arch: str) -> None:
    made = SeccompFilter((Rule(("read", "write"), ALLOW),), EPERM)
    assert made.explain("read", arch=arch).action == ALLOW
    assert made.explain("openat", arch=arch).action == EPERM
    assert made.explain(100_000, arch=arch).action == EPERM
    foreign = made.program(arch).simulate("read", arch=0x40000003)
    assert foreign.action == KILL_PROCESS


def test_what_a_decision_tells() -> None:
    made = SeccompFilter(
        (Rule(("read",), ALLOW), Rule(("socket",), ALLOW, (Condition.eq(0, 2, width=32),))), EPERM
    )
    read = made.explain("read", arch="x86_64")
    assert (read.call, read.number, read.constant) == ("read", 0, True)
    assert 0 < read.instructions <= len(made.program("x86_64"))
    socket = made.explain(41, (2, 1), arch="x86_64")
    assert (socket.call, socket.action, socket.constant) == ("socket", ALLOW, False)
    assert made.explain(999, arch="x86_64").call is None
    path = made.program("x86_64").path("socket", (2,))
    assert len(path) == socket.instructions
    assert path[0].endswith("ld   arch")
    assert path[-1].endswith("ret  ALLOW")


@pytest.mark.parametrize("order", range(6))
def test_the_strictest_rule_that_holds_wins_whatever_the_order(order: int) -> None:
    draw = random.Random(order)
    rules = [
        Rule(("getpid",), action, (Condition.ge(0, at, width=64),))
        for at, action in enumerate(reversed(BY_STRICTNESS))
    ]
    draw.shuffle(rules)
    made = SeccompFilter(tuple(rules), errno(77))
    for at, action in enumerate(reversed(BY_STRICTNESS)):
        assert made.explain("getpid", (at,), arch="x86_64").action == action


def test_a_rule_without_conditions_ends_what_milder_ones_say() -> None:
    narrow = Rule(("socket",), ALLOW, (Condition.eq(0, 2, width=32),))
    refuse = Rule(("socket",), EPERM)
    for rules in ((narrow, refuse), (refuse, narrow)):
        assert SeccompFilter(rules, KILL_PROCESS).explain("socket", (2,)).action == EPERM
    # and does not touch stricter ones
    hard = Rule(("socket",), KILL_PROCESS, (Condition.eq(0, 38, width=32),))
    made = SeccompFilter((refuse, hard, narrow), ALLOW)
    assert made.explain("socket", (38,)).action == KILL_PROCESS
    assert made.explain("socket", (2,)).action == EPERM


def test_of_equally_strict_rules_the_first_wins() -> None:
    rules = (Rule(("getpid",), errno(5)), Rule(("getpid",), errno(6)))
    assert SeccompFilter(rules, ALLOW).explain("getpid").action == errno(5)
    assert SeccompFilter(rules[::-1], ALLOW).explain("getpid").action == errno(6)


def test_unknown_numbers_have_an_action_of_their_own() -> None:
    made = SeccompFilter((Rule(("read",), ALLOW),), EPERM, unknown=errno(38))
    for arch in ARCHITECTURES.values():
        for number in range(700):
            wanted = errno(38) if number not in arch.names else EPERM
            if number == arch.numbers["read"]:
                wanted = ALLOW
            assert made.program(arch).simulate(number).action == wanted


def test_a_call_whose_conditions_fail_gets_the_default_and_not_what_is_unknown() -> None:
    rule = Rule(("socket",), ALLOW, (Condition.eq(0, 2, width=32),))
    made = SeccompFilter((rule,), EPERM, unknown=errno(38))
    assert made.explain("socket", (3,)).action == EPERM
    assert made.explain("socket", (2,)).action == ALLOW


def test_rules_can_be_replaced_by_name() -> None:
    made = SeccompFilter((Rule(("read", "socket"), ALLOW), Rule(("socket",), EPERM)), KILL_PROCESS)
    changed = made.replacing(Rule(("socket",), LOG))
    assert changed.explain("socket").action == LOG
    assert changed.explain("read").action == ALLOW
    assert made.explain("socket").action == EPERM


def test_programs_are_made_once_for_each_architecture() -> None:
    made = SeccompFilter((Rule(("read",), ALLOW),), EPERM)
    assert made.program("x86_64") is made.program("x86_64")
    assert made.build("x86_64") != made.build("aarch64")
    assert SeccompProgram(made.build("x86_64"), "x86_64").disassemble() == made.disassemble(
        "x86_64"
    )


def test_calls_that_only_other_architectures_have_are_left_out() -> None:
    made = SeccompFilter((Rule(("open", "openat"), ALLOW),), EPERM)
    assert made.explain("open", arch="x86_64").action == ALLOW
    assert made.explain("openat", arch="aarch64").action == ALLOW
    with pytest.raises(InvalidSeccompFilter, match="open") as refused:
        made.explain("open", arch="aarch64")
    assert refused.value.code == "seccomp.unknown_call"


def test_a_misspelt_call_is_an_error() -> None:
    made = SeccompFilter((Rule(("read", "opeanat"), EPERM),), ALLOW)
    with pytest.raises(InvalidSeccompFilter, match="opeanat") as refused:
        made.build()
    assert refused.value.code == "seccomp.unknown_call"


def test_too_many_conditions_are_refused_with_the_code() -> None:
    when = [
        (Condition.eq(0, value * 3, width=64), Condition.eq(1, value * 5, width=64))
        for value in range(3000)
    ]
    rules = tuple(Rule(("read",), errno(1 + at % 4000), found) for at, found in enumerate(when))
    assert code_of(SeccompFilter(rules, ALLOW).build) == "seccomp.too_long"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Condition.eq(6, 1, width=64),
        lambda: Condition.eq(-1, 1, width=64),
        lambda: Condition.eq(0, 1, width=16),  # type: ignore[arg-type]
        lambda: Condition.eq(0, -1, width=64),
        lambda: Condition.eq(0, 1 << 32, width=32),
        lambda: Condition.eq(0, 1 << 64, width=64),
        lambda: Condition.eq(0, True, width=64),
        lambda: Condition.masked_eq(0, 1 << 32, 0, width=32),
        lambda: Condition.is_in(0, (), width=64),
        lambda: Condition.is_in(0, range(5000), width=64),
        lambda: Condition(0, Comparison.LT, (1, 2), 64),
        lambda: Condition(0, "IN", (1,), 64),  # type: ignore[arg-type]
        lambda: Rule((), ALLOW),
        lambda: Rule(("read",), "ALLOW"),  # type: ignore[arg-type]
        lambda: Rule("read", ALLOW),  # type: ignore[arg-type]
        lambda: Rule(("read",), ALLOW, (1,)),  # type: ignore[arg-type]
        lambda: SeccompFilter([Rule(("read",), ALLOW)], ALLOW),  # type: ignore[arg-type]
        lambda: SeccompFilter((), None),  # type: ignore[arg-type]
        lambda: SeccompFilter((), ALLOW, foreign=None),  # type: ignore[arg-type]
        lambda: errno(4096),
        lambda: errno(-1),
        lambda: trap(0x10000),
        lambda: Action(ActionKind.ALLOW, 1),
        lambda: Action("ALLOW"),  # type: ignore[arg-type]
        lambda: SeccompFilter((), ALLOW).explain("read", (0,) * 7),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(wrong: Any) -> None:
    assert code_of(wrong) == "seccomp.rule"


def test_foreign_programs_are_checked_and_shown() -> None:
    allow = bytes.fromhex("060000000000ff7f")
    program = SeccompProgram(allow, "x86_64")
    assert len(program) == 1
    assert program.disassemble() == "   0  ret  ALLOW"
    assert program.simulate("mount").action == ALLOW
    assert program.actions() == {ALLOW}
    with pytest.raises(InvalidSeccompFilter, match=r"beyond the end .instruction 0") as refused:
        SeccompProgram(bytes.fromhex("0500000009000000") + allow, "x86_64")
    assert refused.value.code == "seccomp.program"
    assert refused.value.details["instruction"] == 0
    with pytest.raises(InvalidSeccompFilter, match="whole instructions"):
        SeccompProgram(allow[:-1], "x86_64")


def test_actions_are_read_as_the_kernel_reads_them() -> None:
    for action in BY_STRICTNESS:
        assert Action.of_value(action.value) == action
    assert Action.of_value(0x12340000) == KILL_PROCESS
    assert Action.of_value(0x0005FFFF) == errno(4095)
    assert [action.precedence for action in BY_STRICTNESS] == list(range(8))
    assert str(errno(38)) == "ERRNO(ENOSYS)"
    assert str(trap(7)) == "TRAP(7)"
    assert str(ALLOW) == "ALLOW"


def test_conditions_say_what_they_compare() -> None:
    assert str(Condition.eq(0, 2, width=32)) == "args[0]:32 in {0x2}"
    assert str(Condition.ge(1, 16, width=64)) == "args[1] >= 0x10"
    assert str(Condition.masked_ne(2, 0xF0, 0x10, width=64)) == "(args[2] & 0xf0) != 0x10"


def test_architectures_go_by_several_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert architecture("amd64").name == "x86_64"
    assert architecture("arm64") is architecture("aarch64")
    assert isinstance(architecture(), Architecture)
    with pytest.raises(InvalidSeccompFilter, match="vax") as refused:
        architecture("vax")
    assert refused.value.code == "seccomp.arch"
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(UnsupportedPlatform, match="vax"):
        architecture()


def test_the_numbers_are_those_of_the_headers_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Path(__file__).parents[3] / "scripts"
    monkeypatch.syspath_prepend(str(script))
    syscall_tables = importlib.import_module("syscall_tables")

    if not Path("/usr/include/linux/version.h").is_file():
        pytest.skip("the kernel's headers are not installed (linux-libc-dev)")
    arch = architecture()
    directories = [*map(str, Path("/usr/include").glob(f"{arch.name}-linux-*")), "/usr/include"]
    found = syscall_tables.read_numbers(directories)
    assert len(found) > 300
    ours = {name: arch.numbers.get(name) for name in found}
    newer = {name for name, number in ours.items() if number is None}
    assert {name: number for name, number in ours.items() if name not in newer} == {
        name: number for name, number in found.items() if name not in newer
    }
    # Only a kernel that is newer than the table has more.
    assert all(found[name] > max(arch.names) for name in newer)


def test_the_table_is_what_its_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
    syscall_tables = importlib.import_module("syscall_tables")
    from pluginapi.sandbox.seccomp import syscall_data

    tables = {name: dict(arch.numbers) for name, arch in ARCHITECTURES.items()}
    written = syscall_tables.module(tables, syscall_data.KERNEL)
    assert written == Path(syscall_data.__file__).read_text()
