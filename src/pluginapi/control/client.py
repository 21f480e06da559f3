"""Ask a running host, over its control socket."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any, Final

from pluginapi.errors import IpcError, PluginError

__all__ = ["ask"]

_MOST_BYTES: Final = 64 << 20


def ask(path: Path, question: str, *, timeout: float = 10.0, **details: Any) -> dict[str, Any]:
    """Ask the host that listens at a path, and return what it answers.

    Raises:
        IpcError: With code ``control.unreachable`` when no host answers there, ``control.refused``
            when it does not answer this user, or not this question.
    """
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as host:
            host.settimeout(timeout)
            _connect(host, path, time.monotonic() + timeout)
            host.sendall(json.dumps({"ask": question, **details}).encode() + b"\n")
            while part := host.recv(1 << 16):
                data += part
                if len(data) > _MOST_BYTES:
                    raise _refused(path, f"it answers more than {_MOST_BYTES >> 20} MiB")
    except OSError as err:
        raise IpcError(
            f"no host answers at {path}: {err.strerror or err}",
            code="control.unreachable",
            hint="start the host, with `control_socket` in section [monitoring] of its "
            "pluginapi.toml, as the same user",
            path=str(path),
        ) from err
    if not data:
        raise _refused(path, "it closed the connection: it answers its own user, and root")
    try:
        answer = json.loads(data)
    except ValueError as err:
        raise _refused(path, f"it answers what is no JSON: {err}") from err
    if not isinstance(answer, dict):
        raise _refused(path, "it answers what is no object")
    if "error" in answer:
        raise _refused(path, str(answer["error"].get("message", answer["error"])))
    return answer


def _connect(host: socket.socket, path: Path, deadline: float) -> None:
    while True:
        try:
            host.connect(str(path))
        except BlockingIOError:
            # As many as may wait do so already.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _refused(path: Path, why: str) -> PluginError:
    return IpcError(
        f"the host at {path} does not answer: {why}",
        code="control.refused",
        hint="ask as the user that the host runs as, with the same version of pluginapi",
        path=str(path),
    )
