"""Profiles in Docker's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluginapi.errors import InvalidSeccompFilter
from pluginapi.sandbox.seccomp import (
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    USER_NOTIF,
    Condition,
    DockerProfile,
    Rule,
    SeccompFilter,
    SeccompMode,
    errno,
    trace,
    trap,
)

VECTOR = Path(__file__).with_name("vectors") / "docker-default.json"
EPERM = errno(1)
ENOSYS = errno(38)


@pytest.fixture(scope="module")
def default() -> DockerProfile:
    return DockerProfile.decode(VECTOR.read_bytes())


def profile(*rules: dict[str, Any], **keys: Any) -> DockerProfile:
    document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **keys}
    return DockerProfile.decode(json.dumps(document))


def test_dockers_default_profile(default: DockerProfile) -> None:
    made = default.filter("x86_64", kernel="6.1")
    expected = {
        ("read", ()): ALLOW,
        ("ptrace", ()): ALLOW,
        ("mount", ()): EPERM,
        ("keyctl", ()): EPERM,
        ("bpf", ()): EPERM,
        ("io_uring_setup", ()): EPERM,
        ("clone", (0x3D0F00,)): ALLOW,
        ("clone", (0x10000000,)): EPERM,
        ("clone3", ()): ENOSYS,
        ("socket", (2,)): ALLOW,
        ("socket", (40,)): EPERM,
        ("personality", (0,)): ALLOW,
        ("personality", (0x40000,)): EPERM,
    }
    for (call, arguments), action in expected.items():
        assert made.explain(call, arguments, arch="x86_64").action == action, call
    assert made.explain(10_000, arch="x86_64").action == ENOSYS


def test_capabilities_kernels_and_architectures_decide(default: DockerProfile) -> None:
    admin = default.filter("x86_64", capabilities=["CAP_SYS_ADMIN"])
    assert admin.explain("mount", arch="x86_64").action == ALLOW
    assert admin.explain("clone", (0x10000000,), arch="x86_64").action == ALLOW
    assert admin.explain("clone3", arch="x86_64").action == ALLOW
    old = default.filter("x86_64", kernel="4.7.2-generic")
    assert old.explain("ptrace", arch="x86_64").action == EPERM
    assert default.filter("x86_64", kernel="4.8").explain("ptrace", arch="x86_64").action == ALLOW
    assert default.filter("x86_64").explain("arch_prctl", arch="x86_64").action == ALLOW
    arm = default.filter("aarch64")
    assert arm.explain("read", arch="aarch64").action == ALLOW
    assert arm.explain("mount", arch="aarch64").action == EPERM


def test_int_arguments_are_compared_as_the_kernel_takes_them(default: DockerProfile) -> None:
    dodge = (40 | 1 << 32,)  # AF_VSOCK to the kernel, another number in 64 bits
    exact = default.filter("x86_64", exact=True)
    assert exact.explain("socket", dodge, arch="x86_64").action == ALLOW
    assert default.filter("x86_64").explain("socket", dodge, arch="x86_64").action == EPERM
    negative = profile(
        {
            "names": ["openat"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": (1 << 64) - 100, "op": "SCMP_CMP_EQ"}],
        }
    ).filter("x86_64")
    assert negative.explain("openat", (-100,), arch="x86_64").action == ALLOW
    assert negative.explain("openat", (0xFFFFFF9C,), arch="x86_64").action == ALLOW
    assert negative.explain("openat", (3,), arch="x86_64").action == EPERM


@pytest.mark.parametrize(
    ("op", "held"),
    [
        ("SCMP_CMP_NE", {4, 6}),
        ("SCMP_CMP_LT", {4}),
        ("SCMP_CMP_LE", {4, 5}),
        ("SCMP_CMP_EQ", {5}),
        ("SCMP_CMP_GE", {5, 6}),
        ("SCMP_CMP_GT", {6}),
    ],
)
def test_every_comparison(op: str, held: set[int]) -> None:
    made = profile(
        {
            "names": ["read"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 2, "value": 5, "op": op}],
        }
    ).filter()
    found = {value for value in (4, 5, 6) if made.explain("read", (0, 0, value)).action == ALLOW}
    assert found == held


def test_every_action() -> None:
    actions = {
        "SCMP_ACT_KILL": KILL_THREAD,
        "SCMP_ACT_KILL_THREAD": KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
        "SCMP_ACT_TRAP": trap(),
        "SCMP_ACT_ERRNO": errno(1),
        "SCMP_ACT_TRACE": trace(1),
        "SCMP_ACT_NOTIFY": USER_NOTIF,
        "SCMP_ACT_LOG": LOG,
    }
    for name, action in actions.items():
        rule = {"name": "read", "action": name}
        made = profile(rule, defaultAction="SCMP_ACT_ALLOW").filter()
        assert made.explain("read").action == action
    refuse = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    assert profile(refuse).filter().explain("read").action == ENOSYS
    assert profile(defaultErrnoRet=13).filter(unknown=None).explain("read").action == errno(13)


def test_two_conditions_for_one_argument_are_alternatives_as_in_runc() -> None:
    made = profile(
        {
            "names": ["read"],
            "action": "SCMP_ACT_ALLOW",
            "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
            ],
        }
    ).filter()
    assert [made.explain("read", (fd,)).action for fd in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]


GOOD: dict[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
ARG: dict[str, Any] = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}


@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        ({"names": ["read"], "action": "SCMP_ACT_MAYBE"}, {}),
        ({"names": ["read"]}, {}),
        ({"action": "SCMP_ACT_ALLOW"}, {}),
        ({**GOOD, "name": "write"}, {}),
        ({**GOOD, "names": []}, {}),
        ({**GOOD, "argz": []}, {}),
        ({**GOOD, "args": [{**ARG, "op": "SCMP_CMP_ABOUT"}]}, {}),
        ({**GOOD, "args": [{**ARG, "index": 6}]}, {}),
        ({**GOOD, "args": [{**ARG, "value": -1}]}, {}),
        ({**GOOD, "args": [{**ARG, "value": 1 << 64}]}, {}),
        ({**GOOD, "args": [{**ARG, "value": "1"}]}, {}),
        ({**GOOD, "action": "SCMP_ACT_ERRNO", "errnoRet": 5000}, {}),
        ({**GOOD, "includes": {"minKernel": "new"}}, {}),
        ({**GOOD, "includes": {"kernels": []}}, {}),
        (GOOD, {"defaultAction": "no"}),
        (GOOD, {"listenerPath": "/run/x"}),
        (GOOD, {"architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "x"}]}),
    ],
)
def test_what_is_wrong_is_refused(rule: dict[str, Any], keys: dict[str, Any]) -> None:
    assert profile(GOOD).filter().explain("read").action == ALLOW
    with pytest.raises(InvalidSeccompFilter) as refused:
        profile(rule, **keys)
    assert refused.value.code in {"seccomp.profile", "seccomp.rule"}
    assert refused.value.hint


def test_a_profile_for_other_architectures_is_refused() -> None:
    only = profile(GOOD, architectures=["SCMP_ARCH_AARCH64"])
    assert only.filter("aarch64").build("aarch64")
    with pytest.raises(InvalidSeccompFilter, match="SCMP_ARCH_AARCH64") as refused:
        only.filter("x86_64")
    assert refused.value.code == "seccomp.arch"


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b" " * (1 << 21)])
def test_what_is_no_profile_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidSeccompFilter) as refused:
        DockerProfile.decode(data)
    assert refused.value.code == "seccomp.profile"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {"defaultAction": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]) | JSON},
        optional={
            "syscalls": st.lists(
                st.fixed_dictionaries(
                    {"action": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_TRAP"]) | JSON},
                    optional={
                        "names": st.lists(st.sampled_from(["read", "write"]) | st.text()) | JSON,
                        "args": st.lists(
                            st.fixed_dictionaries(
                                {
                                    "index": st.integers(-1, 7),
                                    "value": st.integers(-1, 1 << 65),
                                    "op": st.sampled_from(["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"]),
                                }
                            )
                        )
                        | JSON,
                        "includes": JSON,
                    },
                ),
                max_size=4,
            )
            | JSON,
            "archMap": JSON,
        },
    )
)
def test_any_json_is_read_or_refused(document: dict[str, Any]) -> None:
    try:
        read = DockerProfile.decode(json.dumps(document))
    except InvalidSeccompFilter:
        return
    assert DockerProfile.decode(read.encode()) == read
    assert read.filter().build()


def test_a_profile_survives_writing(default: DockerProfile) -> None:
    assert DockerProfile.decode(default.encode()) == default
    assert json.loads(default.encode())["syscalls"][0]["names"][0] == "accept"


def test_a_filter_becomes_a_profile_that_means_the_same() -> None:
    made = SeccompFilter(
        (
            Rule(("read", "write"), ALLOW),
            Rule(("socket",), ALLOW, (Condition.is_in(0, (1, 2, 10), width=32),)),
            Rule(("clone",), ALLOW, (Condition.masked_eq(0, 0x7E020080, 0, width=32),)),
            Rule(("mmap",), ALLOW, (Condition.lt(1, 1 << 40, width=64),)),
            Rule(("lseek",), ALLOW, (Condition.ne(2, 4, width=64), Condition.ge(0, 3, width=64))),
            Rule(("mount",), errno(38)),
        ),
        errno(13),
        unknown=ENOSYS,
    )
    written = DockerProfile.decode(DockerProfile.of(made).encode())
    back = written.filter("x86_64")
    for call, arguments in [
        ("read", (0,)),
        ("open", (0,)),
        *(("socket", (domain,)) for domain in (1, 2, 10, 38, 2 | 1 << 32)),
        *(("clone", (flags,)) for flags in (0, 0x3D0F00, 0x10000000, 0x80)),
        *(("mmap", (0, size)) for size in ((1 << 40) - 1, 1 << 40)),
        *(("lseek", (fd, 0, whence)) for fd in (2, 3) for whence in (3, 4)),
        ("mount", ()),
    ]:
        wanted = made.explain(call, arguments, arch="x86_64").action
        assert back.explain(call, arguments, arch="x86_64").action == wanted, (call, arguments)


@pytest.mark.parametrize(
    "made",
    [
        SeccompMode.BASIC.filter(),  # its ioctl is compared in 32 bits
        SeccompFilter((Rule(("read",), ALLOW, (Condition.ne(0, 1, width=32),)),), EPERM),
        SeccompFilter((Rule(("read",), ALLOW, (Condition.not_in(0, (1, 2), width=64),)),), EPERM),
        SeccompFilter((Rule(("read",), ALLOW, (Condition.masked_ne(0, 1, 1, width=64),)),), EPERM),
        SeccompFilter(
            (
                Rule(
                    ("read",),
                    ALLOW,
                    (Condition.ge(0, 1, width=64), Condition.lt(0, 9, width=64)),
                ),
            ),
            EPERM,
        ),
        SeccompFilter((Rule(("read",), ALLOW), Rule(("read",), LOG)), EPERM),
        SeccompFilter((), EPERM, unknown=KILL_PROCESS),
    ],
)
def test_what_the_format_has_no_words_for_is_refused(made: SeccompFilter) -> None:
    with pytest.raises(InvalidSeccompFilter, match="no words") as refused:
        DockerProfile.of(made)
    assert refused.value.code == "seccomp.inexpressible"
