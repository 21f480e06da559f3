"""Plugins in an ASGI application: start and stop with it, see its requests and responses.

::

    host = PluginHost.from_config("pluginapi.toml")
    app = Starlette(routes=routes, lifespan=lifespan(host), middleware=[
        Middleware(PluginMiddleware, host=host),
    ])

`PluginMiddleware` is a plain ASGI 3 application (https://asgi.readthedocs.io) without dependency
on a framework. What it promises:

* Hooks come in pairs. `on_response` runs for every response to a request that `on_request` has
  let pass or answered, and for no other.
* It fails closed. When a handler fails, or gives back something that is no HTTP message, the
  client receives a bare 500: the application is not reached (`on_request`) or its response is
  withheld (`on_response`). The error goes to the log and to the hook `on_error`, never to the
  client.
* Without a started host nothing is served. Where the lifespan was forgotten, or the host was
  stopped, every request is answered with 503.
* Nothing is inspected in part. A request body is handed over whole or the request is refused
  with 413; a response body is handed over whole or not at all.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote

import msgspec

from pluginapi.errors import HookTypeError, PluginError
from pluginapi.hooks.points import ErrorEvent
from pluginapi.http import MAX_BODY_BYTES, HttpRequest, HttpResponse
from pluginapi.http_check import check_request, check_response

__all__ = ["Host", "HostHooks", "PluginMiddleware", "lifespan"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[str, str], ...]

DEFAULT_MAX_BODY_BYTES: Final = 1024 * 1024
"""Largest body that is handed to handlers unless the middleware is told otherwise, 1 MiB."""

_NOT_MODIFIED: Final = 304
_NO_CONTENT: Final = frozenset({204, _NOT_MODIFIED})
_log: Final = logging.getLogger("pluginapi.asgi")


class HostHooks(Protocol):
    """What is used of a `HookRegistry`."""

    def hook(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        """Return the hook of this name; calling it runs its handlers."""
        ...


class Host(Protocol):
    """What is used of a `PluginHost`."""

    @property
    def hooks(self) -> HostHooks:
        """The registry with `on_request`, `on_response` and `on_error`."""
        ...

    @property
    def started(self) -> bool:
        """Whether the plugins are loaded and may be called."""
        ...

    async def start(self) -> Any:
        """Scan, verify and load; raise when the host must not serve."""
        ...

    async def stop(self) -> Any:
        """Unload everything."""
        ...


def lifespan(
    host: Host,
    inner: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None,
) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """Make the `lifespan=` argument of Starlette or FastAPI that starts and stops a host.

    The host is started before the first request is accepted, and an error in `start` keeps the
    server from starting. Once started it is stopped in every case, also when the
    application ends with an error.

    Args:
        host: The host, not started.
        inner: The application's own lifespan, entered after the start and left before the stop;
            what it yields is passed on.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Any]:
        # A start that fails cleans up after itself; stopping then could stop somebody else's host.
        await host.start()
        try:
            if inner is None:
                yield None
            else:
                async with inner(app) as state:
                    yield state
        finally:
            await host.stop()

    return run


