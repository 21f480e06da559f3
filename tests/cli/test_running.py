from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pluginapi.recorded import load_recorded

from .harness import INSTALLED, TRUST_KEY_HEX, Cli, installed, on_terminal

# Answers what asks for /admin, fails at /fail, and says what it sees of the environment.
GATE = """\
def register_hooks(self, hooks):
    hooks.register("on_request", 200, self.on_request)

def on_request(self, request):
    from pluginapi import HttpResponse
    if request.path.startswith("/fail"):
        raise ValueError("cannot do that")
    if request.path.startswith("/admin"):
        return HttpResponse(status=403, request=request)
    return None
"""

SPY = """\
def init(self, context):
    import os
    secrets = [name for name in os.environ if name in ("PLUGINAPI_TRUST_KEY", "HOST_KEY")]
    with open("seen", "w") as file:
        file.write(",".join(secrets) or "nothing")
"""

LOUD = """\
def init(self, context):
    from pluginapi import ContextKey
    context.get(ContextKey.Logger).info("hello \\\\x1b[2J from init")
"""


def recording(*paths: str) -> Path:
    lines = [
        '{"client": "test", "address": "192.0.2.1", '
        f'"raw": "GET {path} HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"}}\n'
        for path in paths
    ]
    file = Path("requests.jsonl")
    file.write_text("".join(lines))
    assert len(load_recorded(file)) == len(paths)
    return file


def test_run_says_what_became_of_the_requests(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE)
    requests = recording("/", "/admin", "/admin/x", "/a")
    run = ["run", "--plugins", cli.forge.plugins, *cli.trust, "--requests", requests]
    found = cli(*run, "--repeat", "3", "--json")
    assert found.code == 0
    report = found.json()
    assert report["loaded"] == report["unloaded"] == ["gate"]
    assert (report["requests"], report["passed"], report["answered"]) == (12, 6, {"403": 6})
    assert report["failed"] == 0
    assert report["requests_per_second"] > 0
    (handler,) = report["handlers"]
    assert (handler["plugin"], handler["hook"], handler["calls"]) == ("gate", "on_request", 12)
    assert handler["errors"] == 0
    assert handler["mean_us"] > 0
    (metrics,) = report["plugins"]
    assert (metrics["name"], metrics["calls"]) == ("gate", 12)


def test_run_as_text(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE)
    run = ["run", "--plugins", cli.forge.plugins, *cli.trust]
    done = cli(*run, "--requests", recording("/", "/admin"))
    assert done.code == 0
    for text in ("loaded   gate 1.0.0 (python)", "1 passed", "1 answered with 403 Forbidden"):
        assert text in done.out
    assert "unloaded gate" in done.out
    assert not done.err


def test_the_default_requests_are_the_recorded_ones(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE)
    report = cli("run", *cli.trust, "--json").json()
    assert report["requests"] > 50
    assert report["passed"] + sum(report["answered"].values()) == report["requests"]


def test_a_handler_that_fails_is_counted_and_makes_the_run_fail(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE)
    requests = recording("/", "/fail/1", "/fail/2", "/admin")
    run = ["run", *cli.trust, "--requests", requests]
    done = cli(*run, "--json")
    assert done.code == 1
    report = done.json()
    assert (report["passed"], report["failed"], report["answered"]) == (1, 2, {"403": 1})
    assert len(report["failures"]) == 1
    assert "cannot do that" in report["failures"][0]["message"]
    assert "gate" in report["failures"][0]["message"]
    assert report["handlers"][0]["errors"] == 2
    text = cli(*run)
    assert text.code == 1
    assert "2 failed" in text.out
    assert "cannot do that" in text.out


def test_refused_plugins_are_named_and_left_out(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE)
    cli.forge.plugin("unsigned", sign=False, trust=False)
    run = ["run", *cli.trust, "--requests", recording("/")]
    done = cli(*run)
    assert done.code == 0
    assert "refused  unsigned.py [signature.missing]" in done.out
    report = cli(*run, "--json").json()
    assert [item["code"] for item in report["refused"]] == ["signature.missing"]


def test_nothing_loaded_is_a_failure(cli: Cli) -> None:
    cli.forge.plugin("unsigned", sign=False, trust=False)
    done = cli("run", *cli.trust, "--requests", recording("/"), "--json")
    assert done.error()["code"] == "run.nothing_loaded"
    assert done.error()["details"]["refused"][0]["code"] == "signature.missing"


def test_a_forged_copy_keeps_no_plugin_from_loading(cli: Cli) -> None:
    path = cli.forge.plugin("gate", GATE)
    (cli.forge.plugins / "a_copy.py").write_bytes(path.read_bytes() + b"\n")
    report = cli("run", *cli.trust, "--requests", recording("/"), "--json").json()
    assert report["loaded"] == ["gate"]
    assert len(report["refused"]) == 1


def test_a_failing_shutdown_makes_the_run_fail(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE + "\ndef shutdown(self):\n    raise ValueError('stuck')\n")
    done = cli("run", *cli.trust, "--requests", recording("/"), "--json")
    assert done.code == 1
    failure = done.json()["unload_failures"][0]
    assert failure["code"] == "lifecycle.shutdown_failed"


def write_config(cli: Cli, extra: str = "") -> Path:
    path = cli.forge.root / "pluginapi.toml"
    path.write_text(
        f'[plugins]\ndirectory = "plugins"\n{extra}\n[security]\ntrust_list_path = "trust.enc"\n'
        'state_dir = "state"\ntrust_key_source = "env:HOST_KEY"\ntrust_key_form = "raw"\n'
    )
    return path


