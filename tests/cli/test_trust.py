from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

import pytest

from pluginapi.security import PluginSignature, SigningKeyPair, TrustKey, TrustList

from .harness import TRUST_KEY_HEX, Cli, installed, on_terminal

SECRET = "correct horse"


@pytest.fixture
def plugin(cli: Cli) -> Path:
    return cli.forge.plugin("acme.filter", trust=False)


def listed(cli: Cli) -> TrustList:
    forge = cli.forge
    return TrustList.load(forge.trust_list_path, forge.trust_key, state_dir=forge.state_dir)


# init


def test_a_new_list_is_private_and_never_overwrites(cli: Cli) -> None:
    done = cli("trust", "init", "--trust-list", "new/list.enc", "--json")
    assert done.code == 0
    assert done.json()["counter"] == 1
    assert stat.S_IMODE(Path("new/list.enc").stat().st_mode) == 0o600
    before = Path("new/list.enc").read_bytes()
    again = cli("trust", "init", "--trust-list", "new/list.enc", "--json")
    assert again.error()["code"] == "trust_list.exists"
    assert Path("new/list.enc").read_bytes() == before


def test_the_default_place_and_the_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("trust", "init").code == 0
    assert Path("data/plugin_trust_list.enc").is_file()
    monkeypatch.setenv("PLUGINAPI_TRUST_LIST", "elsewhere.enc")
    assert cli("trust", "init").code == 0
    assert Path("elsewhere.enc").is_file()


def test_init_makes_a_key_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLUGINAPI_TRUST_KEY")
    done = cli("trust", "init", "--trust-list", "l.enc", "--new-key-file", "l.key")
    assert done.code == 0
    key = Path("l.key").read_bytes()
    assert len(key) == 32
    assert key.hex() not in done.out
    assert stat.S_IMODE(Path("l.key").stat().st_mode) == 0o600
    opened = cli("trust", "list", "--trust-list", "l.enc", "--trust-key-file", "l.key", "--json")
    assert opened.json()["counter"] == 1


def test_init_writes_no_key_over_a_file_and_leaves_none_behind(cli: Cli) -> None:
    Path("l.key").write_text("precious")
    new = ["trust", "init", "--new-key-file", "l.key", "--json", "--trust-list"]
    assert cli(*new, "l.enc").error()["code"] == "key.exists"
    assert Path("l.key").read_text() == "precious"
    Path("l.key").unlink()
    assert cli(*new, cli.forge.trust_list_path).error()["code"] == "trust_list.exists"
    assert not Path("l.key").exists()
    both = cli(*new, "l.enc", "--trust-key-file", "other.key")
    assert both.error()["code"] == "secret.ambiguous"


# The key of the list


