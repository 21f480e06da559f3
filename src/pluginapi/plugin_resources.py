"""What a plugin is told of its own limits and of what it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["PluginResources"]


class PluginResources(Mapping[str, Any]):
    """Look anew at each access; the value of ``ContextKey.Resources``.

    ``limits`` are the plugin's limits by name; ``usage`` what it uses of each, None where that
    cannot be told; ``violations`` how many count against it, ``threshold`` at how many it is
    unmounted.
    """

    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self._look = look

    def __getitem__(self, key: str) -> Any:
        return self._look()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def __repr__(self) -> str:
        return f"<resources {dict(self._look())}>"
