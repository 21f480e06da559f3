"""Stacks, their forms, and the flame graph: whatever names a plugin gives its functions."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pluginapi.profiling.flame_graph import flame_graph
from pluginapi.profiling.python_process import parse_collapsed
from pluginapi.profiling.stacks import FunctionShare, Stacks

SVG = "{http://www.w3.org/2000/svg}"

frames = st.text(min_size=1, max_size=300)
counted = st.lists(
    st.tuples(st.lists(frames, min_size=1, max_size=8), st.integers(1, 1000)), max_size=20
)


def stacks_of(*samples: tuple[str, int]) -> Stacks:
    stacks = Stacks()
    for line, count in samples:
        stacks.add(line.split(";"), count)
    return stacks


def test_functions_are_counted_once_a_sample() -> None:
    stacks = stacks_of(("a;b;c", 5), ("a;b;a", 2), ("a", 1))
    assert stacks.samples == 8
    assert stacks.functions() == [
        FunctionShare("c", 5, 5),
        FunctionShare("a", 3, 8),
        FunctionShare("b", 0, 7),
    ]
    assert stacks.collapsed() == "a 1\na;b;a 2\na;b;c 5\n"


def test_there_is_a_most_of_everything() -> None:
    stacks = Stacks()
    stacks.add((str(number) for number in range(10_000)), 1)
    stacks.add(["x" * 10_000])
    stacks.add(["never"], 0)
    stacks.add([])
    deep, long = sorted(stacks.counts, key=len, reverse=True)
    assert len(deep) == 256
    assert deep[-1] == "9999"
    assert [len(frame) for frame in long] == [256]
    for number in range(100_001):
        stacks.add([f"f{number}"])
    assert len(stacks.counts) == 100_000
    assert stacks.lost == 3


@given(counted)
def test_what_is_collapsed_is_read_again(samples: list[tuple[list[str], int]]) -> None:
    stacks = Stacks()
    for stack, count in samples:
        stacks.add(stack, count)
    again = parse_collapsed(stacks.collapsed())
    assert again.samples == stacks.samples
    assert again.lost == 0


@given(st.text(max_size=500))
def test_any_text_is_read(text: str) -> None:
    stacks = parse_collapsed(text)
    assert all(len(stack) >= 1 for stack in stacks.counts)


def test_the_worker_itself_is_left_out() -> None:
    stacks = parse_collapsed(
        "<module> (<string>:1);main (pluginapi/process/zygote.py:295);"
        "WorkerServer.serve (pluginapi/ipc/serving.py:125);Made.run (spin.py:20) 90\n"
        "main (pluginapi/process/zygote.py:1);get (pluginapi/ipc/channel.py:5) 3\n"
        "no count\nx -1\ny 99999999999999\n"
    )
    assert stacks.counts == Counter(
        {("Made.run (spin.py:20)",): 90, ("get (pluginapi/ipc/channel.py:5)",): 3}
    )
    assert stacks.lost == 3


def drawn(svg: str) -> dict[str, list[float]]:
    """Left, top and width of each frame, by its name; parsing refuses what is no XML."""
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):  # noqa: S314 - as above
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert title.text is not None
        assert rect is not None
        name = title.text.rpartition(" (")[0]
        found[name] = [float(rect.get(key, "")) for key in ("x", "y", "width")]
    return found


def test_frames_are_as_wide_as_they_have_samples_and_stand_on_their_callers() -> None:
    found = drawn(flame_graph(stacks_of(("a;b", 30), ("a;c", 10), ("d", 40)), "title", "sub"))
    assert set(found) == {"all", "a", "b", "c", "d"}
    whole = found["all"][2]
    assert abs(found["a"][2] - whole / 2) < 1
    assert abs(found["b"][2] - whole * 3 / 8) < 1
    assert abs(found["c"][0] - (found["b"][0] + found["b"][2])) < 1
    assert found["all"][1] > found["a"][1] == found["d"][1] > found["b"][1] == found["c"][1]


def test_nothing_is_drawn_of_nothing() -> None:
    assert drawn(flame_graph(Stacks(), "title")) == {}


@given(counted, frames)
def test_hostile_names_stay_text(samples: list[tuple[list[str], int]], title: str) -> None:
    stacks = Stacks()
    for stack, count in [*samples, (["<script>alert(1)</script>", '"/><a href="x">'], 5000)]:
        stacks.add(stack, count)
    root = ET.fromstring(flame_graph(stacks, "t"))  # noqa: S314 - as above
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "style", "rect", "text", "g", "title"}
    assert "alert(1)" in "".join(root.itertext())
    del title