def test_a_passphrase_from_every_source(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLUGINAPI_TRUST_KEY")
    where = ["--trust-list", "p.enc"]
    made = on_terminal("trust", "init", *where, answers=[SECRET, SECRET])
    assert made.code == 0
    file = Path("passphrase")
    file.touch(mode=0o600)
    file.write_text(SECRET)
    read, write = os.pipe()
    os.write(write, SECRET.encode())
    os.close(write)
    show = ["trust", "list", *where]
    outcomes = [
        cli(*show, "--trust-passphrase-file", file),
        installed(*show, "--trust-passphrase-fd", str(read), pass_fds=[read]),
        installed(*show, environment={"PLUGINAPI_TRUST_PASSPHRASE": SECRET}),
        on_terminal(*show, answers=[SECRET]),
    ]
    os.close(read)
    assert [done.code for done in outcomes] == [0, 0, 0, 0]
    for done in [made, *outcomes]:
        assert SECRET not in done.out + done.err
    wrong = installed(*show, "--json", environment={"PLUGINAPI_TRUST_PASSPHRASE": "wrong"})
    assert wrong.error()["code"] == "trust_list.cannot_decrypt"
    assert cli(*show, "--json").error()["code"] == "secret.missing"


def test_two_keys_are_ambiguous(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGINAPI_TRUST_PASSPHRASE", SECRET)
    assert cli("trust", "list", *cli.trust, "--json").error()["code"] == "secret.ambiguous"
    monkeypatch.delenv("PLUGINAPI_TRUST_PASSPHRASE")
    done = cli(
        *("trust", "list", *cli.trust, "--json"),
        *("--trust-key-file", "k", "--trust-passphrase-file", "p"),
    )
    assert done.error()["code"] == "secret.ambiguous"


def test_a_wrong_key_is_an_error_and_never_an_empty_list(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGINAPI_TRUST_KEY", "ff" * 32)
    done = cli("trust", "list", *cli.trust, "--json")
    assert done.error()["code"] == "trust_list.cannot_decrypt"
    monkeypatch.setenv("PLUGINAPI_TRUST_KEY", "secret-that-is-no-key")
    done = cli("trust", "list", *cli.trust)
    assert "trust_list.key_invalid" in done.err
    assert "secret-that-is-no-key" not in done.out + done.err


# add


def test_add_a_key_and_a_plugin_it_signed(cli: Cli, plugin: Path) -> None:
    signer = SigningKeyPair.generate()
    signer.public_key.save(Path("release.pub"))
    cli.forge.sign(plugin, signer)
    done = cli("trust", "add", "--key", "release.pub", plugin, "--note", "ticket 7", *cli.trust)
    assert done.code == 0
    assert f"added key {signer.public_key.key_id} (release)" in done.out
    found = listed(cli)
    entry = found.plugins[hashlib.sha3_512(plugin.read_bytes()).hexdigest()]
    assert (entry.name, entry.version, entry.note) == ("acme.filter", "1.0.0", "ticket 7")
    assert found.keys[signer.public_key.key_id].label == "release"
    assert cli("explain", plugin, *cli.trust).code == 0


def test_add_takes_a_key_in_hexadecimal(cli: Cli) -> None:
    key = SigningKeyPair.generate().public_key
    assert cli("trust", "add", "--key", key.to_hex(), *cli.trust, "--json").json() == {
        "keys": [key.key_id],
        "plugins": [],
    }
    assert key.key_id in listed(cli).keys


def test_add_is_done_as_a_whole_or_not_at_all(cli: Cli, plugin: Path) -> None:
    stranger = cli.forge.plugin("stranger", sign=False, trust=False)
    cli.forge.sign(stranger, SigningKeyPair.generate())
    new = SigningKeyPair.generate().public_key.to_hex()
    before = cli.forge.trust_list_path.read_bytes()
    done = cli("trust", "add", "--key", new, plugin, stranger, *cli.trust, "--json")
    assert done.error()["code"] == "key.unknown"
    assert cli.forge.trust_list_path.read_bytes() == before
    done = cli("trust", "add", "--key", new, plugin, *cli.trust)
    assert done.code == 0
    assert len(listed(cli).plugins) == 1


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        ("unsigned", "signature.missing"),
        ("changed", "signature.mismatch"),
        ("gone", "file.not_found"),
    ],
)
def test_add_refuses(cli: Cli, plugin: Path, prepare: str, code: str) -> None:
    if prepare == "unsigned":
        plugin.with_name(plugin.name + ".sig").unlink()
    elif prepare == "changed":
        plugin.write_bytes(plugin.read_bytes() + b"\n")
    else:
        plugin.unlink()
    assert cli("trust", "add", plugin, *cli.trust, "--json").error()["code"] == code
    assert not listed(cli).plugins


# remove and revoke


def test_remove_and_add_again(cli: Cli, plugin: Path) -> None:
    assert cli("trust", "add", plugin, *cli.trust).code == 0
    assert cli("explain", plugin, *cli.trust).code == 0
    done = cli("trust", "remove", plugin, *cli.trust)
    assert done.code == 0
    assert "removed plugin" in done.out
    assert cli("explain", plugin, *cli.trust).code == 1
    again = cli("trust", "remove", plugin, *cli.trust, "--json")
    assert again.error()["code"] == "trust.not_found"
    assert cli("trust", "add", plugin, *cli.trust).code == 0
    digest = hashlib.sha3_512(plugin.read_bytes()).hexdigest()
    assert cli("trust", "remove", "--hash", digest.upper(), *cli.trust).code == 0


@pytest.mark.parametrize("form", ["file", "hexadecimal", "id"])
def test_a_key_is_named_in_three_ways(cli: Cli, form: str) -> None:
    key = cli.forge.key.public_key
    name = {"file": str(cli.public_key()), "hexadecimal": key.to_hex(), "id": key.key_id.upper()}
    done = cli("trust", "remove", "--key", name[form], *cli.trust, "--json")
    assert done.json() == {"removed": {"hashes": [], "keys": [key.key_id]}}
    assert key.key_id not in listed(cli).keys


def test_a_revoked_file_stays_refused(cli: Cli, plugin: Path) -> None:
    assert cli("trust", "add", plugin, *cli.trust).code == 0
    done = cli("trust", "revoke", plugin, "--reason", "hole", *cli.trust)
    assert done.code == 0
    refused = cli("explain", plugin, *cli.trust)
    assert refused.code == 1
    assert "trust.hash_revoked" in refused.out
    assert "hole" in refused.out
    again = cli("trust", "add", plugin, *cli.trust, "--json")
    assert again.error()["code"] == "trust.hash_revoked"


def test_any_file_can_be_revoked(cli: Cli) -> None:
    Path("no-plugin.bin").write_bytes(b"anything")
    assert cli("trust", "revoke", "no-plugin.bin", *cli.trust).code == 0
    assert hashlib.sha3_512(b"anything").hexdigest() in listed(cli).revoked_hashes


def test_a_revoked_key_refuses_what_it_signed(cli: Cli, plugin: Path) -> None:
    assert cli("trust", "add", plugin, *cli.trust).code == 0
    revoke = ["trust", "revoke", "--key", cli.public_key(), "--reason", "stolen"]
    assert cli(*revoke, *cli.trust).code == 0
    refused = cli("explain", plugin, *cli.trust, "--json")
    assert refused.code == 1
    assert "key.revoked" in {check["code"] for check in refused.json()["checks"]}
    text = cli("trust", "list", *cli.trust).out
    assert "stolen" in text
    assert "REVOKED" in text


def test_changes_are_made_as_a_whole_or_not_at_all(cli: Cli, plugin: Path) -> None:
    assert cli("trust", "add", plugin, *cli.trust).code == 0
    before = cli.forge.trust_list_path.read_bytes()
    done = cli("trust", "remove", plugin, "--hash", "0" * 128, *cli.trust, "--json")
    assert done.error()["code"] == "trust.not_found"
    assert cli.forge.trust_list_path.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--hash", "123", "trust.entry_invalid"),
        ("--key", "absent.pub", "key.not_found"),
        ("--key", "123", "key.not_found"),
    ],
)
def test_names_that_mean_nothing(cli: Cli, option: str, value: str, code: str) -> None:
    done = cli("trust", "revoke", option, value, *cli.trust, "--json")
    assert done.error()["code"] == code


