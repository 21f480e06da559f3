"""Times as they are written into statements and lists: RFC 3339, UTC, whole seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

__all__ = ["is_timestamp", "timestamp"]

_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


def timestamp(at: datetime | None = None) -> str:
    """Write a time, or now, as for example ``2026-11-23T08:15:00Z``.

    Raises:
        ValueError: When the time carries no time zone, so that it could mean any of 26 hours.
    """
    moment = datetime.now(UTC) if at is None else at
    if moment.tzinfo is None:
        raise ValueError("the time has no time zone: give one such as datetime.now(UTC)")
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def is_timestamp(text: str) -> bool:
    """Tell whether a text is a time that exists, in the form that `timestamp` writes."""
    if not _FORM.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
