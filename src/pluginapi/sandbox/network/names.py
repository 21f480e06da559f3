"""Addresses that stand for names: what a plugin connects to tells which name it looked up."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

__all__ = ["SyntheticNames"]

# RFC 2544: a network for tests of devices, which no host of the Internet has.
_FIRST: Final = 198 << 24 | 18 << 16
_HALF: Final = 1 << 16
_MOST_REFUSED: Final = 1024


class SyntheticNames:
    """Give each name that a plugin looks up an address of its own in 198.18.0.0/15. Thread-safe.

    Two names that share an address in the world are two addresses here. Names that may be connected
    to keep theirs for good, up to 65,535 of them; others are there so that connecting says why it
    is refused, and the oldest of these are forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}
        self._refused: OrderedDict[str, bytes] = OrderedDict()
        self._next_refused = 0

    def allowed(self, name: str) -> bytes | None:
        """Return the address of a name that may be connected to; None when there are too many."""
        with self._lock:
            known = self._addresses.get(name)
            if known is not None:
                return known
            number = len(self._addresses) + 1
            if number >= _HALF:
                return None
            address = (_FIRST + number).to_bytes(4, "big")
            self._addresses[name] = address
            self._names[address] = name
            return address

    def refused(self, name: str) -> bytes:
        """Return the address of another name, for as long as it is among the latest 1024."""
        with self._lock:
            known = self._refused.get(name)
            if known is not None:
                self._refused.move_to_end(name)
                return known
            if len(self._refused) >= _MOST_REFUSED:
                _, forgotten = self._refused.popitem(last=False)
                del self._names[forgotten]
            # Not the address of the one that was forgotten: somebody may hold that still.
            self._next_refused = self._next_refused % (_HALF - 2) + 1
            address = (_FIRST + _HALF + self._next_refused).to_bytes(4, "big")
            while address in self._names:
                self._next_refused = self._next_refused % (_HALF - 2) + 1
                address = (_FIRST + _HALF + self._next_refused).to_bytes(4, "big")
            self._refused[name] = address
            self._names[address] = name
            return address

    def name_of(self, address: bytes) -> str | None:
        """Return the name that an address stands for, or None."""
        with self._lock:
            return self._names.get(address)

    @staticmethod
    def is_synthetic(address: bytes) -> bool:
        """Tell whether an address is one of those that stand for names."""
        return len(address) == 4 and int.from_bytes(address, "big") >> 17 == _FIRST >> 17  # noqa: PLR2004
