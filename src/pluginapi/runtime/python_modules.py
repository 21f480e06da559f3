"""Import the modules of one Python plugin from memory, under private names.

The modules of a plugin live below ``pluginapi_plugins.<name>_<number>``, so two plugins that both
have a package ``utils``, or two versions of one plugin, never see each other's modules, and no
module of the host is shadowed.

What works inside a plugin as if its archive stood on ``sys.path``: relative imports;
``import mypkg.sub`` and ``from mypkg import sub`` of its own top-level modules, which go before
modules of the host with the same name; ``importlib.import_module(".sub", __package__)``;
``importlib.resources.files(__package__)``; ``pkgutil.get_data``; tracebacks with source lines.

What does not, since it names a module by an absolute string outside of an import statement:
``importlib.import_module("mypkg.sub")``, ``importlib.resources.files("mypkg")``, pickles that were
made elsewhere. Nor are there extension modules, ``.pyc`` files, or packages without
``__init__.py`` in an archive.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import io
import itertools
import linecache
import os
import re
import sys
import threading
from importlib.resources.abc import Traversable, TraversableResources
from types import MappingProxyType, ModuleType
from typing import IO, TYPE_CHECKING, Any, Final

from pluginapi.errors import InvalidManifest
from pluginapi.metadata.parsing import SOURCE_NAME_PREFIX, compile_python
from pluginapi.metadata.python_source import decode_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import CodeType

__all__ = ["ROOT_PACKAGE", "PluginModules", "prepare_modules"]

ROOT_PACKAGE: Final = "pluginapi_plugins"
"""The package below which the modules of all plugins live; it exists in memory only."""

_INIT: Final = "__init__.py"
_numbers: Final = itertools.count(1)
_lock: Final = threading.Lock()
_owners: Final[dict[str, PluginModules]] = {}
_prepared: Final[list[dict[str, Any]]] = []


def prepare_modules() -> None:
    """Make in advance what the next `PluginModules` would make: for processes that will be forked.

    A copy of the builtins writes to each of them, and so to the pages of memory that they are in.
    """
    _prepared.append(dict(vars(builtins)))


class PluginModules:
    """Own the modules of one loaded plugin.

    Args:
        plugin: The plugin's name, for module and file names.
        files: The bytes of every file of the archive by its name.

    Safe to use from several threads.
    """

    def __init__(self, plugin: str, files: Mapping[str, bytes]) -> None:
        self.plugin = plugin
        self.root = f"{ROOT_PACKAGE}.{re.sub(r'[^a-z0-9]', '_', plugin)}_{next(_numbers)}"
        self.files = MappingProxyType(dict(files))
        self._closed = False
        self._lines: dict[str, list[str]] = {}
        self._top_names = frozenset(_top_names(self.files))
        self._builtins = _prepared.pop() if _prepared else dict(vars(builtins))
        self._builtins["__import__"] = self._import
        package = ModuleType(self.root, f"The modules of the plugin {plugin}.")
        package.__path__ = [self.root]
        package.__package__ = self.root
        package.__spec__ = importlib.machinery.ModuleSpec(self.root, None, is_package=True)
        with _lock:
            _owners[self.root.rpartition(".")[2]] = self
            parent = sys.modules.setdefault(ROOT_PACKAGE, _ROOT)
            sys.modules[self.root] = package
            setattr(parent, self.root.rpartition(".")[2], package)
            if _FINDER not in sys.meta_path:
                # In front: no finder of the host is asked for names that are not the host's.
                sys.meta_path.insert(0, _FINDER)

    def import_module(self, name: str) -> ModuleType:
        """Execute a module of the plugin, named as in its archive, and return it.

        Everything that the module's code raises is raised here.
        """
        return importlib.import_module(f"{self.root}.{name}")

    def close(self) -> None:
        """Forget all modules: nothing of the interpreter refers to them afterwards.

        A module that still executes finishes or fails at its next import. A second call does
        nothing.
        """
        short = self.root.rpartition(".")[2]
        with _lock:
            self._closed = True
            _owners.pop(short, None)
            vars(_ROOT).pop(short, None)
            if not _owners:
                sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _FINDER]
                sys.modules.pop(ROOT_PACKAGE, None)
        self._forget()

    def _forget(self) -> None:
        for name in [name for name in list(sys.modules) if f"{name}.".startswith(f"{self.root}.")]:
            sys.modules.pop(name, None)
        for filename, lines in list(self._lines.items()):
            cached = linecache.cache.get(filename)
            # Another load of the same plugin may have put its own source there since.
            if cached is not None and len(cached) > 1 and cached[2] is lines:
                linecache.cache.pop(filename, None)

    def filename(self, place: str) -> str:
        """Return the file name that tracebacks show for a file of the archive."""
        return f"{SOURCE_NAME_PREFIX}{self.plugin}>/{place}"

    def find_spec(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of a module by its full private name."""
        place = self.place(name)
        if place is None or self._closed:
            return None
        return importlib.machinery.ModuleSpec(
            name,
            _Loader(self, place),
            origin=self.filename(place),
            is_package=place.endswith(_INIT),
        )

    def place(self, name: str) -> str | None:
        """Return the archive's file that holds the module of this full name."""
        path = name[len(self.root) + 1 :].replace(".", "/")
        return next(
            (place for place in (f"{path}/{_INIT}", f"{path}.py") if place in self.files), None
        )

    def compile(self, place: str) -> CodeType:
        """Compile a source file from its bytes and make its lines known to tracebacks."""
        filename = self.filename(place)
        source = decode_source(self.files[place], filename)
        lines = source.splitlines(keepends=True)
        self._lines[filename] = lines
        # Without a time of change the entry counts as loaded by a loader and is never checked
        # against a file (linecache.checkcache).
        linecache.cache[filename] = (len(source), None, lines, filename)
        return compile_python(source, filename)

    def execute(self, module: ModuleType, place: str) -> None:
        """Run a module's code with imports that know the plugin's own modules."""
        code = self.compile(place)
        module.__file__ = self.filename(place)
        vars(module)["__builtins__"] = self._builtins
        exec(code, vars(module))  # noqa: S102 - the bytes were verified; this is what loading is
        if self._closed:
            self._forget()
            raise ImportError(f"the plugin {self.plugin} was unloaded", name=module.__name__)

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as a plugin's import statement asks: its own top-level modules go first."""
        top = name.partition(".")[0]
        if level or top not in self._top_names:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if fromlist:
            return builtins.__import__(f"{self.root}.{name}", globals, locals, fromlist, 0)
        importlib.import_module(f"{self.root}.{name}")
        return sys.modules[f"{self.root}.{top}"]


