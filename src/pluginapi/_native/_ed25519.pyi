from enum import IntEnum
from typing import final

from typing_extensions import Buffer

class Status(IntEnum):
    OK = 0
    S_NOT_CANONICAL = 1
    KEY_NOT_CANONICAL = 2
    KEY_SMALL_ORDER = 3
    KEY_NOT_ON_CURVE = 4
    R_NOT_CANONICAL = 5
    R_SMALL_ORDER = 6
    R_NOT_ON_CURVE = 7
    MISMATCH = 8
    KEY_LENGTH = 16
    SIGNATURE_LENGTH = 17

@final
class Key:
    def __new__(cls, encoded: bytes, /) -> Key: ...
    @property
    def encoded(self) -> bytes: ...
    @property
    def flaw(self) -> Status: ...

def level() -> int: ...
def paths() -> str: ...
def verify(key: Key | bytes, message: Buffer, signature: bytes, /) -> Status: ...
def verify_batch(
    triples: list[tuple[Key | bytes, Buffer, bytes]], /
) -> tuple[bytes, tuple[int, int, int]]: ...
def _force_level(number: int | None) -> None: ...
