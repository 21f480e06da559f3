"""From configuration to security: policy, pinned keys and the key of the trust list."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginapi import ConfigError, HostConfig, KeyFileError, TrustListError
from pluginapi.config import TrustKeySource
from pluginapi.security import PublicKey, TrustKey
from pluginapi.wiring import open_security, read_trust_key
from support import Forge

RAW = bytes(range(32))


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


def config(forge: Forge, security: str) -> HostConfig:
    path = forge.root / "pluginapi.toml"
    path.write_text(f"[security]\ntrust_list_path = 'trust.enc'\nstate_dir = 'state'\n{security}\n")
    return HostConfig.load(path)


def opens(forge: Forge, security: str) -> bool:
    trust_list = open_security(config(forge, security)).trust_list
    assert trust_list is not None
    return forge.key.public_key.key_id in trust_list.keys


def secret(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_raw_key_from_a_file(forge: Forge) -> None:
    secret(forge.root / "k", RAW)
    assert opens(forge, "trust_key_source = 'file:k'\ntrust_key_form = 'raw'")
    (forge.root / "k").chmod(0o644)
    with pytest.raises(TrustListError) as caught:
        opens(forge, "trust_key_source = 'file:k'\ntrust_key_form = 'raw'")
    assert caught.value.hint


def test_a_raw_key_from_the_environment(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "trust_key_source = 'env:TEST_KEY'\ntrust_key_form = 'raw'"
    monkeypatch.setenv("TEST_KEY", RAW.hex())
    assert opens(forge, source)
    for wrong in (RAW.hex()[:-1], "zz" * 32, "", "é" * 32):
        monkeypatch.setenv("TEST_KEY", wrong)
        with pytest.raises(TrustListError) as caught:
            open_security(config(forge, source))
        assert caught.value.code == "trust_list.key_invalid"
        assert not wrong or wrong not in str(caught.value)
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ConfigError) as missing:
        open_security(config(forge, source))
    assert missing.value.code == "config.trust_key"
    assert "env:TEST_KEY" in (missing.value.hint or "")


@pytest.mark.parametrize("passphrase", ["simple", "mit Umlaut äöü", "bytes \udcff\udcfe"])
def test_passphrases_are_taken_as_bytes(passphrase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", passphrase)
    key = read_trust_key(TrustKeySource("env", "TEST_KEY"))
    same = TrustKey.from_passphrase(passphrase.encode("utf-8", "surrogateescape"))
    parameters = same.new_parameters()
    assert key.derive(parameters, bytes(16)) == same.derive(parameters, bytes(16))


def test_an_empty_passphrase_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "")
    with pytest.raises(TrustListError) as caught:
        read_trust_key(TrustKeySource("env", "TEST_KEY"))
    assert caught.value.code == "trust_list.key_invalid"


def test_a_source_without_a_place_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        read_trust_key(TrustKeySource("file"))
    assert caught.value.code == "config.trust_key"
    with pytest.raises(ConfigError):
        read_trust_key(TrustKeySource("env"))


def test_without_a_source_no_list_is_opened(forge: Forge) -> None:
    forge.trust_list_path.write_bytes(b"damaged")
    security = open_security(config(forge, "trust_key_source = 'none'\nonly_trusted = false"))
    security.initialize()
    assert security.trust_list is None
    assert security.policy.trust_list_path is None


def test_policy_and_pinned_keys_come_from_the_configuration(forge: Forge) -> None:
    key = forge.key.public_key
    (forge.root / "release.pub").write_text(key.to_pem())
    other = PublicKey.from_hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    security = open_security(
        config(
            forge,
            "trust_key_source = 'none'\nonly_trusted = false\nmax_plugin_bytes = 4096\n"
            f"pinned_keys = ['release.pub', '{other.to_hex()}']",
        )
    )
    assert security.policy.only_trusted is False
    assert security.policy.max_plugin_bytes == 4096
    assert security.is_public_key_allowed(key)
    assert security.is_public_key_allowed(other)
    (forge.root / "release.pub").write_text("no key")
    with pytest.raises(KeyFileError):
        open_security(config(forge, "pinned_keys = ['release.pub']"))
