"""`pluginapi sandbox`: programs in sandboxes, from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .harness import Cli, installed

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="needs Linux and what root may"
)


def test_the_exit_code_and_the_output_are_the_programs(cli: Cli) -> None:
    done = installed("sandbox", "run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")
    assert installed("sandbox", "run", "--", "sh", "-c", "kill -9 $$").code == 137


def test_what_it_is_confined_by_is_shown(cli: Cli) -> None:
    done = installed("sandbox", "run", "--report", "--pids", "9", "--", "sleep", "1")
    assert done.code == 0
    assert "own namespaces   pid net mnt ipc uts" in done.err
    assert "pids_limit 9" in done.err


def test_as_an_object(cli: Cli) -> None:
    found = cli("sandbox", "run", "--json", "--", "sh", "-c", "sleep 1; id -u; exit 3")
    assert found.code == 3
    report = found.json()
    assert report["exit_status"] == 3
    assert int(report["stdout"]) == report["report"]["users"][0] > 0
    assert report["report"]["seccomp"] == "filter"


def test_one_that_ends_at_once_is_no_error(cli: Cli) -> None:
    for _ in range(5):
        found = cli("sandbox", "run", "--json", "--", "true")
        assert found.code == 0
        report = found.json()["report"]
        assert report is None or report["seccomp"] == "filter"
    assert installed("sandbox", "run", "--report", "--", "true").code == 0


def test_less_is_there_when_it_is_asked_for(cli: Cli) -> None:
    done = installed("sandbox", "run", "--minimal", "--", "sh", "-c", "cat /etc/passwd")
    assert done.code != 0
    assert "Permission denied" in done.err
    shown = installed(
        *("sandbox", "run", "--minimal", "--read", "/etc/passwd", "--", "cat", "/etc/passwd")
    )
    assert shown.code == 0
    assert "root" in shown.out


def test_changes_to_an_overlay_are_gone(cli: Cli) -> None:
    # Not below /tmp, which is the sandbox's own.
    with TemporaryDirectory(prefix="pluginapi-test-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        script = f"echo new > {directory}/file; cat {directory}/file"
        done = installed("sandbox", "run", "--overlay", name, "--", "sh", "-c", script)
        assert (done.code, done.out) == (0, "new\n")
        assert not list(directory.iterdir())
        # A root without programs has none.
        done = installed("sandbox", "run", "--root", name, "--", "sh", "-c", "true")
        assert done.code == 1
        assert "sandbox.command" in done.err


def test_what_cannot_be_had_is_an_error(cli: Cli) -> None:
    error = cli("sandbox", "run", "--json", "--read", "/no/such", "--", "true").error()
    assert error["code"] == "sandbox.path"
    assert "/no/such" in error["message"]
    error = cli("sandbox", "run", "--json", "--", "no-such-program").error()
    assert error["code"] == "sandbox.command"
