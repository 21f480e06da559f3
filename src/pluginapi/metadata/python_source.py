"""Read the manifest of a Python plugin from its source, without running it.

Exactly one class of the module's top level carries ``@make_plugin(...)``, and its arguments are
literals: text, whole numbers with ``+ - * // **``, ``True``, ``False``, ``None``, tuples, lists,
dictionaries, and calls of the value types of `pluginapi` (``ResourceLimits(...)``,
``NetworkTarget.domain("api.example.com")``). A name counts as one of `pluginapi` only when an
import statement of the top level binds it.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pluginapi.errors import InvalidManifest, PluginError
from pluginapi.manifest import PluginKind
from pluginapi.metadata.build import build_manifest
from pluginapi.metadata.literals import CONSTANTS, CONSTRUCTORS, LiteralReader
from pluginapi.metadata.parsing import parse_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pluginapi.manifest import PluginManifest

__all__ = ["MAX_SOURCE_BYTES", "decode_source", "read_python_source"]

MAX_SOURCE_BYTES: Final = 1024 * 1024
"""The largest Python source file that is read, 1 MiB."""

_MAKE_PLUGIN: Final = "make_plugin"
_MODULES: Final = frozenset(
    {
        "pluginapi",
        "pluginapi.limits",
        "pluginapi.manifest",
        "pluginapi.plugin",
        "pluginapi.requirements",
        "pluginapi.version",
    }
)
_FIELDS: Final = (
    "name",
    "version",
    "author",
    "description",
    "resource_limits",
    "requirements",
    "dependencies",
)
_REQUIRED: Final = _FIELDS[:3]
_EXAMPLE: Final = '@make_plugin(name="acme.filter", version="1.0.0", author="Acme")'


def read_python_source(
    data: bytes, label: str, *, kind: PluginKind = PluginKind.PYTHON
) -> PluginManifest:
    """Read the manifest from the source of a plugin's entry module.

    Time and memory are bounded by the size of the source, at most `MAX_SOURCE_BYTES`.

    Args:
        data: The source, UTF-8.
        label: The name of the file in messages: they give ``label:line:column``.
        kind: What the manifest shall say.

    Raises:
        InvalidManifest: The code says what is wrong with the source (``manifest.*``).
    """
    source = decode_source(data, label)
    tree = parse_python(source, label)
    names = _Names(tree)
    found = _find_class(tree, names, label, source)
    fields = _read_arguments(found.call, names, label)
    try:
        return build_manifest(**fields, kind=kind, entry=found.name)
    except PluginError as err:
        raise _at(label, found.call, err.message, err.code, err.hint) from err


def decode_source(data: bytes, label: str) -> str:
    """Return the text of a source file: UTF-8, bounded, without NUL.

    Other encodings are refused even where a comment declares them: the bytes must mean the same
    for every reader.

    Raises:
        InvalidManifest: Code ``manifest.too_large`` or ``manifest.syntax``.
    """
    if len(data) > MAX_SOURCE_BYTES:
        raise InvalidManifest(
            f"{label} has {len(data)} bytes of source, more than {MAX_SOURCE_BYTES}",
            code="manifest.too_large",
            hint="move data into files of a .pyz, and code into modules beside the entry module",
        )
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode("utf-8-sig")
    except (SyntaxError, UnicodeDecodeError) as err:
        raise _not_text(label, str(err)) from err
    if encoding not in {"utf-8", "utf-8-sig"}:
        raise _not_text(label, f"its encoding is declared as {encoding}")
    if "\0" in text:
        raise _not_text(label, f"it contains a NUL character at {text.index(chr(0))}")
    return text


def _not_text(label: str, found: str) -> InvalidManifest:
    return InvalidManifest(
        f"{label} is not Python source in UTF-8: {found}",
        code="manifest.syntax",
        hint="save it as UTF-8 without another coding comment",
    )


def _at(label: str, node: ast.AST, message: str, code: str, hint: str | None) -> InvalidManifest:
    line = getattr(node, "lineno", 1)
    column = getattr(node, "col_offset", 0) + 1
    return InvalidManifest(
        f"{label}:{line}:{column}: {message}",
        code=code,
        hint=hint,
        file=label,
        line=line,
        column=column,
    )


class _Names:
    """What the import statements of a module's top level bind, of `pluginapi` only."""

    def __init__(self, tree: ast.Module) -> None:
        self._bound: dict[str, str] = {}
        # Every word of the import statements, as it is spelled in the source.
        self._imported: list[str] = []
        for statement in tree.body:
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    self._bind_import(alias)
                    self._note(alias.name, alias.asname)
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                self._note(statement.module)
                for alias in statement.names:
                    self._bind_from(statement.module or "", alias)
                    self._note(alias.name, alias.asname)

    def _note(self, *dotted: str | None) -> None:
        for name in dotted:
            self._imported += (name or "").split(".")

    def _bind_import(self, alias: ast.alias) -> None:
        top = alias.name.partition(".")[0]
        if alias.asname is not None:
            self._bind(alias.asname, alias.name)
        else:
            self._bind(top, top)

    def _bind_from(self, module: str, alias: ast.alias) -> None:
        if alias.name == "*" and module in _MODULES:
            for dotted in (_MAKE_PLUGIN, *CONSTRUCTORS, *CONSTANTS):
                name = dotted.partition(".")[0]
                self._bind(name, f"{module}.{name}")
        else:
            self._bind(alias.asname or alias.name, f"{module}.{alias.name}")

    def _bind(self, name: str, path: str) -> None:
        if path == "pluginapi" or path.startswith("pluginapi."):
            self._bound[name] = path
        else:
            # A later import of another module takes the name away.
            self._bound.pop(name, None)

    def resolve(self, node: ast.expr) -> str | None:
        """Return ``ResourceLimits`` or ``NetworkTarget.domain`` for what an expression names.

        None for everything that is not a dotted name that begins at an import of `pluginapi`.
        """
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._bound:
            return None
        path = [*self._bound[node.id].split("."), *reversed(parts)]
        for size in (2, 1):
            if ".".join(path[:size]) in _MODULES:
                return ".".join(path[size:])
        return None

    def is_make_plugin(self, node: ast.expr) -> bool:
        """Tell whether an expression names `make_plugin`."""
        return self.resolve(node) == _MAKE_PLUGIN

    def are_spelled_only_at(self, found: Iterable[_Found], source: str) -> bool:
        """Tell whether the imports and these decorators are all that can name make_plugin.

        Whatever names it ends in the word make_plugin or is a word that an import bound to it. If
        the source has such words only where they are expected, no other node need be looked at;
        they may still stand in a text or a comment. Only ASCII is spelled in one way (PEP 3131).
        """
        spellings = {_MAKE_PLUGIN}
        spellings.update(
            name for name, path in self._bound.items() if path.endswith(f".{_MAKE_PLUGIN}")
        )
        expected = sum(word in spellings for word in self._imported)
        for item in found:
            node = item.call.func
            while isinstance(node, ast.Attribute):
                expected += node.attr in spellings
                node = node.value
            expected += isinstance(node, ast.Name) and node.id in spellings
        # Parts of longer words are counted as well, which only makes the answer a no.
        return source.isascii() and sum(map(source.count, spellings)) == expected


