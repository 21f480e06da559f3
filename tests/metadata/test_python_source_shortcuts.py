"""The quick looks at Python source decide nothing that the full ones would decide otherwise."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers import SOURCE
from pluginapi.errors import InvalidManifest
from pluginapi.metadata import parsing
from pluginapi.metadata.python_source import read_python_source

PIECES = (
    *("not ", "lambda:", "lambda", "await ", "yield\n", "else ", "-", "+ ", "~\t", "*", "**", ":"),
    *("(", "[", "{", ")", "]", "}", "'", '"', "'''", '"""', "\\", "\n", "#", "# (\n", "f'{", "r'"),
    *("x", "not_", "é", "\u00a0", "\u2003", "?", "1", "=", ",", " ", "\x0c", "\x1c", "if 1:\n "),
)
deep = st.tuples(st.sampled_from(PIECES), st.sampled_from([1, 2, 50, 99, 100, 101, 102, 150]))
soup = st.lists(deep, max_size=12).map(lambda parts: "".join(text * n for text, n in parts))


def outcome(text: str) -> object:
    try:
        return read_python_source(text.encode(), "guard.py")
    except InvalidManifest as err:
        return err.to_dict()


def refusal_of_nesting(text: str) -> object:
    try:
        parsing._check_nesting(text, "guard.py")
    except InvalidManifest as err:
        return err.to_dict()
    return None


@settings(max_examples=400)
@given(soup)
@example("-\u00a0" * 101)
@example("- " * 100 + "'-'" + "- " * 100)
@example("-# (\n" * 101)
@example("(" * 101)
@example("[" * 100 + "]" * 100)
def test_what_the_quick_look_passes_is_not_nested_too_deep(text: str) -> None:
    found = refusal_of_nesting(text)
    with mock.patch.object(parsing, "_is_shallow", return_value=False):
        assert refusal_of_nesting(text) == found


@pytest.mark.parametrize("text", ["(" * 100 + ")" * 100, "x = [1, -2]\n" * 500, "'" + "(" * 200])
def test_the_quick_look_passes_ordinary_source(text: str) -> None:
    assert parsing._is_shallow(text)


IMPORTS = st.sampled_from(
    [
        "from pluginapi import make_plugin",
        "from pluginapi.plugin import make_plugin as mp",
        "from pluginapi import *",
        "import pluginapi",
        "import pluginapi as p, os.path",
        "import pluginapi.plugin",
        "import pluginapi.plugin as make_plugin",
        "from other import make_plugin",
        "from pluginapi import make_plugin, ResourceLimits as make_plugin_",
        "from . import make_plugin",
    ]
)
NAME = st.sampled_from(
    [
        *("make_plugin", "mp", "pluginapi.make_plugin", "p.make_plugin", "pluginapi.plugin.mp"),
        *("pluginapi.plugin.make_plugin", "make_plugin.make_plugin", "\uff4dake_plugin", "x"),
    ]
)
ARGUMENTS = "name='a.b', version='1.0.0', author='A'"
STATEMENT = st.one_of(
    IMPORTS,
    NAME.map(lambda name: f"@{name}({ARGUMENTS})\nclass A: pass"),
    NAME.map(lambda name: f"@{name}\nclass B: pass"),
    NAME.map(lambda name: f"if 1:\n  @{name}({ARGUMENTS})\n  class C: pass"),
    NAME.map(lambda name: f"x = {name}({ARGUMENTS})(int)"),
    NAME.map(lambda name: f"x = {name}"),
    NAME.map(lambda name: f"x = f'{{{name}()}}'"),
    NAME.map(lambda name: f"x = '''{name}()''' # {name}"),
    NAME.map(lambda name: f"def f({name.replace('.', '_')}=1): return {name}()"),
    st.just("if 1:\n  from pluginapi import make_plugin"),
)


@settings(max_examples=400)
@given(st.lists(IMPORTS, min_size=1, max_size=2), st.lists(STATEMENT, max_size=4))
def test_uses_elsewhere_are_found_whether_looked_for_or_counted(
    imports: list[str], statements: list[str]
) -> None:
    text = "\n".join([*imports, *statements, ""])
    found = outcome(text)
    with mock.patch(
        "pluginapi.metadata.python_source._Names.are_spelled_only_at", return_value=False
    ):
        assert outcome(text) == found


def test_an_ordinary_plugin_is_not_searched_for_other_uses() -> None:
    with mock.patch("pluginapi.metadata.python_source._uses", side_effect=AssertionError):
        assert outcome(SOURCE) == outcome(SOURCE.replace("pass", "x = 1"))
        with pytest.raises(AssertionError):
            outcome(SOURCE + "x = make_plugin\n")
