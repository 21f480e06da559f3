"""Evaluate literal expressions of a syntax tree with a closed list of constructors."""

from __future__ import annotations

import ast
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pluginapi.errors import PluginError
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginDependency
from pluginapi.requirements import (
    FilesystemAccess,
    FilesystemRequirement,
    NetworkAccess,
    NetworkRequirement,
    NetworkTarget,
    PluginRequirements,
)
from pluginapi.version import PluginVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pluginapi.errors import InvalidManifest

__all__ = ["CONSTANTS", "CONSTRUCTORS", "LiteralReader"]

CONSTRUCTORS: Final[Mapping[str, Callable[..., object]]] = MappingProxyType(
    {
        "FilesystemRequirement": FilesystemRequirement,
        "FilesystemRequirement.none": FilesystemRequirement.none,
        "FilesystemRequirement.read_only": FilesystemRequirement.read_only,
        "FilesystemRequirement.read_write": FilesystemRequirement.read_write,
        "NetworkRequirement": NetworkRequirement,
        "NetworkRequirement.full": NetworkRequirement.full,
        "NetworkRequirement.none": NetworkRequirement.none,
        "NetworkRequirement.restricted": NetworkRequirement.restricted,
        "NetworkTarget": NetworkTarget,
        "NetworkTarget.cidr": NetworkTarget.cidr,
        "NetworkTarget.domain": NetworkTarget.domain,
        "NetworkTarget.ip": NetworkTarget.ip,
        "NetworkTarget.parse": NetworkTarget.parse,
        "NetworkTarget.range": NetworkTarget.range,
        "PluginDependency": PluginDependency,
        "PluginRequirements": PluginRequirements,
        "PluginVersion": PluginVersion,
        "PluginVersion.parse": PluginVersion.parse,
        "ResourceLimits": ResourceLimits,
    }
)
"""What may be called in an argument of make_plugin: constructors without any side effect."""

CONSTANTS: Final[Mapping[str, object]] = MappingProxyType(
    {
        **{f"NetworkAccess.{item.name}": item for item in NetworkAccess},
        **{f"FilesystemAccess.{item.name}": item for item in FilesystemAccess},
    }
)
"""What may be named in an argument of make_plugin."""

_MAX_DEPTH: Final = 64
_MAX_NODES: Final = 10_000
_MAX_TEXT: Final = 64 * 1024
_MAX_BITS: Final = 64

_ALLOWED: Final = "text, whole numbers, True, False, None, tuples, lists and dictionaries"


