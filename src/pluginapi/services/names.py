"""How services and their methods are named."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_SERVICE_METHODS", "is_method", "is_service", "is_service_method"]

MAX_SERVICE_METHODS: Final = 256
"""The most methods that one plugin declares, or that one service has."""

_SERVICE: Final = re.compile(r"(?=.{1,128}\Z)[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
_METHOD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def is_service(name: object) -> bool:
    """Tell whether this names a service: words joined by dots, at most 128 characters."""
    return isinstance(name, str) and _SERVICE.fullmatch(name) is not None


def is_method(name: object) -> bool:
    """Tell whether this names a method: an identifier that begins with a letter, at most 64."""
    return isinstance(name, str) and _METHOD.fullmatch(name) is not None


def is_service_method(name: object) -> bool:
    """Tell whether this is ``service.method``."""
    if not isinstance(name, str):
        return False
    service, _, method = name.rpartition(".")
    return is_service(service) and is_method(method)
