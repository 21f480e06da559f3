"""Users of plugins: each process one of its own, that nobody else on the machine is."""

from __future__ import annotations

import errno
import hashlib
import socket
from typing import Final

from pluginapi.errors import SandboxError

__all__ = ["UserId"]

_ATTEMPTS: Final = 256


class UserId:
    """A user id from a range that no other host uses at the same time.

    Ids are claimed by the name of an abstract socket, which the kernel gives to one process alone
    and takes back when that ends. The same name gets the same id unless it is taken: files that a
    plugin has written stay its own.

    Args:
        name: The plugin.
        first: The first id of the range.
        count: How many there are.

    Raises:
        SandboxError: With code ``sandbox.user_ids`` when none is free.
    """

    def __init__(self, name: str, first: int, count: int) -> None:
        start = int.from_bytes(hashlib.sha3_256(name.encode()).digest()[:8], "little") % count
        for attempt in range(min(count, _ATTEMPTS)):
            uid = first + (start + attempt) % count
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0pluginapi-uid-{uid}")
            except OSError as err:
                claim.close()
                if err.errno != errno.EADDRINUSE:
                    raise
                continue
            self.uid = uid
            self._claim = claim
            return
        raise SandboxError(
            f"none of {min(count, _ATTEMPTS)} user ids from {first + start} on is free",
            code="sandbox.user_ids",
            layer="user",
            hint="widen user_ids of the sandbox's configuration",
        )

    def release(self) -> None:
        """Give it back; idempotent."""
        self._claim.close()
