from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pluginapi.security import PluginSignature, SigningKeyPair

from .harness import Cli, installed, on_terminal

SECRET = "correct horse"


@pytest.fixture
def plugin(cli: Cli) -> Path:
    return cli.forge.plugin("acme.filter", sign=False, trust=False)


def test_sign_then_verify(cli: Cli, plugin: Path) -> None:
    signed = cli(
        "sign", plugin, "--key", cli.private_key(), "--signer", "me", "--notes", "n", "--json"
    )
    key_id = cli.forge.key.public_key.key_id
    assert signed.code == 0
    assert signed.json()["name"] == "acme.filter"
    assert signed.json()["key_id"] == key_id
    envelope = PluginSignature.decode(plugin.with_name(plugin.name + ".sig").read_bytes())
    assert envelope.statement.sha3_512 == signed.json()["sha3_512"]
    assert envelope.key_ids == (key_id,)
    done = cli("verify", plugin, "--key", cli.public_key())
    assert done.code == 0
    assert "valid: acme.filter 1.0.0" in done.out
    found = cli("verify", plugin, "--key", cli.forge.key.public_key.to_hex(), "--json").json()
    assert found["valid"] is True
    assert found["key_ids"] == [key_id]


def test_verify_says_what_is_wrong(cli: Cli, plugin: Path) -> None:
    def refused() -> str:
        done = cli("verify", plugin, "--key", cli.public_key(), "--json")
        assert done.error()["hint"]
        return str(done.error()["code"])

    assert refused() == "signature.missing"
    cli.forge.sign(plugin, SigningKeyPair.generate())
    assert refused() == "signature.invalid"
    cli.forge.sign(plugin)
    assert cli("verify", plugin, "--key", cli.public_key()).code == 0
    original = plugin.read_bytes()
    plugin.write_bytes(original.replace(b"made = True", b"made = None"))
    assert refused() == "signature.mismatch"
    plugin.write_bytes(original)
    signature = plugin.with_name(plugin.name + ".sig")
    signature.write_bytes(b"{}")
    assert refused() == "signature.malformed"


def test_every_key_that_is_named_must_have_signed(cli: Cli, plugin: Path) -> None:
    second = SigningKeyPair.generate()
    second.save(Path("second.key"), unencrypted=True)
    second.public_key.save(Path("second.pub"))
    both = ["--key", cli.public_key(), "--key", "second.pub"]
    assert cli("sign", plugin, "--key", cli.private_key()).code == 0
    assert cli("verify", plugin, *both, "--json").error()["code"] == "signature.invalid"
    assert cli("sign", plugin, "--key", "second.key", "--add").code == 0
    assert cli("verify", plugin, *both).code == 0


def test_a_second_signature_needs_a_first_of_the_same_file(cli: Cli, plugin: Path) -> None:
    add = ["sign", plugin, "--key", cli.private_key(), "--add", "--json"]
    assert cli(*add).error()["code"] == "signature.missing"
    cli.forge.sign(plugin)
    plugin.write_bytes(plugin.read_bytes() + b"\n")
    assert cli(*add).error()["code"] == "signature.mismatch"


def test_a_signature_moved_to_another_plugin_is_refused(cli: Cli, plugin: Path) -> None:
    other = cli.forge.plugin("acme.other", trust=False)
    shutil.copy(other.with_name(other.name + ".sig"), plugin.with_name(plugin.name + ".sig"))
    done = cli("verify", plugin, "--key", cli.public_key(), "--json")
    assert done.error()["code"] == "signature.mismatch"


def test_an_encrypted_key_wants_its_passphrase(cli: Cli, plugin: Path) -> None:
    cli.forge.key.save(Path("locked.key"), SECRET)
    sign = ["sign", plugin, "--key", "locked.key"]
    assert cli(*sign, "--json").error()["code"] == "secret.missing"
    done = installed(*sign, environment={"PLUGINAPI_KEY_PASSPHRASE": SECRET})
    assert done.code == 0
    wrong = installed(*sign, "--json", environment={"PLUGINAPI_KEY_PASSPHRASE": "wrong"})
    assert wrong.error()["code"] == "key.passphrase"
    typed = on_terminal(*sign, answers=[SECRET])
    assert typed.code == 0
    assert SECRET not in done.out + done.err + typed.out
    assert cli("verify", plugin, "--key", cli.public_key()).code == 0


def test_a_plain_key_asks_for_nothing(cli: Cli, plugin: Path) -> None:
    assert on_terminal("sign", plugin, "--key", cli.private_key()).code == 0


def test_openssl_makes_a_key_that_signs(cli: Cli, plugin: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        [openssl, "genpkey", "-algorithm", "ed25519", "-out", "o.key"], check=True, umask=0o077
    )
    subprocess.run([openssl, "pkey", "-in", "o.key", "-pubout", "-out", "o.pub"], check=True)
    assert cli("sign", plugin, "--key", "o.key").code == 0
    assert cli("verify", plugin, "--key", "o.pub").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["sign", "absent.py", "--key", "forge.key"], "file.not_found"),
        (["sign", "forge.key", "--key", "forge.key"], "file.unknown_kind"),
        (["sign", "plugins/acme.filter.py", "--key", "absent.key"], "key.not_found"),
        (["sign", "plugins/acme.filter.py", "--key", "forge.pub"], "key.permissions"),
        (["verify", "absent.py", "--key", "forge.pub"], "file.not_found"),
        (["verify", "plugins/acme.filter.py", "--key", "absent.pub"], "key.not_found"),
        (["verify", "plugins/acme.filter.py", "--key", "0" * 64], "key.weak"),
    ],
)
def test_files_that_are_not_what_they_should_be(
    cli: Cli, plugin: Path, arguments: list[str], code: str
) -> None:
    cli.private_key()
    cli.public_key()
    done = cli(*arguments, "--json")
    assert (done.code, done.error()["code"]) == (1, code)
    assert done.error()["hint"]


def test_a_signature_that_cannot_be_written(cli: Cli, plugin: Path) -> None:
    plugin.with_name(plugin.name + ".sig").mkdir()
    done = cli("sign", plugin, "--key", cli.private_key(), "--json")
    assert done.code == 1
    assert done.error()["code"] in {"file.envelope", "io.failed"}
