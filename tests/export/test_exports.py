"""What exporters give, read by the parsers of those that read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pluginapi import PluginRegistry, UnmountBehavior, Violation, ViolationType
from pluginapi.export.otel import instrument
from pluginapi.export.prometheus import PluginCollector
from support import Forge

SHOUT = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    if text == "bad":
        raise ValueError(text)
    return text + "!"
"""
KEEPS = "kept = [open('/dev/null') for _ in range(3)]"
Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[PluginRegistry]:
    forge = Forge(tmp_path)
    made = forge.registry(violation_threshold=2, unmount_behavior=UnmountBehavior(quarantine=False))
    await made.load_plugin(forge.plugin("acme.apart", SHOUT, top_level=KEEPS), isolation="process")
    await made.load_plugin(forge.plugin("acme.inside", SHOUT))
    yield made
    await made.unload_all()
    await asyncio.to_thread(made.loader.close)


def scrape(registry: PluginRegistry) -> Scraped:
    """Scrape as Prometheus does."""
    collectors = CollectorRegistry()
    collectors.register(PluginCollector(registry))
    text = generate_latest(collectors).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(scraped: Scraped, name: str, **labels: str) -> float | None:
    return scraped.get((name, frozenset(labels.items())))


async def test_prometheus_scrapes_the_names_of_the_reference(registry: PluginRegistry) -> None:
    await registry.hooks.execute("shout", "a")
    found = scrape(registry)
    apart = {"plugin": "acme.apart"}
    assert value(found, "plugin_process_open_fds", **apart) == 3
    assert value(found, "plugin_process_max_fds", **apart) == 32
    assert value(found, "plugin_process_threads", **apart) == 0
    assert value(found, "plugin_process_tcp_connections", **apart, state="connected") == 0
    assert (value(found, "plugin_process_resident_memory_bytes", **apart) or 0) > 1 << 20
    assert value(found, "plugin_process_peak_memory_bytes", **apart) is not None
    assert value(found, "plugin_heap_bytes", **apart) is not None
    assert (value(found, "plugin_process_cpu_seconds_total", **apart) or 0) > 0
    assert (value(found, "plugin_process_start_time_seconds", **apart) or 0) > 1.7e9
    assert value(found, "plugin_limit", **apart, resource="heap_memory") == 50 << 20
    assert value(found, "plugin_hook_calls_total", **apart, hook="shout") == 1
    assert value(found, "plugin_hook_errors_total", **apart, hook="shout") == 0
    took = {"plugin": "acme.apart", "hook": "shout"}
    assert value(found, "plugin_hook_seconds_count", **took) == 1
    assert 0 < (value(found, "plugin_hook_seconds_sum", **took) or 0) < 10
    assert value(found, "plugin_hook_seconds_bucket", **took, le="+Inf") == 1
    below = [
        count
        for (name, labels), count in found.items()
        if name == "plugin_hook_seconds_bucket" and ("plugin", "acme.apart") in labels
    ]
    assert sorted(below) == below
    assert set(below) == {0, 1}
    assert (value(found, "plugin_monitor_pass_seconds") or 0) > 0
    (pid,) = (
        dict(labels)["pid"]
        for name, labels in found
        if name == "plugin_process_info" and ("plugin", "acme.apart") in labels
    )
    assert int(pid) == registry.get_plugin_metrics("acme.apart").pid


async def test_what_is_not_known_is_absent(registry: PluginRegistry) -> None:
    found = scrape(registry)
    inside = {name for name, labels in found if ("plugin", "acme.inside") in labels}
    assert inside >= {"plugin_process_cpu_seconds_total", "plugin_limit", "plugin_process_info"}
    assert "plugin_heap_bytes" in inside
    assert not inside & {
        *("plugin_process_open_fds", "plugin_process_threads"),
        *("plugin_process_resident_memory_bytes", "plugin_process_tcp_connections"),
        "plugin_process_start_time_seconds",
    }


async def test_counters_go_on_over_restarts_and_loads(registry: PluginRegistry) -> None:
    before = scrape(registry)
    for _ in range(5):
        await registry.hooks.execute("shout", "a")
    process = registry.loader.processes.get("acme.apart")
    assert process is not None
    await asyncio.to_thread(process.restart)
    await registry.hooks.execute("shout", "a")
    path = registry.get_plugin_info("acme.apart").path
    await registry.unload_plugin("acme.apart")
    gone = scrape(registry)
    assert value(gone, "plugin_process_open_fds", plugin="acme.apart") is None
    await registry.load_plugin(path, isolation="process")
    await registry.hooks.execute("shout", "a")
    after = scrape(registry)
    assert value(after, "plugin_hook_calls_total", plugin="acme.apart", hook="shout") == 7
    counters = [key for key in before if key[0].endswith("_total")]
    assert all(before[key] <= gone[key] <= after[key] for key in counters)
    cpu = ("plugin_process_cpu_seconds_total", frozenset({("plugin", "acme.apart")}))
    assert before[cpu] < gone[cpu] < after[cpu]


async def test_violations_and_what_followed_are_counted(registry: PluginRegistry) -> None:
    violation = Violation.now(ViolationType.THREADS, 9, 4, "test")
    for _ in range(2):
        await registry.report_violation("acme.apart", violation)
    found = scrape(registry)
    threads = {"plugin": "acme.apart", "resource": "threads"}
    assert value(found, "plugin_limit_violations_total", **threads, action="log") == 1
    assert value(found, "plugin_limit_violations_total", **threads, action="unmount") == 1
    assert value(found, "plugin_unmounts_total", plugin="acme.apart", reason="threads") == 1


async def test_opentelemetry_reads_the_same(registry: PluginRegistry) -> None:
    await registry.hooks.execute("shout", "a")
    await registry.report_violation(
        "acme.apart", Violation.now(ViolationType.THREADS, 9, 4, "test")
    )
    reader = InMemoryMetricReader()
    instrument(registry, MeterProvider(metric_readers=[reader]))
    data = reader.get_metrics_data()
    assert data is not None
    found = {}
    units = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        units[metric.name] = metric.unit
        for point in metric.data.data_points:
            attributes = frozenset((point.attributes or {}).items())
            found[metric.name, attributes] = getattr(point, "value", None)
    apart = ("plugin.name", "acme.apart")
    assert found["process.unix.file_descriptor.count", frozenset({apart})] == 3
    assert (found["process.cpu.time", frozenset({apart})] or 0) > 0
    assert (found["process.memory.usage", frozenset({apart})] or 0) > 1 << 20
    assert found["process.thread.count", frozenset({apart})] == 0
    assert (found["process.uptime", frozenset({apart})] or 0) > 0
    assert found["plugin.network.connection.count", frozenset({apart})] == 0
    assert found["plugin.limit", frozenset({apart, ("plugin.resource", "threads")})] == 4
    violated = frozenset({apart, ("plugin.resource", "threads"), ("plugin.action", "log")})
    assert found["plugin.limit.violation.count", violated] == 1
    assert found["plugin.hook.call.count", frozenset({apart, ("plugin.hook", "shout")})] == 1
    assert (units["process.cpu.time"], units["process.memory.usage"]) == ("s", "By")
    assert units["process.unix.file_descriptor.count"] == "{file_descriptor}"
    inside = ("plugin.name", "acme.inside")
    assert ("process.thread.count", frozenset({inside})) not in found
    assert ("plugin.monitor.pass.duration", frozenset()) in found
