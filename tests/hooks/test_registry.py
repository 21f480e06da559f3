from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks import (
    ErrorPolicy,
    HookExecutionError,
    HookMode,
    HookPriority,
    HookRegistry,
    StopChain,
    define_standard_hooks,
)
from pluginapi.http import HttpRequest, HttpResponse


class Uncheckable(Protocol):
    def method(self) -> None: ...


def double(n: int) -> int:
    return n * 2


def fail(_: object) -> None:
    raise ValueError("broken")


class Plugin:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_hook(self, n: int) -> int:
        self.seen.append(n)
        return n + 1


def code_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(HookError) as caught:
        attempt()
    assert caught.value.hint
    return caught.value.code


def test_the_same_definition_twice_gives_the_same_hook() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int | str)
    assert registry.define("h", int, int | str) is hook
    assert registry.hook("h") is hook
    assert (hook.input_type, hook.output_type) == (int, int | str)


@pytest.mark.parametrize(
    "options",
    [
        {"input_type": str},
        {"output_type": str},
        {"mode": HookMode.NOTIFY},
        {"on_error": ErrorPolicy.ISOLATE},
    ],
)
def test_a_different_definition_is_refused(options: dict[str, Any]) -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    changed: dict[str, Any] = {"input_type": int, "output_type": int, **options}
    assert code_of(lambda: registry.define("h", **changed)) == "hook.redefined"
    assert (hook.mode, hook.on_error) == (HookMode.CHAIN, ErrorPolicy.RAISE)
    assert (hook.input_type, hook.output_type) == (int, int)


def test_handlers_may_wait_for_their_hook_to_be_defined() -> None:
    registry = HookRegistry()
    registry.register("h", 200, double, owner="acme")
    assert registry.call("h", "ab") == "abab"
    (info,) = registry.get_hooks()
    assert not info.defined
    hook = registry.define("h", int, int)
    assert hook.call(2) == 4
    (info,) = registry.get_hooks()
    assert info.defined
    assert info.handlers[0].owner == "acme"
    with pytest.raises(HookTypeError):
        registry.call("h", "ab")


@pytest.mark.parametrize("name", ["", "1st", "a b", "a\n", "ä", "x" * 129, None, b"h"])
def test_names_that_could_harm_a_log_are_refused(name: Any) -> None:
    registry = HookRegistry()
    assert code_of(lambda: registry.define(name)) == "hook.name"
    assert code_of(lambda: registry.register(name, 0, double)) == "hook.name"


@pytest.mark.parametrize("name", ["_", "on_request", "acme.auth:Check-2", "x" * 128])
def test_other_names_are_fine(name: str) -> None:
    assert HookRegistry().define(name).name == name


@pytest.mark.parametrize("annotation", [TypeVar("T"), "int", 3, Uncheckable])
def test_types_that_cannot_be_checked_are_refused(annotation: Any) -> None:
    with pytest.raises(HookTypeError, match="cannot be"):
        HookRegistry().define("h", annotation)


def test_an_unknown_hook_is_an_error_that_suggests_close_names() -> None:
    registry = HookRegistry()
    registry.define("on_request")
    with pytest.raises(HookError) as caught:
        registry.hook("on_requset")
    assert caught.value.code == "hook.unknown"
    assert "'on_request'" in str(caught.value.hint)
    assert code_of(lambda: registry.get_hooks("nothing")) == "hook.unknown"
    assert code_of(lambda: registry.call("nothing", 1)) == "hook.unknown"
    assert code_of(lambda: registry.unregister("nothing", double)) == "hook.unknown"


# Signatures


def no_arguments() -> None: ...
def two_arguments(a: int, b: int) -> None: ...
def keyword_only(*, value: int) -> None: ...
def required_keyword(value: int, *, other: int) -> None: ...
def generator(value: int) -> Iterator[int]:
    yield value


async def async_generator(value: int) -> AsyncIterator[int]:
    yield value


class CallableGenerator:
    def __call__(self, value: int) -> Iterator[int]:
        yield value


@pytest.mark.parametrize(
    "handler",
    [no_arguments, two_arguments, keyword_only, required_keyword, Plugin.on_hook],
)
def test_a_handler_must_take_one_positional_argument(handler: Any) -> None:
    with pytest.raises(HookTypeError) as caught:
        HookRegistry().register("h", 0, handler, owner="acme")
    message = str(caught.value)
    assert handler.__qualname__ in message
    assert "one argument" in message
    assert caught.value.plugin == "acme"


