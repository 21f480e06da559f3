from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pluginapi.errors import SandboxError
from pluginapi.sandbox.network.resolver import Resolver
from sandbox.network.dns_server import DnsServer, Records, truncated

ZONE: dict[str, Records] = {
    "a.example": [("A", 60, "192.0.2.1"), ("A", 30, "192.0.2.2"), ("AAAA", 40, "2001:db8::1")],
    "once.example": [("A", 0, "192.0.2.1")],
    "www.example": [("CNAME", 20, "cdn.example.")],
    "cdn.example": [("A", 60, "192.0.2.3")],
    "text.example": [("TXT", 60, '"hello"')],
    "loop.example": [("CNAME", 60, "loop.example.")],
    "many.example": [("A", 60, f"192.0.2.{number}") for number in range(1, 40)],
}


@pytest.fixture
def server() -> Iterator[DnsServer]:
    made = DnsServer(ZONE)
    yield made
    made.close()


@pytest.fixture
def resolver(server: DnsServer) -> Resolver:
    return Resolver([server.address], hosts=None, timeout=10)


def code(resolver: Resolver, name: str) -> str:
    with pytest.raises(SandboxError) as caught:
        resolver.resolve(name)
    assert name in caught.value.message
    return caught.value.code


def test_both_kinds_of_addresses_and_the_smallest_time(resolver: Resolver) -> None:
    found = resolver.resolve("a.example")
    assert found.addresses == ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    assert 0 < found.seconds <= 40
    assert found.canonical == "a.example"


def test_an_alias_is_followed(resolver: Resolver) -> None:
    found = resolver.resolve("www.example")
    assert (found.addresses, found.canonical) == (("192.0.2.3",), "cdn.example")
    assert found.seconds <= 20


def test_answers_are_kept_as_long_as_they_say(server: DnsServer, resolver: Resolver) -> None:
    for _ in range(3):
        resolver.resolve("a.example")
    assert server.asked == ["a.example A", "a.example AAAA"]
    for _ in range(2):
        assert resolver.resolve("once.example").seconds == 0
    assert server.asked.count("once.example A") == 2
    resolver.forget()
    resolver.resolve("a.example")
    assert server.asked.count("a.example A") == 2


def test_what_has_no_address_is_told_from_what_cannot_be_found_out(
    server: DnsServer, resolver: Resolver
) -> None:
    assert code(resolver, "none.example") == "network.unknown_name"
    assert code(resolver, "text.example") == "network.unknown_name"
    assert code(resolver, "loop.example") == "network.resolve"
    server.spoil = lambda data: None
    silent = Resolver([server.address], hosts=None, timeout=0.2)
    assert code(silent, "a.example") == "network.resolve"


def test_addresses_are_bounded(resolver: Resolver) -> None:
    assert len(resolver.resolve("many.example").addresses) == 8


def test_a_cut_off_answer_is_asked_for_again(server: DnsServer, resolver: Resolver) -> None:
    server.spoil = truncated
    assert resolver.resolve("cdn.example").addresses == ("192.0.2.3",)


def test_records_of_other_names_do_not_count(server: DnsServer, resolver: Resolver) -> None:
    """A name server that tells more than it was asked for poisons nobody."""
    import dns.message
    import dns.rrset

    def spoil(data: bytes) -> bytes:
        message = dns.message.from_wire(data)
        message.answer.append(dns.rrset.from_text("cdn.example.", 60, "IN", "A", "192.0.2.66"))
        return message.to_wire()

    server.spoil = spoil
    assert "192.0.2.66" not in resolver.resolve("a.example").addresses
    server.spoil = lambda data: data
    assert resolver.resolve("cdn.example").addresses == ("192.0.2.3",)


def test_the_file_of_hosts_goes_first(tmp_path: Path, server: DnsServer) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.9 A.example. other # a.test\n2001:db8::9\ta.example\nnonsense a\n")
    resolver = Resolver([server.address], hosts=hosts)
    assert resolver.resolve("a.example").addresses == ("192.0.2.9", "2001:db8::9")
    assert resolver.resolve("other").addresses == ("192.0.2.9",)
    assert resolver.resolve("cdn.example").addresses == ("192.0.2.3",)
    assert server.asked == ["cdn.example A", "cdn.example AAAA"]
    gone = Resolver([server.address], hosts=tmp_path / "none")
    assert gone.resolve("a.example").addresses[0] == "192.0.2.1"


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=80), st.integers(0, 60))
def test_whatever_is_answered_is_an_answer_or_one_error(
    server: DnsServer, data: bytes, at: int
) -> None:
    server.spoil = lambda answer: answer[:at] + data
    resolver = Resolver([server.address], hosts=None, timeout=0.02)
    errors: list[str] = []
    try:
        errors.extend(resolver.resolve("a.example").addresses[:0])
    except SandboxError as err:
        errors.append(err.code)
    assert set(errors) <= {"network.resolve", "network.unknown_name"}
