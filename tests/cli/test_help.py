from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import pluginapi
from pluginapi.cli import cli as root_command
from pluginapi.cli import main

from .harness import Cli, installed

SOURCES = Path(pluginapi.__file__).parent


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


COMMANDS = dict(commands(root_command))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_an_example_of_a_command_that_exists(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: {'pluginapi'}" in text or "Example: cc" in text
    assert f"pluginapi {' '.join(path)}" in text


def test_every_command_takes_json() -> None:
    for command in COMMANDS.values():
        # A group does nothing itself.
        if not isinstance(command, click.Group):
            assert any("--json" in item.opts for item in command.params)


def test_no_option_takes_a_secret_as_its_value() -> None:
    for command in COMMANDS.values():
        for item in command.params:
            for option in item.opts:
                if "pass" in option or "secret" in option:
                    assert option.endswith(("-file", "-fd"))


def test_the_overall_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:" in text
    for path in COMMANDS:
        if len(path) == 1:
            assert re.search(rf"^  {path[0]}  ", text, re.MULTILINE)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert pluginapi.__version__ in capsys.readouterr().out


# The commands that messages, hints and documentation strings name


def mentions() -> Iterator[tuple[str, str]]:
    """Every place in the source where text names a command of pluginapi, with its options."""
    pattern = re.compile(r"(?<![\w./-])pluginapi ([a-z]+(?: [^`;,&)\n]*)?)")
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    str(item.value) if isinstance(item, ast.Constant) else "X"
                    for item in node.values
                ]
                text = "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            for match in pattern.finditer(text):
                yield f"{path.name}:{node.lineno}", match[1]


# Sentences about the package, in which the next word is no command.
PROSE = {"was", "import"}


def test_every_command_that_the_source_names_exists() -> None:
    found = 0
    for where, text in mentions():
        words = text.split()
        if words[0] in PROSE:
            continue
        path: tuple[str, ...] = (words[0],)
        assert path in COMMANDS, f"{where}: pluginapi {text}"
        if isinstance(COMMANDS[path], click.Group) and len(words) > 1:
            path = (words[0], words[1])
            assert path in COMMANDS, f"{where}: pluginapi {text}"
        known = {option for item in COMMANDS[path].params for option in item.opts} | {"--help"}
        for option in re.findall(r"(?<!\S)--[a-z-]+", text):
            assert option in known, f"{where}: pluginapi {text}"
        found += 1
    assert found > 40


# Wrong usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["sign"],
        ["sign", "x.so"],
        ["verify", "x.so"],
        ["hash"],
        ["trust", "frobnicate"],
        ["trust", "add"],
        ["trust", "remove"],
        ["trust", "revoke"],
        ["run", "--repeat", "0"],
        ["run", "--config", "pluginapi.toml", "--plugins", "x"],
        ["list", "--frobnicate"],
        ["list", "--trust-passphrase-fd", "one"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(cli: Cli, arguments: list[str]) -> None:
    Path("pluginapi.toml").touch()
    done = cli(*arguments)
    assert done.code == 2
    assert "Error:" in done.err
    assert not done.out
    as_json = cli(*arguments, "--json")
    assert as_json.code == 2
    assert as_json.error()["code"] == "usage.invalid"
    assert "--help" in as_json.error()["hint"]
    assert not as_json.err


def test_wrong_usage_with_a_hostile_file_name(cli: Cli) -> None:
    done = cli("inspect", "a.py", "b\x1b[2J\nerror[forged]: x.py")
    assert done.code == 2
    assert "\x1b" not in done.err
    assert "\nerror[forged]" not in done.err
    assert "\\x1b[2J" in done.err


def test_json_behind_the_end_of_options_is_a_file_name(cli: Cli) -> None:
    done = cli("hash", "--", "--json")
    assert done.code == 1
    assert "error[io.failed]" in done.err
    assert not done.out


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_not_0() -> None:
    done = installed()
    assert done.code == 2
    assert "Commands:" in done.out + done.err


def test_include_names_the_directory_of_the_header(cli: Cli) -> None:
    assert (Path(cli("include").out.strip()) / "pluginapi.h").is_file()
    assert (Path(cli("include", "--json").json()["include"]) / "pluginapi.h").is_file()
