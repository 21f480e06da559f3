"""The options that say which trust list and which keys count, shared by several commands."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pluginapi.cli._secrets import ambiguous_secret, can_ask, read_secret
from pluginapi.cli.keys import open_public_key
from pluginapi.config import HostConfig
from pluginapi.security import DEFAULT_TRUST_LIST_PATH, PluginSecurity, SecurityPolicy, TrustKey
from pluginapi.wiring import open_security, read_trust_key

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "SecurityOptions",
    "TrustListOptions",
    "forget_secrets",
    "security_options",
    "trust_list_options",
]

TRUST_LIST_VARIABLE: Final = "PLUGINAPI_TRUST_LIST"
TRUST_PASSPHRASE_VARIABLE: Final = "PLUGINAPI_TRUST_PASSPHRASE"  # noqa: S105 - a name
TRUST_KEY_VARIABLE: Final = "PLUGINAPI_TRUST_KEY"
KEY_PASSPHRASE_VARIABLE: Final = "PLUGINAPI_KEY_PASSPHRASE"  # noqa: S105 - a name

_WHAT: Final = "passphrase of the trust list"


@dataclass(frozen=True, slots=True)
class TrustListOptions:
    """Where the trust list is and where its key comes from.

    Attributes:
        config: A host's configuration, which then says both.
        path: The option ``--trust-list``.
        passphrase_file: A file with the passphrase.
        passphrase_fd: A descriptor with the passphrase.
        key_file: A file with 32 raw bytes.
        state: The option ``--state-dir``.
    """

    config: HostConfig | None
    path: Path | None
    passphrase_file: Path | None
    passphrase_fd: int | None
    key_file: Path | None
    state: Path | None

    def list_path(self) -> Path:
        """Return the path of the trust list: configuration or option, environment, default."""
        if self.config is not None:
            return self.config.security.trust_list_path
        return self.path or Path(os.environ.get(TRUST_LIST_VARIABLE, DEFAULT_TRUST_LIST_PATH))

    @property
    def state_dir(self) -> Path | None:
        """Where to remember which lists were seen; None for the user's directory."""
        return self.state if self.config is None else self.config.security.state_dir

    @property
    def says_where(self) -> bool:
        """Whether an option says where the list or its state is."""
        return self.path is not None or self.state is not None

    @property
    def says_key(self) -> bool:
        """Whether an option says where the key is."""
        return bool(self.key_file or self.passphrase_file or self.passphrase_fd is not None)

    def key(self, *, confirm: bool = False) -> TrustKey:
        """Read the key of the trust list: options, configuration, environment, prompt.

        Raises:
            ConfigError: When there is none, or more than one.
            TrustListError: When it is malformed or others can read its file.
        """
        with_passphrase = self.passphrase_file is not None or self.passphrase_fd is not None
        if self.key_file is not None:
            if with_passphrase:
                raise ambiguous_secret("trust list", "a raw key and a passphrase")
            return TrustKey.load(self.key_file, raw=True)
        variable = TRUST_PASSPHRASE_VARIABLE
        if not with_passphrase:
            if self.config is not None:
                source = self.config.security.trust_key_source
                askable = source.variable is not None and source.form == "passphrase" and can_ask()
                if not askable or source.variable is None or source.variable in os.environ:
                    return read_trust_key(source)
                variable = source.variable
            elif TRUST_KEY_VARIABLE in os.environ:
                if variable in os.environ:
                    raise ambiguous_secret("trust list", f"{TRUST_KEY_VARIABLE} and {variable}")
                return TrustKey.from_hex(os.environ[TRUST_KEY_VARIABLE])
        return TrustKey.from_passphrase(
            read_secret(
                _WHAT,
                environment=variable,
                file=self.passphrase_file,
                descriptor=self.passphrase_fd,
                confirm=confirm,
            )
        )


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """What decides in a command: a host's configuration, or a trust list and pinned keys."""

    trust_list: TrustListOptions
    pinned: tuple[str, ...]
    no_trust_list: bool

    @property
    def config(self) -> HostConfig | None:
        """The host's configuration, where one was named."""
        return self.trust_list.config

    def open(self) -> PluginSecurity:
        """Make the security that decides; asks for the key of the trust list if need be."""
        if self.config is not None:
            return open_security(self.config)
        path = None if self.no_trust_list else self.trust_list.list_path()
        return PluginSecurity(
            SecurityPolicy(trust_list_path=path),
            # Read only when there is a list to open: nobody is asked for nothing.
            trust_key=self.trust_list.key() if path is not None and path.exists() else None,
            hardcoded_public_keys=[open_public_key(key) for key in self.pinned],
            state_dir=self.trust_list.state_dir,
        )

    def plugin_directory(self) -> Path:
        """Return the plugin directory of the configuration, or ``plugins``."""
        return Path("plugins") if self.config is None else self.config.plugins.directory


