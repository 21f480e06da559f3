from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pluginapi.security import SigningKeyPair

from .harness import Cli, installed, on_terminal

STEPS = 9


def test_the_demo_does_the_main_job(cli: Cli) -> None:
    done = cli("demo", "--json")
    assert done.code == 0
    report = done.json()
    assert sorted(report["loaded"]) == ["access-log", "request-filter"]
    assert {item["plugin"] for item in report["signed"]} == {
        "access-log 1.0.0",
        "request-filter 1.0.0",
    }
    served = report["served"]
    assert served["failed"] == 0
    assert served["passed"] > 0
    assert served["answered"].keys() == {"400", "403", "431"}
    assert {item["reason"] for item in report["refused_requests"]} >= {
        "path-traversal",
        "denied-path",
        "denied-agent",
        "header-too-large",
    }
    assert {(item["case"], item["code"]) for item in report["refusals"]} == {
        ("unsigned", "signature.missing"),
        ("one flipped bit", "signature.mismatch"),
        ("unknown key", "key.unknown"),
    }
    assert all(item["message"] and item["hint"] for item in report["refusals"])
    assert {(item["plugin"], item["hook"]) for item in report["handlers"]} == {
        ("request-filter", "on_request"),
        ("access-log", "on_request"),
        ("access-log", "on_response"),
    }
    assert all(item["mean_us"] > 0 and item["errors"] == 0 for item in report["handlers"])
    heaps = {item["name"]: item["heap_bytes"] for item in report["plugins"]}
    assert heaps["request-filter"] > 0
    assert heaps["access-log"] > 0
    assert report["measured"]["requests_per_second"] > 0
    assert sorted(report["unloaded"]) == sorted(report["loaded"])
    assert not report["unload_failures"]


def test_the_demo_in_a_pipe_is_plain_text(cli: Cli) -> None:
    done = installed("demo")
    assert done.code == 0
    assert not done.err
    assert "\x1b" not in done.out
    for number in range(1, STEPS + 1):
        assert f"\n{number}. " in f"\n{done.out}"
    for text in ("signature.missing", "signature.mismatch", "key.unknown", "remedy", "Done in"):
        assert text in done.out
    assert "p99=" in done.out
    assert "path-traversal" in done.out
    assert max(map(len, done.out.splitlines())) < 250


def test_the_demo_on_a_terminal_is_coloured(cli: Cli) -> None:
    done = on_terminal("demo")
    assert done.code == 0
    assert "\x1b[1;36m1. Make a key pair" in done.out
    assert "compiling" in done.out


def test_what_is_kept_can_be_used(cli: Cli) -> None:
    done = cli("demo", "--keep", "kept")
    assert done.code == 0
    assert "pluginapi run --config kept/pluginapi.toml" in done.out
    kept = Path("kept")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert cli("run", "--config", "kept/pluginapi.toml").code == 0
    passphrase = (kept / "keys" / "publisher.passphrase").read_text()
    key = SigningKeyPair.load(kept / "keys" / "publisher.key", passphrase)
    (library,) = (kept / "plugins").glob("request_filter.*[!g]")
    assert cli("verify", library, "--key", key.public_key.to_hex()).code == 0
    config = ["--config", "kept/pluginapi.toml"]
    assert cli("explain", library, *config).code == 0
    for name in ("unsigned.py", "stranger.py", f"flipped{library.suffix}"):
        assert cli("explain", kept / "plugins" / name, *config).code == 1


@pytest.mark.parametrize("kind", ["directory", "file", "below a file"])
def test_the_demo_writes_into_a_new_directory_only(cli: Cli, kind: str) -> None:
    place = Path("taken")
    if kind == "directory":
        place.mkdir()
    else:
        place.write_text("precious")
    target = place / "deeper" if kind == "below a file" else place
    done = cli("demo", "--keep", target, "--json")
    code = "io.failed" if kind == "below a file" else "demo.directory_exists"
    assert (done.code, done.error()["code"]) == (1, code)


def test_without_a_compiler(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    done = cli("demo", "--json")
    assert done.error()["code"] == "demo.no_compiler"
    assert "cc, gcc, clang" in done.error()["message"]
    assert "build-essential" in done.error()["hint"]
    monkeypatch.setenv("CC", "no-such-compiler -O3")
    assert "no-such-compiler" in cli("demo", "--json").error()["message"]


def test_a_compiler_that_fails(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Path("broken-cc").absolute()
    compiler.write_text("#!/bin/sh\necho 'internal error\x1b[2J' >&2\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    done = cli("demo")
    assert done.code == 1
    assert "error[demo.compile_failed]" in done.err
    assert "internal error\\x1b[2J" in done.err
    compiler.write_text("not a program")
    assert cli("demo", "--json").error()["code"] == "demo.compile_failed"


def test_a_compiler_that_hangs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = Path("slow-cc").absolute()
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setenv("CC", str(sleeper))
    monkeypatch.setattr("pluginapi.cli._compiler._TIMEOUT_SECONDS", 0.2)
    done = cli("demo", "--json")
    assert done.error()["code"] == "demo.compile_failed"
    assert "0.2 s" in done.error()["message"]


def test_cc_chooses_the_compiler(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("cc") or shutil.which("gcc")
    assert real is not None
    monkeypatch.setenv("CC", f"{real} -O1")
    calls: list[list[str]] = []
    run = subprocess.run

    def watch(command: list[str], **options: object) -> object:
        calls.append(command)
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("pluginapi.cli._compiler.subprocess.run", watch)
    assert cli("demo", "--json").code == 0
    assert calls[0][:2] == [real, "-O1"]


def test_without_the_examples(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "pluginapi.cli._examples.pluginapi.__file__", str(tmp_path / "a" / "b" / "c.py")
    )
    assert cli("demo", "--json").error()["code"] == "demo.no_examples"
