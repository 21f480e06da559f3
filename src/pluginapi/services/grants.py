"""What of a plugin's wishes for services the operator has granted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pluginapi.services.names import is_service_method

__all__ = ["ServiceGrants"]


@dataclass(frozen=True, slots=True)
class ServiceGrants:
    """Compare what a plugin declares with what the operator grants it.

    Attributes:
        allowed: Declared and granted, in the order of the declaration: what it may call.
        missing: Declared and not granted.
        unused: Granted and not declared: the plugin cannot call it either.
    """

    allowed: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @classmethod
    def of(cls, declared: Iterable[str], granted: Iterable[str]) -> ServiceGrants:
        """Compare; names are ``service.method``.

        Raises:
            ValueError: When something else was granted.
        """
        declared, granted = tuple(declared), tuple(granted)
        for name in granted:
            if not is_service_method(name):
                raise ValueError(f"{name!r} is not 'service.method'")
        return cls(
            tuple(name for name in declared if name in granted),
            tuple(name for name in declared if name not in granted),
            tuple(name for name in granted if name not in declared),
        )

    def remedy(self, plugin: str) -> str:
        """Say what to write into the configuration so that nothing is missing."""
        names = ", ".join(f'"{name}"' for name in (*self.allowed, *self.missing))
        return f'write "{plugin}" = [{names}] in section [services.plugin] of pluginapi.toml'
