"""Services of the host, wherever a plugin runs and whatever it is written in."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from conformance.conftest import NAME, Guise
from pluginapi.errors import PluginError, ServiceError
from pluginapi.services import MAX_SERVICE_BYTES, calling_plugin


class Row(msgspec.Struct):
    id: int
    name: str


class Database:
    """A live object of the host, with secrets in it."""

    def __init__(self) -> None:
        self.password = "hunter2"
        self.callers: list[str | None] = []
        self.loops: list[object] = []
        self.cancelled = asyncio.Event()
        self.inner: list[str] = []
        self.guise: Guise | None = None

    def fetch(
        self,
        id: Annotated[int, Meta(ge=1)],  # noqa: A002 - as columns are called
        suffix: str = "",
    ) -> Row:
        self.callers.append(calling_plugin())
        return Row(id, f"row {id}{suffix}")

    async def slow(self, text: str) -> str:
        self.callers.append(calling_plugin())
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0.001)
        return text.upper()

    def broken(self) -> None:
        raise ConnectionError(f"cannot log in with {self.password}")

    def refuse(self) -> None:
        raise ServiceError("the table is locked", hint="try later")

    def blob(self, size: int) -> bytes:
        return b"x" * size

    def wrong(self) -> int:
        return "text"  # type: ignore[return-value]

    def forbidden(self) -> str:
        raise AssertionError("nobody may call this")

    def undeclared(self) -> str:
        raise AssertionError("nobody may call this")

    more = undeclared

    async def nested(self, key: str) -> Any:
        """Call the same plugin again, in the course of its call."""
        assert self.guise is not None
        try:
            return await self.guise.call("context_has", key)
        except PluginError as err:
            self.inner.append(type(err).__name__)
            raise

    async def hang(self) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            self.cancelled.set()


METHODS = (
    "fetch",
    "slow",
    "broken",
    "refuse",
    "blob",
    "wrong",
    "forbidden",
    "more",
    "nested",
    "hang",
)


@pytest.fixture
async def database(guise: Guise) -> Database:
    made = Database()
    made.guise = guise
    guise.registry.context.expose("database", made, methods=METHODS)
    await guise.load()
    return made


async def test_a_method_takes_and_gives_plain_data(guise: Guise, database: Database) -> None:
    assert await guise.service("fetch", id=1) == {"id": 1, "name": "row 1"}
    assert await guise.service("fetch", id=2, suffix="!") == {"id": 2, "name": "row 2!"}
    assert database.callers == [NAME, NAME]
    assert calling_plugin() is None


async def test_an_async_method_runs_on_the_loop_of_the_host(
    guise: Guise, database: Database
) -> None:
    if guise.in_process:
        # The handler holds the thread of the loop: it cannot wait for what needs it.
        assert await guise.fails("service.suspended", "slow", text="abc")
        assert database.callers == []
        return
    assert await guise.service("slow", text="abc") == "ABC"
    assert database.callers == [NAME]
    assert database.loops == [asyncio.get_running_loop()]


async def test_what_is_not_granted_does_not_exist(
    guise: Guise, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    # The control: the same call of a method that was granted.
    assert await guise.service("fetch", id=1) == {"id": 1, "name": "row 1"}
    # Declared and exposed; declared and granted; exposed and granted; nothing of all.
    for method, why in (
        ("forbidden", 'add "database.forbidden" to "test.probe" in section [services.plugin]'),
        ("absent", "the host does not expose it"),
        ("more", "declare it in `services`"),
        ("password", "the host does not expose it"),
        ("__init__", "the host does not expose it"),
    ):
        if method == "__init__" and not guise.is_native:
            continue  # No attribute of a service in Python.
        caplog.clear()
        assert await guise.fails("service.not_found", method)
        assert why in caplog.text
    assert await guise.fails("service.not_found", "fetch", service="other", id=1)
    (stats,) = guise.registry.context.service_stats()
    assert stats.refused == (6 if guise.is_native else 5)
    assert stats.calls == {"database.fetch": 1}
    metrics = guise.registry.get_plugin_metrics(NAME)
    assert (metrics.service_calls, metrics.service_errors) == (1, 0)
    assert metrics.service_refusals == stats.refused


async def test_the_load_tells_what_is_missing(
    guise: Guise, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await guise.registry.unload_all()
    caplog.clear()
    await guise.load()
    assert "needs service methods that it was not granted: database.forbidden" in caplog.text
    assert "its manifest does not declare, so it cannot call them: database.more" in caplog.text
    del database


@pytest.mark.parametrize(
    "given",
    [{}, {"id": "1"}, {"id": 0}, {"id": 1, "suffix": 3}, {"id": 1, "other": 1}, {"id": 1.5}],
)
async def test_arguments_are_checked(
    guise: Guise, database: Database, given: dict[str, Any]
) -> None:
    assert await guise.fails("service.arguments", "fetch", **given)
    assert database.callers == []
    assert await guise.service("fetch", id=1) == {"id": 1, "name": "row 1"}


async def test_a_failure_tells_the_plugin_nothing_of_the_host(
    guise: Guise, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    assert await guise.fails("service.failed", "broken")
    assert "cannot log in with hunter2" in caplog.text  # In the host's log.
    assert await guise.fails("service.failed", "refuse")
    assert await guise.fails("service.result", "wrong")
    (stats,) = guise.registry.context.service_stats()
    assert sum(stats.errors.values()) == 3
    del database


async def test_results_and_arguments_are_bounded(guise: Guise, database: Database) -> None:
    found = await guise.service("blob", size=MAX_SERVICE_BYTES - 5)
    assert len(found) == MAX_SERVICE_BYTES - 5
    assert await guise.fails("service.too_large", "blob", size=MAX_SERVICE_BYTES)
    large = "x" * MAX_SERVICE_BYTES
    assert await guise.fails("service.too_large", "fetch", id=1, suffix=large)
    assert database.callers == []


async def test_exposed_later_and_withdrawn(guise: Guise) -> None:
    await guise.load()
    assert await guise.fails("service.not_found", "fetch", id=1)
    guise.registry.context.expose("database", Database(), methods=["fetch"])
    assert await guise.service("fetch", id=1) == {"id": 1, "name": "row 1"}
    guise.registry.context.withdraw("database")
    assert await guise.fails("service.not_found", "fetch", id=1)


async def test_calls_nest(guise: Guise, database: Database) -> None:
    if guise.in_process:
        pytest.skip("an async method cannot be waited for there")
    if guise.is_native:
        # Its calls are made one after the other, as pluginapi.h says: the inner one is refused.
        assert await guise.fails("service.failed", "nested", key="acme.tenant")
        assert database.inner == ["InvalidState"]
        assert await guise.call("context_has", "acme.tenant") == 0
        return
    assert await guise.service("nested", key="acme.tenant") == 0
    assert await guise.service("nested", key="acme.hidden") == -11


async def test_the_deadline_of_the_call_ends_the_service(
    guise: Guise, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if guise.in_process:
        pytest.skip("a handler in this process is not interrupted")
    await guise.registry.unload_all()
    processes = guise.registry.loader.processes
    monkeypatch.setattr(
        processes, "settings", dataclasses.replace(processes.settings, call_timeout=0.2)
    )
    await guise.load()
    with pytest.raises(PluginError) as late:
        await guise.service("hang")
    assert late.value.code == "ipc.deadline"
    await asyncio.wait_for(database.cancelled.wait(), 5)
    # The plugin is told too, and serves again: it has not hung.
    assert await guise.service("fetch", id=1) == {"id": 1, "name": "row 1"}
    process = processes.get(NAME)
    assert process is not None
    assert process.status().ends == ()


async def test_a_hostile_flood_of_refusals_leaves_the_log_readable(
    guise: Guise, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pluginapi.services")
    for number in range(100):
        assert await guise.fails("service.not_found", f"m{number}")
    lines = [each for each in caplog.records if each.name == "pluginapi.services"]
    assert 0 < len(lines) <= 25
    (stats,) = guise.registry.context.service_stats()
    assert stats.refused == 100
    assert len(stats.calls) == 0
    del database
