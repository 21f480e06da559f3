"""How commands reach a running host, over its control socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pluginapi.config import HostConfig
from pluginapi.errors import NotFound

__all__ = ["host_options", "one_plugin", "socket_of"]


def host_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config`` and ``--socket``; the command receives ``config_file`` and ``path``."""
    for option in (
        click.option(
            "--socket",
            "path",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="The host's control socket itself.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The host's pluginapi.toml, which says where its socket is.",
        ),
    ):
        command = option(command)
    return command


def socket_of(config_file: Path | None, path: Path | None) -> Path:
    """Return the path of the host's socket.

    Raises:
        UsageError: Neither was given, or both.
        NotFound: With code ``control.unreachable`` when the configuration names none.
    """
    if (config_file is None) == (path is None):
        raise click.UsageError("give --config or --socket, and not both.")
    if path is not None:
        return path
    assert config_file is not None  # noqa: S101 - one of the two
    found = HostConfig.load(config_file).monitoring.control_socket
    if found is None:
        raise NotFound(
            f"{config_file} says of no control socket",
            code="control.unreachable",
            hint="set `control_socket` in its section [monitoring], and start the host again",
        )
    return found


def one_plugin(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what a snapshot says of a plugin.

    Raises:
        NotFound: With code ``registry.not_loaded``.
    """
    for each in answer["plugins"]:
        if each["name"] == name:
            return dict(each)
    loaded = ", ".join(each["name"] for each in answer["plugins"]) or "none"
    raise NotFound(
        f"no plugin {name!r} is loaded in this host",
        code="registry.not_loaded",
        plugin=name,
        hint=f"those are loaded: {loaded}",
    )
