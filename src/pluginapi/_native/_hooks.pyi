from collections.abc import Callable, Coroutine, Generator
from types import GenericAlias
from typing import Any, Generic, Never, Self, TypeVar, final

from typing_extensions import disjoint_base

from pluginapi._native import _abi

_T_co = TypeVar("_T_co", covariant=True)

@disjoint_base
class Handler:
    hook: str
    function: Callable[..., Any]
    owner: str | None
    priority: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    sequence: int
    deadline: float
    wrapper: bool
    def __init__(
        self,
        hook: str,
        function: Callable[..., Any],
        owner: str | None,
        priority: int,
        before: tuple[str, ...] = (),
        after: tuple[str, ...] = (),
        sequence: int = 0,
        target: Callable[..., Any] | None = None,
        names: tuple[str, ...] = (),
        takes_value: bool = True,
        wrapper: bool = False,
        deadline: float = 0,
        account: int = 0,
    ) -> None: ...
    def counted(self) -> tuple[int, int, int, int]: ...
    def took(self) -> tuple[int, ...]: ...
    def count_error(self) -> None: ...

@disjoint_base
class Native:
    native: _abi.Handler
    def __init__(
        self,
        handler: _abi.Handler,
        encode: Callable[[Any], bytes],
        stop: Callable[[Any], Any],
    ) -> None: ...
    def returns(self, annotation: Any) -> None: ...
    def run(self, value: Any) -> Any: ...

@disjoint_base
class Meter:
    observer: Callable[[str | None, str, int], object] | None
    def watch(
        self, observer: Callable[[str | None, str, int], object] | None, at_least_ns: int
    ) -> None: ...

@disjoint_base
class Plan:
    spec: Any
    handlers: tuple[Any, ...]
    rest: Any
    recorded: bool
    meter: Meter
    def __new__(
        cls,
        spec: object,
        handlers: tuple[Handler, ...],
        meter: Meter,
        mode: int,
        policy: int,
        timed: bool,
        takes: tuple[type, ...] | None,
        returns: tuple[type, ...] | None,
        rest: object = None,
        recorded: bool = False,
    ) -> Self: ...
    def __len__(self) -> int: ...
    def start(self, value: Any) -> Any: ...
    def start_one(self, index: int, value: Any) -> Any: ...

@disjoint_base
class HookCore:
    _plan: Plan | None
    _entries: tuple[Any, ...]
    def call(self, value: Any) -> Any: ...
    def start(self, value: Any) -> Any: ...

@final
class PendingCall(Coroutine[Any, Any, _T_co], Generic[_T_co]):
    def __init__(self, *args: Never) -> None: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> PendingCall[_T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...
    @classmethod
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...

_K = TypeVar("_K", bound=type[HookCore])

def adopt(kind: _K) -> _K: ...
def connect(stop: type, allowed: object) -> None: ...
def count_memory(entrance: object) -> None: ...
def compiled(
    spec: object,
    handlers: tuple[Handler, ...],
    meter: Meter,
    mode: int,
    policy: int,
    timed: bool,
    takes: tuple[type, ...] | None,
    returns: tuple[type, ...] | None,
    recorded: bool = False,
) -> Plan: ...
def latency_bounds() -> tuple[float, ...]: ...
def takes_one_argument(function: object) -> bool: ...
def holds(entries: tuple[Any, ...], owner: str | None, function: object) -> bool: ...
def inserted(entries: tuple[Any, ...], entry: Handler) -> tuple[Any, ...] | None: ...
def exchange(
    hook: HookCore,
    before: tuple[Any, ...],
    after: tuple[Any, ...],
    targets: list[HookCore],
    plans: list[Plan | None],
) -> bool: ...