# list, export, restore


def test_list_and_export_show_everything_but_secrets(cli: Cli, plugin: Path) -> None:
    assert cli("trust", "add", plugin, "--note", "a\tnote\nof two lines", *cli.trust).code == 0
    shown = cli("trust", "list", *cli.trust)
    assert "acme.filter\t1.0.0\t" in shown.out
    assert "a\\x09note\\x0aof two lines" in shown.out
    exported = cli("trust", "export", *cli.trust)
    assert exported.json() == cli("trust", "list", *cli.trust, "--json").json()
    assert exported.json()["plugins"][0]["name"] == "acme.filter"
    assert cli.forge.key.public_key.key_id == exported.json()["keys"][0]["key_id"]
    for done in (shown, exported):
        assert TRUST_KEY_HEX not in done.out + done.err


def test_an_older_copy_is_refused_until_it_is_restored(cli: Cli, plugin: Path) -> None:
    path = cli.forge.trust_list_path
    shutil.copy2(path, "backup.enc")
    assert cli("trust", "add", plugin, *cli.trust).code == 0
    shutil.copy2("backup.enc", path)
    refused = cli("trust", "list", *cli.trust, "--json")
    assert refused.error()["code"] == "trust_list.rolled_back"
    assert "pluginapi trust restore" in refused.error()["hint"]
    done = cli("trust", "restore", *cli.trust, "--json")
    assert done.code == 0
    assert cli("trust", "list", *cli.trust, "--json").json()["plugins"] == []


