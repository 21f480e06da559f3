"""Python plugins in this process: which bytes run, how failures surface, what stays behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import linecache
import random
import sys
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from helpers import SOURCE, native, pyz, source
from pluginapi.errors import (
    InitializationError,
    InvalidManifest,
    InvalidState,
    LoadError,
    PluginError,
    ShutdownError,
)
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.runtime.python import PythonPlugin, describe_failure, load_python, load_python_async
from pluginapi.runtime.python_modules import ROOT_PACKAGE
from pluginapi.runtime.threads import run_in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def file(
    content: str | Mapping[str, str] | Mapping[str, str | bytes], name: str = "guard"
) -> PluginFile:
    if isinstance(content, str):
        return PluginFile.from_bytes(f"{name}.py", content.encode())
    return PluginFile.from_bytes(f"{name}.pyz", pyz(content))


def load(
    content: str | Mapping[str, str] | Mapping[str, str | bytes], name: str = "guard"
) -> PythonPlugin:
    plugin = file(content, name)
    return load_python(plugin, read_manifest(plugin))


def traces() -> list[str]:
    """Everything that the interpreter still knows of any plugin."""
    modules = [name for name in sys.modules if name.partition(".")[0] == ROOT_PACKAGE]
    lines = [name for name in linecache.cache if name.startswith("<plugin ")]
    finders = [repr(item) for item in sys.meta_path if "pluginapi" in repr(item)]
    return modules + lines + finders


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    before = traces()
    yield
    assert set(traces()) <= set(before)


def value(plugin: PythonPlugin, name: str = "value") -> Any:
    return getattr(plugin.instance, name)


async def load_in_thread(content: str) -> PythonPlugin:
    plugin = file(content)
    return await load_python_async(plugin, read_manifest(plugin))


async def test_life_of_a_plugin_with_async_and_sync_methods() -> None:
    plugin = load(
        source(
            "    def __init__(self): self.seen = []\n"
            "    async def init(self, it): self.seen.append((it, threading.get_ident()))\n"
            "    def register_hooks(self, it): self.seen.append((it, threading.get_ident()))\n"
            "    def shutdown(self): self.seen.append('shutdown')\n",
            head="import threading\n",
        )
    )
    assert repr(plugin) == "<PythonPlugin acme.guard 1.2.3>"
    assert (plugin.usage().heap_bytes, plugin.heap_limit) == (None, None)
    await plugin.init("context")
    await plugin.register_hooks("hooks")
    await plugin.shutdown()
    first, second, third = value(plugin, "seen")
    assert first == ("context", threading.get_ident())
    assert second[0] == "hooks"
    assert second[1] != threading.get_ident()
    assert third == "shutdown"
    plugin.close()
    plugin.close()
    with pytest.raises(InvalidState):
        await plugin.shutdown()


async def test_methods_are_optional_and_may_return_awaitables() -> None:
    plugin = load(
        source(
            "    def init(self, context): return self.later()\n"
            "    async def later(self): self.done = True\n"
        )
    )
    await plugin.init(None)
    await plugin.register_hooks(None)
    await plugin.shutdown()
    assert value(plugin, "done")
    plugin.close()


def test_closing_leaves_no_reference() -> None:
    plugin = load(
        {
            "pkg/__init__.py": source(
                "    value = helper\n", head="import pkg.sub\nfrom pkg import helper\n"
            ),
            "pkg/sub.py": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    b: int\n",
            "pkg/helper.py": "",
        }
    )
    names = [name for name in sys.modules if name.startswith(f"{ROOT_PACKAGE}.")]
    assert len(names) == 4
    alive: list[weakref.ref[Any]] = [
        weakref.ref(type(plugin.instance)),
        *(weakref.ref(sys.modules[n]) for n in names),
    ]
    plugin.close()
    del plugin
    gc.collect()
    assert [ref() for ref in alive] == [None] * 5


def test_two_plugins_with_the_same_package_do_not_meet() -> None:
    def files(number: int) -> dict[str, str]:
        return {
            "plugin.py": source(
                "    value = (utils.number, utils.deep.number, deep.number, json.dumps(1))\n"
                "    def later(self):\n"
                "        import utils.late as late\n"
                "        from utils.late import number\n"
                "        return late.number, number, utils.late is late\n",
                head="import utils.deep\nfrom utils import deep\nimport json\n",
            ),
            "utils/__init__.py": f"from .deep import number\nassert number == {number}\n",
            "utils/deep.py": f"from . import base\nfrom .base import number\n{number}\n",
            "utils/base.py": f"number = {number}\n",
            "utils/late.py": "from utils.base import number\n",
        }

    first, second = load(files(1)), load(files(2))
    assert value(first) == (1, 1, 1, "1")
    assert value(second) == (2, 2, 2, "1")
    assert value(first, "later")() == (1, 1, True)
    assert value(second, "later")() == (2, 2, True)
    assert "utils" not in sys.modules
    first.close()
    assert value(second, "later")() == (2, 2, True)
    second.close()


def test_own_modules_go_before_the_hosts_for_the_plugin_only() -> None:
    plugin = load(
        {
            "plugin.py": source("    value = json.mine\n", head="import json\n"),
            "json.py": "mine = 1\n",
        }
    )
    import json

    assert value(plugin) == 1
    assert not hasattr(json, "mine")
    plugin.close()


def test_the_module_of_a_single_file_has_the_files_name() -> None:
    plugin = load(source("    value = (__name__, __file__)\n"), "my-guard.v2")
    name, place = value(plugin)
    assert name.startswith(f"{ROOT_PACKAGE}.acme_guard_")
    assert name.endswith(".my_guard_v2")
    assert place == "<plugin acme.guard>/my_guard_v2.py"
    plugin.close()


def test_data_files() -> None:
    plugin = load(
        {
            "pkg/__init__.py": source(
                "    root = files(__package__)\n"
                "    value = (root / 'data' / 'a.json').read_text()\n"
                "    both = (root.joinpath('data/b.bin').read_bytes(),\n"
                "            get_data(__package__, 'data/b.bin'))\n"
                "    names = sorted(item.name for item in root.joinpath('data').iterdir())\n"
                "    kinds = (root.is_dir(), root.is_file(), (root / 'data/a.json').is_file())\n"
                "    lines = list((root / 'data/a.json').open())\n"
                "    raw = (root / 'data/a.json').open('rb').read()\n"
                "    with as_file(root / 'data' / 'a.json') as path:\n"
                "        on_disk = path.read_text()\n"
                "    text = inspect.getsource(sub.f)\n",
                head="import inspect\nfrom importlib.resources import as_file, files\n"
                "from pkgutil import get_data\nfrom . import sub\n",
            ),
            "pkg/sub.py": "def f():\n    return 1\n",
            "pkg/data/a.json": "{}\n",
            "pkg/data/b.bin": b"\0\1",
        }
    )
    assert value(plugin) == value(plugin, "on_disk") == "{}\n"
    assert value(plugin, "both") == (b"\0\1", b"\0\1")
    assert value(plugin, "names") == ["a.json", "b.bin"]
    assert value(plugin, "kinds") == (True, False, True)
    assert value(plugin, "lines") == ["{}\n"]
    assert value(plugin, "raw") == b"{}\n"
    assert value(plugin, "text") == "def f():\n    return 1\n"
    root = value(plugin, "root")
    with pytest.raises(FileNotFoundError):
        (root / "../../etc/passwd").read_bytes()
    with pytest.raises(ValueError, match="opened with"):
        (root / "data/a.json").open("w")
    loader = sys.modules[type(plugin.instance).__module__].__spec__.loader  # type: ignore[union-attr]
    with pytest.raises(FileNotFoundError):
        loader.get_data("<plugin acme.guard>/pkg/none")  # type: ignore[union-attr]
    assert "Guard" in loader.get_source("pkg")  # type: ignore[union-attr]
    assert loader.is_package("pkg")  # type: ignore[union-attr]
    plugin.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("raise ValueError('why')", "ValueError: why (<plugin acme.guard>/guard.py:1)"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("from pluginapi.errors import PluginError; raise PluginError('x')", "PluginError: x"),
        (
            "class E(Exception):\n    __str__ = None\nraise E",
            "its text could not be made: TypeError",
        ),
        ("def f(): f()\nf()", "RecursionError"),
    ],
)
async def test_failures_while_loading(statement: str, words: str) -> None:
    text = f"{statement}\n{SOURCE}"
    for attempt in (asyncio.to_thread(load, text), load_in_thread(text)):
        with pytest.raises(LoadError) as caught:
            await attempt
        assert caught.value.code == "load.execution_failed"
        assert words in str(caught.value)
        assert caught.value.plugin == "acme.guard"
        assert caught.value.__cause__ is not None
        assert traces() == []


def test_failures_in_modules_and_constructors() -> None:
    with pytest.raises(LoadError, match=r"KeyError: 'x' \(<plugin acme.guard>/guard.py:6\)"):
        load(source("    def __init__(self): {}['x']\n"))
    with pytest.raises(LoadError, match=r"<plugin acme.guard>/pkg/sub.py:1:5: not Python"):
        load({"pkg/__init__.py": "from . import sub\n" + SOURCE, "pkg/sub.py": "x = = 1"})
    noise = b"# " + random.Random(1).randbytes(600_000).hex().encode()
    with pytest.raises(LoadError, match="more than 1048576"):
        load({"pkg/__init__.py": "from . import sub\n" + SOURCE, "pkg/sub.py": noise})
    library = PluginFile.from_bytes("guard.so", native())
    manifest = read_manifest(library)
    with pytest.raises(LoadError, match="not a Python one"):
        load_python(library, manifest)


def test_interrupt_is_not_the_plugins() -> None:
    with pytest.raises(KeyboardInterrupt):
        load("raise KeyboardInterrupt\n" + SOURCE)


def test_traceback_shows_the_source() -> None:
    plugin = load(source("    def fail(self):\n        raise ValueError('here')  # the line\n"))
    with pytest.raises(ValueError, match="here") as caught:
        value(plugin, "fail")()
    assert "# the line" in "".join(traceback.format_exception(caught.value))
    plugin.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SOURCE + "del Guard\n", "no decorated class"),
        (SOURCE + "Guard = 5\n", "no decorated class"),
        (SOURCE + "class Guard: pass\n", "no decorated class"),
        (SOURCE + "del Guard.__plugin_manifest__\n", "no decorated class"),
        (SOURCE + "Guard.__plugin_manifest__ = 5\n", "no decorated class"),
        (SOURCE + "class Guard(Guard): pass\n", "no decorated class"),
        (
            SOURCE.replace(
                "\n\n\n",
                "\nreal = make_plugin\n"
                "def make_plugin(**k): return real(**{**k, 'name': 'acme.evil'})\n",
                1,
            ),
            "reports name 'acme.evil'",
        ),
        (
            SOURCE + "import dataclasses\nGuard.__plugin_manifest__ = dataclasses.replace("
            "Guard.__plugin_manifest__, author='Evil')\n",
            "reports author 'Evil'",
        ),
    ],
)
def test_identity_after_execution_must_be_the_one_that_was_read(text: str, words: str) -> None:
    with pytest.raises(InvalidManifest, match=words) as caught:
        load(text)
    assert caught.value.code == "manifest.mismatch"
    load(SOURCE).close()


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    "statement",
    [
        "raise ValueError('why')",
        "raise SystemExit(3)",
        "raise StopIteration",
        "raise asyncio.CancelledError",
        "raise BaseException('odd')",
    ],
)
async def test_failures_of_methods(kind: str, statement: str) -> None:
    body = f"    {kind} init(self, c):\n        {statement}\n    register_hooks = init\n"
    body += f"    {kind} shutdown(self):\n        {statement}\n"
    plugin = load(source(body, head="import asyncio\n"))
    for call, error in (
        (plugin.init(None), InitializationError),
        (plugin.register_hooks(None), InitializationError),
        (plugin.shutdown(), ShutdownError),
    ):
        with pytest.raises(error) as caught:
            await call
        assert isinstance(caught.value, PluginError)
        assert caught.value.plugin == "acme.guard"
        assert "<plugin acme.guard>/guard.py:" in str(caught.value)
        assert caught.value.__cause__ is not None
    plugin.close()


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_interrupt_in_a_method_passes(kind: str) -> None:
    plugin = load(source(f"    {kind} init(self, c):\n        raise KeyboardInterrupt\n"))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(plugin.init(None))
    plugin.close()


async def test_a_hanging_method_can_be_given_up() -> None:
    release = threading.Event()
    plugin = load(
        source(
            "    def init(self, context): context.wait(60)\n"
            "    async def shutdown(self): await asyncio.sleep(60)\n",
            head="import asyncio\n",
        )
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await plugin.init(release)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await plugin.shutdown()
    release.set()
    plugin.close()


async def test_a_module_that_never_ends_can_be_given_up() -> None:
    import builtins

    release, ended = threading.Event(), threading.Event()
    vars(builtins)["_test_events"] = release, ended
    text = "release, ended = _test_events\nrelease.wait(60)\n" + source(
        "    def __init__(self): ended.set()\n"
    )
    try:
        plugin = file(text)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await load_python_async(plugin, read_manifest(plugin))
        # Nothing half-loaded stays, although the thread still runs, nor after it has ended.
        assert [name for name in traces() if name.startswith(ROOT_PACKAGE)] == []
        assert not ended.is_set()
        release.set()
        for thread in threading.enumerate():
            if thread.name == "plugin-acme.guard-load":
                thread.join(20)
        assert traces() == []
        assert not ended.is_set()
    finally:
        release.set()
        del vars(builtins)["_test_events"]


async def test_loading_in_a_thread() -> None:
    plugin = file({"pkg/__init__.py": SOURCE})
    loaded = await load_python_async(plugin, read_manifest(plugin))
    assert loaded.manifest.name == "acme.guard"
    loaded.close()


def test_linecache_entry_of_a_newer_load_stays() -> None:
    old = load(SOURCE)
    new = load(SOURCE + "# newer\n")
    old.close()
    assert linecache.getlines("<plugin acme.guard>/guard.py")[-1] == "# newer\n"
    new.close()


async def test_threads_carry_values_errors_and_context() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    variable.set(5)
    assert await run_in_daemon_thread(variable.get) == 5

    def fail() -> None:
        raise StopIteration("over")

    with pytest.raises((StopIteration, RuntimeError), match=r"over|StopIteration"):
        await run_in_daemon_thread(fail)


async def test_abandoned_results_are_released() -> None:
    go, released = threading.Event(), threading.Event()
    seen: list[int] = []

    def work() -> int:
        go.wait(60)
        return 7

    def release(result: int) -> None:
        seen.append(result)
        released.set()

    task = asyncio.create_task(run_in_daemon_thread(work, abandoned=release))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == []
    go.set()
    assert released.wait(20)
    assert seen == [7]
    # The result is there, but the task is cancelled before it takes it.
    done = threading.Event()
    released.clear()

    def work_at_once() -> int:
        done.set()
        return 8

    task = asyncio.create_task(run_in_daemon_thread(work_at_once, abandoned=release))
    await asyncio.sleep(0)
    assert done.wait(20)
    for thread in threading.enumerate():
        if thread.name == "pluginapi-call":
            thread.join(20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert released.wait(20)
    assert seen == [7, 8]


def test_results_for_a_closed_loop_are_released() -> None:
    go, released = threading.Event(), threading.Event()
    loop = asyncio.new_event_loop()
    coroutine = run_in_daemon_thread(lambda: go.wait(60), abandoned=lambda _: released.set())
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    go.set()
    assert released.wait(20)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine.close()


def test_description_of_a_failure_without_a_message() -> None:
    assert describe_failure(ValueError()) == "ValueError"
    assert len(describe_failure(ValueError("x" * 10_000))) < 600
