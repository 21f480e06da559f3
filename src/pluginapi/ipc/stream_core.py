"""Calls over a stream of bytes that has no descriptor: what named pipes of Windows are served by.

The same frames, rules and bounds as the native channel, and the same methods, but written for
clarity: a thread reads, and whoever calls waits for it. Where there are sockets, the native channel
is used instead.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from pluginapi._native import _channel

__all__ = ["ByteStream", "StreamCore", "StreamRequest"]

_HEADER: Final = struct.Struct("<IBBHQ")
_HELLO, _REQUEST, _RESPONSE, _CALL, _RESULT, _ERROR, _CANCEL, _LOG = range(1, 9)
_DEADLINE, _PARENT, _CONTEXT, _UNCHANGED = 1, 2, 4, 32
_BAD_LENGTH, _BAD_KIND, _BAD_FLAGS, _BAD_CALL, _BAD_PAYLOAD = -4, -5, -6, -7, -11

# What each kind may have: flags, a call id, a hook id, a body.
_RULES: Final = {
    _REQUEST: (_DEADLINE | _PARENT, True, False, True),
    _RESPONSE: (0, True, False, True),
    _CALL: (_DEADLINE | _PARENT | _CONTEXT, True, True, True),
    _RESULT: (_CONTEXT | 16 | _UNCHANGED, True, False, True),
    _ERROR: (0, True, False, True),
    _CANCEL: (0, True, False, False),
    _LOG: (0, False, False, True),
}


class ByteStream(Protocol):
    """A connected stream; one thread reads and one writes at the same time."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end; raises OSError."""

    def write(self, data: bytes, /) -> None:
        """Write all of it; raises OSError."""

    def cancel(self) -> None:
        """Wake whoever reads or writes, for ever."""

    def close(self) -> None:
        """Release it; nobody reads or writes any more."""


