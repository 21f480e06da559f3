"""What a plugin says it needs: network, file system, context keys, services of the host.

A requirement is a request, never a grant: the operator's policy decides what of it is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Final

from pluginapi.errors import InvalidManifest
from pluginapi.network_target import NetworkTarget
from pluginapi.services.names import is_service_method

__all__ = [
    "FilesystemAccess",
    "FilesystemRequirement",
    "NetworkAccess",
    "NetworkRequirement",
    "NetworkTarget",
    "PluginRequirements",
]

_MAX_ITEMS: Final = 256
_MAX_PATH_CHARS: Final = 4096
_MAX_PORT: Final = 65_535


def _refuse(message: str, hint: str) -> InvalidManifest:
    return InvalidManifest(message, code="manifest.requirement", hint=hint)


class NetworkAccess(Enum):
    """How much of the network a plugin asks for."""

    NONE = "none"
    RESTRICTED = "restricted"
    FULL = "full"


def _items(what: str, value: object, example: str) -> tuple[Any, ...]:
    """Return a sequence as a tuple; a bare string is a sequence too, and always a mistake."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise _refuse(f"{what} is {value!r}, not a list", f"write {example}")
    items = tuple(itertools.islice(value, _MAX_ITEMS + 1))
    if len(items) > _MAX_ITEMS:
        raise _refuse(f"{what} has more than {_MAX_ITEMS} items", "name fewer, broader ones")
    return items


@dataclass(frozen=True, slots=True)
class NetworkRequirement:
    """Say which network destinations a plugin needs, and on which ports it listens.

    Attributes:
        access: How much it asks for.
        allowed_targets: With restricted access, what it connects to.
        listen_ports: With restricted access, the TCP ports that it listens on; its operator says
            where on the host they are.
    """

    access: NetworkAccess = NetworkAccess.NONE
    allowed_targets: tuple[NetworkTarget, ...] = ()
    listen_ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.access, NetworkAccess):
            raise _refuse("network access is not a NetworkAccess", "use NetworkRequirement.none()")
        targets = _items("allowed_targets", self.allowed_targets, "(NetworkTarget.ip('::1'),)")
        object.__setattr__(self, "allowed_targets", targets)
        ports = _items("listen_ports", self.listen_ports, "(8080,)")
        object.__setattr__(self, "listen_ports", ports)
        for port in ports:
            if type(port) is not int or not 1 <= port <= _MAX_PORT:
                raise _refuse(f"port {port!r:.80} is not from 1 to 65535", "write (8080,)")
        if bool(targets or ports) != (self.access is NetworkAccess.RESTRICTED):
            raise _refuse(
                "network targets and ports go with restricted access, which needs one of them",
                "use NetworkRequirement.none(), .restricted(target, ...) or .full()",
            )
        if not all(isinstance(target, NetworkTarget) for target in self.allowed_targets):
            raise _refuse(
                "a network target is not a NetworkTarget",
                "use NetworkTarget.domain('api.example.com')",
            )

    @classmethod
    def none(cls) -> NetworkRequirement:
        """Ask for no network at all."""
        return cls()

    @classmethod
    def restricted(
        cls, *allowed_targets: NetworkTarget, listen_ports: tuple[int, ...] = ()
    ) -> NetworkRequirement:
        """Ask for the named destinations, and for ports to listen on, only."""
        return cls(NetworkAccess.RESTRICTED, allowed_targets, listen_ports)

    @classmethod
    def full(cls) -> NetworkRequirement:
        """Ask for the whole network."""
        return cls(NetworkAccess.FULL)


class FilesystemAccess(Enum):
    """How a plugin asks to use its paths."""

    NONE = "none"
    READ_ONLY = "read_only"
    READ_WRITE = "read_write"


@dataclass(frozen=True, slots=True)
class FilesystemRequirement:
    """Say which paths of the host a plugin needs."""

    access: FilesystemAccess = FilesystemAccess.NONE
    allowed_paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.access, FilesystemAccess):
            raise _refuse(
                "file system access is not a FilesystemAccess", "use FilesystemRequirement.none()"
            )
        paths = _items("allowed_paths", self.allowed_paths, "('/data/readonly',)")
        object.__setattr__(self, "allowed_paths", paths)
        if bool(self.allowed_paths) != (self.access is not FilesystemAccess.NONE):
            raise _refuse(
                "paths go with read-only or read-write access, and those need a path",
                "use FilesystemRequirement.none(), .read_only(path, ...) or .read_write(path, ...)",
            )
        for path in self.allowed_paths:
            if (
                not isinstance(path, str)
                or not 0 < len(path) <= _MAX_PATH_CHARS
                or "\0" in path
                or not PurePosixPath(path).is_absolute()
                or ".." in PurePosixPath(path).parts
            ):
                raise _refuse(
                    f"path {path!r} is not an absolute path without '..'", "write '/data/readonly'"
                )

    @classmethod
    def none(cls) -> FilesystemRequirement:
        """Ask for no path of the host."""
        return cls()

    @classmethod
    def read_only(cls, *allowed_paths: str) -> FilesystemRequirement:
        """Ask to read the named paths."""
        return cls(FilesystemAccess.READ_ONLY, allowed_paths)

    @classmethod
    def read_write(cls, *allowed_paths: str) -> FilesystemRequirement:
        """Ask to read and write the named paths."""
        return cls(FilesystemAccess.READ_WRITE, allowed_paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRequirements:
    """Say what a plugin needs from its host.

    Attributes:
        network: Destinations it connects to.
        filesystem: Paths it opens.
        context_read: Names of the context keys that it reads.
        context_write: Names of the context keys that it sets.
        services: Methods of the host's services that it calls, as ``service.method``.
    """

    network: NetworkRequirement = field(default_factory=NetworkRequirement)
    filesystem: FilesystemRequirement = field(default_factory=FilesystemRequirement)
    context_read: tuple[str, ...] = ()
    context_write: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, expected in (
            ("network", NetworkRequirement),
            ("filesystem", FilesystemRequirement),
        ):
            if not isinstance(getattr(self, name), expected):
                raise _refuse(
                    f"{name} is not a {expected.__name__}", f"use {expected.__name__}.none()"
                )
        for name in ("context_read", "context_write"):
            keys = _items(name, getattr(self, name), "('Logger',)")
            if not all(isinstance(key, str) and key for key in keys):
                raise _refuse(f"{name} holds something else than names", "write ('Logger',)")
            object.__setattr__(self, name, keys)
        services = _items("services", self.services, "('database.fetch',)")
        for method in services:
            if not is_service_method(method):
                raise _refuse(
                    f"service method {str(method)[:80]!r} is not of the form service.method",
                    "write 'database.fetch'",
                )
        object.__setattr__(self, "services", services)

    def to_dict(self) -> dict[str, Any]:
        """Return the requirements as JSON-representable values."""
        return {
            "network": {
                "access": self.network.access.value,
                "allowed_targets": [str(target) for target in self.network.allowed_targets],
                "listen_ports": list(self.network.listen_ports),
            },
            "filesystem": {
                "access": self.filesystem.access.value,
                "allowed_paths": list(self.filesystem.allowed_paths),
            },
            "context_read": list(self.context_read),
            "context_write": list(self.context_write),
            "services": list(self.services),
        }