@pytest.mark.parametrize("command", ["add", "remove", "revoke", "list", "export", "restore"])
def test_without_a_list(cli: Cli, plugin: Path, command: str) -> None:
    arguments = [] if command in {"list", "export", "restore"} else [str(plugin)]
    done = cli("trust", command, *arguments, "--trust-list", "absent.enc", "--json")
    assert done.error()["code"] == "trust_list.missing"
    assert "pluginapi trust init" in done.error()["hint"]


# The list of a host


def write_config(cli: Cli, source: str = "env:HOST_KEY", form: str = "raw") -> Path:
    path = cli.forge.root / "pluginapi.toml"
    path.write_text(
        f'[plugins]\ndirectory = "plugins"\n[security]\ntrust_list_path = "trust.enc"\n'
        f'state_dir = "state"\ntrust_key_source = "{source}"\ntrust_key_form = "{form}"\n'
    )
    return path


def test_the_list_of_a_host(cli: Cli, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ["--config", str(write_config(cli))]
    monkeypatch.delenv("PLUGINAPI_TRUST_KEY")
    missing = cli("trust", "list", *config, "--json")
    assert missing.error()["code"] == "config.trust_key"
    monkeypatch.setenv("HOST_KEY", TRUST_KEY_HEX)
    assert cli("trust", "add", plugin, *config).code == 0
    assert len(listed(cli).plugins) == 1
    Path("raw.key").touch(mode=0o600)
    Path("raw.key").write_bytes(cli.forge.trust_key.to_hex().encode()[:32])
    wrong = cli("trust", "list", *config, "--trust-key-file", "raw.key", "--json")
    assert wrong.error()["code"] == "trust_list.cannot_decrypt"


def test_a_host_and_a_list_contradict_each_other(cli: Cli) -> None:
    config = ["--config", str(write_config(cli))]
    for option in ("--trust-list", "--state-dir"):
        done = cli("trust", "list", *config, option, "x", "--json")
        assert done.code == 2


def test_the_passphrase_of_a_host_is_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(cli, form="passphrase")
    cli.forge.trust_list_path.unlink()
    shutil.rmtree(cli.forge.state_dir)
    key = TrustKey.from_passphrase(SECRET, ops=1, memory_kib=8192)
    TrustList.create(cli.forge.trust_list_path, key, state_dir=cli.forge.state_dir)
    monkeypatch.delenv("PLUGINAPI_TRUST_KEY")
    done = on_terminal("trust", "list", "--config", config, answers=[SECRET])
    assert done.code == 0
    assert SECRET not in done.out


def test_an_envelope_of_two_signers_is_listed_under_a_known_one(cli: Cli, plugin: Path) -> None:
    SigningKeyPair.generate().save(Path("second.key"), unencrypted=True)
    assert cli("sign", plugin, "--key", "second.key", "--add").code == 0
    envelope = PluginSignature.decode(plugin.with_name(plugin.name + ".sig").read_bytes())
    assert len(envelope.key_ids) == 2
    done = cli("trust", "add", plugin, *cli.trust, "--json")
    assert done.json()["plugins"][0]["key_id"] == cli.forge.key.public_key.key_id
