from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi import NetworkTarget
from pluginapi.network_target import Protocol
from pluginapi.sandbox.network.rules import NetworkRules, meet, special_kind

target = NetworkTarget.parse


def rules(*texts: str) -> NetworkRules:
    return NetworkRules(tuple(map(target, texts)))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("api.example.com", True),
        ("API.Example.COM", True),
        ("api.example.com.", True),
        ("example.com", False),
        ("x.api.example.com", False),
        ("evilapi.example.com", False),
        ("api.example.com.evil.org", False),
        ("api.example.co", False),
        ("api.example.com..", False),
        ("api.example.com\0.evil.org", False),
        ("", False),
        ("192.0.2.7", False),
    ],
)
def test_a_name_is_allowed_exactly(name: str, allowed: bool) -> None:
    assert (rules("api.example.com").match_name(name, 443) is not None) is allowed


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("a.example.com", True),
        ("b.a.example.com", True),
        ("A.EXAMPLE.com.", True),
        ("example.com", False),
        ("evilexample.com", False),
        (".example.com", False),
        ("a.example.com.evil.org", False),
        ("*.example.com", True),
    ],
)
def test_a_wildcard_is_for_names_below(name: str, allowed: bool) -> None:
    known = rules("*.example.com")
    assert (known.match_name(name, 443) is not None) is allowed
    assert known.knows_name(name) is allowed


def test_idna_is_one_name_in_both_forms() -> None:
    for known in (rules("bücher.example"), rules("xn--bcher-kva.example")):
        for name in ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example"):
            assert known.match_name(name, 443) is not None
        assert known.match_name("bucher.example", 443) is None
        # Cyrillic letters that look like Latin ones.
    assert rules("apple.example").match_name("\u0430pple.example", 443) is None


def test_ports_and_protocols_count() -> None:
    known = rules("a.example:443", "b.example", "b.example:53/udp")
    assert known.match_name("a.example", 443) == target("a.example:443")
    assert known.match_name("a.example", 80) is None
    assert known.match_name("a.example", 443, "udp") is None
    assert known.match_name("b.example", 53, "udp") == target("b.example:53/udp")
    assert known.match_name("b.example", 54, "udp") is None
    assert known.match_name("b.example", 1) == target("b.example")
    assert known.knows_name("a.example")
    assert not known.knows_name("c.example")


def test_addresses_and_ranges() -> None:
    known = rules("192.0.2.7:443", "198.51.100.0/24", "203.0.113.5-203.0.113.9", "2001:db8::/32")
    for address, port, allowed in (
        ("192.0.2.7", 443, True),
        ("::ffff:192.0.2.7", 443, True),
        ("192.0.2.7", 80, False),
        ("192.0.2.8", 443, False),
        ("198.51.100.255", 1, True),
        ("198.51.101.0", 1, False),
        ("203.0.113.4", 1, False),
        ("203.0.113.5", 1, True),
        ("203.0.113.9", 1, True),
        ("203.0.113.10", 1, False),
        ("2001:db8:1::1", 1, True),
        ("2001:db9::1", 1, False),
    ):
        assert (known.match_address(address, port) is not None) is allowed, address
    assert known.match_name("192.0.2.7", 443) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),  # noqa: S104 - nothing is bound
        ("::", "unspecified"),
        ("10.1.2.3", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("fd12::1", "private"),
        ("100.64.0.1", "shared"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("2606:4700::1%eth0", "link-local"),
        ("169.254.169.254", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b:1::1.1.1.1", "private"),
        ("2002:101:101::1", "reserved"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a9fe:a9fe::1", "metadata"),
        ("2001:0:1:2:3:4:80ff:fffe", "loopback"),  # Teredo has it inverted
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "reserved"),
        ("2001:db8::1", "reserved"),
        ("1.1.1.1", None),
        ("172.32.0.1", None),
        ("2606:4700:4700::1111", None),
        ("64:ff9b::1.1.1.1", None),
    ],
)
def test_special_addresses(address: str, kind: str | None) -> None:
    assert special_kind(address) == kind
    assert rules().admits(address, 443) is (kind is None)


@given(st.ip_addresses())
def test_no_address_that_python_calls_local_passes(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    # Some versions of Python call every mapped address private.
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert special_kind(str(address)) is not None


def test_a_name_may_lead_to_a_private_address_that_is_listed() -> None:
    known = rules("db.internal.example:5432", "10.0.0.0/8:5432")
    assert known.admits("10.1.2.3", 5432)
    assert not known.admits("10.1.2.3", 5433)
    assert not known.admits("10.1.2.3", 5432, "udp")
    assert not known.admits("192.168.0.1", 5432)


@pytest.mark.parametrize(
    ("wanted", "offered", "both"),
    [
        ("a.example", "a.example", "a.example"),
        ("a.example", "a.example:443", "a.example:443"),
        ("a.example:443", "a.example", "a.example:443"),
        ("a.example:443", "a.example:80", None),
        ("a.example", "a.example/udp", None),
        ("a.example", "b.example", None),
        ("a.example", "*.example", "a.example"),
        ("*.example", "a.example", "a.example"),
        ("*.a.example", "*.example", "*.a.example"),
        ("evilexample", "*.example", None),
        ("example", "*.example", None),
        ("192.0.2.7", "192.0.2.0/24", "192.0.2.7"),
        ("192.0.2.0/24", "192.0.2.7:1", "192.0.2.7:1"),
        ("192.0.2.0/25", "192.0.2.100-192.0.2.200", "192.0.2.100-192.0.2.127"),
        ("192.0.2.0/25", "192.0.2.128/25", None),
        ("192.0.2.7", "2001:db8::7", None),
        ("a.example", "192.0.2.0/24", None),
        ("192.0.2.7", "*.example", None),
        ("2001:db8::/48", "2001:db8::/32", "2001:db8::/48"),
    ],
)
def test_what_two_targets_have_in_common(wanted: str, offered: str, both: str | None) -> None:
    found = meet(target(wanted), target(offered))
    assert (None if found is None else str(found)) == both
    turned = meet(target(offered), target(wanted))
    assert turned == found


_NAMES = st.sampled_from(["a.example", "b.a.example", "*.a.example", "*.example", "example"])
_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")
_PORTS = st.none() | st.integers(1, 3)
_ADDRESSES = st.integers(0, 40).map(lambda n: f"10.0.0.{n}")


@st.composite
def _targets(draw: st.DrawFn) -> NetworkTarget:
    protocol: Protocol = draw(st.sampled_from(_PROTOCOLS))
    if draw(st.booleans()):
        return NetworkTarget.domain(draw(_NAMES), draw(_PORTS), protocol)
    first, last = sorted((draw(_ADDRESSES), draw(_ADDRESSES)), key=ipaddress.ip_address)
    return NetworkTarget.range(first, last, draw(_PORTS), protocol)


@given(_targets(), _targets(), st.sampled_from(["a.example", "b.a.example", "example"]), _ADDRESSES)
def test_what_is_in_common_allows_what_both_allow(
    one: NetworkTarget, other: NetworkTarget, name: str, address: str
) -> None:
    both = meet(one, other)
    for port in (1, 2, 3, 4):
        for protocol in _PROTOCOLS:
            results = []
            for targets in ((one,), (other,), () if both is None else (both,)):
                known = NetworkRules(targets)
                results.append(
                    (
                        known.match_name(name, port, protocol) is not None,
                        known.match_address(address, port, protocol) is not None,
                    )
                )
            assert results[2] == tuple(a and b for a, b in zip(*results[:2], strict=True))