class PluginMiddleware:
    """Run `on_request` before and `on_response` after every HTTP request of an application.

    A handler of `on_request` that gives back an `HttpResponse` answers the request; the
    application is not called. Otherwise method, path, query, headers and body of the request go
    on as the handlers left them. WebSocket and lifespan scopes pass untouched.

    The application finds the request's id as ``scope["pluginapi.request_id"]``.

    A response is handed to `on_response` with its body when its length is declared and at most
    `max_response_bytes`, or when it comes in one message. Any other (a stream, server-sent events,
    a file sent by the server) is handed over with an empty body; changes of status and headers
    count, and a body that a handler sets replaces the response; left empty, the response flows
    through unbuffered.

    Safe to use from several tasks of one event loop.

    Args:
        app: The application that is wrapped.
        host: The host whose hooks run.
        max_body_bytes: Largest request body, in bytes, at most 64 MiB; longer requests are answered
            with 413 before a handler or the application sees them. None hands no bodies over:
            handlers see an empty one, whatever its size, and the application reads the body itself.
        max_response_bytes: Largest response body that is held back for `on_response`, in bytes, at
            most 64 MiB.

    Raises:
        ValueError: When a bound is negative or above 64 MiB.
    """

    def __init__(
        self,
        app: AsgiApp,
        host: Host,
        *,
        max_body_bytes: int | None = DEFAULT_MAX_BODY_BYTES,
        max_response_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        if max_body_bytes is not None and not 0 <= max_body_bytes <= MAX_BODY_BYTES:
            raise ValueError(
                f"max_body_bytes is {max_body_bytes}, not from 0 to {MAX_BODY_BYTES}, or None"
            )
        if not 0 <= max_response_bytes <= MAX_BODY_BYTES:
            raise ValueError(
                f"max_response_bytes is {max_response_bytes}, not from 0 to {MAX_BODY_BYTES}"
            )
        self.app = app
        self.host = host
        self.max_body_bytes = max_body_bytes
        self.max_response_bytes = max_response_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope (ASGI 3)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not self.host.started:
            # The application relies on its plugins: it is not reached past them.
            _log.error("request refused: the plugin host is not started; pass lifespan(host)")
            await _send_response(_plain(503, "Service Unavailable"), scope["method"], send)
            return
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = _read_request(scope)
        except HookTypeError as err:
            # What cannot be shown to the handlers must not go past them.
            _log.warning("request refused: %s", err)
            await _send_response(_plain(400, "Bad Request"), scope["method"], send)
            return
        body: bytes | None = b""
        if self.max_body_bytes is not None:
            try:
                body = await _read_body(scope, receive, self.max_body_bytes)
            except _TooLargeError:
                _log.warning(
                    "request %s: body of more than %d bytes refused",
                    request.request_id,
                    self.max_body_bytes,
                )
                await _send_response(_plain(413, "Content Too Large"), request.method, send)
                return
            if body is None:
                return  # The client has gone; there is nobody to answer.
            request = msgspec.structs.replace(request, body=body)
        try:
            result = await self._on_request(request)
        except Exception as err:  # noqa: BLE001 - whatever a handler raises must not reach the client
            await self._report("on_request", request, err)
            await _send_response(_FAILED, request.method, send)
            return
        if isinstance(result, HttpResponse):
            answer = await self._answer(result.status, result.headers, result.body, request)
            await _send_response(answer or _FAILED, request.method, send)
            return
        forwarded = _write_scope(scope, request, result)
        if self.max_body_bytes is not None or result.body:
            receive = _replay(result.body, receive)
        sender = _ResponseSender(self._answer, self.max_response_bytes, result, send)
        try:
            await self.app(forwarded, receive, sender)
        except Exception as err:
            await self._report("application", request, err)
            raise
        await sender.finish()

    async def _on_request(self, request: HttpRequest) -> HttpRequest | HttpResponse:
        result = await self.host.hooks.hook("on_request")(request)
        if isinstance(result, HttpResponse):
            check_response(result)
            return result
        if not isinstance(result, HttpRequest):
            raise HookTypeError(
                f"on_request gave {type(result).__name__}, not HttpRequest or HttpResponse",
                hint="return a request, a response, or None for an unchanged request",
            )
        check_request(result, before=request)
        # The log and on_response know the request by the name that it was given here.
        return msgspec.structs.replace(result, request_id=request.request_id)

    async def _answer(
        self, status: int, headers: Headers, body: bytes, request: HttpRequest
    ) -> HttpResponse | None:
        """Run `on_response` and return what to send, or None when something failed."""
        try:
            response = HttpResponse(status=status, headers=headers, body=body, request=request)
            result = await self.host.hooks.hook("on_response")(response)
            if not isinstance(result, HttpResponse):
                raise HookTypeError(  # noqa: TRY301 - told to on_error like an error of the handler
                    f"on_response gave {type(result).__name__}, not HttpResponse",
                    hint="return a response, or None for an unchanged one",
                )
            check_response(result, before=response)
        except Exception as err:  # noqa: BLE001 - whatever a handler raises must not reach the client
            await self._report("on_response", request, err)
            return None
        return result

    async def _report(self, where: str, request: HttpRequest, err: Exception) -> None:
        """Tell the log and `on_error`; the client is told nothing."""
        _log.error(
            "request %s (%s %r) failed in %s: %s",
            request.request_id,
            request.method,
            request.path,
            where,
            err,
            exc_info=err,
        )
        event = ErrorEvent(
            message=str(err),
            kind=type(err).__name__,
            code=err.code if isinstance(err, PluginError) else "",
            plugin=(err.plugin or "") if isinstance(err, PluginError) else "",
            request=request,
        )
        try:
            await self.host.hooks.hook("on_error")(event)
        except Exception:  # noqa: BLE001 - an error about an error must not replace the answer
            _log.exception("request %s: a handler of on_error failed", request.request_id)


def _plain(status: int, text: str) -> HttpResponse:
    headers = (("content-type", "text/plain; charset=utf-8"),)
    return HttpResponse(status=status, headers=headers, body=text.encode())


_FAILED: Final = _plain(500, "Internal Server Error")


class _TooLargeError(Exception):
    """The request's body is larger than the middleware may hold."""


class _ResponseSender:
    """The `send` that the application is given: holds the response back for `on_response`."""

    def __init__(
        self,
        answer: Callable[[int, Headers, bytes, HttpRequest], Awaitable[HttpResponse | None]],
        max_bytes: int,
        request: HttpRequest,
        send: Send,
    ) -> None:
        self._answer = answer
        self._max_bytes = max_bytes
        self._request = request
        self._send = send
        self._start: Message = {}
        self._held = bytearray()
        self._declared: int | None = None
        self._state: str = "waiting"  # Then "holding", then "passing" or "done".

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if self._state == "passing":
            await self._send(message)
        elif self._state == "waiting":
            if kind != "http.response.start":
                await self._send(message)  # Early hints, pushes and debug information.
                return
            self._start = message
            self._declared = _content_length(message.get("headers", ()))
            self._state = "holding"
            if message.get("trailers"):
                await self._pass_on()
        elif self._state == "holding":
            await self._hold(message)
        # Otherwise the answer has been sent, and what the application still says is dropped.

    async def _hold(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._pass_on()
            await self(message)
            return
        body = message.get("body", b"")
        more = message.get("more_body", False)
        most = self._max_bytes
        whole = not more or (self._declared is not None and self._declared <= most)
        if not whole or len(self._held) + len(body) > most:
            await self._pass_on()
            await self(message)
            return
        self._held += body
        if not more:
            self._state = "done"
            whole_body = bytes(self._held)
            answer = await self._ask(whole_body)
            await _send_response(
                answer or _FAILED, self._request.method, self._send, original=whole_body
            )

    async def _pass_on(self) -> None:
        """Ask `on_response` about the headers alone, then let the body flow."""
        answer = await self._ask(b"")
        if answer is None or answer.body or answer.status in _NO_CONTENT:
            self._state = "done"
            await _send_response(answer or _FAILED, self._request.method, self._send, original=b"")
            return
        self._state = "passing"
        await self._send(
            {**self._start, "status": answer.status, "headers": _encode_headers(answer.headers)}
        )
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            await self._send({"type": "http.response.body", "body": held, "more_body": True})

    async def _ask(self, body: bytes) -> HttpResponse | None:
        headers = _decode_headers(self._start.get("headers", ()))
        return await self._answer(self._start["status"], headers, body, self._request)

    async def finish(self) -> None:
        """Send what is still held when the application returns in the middle of a response."""
        if self._state == "holding":
            await self._pass_on()


def _read_request(scope: Scope) -> HttpRequest:
    raw_path = scope.get("raw_path")
    path = (
        quote(scope["path"], safe="/:@!$&'()*+,;=~")
        if raw_path is None
        else raw_path.decode("latin-1")
    )
    client = scope.get("client")
    return HttpRequest(
        method=scope["method"],
        path=path.partition("?")[0],  # Some servers leave the query there.
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=_decode_headers(scope["headers"]),
        client=client[0] if client else "",
        request_id=secrets.token_hex(16),
    )


async def _read_body(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """Return the whole body, or None when the client goes away before its end."""
    declared = _content_length(scope["headers"])
    if declared is not None and declared > most:
        # Before the first receive(): a client that waits for "100 Continue" sends nothing at all.
        raise _TooLargeError
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            raise _TooLargeError
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Make a `receive` that gives a body that is known already, then asks the server again."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _write_scope(scope: Scope, before: HttpRequest, after: HttpRequest) -> Scope:
    forwarded = dict(scope)
    forwarded["pluginapi.request_id"] = before.request_id
    forwarded["method"] = after.method
    if after.path != before.path:
        forwarded["raw_path"] = after.path.encode("latin-1")
        forwarded["path"] = unquote(after.path)
    if after.query != before.query:
        forwarded["query_string"] = after.query.encode("latin-1")
    headers = after.headers
    if after.body != before.body:
        headers = _with_length(headers, len(after.body))
    if headers != before.headers:
        forwarded["headers"] = _encode_headers(headers)
    return forwarded


async def _send_response(
    response: HttpResponse, method: str, send: Send, *, original: bytes | None = None
) -> None:
    """Send a whole response.

    With `original` the application's own framing headers stay as they are while the body is equal:
    the answer to HEAD declares the length of a body that is not there.
    """
    body = response.body
    headers = response.headers
    if response.status in _NO_CONTENT:
        # The application's own 304 may declare the length of what it does not send.
        if body or original is None or response.status != _NOT_MODIFIED:
            headers = _without(headers, "content-length", "transfer-encoding")
        body = b""
    elif body != original:
        headers = _with_length(headers, len(body))
    if method == "HEAD":
        body = b""
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": _encode_headers(headers),
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _without(headers: Headers, *names: str) -> Headers:
    return tuple((name, value) for name, value in headers if name.lower() not in names)


def _with_length(headers: Headers, length: int) -> Headers:
    return (
        *_without(headers, "content-length", "transfer-encoding"),
        ("content-length", str(length)),
    )


def _decode_headers(headers: Any) -> Headers:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def _encode_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _content_length(headers: Any) -> int | None:
    """Return the declared length, None when it is absent or not a plain number."""
    for name, value in headers:
        if name.lower() == b"content-length":
            return int(value) if value.isdigit() and len(value) <= 18 else None  # noqa: PLR2004 - 2**63 has 19
    return None