class _Breach(Exception):
    """The peer broke the protocol; carries the status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class StreamRequest:
    """One request of the peer, as `pluginapi._native._channel.Request`."""

    __slots__ = (
        "answered",
        "call",
        "cancelled",
        "context",
        "deadline_ns",
        "hook",
        "kind",
        "parent",
        "payload",
        "scope",
    )

    def __init__(self, kind: int, hook: int, call: int) -> None:
        self.kind, self.hook, self.call = kind, hook, call
        self.parent = self.deadline_ns = 0
        self.context: bytes | None = None
        self.payload = b""
        self.scope: Any = None
        self.cancelled = self.answered = False


class _Waiter:
    __slots__ = ("abandoned", "future", "kind", "nested", "outcome", "scope")

    def __init__(self, kind: int, scope: object, future: asyncio.Future[Any] | None) -> None:
        self.kind = kind
        self.scope = scope
        self.future = future
        self.outcome: Any = None
        self.nested: deque[StreamRequest] = deque()
        self.abandoned = False


class StreamCore:
    """One end of a channel over a stream, with the calls that are in flight over it.

    Arguments and methods are those of `pluginapi._native._channel.Channel`.
    """

    shared = False
    fd = -1

    def __init__(
        self,
        stream: ByteStream,
        *,
        is_host: bool,
        explain: Callable[[int, int], BaseException],
        max_len: int,
        in_flight: int,
        queued: int,
        requests: int,
        scan: tuple[int, int, int],
    ) -> None:
        self._stream = stream
        self._hostile = is_host
        self._explain = explain
        self._max_len = max_len
        self._in_flight = in_flight
        self._queued = queued
        self._most_requests = requests
        self._scan = scan
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._waiters: dict[int, _Waiter] = {}
        self._requests: dict[int, StreamRequest] = {}
        self._backlog: deque[StreamRequest] = deque()
        self._turn = 0
        self._next = 1
        self._current = threading.local()
        self._on: dict[str, Callable[..., object] | None] = {}
        self.end_status = 0
        self.end_errno = 0
        self.attached: asyncio.AbstractEventLoop | None = None
        self._reader = threading.Thread(target=self._read, name="pluginapi-pipe", daemon=True)

    def set_handlers(self, **handlers: Callable[..., object] | None) -> None:
        """Set who takes requests, nested ones, cancellations, log lines and the end."""
        self._on = handlers
        if self._reader.ident is None:
            self._reader.start()

    # ---- Sending ----

    def _send(
        self,
        kind: int,
        call: int,
        payload: Any,
        *,
        hook: int = 0,
        flags: int = 0,
        context: Any = None,
        deadline_ns: int = 0,
        parent: int = 0,
    ) -> None:
        head = b""
        if deadline_ns:
            flags |= _DEADLINE
            head += struct.pack("<Q", deadline_ns)
        if parent:
            flags |= _PARENT
            head += struct.pack("<Q", parent)
        if context is not None:
            flags |= _CONTEXT
            head += struct.pack("<I", len(context)) + bytes(context)
        body = head + bytes(payload)
        if len(body) > self._max_len:
            raise self._explain(_channel.REFUSED, 0)
        try:
            with self._writing:
                self._stream.write(_HEADER.pack(len(body), kind, flags, hook, call) + body)
        except OSError as err:
            self.end(_channel.CLOSED, err.errno or 0)
            raise self._explain(self.end_status, self.end_errno) from err

    def _begin(
        self, kind: int, scope: object, until: float | None, future: asyncio.Future[Any] | None
    ) -> tuple[int, _Waiter]:
        with self._changed:
            if len(self._waiters) >= self._in_flight:
                if self._turn >= self._queued or future is not None:
                    raise self._explain(_channel.BUSY, 0)
                self._turn += 1
                try:
                    while len(self._waiters) >= self._in_flight and not self.end_status:
                        left = None if until is None else until - time.monotonic()
                        if not self._changed.wait(left):
                            raise self._explain(_channel.TIMEOUT, 0)
                finally:
                    self._turn -= 1
            if self.end_status:
                raise self._explain(self.end_status, self.end_errno)
            call, self._next = self._next, self._next + 1
            waiter = self._waiters[call] = _Waiter(kind, scope, future)
        return call, waiter

    def _parent(self) -> int:
        current: int = getattr(self._current, "call", 0)
        if current:
            return current
        served = _channel.serving.get()
        while served is not None:
            core, call, served = served
            if core is self:
                return call
        return 0

    def call(
        self,
        kind: int,
        hook: int,
        payload: Any,
        context: Any = None,
        timeout_ns: int = 0,
        scope: object = None,
    ) -> Any:
        """Make a call and wait for its reply."""
        until = time.monotonic() + timeout_ns / 1e9 if timeout_ns else None
        call, waiter = self._begin(kind, scope, until, None)
        try:
            self._send(
                *(kind, call, payload),
                hook=hook,
                context=context,
                deadline_ns=timeout_ns,
                parent=self._parent(),
            )
            self._await(waiter, until)
        except BaseException:
            self.give_up(call)
            raise
        if isinstance(waiter.outcome, BaseException):
            raise waiter.outcome
        return waiter.outcome

    def _await(self, waiter: _Waiter, until: float | None) -> None:
        """Wait for the reply; serve meanwhile what the peer asks in the course of the call."""
        while waiter.outcome is None:
            with self._changed:
                while waiter.outcome is None and not waiter.nested:
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        raise self._explain(_channel.TIMEOUT, 0)
                    self._changed.wait(left)
            while waiter.nested:
                self._hand("nested", waiter.nested.popleft())

    def start(
        self,
        kind: int,
        hook: int,
        payload: Any,
        context: Any = None,
        timeout_ns: int = 0,
        scope: object = None,
    ) -> Any:
        """Make a call from the attached loop; returns a future and the call's id.

        When the time is over, the call is given up and its future ends.
        """
        if self.attached is None:
            raise RuntimeError("no event loop is attached")
        future = self.attached.create_future()
        call, _ = self._begin(kind, scope, None, future)
        try:
            self._send(
                *(kind, call, payload),
                hook=hook,
                context=context,
                deadline_ns=timeout_ns,
                parent=self._parent(),
            )
        except BaseException:
            self._waiters.pop(call, None)
            future.cancel()
            raise
        if timeout_ns:
            timer = self.attached.call_later(timeout_ns / 1e9, self._expire, future, call)
            future.add_done_callback(lambda _: timer.cancel())
        return future, call

    def _expire(self, future: asyncio.Future[Any], call: int) -> None:
        self.give_up(call)
        _channel.settle(future, self._explain(_channel.TIMEOUT, 0))

    def give_up(self, call: int) -> None:
        """Abandon a call: the peer is told, its answer will be dropped."""
        with self._changed:
            waiter = self._waiters.get(call)
            if waiter is None or waiter.abandoned or self.end_status:
                return
            waiter.abandoned = True
            # What the peer asked in its course is given up as well: its answer is of no use.
            asked = [each for each in self._requests.values() if each.parent == call]
        for request in asked:
            request.cancelled = True
            self._hand("cancel", request)
        try:
            self._send(_CANCEL, call, b"")
        except OSError:
            return  # The channel has ended, and everybody knows why.

    def answer(
        self, request: Any, kind: int, payload: Any, flags: int = 0, context: Any = None
    ) -> bool:
        """Answer a request of the peer; False when the channel has ended."""
        if request.answered:
            raise ValueError("the request was answered already")
        if self.end_status:
            return False
        try:
            self._send(kind, request.call, payload, flags=flags, context=context)
        except ConnectionError:
            return False
        request.answered = True
        self._requests.pop(request.call, None)
        return True

    def log(self, payload: Any) -> bool:
        """Send a log line; False when the channel has ended."""
        if self.end_status:
            return False
        try:
            self._send(_LOG, 0, payload)
        except ConnectionError:
            return False
        return True

    # ---- Receiving ----

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._stream.read(min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _read(self) -> None:
        status, errno = _channel.CLOSED, 0
        try:
            while not self.end_status:
                header = _HEADER.unpack(self._exactly(_HEADER.size))
                self._check(*header)
                self._take(header, self._exactly(header[0]))
        except EOFError:
            status = _channel.CLOSED
        except OSError as err:
            errno = err.errno or 0
        except _Breach as err:
            status = err.status
        self.end(status, errno)
        self._stream.close()

    def _check(self, length: int, kind: int, flags: int, hook: int, call: int) -> None:
        rule = _RULES.get(kind)
        if rule is None:
            raise _Breach(_BAD_KIND)
        if flags & ~rule[0]:
            raise _Breach(_BAD_FLAGS)
        if (call != 0) != rule[1] or (hook != 0) != rule[2]:
            raise _Breach(_BAD_CALL)
        if length > self._max_len or (length and not rule[3]):
            raise _Breach(_BAD_LENGTH)

    def _split(self, flags: int, body: bytes) -> tuple[int, int, bytes | None, bytes]:
        deadline = parent = 0
        context = None
        try:
            if flags & _DEADLINE:
                (deadline,), body = struct.unpack_from("<Q", body), body[8:]
            if flags & _PARENT:
                (parent,), body = struct.unpack_from("<Q", body), body[8:]
            if flags & _CONTEXT:
                (size,), body = struct.unpack_from("<I", body), body[4:]
                if size > len(body):
                    raise _Breach(_BAD_LENGTH)
                context, body = body[:size], body[size:]
        except struct.error:
            raise _Breach(_BAD_LENGTH) from None
        if (flags & _DEADLINE and not deadline) or (flags & _UNCHANGED and body):
            raise _Breach(_BAD_LENGTH)
        if flags & _PARENT and not parent:
            raise _Breach(_BAD_CALL)
        return deadline, parent, context, body

    def _take(self, header: tuple[int, int, int, int, int], body: bytes) -> None:
        _, kind, flags, hook, call = header
        deadline, parent, context, payload = self._split(flags, body)
        if self._hostile:
            for part in (payload, context):
                if part and not _channel.scan(part, *self._scan):
                    raise _Breach(_BAD_PAYLOAD)
        if kind in {_RESPONSE, _RESULT, _ERROR}:
            self._take_answer(kind, call, (kind, flags, context, payload))
        elif kind in {_REQUEST, _CALL}:
            request = StreamRequest(kind, hook, call)
            request.deadline_ns, request.parent = deadline, parent
            request.context, request.payload = context, payload
            self._take_request(request)
        elif kind == _CANCEL:
            found = self._requests.get(call)
            if found is not None:
                found.cancelled = True
                self._hand("cancel", found)
        else:
            self._hand("log", payload)

    def _take_answer(self, kind: int, call: int, reply: Any) -> None:
        with self._changed:
            waiter = self._waiters.get(call)
            if waiter is None or kind not in {_ERROR, waiter.kind + 1}:
                raise _Breach(_channel.BAD_ANSWER)
            del self._waiters[call]
            if not waiter.abandoned:
                self._finish(waiter, reply)
            self._changed.notify_all()

    def _finish(self, waiter: _Waiter, outcome: Any) -> None:
        waiter.outcome = outcome
        loop = self.attached
        if waiter.future is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(_channel.settle, waiter.future, outcome)

    def _take_request(self, request: StreamRequest) -> None:
        with self._changed:
            if len(self._requests) >= self._most_requests:
                raise _Breach(_channel.BAD_FLOOD)
            if request.call in self._requests:
                raise _Breach(_BAD_CALL)
            self._requests[request.call] = request
            waiter = self._waiters.get(request.parent)
            if waiter is not None and not waiter.abandoned:
                request.scope = waiter.scope
                if waiter.future is None and self._on.get("nested") is not None:
                    waiter.nested.append(request)
                    self._changed.notify_all()
                    return
            if self._on.get("request") is None:
                self._backlog.append(request)
                self._changed.notify_all()
                return
        loop = self.attached
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._hand, "request", request)
        else:
            # It may call the peer and wait, which the thread that reads must not.
            threading.Thread(target=self._hand, args=("request", request), daemon=True).start()

    def _hand(self, name: str, *arguments: Any) -> None:
        handler = self._on.get(name)
        if handler is not None:
            handler(*arguments)

    # ---- Serving ----

    def receive(self, *, timeout_ns: int = 0) -> StreamRequest | None:
        """Wait for a request of the peer; None when the time ran out."""
        with self._changed:
            while not self._backlog:
                if self.end_status:
                    raise self._explain(self.end_status, self.end_errno)
                if not self._changed.wait(timeout_ns / 1e9 if timeout_ns else None):
                    return None
            return self._backlog.popleft()

    def poll(self) -> StreamRequest | None:
        """Return the next request, or None; everything else is handed out by the reader."""
        return self._backlog.popleft() if self._backlog else None

    def serve(
        self, handlers: dict[int, Any], other: Callable[[Any], bool], unusual: Callable[..., object]
    ) -> None:
        """Run handlers for the peer's calls until `other` returns true."""
        while True:
            request = self.receive()
            if request is None:
                continue
            served = handlers.get(request.hook) if request.kind == _CALL else None
            if served is not None and not served.is_async:
                self.run_handler(request, served, unusual)
            elif other(request):
                return

    def run_handler(self, request: Any, served: Any, unusual: Callable[..., object]) -> None:
        """Run a sync handler and answer its call."""
        before = getattr(self._current, "call", 0)
        self._current.call = request.call
        try:
            value = served.decode(request.payload)
            context = None
            if served.context is None:
                result = _finished(served, served.function(value))
            else:
                token = served.context.begin(request.context)
                try:
                    result = _finished(served, served.function(value))
                finally:
                    context = served.context.end(token)
            if result is None:
                self.answer(request, _RESULT, b"", _UNCHANGED, context)
            elif type(result) is served.special:
                unusual(request, served, result, context)
            else:
                self.answer(request, _RESULT, served.encode(result), 0, context)
        except Exception as err:  # noqa: BLE001 - the caller is told
            unusual(request, served, err, None)
        finally:
            self._current.call = before

    # ---- Loop and end ----

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let answers and requests be handed out on this loop."""
        self.attached = loop

    def detach(self) -> None:
        """Let go of the loop."""
        self.attached = None

    def end(self, status: int, error: int = 0) -> None:
        """End the channel with a status; idempotent."""
        with self._changed:
            if self.end_status:
                return
            self.end_status, self.end_errno = status, error
            waiters, self._waiters = self._waiters, {}
            self._requests.clear()
            for waiter in waiters.values():
                if not waiter.abandoned:
                    self._finish(waiter, self._explain(status, error))
            self._changed.notify_all()
        self._stream.cancel()
        self._hand("end", status, error)

    @property
    def pending(self) -> int:
        """Number of calls that have no answer yet, those that wait for their turn among them."""
        return len(self._waiters) + self._turn

    @property
    def abandoned(self) -> int:
        """Number of calls that were given up and have no answer yet."""
        return sum(waiter.abandoned for waiter in tuple(self._waiters.values()))

    @property
    def serving(self) -> int:
        """Number of requests of the peer that have no answer yet."""
        return len(self._requests)

    @property
    def stats(self) -> dict[str, int]:
        """Nothing is counted here."""
        return {}


def _finished(served: Any, result: Any) -> Any:
    return served.finish(result) if hasattr(result, "__await__") else result
