from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pluginapi.errors import KeyFileError
from pluginapi.security import PublicKey, SigningKeyPair

from .harness import Cli, installed, on_terminal

SECRET = "correct horse battery staple"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(mode=0o600)
    path.write_text(SECRET + "\n")
    return path


def test_a_key_pair_is_encrypted_and_private(cli: Cli, passphrase_file: Path) -> None:
    done = cli("keygen", "keys/me", "--passphrase-file", passphrase_file)
    assert done.code == 0
    private, public = Path("keys/me.key"), Path("keys/me.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert b"ENCRYPTED" in private.read_bytes()
    key = PublicKey.load(public)
    assert SigningKeyPair.load(private, SECRET).public_key == key
    assert key.key_id in done.out
    assert key.to_hex() in done.out
    assert SECRET not in done.out + done.err


def test_json_of_a_key_pair(cli: Cli, passphrase_file: Path) -> None:
    made = cli("keygen", "me", "--passphrase-file", passphrase_file, "--json").json()
    key = PublicKey.load("me.pub")
    assert made == {
        "private_key": "me.key",
        "public_key": "me.pub",
        "key_id": key.key_id,
        "public_key_hex": key.to_hex(),
        "encrypted": True,
    }


def test_plain_text_must_be_asked_for(cli: Cli) -> None:
    refused = cli("keygen", "me", "--json")
    assert refused.error()["code"] == "secret.missing"
    assert "PLUGINAPI_KEY_PASSPHRASE" in refused.error()["hint"]
    assert not list(Path().glob("me.*"))
    assert cli("keygen", "me", "--unencrypted").code == 0
    assert SigningKeyPair.load("me.key").public_key == PublicKey.load("me.pub")


@pytest.mark.parametrize("suffix", [".key", ".pub"])
def test_no_file_is_overwritten(cli: Cli, suffix: str) -> None:
    taken = Path(f"me{suffix}")
    taken.write_text("precious")
    done = cli("keygen", "me", "--unencrypted", "--json")
    assert done.error()["code"] == "key.exists"
    assert taken.read_text() == "precious"
    assert [path.name for path in Path().glob("me.*")] == [taken.name]


def test_half_a_pair_is_not_left_behind(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: PublicKey, path: Path) -> None:
        raise KeyFileError("no space", code="key.not_saved")

    monkeypatch.setattr(PublicKey, "save", full)
    assert cli("keygen", "me", "--unencrypted", "--json").error()["code"] == "key.not_saved"
    assert not list(Path().glob("me.*"))


def test_a_directory_that_cannot_be_made(cli: Cli) -> None:
    Path("taken").touch()
    done = cli("keygen", "taken/me", "--unencrypted", "--json")
    assert done.error()["code"] == "io.failed"


# Where the passphrase comes from


def test_the_passphrase_from_the_environment_and_from_a_descriptor(cli: Cli) -> None:
    done = installed("keygen", "one", environment={"PLUGINAPI_KEY_PASSPHRASE": SECRET})
    assert done.code == 0
    SigningKeyPair.load("one.key", SECRET)
    read, write = os.pipe()
    os.write(write, SECRET.encode() + b"\n")
    os.close(write)
    done = installed("keygen", "two", "--passphrase-fd", str(read), pass_fds=[read])
    os.close(read)
    assert done.code == 0
    SigningKeyPair.load("two.key", SECRET)
    done = installed("keygen", "three", "--passphrase-fd", "0", stdin=SECRET)
    assert done.code == 0
    SigningKeyPair.load("three.key", SECRET)


def test_the_passphrase_from_a_prompt_is_asked_twice_and_not_shown(cli: Cli) -> None:
    done = on_terminal("keygen", "me", answers=[SECRET, SECRET])
    assert done.code == 0
    assert SECRET not in done.out
    SigningKeyPair.load("me.key", SECRET)


def test_a_prompt_that_is_answered_differently_asks_again(cli: Cli) -> None:
    done = on_terminal("keygen", "me", answers=[SECRET, "typo", SECRET, SECRET])
    assert done.code == 0
    assert "do not match" in done.out
    SigningKeyPair.load("me.key", SECRET)


def test_the_same_keystrokes_give_the_same_passphrase(cli: Cli) -> None:
    assert on_terminal("keygen", "me", answers=["cafe\u0301", "cafe\u0301"]).code == 0
    SigningKeyPair.load("me.key", "caf\u00e9".encode())


def test_a_prompt_that_is_ended_is_an_interrupt(cli: Cli) -> None:
    done = on_terminal("keygen", "me", answers=["\x04"])
    assert done.code == 130
    assert not list(Path().glob("me.*"))


def test_two_sources_are_too_many(cli: Cli, passphrase_file: Path) -> None:
    done = cli(
        "keygen", "me", "--passphrase-file", passphrase_file, "--passphrase-fd", "0", "--json"
    )
    assert done.error()["code"] == "secret.ambiguous"
    done = cli("keygen", "me", "--unencrypted", "--passphrase-file", passphrase_file, "--json")
    assert done.error()["code"] == "secret.ambiguous"


def test_a_passphrase_file_that_others_read_is_refused(cli: Cli, passphrase_file: Path) -> None:
    passphrase_file.chmod(0o644)
    done = cli("keygen", "me", "--passphrase-file", passphrase_file, "--json")
    assert done.error()["code"] == "secret.permissions"
    assert "0644" in done.error()["message"]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "secret.empty"), (b"\n", "secret.empty"), (b"x" * 4097, "secret.too_long")],
)
def test_passphrase_files_that_hold_none(
    cli: Cli, passphrase_file: Path, content: bytes, code: str
) -> None:
    passphrase_file.write_bytes(content)
    done = cli("keygen", "me", "--passphrase-file", passphrase_file, "--json")
    assert done.error()["code"] == code


def test_sources_that_cannot_be_read(cli: Cli) -> None:
    done = cli("keygen", "me", "--passphrase-file", "absent", "--json")
    assert done.error()["code"] == "io.failed"
    done = cli("keygen", "me", "--passphrase-fd", "987", "--json")
    assert done.error()["code"] == "io.failed"


# List


def test_keys_lists_public_keys(cli: Cli) -> None:
    assert cli("keygen", "keys/a", "--unencrypted").code == 0
    assert cli("keygen", "keys/b", "--unencrypted").code == 0
    Path("keys/b.key").unlink()
    a, b = PublicKey.load("keys/a.pub"), PublicKey.load("keys/b.pub")
    assert cli("keys").out.splitlines()[1:] == [
        f"a\t{a.key_id}\tyes\t{a.to_hex()}",
        f"b\t{b.key_id}\tno\t{b.to_hex()}",
    ]
    rows = cli("keys", "keys", "--json").json()["keys"]
    assert [(row["label"], row["has_private_key"]) for row in rows] == [("a", True), ("b", False)]


def test_keys_of_no_directory_and_of_a_damaged_file(cli: Cli) -> None:
    assert cli("keys", "absent", "--json").error()["code"] == "key.not_found"
    Path("keys").mkdir()
    Path("keys/bad.pub").write_text("no key")
    assert cli("keys", "--json").error()["code"] == "key.invalid"