class LiteralReader:
    """Evaluate expressions within one budget of nodes, depth and size.

    Whole numbers stay below 2 to the 64th, text below 64 KiB; both are checked before the value is
    made, so no operation can take more memory or time than its operands did.

    Args:
        resolve: Gives the dotted name in `pluginapi` of an expression, or None.
        refuse: Makes the error for a node, a message, a code and a hint.
    """

    def __init__(
        self,
        resolve: Callable[[ast.expr], str | None],
        refuse: Callable[[ast.AST, str, str, str | None], InvalidManifest],
    ) -> None:
        self._resolve = resolve
        self._refuse = refuse
        self._nodes = 0
        self._depth = 0

    def read(self, node: ast.expr) -> Any:
        """Return the value of an expression.

        Raises:
            InvalidManifest: The expression is not a literal (``manifest.not_literal``), too deep
                or too large, or a constructor refused its arguments.
        """
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MAX_NODES:
            raise self._refuse(
                node, f"more than {_MAX_NODES} values", "manifest.too_large", "write less"
            )
        if self._depth > _MAX_DEPTH:
            raise self._refuse(
                node,
                f"nested more than {_MAX_DEPTH} deep",
                "manifest.too_deep",
                "write adjacent strings without +, and fewer brackets",
            )
        try:
            return self._read(node)
        finally:
            self._depth -= 1

    def _read(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return self._constant(node, value)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                number = self._integer(operand, self.read(operand))
                return -number if isinstance(node.op, ast.USub) else number
            case ast.BinOp():
                return self._operation(node)
            case ast.Tuple(elts=items):
                return tuple(self.read(item) for item in items)
            case ast.List(elts=items):
                return [self.read(item) for item in items]
            case ast.Dict():
                return self._dictionary(node)
            case ast.Call():
                return self._call(node)
            case ast.Attribute():
                name = self._resolve(node)
                if name is not None and name in CONSTANTS:
                    return CONSTANTS[name]
        raise self._not_literal(node, f"{_describe(node)} is not a literal")

    def _not_literal(self, node: ast.AST, message: str) -> InvalidManifest:
        return self._refuse(
            node,
            message,
            "manifest.not_literal",
            f"write the value in place: {_ALLOWED}, or the value types of pluginapi",
        )

    def _constant(self, node: ast.expr, value: object) -> object:
        if isinstance(value, str):
            if len(value) > _MAX_TEXT:
                raise self._too_large(node, f"a text of {len(value)} characters")
            return value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._integer(node, value)
        raise self._not_literal(node, f"a {type(value).__name__} literal is not allowed")

    def _integer(self, node: ast.expr, value: object) -> int:
        if type(value) is not int:
            raise self._not_literal(node, f"arithmetic with a {type(value).__name__}")
        if value.bit_length() > _MAX_BITS:
            raise self._too_large(node, f"a number of {value.bit_length()} bits")
        return value

    def _too_large(self, node: ast.AST, what: str) -> InvalidManifest:
        return self._refuse(
            node,
            f"{what} is too large",
            "manifest.too_large",
            f"at most {_MAX_BITS} bits and {_MAX_TEXT} characters are allowed",
        )

    def _operation(self, node: ast.BinOp) -> object:
        left, right = self.read(node.left), self.read(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return self._constant(node, left + right)
        first = self._integer(node.left, left)
        second = self._integer(node.right, right)
        match node.op:
            case ast.Add():
                result = first + second
            case ast.Sub():
                result = first - second
            case ast.Mult():
                result = first * second
            case ast.FloorDiv() if second:
                result = first // second
            case ast.Pow() if 0 <= second <= _MAX_BITS:
                if first.bit_length() * second > 2 * _MAX_BITS:
                    raise self._too_large(node, "a power")
                result = int(first**second)
            case _:
                raise self._not_literal(
                    node, f"{type(node.op).__name__} of {first} and {second} is not allowed"
                )
        return self._integer(node, result)

    def _dictionary(self, node: ast.Dict) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            if key_node is None:
                raise self._not_literal(value_node, "** in a dictionary is not a literal")
            key = self.read(key_node)
            if not isinstance(key, str) or key in result:
                raise self._refuse(
                    key_node,
                    f"the key {str(key)[:80]!r} is not text, or given twice",
                    "manifest.field",
                    "give every key once, as text in quotes",
                )
            result[key] = self.read(value_node)
        return result

    def _call(self, node: ast.Call) -> object:
        name = self._resolve(node.func)
        constructor = CONSTRUCTORS.get(name) if name is not None else None
        if constructor is None:
            raise self._not_literal(node, f"the call of {_describe(node.func)} is not allowed")
        positional = [self.read(item) for item in node.args]
        keywords: dict[str, object] = {}
        for item in node.keywords:
            if item.arg is None:
                raise self._not_literal(item.value, "** in a call is not a literal")
            if item.arg in keywords:
                raise self._refuse(
                    item.value,
                    f"the argument {item.arg[:80]!r} is given twice",
                    "manifest.field",
                    "give every argument once",
                )
            keywords[item.arg] = self.read(item.value)
        try:
            return constructor(*positional, **keywords)
        except PluginError as err:
            raise self._refuse(node, err.message, err.code, err.hint) from err
        except (TypeError, ValueError, AttributeError) as err:
            raise self._refuse(
                node,
                f"{name} refuses these arguments: {err}",
                "manifest.field",
                "see the documentation of that type",
            ) from err


def _describe(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return f"the name {name[:80]!r}"
        case ast.Attribute(attr=name):
            return f"the attribute {name[:80]!r}"
        case ast.JoinedStr():
            return "an f-string"
        case ast.Starred():
            return "a starred expression"
        case ast.Call():
            return "a call"
    return f"a {type(node).__name__} expression"
