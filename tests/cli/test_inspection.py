from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import native
from pluginapi.security import SigningKeyPair

from .harness import TRUST_KEY_HEX, Cli


def test_inspect_shows_the_manifest_and_runs_nothing(cli: Cli) -> None:
    path = cli.forge.plugin(
        "acme.filter",
        description="Filters.",
        extra="resource_limits=ResourceLimits(max_threads=7), "
        'requirements=PluginRequirements(context_read=("Logger",), services=("db.fetch",)), '
        'dependencies={"acme.base": ">=1,<2"}',
        top_level='open("ran", "w").close()\n',
    )
    done = cli("inspect", path)
    assert done.code == 0
    for text in ("acme.filter 1.0.0", "Tests", "Filters.", "max_threads 7", "reads Logger"):
        assert text in done.out
    assert "acme.base" in done.out
    assert "services      calls db.fetch" in done.out
    assert cli.forge.key.public_key.key_id in done.out
    assert "not verified here" in done.out
    found = cli("inspect", path, "--json").json()
    assert found["name"] == "acme.filter"
    assert found["resource_limits"]["max_threads"] == 7
    assert found["signature"]["key_ids"] == [cli.forge.key.public_key.key_id]
    assert not Path("ran").exists()


def test_inspect_an_unsigned_native_plugin(cli: Cli) -> None:
    path = cli.forge.plugins / "guard.so"
    path.write_bytes(native())
    done = cli("inspect", path)
    assert "native, ABI" in done.out
    assert "signature     none" in done.out
    assert "the host's defaults" in done.out
    assert cli("inspect", path, "--json").json()["signature"] is None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("x = 1\n", "manifest.missing"),
        ("", "file.empty"),
        ("def (", "manifest.syntax"),
        (None, "file.not_found"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "explain"])
def test_what_is_no_plugin(cli: Cli, command: str, content: str | None, code: str) -> None:
    path = cli.forge.plugins / "x.py"
    if content is not None:
        path.write_text(content)
    security = cli.trust if command == "explain" else ()
    done = cli(command, path, *security, "--json")
    assert (done.code, done.error()["code"]) == (1, code)
    assert done.error()["hint"]
    text = cli(command, path, *security)
    assert f"error[{code}]" in text.err
    assert "hint:" in text.err


# explain


def test_explain_a_trusted_plugin(cli: Cli) -> None:
    path = cli.forge.plugin("acme.filter")
    done = cli("explain", path, *cli.trust)
    assert done.code == 0
    assert "loadable, trusted" in done.out
    assert "failed" not in done.out
    found = cli("explain", path, *cli.trust, "--json").json()
    assert found["loadable"] is True
    assert {check["outcome"] for check in found["checks"]} == {"ok"}


