import sys
from enum import IntEnum
from typing import TypeAlias, final

from typing_extensions import Buffer

def find(data: Buffer, needle: bytes, start: int = 0, /) -> int: ...

class ReadStatus(IntEnum):
    PENDING = 0
    OK = 1
    NO_PATH = 2
    REFUSED = 3
    NOT_REGULAR = 4
    SIZE = 5
    CHANGED = 6

_Pair: TypeAlias = tuple[ReadStatus, int, memoryview | None, float, ReadStatus, int, bytes | None]

@final
class Arena:
    @property
    def is_viewed(self) -> bool: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...
    def read(
        self, places: list[str], limit: int, envelope_limit: int, enough: int, /
    ) -> list[_Pair]: ...