@dataclass(frozen=True)
class _Found:
    name: str
    call: ast.Call


def _find_class(tree: ast.Module, names: _Names, label: str, source: str) -> _Found:
    """Return the only decorated class of the top level."""
    found: list[_Found] = []
    accepted: set[ast.AST] = set()
    for statement in tree.body:
        if not isinstance(statement, ast.ClassDef):
            continue
        for decorator in statement.decorator_list:
            if isinstance(decorator, ast.Call) and names.is_make_plugin(decorator.func):
                found.append(_Found(statement.name, decorator))
                accepted.add(decorator)
            elif names.is_make_plugin(decorator):
                raise _at(
                    label,
                    decorator,
                    "make_plugin is used without arguments",
                    "manifest.field",
                    f"write {_EXAMPLE}",
                )
    elsewhere = () if names.are_spelled_only_at(found, source) else _uses(tree, names)
    for node in elsewhere:
        if node not in accepted:
            raise _at(
                label,
                node,
                "make_plugin is used elsewhere than as decorator of a class of the top level",
                "manifest.not_top_level",
                "decorate one class that no if, try, function or class encloses",
            )
    if len(found) > 1:
        raise _at(
            label,
            found[1].call,
            f"a second make_plugin; the first is in line {found[0].call.lineno}",
            "manifest.ambiguous",
            "put each plugin into a file of its own",
        )
    if not found:
        raise InvalidManifest(
            f"{label} has no class decorated with make_plugin of pluginapi",
            code="manifest.missing",
            hint=f"add `from pluginapi import make_plugin` and {_EXAMPLE} above the class",
            file=label,
        )
    return found[0]


def _uses(tree: ast.Module, names: _Names) -> Iterator[ast.AST]:
    """Yield every call of make_plugin and every bare decoration with it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and names.is_make_plugin(node.func):
            yield node
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (item for item in node.decorator_list if names.is_make_plugin(item))


def _read_arguments(call: ast.Call, names: _Names, label: str) -> dict[str, Any]:
    def refuse(node: ast.AST, message: str, code: str, hint: str | None) -> InvalidManifest:
        return _at(label, node, message, code, hint)

    if call.args:
        raise refuse(
            call.args[0],
            "make_plugin takes keyword arguments only",
            "manifest.field",
            f"write {_EXAMPLE}",
        )
    reader = LiteralReader(names.resolve, refuse)
    fields: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise refuse(
                keyword.value,
                "** in make_plugin is not a literal",
                "manifest.not_literal",
                "write every argument in place",
            )
        if keyword.arg not in _FIELDS:
            raise refuse(
                keyword.value,
                f"make_plugin has no argument {keyword.arg[:80]!r}",
                "manifest.field",
                f"the arguments are {', '.join(_FIELDS)}",
            )
        if keyword.arg in fields:
            # The parser accepts this; only the compiler would not.
            raise refuse(
                keyword.value,
                f"the argument {keyword.arg} is given twice",
                "manifest.field",
                "give every argument once",
            )
        fields[keyword.arg] = reader.read(keyword.value)
    for name in _REQUIRED:
        if name not in fields:
            raise refuse(
                call, f"the argument {name} is missing", "manifest.field", f"write {_EXAMPLE}"
            )
    return fields
