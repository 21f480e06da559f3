"""Make a validated manifest from the loosely typed values that plugin authors write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pluginapi.errors import InvalidManifest
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginDependency, PluginManifest
from pluginapi.requirements import (
    FilesystemAccess,
    NetworkAccess,
    PluginRequirements,
)
from pluginapi.version import PluginVersion

if TYPE_CHECKING:
    from pluginapi.manifest import PluginKind

__all__ = ["build_dependencies", "build_manifest"]

_MAX_RANGE_CHARS: Final = 256
_NO_REQUIREMENTS: Final = PluginRequirements()


def build_manifest(
    *,
    name: Any,
    version: Any,
    author: Any,
    kind: PluginKind,
    description: Any = None,
    resource_limits: Any = None,
    requirements: Any = None,
    dependencies: Any = None,
    abi: tuple[int, int] | None = None,
    entry: str | None = None,
) -> PluginManifest:
    """Check the type of every field, convert versions and dependencies, return the manifest.

    Raises:
        InvalidManifest: A field has the wrong type (``manifest.field``) or is out of bounds.
    """
    if not isinstance(version, PluginVersion):
        version = PluginVersion.parse(_text("version", version))
    if resource_limits is not None and not isinstance(resource_limits, ResourceLimits):
        raise _wrong("resource_limits", resource_limits, "ResourceLimits(max_threads=2)")
    if requirements is None:
        requirements = _NO_REQUIREMENTS
    else:
        _check_requirements(requirements)
    return PluginManifest(
        name=name,
        version=version,
        author=author,
        kind=kind,
        description=description,
        resource_limits=resource_limits,
        requirements=requirements,
        dependencies=build_dependencies(dependencies),
        abi=abi,
        entry=entry,
    )


def _check_requirements(requirements: Any) -> None:
    if not isinstance(requirements, PluginRequirements):
        raise _wrong("requirements", requirements, "PluginRequirements(context_read=('Logger',))")
    if not isinstance(requirements.network.access, NetworkAccess):
        raise _wrong("network access", requirements.network.access, "NetworkRequirement.full()")
    if not isinstance(requirements.filesystem.access, FilesystemAccess):
        raise _wrong(
            "file system access",
            requirements.filesystem.access,
            "FilesystemRequirement.read_only('/data')",
        )


def build_dependencies(value: Any) -> tuple[PluginDependency, ...]:
    """Read dependencies from a mapping or from a sequence of `PluginDependency`.

    A mapping gives by name either the version range or
    ``{"version_range": ..., "optional": ...}``.
    """
    if value is None:
        return ()
    if isinstance(value, Mapping):
        found = tuple(_dependency(name, item) for name, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        found = tuple(value)
    else:
        raise _wrong("dependencies", value, "{'acme.base': '>=1,<2'}")
    for item in found:
        if not isinstance(item, PluginDependency):
            raise _wrong("a dependency", item, "PluginDependency('acme.base', '>=1,<2')")
        if len(item.version_range) > _MAX_RANGE_CHARS or type(item.optional) is not bool:
            raise _wrong("a dependency", item.name, "PluginDependency('acme.base', '>=1,<2')")
    return found


def _dependency(name: Any, item: Any) -> PluginDependency:
    given: Mapping[Any, Any] = item if isinstance(item, Mapping) else {"version_range": item}
    unknown = next((key for key in given if key not in {"version_range", "optional"}), None)
    if unknown is not None:
        raise InvalidManifest(
            f"the dependency {str(name)[:80]!r} has the unknown key {str(unknown)[:80]!r}",
            code="manifest.field",
            hint="the keys are version_range and optional",
        )
    version_range = _text("version_range of a dependency", given.get("version_range", ""))
    optional = given.get("optional", False)
    if type(optional) is not bool or len(version_range) > _MAX_RANGE_CHARS:
        raise _wrong(
            f"the dependency {str(name)[:80]!r}",
            item,
            "{'version_range': '>=1,<2', 'optional': True} with a range of at most 256 characters",
        )
    return PluginDependency(name, version_range, optional)


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(what, value, "text in quotes")
    return value


def _wrong(what: str, value: Any, example: str) -> InvalidManifest:
    return InvalidManifest(
        f"{what} is {str(value)[:80]!r} of type {type(value).__name__}, which is not allowed there",
        code="manifest.field",
        hint=f"write {example}",
    )
