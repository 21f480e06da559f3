"""Where commands get secrets from: a file, a descriptor, the environment or a prompt.

Never from an argument: arguments stand in the process list and in the shell's history.
"""

from __future__ import annotations

import os
import stat
import sys
import unicodedata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from pluginapi.errors import ConfigError, IoError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ambiguous_secret", "can_ask", "passphrase_options", "read_secret"]

MAX_SECRET_BYTES: Final = 4096


def read_secret(
    what: str,
    *,
    environment: str,
    file: Path | None = None,
    descriptor: int | None = None,
    confirm: bool = False,
) -> bytes:
    """Return a secret as bytes, without its final line break.

    The first source that is given counts: file or descriptor, environment, prompt on a terminal.

    Args:
        what: The secret in words, for the prompt and for messages.
        environment: Name of the environment variable.
        file: A file that holds the secret; a regular one must be accessible to its owner only.
        descriptor: A descriptor to read the secret from.
        confirm: Ask twice when prompting.

    Raises:
        ConfigError: With code ``secret.missing``, ``secret.empty``, ``secret.too_long``,
            ``secret.permissions`` or ``secret.ambiguous``.
        IoError: When the file or descriptor cannot be read.
    """
    if file is not None and descriptor is not None:
        raise ambiguous_secret(what, "a file and a descriptor")
    if file is not None:
        secret = _read(f"the {what} file {file}", lambda: file.open("rb"), private=True)
    elif descriptor is not None:
        secret = _read(
            f"the {what} descriptor {descriptor}", lambda: os.fdopen(os.dup(descriptor), "rb")
        )
    elif environment in os.environ:
        secret = os.fsencode(os.environ[environment])
    elif can_ask():
        typed: str = click.prompt(
            # On standard error: standard output is the command's result.
            what[:1].upper() + what[1:],
            hide_input=True,
            confirmation_prompt=confirm,
            err=True,
        )
        # The same keystrokes give the same secret on every terminal.
        secret = unicodedata.normalize("NFC", typed).encode("utf-8", "surrogateescape")
    else:
        raise ConfigError(
            f"no {what} was given, and there is no terminal to ask on",
            code="secret.missing",
            hint=f"set {environment}, or give a file or descriptor (see --help)",
        )
    if not secret:
        raise ConfigError(
            f"the {what} is empty", code="secret.empty", hint="give at least one character"
        )
    return secret


def can_ask() -> bool:
    """Tell whether there is a terminal to ask on."""
    return sys.stdin is not None and sys.stdin.isatty()


def ambiguous_secret(what: str, sources: str) -> ConfigError:
    """Return the error for a secret that was given twice."""
    return ConfigError(
        f"two sources were given for the {what}: {sources}",
        code="secret.ambiguous",
        hint="give one of them",
    )


def _read(what: str, open_source: Callable[[], IO[bytes]], *, private: bool = False) -> bytes:
    try:
        with open_source() as source:
            mode = os.fstat(source.fileno()).st_mode
            # Pipes, as from <(pass show key), have no meaningful permissions.
            if private and os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
                raise ConfigError(
                    f"{what} has mode {stat.S_IMODE(mode):04o}: others than its owner have access",
                    code="secret.permissions",
                    hint="chmod 600 the file, and consider the secret known",
                )
            secret = source.read(MAX_SECRET_BYTES + 1)
    except OSError as err:
        raise IoError(
            f"{what} cannot be read: {err.strerror}",
            hint="check that it exists and that you may read it",
        ) from err
    if len(secret) > MAX_SECRET_BYTES:
        raise ConfigError(
            f"{what} holds more than {MAX_SECRET_BYTES} bytes",
            code="secret.too_long",
            hint="give the file that holds the secret alone",
        )
    return secret.removesuffix(b"\n").removesuffix(b"\r")


def passphrase_options(name: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--NAME-file`` and ``--NAME-fd`` to a command."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option(
            f"--{name}-fd",
            type=click.IntRange(0),
            metavar="N",
            help=f"Read the {what} from descriptor N.",
        )(command)
        return click.option(
            f"--{name}-file",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help=f"Read the {what} from FILE.",
        )(command)

    return decorate
