from __future__ import annotations

import importlib.util
import logging
import math
import re
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.context import ContextKey, PluginContext
from pluginapi.hooks import HookRegistry, StandardHooks, define_standard_hooks
from pluginapi.http import HttpRequest, HttpResponse

PLUGINS = Path(__file__).parents[2] / "examples" / "plugins"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PLUGINS / name / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


access_log = load("access_log")
rate_limiter = load("rate_limiter")


def start(plugin: Any, settings: dict[str, Any] | None = None) -> tuple[Any, StandardHooks]:
    """Give a plugin the life that a host gives it."""
    registry = HookRegistry()
    hooks = define_standard_hooks(registry)
    logger = logging.getLogger("test.plugin")
    logger.setLevel(logging.INFO)
    values: dict[ContextKey[Any], Any] = {ContextKey.Logger: logger}
    if settings is not None:
        values[ContextKey.Configuration] = settings
    plugin.init(PluginContext().view("plugin", values=values))
    plugin.register_hooks(registry.scope("plugin"))
    return plugin, hooks


# Access log

COMMON = re.compile(
    r'192\.0\.2\.7 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(.*)" (\d+) (\d+|-)'
)


async def exchange(hooks: StandardHooks, request: HttpRequest, status: int = 200) -> HttpResponse:
    answer = await hooks.on_request(request)
    assert answer is request
    response = HttpResponse(status, body=b"hello", request=request)
    assert await hooks.on_response(response) is response
    return response


