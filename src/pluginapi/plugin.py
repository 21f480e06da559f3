"""What the author of a Python plugin uses: `make_plugin`, and `Plugin` to inherit from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pluginapi.errors import InvalidManifest
from pluginapi.manifest import PluginDependency, PluginKind, PluginManifest
from pluginapi.metadata.build import build_manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pluginapi.limits import ResourceLimits
    from pluginapi.requirements import PluginRequirements
    from pluginapi.version import PluginVersion

__all__ = ["MANIFEST_ATTRIBUTE", "Plugin", "make_plugin"]

MANIFEST_ATTRIBUTE = "__plugin_manifest__"
"""The attribute of a decorated class that holds its `PluginManifest`."""

_Class = TypeVar("_Class", bound=type)


class Plugin:
    """A base class for Python plugins; every method may be overridden, sync or async.

    To inherit from it is a convenience: `make_plugin` accepts any class that has those of the
    methods that it needs. The class is called without arguments, once. Async methods run on the
    host's event loop; sync ones in a thread of their own, so that one that hangs can be given up.
    """

    @property
    def manifest(self) -> PluginManifest:
        """The manifest that `make_plugin` attached to the class.

        Raises:
            InvalidManifest: The class is not decorated.
        """
        found = getattr(type(self), MANIFEST_ATTRIBUTE, None)
        if not isinstance(found, PluginManifest):
            raise InvalidManifest(
                f"the class {type(self).__name__} has no manifest",
                code="manifest.missing",
                hint="decorate it with @make_plugin(name=..., version=..., author=...)",
            )
        return found

    def init(self, context: Any) -> Awaitable[None] | None:
        """Prepare the plugin; ``context`` is the `PluginContext` that it may use."""

    def register_hooks(self, hooks: Any) -> Awaitable[None] | None:
        """Register the plugin's handlers with ``hooks``, a `HookScope`."""

    def shutdown(self) -> Awaitable[None] | None:
        """Release what `init` took. Handlers are not called any more."""


def make_plugin(
    *,
    name: str,
    version: str | PluginVersion,
    author: str,
    description: str | None = None,
    resource_limits: ResourceLimits | None = None,
    requirements: PluginRequirements | None = None,
    dependencies: Mapping[str, str | Mapping[str, Any]] | Sequence[PluginDependency] | None = None,
) -> Callable[[_Class], _Class]:
    """Make a class the plugin of its file and give it a manifest.

    The host reads the arguments from the source before it runs any of it. So they are literals:
    text, whole numbers, ``True``, ``False``, ``None``, tuples, lists, dictionaries and the value
    types of `pluginapi`; and the decorator stands on a class of the module's top level, once.

    Args:
        name: 1 to 64 characters: lower-case words joined by ``.``, ``_`` or ``-``.
        version: Three numbers, ``"1.4.0"``.
        author: 1 to 256 characters on one line.
        description: Markdown, at most 16 384 characters.
        resource_limits: What the plugin declares to need; None asks for the host's default.
        requirements: What it asks of network, file system and context.
        dependencies: Other plugins: ``{"acme.base": ">=1,<2"}``,
            ``{"acme.base": {"version_range": ">=1", "optional": True}}``, or a sequence of
            `PluginDependency`.

    Raises:
        InvalidManifest: An argument is outside its bounds; the message names it.
    """
    manifest = build_manifest(
        name=name,
        version=version,
        author=author,
        description=description,
        resource_limits=resource_limits,
        requirements=requirements,
        dependencies=dependencies,
        kind=PluginKind.PYTHON,
    )

    def attach(cls: _Class) -> _Class:
        if not isinstance(cls, type):
            raise InvalidManifest(
                f"make_plugin decorates a class, not a {type(cls).__name__}",
                code="manifest.not_top_level",
                hint="put @make_plugin(...) above `class`",
            )
        if MANIFEST_ATTRIBUTE in vars(cls):
            raise InvalidManifest(
                f"the class {cls.__name__} is decorated twice",
                code="manifest.ambiguous",
                hint="remove one @make_plugin(...)",
            )
        setattr(cls, MANIFEST_ATTRIBUTE, replace(manifest, entry=cls.__name__))
        return cls

    return attach
