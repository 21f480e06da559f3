from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import HookOrderError, HookTypeError
from pluginapi.hooks import HookPriority, HookRegistry
from pluginapi.hooks.priority import band_of


def owners(registry: HookRegistry, name: str = "h") -> list[str | None]:
    return [item.owner for item in registry.get_hooks(name)[0].handlers]


def register(registry: HookRegistry, owner: str, priority: int = 200, **order: object) -> None:
    registry.register("h", priority, lambda value: value, owner=owner, **order)  # type: ignore[arg-type]


def test_lower_priorities_run_first_and_ties_in_order_of_registration() -> None:
    registry = HookRegistry()
    for owner, priority in [("e", 400), ("c", 200), ("a", 0), ("d", 200), ("b", 199), ("f", 9999)]:
        register(registry, owner, priority)
    assert owners(registry) == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("priority", "band"),
    [
        (0, HookPriority.CRITICAL),
        (99, HookPriority.CRITICAL),
        (100, HookPriority.HIGH),
        (199, HookPriority.HIGH),
        (200, HookPriority.NORMAL),
        (299, HookPriority.NORMAL),
        (300, HookPriority.LOW),
        (399, HookPriority.LOW),
        (400, HookPriority.CLEANUP),
        (10**9, HookPriority.CLEANUP),
    ],
)
def test_bands(priority: int, band: HookPriority) -> None:
    assert band_of(priority) is band


@pytest.mark.parametrize("priority", [-1, 1.0, True, "200", None])
def test_what_is_no_priority_is_refused(priority: object) -> None:
    with pytest.raises(HookTypeError) as caught:
        register(HookRegistry(), "a", priority)  # type: ignore[arg-type]
    assert caught.value.code == "hook.priority"


def test_before_and_after_bind_within_a_band() -> None:
    registry = HookRegistry()
    register(registry, "a", 200)
    register(registry, "b", 210)
    register(registry, "c", 290, before=("a",))
    register(registry, "d", 200, after=["b"])
    assert owners(registry) == ["b", "d", "c", "a"]


def test_wishes_about_owners_that_come_later_bind_too() -> None:
    registry = HookRegistry()
    register(registry, "a", after=("z",))
    register(registry, "b")
    assert owners(registry) == ["a", "b"]
    register(registry, "z")
    assert owners(registry) == ["b", "z", "a"]
    registry.remove_owner("z")
    assert owners(registry) == ["a", "b"]


def test_between_bands_the_bands_decide() -> None:
    registry = HookRegistry()
    register(registry, "a", 300, before=("b",))
    register(registry, "b", 100)
    assert owners(registry) == ["b", "a"]


def test_wishes_bind_to_all_handlers_of_an_owner() -> None:
    registry = HookRegistry()
    register(registry, "a", 200)
    register(registry, "b", 210)
    register(registry, "a", 220)
    register(registry, "c", 290, before=("a",))
    register(registry, "d", 200, after=("a",))
    assert owners(registry) == ["b", "c", "a", "a", "d"]


def test_a_cycle_is_named_and_leaves_the_registry_unchanged() -> None:
    registry = HookRegistry()
    register(registry, "x")
    register(registry, "a", before=("b",))
    register(registry, "b", before=("c",))
    before = owners(registry)
    with pytest.raises(HookOrderError) as caught:
        register(registry, "c", before=("a", "x"))
    cycle = caught.value.details["cycle"]
    assert cycle[0] == cycle[-1]
    assert sorted(cycle[:-1]) == ["a", "b", "c"]
    # Each name in it really has to run before the next.
    wishes = {("a", "b"), ("b", "c"), ("c", "a")}
    assert set(itertools.pairwise(cycle)) == wishes
    assert " -> ".join(cycle) in str(caught.value)
    assert owners(registry) == before
    register(registry, "c", before=("x",))
    assert owners(registry) == ["a", "b", "c", "x"]


def test_a_failed_first_registration_leaves_no_hook_behind() -> None:
    registry = HookRegistry()
    with pytest.raises(HookOrderError, match="a -> a"):
        register(registry, "a", before=("a",))
    assert registry.get_hooks() == []


@pytest.mark.parametrize("wrong", ["auth", (1,), None])
def test_before_and_after_take_a_sequence_of_names(wrong: object) -> None:
    with pytest.raises(HookTypeError):
        register(HookRegistry(), "a", before=wrong)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 450),
            st.lists(st.integers(0, 7), max_size=2),
            st.lists(st.integers(0, 7), max_size=2),
        ),
        max_size=8,
    )
)
def test_every_order_that_is_accepted_keeps_all_wishes(
    handlers: list[tuple[int, list[int], list[int]]],
) -> None:
    registry = HookRegistry()
    for index, (priority, before, after) in enumerate(handlers):
        previous = owners(registry) if registry.get_hooks() else []
        try:
            register(
                registry,
                str(index),
                priority,
                before=tuple(map(str, before)),
                after=tuple(map(str, after)),
            )
        except HookOrderError:
            assert (owners(registry) if registry.get_hooks() else []) == previous
    if not registry.get_hooks():
        return
    infos = registry.get_hooks("h")[0].handlers
    bands = [band_of(item.priority) for item in infos]
    assert bands == sorted(bands)
    place = {item.owner: index for index, item in enumerate(infos)}
    band = {item.owner: band_of(item.priority) for item in infos}
    for item in infos:
        for other in item.before:
            if band.get(other) == band[item.owner]:
                assert place[item.owner] < place[other]
        for other in item.after:
            if band.get(other) == band[item.owner]:
                assert place[item.owner] > place[other]
