"""The native examples, built as their README says and called with real values."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluginapi.errors import HookError, LoadError, ResourceViolation
from pluginapi.http import HttpRequest, HttpResponse
from pluginapi.limits import ResourceLimits

if TYPE_CHECKING:
    from native.support import Active, Native
    from pluginapi.plugin_file import PluginFile

CARD = "4111 1111 1111 1111"  # The test number that the card networks publish.


TYPES: dict[str, Any] = {"on_request": HttpRequest | HttpResponse, "on_response": HttpResponse}
DENY = {
    "deny_paths": ["/admin", "/internal/metrics"],
    "deny_agents": ["sqlmap", "BadBot"],
    "deny_clients": ["192.0.2.7", "198.51.100.0/23", "2001:db8::/33"],
    "max_headers": 5,
    "max_header_bytes": 100,
    "max_total_header_bytes": 250,
    "max_path_bytes": 200,
}


@pytest.fixture
async def filtering(native: Native, filter_file: PluginFile) -> Active:
    return await native.activate(
        filter_file, types=TYPES, config=DENY, limits=ResourceLimits(max_heap_bytes=1 << 20)
    )


def _refusal(active: Active, request: HttpRequest) -> tuple[int, str] | None:
    result = active.call("on_request", request)
    if result is None:
        return None
    response = result.value
    assert isinstance(response, HttpResponse)
    return response.status, dict(response.headers)["x-request-filter"]


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/a/b.html", "/a..b/..c/d..", "/files/%20name", "/100%25", "/100%25zz", ""),
        *("/administrators", "/internal", "/a/admin", "/...", "/a/.../b", "/caf%C3%A9"),
    ],
)
def test_honest_paths_pass(filtering: Active, path: str) -> None:
    assert _refusal(filtering, HttpRequest("GET", path)) is None


@pytest.mark.parametrize(
    "path",
    [
        *("/../etc/passwd", "/a/..", "..", "/a/../b", "/%2e%2e/x", "/%2E./x", "/.%2e/x"),
        *("/a%2f..%2fb", "/%252e%252e/x", "/%25252e%25252e/x", "/..%5cwindows", "\\..\\x"),
        *("/a%5c..%5cb", "/%255c..%255cx", "/..;/manager", "/..;a=b/x", "/%2e%2e%3b/x"),
        *("/%252e%252e/%25zz", "/%25zz/%252e%252e/x"),
    ],
)
def test_path_traversal(filtering: Active, path: str) -> None:
    assert _refusal(filtering, HttpRequest("GET", path)) == (400, "path-traversal")


@pytest.mark.parametrize(
    "path", ["/%", "/%2", "/%zz", "/a%00b", "/a%2500b", "/%2525252e", "/" + "a" * 200]
)
def test_malformed_paths(filtering: Active, path: str) -> None:
    assert _refusal(filtering, HttpRequest("GET", path)) == (400, "malformed-path")


@pytest.mark.parametrize(
    "path",
    ["/admin", "/admin/", "/admin/x", "//admin", "/./admin", "/%61dmin", "\\admin", "/%2561dmin/x"],
)
def test_denied_paths(filtering: Active, path: str) -> None:
    assert _refusal(filtering, HttpRequest("GET", path)) == (403, "denied-path")


@pytest.mark.parametrize(
    ("client", "denied"),
    [
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:192.0.2.7", True),
        ("198.51.100.1", True),
        ("198.51.101.255", True),
        ("198.51.102.0", False),
        ("2001:db8:7fff::1", True),
        ("2001:db8:8000::1", False),
        ("", False),
        ("not an address", False),
    ],
)
def test_denied_clients(filtering: Active, client: str, denied: bool) -> None:
    refused = _refusal(filtering, HttpRequest("GET", "/", client=client))
    assert refused == ((403, "denied-client") if denied else None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((("User-Agent", "Mozilla/5.0"),), None),
        ((("USER-agent", "x SQLMap/1.0"),), (403, "denied-agent")),
        ((("user-agent", "badbo"),), None),
        ((("referer", "badbot"),), None),
        ((("a", "b"),) * 5, None),
        ((("a", "b"),) * 6, (431, "too-many-headers")),
        ((("a", "b" * 99),), None),
        ((("a", "b" * 100),), (431, "header-too-large")),
        ((("a", "b" * 49),) * 5, None),
        ((("a", "b" * 50),) * 5, (431, "headers-too-large")),
    ],
)
def test_headers(
    filtering: Active, headers: tuple[tuple[str, str], ...], expected: tuple[int, str] | None
) -> None:
    assert _refusal(filtering, HttpRequest("GET", "/", headers=headers)) == expected


async def test_counts_are_logged_and_written(
    filtering: Active, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for path in ("/", "/", "/..", "/admin"):
        filtering.call("on_request", HttpRequest("GET", path))
    await filtering.plugin.shutdown()
    assert "allowed 2, path-traversal 1, malformed-path 0, denied-path 1" in caplog.text
    counts = msgspec.msgpack.decode(filtering.context.values["request_filter.counts"])
    assert counts["allowed"] == 2
    assert counts["headers-too-large"] == 0
    assert len(counts) == 9
    filtering.plugin.close()
    assert filtering.plugin.heap_bytes() == 0
    assert "destroy left" not in caplog.text


@pytest.mark.parametrize(
    "config",
    [
        *({"deny_path": []}, {"deny_paths": "x"}, {"deny_clients": ["300.1.1.1"]}),
        *({"deny_clients": ["10.0.0.0/33"]}, {"deny_agents": [""]}),
        *({"max_headers": 0}, {"max_headers": -1}, {"": 1}),
    ],
)
def test_a_wrong_configuration_is_refused(
    native: Native, filter_file: PluginFile, config: dict[str, Any]
) -> None:
    with pytest.raises(LoadError, match=f"unknown key or a wrong value: {next(iter(config))}"):
        native.load(filter_file, config=config)


def test_a_nul_byte_in_a_path(filtering: Active) -> None:
    # No HttpRequest holds one; the plugin does not rely on it.
    assert filtering.call("on_request", {"path": "/a\0"}).value.status == 400


def test_a_value_that_is_no_request(filtering: Active) -> None:
    for value in (7, {"path": 7}, {"headers": [1]}, {"headers": 1}, [1]):
        with pytest.raises(HookError, match="not an HttpRequest"):
            filtering.call("on_request", value)


def test_no_request_breaks_the_filter(filtering: Active) -> None:
    handler = filtering.scope.registered["on_request"].handler

    @given(data=st.binary(max_size=200))
    @settings(deadline=None)
    def any_bytes(data: bytes) -> None:
        assert handler.native(data)[0] in {0, 1, -2}

    @given(path=st.text(alphabet="/.%2e5cf\\;a"))
    @settings(deadline=None)
    def no_climbing_path_passes(path: str) -> None:
        from urllib.parse import unquote

        decoded = path
        for _ in range(4):
            decoded = unquote(decoded, errors="replace")
        climbs = any(part.split(";")[0] == ".." for part in decoded.replace("\\", "/").split("/"))
        assert _refusal(filtering, HttpRequest("GET", path)) is not None or not climbs

    any_bytes()
    no_climbing_path_passes()


@pytest.fixture
async def redacting(native: Native, redactor_file: PluginFile) -> Active:
    return await native.activate(
        redactor_file, types=TYPES, limits=ResourceLimits(max_heap_bytes=1 << 20)
    )


def _redact(active: Active, body: str, content_type: str = "text/plain") -> str:
    response = HttpResponse(
        201, (("Content-Type", content_type), ("x", "y")), body.encode(), HttpRequest("GET", "/")
    )
    result = active.call("on_response", response)
    if result is None:
        return body
    assert msgspec.structs.replace(result, body=response.body) == response
    assert len(result.body) == len(response.body)
    masked: str = result.body.decode()
    return masked


@pytest.mark.parametrize(
    ("body", "masked"),
    [
        (CARD, "**** **** **** 1111"),
        ("4111111111111111", "************1111"),
        ("378282246310005", "***********0005"),
        ("4222222222222", "*********2222"),
        ("card 5555-5555-5555-4444, thanks", "card ****-****-****-4444, thanks"),
        (f"order 12 {CARD} 99", "order 12 **** **** **** 1111 99"),
        ("4111111111111112", "4111111111111112"),
        ("411111111111", "411111111111"),
        ("1" * 40, "1" * 40),
        ("x4111  1111 1111 1111", "x4111  1111 1111 1111"),
        ("alice@example.com", "a****@example.com"),
        ("to <bob.b+c@mail.example.org>;", "to <b******@mail.example.org>;"),
        ("a@b.co", "*@b.co"),
        ("a@b", "a@b"),
        ("@example.com x@.com x@y.1 user@", "@example.com x@.com x@y.1 user@"),
        ("été 4111111111111111 à bob@example.com", "été ************1111 à b**@example.com"),
    ],
)
def test_masking(redacting: Active, body: str, masked: str) -> None:
    assert _redact(redacting, body) == masked


def test_json_stays_json(redacting: Active) -> None:
    body = json.dumps({"n": 4111111111111111, 'q\\"': CARD, "mail": ["eve@example.com"]})
    masked = json.loads(_redact(redacting, body, "application/problem+json; charset=utf-8"))
    assert masked == {
        "n": 9999999999991111,
        'q\\"': "**** **** **** 1111",
        "mail": ["e**@example.com"],
    }


def test_only_readable_bodies_are_touched(redacting: Active) -> None:
    for kind in ("image/png", "application/octet-stream", ""):
        assert _redact(redacting, CARD, kind) == CARD
    for kind in ("text/html", "TEXT/CSV ; x=y", "application/xml", "application/json"):
        assert _redact(redacting, f'"{CARD}"', kind) == '"**** **** **** 1111"'
    compressed = HttpResponse(
        200, (("content-type", "text/plain"), ("content-encoding", "gzip")), CARD.encode()
    )
    assert redacting.call("on_response", compressed) is None


def test_a_body_above_the_memory_limit_is_an_error(redacting: Active) -> None:
    assert _redact(redacting, "x" * 900_000 + CARD).endswith("x**** **** **** 1111")
    with pytest.raises(ResourceViolation, match="does not fit the plugin's memory limit"):
        _redact(redacting, "x" * (1 << 20) + CARD)
    assert _redact(redacting, CARD) == "**** **** **** 1111"


async def test_the_redactor_leaves_nothing(
    redacting: Active, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _redact(redacting, f"{CARD} {CARD}\nalice@example.com")
    await redacting.plugin.shutdown()
    redacting.plugin.close()
    assert "masked 2 card numbers and 1 e-mail addresses" in caplog.text
    assert "destroy left" not in caplog.text


def test_no_response_breaks_the_redactor(redacting: Active) -> None:
    handler = redacting.scope.registered["on_response"].handler

    @given(data=st.binary(max_size=200))
    @settings(deadline=None)
    def any_bytes(data: bytes) -> None:
        assert handler.native(data)[0] in {0, -2}

    @given(
        body=st.text(alphabet='41 -@a.\\"'), kind=st.sampled_from(["text/a", "application/json"])
    )
    @settings(deadline=None)
    def any_body(body: str, kind: str) -> None:
        assert len(_redact(redacting, body, kind)) == len(body)

    any_bytes()
    any_body()
