from __future__ import annotations

import logging
from typing import Any

import pytest

from pluginapi.errors import HookTypeError
from pluginapi.hooks import ErrorPolicy, HookMode, HookRegistry, StopChain, Veto, VetoResult


def fail(_: object) -> None:
    raise ValueError("broken")


async def test_chain_feeds_the_output_of_one_handler_to_the_next() -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(lambda n: n + 1)
    hook.register(lambda n: n * 10)
    assert await hook(1) == 20
    assert hook.call(1) == 20


async def test_chain_of_no_handlers_answers_the_value() -> None:
    assert await HookRegistry().define("h", int, int)(7) == 7


async def test_none_leaves_the_value_of_a_chain_as_it_is() -> None:
    hook = HookRegistry().define("h", int, int)
    seen: list[int] = []
    hook.register(lambda n: n + 1)
    hook.register(lambda n: None)
    hook.register(seen.append)
    assert await hook(1) == 2
    assert seen == [2]


@pytest.mark.parametrize(
    ("mode", "stop", "answer"),
    [
        (HookMode.CHAIN, StopChain(5), 5),
        (HookMode.CHAIN, StopChain(None), 1),
        (HookMode.NOTIFY, StopChain("ignored"), None),
        (HookMode.COLLECT, StopChain(5), [5]),
        (HookMode.COLLECT, StopChain(None), []),
        (HookMode.FIRST, StopChain(5), 5),
        (HookMode.FIRST, StopChain(None), None),
        (HookMode.VETO, StopChain(None), VetoResult(allowed=True)),
        (HookMode.VETO, StopChain(Veto("no")), VetoResult(False, "a", "stopper", "no")),
    ],
)
async def test_stop_chain_ends_the_call_in_every_mode(
    mode: HookMode, stop: StopChain[Any], answer: object
) -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int, mode=mode)
    seen: list[int] = []

    def stopper(_: int) -> StopChain[Any]:
        return stop

    stopper.__qualname__ = "stopper"
    hook.register(stopper, owner="a")
    hook.register(seen.append)
    assert await hook(1) == answer
    assert seen == []
    registry.unregister("h", stopper, owner="a")
    await hook(1)
    assert seen == [1]


async def test_a_result_that_only_the_output_type_admits_is_final() -> None:
    hook = HookRegistry().define("h", int, int | str)
    hook.register(lambda n: n + 1)
    hook.register(lambda n: f"final {n}")
    hook.register(lambda n: pytest.fail("ran after the final result"))
    assert await hook(1) == "final 2"


async def test_notify_gives_every_handler_the_same_value_and_answers_none() -> None:
    hook = HookRegistry().define("h", int, mode=HookMode.NOTIFY)
    seen: list[int] = []

    def record(n: int) -> str:
        seen.append(n)
        return "ignored"

    hook.register(record)
    hook.register(seen.append)
    result: Any = await hook(3)  # type: ignore[func-returns-value]
    assert result is None
    assert seen == [3, 3]


async def test_collect_answers_the_results_that_are_not_none() -> None:
    hook = HookRegistry().define("h", int, str, mode=HookMode.COLLECT)
    hook.register(lambda n: f"a{n}")
    hook.register(lambda n: None)
    hook.register(lambda n: f"b{n}")
    assert await hook(1) == ["a1", "b1"]


async def test_first_stops_at_the_first_result() -> None:
    hook = HookRegistry().define("h", int, str, mode=HookMode.FIRST)
    hook.register(lambda n: None)
    assert await hook(1) is None
    hook.register(lambda n: "found")
    hook.register(lambda n: pytest.fail("ran after a result was found"))
    assert await hook(1) == "found"


@pytest.mark.parametrize(
    ("objection", "reason"), [(Veto("too big"), "too big"), (Veto(), ""), (False, "")]
)
async def test_veto_names_who_objected_and_why(objection: object, reason: str) -> None:
    hook = HookRegistry().define("h", int, mode=HookMode.VETO)
    hook.register(lambda n: None, owner="a")
    hook.register(lambda n: True, owner="b")
    assert await hook(1) == VetoResult(allowed=True)
    assert await hook(1)
    handler = hook.register(lambda n: objection, owner="c")
    hook.register(lambda n: pytest.fail("asked after a veto"), owner="d")
    result = await hook(1)
    assert not result
    assert (result.by, result.handler, result.reason) == ("c", handler.name, reason)


