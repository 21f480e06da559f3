"""Plugins that nobody vouches for, from the file to the registry, the host and the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from pluginapi import (
    PluginHost,
    PluginStatus,
    SigningKeyPair,
    TrustLevel,
    UntrustedPlugin,
)
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.security import sha3_512, sign_plugin

from .arena import Arena, check_error

STRANGER = SigningKeyPair(b"\x07" * 32)


def unsigned(arena: Arena) -> Path:
    return arena.armed(sign=False, trust=False)


def signature_lost(arena: Arena) -> Path:
    path = arena.armed()
    signature_of(path).unlink()
    return path


def unknown_key(arena: Arena) -> Path:
    path = arena.armed(sign=False, trust=False)
    arena.forge.sign(path, STRANGER)
    return path


def signed_again_by_an_unknown_key(arena: Arena) -> Path:
    path = arena.armed()
    arena.forge.sign(path, STRANGER)
    return path


def revoked_key(arena: Arena) -> Path:
    key = SigningKeyPair.generate()
    security = arena.forge.security()
    security.add_public_key(key.public_key)
    path = arena.armed(sign=False, trust=False)
    arena.forge.sign(path, key)
    file = PluginFile.open(path)
    security.trust_plugin(file, read_manifest(file))
    security.revoke_key(key.public_key, "the laptop was stolen")
    return path


def revoked_hash(arena: Arena) -> Path:
    path = arena.armed()
    arena.forge.security().revoke_hash(sha3_512(path.read_bytes()).hexdigest(), "it leaks")
    return path


def hash_not_listed(arena: Arena) -> Path:
    return arena.armed(trust=False)


def removed_from_the_list(arena: Arena) -> Path:
    path = arena.armed()
    arena.forge.security().remove_trusted_plugin(sha3_512(path.read_bytes()).hexdigest())
    return path


def signature_of_another_plugin(arena: Arena) -> Path:
    path = arena.armed()
    signature_of(path).write_bytes(signature_of(arena.bystander).read_bytes())
    return path


def changed_after_signing(arena: Arena) -> Path:
    path = arena.armed()
    path.write_bytes(path.read_bytes() + b"# harmless\n")
    return path


def older_release(arena: Arena) -> Path:
    """The name and version of a listed plugin on other bytes, signed by the right key."""
    path = arena.armed()
    path.write_bytes(path.read_bytes() + b"# fixed\n")
    arena.forge.sign(path)
    return path


def signed_under_another_name(arena: Arena) -> Path:
    path = arena.armed()
    file = PluginFile.open(path)
    manifest = read_manifest(PluginFile.open(arena.bystander))
    signature_of(path).write_bytes(sign_plugin(file, manifest, arena.forge.key))
    return path


def signature_of(path: Path) -> Path:
    return path.with_name(path.name + ".sig")


REFUSALS = {
    unsigned: "signature.missing",
    signature_lost: "signature.missing",
    unknown_key: "key.unknown",
    signed_again_by_an_unknown_key: "key.unknown",
    revoked_key: "key.revoked",
    revoked_hash: "trust.hash_revoked",
    hash_not_listed: "trust.not_listed",
    removed_from_the_list: "trust.not_listed",
    signature_of_another_plugin: "signature.mismatch",
    changed_after_signing: "signature.mismatch",
    older_release: "trust.not_listed",
    signed_under_another_name: "signature.mismatch",
}


@pytest.mark.parametrize(
    ("make", "code"), REFUSALS.items(), ids=[make.__name__ for make in REFUSALS]
)
async def test_what_nobody_vouches_for_is_refused(arena: Arena, make: object, code: str) -> None:
    assert callable(make)
    await arena.sound_ones_run()
    path = make(arena)
    error = await arena.refused(path, code)
    assert error.plugin == "victim"
    await arena.host_refuses(path, code)


@pytest.mark.parametrize(
    ("make", "code"), REFUSALS.items(), ids=[make.__name__ for make in REFUSALS]
)
def test_the_command_explains_the_same(arena: Arena, make: object, code: str) -> None:
    assert callable(make)
    path = make(arena)
    before = arena.trusted()
    said = arena.command("explain", path, *arena.state_option)
    failed = [check for check in said["checks"] if check["outcome"] == "failed"]
    assert failed[0]["code"] == code
    assert failed[0]["hint"]
    assert said["allowed"] is False
    listed = arena.command("list", arena.plugins, *arena.state_option, code=0)
    by_name = {item["name"]: item for item in listed["plugins"]}
    assert by_name["victim"]["status"] == "untrusted"
    assert by_name["victim"]["error"]["code"] == code
    assert by_name["bystander"]["status"] == "available"
    assert arena.steps() == ""
    assert arena.trusted() == before


def test_the_command_accepts_what_is_sound(arena: Arena) -> None:
    path = arena.armed()
    said = arena.command("explain", path, *arena.state_option, code=0)
    assert (said["allowed"], said["trust_level"]) == (True, "trusted")
    public = arena.root / "signer.pub"
    public.write_text(arena.forge.key.public_key.to_pem())
    assert arena.command("verify", path, "--key", public, code=0)["valid"] is True
    assert arena.steps() == ""


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (unsigned, "signature.missing"),
        (unknown_key, "signature.invalid"),
        (signature_of_another_plugin, "signature.mismatch"),
        (changed_after_signing, "signature.mismatch"),
        (signed_under_another_name, "signature.mismatch"),
    ],
)
def test_the_command_verifies_only_what_the_key_signed(
    arena: Arena, make: object, code: str
) -> None:
    assert callable(make)
    public = arena.root / "signer.pub"
    public.write_text(arena.forge.key.public_key.to_pem())
    said = arena.command("verify", make(arena), "--key", public)
    assert said["error"]["code"] == code
    assert said["error"]["hint"]
    assert arena.steps() == ""


async def test_without_the_defence_the_attack_works(arena: Arena) -> None:
    # A policy that allows everything lets the unsigned plugin run: so it is the check that stops
    # it above, and not a defect of the plugin.
    registry = arena.forge.registry(only_trusted=False)
    path = unsigned(arena)
    await registry.load_plugin(path)
    assert arena.steps() == "top made init hooks "
    await registry.unload_all()
    arena.mark.unlink()
    with pytest.raises(UntrustedPlugin) as caught:
        await registry.load_plugin(path, TrustLevel.TRUSTED)
    check_error(caught.value, ("trust.level",))
    assert arena.steps() == ""


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (unknown_key, "key.unknown"),
        (revoked_key, "key.revoked"),
        (revoked_hash, "trust.hash_revoked"),
        (changed_after_signing, "signature.mismatch"),
    ],
)
async def test_the_loosest_policy_still_refuses_what_is_wrong(
    arena: Arena, make: object, code: str
) -> None:
    assert callable(make)
    registry = arena.forge.registry(only_trusted=False)
    with pytest.raises(UntrustedPlugin if code[0] != "s" else Exception) as caught:
        await registry.load_plugin(make(arena))
    assert getattr(caught.value, "code", None) == code
    assert arena.steps() == ""


async def test_a_revocation_counts_at_the_next_load_of_a_running_host(arena: Arena) -> None:
    path = arena.armed()
    async with PluginHost.from_config(arena.config) as host:
        assert host.registry.is_loaded("victim")
        await host.registry.unload_plugin("victim")
        arena.mark.unlink()
        # By another process, as far as the host can tell.
        arena.forge.security().revoke_hash(sha3_512(path.read_bytes()).hexdigest())
        with pytest.raises(UntrustedPlugin) as caught:
            await host.registry.load_plugin_by_name("victim")
        check_error(caught.value, ("trust.hash_revoked",))
        assert host.registry.get_plugin_info("victim").status is PluginStatus.UNTRUSTED
        assert host.registry.is_loaded("bystander")
        assert arena.steps() == ""