def test_run_as_a_host_is_configured(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.forge.plugin("gate", GATE)
    monkeypatch.setenv("HOST_KEY", TRUST_KEY_HEX)
    done = cli("run", "--config", write_config(cli), "--requests", recording("/"), "--json")
    assert done.code == 0
    assert done.json()["loaded"] == ["gate"]


def test_a_plugin_that_is_named_must_load(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.forge.plugin("gate", GATE)
    cli.forge.plugin("unsigned", sign=False, trust=False)
    config = write_config(cli, 'load = ["gate", "unsigned"]')
    monkeypatch.setenv("HOST_KEY", TRUST_KEY_HEX)
    done = cli("run", "--config", config, "--requests", recording("/"), "--json")
    assert done.error()["code"] == "signature.missing"
    config = write_config(cli, 'load = ["gate"]')
    assert cli("run", "--config", config, "--requests", recording("/")).code == 0


@pytest.mark.parametrize("with_config", [False, True])
def test_plugins_do_not_find_the_key_of_the_trust_list(cli: Cli, with_config: bool) -> None:
    cli.forge.plugin("spy", SPY)
    where = ["--config", write_config(cli)] if with_config else list(cli.trust)
    done = installed(
        "run", *where, "--requests", recording("/"), environment={"HOST_KEY": TRUST_KEY_HEX}
    )
    assert done.code == 0
    seen = Path("seen").read_text()
    assert seen == ("nothing" if with_config else "HOST_KEY")


def test_what_plugins_log_is_shown_when_asked_for_and_steers_nothing(cli: Cli) -> None:
    cli.forge.plugin("loud", LOUD)
    run = ["run", *cli.trust, "--requests", recording("/")]
    assert "hello" not in installed(*run).err
    done = installed(*run, "--verbose")
    assert done.code == 0
    assert "info: pluginapi.plugin.loud: hello " in done.err
    assert "\x1b" not in done.err


def test_requests_that_cannot_be_read(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE)
    run = ["run", *cli.trust, "--json", "--requests"]
    assert cli(*run, "absent.jsonl").error()["code"] == "io.failed"
    Path("empty.jsonl").touch()
    assert cli(*run, "empty.jsonl").error()["code"] == "recorded.invalid"
    Path("bad.jsonl").write_text("{}\n")
    assert "bad.jsonl:1" in cli(*run, "bad.jsonl").error()["message"]


def test_an_interrupt_unloads_and_exits_with_130(cli: Cli) -> None:
    down = "\ndef shutdown(self):\n    open('down', 'w').close()\n"
    up = "\ndef init(self, context):\n    open('up', 'w').close()\n"
    cli.forge.plugin("gate", GATE + up + down)
    # A shell lets the jobs in its background ignore interrupts, and they hand that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [INSTALLED, "run", *cli.trust, "--requests", recording("/"), "--repeat", "1000000"],
        # Coverage in a child makes a second asyncio.exceptions, so that asyncio no longer knows its
        # own CancelledError.
        env={name: os.environ[name] for name in os.environ if not name.startswith("COVERAGE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + 60
        while not Path("up").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert Path("down").exists()


# The scripts

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / name, *arguments],
        env={**os.environ, "PLUGINAPI": str(INSTALLED), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_signing_script(cli: Cli) -> None:
    plugin = str(cli.forge.plugin("acme.filter", sign=False, trust=False))
    secret = {"PLUGINAPI_KEY_PASSPHRASE": "correct horse"}
    assert script("sign-plugin.sh", "generate-key", "release").returncode == 1
    assert script("sign-plugin.sh", "generate-key", **secret).returncode == 0
    assert script("sign-plugin.sh", "generate-key", "release", **secret).returncode == 0
    listed = script("sign-plugin.sh", "list-keys")
    assert listed.returncode == 0
    rows = [line.split("\t") for line in listed.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["default", "release"]
    assert script("sign-plugin.sh", "verify", plugin, "keys/release.pub").returncode == 1
    signed = script("sign-plugin.sh", "sign", plugin, "keys/release.key", **secret)
    assert signed.returncode == 0
    assert script("sign-plugin.sh", "verify", plugin, "keys/release.pub").returncode == 0
    assert script("sign-plugin.sh", "verify", plugin, rows[1][3]).returncode == 0
    assert script("sign-plugin.sh", "verify", plugin, rows[0][3]).returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["sign", "x"],
        ["verify", "x"],
        ["generate-key", "a", "b"],
        ["list-keys", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_of_the_signing_script(arguments: list[str]) -> None:
    done = script("sign-plugin.sh", *arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_the_hashing_script(cli: Cli) -> None:
    plugin = cli.forge.plugin("acme.filter")
    for profile in ("release", "debug"):
        Path("target", profile).mkdir(parents=True)
    assert script("compute-plugin-hashes.sh").returncode == 1
    shutil.copy(plugin, "target/release")
    shutil.copy(plugin, "target/debug")
    for arguments in ([], ["debug"]):
        done = script("compute-plugin-hashes.sh", *arguments)
        place = f"target/{arguments[0] if arguments else 'release'}/acme.filter.py"
        assert done.returncode == 0
        assert done.stdout == cli("hash", place).out


def test_wrong_usage_of_the_hashing_script(cli: Cli) -> None:
    assert script("compute-plugin-hashes.sh", "frobnicate").returncode == 2
    assert script("compute-plugin-hashes.sh", "release", "debug").returncode == 2
    absent = script("compute-plugin-hashes.sh", "debug")
    assert absent.returncode == 1
    assert "target/debug" in absent.stderr


def test_run_on_a_terminal(cli: Cli) -> None:
    cli.forge.plugin("gate", GATE)
    done = on_terminal("run", *cli.trust, "--requests", recording("/", "/admin"))
    assert done.code == 0
    assert "\x1b[32mloaded   gate" in done.out
    assert "PLUGIN" in done.out
