"""Find plugins that hang: by the deadlines of their calls, and by asking now and then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from pluginapi.errors import PluginError, PluginTimeout
from pluginapi.ipc.protocol import Ping, Success
from pluginapi.process.child import Worker
from pluginapi.process.status import EndReason

if TYPE_CHECKING:
    from pluginapi.process.settings import ProcessSettings
    from pluginapi.process.supervisor import Supervisor

__all__ = ["HealthWatch", "gives_sign_of_life"]

_log = logging.getLogger("pluginapi.process")


def gives_sign_of_life(worker: Worker, timeout: float) -> bool:
    """Ask a worker for a sign of life and tell whether it came in time.

    Raises:
        PluginError: When it cannot be asked, since its channel has ended.
    """
    try:
        worker.channel.request(Ping(), Success, timeout=max(timeout, 0.001))
    except PluginTimeout:
        return False
    return True


class HealthWatch:
    """Watch over one worker from `start` until `stop`. Thread-safe; no method blocks.

    Args:
        plugin: Name of the plugin.
        worker: The process.
        settings: How often it is asked, and how long it may take to answer.
        supervisor: Keeps the time.
        doom: Called with the worker, the reason and what led to it when it gives no sign of life.
    """

    def __init__(
        self,
        plugin: str,
        worker: Worker,
        settings: ProcessSettings,
        supervisor: Supervisor,
        doom: Callable[[Worker, EndReason, str], object],
    ) -> None:
        self._plugin = plugin
        self._worker = worker
        self._settings = settings
        self._supervisor = supervisor
        self._doom = doom
        self._lock = threading.Lock()
        self._watching = False
        self._asking = False

    def start(self) -> None:
        """Begin to watch."""
        self._watching = True
        self._plan()

    def stop(self) -> None:
        """Leave it alone from now on."""
        self._watching = False

    def deadline_passed(self) -> None:
        """Take note that it has not answered a call in time: it is slow, or it hangs."""
        self._ask(EndReason.DEADLINE, "it let the deadline of a call pass and hangs")

    def _plan(self) -> None:
        if self._settings.health_interval:
            self._supervisor.call_later(self._settings.health_interval, self._check)

    def _check(self) -> None:
        if self._watching:
            self._ask(EndReason.HEALTH, "it gives no sign of life")
            self._plan()

    def _ask(self, reason: EndReason, detail: str) -> None:
        with self._lock:
            if self._asking or not self._watching:
                return
            self._asking = True

        def ask() -> None:
            try:
                if not gives_sign_of_life(self._worker, self._settings.hang_grace):
                    self._doom(self._worker, reason, detail)
            except PluginError as err:
                # Its end is told by others, with more to say of it.
                _log.debug("plugin %s was not asked for a sign of life: %s", self._plugin, err)
            finally:
                self._asking = False

        # It blocks, and callers are in the middle of calls.
        threading.Thread(target=ask, name=f"pluginapi-ask-{self._plugin}", daemon=True).start()
