"""The command line: one module per command group, imported when its command is used."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click
from click.exceptions import NoArgsIsHelpError

from pluginapi.cli._output import Output, print_error, printable, survive_any_encoding
from pluginapi.errors import ConfigError, IoError, PluginError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

# Command name -> module that defines it and one line for `pluginapi --help`.
_COMMANDS: Final = {
    "keygen": ("keys", "Make a key pair for signing plugins."),
    "keys": ("keys", "List the public keys of a directory with their ids."),
    "sign": ("signing", "Sign a plugin; writes FILE.sig beside it."),
    "verify": ("signing", "Check the signature of a plugin against a public key."),
    "hash": ("hashing", "Print the SHA3-512 of files, or of the plugins in a directory."),
    "inspect": ("inspection", "Show what a plugin says about itself, running nothing of it."),
    "explain": ("inspection", "Say why a plugin is or is not loadable, check by check."),
    "list": ("inspection", "List the plugins of a directory with status and trust."),
    "trust": ("trust", "Keep the encrypted trust list: add, remove, revoke, list, ..."),
    "run": ("running", "Load plugins and run recorded requests through their hooks."),
    "top": ("top", "Show what the plugins of a running host use."),
    "profile": ("profile", "Draw a flame graph of a running plugin's process."),
    "sandbox": ("sandbox", "Run any program in the sandbox that plugins run in."),
    "demo": ("demo", "Show the main job from key to unload, with three refusals."),
    "doctor": (
        "doctor",
        "Show the platform, compiled paths, versions, possible sandboxes.",
    ),
    "include": ("include", "Print the directory of pluginapi.h, for compiler flags."),
}

_REFUSED: Final = 1
_WRONG_USAGE: Final = 2
_INTERRUPTED: Final = 130


class _LazyGroup(click.Group):
    """A command group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pluginapi.cli.{_COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name}_command is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's interface
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    epilog="Example: pluginapi keygen keys/me && pluginapi sign plugin.so --key keys/me.key",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="pluginapi", prog_name="pluginapi")
def cli() -> None:
    """Sign, trust, inspect and run plugins.

    Every command takes --json for machine-readable output, exits with 0 only on success, and
    takes secrets from a prompt, the environment, a file or a descriptor, never as an argument.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 success; 1 refused or failed, with code and hint on standard error (with ``--json`` as an
    object on standard output); 2 wrong usage; 130 interrupted.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(as_json=_asks_for_json(argv))
    survive_any_encoding()
    try:
        code = _run(argv, output)
        # Here, where a full disk or a closed pipe still makes an exit code.
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return _REFUSED
    except OSError as err:
        # Standard output itself: there is nowhere else to say so.
        _discard_output()
        print_error(_io_error(err), Output())
        return _REFUSED
    return code


def _run(argv: list[str], output: Output) -> int:
    try:
        result: Any = cli.main(args=argv, prog_name="pluginapi", standalone_mode=False)
    except PluginError as err:
        print_error(err, output)
    except click.ClickException as err:
        return _show_usage(err, output)
    except (click.Abort, KeyboardInterrupt):
        if output.as_json:
            print_error(ConfigError("interrupted", code="usage.interrupted"), output)
        else:
            click.echo("interrupted", err=True)
        return _INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as err:
        print_error(_io_error(err), output)
    else:
        return result if isinstance(result, int) else 0
    return _REFUSED


def _asks_for_json(argv: list[str]) -> bool:
    """Tell it before anything is parsed: errors of parsing are objects as well."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options


def _show_usage(error: click.ClickException, output: Output) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return _WRONG_USAGE
    path = "pluginapi" if context is None else context.command_path
    hint = f"see: {path} --help"
    if output.as_json:
        print_error(ConfigError(error.format_message(), code="usage.invalid", hint=hint), output)
        return _WRONG_USAGE
    if context is not None:
        click.echo(context.get_usage(), err=True)
    # Arguments may come from a shell's pattern, and so from whoever named the files.
    click.echo(f"Error: {printable(error.format_message())}\n{hint}", err=True)
    return _WRONG_USAGE


def _io_error(error: OSError) -> IoError:
    where = "" if error.filename is None else f" ({os.fsdecode(error.filename)})"
    return IoError(
        f"the operating system refused: {error.strerror or error}{where}",
        hint="check that the path exists, that this user may use it, and that there is space",
    )


def _discard_output() -> None:
    """Drop what could not be written, or the interpreter tries again while it ends."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