async def test_each_exchange_is_one_line_in_the_common_log_format(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin, hooks = start(access_log.AccessLog())
    request = HttpRequest("GET", "/a", "q=1", client="192.0.2.7", request_id="1")
    await exchange(hooks, request)
    match = COMMON.fullmatch(caplog.messages[-1])
    assert match is not None
    assert match.groups() == ("GET /a?q=1 HTTP/1.1", "200", "5")
    assert plugin.latencies.total == 1


async def test_the_other_formats(caplog: pytest.LogCaptureFixture) -> None:
    request = HttpRequest(
        "GET", "/", headers=(("User-Agent", 'a"b'),), client="192.0.2.7", request_id="1"
    )
    _, hooks = start(access_log.AccessLog(), {"format": "combined", "protocol": "HTTP/2"})
    await exchange(hooks, request, 404)
    assert caplog.messages[-1].endswith(r'"GET / HTTP/2" 404 5 "-" "a\"b"')
    _, hooks = start(access_log.AccessLog(), {"format": "timed"})
    await exchange(hooks, request)
    assert re.search(r" 200 5 \d+\.\d{3}ms$", caplog.messages[-1])


@pytest.mark.parametrize("settings", [{"format": "xml"}, {"protocol": 2}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(settings))):
        start(access_log.AccessLog(), settings)


async def test_a_client_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    _, hooks = start(access_log.AccessLog())
    await exchange(
        hooks,
        HttpRequest("GET", '/" 200 1\x1b[2J\x85\u2028\\', client="a b", request_id="1"),
    )
    line = caplog.messages[-1]
    assert line.isprintable()
    assert line.isascii()
    assert line.startswith(r"a\x20b - - [")
    assert r'"GET /\" 200 1\x1b[2J\xc2\x85\xe2\x80\xa8\\ HTTP/1.1" 200 5' in line


async def test_responses_without_a_request_are_logged_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin, hooks = start(access_log.AccessLog(), {"format": "timed"})
    await hooks.on_response(HttpResponse(204))
    assert caplog.messages[-1].endswith('"-" 204 - -')
    await hooks.on_response(HttpResponse(200, request=HttpRequest("GET", "/")))
    await hooks.on_request(HttpRequest("GET", "/"))
    assert "2 without a request, 0 given up, 0 unanswered" in plugin.summary()


async def test_the_number_of_followed_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_PENDING", 3)
    plugin, hooks = start(access_log.AccessLog())
    for index in range(5):
        await hooks.on_request(HttpRequest("GET", "/", request_id=str(index)))
    assert "2 given up, 3 unanswered" in plugin.summary()
    await exchange(hooks, HttpRequest("GET", "/", request_id="4"))
    assert "1 timed" in plugin.summary()


async def test_shutdown_reports_counts_and_percentiles(caplog: pytest.LogCaptureFixture) -> None:
    plugin, hooks = start(access_log.AccessLog())
    for index, status in enumerate([200, 200, 404]):
        await exchange(hooks, HttpRequest("GET", "/", request_id=str(index)), status)
    plugin.shutdown()
    assert re.match(
        r"3 responses \(200:2 404:1\), 3 timed: p50=[\d.]+ms p90=[\d.]+ms p99=[\d.]+ms max=",
        caplog.messages[-1],
    )


@given(st.lists(st.integers(0, 2**36 - 1), min_size=1), st.sampled_from([50, 90, 99, 99.9, 100]))
def test_percentiles_are_within_a_sixtyfourth(microseconds: list[int], percent: float) -> None:
    histogram = access_log.LatencyHistogram()
    for value in microseconds:
        histogram.add((value + 0.5) / 1e6)
    rank = max(1, math.ceil(len(microseconds) * round(percent * 100) / 10_000))
    exact = sorted(microseconds)[rank - 1] / 1000
    assert histogram.percentile_ms(percent) == pytest.approx(exact, rel=1 / 64, abs=1e-9)


def test_percentiles_of_extreme_latencies() -> None:
    histogram = access_log.LatencyHistogram()
    assert histogram.percentile_ms(99) == 0
    for seconds in (-1.0, 0.0, 1e12):
        histogram.add(seconds)
    assert histogram.percentile_ms(50) == 0
    assert histogram.percentile_ms(100) == pytest.approx((2**36 - 1) / 1000, rel=1 / 64)


# Rate limiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def ask(hooks: StandardHooks, client: str) -> HttpRequest | HttpResponse:
    return await hooks.on_request(HttpRequest("GET", "/", client=client))


async def test_a_client_over_the_limit_gets_429_and_others_do_not() -> None:
    _, hooks = start(rate_limiter.RateLimiter(), {"requests_per_second": 0.01, "burst": 2})
    hooks.on_request.register(lambda request: reached.append(request.client), priority=300)
    reached: list[str] = []
    assert isinstance(await ask(hooks, "192.0.2.7"), HttpRequest)
    assert isinstance(await ask(hooks, "192.0.2.7"), HttpRequest)
    refusal = await ask(hooks, "192.0.2.7")
    assert isinstance(refusal, HttpResponse)
    assert refusal.status == 429
    assert refusal.header("retry-after") == "100"
    assert refusal.request is not None
    assert isinstance(await ask(hooks, "192.0.2.8"), HttpRequest)
    assert reached == ["192.0.2.7", "192.0.2.7", "192.0.2.8"]


def test_tokens_come_back_with_time_up_to_the_burst() -> None:
    clock = Clock()
    buckets = rate_limiter.TokenBuckets(2.0, 3, 10, clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now += 0.25
    assert buckets.take("a") == pytest.approx(0.25)
    clock.now += 0.25
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    clock.now += 1e6
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_the_number_of_clients_is_bounded_and_the_longest_unused_goes() -> None:
    clock = Clock()
    buckets = rate_limiter.TokenBuckets(1.0, 1, 2, clock)
    for client in ("a", "b", "a", "c"):
        buckets.take(client)
    assert (len(buckets), buckets.evicted) == (2, 1)
    assert buckets.take("a") > 0, "who keeps asking stays known"
    assert buckets.take("b") == 0, "b was forgotten"
    for index in range(1000):
        buckets.take(str(index))
    assert len(buckets) == 2


def test_no_more_tokens_than_the_burst_are_given_to_threads() -> None:
    buckets = rate_limiter.TokenBuckets(1.0, 50, 10, Clock())
    taken: list[float] = []

    def take() -> None:
        taken.extend(buckets.take("a") for _ in range(50))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (taken.count(0), len(taken)) == (50, 200)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_whom_an_address_counts_for(address: str, client: str) -> None:
    assert rate_limiter.client_of(address) == client


@pytest.mark.parametrize(
    "settings",
    [
        {"requests_per_second": 0},
        {"requests_per_second": math.nan},
        {"requests_per_second": "10"},
        {"burst": 0},
        {"burst": 1.5},
        {"burst": True},
        {"max_clients": 0},
    ],
)
def test_limits_out_of_bounds_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        start(rate_limiter.RateLimiter(), settings)


async def test_the_defaults_and_the_report(caplog: pytest.LogCaptureFixture) -> None:
    plugin, hooks = start(rate_limiter.RateLimiter())
    answers = [await ask(hooks, "192.0.2.7") for _ in range(30)]
    refused = sum(isinstance(answer, HttpResponse) for answer in answers)
    assert 0 < refused <= 10
    plugin.shutdown()
    assert caplog.messages[-1] == (
        f"{30 - refused} requests allowed, {refused} refused, 1 clients known, 0 forgotten"
    )
