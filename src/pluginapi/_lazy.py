"""Names of a package that are imported from its modules when they are first asked for.

A host uses few of the names that `pluginapi` has; a worker process uses next to none of them, and
pays for every module in the time of its start and in memory.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["lazily"]


def lazily(
    package: str, names: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: Its name.
        names: The names that each module gives it.
    """
    origins = {name: module for module, given in names.items() for name in given}

    def find(name: str) -> Any:
        module = origins.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(module), name)
        # The next access is a plain one.
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *origins})

    return find, listed
