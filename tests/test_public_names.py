"""The names of the packages: all there, where the type checker sees them, and no earlier."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("pluginapi", "pluginapi.process", "pluginapi.security")


def imports_for_types(package: str) -> dict[str, set[str]]:
    """Return the names that a package imports for type checkers, by module."""
    source = Path(str(importlib.import_module(package).__file__)).read_text("utf-8")
    found: dict[str, set[str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for each in node.body:
                assert isinstance(each, ast.ImportFrom)
                found.setdefault(str(each.module), set()).update(a.name for a in each.names)
    return found


def lazy_names(package: str) -> dict[str, set[str]]:
    """Return the names that it imports when they are asked for, by module."""
    source = Path(str(importlib.import_module(package).__file__)).read_text("utf-8")
    (call,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazily"
    )
    return {module: set(names) for module, names in ast.literal_eval(call.args[1]).items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_what_is_there(package: str) -> None:
    assert imports_for_types(package) == lazy_names(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    given = set().union(*lazy_names(package).values())
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    assert given <= set(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_that_of_a_module(package: str) -> None:
    """The import of a module of that name would put the module in its place."""
    directory = Path(str(importlib.import_module(package).__file__)).parent
    modules = {path.stem for path in directory.iterdir()}
    assert not modules & set().union(*lazy_names(package).values())


@pytest.mark.parametrize("package", PACKAGES)
def test_other_names_are_not(package: str) -> None:
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Missing'"):
        _ = module.Missing


def test_a_name_that_nobody_asked_for_is_not_imported() -> None:
    program = """
import sys
import pluginapi
assert not any(name.startswith(("nacl", "Crypto", "msgspec", "asyncio")) for name in sys.modules)
assert pluginapi.PluginVersion
assert "pluginapi.version" in sys.modules
assert "pluginapi.host" not in sys.modules
from pluginapi import *
assert "pluginapi.host" in sys.modules
assert pluginapi.__version__
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
