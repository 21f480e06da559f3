"""Recorded requests: the strict parser, the file, and the recording among the examples."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import IoError
from pluginapi.http import HttpRequest
from pluginapi.recorded import RecordedRequestError, load_recorded, parse_recorded

RECORDING = Path(__file__).parents[1] / "examples" / "data" / "requests.jsonl"

TOKEN = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=8)
TARGET = st.text([chr(code) for code in range(0x21, 0x7F) if chr(code) != "?"], max_size=20)
VALUE = st.text([chr(code) for code in (9, *range(0x20, 0x7F), *range(0x80, 0x100))], max_size=20)
FRAMING = {"host", "content-length", "transfer-encoding"}


@st.composite
def requests(draw: st.DrawFn) -> tuple[HttpRequest, bytes]:
    """Draw a request and one of the ways to write it."""
    method = draw(TOKEN.filter(lambda token: token != "CONNECT"))
    path, query = "/" + draw(TARGET), draw(TARGET)
    fields = draw(
        st.lists(
            st.tuples(TOKEN.filter(lambda name: name.lower() not in FRAMING), VALUE), max_size=5
        )
    )
    body = draw(st.binary(max_size=60))
    framing = draw(
        st.sampled_from(["length", "chunked"] if body else ["none", "length", "chunked"])
    )
    written = body
    if framing == "length":
        fields.append(("Content-Length", str(len(body))))
    elif framing == "chunked":
        fields.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
        written = b""
        rest = body
        while rest:
            size = draw(st.integers(1, len(rest)))
            extension = draw(st.sampled_from([b"", b";a=b", b' ; q="x"']))
            written += b"%X%b\r\n%b\r\n" % (size, extension, rest[:size])
            rest = rest[size:]
        written += draw(st.sampled_from([b"0\r\n\r\n", b"00;x\r\n\r\n", b"0\r\nDigest: x\r\n\r\n"]))
    fields.insert(draw(st.integers(0, len(fields))), ("Host", "example.org"))
    target = f"{path}?{query}" if query else path
    head = f"{method} {target} HTTP/1.1\r\n"
    for name, value in fields:
        blank = draw(st.sampled_from(["", " ", "\t "]))
        head += f"{name}:{blank}{value}{blank}\r\n"
    headers = tuple((name.lower(), value.strip(" \t")) for name, value in fields)
    expected = HttpRequest(method=method, path=path, query=query, headers=headers, body=body)
    return expected, head.encode("latin-1") + b"\r\n" + written


@given(requests())
def test_what_is_written_is_read_back(case: tuple[HttpRequest, bytes]) -> None:
    expected, raw = case
    assert parse_recorded(raw) == expected


@given(requests(), st.data())
def test_cut_requests_are_refused(case: tuple[HttpRequest, bytes], data: st.DataObject) -> None:
    raw = case[1]
    with pytest.raises(RecordedRequestError):
        parse_recorded(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(requests())
def test_bytes_after_the_end_are_refused(case: tuple[HttpRequest, bytes]) -> None:
    with pytest.raises(RecordedRequestError):
        parse_recorded(case[1] + b"x")


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_one_request_or_one_error(noise: bytes) -> None:
    for raw in (noise, b"GET / HTTP/1.1\r\nHost: x\r\n" + noise, b"GET / HTTP/1.0\r\n\r\n" + noise):
        try:
            request = parse_recorded(raw)
        except RecordedRequestError:
            continue
        assert raw.startswith(request.method.encode())


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("GET /a?b?c", "/a", "b?c"),
        ("GET //a/../b", "//a/../b", ""),
        ("OPTIONS *", "*", ""),
        ("CONNECT example.org:443", "example.org:443", ""),
        ("GET http://example.org", "/", ""),
        ("GET http://example.org/a?b=http://c/", "/a", "b=http://c/"),
        ("GET https://example.org?a/b", "/", "a/b"),
    ],
)
def test_forms_of_the_target(target: str, path: str, query: str) -> None:
    request = parse_recorded(f"{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), client="192.0.2.1")
    assert (request.path, request.query, request.client) == (path, query, "192.0.2.1")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET a/b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 1024 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"A / HTTP/1.1\r\nHost:\r\nContent-Length:5\r\ntransfer-encoding:chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad\r\n\r\n",
    ],
)
def test_what_two_parsers_may_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(RecordedRequestError) as caught:
        parse_recorded(raw)
    assert caught.value.code == "recorded.invalid"
    assert caught.value.hint


def test_http_1_0_needs_no_host() -> None:
    assert parse_recorded(b"GET / HTTP/1.0\r\n\r\n") == HttpRequest(method="GET", path="/")


def test_the_shipped_recording_holds_what_it_says() -> None:
    requests = load_recorded(RECORDING)
    lines = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    assert 60 <= len(requests) == len(lines) <= 120
    assert {line["client"].split()[0] for line in lines} >= {"curl", "wget", "python", "git"}
    assert {"GET", "HEAD", "POST", "PUT", "DELETE"} <= {request.method for request in requests}
    assert any("/../" in request.path for request in requests)
    assert any("%2e%2e" in request.path for request in requests)
    assert any(
        request.header("transfer-encoding") == "chunked" and request.body for request in requests
    )
    assert any("sqlmap" in (request.header("user-agent") or "") for request in requests)
    assert any(len(value) > 8192 for request in requests for _, value in request.headers)
    assert any(len(request.headers) > 100 for request in requests)
    assert len({request.request_id for request in requests}) == len(requests)
    assert len({request.client for request in requests}) > 5
    text = RECORDING.read_text()
    machine = ("/home/", "localhost", tempfile.gettempdir() + "/", str(RECORDING.parents[2]))
    assert not [word for word in machine if word in text]


LINE = {"client": "x 1", "address": "192.0.2.1", "raw": "GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n"}


def test_lines_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps(LINE) + "\n")
    first, second = load_recorded(path)
    assert (first.request_id, second.request_id) == ("recorded-1", "recorded-2")
    assert first.client == "192.0.2.1"
    assert first.header("host") == "\xe9"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{",
        json.dumps({**LINE, "more": 1}),
        json.dumps({"raw": LINE["raw"]}),
        json.dumps({**LINE, "raw": 3}),
        json.dumps({**LINE, "raw": "GET /\u2603 HTTP/1.1"}),
        json.dumps({**LINE, "raw": "GET / HTTP/1.1\r\n\r\n"}),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{line}\n")
    with pytest.raises(RecordedRequestError, match=r"^r\.jsonl:2: "):
        load_recorded(path)


def test_a_missing_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IoError, match="cannot be read"):
        load_recorded(tmp_path / "none")


def test_a_huge_recording_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(RecordedRequestError, match="larger than"):
        load_recorded(path)