def forget_secrets(config: HostConfig | None = None) -> None:
    """Take the secrets out of the environment, where plugins in this process could read them."""
    names = [TRUST_PASSPHRASE_VARIABLE, TRUST_KEY_VARIABLE, KEY_PASSPHRASE_VARIABLE]
    if config is not None and config.security.trust_key_source.variable is not None:
        names.append(config.security.trust_key_source.variable)
    for name in names:
        os.environ.pop(name, None)


def _path_option(name: str, variable: str, text: str) -> Callable[..., Any]:
    return click.option(name, variable, type=click.Path(path_type=Path), metavar="PATH", help=text)


_TRUST_LIST_OPTIONS: Final = (
    _path_option(
        "--trust-list",
        "trust_list",
        f"The encrypted trust list (default: ${TRUST_LIST_VARIABLE}, "
        f"else {DEFAULT_TRUST_LIST_PATH}).",
    ),
    _path_option(
        "--trust-passphrase-file",
        "trust_passphrase_file",
        f"Read its passphrase from a file (default: ${TRUST_PASSPHRASE_VARIABLE}, else a prompt).",
    ),
    click.option(
        "--trust-passphrase-fd",
        type=click.IntRange(0),
        metavar="N",
        help="Read its passphrase from descriptor N.",
    ),
    _path_option(
        "--trust-key-file",
        "trust_key_file",
        f"Open it with 32 raw bytes in a file (or 64 hex digits in ${TRUST_KEY_VARIABLE}) instead.",
    ),
    _path_option(
        "--state-dir",
        "state_dir",
        "Where to remember which lists were seen, to notice an older copy.",
    ),
)


def _collect_trust_list(options: dict[str, Any]) -> TrustListOptions:
    config_file = options.pop("config_file")
    collected = TrustListOptions(
        None if config_file is None else HostConfig.load(config_file),
        options.pop("trust_list"),
        options.pop("trust_passphrase_file"),
        options.pop("trust_passphrase_fd"),
        options.pop("trust_key_file"),
        options.pop("state_dir"),
    )
    if collected.config is not None and collected.says_where:
        raise click.UsageError("--config says where the trust list and its state are: drop either.")
    return collected


def trust_list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the trust list to a command; it receives ``trust_list``."""

    @functools.wraps(command)
    def collected(**options: Any) -> Any:
        return command(trust_list=_collect_trust_list(options), **options)

    config = _path_option(
        "--config", "config_file", "Use the trust list of the host with this pluginapi.toml."
    )
    return _with(collected, (config, *_TRUST_LIST_OPTIONS))


def security_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the decision to a command; it receives ``security``."""

    @functools.wraps(command)
    def collected(**options: Any) -> Any:
        security = SecurityOptions(
            _collect_trust_list(options), options.pop("pinned"), options.pop("no_trust_list")
        )
        if security.config is not None and (
            security.pinned or security.no_trust_list or security.trust_list.says_key
        ):
            raise click.UsageError("--config says what decides: drop it, or the other options.")
        return command(security=security, **options)

    return _with(
        collected,
        (
            _path_option(
                "--config", "config_file", "Decide as a host with this pluginapi.toml would."
            ),
            *_TRUST_LIST_OPTIONS,
            click.option(
                "--pin",
                "pinned",
                multiple=True,
                metavar="FILE|HEX",
                help="A public key to accept besides those in the list; repeatable.",
            ),
            click.option("--no-trust-list", is_flag=True, help="Decide without a trust list."),
        ),
    )


def _with(
    command: Callable[..., Any], options: tuple[Callable[..., Any], ...]
) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