def test_explain_says_which_services_are_not_granted(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUST", TRUST_KEY_HEX)
    path = cli.forge.plugin(
        "acme.filter",
        extra='requirements=PluginRequirements(services=("db.fetch", "db.execute")),',
    )
    done = cli("explain", path, *cli.trust)
    assert done.code == 0
    assert "services not granted: db.fetch, db.execute" in done.out
    for granted, missing in (
        ([], ["db.fetch", "db.execute"]),
        (["db.fetch"], ["db.execute"]),
        (["db.fetch", "db.execute"], []),
    ):
        config = Path("pluginapi.toml")
        config.write_text(
            f'[security]\ntrust_list_path = "{cli.forge.trust_list_path}"\n'
            f'state_dir = "{cli.forge.state_dir}"\n'
            'trust_key_source = "env:TRUST"\ntrust_key_form = "raw"\n'
            f'[services.plugin]\n"acme.filter" = {granted}\n'
        )
        found = cli("explain", path, "--config", config, "--json")
        assert found.json()["loadable"] is True
        assert found.json()["services"] == {"granted": granted, "missing": missing}
    config.write_text(config.read_text().replace(", 'db.execute'", ""))
    shown = cli("explain", path, "--config", config).out
    assert "services granted: db.fetch" in shown
    assert '"acme.filter" = ["db.fetch", "db.execute"]' in shown


NETWORK = (
    "requirements=PluginRequirements(network=NetworkRequirement.restricted("
    "NetworkTarget.parse('*.example.com'), NetworkTarget.parse('192.0.2.7:5432'))),"
)
IMPORTS = "from pluginapi import NetworkRequirement, NetworkTarget"


@pytest.mark.parametrize(
    ("sandboxing", "destination", "allowed", "says"),
    [
        ("enabled = false", "evil.org:443", True, "nothing restricts plugins"),
        ("", "evil.org:443", False, "NetworkRequirement.restricted(NetworkTarget.parse('evil.org"),
        ("", "api.example.com:443", False, "allow = ['api.example.com:443']"),
        ('network.mode = "full"', "api.example.com:443", True, "all of the network"),
        (
            'network.mode = "restricted"\nnetwork.allow = ["api.example.com:443"]',
            "API.example.com.:443",
            True,
            "asked for by the manifest, offered by the operator",
        ),
        (
            'network.mode = "restricted"\nnetwork.allow = ["api.example.com:443"]',
            "api.example.com:80",
            False,
            "allow = ['api.example.com:80']",
        ),
        (
            'network.mode = "restricted"\nnetwork.allow = ["192.0.2.0/24"]',
            "192.0.2.7:5432",
            True,
            "offered by the operator",
        ),
        (
            'network.mode = "restricted"\nnetwork.allow = ["192.0.2.0/24"]',
            "192.0.2.8:5432",
            False,
            "does not ask for it",
        ),
    ],
)
def test_explain_says_which_grant_lets_a_plugin_connect(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    *,
    sandboxing: str,
    destination: str,
    allowed: bool,
    says: str,
) -> None:
    monkeypatch.setenv("TRUST", TRUST_KEY_HEX)
    path = cli.forge.plugin("acme.filter", extra=NETWORK, top_level=IMPORTS)
    config = Path("pluginapi.toml")
    enabled = "" if "enabled" in sandboxing else "enabled = true\n"
    config.write_text(
        f'[security]\ntrust_list_path = "{cli.forge.trust_list_path}"\n'
        f'state_dir = "{cli.forge.state_dir}"\n'
        'trust_key_source = "env:TRUST"\ntrust_key_form = "raw"\n'
        f'[isolation]\nmode = "process"\n[sandboxing]\n{enabled}{sandboxing}\n'
    )
    done = cli("explain", path, "--config", config, "--connect", destination)
    assert done.code == int(not allowed)
    assert says in done.out
    found = cli("explain", path, "--config", config, "--connect", destination, "--json").json()
    assert found["loadable"] is True
    assert found["connect"]["allowed"] is allowed
    assert says in found["connect"]["reason"] + found["connect"]["remedy"]


def test_explain_takes_one_destination_and_a_configuration(cli: Cli) -> None:
    path = cli.forge.plugin("acme.filter")
    without = cli("explain", path, *cli.trust, "--connect", "a.example:443")
    assert without.code == 2
    assert "--config" in without.err
    Path("pluginapi.toml").write_text("")
    for several in ("a.example", "*.example:443", "192.0.2.0/24:443", "a b:443", ":443"):
        done = cli("explain", path, "--config", "pluginapi.toml", "--connect", several)
        assert done.code == 2, several


def test_explain_says_code_and_remedy_of_what_fails(cli: Cli) -> None:
    path = cli.forge.plugin("acme.filter", sign=False, trust=False)
    done = cli("explain", path, *cli.trust)
    assert done.code == 1
    for text in ("not loadable", "signature.missing", "trust.not_listed"):
        assert text in done.out
    assert f"pluginapi sign {path} --key KEY" in done.out
    found = cli("explain", path, *cli.trust, "--json")
    assert found.code == 1
    assert found.json()["loadable"] is False


def test_following_the_hints_makes_it_loadable(cli: Cli) -> None:
    """Do what each refusal says, until there is none."""
    path = cli.forge.plugin("acme.filter", sign=False, trust=False)
    SigningKeyPair.generate().save(Path("new.key"), unencrypted=True)
    SigningKeyPair.load("new.key").public_key.save(Path("new.pub"))
    steps = []
    while (done := cli("explain", path, *cli.trust, "--json")).code:
        failed = next(item for item in done.json()["checks"] if item["outcome"] == "failed")
        steps.append(failed["code"])
        command = failed["hint"].split("pluginapi ")[1].split("`")[0].split()
        places = {"KEY": "new.key", "PUB": "new.pub"}
        arguments = [places.get(word, word) for word in command]
        assert cli(*arguments, *(cli.trust if arguments[0] == "trust" else ())).code == 0
        assert len(steps) < 5
    assert steps == ["signature.missing", "key.unknown", "trust.not_listed"]


def test_explain_a_library_of_another_platform(cli: Cli) -> None:
    path = cli.forge.plugins / "guard.so"
    data = bytearray(native())
    data[18:20] = (243).to_bytes(2, "little")  # e_machine: RISC-V
    path.write_bytes(data)
    cli.forge.sign(path)
    cli.forge.trust(path)
    done = cli("explain", path, *cli.trust, "--json")
    assert done.code == 1
    assert done.json()["allowed"] is True
    assert done.json()["loadable"] is False
    first = done.json()["checks"][0]
    assert (first["name"], first["code"]) == ("platform", "platform.unsupported")
    path.write_bytes(native())
    cli.forge.sign(path)
    cli.forge.trust(path)
    assert cli("explain", path, *cli.trust).code == 0


def test_explain_with_pinned_keys_and_without_a_list(cli: Cli) -> None:
    path = cli.forge.plugin("acme.filter", trust=False)
    known = cli("explain", path, "--no-trust-list", "--pin", cli.public_key(), "--json")
    codes = {check["code"] for check in known.json()["checks"]}
    assert "trust.not_listed" in codes
    assert "key.unknown" not in codes
    unknown = cli("explain", path, "--no-trust-list", "--json").json()
    assert "key.unknown" in {check["code"] for check in unknown["checks"]}


def test_explain_with_a_list_that_is_not_there_or_damaged(cli: Cli) -> None:
    path = cli.forge.plugin("acme.filter")
    done = cli("explain", path, "--trust-list", "absent.enc", "--json")
    assert done.error()["code"] == "trust_list.missing"
    data = bytearray(cli.forge.trust_list_path.read_bytes())
    data[-1] ^= 1
    cli.forge.trust_list_path.write_bytes(data)
    done = cli("explain", path, *cli.trust, "--json")
    assert done.error()["code"] == "trust_list.cannot_decrypt"


# list


def test_list_shows_status_and_reason(cli: Cli) -> None:
    cli.forge.plugin("good")
    cli.forge.plugin("unsigned", sign=False, trust=False)
    (cli.forge.plugins / "broken.py").write_text("x = 1\n")
    done = cli("list", cli.forge.plugins, *cli.trust)
    assert done.code == 0
    assert "good\t1.0.0\tpython\tavailable\tgood.py\t" in done.out
    assert "unsigned\t1.0.0\tpython\tuntrusted\tunsigned.py\tsignature.missing" in done.out
    assert "broken.py: " in done.out
    assert "[manifest.missing]" in done.out
    assert not done.err
    found = cli("list", cli.forge.plugins, *cli.trust, "--json").json()
    assert [item["name"] for item in found["plugins"]] == ["good", "unsigned"]
    assert [item["code"] for item in found["problems"]] == ["manifest.missing"]


def test_list_of_nothing(cli: Cli) -> None:
    assert "no plugins found" in cli("list", cli.forge.plugins, *cli.trust).out
    done = cli("list", "absent", *cli.trust, "--json")
    assert done.error()["code"] == "registry.no_directory"


def test_list_with_a_list_that_is_not_there_is_one_error(cli: Cli) -> None:
    cli.forge.plugin("one")
    cli.forge.plugin("two")
    done = cli("list", "--trust-list", "absent.enc", "--json")
    assert done.error()["code"] == "trust_list.missing"


def test_list_decides_as_the_host(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.forge.plugin("good")
    config = cli.forge.root / "pluginapi.toml"
    config.write_text(
        '[plugins]\ndirectory = "others"\n[security]\ntrust_list_path = "trust.enc"\n'
        'state_dir = "state"\ntrust_key_source = "env:HOST_KEY"\ntrust_key_form = "raw"\n'
    )
    monkeypatch.setenv("HOST_KEY", TRUST_KEY_HEX)
    shutil.copytree(cli.forge.plugins, "others")
    found = cli("list", "--config", config, "--json").json()
    assert [item["status"] for item in found["plugins"]] == ["available"]
    for option in (["--no-trust-list"], ["--pin", "x"], ["--trust-key-file", "x"]):
        assert cli("list", "--config", config, *option).code == 2
    config.write_text("[plugins]\nfrobnicate = 1\n")
    refused = cli("list", "--config", config, "--json")
    assert refused.error()["code"] == "config.unknown_key"
    assert "pluginapi.toml:2" in refused.error()["message"]
