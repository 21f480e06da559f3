"""What is read of TLS: hellos that Python's ssl makes, and what is done to them."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.sandbox.network.client_hello import ClientHellos, HelloRefused

NAME = "api.example.com"


def hello(name: str | None = NAME, *, most: int | None = None) -> bytes:
    """Return what OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if most is not None:
        context.maximum_version = ssl.TLSVersion(most)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def vector(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def record(payload: bytes, kind: int = 22) -> bytes:
    return bytes([kind, 3, 1]) + vector(2, payload)


def made(*extensions: tuple[int, bytes]) -> bytes:
    """Return a ClientHello with these extensions, RFC 8446 section 4.1.2."""
    listed = b"".join(kind.to_bytes(2, "big") + vector(2, data) for kind, data in extensions)
    body = b"\3\3" + b"r" * 32 + vector(1, b"") + vector(2, b"\x13\1") + vector(1, b"\0")
    return b"\1" + vector(3, body + vector(2, listed))


def server_name(*names: str) -> tuple[int, bytes]:
    return 0, vector(2, b"".join(b"\0" + vector(2, name.encode()) for name in names))


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_that_was_connected_to_passes(most: int) -> None:
    data = hello(most=most)
    assert ClientHellos(NAME).feed(data) == data
    upper = hello("API.Example.COM", most=most)
    assert ClientHellos(NAME).feed(upper) == upper


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (hello("evil.example.com"), "it asks for evil.example.com by TLS"),
        (hello("example.com"), "it asks for example.com by TLS"),
        (hello(None), "it asks for no name"),
        (b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", "not TLS"),
        (b"\x80\x2e\1\3\1", "not TLS"),  # SSL 2
        (record(made()), "it asks for no name"),
        (record(made(server_name(NAME), (0xFE0D, b"\0"))), "encrypted ClientHello"),
        (record(made(server_name(NAME, "evil.org"))), "malformed"),
        (record(made(server_name(NAME), server_name(NAME))), "malformed"),
        (record(made(server_name("a b"))), "no name"),
        (record(made(server_name(NAME)) + b"\1"), "something follows"),
        (record(b""), "empty"),
        (record(b"\2" + vector(3, b"x")), "no ClientHello"),
        (record(b"\1\0\0\5\3\3abc"), "malformed"),
        (record(b"\1\xff\xff\xff"), "no ClientHello"),
        (b"\x16\3\1\xff\xff", "too large"),
    ],
)
def test_what_does_not_pass(data: bytes, says: str) -> None:
    with pytest.raises(HelloRefused, match=says):
        ClientHellos(NAME).feed(data)


def test_an_encrypted_hello_may_be_let_through() -> None:
    data = record(made(server_name(NAME), (0xFE0D, b"\0")))
    assert ClientHellos(NAME, allow_encrypted=True).feed(data) == data


@given(st.data())
def test_however_it_is_cut_it_passes_whole_and_only_then(data: st.DataObject) -> None:
    payload = made(server_name(NAME))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(payload) - 1), max_size=4)))
    parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    wire = b"".join(map(record, parts))
    looks, passed = ClientHellos(NAME), b""
    at = 0
    while at < len(wire):
        size = data.draw(st.integers(1, len(wire)))
        more = looks.feed(wire[at : at + size])
        at += size
        assert not more or at >= len(wire)
        passed += more
    assert passed == wire


def test_a_second_hello_is_looked_at_too() -> None:
    """As after a HelloRetryRequest, with and without a ChangeCipherSpec before it."""
    for before in (b"", record(b"\1", 20)):
        for second, passes in ((NAME, True), ("evil.org", False)):
            for split in (None, 50):
                payload = made(server_name(second))
                parts = [payload] if split is None else [payload[:split], payload[split:]]
                wire = b"".join(map(record, parts))
                looks = ClientHellos(NAME)
                looks.feed(hello())
                if passes:
                    assert looks.feed(before + wire) == before + wire
                else:
                    with pytest.raises(HelloRefused, match=r"evil\.org"):
                        looks.feed(before + wire)


def test_nothing_before_it_hides_a_second_hello() -> None:
    second = record(made(server_name("evil.org")))
    early = ClientHellos(NAME)
    early.feed(record(made(server_name(NAME), (42, b""))))
    assert early.feed(record(b"early", 23)) == record(b"early", 23)
    with pytest.raises(HelloRefused, match=r"evil\.org"):
        early.feed(second)
    empty = ClientHellos(NAME)
    empty.feed(hello())
    with pytest.raises(HelloRefused, match="empty"):
        empty.feed(record(b"") + second)


def test_what_is_held_back_is_bounded() -> None:
    for first in (b"", hello()):
        looks = ClientHellos(NAME)
        looks.feed(first)
        looks.feed(record(b"\1\0\x7f\xff"))
        with pytest.raises(HelloRefused, match="too large"):
            looks.feed(record(b"x") * 20_000)


def test_what_comes_when_it_is_encrypted_is_not_looked_at() -> None:
    for kind, payload in ((23, b"x"), (22, b"\x10\0\0\1x"), (22, b"\xfe" * 40)):
        looks = ClientHellos(NAME)
        looks.feed(hello())
        wire = record(b"\1", 20) + record(payload, kind)
        assert looks.feed(wire) == wire
        after = record(made(server_name("evil.org")))
        assert looks.feed(after) == after


@given(st.binary(max_size=400), st.integers(0, 300))
def test_whatever_comes_is_passed_or_refused(data: bytes, at: int) -> None:
    good = record(made(server_name(NAME)))
    looks = ClientHellos(NAME)
    try:
        passed = looks.feed(good[:at] + data)
    except HelloRefused:
        return
    assert (good[:at] + data).startswith(passed)