def _top_names(files: Mapping[str, bytes]) -> Iterator[str]:
    for place in files:
        top, slash, rest = place.partition("/")
        if slash and rest == _INIT:
            yield top
        elif not slash and top.endswith(".py"):
            yield top.removesuffix(".py")


class _Finder(importlib.abc.MetaPathFinder):
    """Find the modules of all plugins; knows no other name."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol of import
        target: ModuleType | None = None,  # noqa: ARG002
        /,
    ) -> importlib.machinery.ModuleSpec | None:
        parts = fullname.split(".", 2)
        if parts[0] != ROOT_PACKAGE or len(parts) < 3:  # noqa: PLR2004 - root, plugin, module
            return None
        owner = _owners.get(parts[1])
        return None if owner is None else owner.find_spec(fullname)


_FINDER: Final = _Finder()
_ROOT: Final = ModuleType(ROOT_PACKAGE, "The modules of all loaded plugins.")
_ROOT.__path__ = []


class _Loader(importlib.abc.InspectLoader):
    """Execute one module from the bytes of its plugin."""

    def __init__(self, owner: PluginModules, place: str) -> None:
        self._owner = owner
        self._place = place

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Ask for a module of the usual type."""

    def exec_module(self, module: ModuleType) -> None:
        self._owner.execute(module, self._place)

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002 - the protocol of import
        return self._place.endswith(_INIT)

    def get_source(self, fullname: str) -> str:
        try:
            return decode_source(self._owner.files[self._place], self._place)
        except InvalidManifest as err:
            raise ImportError(err.message, name=fullname) from err

    def get_data(self, path: str) -> bytes:
        """Return a file of the archive by the path that ``__file__`` suggests (PEP 302)."""
        prefix = self._owner.filename("")
        place = path.replace("\\", "/").removeprefix(prefix)
        if place not in self._owner.files:
            raise FileNotFoundError(f"the plugin {self._owner.plugin} has no file {place!r}")
        return self._owner.files[place]

    def get_resource_reader(self, fullname: str) -> TraversableResources | None:
        if not self.is_package(fullname):
            return None
        return _Resources(self._owner, self._place.rpartition("/")[0])


class _Resources(TraversableResources):
    def __init__(self, owner: PluginModules, directory: str) -> None:
        self._owner = owner
        self._directory = directory

    def files(self) -> Traversable:
        return _Resource(self._owner, self._directory)


class _Resource(Traversable):
    """A file or directory of an archive, as importlib.resources shows it."""

    def __init__(self, owner: PluginModules, place: str) -> None:
        self._owner = owner
        self._place = place

    @property
    def name(self) -> str:
        return self._place.rpartition("/")[2]

    def is_file(self) -> bool:
        return self._place in self._owner.files

    def is_dir(self) -> bool:
        return any(place.startswith(f"{self._place}/") for place in self._owner.files)

    def iterdir(self) -> Iterator[Traversable]:
        prefix = f"{self._place}/"
        names = {
            place[len(prefix) :].partition("/")[0]
            for place in self._owner.files
            if place.startswith(prefix)
        }
        return iter([_Resource(self._owner, f"{prefix}{name}") for name in sorted(names)])

    def joinpath(self, *descendants: str | os.PathLike[str]) -> Traversable:
        parts = [part for item in descendants for part in os.fspath(item).split("/") if part != "."]
        return _Resource(self._owner, "/".join([self._place, *parts]))

    def __truediv__(self, child: str | os.PathLike[str]) -> Traversable:
        return self.joinpath(child)

    def read_bytes(self) -> bytes:
        if not self.is_file():
            raise FileNotFoundError(f"the plugin {self._owner.plugin} has no file {self._place!r}")
        return self._owner.files[self._place]

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        stream = io.BytesIO(self.read_bytes())
        if mode == "rb":
            return stream
        if mode != "r":
            raise ValueError(f"files of a plugin are opened with 'r' or 'rb', not {mode!r}")
        return io.TextIOWrapper(stream, *args, **{"encoding": "utf-8", **kwargs})