@pytest.mark.parametrize(
    "handler",
    [generator, async_generator, CallableGenerator(), functools.partial(generator)],
)
def test_generator_functions_are_refused(handler: Any) -> None:
    with pytest.raises(HookTypeError, match="generator function"):
        HookRegistry().register("h", 0, handler)


@pytest.mark.parametrize("handler", [None, 3, "f"])
def test_what_cannot_be_called_is_refused(handler: Any) -> None:
    with pytest.raises(HookTypeError, match="cannot be called"):
        HookRegistry().register("h", 0, handler)


@pytest.mark.parametrize(
    "handler",
    [
        double,
        Plugin().on_hook,
        functools.partial(two_arguments, 1),
        lambda *values: None,
        lambda value, other=None: None,
        [].append,
        dict,  # A built-in class without a signature.
    ],
)
def test_everything_else_with_one_argument_is_accepted(handler: Any) -> None:
    registry = HookRegistry()
    registry.register("h", 0, handler)
    assert len(registry.hook("h")) == 1


# Registration and removal


def test_the_same_handler_twice_is_refused_per_owner_and_hook() -> None:
    registry = HookRegistry()
    plugin, other = Plugin(), Plugin()
    registry.register("h", 0, plugin.on_hook, owner="a")
    assert code_of(lambda: registry.register("h", 9, plugin.on_hook, owner="a")) == "hook.duplicate"
    registry.register("h", 0, plugin.on_hook, owner="b")
    registry.register("h", 0, plugin.on_hook)
    registry.register("h", 0, other.on_hook, owner="a")
    registry.register("g", 0, plugin.on_hook, owner="a")
    assert len(registry.hook("h")) == 4


def test_unregister_by_callable_or_by_registration() -> None:
    registry = HookRegistry()
    plugin = Plugin()
    registry.register("h", 0, plugin.on_hook, owner="a")
    entry = registry.hook("h").register(double)
    assert registry.call("h", 1) == 4
    wrong_owner = lambda: registry.unregister("h", plugin.on_hook)  # noqa: E731 - a case
    assert code_of(wrong_owner) == "hook.not_registered"
    registry.unregister("h", plugin.on_hook, owner="a")
    assert registry.call("h", 1) == 2
    registry.hook("h").unregister(entry)
    assert registry.call("h", 1) == 1
    assert code_of(lambda: registry.unregister("h", entry)) == "hook.not_registered"


def test_remove_owner_removes_from_all_hooks() -> None:
    registry = HookRegistry()
    for name in ("g", "h"):
        registry.register(name, 0, double, owner="a")
        registry.register(name, 0, double, owner="b")
    assert registry.remove_owner("a") == 2
    assert registry.remove_owner("a") == 0
    assert {item.owner for item in registry.stats()} == {"b"}


def test_a_paused_owner_is_passed_over_until_it_resumes() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    hook.register(double, owner="a")
    hook.register(lambda n: n + 1, owner="b")
    registry.pause_owner("a")
    registry.pause_owner("a")
    hook.register(lambda n: n + 100, owner="a", priority=0)
    assert registry.is_paused("a")
    assert hook.call(1) == 2
    assert [item.paused for item in registry.get_hooks("h")[0].handlers] == [True, True, False]
    registry.resume_owner("a")
    assert not registry.is_paused("a")
    assert hook.call(1) == 203
    registry.pause_owner("a")
    registry.remove_owner("a")
    hook.register(double, owner="a")
    assert hook.call(1) == 4, "a plugin that is loaded again does not start paused"


async def test_a_running_call_keeps_its_snapshot_and_then_frees_the_plugin() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def gate(n: int) -> int:
        entered.set()
        await leave.wait()
        return n

    plugin = Plugin()
    seen = plugin.seen
    alive = weakref.ref(plugin)
    hook.register(gate)
    hook.register(plugin.on_hook, owner="acme")
    running = asyncio.create_task(registry.execute("h", 1))
    await entered.wait()
    registry.remove_owner("acme")
    del plugin
    gc.disable()
    try:
        leave.set()
        assert await registry.execute("h", 5) == 5, "a later call does not enter it"
        assert alive() is not None
        assert await running == 2
        assert seen == [1]
        del running
        assert alive() is None, "freed without the garbage collector"
    finally:
        gc.enable()


