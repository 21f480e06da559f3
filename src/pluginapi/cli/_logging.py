"""What commands show of the library's and the plugins' log."""

from __future__ import annotations

import logging
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pluginapi.cli._output import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PluginLog", "log_to_stderr", "reported_here"]

_ROOT: Final = "pluginapi"
_PLUGINS: Final = "pluginapi.plugin"


class PluginLog(logging.Handler):
    """Keep the newest lines that plugins logged with level INFO and above, by plugin."""

    def __init__(self, keep: int = 1024) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[tuple[str, str]] = deque(maxlen=keep)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line; called by `logging`."""
        plugin = record.name.removeprefix(_PLUGINS).removeprefix(".")
        try:
            self._lines.append((plugin, record.getMessage()))
        except Exception:  # noqa: BLE001 - logging's own way with what a handler meets
            self.handleError(record)

    def take(self) -> list[tuple[str, str]]:
        """Return plugin and text of every kept line, oldest first, and forget them."""
        lines = list(self._lines)
        self._lines.clear()
        return lines

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take what plugins log; it goes nowhere else meanwhile, but for warnings and errors."""
        logger = logging.getLogger(_PLUGINS)
        level = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(level)


class _StderrHandler(logging.Handler):
    """Write one line per record, in which nothing can steer a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{record.levelname.lower()}: {record.name}: {record.getMessage()}"
            print(printable(line), file=sys.stderr)  # noqa: T201 - the log of a command
        except Exception:  # noqa: BLE001 - logging's own way with what a handler meets
            self.handleError(record)


@contextmanager
def log_to_stderr(*, verbose: bool = False) -> Iterator[None]:
    """Show warnings of the library and the plugins on standard error; INFO as well if verbose."""
    logger = logging.getLogger(_ROOT)
    handler = _StderrHandler(logging.INFO if verbose else logging.WARNING)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(handler.level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def reported_here(*names: str) -> Iterator[None]:
    """Silence the warnings of these loggers: the command prints the same in its result."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
