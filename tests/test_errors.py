from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

import pluginapi
from pluginapi import errors
from pluginapi.error_codes import CODES
from pluginapi.errors import PluginError, VersionMismatch

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, PluginError)
]
PACKAGE = Path(pluginapi.__file__).parent
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "_native").glob("*.pyx")])


def drawn_tree() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Read the tree in the module's docstring: name -> (parent, further bases)."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    path: list[str] = []
    pattern = re.compile(r"^    ([│ ├└─]*)(\w+)(?:\s+\(also (\w+)\))?$")
    for line in (errors.__doc__ or "").splitlines():
        match = pattern.match(line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        del path[depth:]
        found[match[2]] = (path[-1] if path else "Exception", tuple(filter(None, [match[3]])))
        path.append(match[2])
    return found


def test_the_tree_is_as_it_is_drawn() -> None:
    bases = {cls.__name__: [base.__name__ for base in cls.__bases__] for cls in CLASSES}
    actual = {name: (first, tuple(more)) for name, (first, *more) in bases.items()}
    assert drawn_tree() == actual
    assert sorted(errors.__all__) == sorted(actual)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_is_documented_and_has_a_listed_code(cls: type[PluginError]) -> None:
    assert cls.__doc__
    assert cls.default_code in CODES


def test_codes_are_dotted_lower_snake_and_each_has_a_meaning() -> None:
    for code, meaning in CODES.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", code), code
        assert re.fullmatch(r"(?:[A-Z]|before=).*\.", meaning), code
    assert len(set(CODES.values())) == len(CODES)
    with pytest.raises(TypeError):
        CODES["new.code"] = "No."  # type: ignore[index]


def test_every_code_that_the_sources_use_is_listed() -> None:
    used = {
        code
        for source in SOURCES
        for code in re.findall(r'\bcode=f?"([^"{]+)"', source.read_text(encoding="utf-8"))
    }
    assert "context.read_only" in used
    assert used - set(CODES) == set()


def test_every_listed_code_is_used() -> None:
    text = "".join(
        source.read_text(encoding="utf-8") for source in SOURCES if source.name != "error_codes.py"
    )
    # Some codes are composed of the kind of file and what is wrong with it.
    composed = set(re.findall(r'code=f"\{self\.prefix\}\.([a-z_]+)"', text))
    unused = [code for code in CODES if f'"{code}"' not in text]
    assert [code for code in unused if code.partition(".")[2] not in composed] == []


def test_an_error_carries_code_plugin_hint_and_details() -> None:
    error = errors.InvalidState(
        "cannot pause", plugin="acme", hint="load it first", state="available"
    )
    assert str(error) == error.message == "cannot pause"
    assert error.to_dict() == {
        "code": "registry.invalid_state",
        "message": "cannot pause",
        "plugin": "acme",
        "hint": "load it first",
        "details": {"state": "available"},
    }
    assert json.loads(json.dumps(error.to_dict())) == error.to_dict()


def test_a_code_of_its_own_replaces_that_of_the_class() -> None:
    assert errors.HookError("x", code="hook.closed").code == "hook.closed"
    with pytest.raises(KeyError, match=r"no\.such"):
        errors.HookError("x", code="no.such")


def test_a_version_mismatch_says_both_versions() -> None:
    error = VersionMismatch("wrong version", expected=">=2", actual="1.0.0", plugin="acme")
    assert (error.expected, error.actual) == (">=2", "1.0.0")
    assert error.details == {"expected": ">=2", "actual": "1.0.0"}
    assert error.plugin == "acme"


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidManifest, ValueError),
        (errors.PluginTimeout, TimeoutError),
        (errors.NotFound, LookupError),
        (errors.HookTypeError, TypeError),
        (errors.IoError, OSError),
    ],
)
def test_errors_are_caught_as_what_they_are(
    cls: type[PluginError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="message"):
        raise cls("message")
