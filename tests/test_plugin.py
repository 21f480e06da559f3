"""make_plugin and Plugin: what an author's class gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pluginapi.errors import InvalidManifest
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginDependency, PluginKind, PluginManifest
from pluginapi.metadata.python_source import read_python_source
from pluginapi.plugin import MANIFEST_ATTRIBUTE, Plugin, make_plugin
from pluginapi.version import PluginVersion


@make_plugin(
    name="acme.guard",
    version="1.2.3",
    author="Acme",
    resource_limits=ResourceLimits(max_threads=2),
    dependencies={"acme.base": ">=1", "acme.more": {"optional": True}},
)
class Guard(Plugin):
    answer = 42


def test_the_class_stays_the_same_and_carries_its_manifest() -> None:
    # The attribute is read through the decorated name: its type survives the decorator.
    assert Guard.answer == 42
    assert Guard().manifest == PluginManifest(
        name="acme.guard",
        version=PluginVersion(1, 2, 3),
        author="Acme",
        kind=PluginKind.PYTHON,
        resource_limits=ResourceLimits(max_threads=2),
        dependencies=(
            PluginDependency("acme.base", ">=1"),
            PluginDependency("acme.more", "", True),
        ),
        entry="Guard",
    )


def test_what_is_attached_is_what_is_read_from_the_source() -> None:
    with open(__file__, "rb") as stream:  # noqa: PTH123 - a name of the interpreter, not a path
        text = stream.read().partition(b"\n\ndef test_")[0]
    assert read_python_source(text, "test_plugin.py") == Guard().manifest


def test_any_class_can_be_a_plugin() -> None:
    @make_plugin(name="a", version=PluginVersion(1, 0, 0), author="A", dependencies=[])
    class Free:
        pass

    manifest = vars(Free)[MANIFEST_ATTRIBUTE]
    assert manifest.entry == "Free"
    assert replace(manifest, entry="Guard").entry == "Guard"


def test_a_subclass_is_no_plugin_until_it_is_decorated() -> None:
    class Child(Guard):
        pass

    assert MANIFEST_ATTRIBUTE not in vars(Child)
    decorated = make_plugin(name="b", version="1.0.0", author="B")(Child)
    assert decorated is Child
    assert Child().manifest.name == "b"
    assert Guard().manifest.name == "acme.guard"


def test_misuse() -> None:
    decorate = make_plugin(name="a", version="1.0.0", author="A")
    with pytest.raises(InvalidManifest, match="decorated twice"):
        decorate(Guard)
    with pytest.raises(InvalidManifest, match="a class, not a function"):
        decorate(test_misuse)  # type: ignore[type-var]
    with pytest.raises(InvalidManifest) as caught:
        make_plugin(name="No Name", version="1.0.0", author="A")
    assert caught.value.code == "manifest.name"
    with pytest.raises(InvalidManifest):
        make_plugin(name="a", version=1, author="A")  # type: ignore[arg-type]
    with pytest.raises(InvalidManifest, match="no manifest"):
        _ = Plugin().manifest


def test_the_methods_of_the_base_class_do_nothing() -> None:
    plugin = Guard()
    assert plugin.init(None) is None
    assert plugin.register_hooks(None) is None
    assert plugin.shutdown() is None
