"""Hooks whose past calls are given to handlers that come late."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from pluginapi.errors import HookError, HookTypeError
from pluginapi.hooks import ErrorPolicy, Hook, HookMode, HookRegistry


def define(registry: HookRegistry, history: int = 10, **options: Any) -> Hook[int, None]:
    return registry.define("h", int, mode=HookMode.NOTIFY, history=history, **options)


def test_a_late_handler_gets_past_calls_in_order_and_then_the_new_ones() -> None:
    hook = define(HookRegistry())
    early: list[int] = []
    hook.register(early.append)
    for n in range(3):
        hook.call(n)
    late: list[int] = []
    hook.register(late.append)
    assert late == [0, 1, 2]
    hook.call(3)
    assert early == late == [0, 1, 2, 3]


def test_the_history_is_bounded() -> None:
    hook = define(HookRegistry(), history=2)
    for n in range(5):
        hook.call(n)
    late: list[int] = []
    hook.register(late.append)
    assert late == [3, 4]
    assert hook.history == 2


def test_calls_of_the_wrong_type_are_not_remembered() -> None:
    hook = define(HookRegistry())
    with pytest.raises(HookTypeError, match="takes int"):
        hook.call("1")  # type: ignore[arg-type]
    late: list[int] = []
    hook.register(late.append)
    assert late == []


def test_a_plugin_that_registers_while_it_is_paused_gets_them_when_it_resumes() -> None:
    registry = HookRegistry()
    hook = define(registry)
    hook.call(0)
    registry.pause_owner("a")
    late: list[int] = []
    hook.register(late.append, owner="a")
    hook.call(1)
    assert late == []
    registry.resume_owner("a")
    assert late == [0, 1]
    registry.pause_owner("a")
    hook.call(2)
    registry.resume_owner("a")
    assert late == [0, 1], "what a plugin passed over while it was paused is gone"


async def test_async_handlers_get_past_calls_one_after_the_other() -> None:
    hook = define(HookRegistry())
    for n in range(3):
        await hook(n)
    seen: list[tuple[str, int]] = []
    done = asyncio.Event()

    async def late(n: int) -> None:
        seen.append(("in", n))
        await asyncio.sleep(0)
        seen.append(("out", n))
        if n == 2:
            done.set()

    hook.register(late)
    async with asyncio.timeout(10):
        await done.wait()
    assert seen == [(what, n) for n in range(3) for what in ("in", "out")]


async def test_a_failure_in_a_task_of_its_own_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hook = define(HookRegistry())
    await hook(1)

    async def late(_: int) -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    hook.register(late, owner="acme")
    async with asyncio.timeout(10):
        while not caplog.records:  # noqa: ASYNC110 - a log record is no event
            await asyncio.sleep(0)
    assert caplog.records[0].levelno == logging.ERROR
    assert "'acme'" in caplog.records[0].getMessage()


async def test_closing_the_registry_cancels_what_still_waits() -> None:
    registry = HookRegistry()
    hook = define(registry)
    await hook(1)
    ended = asyncio.Event()

    async def late(_: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    hook.register(late)
    await asyncio.sleep(0)
    registry.close()
    async with asyncio.timeout(10):
        await ended.wait()


@pytest.mark.parametrize("policy", [ErrorPolicy.RAISE, ErrorPolicy.COLLECT])
def test_a_handler_that_fails_on_a_past_call_is_not_registered(policy: ErrorPolicy) -> None:
    registry = HookRegistry()
    hook = define(registry, on_error=policy)
    hook.call(1)
    with pytest.raises((ValueError, ExceptionGroup)):
        hook.register(lambda n: int("x"), owner="acme")
    assert len(hook) == 0


def test_an_isolated_failure_on_a_past_call_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hook = define(HookRegistry(), on_error=ErrorPolicy.ISOLATE)
    hook.call(0)
    hook.call(1)
    seen: list[int] = []

    def late(n: int) -> None:
        seen.append(n)
        raise ValueError("broken")

    hook.register(late)
    assert seen == [0, 1]
    assert len(caplog.records) == 2
    assert len(hook) == 1


def test_a_handler_that_waits_without_an_event_loop_is_refused() -> None:
    hook = define(HookRegistry())
    hook.call(1)

    async def late(_: int) -> None:
        await asyncio.sleep(0)

    with pytest.raises(HookError) as caught:
        hook.register(late)
    assert caught.value.code == "hook.suspended"
    assert len(hook) == 0


def test_every_handler_gets_every_call_once_whatever_threads_do() -> None:
    registry = HookRegistry()
    hook = define(registry, history=100_000)
    handlers: list[list[int]] = []
    start = threading.Barrier(3)

    def call(first: int) -> None:
        start.wait(30)
        for n in range(first, first + 2000):
            hook.call(n)

    def register() -> None:
        start.wait(30)
        for _ in range(30):
            seen: list[int] = []
            handlers.append(seen)
            hook.register(seen.append)

    threads = [
        threading.Thread(target=call, args=(0,)),
        threading.Thread(target=call, args=(2000,)),
        threading.Thread(target=register),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(handlers) == 30
    for seen in handlers:
        assert sorted(seen) == list(range(4000))


@pytest.mark.parametrize("history", [-1, 1.5, True, None])
def test_a_history_that_is_no_number_is_refused(history: Any) -> None:
    with pytest.raises(HookTypeError, match="not a number of calls"):
        define(HookRegistry(), history=history)


def test_only_notify_hooks_have_history() -> None:
    with pytest.raises(HookTypeError, match="mode is collect"):
        HookRegistry().define("h", int, mode=HookMode.COLLECT, history=1)
