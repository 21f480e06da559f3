from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pluginapi.errors import InvalidManifest
from pluginapi.version import PluginVersion, parse_version_range

parts = st.integers(0, 2**32 - 1)


def test_parts_and_text() -> None:
    version = PluginVersion(1, 2, 3)
    assert (version.major, version.minor, version.patch) == (1, 2, 3)
    assert str(version) == "1.2.3"
    assert repr(version) == "PluginVersion.parse('1.2.3')"
    assert PluginVersion.from_string("1.2.3") == version
    assert hash(PluginVersion.parse("1.2.3")) == hash(version)
    assert str(PluginVersion.parse("1.0.0-rc.1")) == "1.0.0-rc.1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "1.2.x",
        "1.2.-3",
        "1!1.2.3",
        "1.2.3-nonsense",
        "4294967296.0.0",
        "0.0.4294967296",
        "1.2.3" + " " * 60,
        "1.2." + "1" * 5000,
        None,
        123,
        b"1.2.3",
    ],
)
def test_other_forms_are_refused(text: Any) -> None:
    with pytest.raises(InvalidManifest) as caught:
        PluginVersion.parse(text)
    assert caught.value.code == "manifest.version"
    assert caught.value.hint


@pytest.mark.parametrize("arguments", [(-1, 0, 0), (0, 2**32, 0), ("x", 0, 0)])
def test_the_constructor_has_the_same_bounds(arguments: Any) -> None:
    with pytest.raises(InvalidManifest):
        PluginVersion(*arguments)


@given(parts, parts, parts)
def test_parse_of_text_gives_the_version_back(major: int, minor: int, patch: int) -> None:
    version = PluginVersion(major, minor, patch)
    assert PluginVersion.parse(str(version)) == version
    assert (version.major, version.minor, version.patch) == (major, minor, patch)


@given(st.tuples(parts, parts, parts), st.tuples(parts, parts, parts))
def test_versions_order_by_their_parts(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    a, b = PluginVersion(*one), PluginVersion(*other)
    assert (a < b, a == b, a > b) == (one < other, one == other, one > other)


@given(st.text(max_size=80))
def test_any_text_is_a_version_or_one_clear_error(text: str) -> None:
    try:
        version = PluginVersion.parse(text)
    except InvalidManifest:
        return
    assert len(Version(str(version)).release) == 3


def test_pre_releases_come_before_their_release() -> None:
    ordered = ["1.0.0-alpha.1", "1.0.0-beta.1", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0"]
    versions = [PluginVersion.parse(text) for text in ordered]
    backwards = versions[::-1]
    assert sorted(backwards) == versions


def test_versions_are_not_equal_to_or_ordered_with_other_things() -> None:
    assert PluginVersion(1, 0, 0) != "1.0.0"
    with pytest.raises(TypeError):
        _ = PluginVersion(1, 0, 0) < "2.0.0"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "version_range", "expected"),
    [
        ("1.2.0", ">=1.2,<3", True),
        ("3.0.0", ">=1.2,<3", False),
        ("1.1.9", ">=1.2,<3", False),
        ("1.2.0", "", True),
        ("1.2.3", "==1.2.*", True),
        ("1.2.3", "~=1.2.0", True),
        ("1.3.0", "~=1.2.0", False),
        ("2.0.0-rc.1", ">=1.0", False),
        ("2.0.0-rc.1", ">=2.0.0rc1", True),
    ],
)
def test_ranges(text: str, version_range: str, *, expected: bool) -> None:
    assert PluginVersion.parse(text).matches(version_range) is expected


@pytest.mark.parametrize("text", ["1.2", "=>1", "^1.2", ">=1,,<", ">=x"])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_version_range(text)
    assert caught.value.code == "manifest.version"
