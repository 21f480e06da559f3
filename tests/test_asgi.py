"""The ASGI lifespan and middleware, driven message by message with a host that is not one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from pluginapi.asgi import PluginMiddleware, lifespan
from pluginapi.errors import HookError, HookTypeError
from pluginapi.http import HttpRequest, HttpResponse
from pluginapi.http_check import check_request, check_response

Handler = Callable[[Any], Any]
SECRET = "internal detail 4711"


class FakeHooks:
    def __init__(self, handlers: dict[str, Handler]) -> None:
        self.handlers = handlers
        self.seen: list[tuple[str, Any]] = []

    def hook(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        async def call(value: Any) -> Any:
            self.seen.append((name, value))
            await asyncio.sleep(0)
            handler = self.handlers.get(name)
            return value if handler is None else handler(value)

        return call

    def values(self, name: str) -> list[Any]:
        return [value for hook, value in self.seen if hook == name]


class FakeHost:
    def __init__(self, **handlers: Handler) -> None:
        self.hooks = FakeHooks(handlers)
        self.events: list[str] = []
        self.start_error: Exception | None = None
        self.started = True

    async def start(self) -> None:
        self.events.append("start")
        if self.start_error is not None:
            raise self.start_error

    async def stop(self) -> None:
        self.events.append("stop")


def raises(error: Exception) -> Handler:
    def handler(value: Any) -> Any:
        raise error

    return handler


class Exchange:
    """One HTTP request against a middleware: what the server gives and what it is sent."""

    def __init__(
        self, *chunks: bytes, method: str = "GET", disconnect: bool = False, **scope: Any
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": "/a b",
            "raw_path": b"/a%20b",
            "query_string": b"x=%31",
            "root_path": "",
            "headers": [(b"host", b"example.org")],
            "client": ("192.0.2.7", 4711),
            "server": ("example.org", 80),
            **scope,
        }
        chunks = chunks or (b"",)
        self.incoming: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks) - 1}
            for number, chunk in enumerate(chunks)
        ]
        if disconnect:
            self.incoming[-1] = {"type": "http.disconnect"}
        self.received = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.received == len(self.incoming):
            return {"type": "http.disconnect"}
        self.received += 1
        return self.incoming[self.received - 1]

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    async def run(self, middleware: PluginMiddleware) -> Exchange:
        await middleware(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        assert self.sent[-1].get("more_body", False) is False
        return b"".join(message.get("body", b"") for message in self.sent[1:])


class EchoApp:
    """Answer with the method, the path and the body it was given, in the chunks it is told to."""

    def __init__(self, *chunks: bytes, declared: int | None = None, status: int = 200) -> None:
        self.chunks = chunks
        self.declared = declared
        self.status = status
        self.scope: Any = None
        self.body = b""
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        self.scope = scope
        while True:
            message = await receive()
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        chunks = self.chunks or (self.body,)
        headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        if self.declared is not None:
            headers.append((b"content-length", str(self.declared).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for number, chunk in enumerate(chunks):
            more = number < len(chunks) - 1
            await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def test_handlers_see_the_request_as_it_was_received() -> None:
    host = FakeHost()
    exchange = Exchange(b"one", b"", b"two", method="POST")
    app = EchoApp()
    await exchange.run(PluginMiddleware(app, host))
    (request,) = host.hooks.values("on_request")
    assert request == HttpRequest(
        method="POST",
        path="/a%20b",
        query="x=%31",
        headers=(("host", "example.org"),),
        client="192.0.2.7",
        body=b"onetwo",
        request_id=request.request_id,
    )
    assert len(request.request_id) == 32
    assert app.body == b"onetwo"
    assert app.scope["pluginapi.request_id"] == request.request_id
    assert app.scope["path"] == "/a b"
    assert "pluginapi.request_id" not in exchange.scope
    (response,) = host.hooks.values("on_response")
    assert response.body == b"onetwo"
    assert response.request == request
    assert exchange.status == 200
    assert exchange.body == b"onetwo"
    assert exchange.sent[0]["headers"] == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]


async def test_ids_of_requests_differ() -> None:
    host = FakeHost()
    for _ in range(3):
        await Exchange().run(PluginMiddleware(EchoApp(), host))
    assert len({request.request_id for request in host.hooks.values("on_request")}) == 3


@pytest.mark.parametrize(
    ("scope", "path", "client"),
    [
        ({"raw_path": None, "path": "/é /x", "client": None}, "/%C3%A9%20/x", ""),
        ({"raw_path": b"/x?y=1"}, "/x", "192.0.2.7"),
        ({"raw_path": b"/%2e%2E/\xff"}, "/%2e%2E/\xff", "192.0.2.7"),
    ],
)
async def test_paths_of_servers_that_differ(scope: dict[str, Any], path: str, client: str) -> None:
    host = FakeHost()
    app = EchoApp()
    await Exchange(**scope).run(PluginMiddleware(app, host))
    (request,) = host.hooks.values("on_request")
    assert (request.path, request.client) == (path, client)
    # What no handler has changed goes on as the server gave it.
    for key, value in scope.items():
        assert app.scope[key] == value


async def test_a_handler_can_answer_the_request() -> None:
    host = FakeHost(
        on_request=lambda request: HttpResponse(
            status=403, headers=(("X-Reason", "no"),), body=b"blocked"
        )
    )
    app = EchoApp()
    exchange = await Exchange().run(PluginMiddleware(app, host))
    assert app.calls == 0
    assert exchange.status == 403
    assert exchange.headers == {b"x-reason": b"no", b"content-length": b"7"}
    assert exchange.body == b"blocked"
    (response,) = host.hooks.values("on_response")
    assert response.request == host.hooks.values("on_request")[0]


async def test_a_handler_can_change_the_request() -> None:
    def handler(request: HttpRequest) -> HttpRequest:
        return msgspec.structs.replace(
            request,
            method="PUT",
            path="/b%2Fc/%C3%A9",
            query="y=2",
            headers=(*request.headers, ("X-Added", "1"), ("transfer-encoding", "chunked")),
            body=b"other",
            request_id="mine",
        )

    host = FakeHost(on_request=handler)
    app = EchoApp()
    await Exchange(b"body", method="POST").run(PluginMiddleware(app, host))
    assert app.scope["method"] == "PUT"
    assert app.scope["path"] == "/b/c/é"
    assert app.scope["raw_path"] == b"/b%2Fc/%C3%A9"
    assert app.scope["query_string"] == b"y=2"
    assert app.scope["headers"] == [
        (b"host", b"example.org"),
        (b"x-added", b"1"),
        (b"content-length", b"5"),
    ]
    assert app.body == b"other"
    assert app.scope["pluginapi.request_id"] != "mine"
    (response,) = host.hooks.values("on_response")
    assert response.request.path == "/b%2Fc/%C3%A9"
    assert response.request.request_id == app.scope["pluginapi.request_id"]


async def test_a_handler_can_change_the_response() -> None:
    def handler(response: HttpResponse) -> HttpResponse:
        return msgspec.structs.replace(
            response, status=201, body=response.body + b"!", headers=(("a", "1"), ("a", "2"))
        )

    exchange = await Exchange(b"body").run(
        PluginMiddleware(EchoApp(), FakeHost(on_response=handler))
    )
    assert exchange.status == 201
    assert exchange.sent[0]["headers"] == [(b"a", b"1"), (b"a", b"2"), (b"content-length", b"5")]
    assert exchange.body == b"body!"


def response(status: int, *headers: tuple[str, str]) -> Callable[[Any], HttpResponse]:
    return lambda value: HttpResponse(status=status, headers=headers)


@pytest.mark.parametrize(
    "handler",
    [
        lambda value: None,
        lambda value: "text",
        lambda value: b"bytes",
        response(200, ("a\r\nb", "c")),
        response(200, ("a", f"b\r\n\r\n{SECRET}")),
        response(200, ("a", "\x01")),
        response(200, ("a", "\u2603")),
        response(199),
        response(600),
    ],
)
@pytest.mark.parametrize("hook", ["on_request", "on_response"])
async def test_what_is_no_message_becomes_a_bare_500(hook: str, handler: Handler) -> None:
    host = FakeHost(**{hook: handler})
    exchange = await Exchange().run(PluginMiddleware(EchoApp(b"fine"), host))
    assert exchange.status == 500
    assert exchange.body == b"Internal Server Error"
    (event,) = host.hooks.values("on_error")
    assert event.kind == "HookTypeError"
    assert event.code in {"hook.type", "http.invalid"}
    assert event.request.request_id == host.hooks.values("on_request")[0].request_id


@pytest.mark.parametrize("hook", ["on_request", "on_response"])
@pytest.mark.parametrize("also_on_error", [False, True])
async def test_errors_of_handlers_are_logged_and_not_sent(
    hook: str, also_on_error: bool, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError(SECRET)
    handlers = {hook: raises(error)}
    if also_on_error:
        handlers["on_error"] = raises(KeyError("second"))
    host = FakeHost(**handlers)
    app = EchoApp(b"fine", declared=4)
    exchange = await Exchange().run(PluginMiddleware(app, host))
    assert exchange.status == 500
    assert SECRET not in str(exchange.sent)
    assert exchange.headers[b"content-length"] == b"21"
    assert exchange.body == b"Internal Server Error"
    (event,) = host.hooks.values("on_error")
    assert (event.message, event.kind, event.code) == (SECRET, "RuntimeError", "")
    assert SECRET in caplog.text
    assert ("on_error failed" in caplog.text) is also_on_error
    assert app.calls == (0 if hook == "on_request" else 1)
    # Hooks come in pairs: a request that failed in on_request has no on_response.
    assert len(host.hooks.values("on_response")) == app.calls


async def test_errors_of_the_library_keep_their_code_and_plugin() -> None:
    error = HookError("a handler failed", plugin="acme.filter", hint="unload it")
    host = FakeHost(on_request=raises(error))
    await Exchange().run(PluginMiddleware(EchoApp(), host))
    (event,) = host.hooks.values("on_error")
    assert (event.kind, event.code, event.plugin) == ("HookError", "hook.failed", "acme.filter")


async def test_errors_of_the_application_reach_the_server_and_on_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("app")

    host = FakeHost()
    exchange = Exchange()
    with pytest.raises(RuntimeError, match="app"):
        await exchange.run(PluginMiddleware(app, host))
    assert exchange.sent == []  # The server can still answer 500.
    assert len(host.hooks.values("on_error")) == 1
    assert host.hooks.values("on_response") == []


async def test_cancellation_passes_through() -> None:
    entered = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    host = FakeHost()
    task = asyncio.create_task(Exchange().run(PluginMiddleware(app, host)))
    await asyncio.wait_for(entered.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert host.hooks.values("on_error") == []


@pytest.mark.parametrize("chunks", [(b"",), (b"part", b"")])
async def test_a_client_that_leaves_before_the_end_of_its_body(chunks: tuple[bytes, ...]) -> None:
    host = FakeHost()
    app = EchoApp()
    exchange = await Exchange(*chunks, disconnect=True).run(PluginMiddleware(app, host))
    assert exchange.sent == []
    assert app.calls == 0
    assert host.hooks.seen == []


async def test_the_application_sees_the_client_leave_after_the_body() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), await receive()])

    await Exchange(b"a", b"b").run(PluginMiddleware(app, FakeHost()))
    assert seen == [
        {"type": "http.request", "body": b"ab", "more_body": False},
        {"type": "http.disconnect"},
    ]


@pytest.mark.parametrize("declared", [True, False])
async def test_long_bodies_are_refused_before_anybody_sees_them(declared: bool) -> None:
    host = FakeHost()
    app = EchoApp()
    headers = [(b"content-length", b"11")] if declared else []
    exchange = Exchange(b"12345", b"67890", b"1", headers=headers)
    await exchange.run(PluginMiddleware(app, host, max_body_bytes=10))
    assert exchange.status == 413
    assert app.calls == 0
    assert host.hooks.seen == []
    # A client that waits for "100 Continue" must not be asked for its body.
    assert exchange.received == (0 if declared else 3)


async def test_bodies_up_to_the_bound_pass() -> None:
    exchange = await Exchange(b"12345", b"67890", headers=[(b"content-length", b"10")]).run(
        PluginMiddleware(EchoApp(), FakeHost(), max_body_bytes=10)
    )
    assert exchange.status == 200
    assert exchange.body == b"1234567890"


async def test_without_a_bound_bodies_are_not_handed_over() -> None:
    host = FakeHost()
    exchange = await Exchange(b"12345", b"67890").run(
        PluginMiddleware(EchoApp(), host, max_body_bytes=None)
    )
    assert host.hooks.values("on_request")[0].body == b""
    assert exchange.body == b"1234567890"


async def test_without_a_bound_a_handler_can_still_replace_the_body() -> None:
    host = FakeHost(on_request=lambda request: msgspec.structs.replace(request, body=b"new"))
    exchange = await Exchange(b"old").run(PluginMiddleware(EchoApp(), host, max_body_bytes=None))
    assert exchange.body == b"new"


@pytest.mark.parametrize("bounds", [{"max_body_bytes": -1}, {"max_response_bytes": 2**26 + 1}])
def test_bounds_have_bounds(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not from 0 to"):
        PluginMiddleware(EchoApp(), FakeHost(), **bounds)


async def test_chunks_of_a_declared_length_are_put_together() -> None:
    host = FakeHost()
    exchange = await Exchange().run(PluginMiddleware(EchoApp(b"ab", b"cd", declared=4), host))
    assert host.hooks.values("on_response")[0].body == b"abcd"
    assert [message.get("body") for message in exchange.sent] == [None, b"abcd"]
    assert exchange.headers[b"content-length"] == b"4"


@pytest.mark.parametrize(
    ("chunks", "declared", "bound"),
    [
        ((b"ab", b"cd"), None, 100),  # A stream: holding it back would stop server-sent events.
        ((b"ab", b"cd"), 4, 3),  # Declared too long.
        ((b"abcd",), None, 3),  # One message, too long.
        ((b"ab", b"cd"), 2, 3),  # Longer than declared.
    ],
)
async def test_long_responses_flow_and_handlers_see_the_headers(
    chunks: tuple[bytes, ...], declared: int | None, bound: int
) -> None:
    host = FakeHost(
        on_response=lambda response: msgspec.structs.replace(
            response, status=202, headers=(*response.headers, ("x-seen", "1"))
        )
    )
    app = EchoApp(*chunks, declared=declared)
    exchange = await Exchange().run(PluginMiddleware(app, host, max_response_bytes=bound))
    (response,) = host.hooks.values("on_response")
    assert response.body == b""
    assert exchange.status == 202
    assert exchange.headers[b"x-seen"] == b"1"
    assert exchange.body == b"".join(chunks)
    assert [m["body"] for m in exchange.sent[1:]] == list(chunks)


async def test_a_stream_can_be_replaced() -> None:
    host = FakeHost(on_response=lambda response: HttpResponse(status=451, body=b"withheld"))
    exchange = await Exchange().run(PluginMiddleware(EchoApp(b"ab", b"cd"), host))
    assert exchange.status == 451
    assert exchange.headers == {b"content-length": b"8"}
    assert exchange.body == b"withheld"
    assert len(exchange.sent) == 2


async def test_a_stream_is_withheld_when_a_handler_fails() -> None:
    host = FakeHost(on_response=raises(RuntimeError("x")))
    exchange = await Exchange().run(PluginMiddleware(EchoApp(b"ab", b"cd"), host))
    assert exchange.status == 500
    assert exchange.body == b"Internal Server Error"


@pytest.mark.parametrize("chunks", [(b"abcd",), (b"ab", b"cd")])
@pytest.mark.parametrize("status", [204, 304])
async def test_responses_made_bodiless_have_no_body(chunks: tuple[bytes, ...], status: int) -> None:
    host = FakeHost(on_response=lambda response: msgspec.structs.replace(response, status=status))
    exchange = await Exchange().run(PluginMiddleware(EchoApp(*chunks, declared=4), host))
    assert exchange.status == status
    assert exchange.body == b""
    assert b"content-length" not in exchange.headers


async def test_an_unchanged_304_keeps_its_length() -> None:
    exchange = await Exchange().run(
        PluginMiddleware(EchoApp(b"", declared=10, status=304), FakeHost())
    )
    assert exchange.headers[b"content-length"] == b"10"


async def test_an_answer_to_head_keeps_the_length_of_the_absent_body() -> None:
    exchange = await Exchange(method="HEAD").run(
        PluginMiddleware(EchoApp(b"", declared=10), FakeHost())
    )
    assert exchange.headers[b"content-length"] == b"10"
    assert exchange.body == b""


async def test_a_plugin_answers_head_without_a_body() -> None:
    host = FakeHost(on_request=lambda request: HttpResponse(status=403, body=b"blocked"))
    exchange = await Exchange(method="HEAD").run(PluginMiddleware(EchoApp(), host))
    assert exchange.headers[b"content-length"] == b"7"
    assert exchange.body == b""


async def test_messages_of_extensions_pass() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/file"})

    host = FakeHost()
    exchange = await Exchange().run(PluginMiddleware(app, host))
    kinds = [message["type"].removeprefix("http.response.") for message in exchange.sent]
    assert kinds == ["early_hint", "start", "pathsend"]
    assert len(host.hooks.values("on_response")) == 1


async def test_trailers_follow_their_body() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": []})

    exchange = await Exchange().run(PluginMiddleware(app, FakeHost()))
    assert exchange.sent[0]["trailers"] is True
    assert exchange.sent[2]["type"] == "http.response.trailers"


async def test_an_application_that_stops_in_the_middle_is_shown_to_the_server() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})

    exchange = await Exchange().run(PluginMiddleware(app, FakeHost()))
    assert exchange.sent[-1] == {"type": "http.response.body", "body": b"ab", "more_body": True}


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    host = FakeHost()
    exchange = Exchange(type=kind)
    await exchange.run(PluginMiddleware(app, host))
    assert seen == [(exchange.scope, exchange.receive, exchange.send)]
    assert seen[0][0] is exchange.scope
    assert host.hooks.seen == []


@given(st.text("aZ-\r\n\0 :☃é\x7f", max_size=6), st.text("a \t\r\n\0☃é\x7f", max_size=6))
def test_headers_that_pass_the_check_cannot_split_a_response(name: str, value: str) -> None:
    try:
        check_response(HttpResponse(status=200, headers=((name, value),)))
    except HookTypeError:
        return
    assert name
    assert name.isascii()
    assert not set(name) & set("\r\n\0 :\x7f")
    assert not set(value) & set("\r\n\0\x7f")
    value.encode("latin-1")


REQUEST = HttpRequest(method="GET", path="/\xff", query="\xff", headers=(("a", "\x01"),))


@pytest.mark.parametrize(
    "changes",
    [
        {"path": ""},
        {"path": "no-slash"},
        {"path": "/a b"},
        {"path": "/a?b"},
        {"path": "/a#b"},
        {"path": "/é"},
        {"query": "a b"},
        {"query": "a#b"},
        {"headers": (("a", "b\x01c"),)},
        {"headers": (("a", "☃"),)},
    ],
)
def test_changed_requests_must_be_requests(changes: dict[str, Any]) -> None:
    changed = msgspec.structs.replace(REQUEST, **changes)
    with pytest.raises(HookTypeError) as caught:
        check_request(changed, before=REQUEST)
    assert caught.value.code == "http.invalid"
    assert caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "PROPFIND"},
        {"path": "/a%20b;c=d:@!$&'()*+,=/~"},
        {"query": "a=b&c?/"},
        {"headers": (("X-A", "b\tc é"),)},
        {"body": b"x"},
    ],
)
def test_changed_requests_that_are_requests_pass(changes: dict[str, Any]) -> None:
    check_request(msgspec.structs.replace(REQUEST, **changes), before=REQUEST)


async def test_requests_that_handlers_cannot_be_shown_are_refused() -> None:
    host = FakeHost()
    app = EchoApp()
    exchange = await Exchange(headers=[(b"a", b"x" * 70_000)]).run(PluginMiddleware(app, host))
    assert exchange.status == 400
    assert app.calls == 0
    assert host.hooks.seen == []


async def test_responses_that_handlers_cannot_be_shown_are_withheld() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"a", b"1\r\nb: 2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    host = FakeHost()
    exchange = await Exchange().run(PluginMiddleware(app, host))
    assert exchange.status == 500
    assert exchange.headers[b"content-type"].startswith(b"text/plain")
    assert len(host.hooks.values("on_error")) == 1


async def test_lifespan_starts_before_and_stops_after() -> None:
    host = FakeHost()

    @asynccontextmanager
    async def inner(app: Any) -> AsyncIterator[dict[str, int]]:
        host.events.append(f"enter {app}")
        yield {"pool": 1}
        host.events.append("leave")

    async with lifespan(host, inner)("app") as state:
        host.events.append("serve")
        assert state == {"pool": 1}
    assert host.events == ["start", "enter app", "serve", "leave", "stop"]


async def test_lifespan_stops_after_errors() -> None:
    host = FakeHost()

    async def serve() -> None:
        async with lifespan(host)(None) as state:
            assert state is None
            raise RuntimeError("serving")

    with pytest.raises(RuntimeError, match="serving"):
        await serve()
    assert host.events == ["start", "stop"]


async def test_lifespan_fails_when_the_host_does_not_start() -> None:
    host = FakeHost()
    host.start_error = RuntimeError("no trust list")
    async with AsyncExitStack() as stack:
        with pytest.raises(RuntimeError, match="no trust list"):
            await stack.enter_async_context(lifespan(host)(None))
    assert host.events == ["start"]


async def echo(request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "path": request.url.path,
            "body": (await request.body()).decode(),
            "ip": request.client and 1,
        }
    )


async def stream(request: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"b", b"c"):
            yield part

    return StreamingResponse(parts())


async def fail(request: Request) -> PlainTextResponse:
    raise RuntimeError(SECRET)


async def test_without_a_started_host_nothing_is_served(caplog: pytest.LogCaptureFixture) -> None:
    host = FakeHost()
    host.started = False
    app = EchoApp()
    middleware = PluginMiddleware(app, host)
    exchange = await Exchange(b"body").run(middleware)
    assert exchange.status == 503
    assert exchange.received == 0
    assert app.calls == 0
    assert host.hooks.seen == []
    assert "lifespan" in caplog.text
    host.started = True
    assert (await Exchange().run(middleware)).status == 200


async def test_under_starlette() -> None:
    def on_request(request: HttpRequest) -> HttpRequest | HttpResponse:
        if ".." in request.path:
            return HttpResponse(status=400, body=b"traversal")
        return request

    host = FakeHost(
        on_request=on_request,
        on_response=lambda response: msgspec.structs.replace(
            response, headers=(*response.headers, ("x-plugin", "1"))
        ),
    )
    app = Starlette(
        routes=[
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/stream", stream),
            Route("/fail", fail),
        ],
        middleware=[Middleware(PluginMiddleware, host=host)],
        lifespan=lifespan(host),
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://example.org") as client,
    ):
        answer = await client.post("/echo", content=b"hello")
        assert answer.json() == {"path": "/echo", "body": "hello", "ip": 1}
        assert answer.headers["x-plugin"] == "1"
        assert (await client.get("/stream")).text == "abc"
        head = await client.head("/echo")
        assert head.content == b""
        assert int(head.headers["content-length"]) > 0
        assert (await client.get("/x/%2e./..")).status_code == 404
        assert (await client.get("/nowhere")).status_code == 404
        failed = await client.get("/fail")
        assert failed.status_code == 500
        assert SECRET not in failed.text
        host.hooks.handlers["on_request"] = lambda request: HttpResponse(status=400, body=b"no")
        assert (await client.get("/echo")).status_code == 400
    assert host.events == ["start", "stop"]
    assert [event.message for event in host.hooks.values("on_error")] == [SECRET]
