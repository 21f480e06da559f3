"""What a plugin says about itself: the manifest, read from its file without running any of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from pluginapi.errors import InvalidManifest
from pluginapi.limits import ResourceLimits
from pluginapi.requirements import PluginRequirements
from pluginapi.version import PluginVersion, parse_version_range

__all__ = ["PluginDependency", "PluginKind", "PluginManifest"]

# A name goes into file names, log lines and terminal tables: it can do no harm in any of them.
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")
_MAX_NAME_CHARS: Final = 64
_MAX_AUTHOR_CHARS: Final = 256
_MAX_DESCRIPTION_CHARS: Final = 16_384
_MAX_DEPENDENCIES: Final = 128


class PluginKind(Enum):
    """How a plugin is packaged and run."""

    NATIVE = "native"
    PYTHON = "python"
    PYTHON_ZIP = "python-zip"


@dataclass(frozen=True, slots=True)
class PluginDependency:
    """Name another plugin that must be there, and the versions of it that will do."""

    name: str
    version_range: str = ""
    optional: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        parse_version_range(self.version_range)

    def __str__(self) -> str:
        suffix = " (optional)" if self.optional else ""
        return f"{self.name}{self.version_range}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginManifest:
    """Hold the metadata of one plugin, validated on construction.

    Attributes:
        name: 1 to 64 characters: lower-case words joined by ``.``, ``_`` or ``-``.
        version: The plugin's own version.
        author: 1 to 256 characters on one line.
        description: Markdown, at most 16 384 characters, or None.
        resource_limits: What it declares to need; None asks for the host's default.
        requirements: What it asks of the system.
        dependencies: Other plugins it needs. Parsed and shown, resolved by the operator.
        kind: How it is packaged.
        abi: Major and minor version of the C ABI it was built for; None for Python plugins.
        entry: For Python plugins the name of the decorated class.

    Raises:
        InvalidManifest: When a field is outside its bounds; the message names the field.
    """

    name: str
    version: PluginVersion
    author: str
    kind: PluginKind
    description: str | None = None
    resource_limits: ResourceLimits | None = None
    requirements: PluginRequirements = field(default_factory=PluginRequirements)
    dependencies: tuple[PluginDependency, ...] = ()
    abi: tuple[int, int] | None = None
    entry: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_text("author", self.author, _MAX_AUTHOR_CHARS, one_line=True)
        if self.description is not None:
            _check_text("description", self.description, _MAX_DESCRIPTION_CHARS, one_line=False)
        if self.dependencies:
            _check_dependencies(self.name, self.dependencies)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON-representable values."""
        return {
            "name": self.name,
            "version": str(self.version),
            "author": self.author,
            "description": self.description,
            "kind": self.kind.value,
            "abi": None if self.abi is None else f"{self.abi[0]}.{self.abi[1]}",
            "entry": self.entry,
            "resource_limits": None
            if self.resource_limits is None
            else self.resource_limits.to_dict(),
            "requirements": self.requirements.to_dict(),
            "dependencies": [
                {"name": item.name, "version_range": item.version_range, "optional": item.optional}
                for item in self.dependencies
            ],
        }


def check_name(name: object) -> None:
    """Refuse a plugin name that is not lower-case words joined by ``.``, ``_`` or ``-``."""
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise InvalidManifest(
            f"plugin name {str(name)[:80]!r} is not allowed",
            code="manifest.name",
            hint="use 1 to 64 characters: lower-case letters and digits, joined by '.', '_' or "
            "'-', for example 'acme.request-filter'",
        )


def _check_text(what: str, text: object, limit: int, *, one_line: bool) -> None:
    if not isinstance(text, str):
        raise InvalidManifest(f"{what} is not text", hint=f"give {what} as text")
    if not 0 < len(text) <= limit:
        raise InvalidManifest(
            f"{what} has {len(text)} characters, not 1 to {limit}",
            hint=f"write a {what} of that length",
        )
    if text.isprintable():
        return
    allowed = "" if one_line else "\n\t"
    bad = next((char for char in text if not char.isprintable() and char not in allowed), None)
    if bad is not None:
        raise InvalidManifest(
            f"{what} contains the control character U+{ord(bad):04X}",
            hint=f"write {what} with printable characters only",
        )


def _check_dependencies(name: str, dependencies: Iterable[PluginDependency]) -> None:
    names = [item.name for item in dependencies]
    if len(names) > _MAX_DEPENDENCIES:
        raise InvalidManifest(
            f"{len(names)} dependencies, more than {_MAX_DEPENDENCIES}",
            hint="name direct dependencies only",
        )
    if len(set(names)) != len(names):
        raise InvalidManifest("a dependency is named twice", hint="name every dependency once")
    if name in names:
        raise InvalidManifest(
            "the plugin depends on itself", hint="remove it from its dependencies"
        )
