import sys
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Never, Self, TypeAlias, final

from typing_extensions import Buffer, disjoint_base

REQUEST: int
RESPONSE: int
CALL: int
RESULT: int
ERROR: int
STOP: int
UNCHANGED: int
TIMEOUT: int
REFUSED: int
CLOSED: int
IO: int
MEMORY: int
BAD: int
BUSY: int
BAD_ANSWER: int
BAD_FLOOD: int
ENDED: int
PROTOCOL_VERSION: int
MAGIC: int
SHARED: int
CAN_SHARE: bool
ENCODE_ERRORS: tuple[type[Exception], ...]
DECODE_ERRORS: tuple[type[Exception], ...]

_Reply: TypeAlias = tuple[int, int, bytes | None, Any]

def explain(status: int) -> str: ...
def ring_bytes(capacity: int, area_capacity: int) -> int: ...
def make_memory(size: int) -> int: ...
def scan(data: Buffer, depth: int, containers: int, items: int) -> bool: ...

serving: ContextVar[tuple[Any, int, Any] | None]

def enter(channel: Any, request: Any) -> Token[Any]: ...
def leave(token: Token[Any]) -> None: ...
def settle(future: Future[Any], outcome: Any) -> None: ...

@final
class Payload:
    def __init__(self, *args: Never, **kwargs: Never) -> None: ...
    def __len__(self) -> int: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Request:
    def __init__(self, *args: Never, **kwargs: Never) -> None: ...
    @property
    def kind(self) -> int: ...
    @property
    def hook(self) -> int: ...
    @property
    def call(self) -> int: ...
    @property
    def parent(self) -> int: ...
    @property
    def deadline_ns(self) -> int: ...
    @property
    def context(self) -> bytes | None: ...
    @property
    def payload(self) -> Any: ...
    @property
    def scope(self) -> Any: ...
    @property
    def cancelled(self) -> bool: ...

@final
class Served:
    def __init__(
        self,
        function: Callable[[Any], Any],
        decode: Callable[[Any], Any],
        encode: Callable[[Any], bytes],
        *,
        finish: Callable[[Any], Any],
        context: Any = None,
        special: type | None = None,
        is_async: bool = False,
        hook: str = "",
    ) -> None: ...
    @property
    def function(self) -> Callable[[Any], Any]: ...
    @property
    def decode(self) -> Callable[[Any], Any]: ...
    @property
    def encode(self) -> Callable[[Any], bytes]: ...
    @property
    def context(self) -> Any: ...
    @property
    def special(self) -> type | None: ...
    @property
    def finish(self) -> Callable[[Any], Any]: ...
    @property
    def is_async(self) -> bool: ...
    @property
    def hook(self) -> str: ...

@final
class Channel:
    def __new__(
        cls,
        fd: int,
        memory_fd: int,
        *,
        is_host: bool,
        explain: Callable[[int, int], BaseException],
        max_len: int,
        spin_ns: int,
        in_flight: int,
        queued: int,
        requests: int,
        scan: tuple[int, int, int],
        capacity: int = 0,
        area_capacity: int = 0,
    ) -> Self: ...
    @staticmethod
    def join(
        fd: int,
        *,
        rings: bool,
        timeout_ns: int,
        explain: Callable[[int, int], BaseException],
        **options: Any,
    ) -> Channel: ...
    def watch_calls(self, capsule: object) -> None: ...
    def set_handlers(
        self,
        *,
        request: Callable[[Request], object] | None = None,
        nested: Callable[[Request], object] | None = None,
        cancel: Callable[[Request], object] | None = None,
        log: Callable[[Any], object] | None = None,
        end: Callable[[int, int], object] | None = None,
    ) -> None: ...
    def call(
        self,
        kind: int,
        hook: int,
        payload: Buffer,
        context: Buffer | None = None,
        timeout_ns: int = 0,
        scope: object = None,
    ) -> _Reply: ...
    def start(
        self,
        kind: int,
        hook: int,
        payload: Buffer,
        context: Buffer | None = None,
        timeout_ns: int = 0,
        scope: object = None,
    ) -> Any: ...
    def give_up(self, call: int) -> None: ...
    def answer(
        self,
        request: Request,
        kind: int,
        payload: Buffer,
        flags: int = 0,
        context: Buffer | None = None,
    ) -> bool: ...
    def log(self, payload: Buffer) -> bool: ...
    def receive(self, *, timeout_ns: int = 0) -> Request | None: ...
    def serve(
        self,
        handlers: dict[int, Served],
        other: Callable[[Request], bool],
        unusual: Callable[[Request, Served, Any, Any], object],
    ) -> None: ...
    def run_handler(
        self,
        request: Request,
        served: Served,
        unusual: Callable[[Request, Served, Any, Any], object],
    ) -> None: ...
    def expire(self) -> None: ...
    def ring(self) -> None: ...
    def look(self) -> None: ...
    def poll(self) -> Request | None: ...
    def attach(self, loop: AbstractEventLoop) -> None: ...
    def detach(self) -> None: ...
    def set_writer(self) -> None: ...
    def on_writable(self) -> None: ...
    def on_readable(self) -> None: ...
    def finish_release(self) -> None: ...
    def end(self, status: int, error: int = 0) -> None: ...
    @property
    def attached(self) -> AbstractEventLoop | None: ...
    @property
    def most_in_flight(self) -> int: ...
    @property
    def most_queued(self) -> int: ...
    @property
    def most_requests(self) -> int: ...
    @property
    def end_status(self) -> int: ...
    @property
    def end_errno(self) -> int: ...
    @property
    def abandoned(self) -> int: ...
    @property
    def fd(self) -> int: ...
    @property
    def shared(self) -> bool: ...
    @property
    def most_payload(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def serving(self) -> int: ...
    @property
    def stats(self) -> dict[str, int]: ...

@disjoint_base
class RemoteCall:
    def __init__(
        self,
        core: Any,
        hook: int,
        encode: Callable[[Any], bytes],
        output_type: Callable[[], Any],
        timeout_ns: int,
        context: Any,
    ) -> None: ...
    def __call__(self, value: Any) -> Any: ...
    @property
    def context(self) -> Any: ...
    @property
    def timeout_ns(self) -> int: ...
    def use(self, core: Any) -> None: ...
    def decoder(self) -> Callable[[Any], Any]: ...
