"""The compiled modules of pluginapi. Private: import `pluginapi` instead.

Importing a module that was not built says how to build it, instead of "cannot import name".
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

_COMPILED: Final = frozenset(
    {
        "_abi",
        "_broker",
        "_budget",
        "_channel",
        "_confine",
        "_context",
        "_cpu",
        "_ed25519",
        "_heap",
        "_hooks",
        "_procfs",
        "_profile",
        "_pushed",
        "_reading",
        "_seccomp",
        "_sha3",
        "_spawn",
    }
)


def __getattr__(name: str) -> ModuleType:
    if name not in _COMPILED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as err:
        raise ImportError(
            f"pluginapi was not built: {name} is missing from {__path__[0]}. "
            "In a source tree run `make build`; otherwise reinstall the wheel.",
            name=f"{__name__}.{name}",
        ) from err
