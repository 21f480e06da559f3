"""A log of what concerns security: one JSON object a line, in files that are rotated."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from pluginapi.errors import IoError

__all__ = ["EVENTS", "SecurityLog"]

EVENTS: Final = frozenset(
    {"load", "refuse", "grant", "violation", "unmount", "quarantine", "kill", "unload"}
)
"""What is recorded."""

_log = logging.getLogger("pluginapi.security_log")


class _Files(logging.handlers.RotatingFileHandler):
    """Files that only their owner reads; errors are the caller's."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return open(
            self.baseFilename,
            "a",
            encoding="ascii",
            opener=lambda path, _: os.open(path, flags, 0o600),
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        del record
        raise  # noqa: PLE0704 - it is called while one is handled


class SecurityLog:
    """Append events to a file: what was loaded, refused, granted, violated, unmounted, killed.

    Each line is an object with ``time`` (UTC, RFC 3339), ``event`` (one of `EVENTS`), ``plugin``
    and what belongs to the event. Lines are ASCII: what a plugin wrote cannot end one, or send
    codes to a terminal. A file that has reached ``max_bytes`` is renamed to ``PATH.1``, the one of
    that name to ``PATH.2``, and so on up to ``backups``; older ones go. Files are made with mode
    0600. Thread-safe.

    An event that cannot be written, since the disk is full, is logged as an error and counted in
    `lost`: plugins go on.

    Args:
        path: The file.
        max_bytes: Size of a file.
        backups: Files that are kept besides.

    Raises:
        IoError: When the file cannot be opened.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, max_bytes: int = 10 << 20, backups: int = 5
    ) -> None:
        self.path = Path(path)
        self.lost = 0
        self._lock = threading.Lock()
        try:
            self._files = _Files(self.path, maxBytes=max_bytes, backupCount=backups)
        except OSError as err:
            raise IoError(
                f"the security log {self.path} cannot be opened: {err.strerror}",
                code="io.failed",
                hint="let the host's user write there, or choose another `security_log` in "
                "section [monitoring] of pluginapi.toml",
                path=str(self.path),
            ) from err

    def record(self, event: str, plugin: str, facts: Mapping[str, Any] | None = None) -> None:
        """Append one event.

        Raises:
            ValueError: When there is no such event.
        """
        if event not in EVENTS:
            raise ValueError(f"{event!r} is no event of the security log")
        line = json.dumps(
            {
                "time": datetime.now(UTC).isoformat(timespec="microseconds"),
                "event": event,
                "plugin": plugin,
                **(facts or {}),
            },
            default=str,
        )
        record = logging.LogRecord("security", logging.INFO, "", 0, line, None, None)
        with self._lock:
            try:
                self._files.emit(record)
            except (OSError, ValueError) as err:
                self.lost += 1
                _log.error("an event could not be written to %s: %s: %s", self.path, err, line)

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._files.close()