async def test_veto_takes_only_none_bool_and_veto() -> None:
    hook = HookRegistry().define("h", int, mode=HookMode.VETO)
    hook.register(lambda n: 0)
    with pytest.raises(HookTypeError, match="returned int, not None, a bool or Veto"):
        await hook(1)


async def test_raise_propagates_the_handlers_own_exception_with_a_note() -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(fail, owner="acme")
    hook.register(lambda n: pytest.fail("ran after an error"))
    with pytest.raises(ValueError, match="broken") as caught:
        await hook(1)
    assert caught.value.__notes__ == ["raised by handler fail of plugin 'acme' on hook 'h'"]


@pytest.mark.parametrize(
    ("mode", "answer"),
    [
        (HookMode.CHAIN, 2),
        (HookMode.NOTIFY, None),
        (HookMode.COLLECT, [2]),
        (HookMode.FIRST, 2),
    ],
)
async def test_isolate_logs_counts_and_goes_on(
    mode: HookMode, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int, mode=mode, on_error=ErrorPolicy.ISOLATE)
    hook.register(fail, owner="acme")
    hook.register(lambda n: n + 1)
    assert await hook(1) == answer
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'acme'" in record.getMessage()
    assert "'h'" in record.getMessage()
    assert record.exc_info is not None
    assert [(item.calls, item.errors) for item in registry.stats()] == [(1, 1), (1, 0)]


async def test_an_isolated_failure_of_a_veto_hook_is_a_veto() -> None:
    hook = HookRegistry().define("h", int, mode=HookMode.VETO, on_error=ErrorPolicy.ISOLATE)
    hook.register(fail, owner="acme")
    assert await hook(1) == VetoResult(
        False, "acme", "fail", "the check failed: ValueError: broken"
    )


async def test_collect_policy_runs_all_and_raises_a_group() -> None:
    hook = HookRegistry().define("h", int, int, on_error=ErrorPolicy.COLLECT)
    seen: list[int] = []
    hook.register(fail, owner="a")
    hook.register(seen.append)
    hook.register(fail, owner="b")
    with pytest.raises(ExceptionGroup, match="2 handlers of hook 'h' failed") as caught:
        await hook(1)
    assert seen == [1]
    assert [type(err) for err in caught.value.exceptions] == [ValueError, ValueError]
    assert ["'a'" in err.__notes__[0] for err in caught.value.exceptions] == [True, False]


async def test_collect_policy_answers_when_nothing_failed() -> None:
    hook = HookRegistry().define("h", int, int, on_error=ErrorPolicy.COLLECT)
    hook.register(lambda n: n + 1)
    assert await hook(1) == 2


async def test_a_result_of_the_wrong_type_is_an_error_that_names_the_handler() -> None:
    registry = HookRegistry()
    hook = registry.define("h", int, int)
    hook.register(lambda n: "text", owner="acme")
    with pytest.raises(HookTypeError, match=r"plugin 'acme' .* returned str, not int") as caught:
        await hook(1)
    assert caught.value.plugin == "acme"
    assert registry.stats()[0].errors == 1


async def test_a_value_of_the_wrong_type_is_refused_before_any_handler_runs() -> None:
    hook = HookRegistry().define("h", int, int)
    hook.register(lambda n: pytest.fail("entered with a wrong value"))
    with pytest.raises(HookTypeError, match="takes int, not str"):
        await hook("1")  # type: ignore[arg-type]
    with pytest.raises(HookTypeError, match="takes int, not str"):
        hook.call("1")  # type: ignore[arg-type]
    with pytest.raises(HookTypeError, match="takes int, not str"):
        await hook.execute_all("1")  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", list(ErrorPolicy))
async def test_exceptions_outside_exception_pass_through_at_once(policy: ErrorPolicy) -> None:
    hook = HookRegistry().define("h", int, int, on_error=policy)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    hook.register(interrupt)
    hook.register(lambda n: pytest.fail("ran after an interrupt"))
    with pytest.raises(KeyboardInterrupt):
        await hook(1)
