from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import HookTypeError
from pluginapi.http import MAX_BODY_BYTES, MAX_HEADERS, HttpRequest, HttpResponse

Message = HttpRequest | HttpResponse


def test_headers_are_found_in_any_case() -> None:
    request = HttpRequest("GET", "/", headers=(("Accept", "a"), ("X-Id", "1"), ("accept", "b")))
    assert request.header("ACCEPT") == "a"
    assert request.header_list("Accept") == ("a", "b")
    assert request.header("cookie") is None
    assert request.header("cookie", "none") == "none"
    assert request.header_list("cookie") == ()


def test_any_iterable_of_pairs_is_kept_as_a_tuple() -> None:
    pairs: Any = [["A", "1"], ("B", "2")]
    assert HttpResponse(200, pairs).headers == (("A", "1"), ("B", "2"))
    assert HttpResponse(200, iter(pairs)).headers == (("A", "1"), ("B", "2"))


def test_the_target_is_path_and_query_as_received() -> None:
    assert HttpRequest("GET", "/a%2F..//b").target == "/a%2F..//b"
    assert HttpRequest("GET", "/a", "q=%20").target == "/a?q=%20"


def test_messages_are_immutable_and_replaceable() -> None:
    request = HttpRequest("GET", "/")
    with pytest.raises(AttributeError):
        request.path = "/other"  # type: ignore[misc]
    assert msgspec.structs.replace(request, path="/other").path == "/other"
    with pytest.raises(HookTypeError):
        msgspec.structs.replace(request, method="G T")


def test_a_representation_shows_no_body_and_no_header() -> None:
    secret = (("Authorization", "Bearer secret"),)
    request = HttpRequest("POST", "/login", headers=secret, body=b"secret")
    response = HttpResponse(200, secret, b"secret", request)
    assert repr(request) == "<HttpRequest POST '/login', 1 headers, 6 bytes>"
    assert repr(response) == "<HttpResponse 200, 1 headers, 6 bytes>"


REQUEST: dict[str, Any] = {"method": "GET", "path": "/"}


@pytest.mark.parametrize(
    "changed",
    [
        {"method": ""},
        {"method": "G T"},
        {"method": "GET\r\n"},
        {"method": "x" * 65},
        {"method": 3},
        {"path": None},
        {"path": "/a\nb"},
        {"path": "/a\0"},
        {"path": "x" * 65_537},
        {"query": "x" * 65_537},
        {"client": "x" * 257},
        {"request_id": "a\rb"},
        {"headers": "Accept"},
        {"headers": 5},
        {"headers": [("A",)]},
        {"headers": ["AB"]},
        {"headers": [("", "x")]},
        {"headers": [("A B", "x")]},
        {"headers": [("A:", "x")]},
        {"headers": [("A", "x\r\nSet-Cookie: y")]},
        {"headers": [("A", b"x")]},
        {"headers": [("A", "x" * 65_537)]},
        {"headers": [("A", "x")] * (MAX_HEADERS + 1)},
        {"body": "text"},
        {"body": bytearray(b"x")},
    ],
)
def test_what_is_malformed_or_out_of_bounds_is_refused(changed: dict[str, Any]) -> None:
    assert HttpRequest(**REQUEST).method == "GET"
    with pytest.raises(HookTypeError) as caught:
        HttpRequest(**{**REQUEST, **changed})
    assert caught.value.code == "http.invalid"
    assert caught.value.hint


@pytest.mark.parametrize(
    "largest",
    [
        {"method": "x" * 64},
        {"path": "x" * 65_536},
        {"client": "x" * 256},
        {"headers": [("A", "x" * 65_536)]},
        {"headers": [("A", "x")] * MAX_HEADERS},
        {"headers": [("A", "")]},
        {"path": "*"},
    ],
)
def test_the_bounds_themselves_are_fine(largest: dict[str, Any]) -> None:
    HttpRequest(**{**REQUEST, **largest})


def test_the_size_of_a_body_is_bounded() -> None:
    body = bytes(MAX_BODY_BYTES + 1)
    with pytest.raises(HookTypeError, match="bytes, more than"):
        HttpResponse(200, body=body)
    assert len(HttpResponse(200, body=body[1:]).body) == MAX_BODY_BYTES


@pytest.mark.parametrize("status", [99, 600, -1, True, "200", 200.0, None])
def test_other_statuses_are_refused(status: Any) -> None:
    with pytest.raises(HookTypeError, match="100 to 599"):
        HttpResponse(status)
    assert HttpResponse(100).status == 100
    assert HttpResponse(599).status == 599


def test_a_response_refers_to_a_request_or_to_none() -> None:
    wrong: Any = "GET /"
    with pytest.raises(HookTypeError):
        HttpResponse(200, request=wrong)


text = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
requests = st.builds(
    HttpRequest,
    st.sampled_from(["GET", "POST", "M-SEARCH"]),
    text,
    text,
    st.lists(st.tuples(st.sampled_from(["A", "x-b"]), text), max_size=3).map(tuple),
    text,
    st.binary(max_size=20),
    text,
)
responses = st.builds(
    HttpResponse, st.integers(100, 599), body=st.binary(max_size=9), request=st.none() | requests
)


@given(requests | responses)
def test_messages_cross_as_tagged_maps(message: Message) -> None:
    data = msgspec.msgpack.encode(message)
    kind = "request" if isinstance(message, HttpRequest) else "response"
    assert msgspec.msgpack.decode(data)["type"] == kind
    decoded: Message = msgspec.msgpack.decode(data, type=Message)
    assert decoded == message


@pytest.mark.parametrize(
    "hostile",
    [
        {"type": "response", "status": 20},
        {"type": "response", "status": 200, "headers": [["A", "b\r\nc"]]},
        {"type": "request", "method": "GET"},
        {"type": "other"},
        {},
    ],
)
def test_decoding_checks_as_construction_does(hostile: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(hostile), type=Message)