@pytest.mark.parametrize("policy", list(ErrorPolicy))
async def test_failed_calls_do_not_keep_a_plugin_alive(
    policy: ErrorPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A captured log record holds the traceback, and that the plugin.
    monkeypatch.setattr(logging.getLogger("pluginapi.hooks"), "disabled", True)
    registry = HookRegistry()
    hook = registry.define("h", int, int, on_error=policy)

    class Failing:
        def on_hook(self, _: int) -> None:
            raise ValueError("broken")

    plugin = Failing()
    alive = weakref.ref(plugin)
    hook.register(plugin.on_hook, owner="acme")
    gc.disable()
    try:
        try:
            await hook(1)
        except* ValueError:
            assert policy is not ErrorPolicy.ISOLATE
        registry.remove_owner("acme")
        del plugin
        assert alive() is None
    finally:
        gc.enable()


def test_a_handler_that_calls_back_when_it_is_freed_does_not_lock_up() -> None:
    registry = HookRegistry()

    class CallsBack(Plugin):
        def __del__(self) -> None:
            registry.register("freed", 0, double)

    registry.register("h", 0, CallsBack().on_hook, owner="acme")
    done = threading.Thread(target=registry.remove_owner, args=("acme",), daemon=True)
    done.start()
    done.join(10)
    assert not done.is_alive()
    assert len(registry.hook("freed")) == 1


def test_a_change_from_within_a_change_is_not_lost() -> None:
    registry = HookRegistry()
    registry.register("h", 0, double, owner="leaving")

    class Owner(str):
        """An owner whose comparison runs while the registry changes."""

        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            registry.remove_owner("leaving")
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    registry.register("h", 0, Plugin().on_hook, owner=Owner("acme"))
    assert {str(item.owner) for item in registry.stats()} == {"acme"}


# By-name execution


async def test_execute_is_the_call_of_the_hook() -> None:
    registry = HookRegistry()
    registry.register("h", 0, double)
    assert await registry.execute("h", b"ab") == b"abab"
    registry.register("h", 0, fail)
    with pytest.raises(ValueError, match="broken"):
        await registry.execute("h", b"ab")


async def test_execute_until_error_returns_all_results() -> None:
    registry = HookRegistry()
    registry.register("h", 0, double)
    registry.register("h", 1, lambda n: None)
    registry.register("h", 2, lambda n: n + 1)
    assert await registry.execute_until_error("h", 1) == [2, None, 3]
    assert await registry.execute_until_error("h", 5) == [10, None, 11]


@pytest.mark.parametrize("policy", list(ErrorPolicy))
async def test_execute_until_error_stops_and_keeps_the_results(policy: ErrorPolicy) -> None:
    registry = HookRegistry()
    registry.define("h", int, int, on_error=policy)
    registry.register("h", 0, double)
    registry.register("h", 1, fail, owner="acme")
    registry.register("h", 2, lambda n: pytest.fail("ran after an error"))
    with pytest.raises(HookExecutionError) as caught:
        await registry.execute_until_error("h", 1)
    assert caught.value.results == (2,)
    assert caught.value.plugin == "acme"
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("policy", list(ErrorPolicy))
async def test_execute_all_runs_all(policy: ErrorPolicy) -> None:
    registry = HookRegistry()
    registry.define("h", int, int, on_error=policy)
    registry.register("h", 0, double)
    registry.register("h", 1, fail, owner="acme")
    registry.register("h", 2, lambda n: StopChain(n + 1), owner="last")
    registry.register("h", 3, lambda n: pytest.fail("ran after the final result"))
    first, second, third = await registry.execute_all("h", 1)
    assert (first.value, first.ok, first.final) == (2, True, False)
    assert (second.owner, second.ok, second.value) == ("acme", False, None)
    assert isinstance(second.error, ValueError)
    assert (third.owner, third.value, third.final) == ("last", 3, True)


# Statistics


def burn() -> None:
    sum(range(200_000))


async def test_stats_count_calls_errors_and_time() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int, on_error=ErrorPolicy.ISOLATE)

    async def busy(n: int) -> int:
        burn()
        await asyncio.sleep(0)
        burn()
        return n

    async def sleepy(n: int) -> int:
        await asyncio.sleep(0.05)
        return n

    hook.register(busy, owner="a")
    hook.register(sleepy, owner="b")
    hook.register(fail, owner="b", priority=HookPriority.LOW)
    for n in range(3):
        await hook(n)
    working, sleeping, failing = registry.stats()
    assert (working.calls, working.errors, working.hook) == (3, 0, "h")
    assert working.wall_ns >= working.cpu_ns > 0
    assert sleeping.wall_ns >= 3 * 45_000_000
    assert sleeping.cpu_ns < sleeping.wall_ns / 2, "suspended time is not CPU time"
    assert (failing.calls, failing.errors, failing.priority) == (3, 3, 300)
    assert registry.stats("a") == [working]
    assert [item.handler for item in registry.stats("b")] == [sleeping.handler, failing.handler]


