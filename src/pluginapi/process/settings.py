"""The bounds of plugin processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pluginapi.errors import ConfigError
from pluginapi.ipc.settings import ChannelSettings

__all__ = ["DEFAULT_PROCESS_SETTINGS", "ProcessSettings"]

_BOUNDS: Final = {
    "call_timeout": (0.001, 3600.0),
    "start_timeout": (0.01, 3600.0),
    "stop_grace": (0.0, 3600.0),
    "terminate_grace": (0.0, 3600.0),
    "hang_grace": (0.0, 3600.0),
    "health_interval": (0.0, 86_400.0),
    "backoff_first": (0.001, 3600.0),
    "backoff_most": (0.001, 86_400.0),
    "restarts": (0, 1_000_000),
    "restart_window": (0.1, 31 * 86_400.0),
    "spares": (0, 256),
    "output_bytes_per_second": (0, 1 << 30),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """Bound what a plugin's process may take in time, restarts and output.

    Attributes:
        call_timeout: Seconds that a call of a handler may take. A plugin that lets it pass and
            does not answer within ``hang_grace`` after it is ended as hung.
        start_timeout: Seconds until a new process has joined its channel.
        stop_grace: Seconds between the request to shut down and SIGTERM.
        terminate_grace: Seconds between SIGTERM and SIGKILL.
        hang_grace: Seconds, see ``call_timeout``.
        health_interval: Seconds between two looks whether an idle process answers; 0 for none.
        backoff_first: Seconds before the first restart; each further one waits twice as long.
        backoff_most: Seconds that a restart waits at most.
        restarts: Restarts within ``restart_window``; then the plugin stays down.
        restart_window: Seconds that a restart counts.
        spares: Python workers that are kept ready, so that a start need not wait for one.
        output_bytes_per_second: Bytes of what a plugin writes to its standard output and error
            that are passed on to the log; what is more is dropped, and said to have been.
        channel: The bounds of its channel.

    Raises:
        ConfigError: With code ``config.value`` when a value is out of bounds.
    """

    call_timeout: float = 5.0
    start_timeout: float = 10.0
    stop_grace: float = 5.0
    terminate_grace: float = 0.5
    hang_grace: float = 1.0
    health_interval: float = 30.0
    backoff_first: float = 0.1
    backoff_most: float = 30.0
    restarts: int = 5
    restart_window: float = 300.0
    spares: int = 0
    output_bytes_per_second: int = 65_536
    channel: ChannelSettings = field(default_factory=ChannelSettings)

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not least <= value <= most
            ):
                raise ConfigError(
                    f"{name} of plugin processes is {value!r}, not a number from {least} to {most}",
                    code="config.value",
                    hint=f"choose {name} within these bounds",
                )


DEFAULT_PROCESS_SETTINGS: Final = ProcessSettings()
