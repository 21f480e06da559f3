from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pluginapi import PluginRegistry, UnmountBehavior, Violation, ViolationType
from pluginapi.errors import ResourceViolation
from pluginapi.quarantine import Quarantine
from support import Forge

HASH = "ab" * 64


@pytest.fixture
def clock() -> Callable[..., float]:
    now = [1000.0]

    def tell(seconds: float = 0.0) -> float:
        now[0] += seconds
        return now[0]

    return tell


def refused(quarantine: Quarantine, sha3_512: str = HASH) -> float | None:
    if not any(case.sha3_512 == sha3_512 for case in quarantine.all()):
        quarantine.check("acme", sha3_512)
        return None
    with pytest.raises(ResourceViolation) as caught:
        quarantine.check("acme", sha3_512)
    assert caught.value.code == "limits.quarantined"
    assert "release_quarantine('acme')" in (caught.value.hint or "")
    return float(str(caught.value.details["remaining"]))


def test_each_time_is_twice_as_long_up_to_the_most(clock: Callable[..., float]) -> None:
    quarantine = Quarantine(10, 60, clock=clock)
    assert refused(quarantine) is None
    lasted = []
    for _ in range(5):
        lasted.append(quarantine.add("acme", HASH, "why"))
        assert refused(quarantine) == lasted[-1]
        clock(lasted[-1] - 0.5)
        assert refused(quarantine) == 0.5
        clock(0.5)
        assert refused(quarantine) is None
    assert lasted == [10, 20, 40, 60, 60]


def test_one_that_kept_to_its_limits_for_long_begins_anew(clock: Callable[..., float]) -> None:
    quarantine = Quarantine(10, 60, clock=clock)
    quarantine.add("acme", HASH, "why")
    clock(10 + 59)
    assert quarantine.add("acme", HASH, "why") == 20
    clock(20 + 60)
    assert quarantine.add("acme", HASH, "why") == 10


def test_another_file_of_the_plugin_may_be_loaded(clock: Callable[..., float]) -> None:
    quarantine = Quarantine(clock=clock)
    quarantine.add("acme", HASH, "it took too much")
    assert refused(quarantine, "cd" * 64) is None
    (case,) = quarantine.all()
    assert (case.name, case.times, case.reason, case.remaining) == (
        *("acme", 1, "it took too much"),
        60,
    )
    assert quarantine.release("acme")
    assert refused(quarantine) is None
    assert not quarantine.release("acme")
    assert quarantine.all() == ()


def test_none_is_none() -> None:
    quarantine = Quarantine(0)
    assert quarantine.add("acme", HASH, "why") == 0
    assert refused(quarantine) is None


# In a registry

QUIET = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, lambda text: text + "!")
"""


def violation() -> Violation:
    return Violation.now(ViolationType.HEAP_MEMORY, 70, 60, "test")


@pytest.fixture
def forge(tmp_path: object) -> Forge:
    return Forge(tmp_path)  # type: ignore[arg-type]


async def gone(registry: PluginRegistry, name: str) -> None:
    async with asyncio.timeout(10):
        while registry.is_loaded(name):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_the_ladder_from_the_threshold_to_quarantine(
    forge: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    registry = forge.registry(violation_threshold=2, violation_window=30.0)
    path = forge.plugin("acme.leak", QUIET)
    await registry.load_plugin(path)
    assert await registry.hooks.execute("shout", "a") == "a!"
    assert not registry.record_violation("acme.leak", violation())
    assert registry.record_violation("acme.leak", violation())
    # Refused at once, before anything is unloaded.
    assert registry.is_loaded("acme.leak")
    assert await registry.hooks.execute("shout", "a") == "a"
    await gone(registry, "acme.leak")
    text = caplog.text
    assert "used 70 bytes, limit 60 (measured by test); 1 of 2 violations within 30 s" in text
    assert "2 violations within 30 s reached the threshold 2" in text
    assert "`violation_threshold` in [monitoring]" in text
    assert "quarantine for 60 s" in text
    with pytest.raises(ResourceViolation) as caught:
        await registry.load_plugin(path)
    assert caught.value.code == "limits.quarantined"
    assert "used 70 bytes, limit 60" in str(caught.value)
    assert registry.release_quarantine("acme.leak")
    await registry.load_plugin(path)
    assert await registry.hooks.execute("shout", "a") == "a!"
    await registry.unload_all()


async def test_what_is_being_unmounted_is_not_counted(
    forge: Forge, caplog: pytest.LogCaptureFixture
) -> None:
    registry = forge.registry(violation_threshold=2)
    await registry.load_plugin(forge.plugin("acme.leak", QUIET))
    answers = [registry.record_violation("acme.leak", violation()) for _ in range(5)]
    assert answers == [False, True, False, False, False]
    assert registry.get_violation_count("acme.leak") == 2
    await gone(registry, "acme.leak")
    assert caplog.text.count("violated") == 2
    assert sum(registry.totals.of("acme.leak").violations.values()) == 2


async def test_a_new_version_is_not_in_quarantine(forge: Forge) -> None:
    registry = forge.registry(violation_threshold=1)
    await registry.load_plugin(forge.plugin("acme.leak", QUIET))
    registry.record_violation("acme.leak", violation())
    await gone(registry, "acme.leak")
    await registry.load_plugin(forge.plugin("acme.leak", QUIET, version="1.0.1"))
    await registry.unload_all()


async def test_without_quarantine(forge: Forge) -> None:
    registry = forge.registry(
        violation_threshold=1, unmount_behavior=UnmountBehavior(quarantine=False)
    )
    path = forge.plugin("acme.leak", QUIET)
    await registry.load_plugin(path)
    await registry.report_violation("acme.leak", violation())
    error = registry.get_plugin_info("acme.leak").error
    assert error is not None
    assert "refused for" not in (error.hint or "")
    await registry.load_plugin(path)
    await registry.unload_all()


async def test_a_plugin_is_told_its_limits_and_what_it_uses(forge: Forge) -> None:
    path = forge.plugin(
        "acme.curious",
        """
def init(self, context):
    self.resources = context.get(ContextKey.Resources)
    self.at_first = dict(self.resources)
def register_hooks(self, hooks):
    hooks.register("shout", 200, lambda _: repr((self.at_first, dict(self.resources))))
""",
        top_level="from pluginapi import ContextKey",
    )
    registry = forge.registry()
    await registry.load_plugin(path)
    registry.record_violation("acme.curious", violation())
    at_first, now = eval(await registry.hooks.execute("shout", ""))  # noqa: S307 - it is our own
    assert at_first["limits"] == now["limits"]
    assert now["limits"]["max_heap_bytes"] == 50 << 20
    assert (at_first["violations"], now["violations"], now["threshold"]) == (0, 1, 10)
    assert set(now["usage"]) == set(now["limits"])
    await registry.unload_all()
