"""The host's end of the control socket."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from pluginapi.errors import PluginError
from pluginapi.ipc.listener import IpcListener

__all__ = ["ControlServer"]

_MOST_BYTES: Final = 4096
# For a client to ask, and to take the answer: nobody else is served meanwhile.
_SECONDS: Final = 5.0

_log = logging.getLogger("pluginapi.control")

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


class ControlServer:
    """Answer questions about a host on a Unix socket, one client after the other.

    The socket has mode 0600 in a directory that is its user's alone, and the kernel is asked who
    connects: the host's own user and root may ask, nobody else. A client asks by one line, a JSON
    object with ``ask``, and gets one line. It reads: nothing of the host can be changed over it.
    One thread serves it; a client that takes its time is cut off after 5 seconds.

    Args:
        path: Where the socket is; its directory is used for nothing else.
        answers: What can be asked; each takes the request and may block.

    Raises:
        IpcError: With code ``ipc.address`` when the place is not safe, or taken.
    """

    def __init__(self, path: Path, answers: Mapping[str, Answer]) -> None:
        self.path = path
        self._answers = dict(answers)
        # Root may look into any process anyway.
        allowed = frozenset({os.geteuid(), 0})
        self._listener = IpcListener(path, uids=allowed, purpose="operators")
        self._bell, self._ringer = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="pluginapi-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more and remove the socket; idempotent."""
        if self._ringer.fileno() < 0:
            return
        self._ringer.close()
        self._thread.join()
        self._bell.close()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        waiting = select.poll()
        waiting.register(self._listener.fileno(), select.POLLIN)
        waiting.register(self._bell.fileno(), select.POLLIN)
        while True:
            ready = {fd for fd, _ in waiting.poll()}
            if self._bell.fileno() in ready:
                return
            try:
                accepted = self._listener.accept(0.0)
            except PluginError as err:
                _log.warning("somebody was refused at %s: %s", self.path, err)
                continue
            except OSError as err:
                # It went away before it was accepted.
                _log.debug("nobody was accepted at %s: %s", self.path, err)
                continue
            with accepted.sock as client:
                if accepted.pidfd >= 0:
                    os.close(accepted.pidfd)
                client.settimeout(_SECONDS)
                with contextlib.suppress(OSError):
                    client.sendall(self._answer(_line(client)))

    def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            answer = self._answers.get(request["ask"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return _encoded({"error": {"message": "a question is a JSON object with `ask`"}})
        if answer is None:
            return _encoded(
                {"error": {"message": f"nothing is known of {str(request['ask'])[:80]!r}"}}
            )
        try:
            return _encoded(answer(request))
        except PluginError as err:
            return _encoded({"error": err.to_dict()})
        except Exception as err:  # noqa: BLE001 - one question must not end the answers to others
            _log.exception("a question could not be answered")
            return _encoded({"error": {"message": f"the host failed: {err!r}"}})


def _line(client: socket.socket) -> bytes:
    """Read a line, or what there is of it when it is too long or does not end."""
    line = b""
    while len(line) <= _MOST_BYTES and not line.endswith(b"\n"):
        part = client.recv(_MOST_BYTES)
        if not part:
            break
        line += part
    return line


def _encoded(value: dict[str, Any]) -> bytes:
    return json.dumps(value, default=str).encode() + b"\n"
