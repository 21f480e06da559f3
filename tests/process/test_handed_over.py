"""What a Python worker is told of its plugin, and what the zygote does before it forks one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any

import msgspec
import pytest

from pluginapi import PluginRegistry
from pluginapi.errors import InvalidManifest
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.process import PluginProcessManager, ProcessSettings
from pluginapi.process.source import described_plugin, plugin_source
from pluginapi.process.worker import _input_type
from support import Forge


class Point(msgspec.Struct):
    x: int


def test_the_manifest_goes_with_the_plugin(forge: Forge) -> None:
    file = PluginFile.open(forge.plugin("acme.echo"))
    manifest = read_manifest(file)
    source = plugin_source(file.path.name, manifest)
    # Other bytes: what was sent is taken, the source is not read again.
    taken, described = described_plugin(source, b"")
    assert described == manifest.to_dict()
    assert (taken.path.name, taken.kind, taken.data) == ("acme.echo.py", file.kind, b"")


def test_a_manifest_that_would_fill_a_message_is_read_again(forge: Forge) -> None:
    paths = ", ".join(repr(f"/data/{number:03}/{'x' * 300}") for number in range(256))
    needs = f"requirements=PluginRequirements(filesystem=FilesystemRequirement.read_only({paths}))"
    file = PluginFile.open(
        forge.plugin(
            "acme.large",
            extra=needs,
            top_level="from pluginapi import FilesystemRequirement, PluginRequirements",
        )
    )
    manifest = read_manifest(file)
    source = plugin_source(file.path.name, manifest)
    assert source == {"name": "acme.large.py"}
    assert described_plugin(source, file.data)[1] == manifest.to_dict()


async def test_a_plugin_that_changes_its_manifest_is_refused_there_too(
    forge: Forge, registry: PluginRegistry
) -> None:
    path = forge.plugin("acme.liar")
    path.write_text(
        path.read_text()
        + textwrap.dedent("""
            import dataclasses
            for found in list(globals().values()):
                own = getattr(found, "__plugin_manifest__", None)
                if own is not None:
                    found.__plugin_manifest__ = dataclasses.replace(own, author="Somebody")
        """)
    )
    forge.sign(path)
    forge.trust(path)
    with pytest.raises(InvalidManifest, match="reports author 'Somebody'") as caught:
        await registry.load_plugin(path, isolation="process")
    assert caught.value.code == "manifest.mismatch"


def plain(value: str) -> str:
    return value


def parametrised(value: dict[str, int]) -> None: ...


def bounded(value: Annotated[Point, "why"]) -> None: ...


def quoted(value: Point) -> None: ...


quoted.__annotations__["value"] = "Point"


def unknown(value: Any) -> None: ...


unknown.__annotations__["value"] = "NotThere"


def bare(value) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def anything(*values: int) -> None: ...


class Handlers:
    def method(self, value: Point) -> None: ...

    def __call__(self, value: Point) -> None: ...


# The annotations of this module are text, as PEP 563 has it.
def evaluated(function: Callable[..., Any]) -> Callable[..., Any]:
    copy = FunctionType(function.__code__, globals())
    hints = {name: eval(hint) for name, hint in function.__annotations__.items()}  # noqa: S307
    copy.__annotations__.update(hints)
    return copy


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (plain, str),
        (evaluated(plain), str),
        (parametrised, dict[str, int]),
        (evaluated(parametrised), dict[str, int]),
        (evaluated(bounded), Point),
        (quoted, Point),
        (unknown, Any),
        (bare, Any),
        (anything, int),
        (Handlers().method, Point),
        (Handlers(), Point),
        (lambda value: value, Any),
        (str.upper, Any),
    ],
)
def test_values_are_made_as_handlers_annotate(handler: Any, expected: Any) -> None:
    assert _input_type(handler, "acme.hook") == expected


def test_a_rehearsal_leaves_nothing(tmp_path: Path) -> None:
    program = """
        import logging, os, sys, threading
        from pluginapi.process.rehearsal import rehearse
        from pluginapi.process.worker import warm_up

        def state():
            return (
                sorted(os.listdir("/proc/self/fd")),
                sorted(name for name in sys.modules if name.startswith("pluginapi_plugins")),
                threading.active_count(),
                open("/proc/thread-self/children").read(),
                sys.stdout, sys.stderr, logging.getLogger().handlers[:], logging.getLogger().level,
            )

        warm_up()
        before = state()
        rehearse()
        assert state() == before, (before, state())
        assert not any("memfd" in line for line in open("/proc/self/maps"))
        print("clean")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("clean\n", "")


async def test_a_spare_keeps_nothing_of_what_it_prepared_itself_with(
    forge: Forge, nothing_left: None
) -> None:
    path = forge.plugin(
        "acme.curious",
        """
def register_hooks(self, hooks):
    hooks.register("shout", 200, self.shout)
def shout(self, text):
    modules = [name for name in sys.modules if name.startswith("pluginapi_plugins.")]
    return f"{len(modules)} {len(os.listdir('/proc/self/fd'))} {threading.active_count()}"
""",
        top_level="import os, sys, threading",
    )
    answers = []
    for spares in (0, 1):
        settings = ProcessSettings(spares=spares, health_interval=0)
        with PluginProcessManager(settings) as manager:
            registry = forge.registry()
            registry.loader._processes = manager
            manager.prepare("python")
            pids = [spare.pid for spare in manager._spares]
            name = await registry.load_plugin(path, isolation="process")
            process = manager.get(name)
            assert process is not None
            assert (process.pid in pids) == bool(spares)
            answers.append(await registry.hooks.execute("shout", ""))
            await registry.unload_all()
    assert answers[0] == answers[1]
    # The plugin's own package, and its one module.
    assert answers[0].split()[0] == "2"
