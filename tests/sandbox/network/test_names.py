from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.sandbox.network.name_server import REASON_NAME, Question, read_question
from pluginapi.sandbox.network.names import SyntheticNames


def asked(name: str, kind: str = "A") -> Question:
    found = read_question(dns.message.make_query(name, kind).to_wire())
    assert found is not None
    return found


def test_each_name_has_an_address_of_its_own() -> None:
    names = SyntheticNames()
    one, other = names.allowed("a.example"), names.allowed("b.example")
    assert one == names.allowed("a.example")
    assert one != other
    for address, name in ((one, "a.example"), (other, "b.example")):
        assert address is not None
        assert names.name_of(address) == name
        assert names.is_synthetic(address)
    assert names.name_of(b"\xc6\x13\xff\xff") is None
    for real in (b"\xc6\x11\xff\xff", b"\xc6\x14\0\0", b"\x7f\0\0\1", bytes(16)):
        assert not names.is_synthetic(real)


def test_names_that_are_refused_do_not_take_the_place_of_others() -> None:
    names = SyntheticNames()
    allowed = names.allowed("a.example")
    first = names.refused("evil0.example")
    for number in range(1, 3000):
        names.refused(f"evil{number}.example")
    assert allowed is not None
    assert names.name_of(allowed) == "a.example"
    assert names.name_of(first) is None
    last = names.refused("evil2999.example")
    assert names.name_of(last) == "evil2999.example"
    kept = {names.refused(f"evil{number}.example") for number in range(2976, 3000)}
    assert len(kept) == 24


def test_there_is_an_end_of_addresses() -> None:
    names = SyntheticNames()
    found = {names.allowed(f"{number}.example") for number in range(65_535)}
    assert len(found) == 65_535
    assert None not in found
    assert names.allowed("one.more") is None
    assert names.allowed("7.example") in found


def test_answers() -> None:
    question = asked("API.Example.com.")
    assert question.name == "api.example.com"
    assert question.wants_address
    answer = dns.message.from_wire(question.address(b"\xc6\x12\0\1", 7))
    assert answer.answer[0].to_text() == "API.Example.com. 7 IN A 198.18.0.1"
    for data, expected in (
        (question.nothing(), dns.rcode.NOERROR),
        (question.unknown(), dns.rcode.NXDOMAIN),
        (question.failed(), dns.rcode.SERVFAIL),
    ):
        found = dns.message.from_wire(data)
        assert found.rcode() == expected
        assert not found.answer
    assert not asked("a.example", "AAAA").wants_address
    assert asked("localhost").is_local
    assert asked("a.localhost").is_local
    assert not asked("notlocalhost").is_local


@pytest.mark.parametrize("text", ["", "short", 'a "quoted" \\ text', "long " * 200, "\u2603"])
def test_the_reason_of_a_refusal_is_text(text: str) -> None:
    question = asked(REASON_NAME, "TXT")
    assert question.wants_reason
    answer = dns.message.from_wire(question.reason(text))
    (record,) = answer.answer[0]
    joined = b"".join(record.strings).decode()
    plain = text.replace("\\", "/").replace('"', "'").replace("\u2603", "?")
    assert joined == plain[:765]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(12),
        bytes(600),
        dns.message.make_response(dns.message.make_query("a.example", "A")).to_wire(),
        dns.message.make_query("a.example", "A", rdclass="CH").to_wire(),
        dns.message.make_query("a b.example", "A").to_wire(),
        dns.message.make_query("1.2.3.4", "A").to_wire(),
    ],
)
def test_what_is_no_question_is_passed_over(data: bytes) -> None:
    assert read_question(data) is None


@given(st.binary(max_size=600))
def test_any_bytes_are_a_question_or_none(data: bytes) -> None:
    question = read_question(data)
    if question is not None:
        assert dns.message.from_wire(question.nothing()).id == int.from_bytes(data[:2], "big")


@given(st.binary(max_size=60), st.integers(0, 40))
def test_a_question_with_other_bytes_in_it_is_one_or_none(data: bytes, at: int) -> None:
    good = dns.message.make_query("api.example.com", "A").to_wire()
    question = read_question(good[:at] + data + good[at + len(data) :])
    if question is not None:
        assert question.name
        question.address(b"\xc6\x12\0\1")