async def test_the_observer_hears_of_every_handler_call() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int, on_error=ErrorPolicy.ISOLATE)
    heard: list[tuple[str | None, str, int]] = []

    def observe(owner: str | None, name: str, cpu_ns: int) -> None:
        heard.append((owner, name, cpu_ns))

    registry.on_cpu_time = observe
    assert registry.on_cpu_time is observe
    hook.register(lambda n: burn(), owner="a")
    hook.register(fail)
    await hook(1)
    assert [item[:2] for item in heard] == [("a", "h"), (None, "h")]
    assert heard[0][2] == registry.stats("a")[0].cpu_ns
    registry.on_cpu_time = None
    await hook(1)
    assert len(heard) == 2


async def test_an_observer_that_fails_does_not_harm_the_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = HookRegistry()
    registry.register("h", 0, double)
    registry.on_cpu_time = lambda owner, name, cpu_ns: fail(owner)
    assert await registry.execute("h", 1) == 2
    assert "observer failed" in caplog.text


# Scopes of plugins and predefined hooks


async def test_a_scope_fills_in_the_owner_and_ends_with_the_plugin() -> None:
    registry = HookRegistry()
    scope = registry.scope("acme")
    scope.register("h", 0, double)

    @scope.on("h", priority=HookPriority.LOW)
    def add(n: int) -> int:
        return n + 1

    assert add(1) == 2
    registry.register("h", 0, double)
    assert [item.owner for item in registry.stats()] == ["acme", None, "acme"]
    scope.unregister("h", double)
    assert registry.call("h", 1) == 3
    assert scope.close() == 1
    assert scope.closed
    assert scope.close() == 0
    with pytest.raises(HookError) as caught:
        scope.register("h", 0, double)
    assert (caught.value.code, caught.value.plugin) == ("hook.closed", "acme")
    registry.scope("acme").register("h", 0, double)


async def test_the_predefined_hooks() -> None:
    registry = HookRegistry()
    hooks = define_standard_hooks(registry)
    assert define_standard_hooks(registry) == hooks
    assert [item.name for item in registry.get_hooks()] == sorted(
        [
            "on_request",
            "on_response",
            "on_error",
            "on_startup",
            "on_shutdown",
            "on_plugin_load",
            "on_plugin_unload",
        ]
    )
    request = HttpRequest("GET", "/")
    assert await hooks.on_request(request) is request
    refusal = HttpResponse(403)
    hooks.on_request.register(lambda _: refusal)
    hooks.on_request.register(lambda _: pytest.fail("ran after the response"))
    assert await hooks.on_request(request) is refusal


async def test_http_hooks_fail_closed_unless_told_otherwise() -> None:
    for policy, answers in ((ErrorPolicy.RAISE, False), (ErrorPolicy.ISOLATE, True)):
        registry = HookRegistry()
        hooks = define_standard_hooks(registry, on_http_error=policy)
        hooks.on_request.register(fail)
        request = HttpRequest("GET", "/")
        if answers:
            assert await hooks.on_request(request) is request
        else:
            with pytest.raises(ValueError, match="broken"):
                await hooks.on_request(request)


def test_a_registration_is_made_once() -> None:
    entry = HookRegistry().register("h", 0, double)
    with pytest.raises(TypeError, match="made once"):
        entry.__init__("h", double, None, 0)  # type: ignore[misc]


def test_representations_name_what_they_stand_for() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int | None)
    entry = hook.register(double, owner="acme")
    assert repr(hook) == "<Hook 'h' (chain, raise): int -> int | None, 1 handlers>"
    assert repr(entry) == "<handler double of plugin 'acme' on hook 'h', priority 200>"
    assert registry.define("empty")
