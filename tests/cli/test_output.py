from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.cli import main
from pluginapi.cli._output import Output, printable
from pluginapi.errors import IoError

from .harness import INSTALLED, Cli, installed, on_terminal

# Clear the screen, set the title, turn the reading order, go back and overwrite, begin a new line.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202eevil\rok\nerror[forged]: x\x9b31m"


@given(st.text())
def test_printable_text_keeps_to_its_line_and_steers_nothing(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_different_texts_of_control_characters_stay_different() -> None:
    texts = [chr(number) for number in (0, 7, 10, 13, 27, 0x7F, 0x9B, 0x202E, 0x2028, 0xDC80)]
    assert len({printable(text) for text in texts}) == len(texts)


def test_what_a_plugin_says_of_itself_reaches_no_terminal(cli: Cli) -> None:
    cli.forge.plugin("loud", author=HOSTILE, description=HOSTILE, sign=False, trust=False)
    path = cli.forge.plugins / "loud.py"
    done = cli("inspect", path)
    assert done.code in {0, 1}
    for text in (done.out, done.err):
        assert all(char.isprintable() or char == "\n" for char in text)
        assert "\nerror[forged]" not in text
    as_json = cli("inspect", path, "--json")
    assert "\x1b" not in as_json.out


@pytest.mark.parametrize("command", ["hash", "inspect", "explain", "list"])
def test_hostile_file_names_reach_no_terminal(cli: Cli, command: str) -> None:
    path = cli.forge.plugins / "a\x1b[31m\nerror[forged]: \u202e.py"
    path.write_text("x = 1\n")
    target = cli.forge.plugins if command == "list" else path
    security = () if command in {"hash", "inspect"} else cli.trust
    done = cli(command, target, *security)
    text = done.out + done.err
    assert "\\x1b[31m" in text
    assert all(char.isprintable() or char in "\n\t" for char in text)
    assert "\nerror[forged]" not in text


@pytest.mark.parametrize("command", ["hash", "list"])
def test_file_names_that_are_no_unicode(cli: Cli, command: str) -> None:
    name = os.fsdecode(b"caf\xe9.py")
    try:
        (cli.forge.plugins / name).write_text("x = 1\n")
    except OSError:
        pytest.skip("the file system wants Unicode names")
    security = () if command == "hash" else cli.trust
    done = installed(command, cli.forge.plugins, *security, cwd=cli.forge.root)
    assert done.code == 0
    assert "caf\\udce9.py" in done.out
    as_json = installed(command, cli.forge.plugins, *security, "--json", cwd=cli.forge.root)
    assert as_json.code == 0
    assert "caf\\udce9.py" in json.dumps(as_json.json(), ensure_ascii=False).replace("\\\\", "\\")


def test_a_terminal_that_knows_ascii_only(cli: Cli) -> None:
    cli.forge.plugin("plain", description="naïve → 中")
    done = installed(
        "inspect", cli.forge.plugins / "plain.py", environment={"PYTHONIOENCODING": "ascii"}
    )
    assert done.code == 0
    assert "na\\xefve" in done.out


# Terminals


def test_colours_and_aligned_tables_on_a_terminal_only(cli: Cli) -> None:
    cli.forge.plugin("plain")
    shown = on_terminal("list", cli.forge.plugins, *cli.trust)
    assert shown.code == 0
    assert "\x1b[" in shown.out
    assert "plain  " in shown.out
    piped = installed("list", cli.forge.plugins, *cli.trust)
    assert "\x1b" not in piped.out + piped.err
    assert "plain\t1.0.0\tpython\tavailable\tplain.py\t" in piped.out


def test_no_color_is_respected(cli: Cli) -> None:
    cli.forge.plugin("plain")
    path = cli.forge.plugins / "plain.py"
    coloured = on_terminal("explain", path, *cli.trust)
    plain = on_terminal("explain", path, *cli.trust, environment={"NO_COLOR": "1"})
    assert coloured.code == plain.code == 0
    assert "\x1b[32m" in coloured.out
    assert "\x1b[32m" not in plain.out


def test_json_is_all_there_is_on_standard_output_of_a_terminal(cli: Cli) -> None:
    cli.forge.plugin("plain")
    shown = on_terminal("list", cli.forge.plugins, *cli.trust, "--json")
    assert json.loads(shown.out)["plugins"][0]["name"] == "plain"


def test_progress_is_shown_on_a_terminal_only(cli: Cli) -> None:
    big = cli.forge.plugins / "big.so"
    with big.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    shown = on_terminal("hash", big)
    assert shown.code == 0
    assert "hashing" in shown.out
    piped = installed("hash", big)
    assert piped.code == 0
    assert not piped.err
    assert piped.out.split()[0] in shown.out


# Where output cannot go


def test_a_closed_pipe_ends_quietly(cli: Cli) -> None:
    for number in range(200):
        (cli.forge.plugins / f"p{number}.py").write_text("x = 1\n" * number)
    for command in (
        ["hash", cli.forge.plugins],
        ["keygen", "--help"],
        ["hash", "absent", "--json"],
    ):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [INSTALLED, *map(str, command)],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        os.close(write)
        assert done.returncode == 1
        assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["include"], ["include", "--json"], ["--help"]])
def test_a_full_disk_is_an_error(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [INSTALLED, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert "error[io.failed]" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_system_refuses_is_an_error_with_a_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr("pluginapi.cli.hashing.hash_files", refuse)
    done = cli("hash", cli.public_key())
    assert done.code == 1
    assert "error[io.failed]: the operating system refused: Permission denied (/somewhere)" in (
        done.err.replace("\n", " ")
    )
    assert cli("hash", cli.public_key(), "--json").error()["code"] == "io.failed"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_exits_with_130(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pluginapi.cli.hashing.hash_files", interrupt)
    options = ["--json"] if as_json else []
    done = cli("hash", cli.public_key(), *options)
    assert done.code == 130
    if as_json:
        assert done.error()["code"] == "usage.interrupted"
    else:
        assert "interrupted" in done.err


def test_further_lines_of_a_message_cannot_pass_for_ours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise IoError("first\nhint: forged\x1b[0m", hint="real")

    monkeypatch.setattr("pluginapi.cli.cli.main", fail)
    assert main(["include"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["error[io.failed]: first", "    hint: forged\\x1b[0m", "hint: real"]


def test_a_table_for_people_is_aligned_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(
        ["NAME", "COUNT"], [["a", "1"], ["long", "100"]], for_people=True, indent=2, right=(1,)
    )
    assert capsys.readouterr().out == "  NAME  COUNT\n  a         1\n  long    100\n"
