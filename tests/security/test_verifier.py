from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pluginapi.errors import (
    InvalidSignature,
    PluginError,
    SecurityError,
    TrustListError,
    UntrustedPlugin,
)
from pluginapi.manifest import PluginKind, PluginManifest
from pluginapi.security import (
    CHECK_NAMES,
    CheckOutcome,
    PluginSecurity,
    SecurityPolicy,
    SigningKeyPair,
    TrustedPluginEntry,
    TrustKey,
    TrustLevel,
    TrustList,
    countersign,
    hash_file,
    sign_plugin,
)
from pluginapi.version import PluginVersion

from .trust_bench import SOURCE, Bench


@dataclass
class FakeFile:
    """A file as judged, without one on disk."""

    path: Path
    sha3_512: str
    size: int
    envelope: bytes | None


def refusal(bench: Bench, security: PluginSecurity) -> tuple[str, str]:
    """Judge the plugin, which must be refused, both ways; return check and code."""
    verdict = security.verify(*bench.read())
    assert not verdict.allowed
    assert verdict.trust_level is TrustLevel.UNTRUSTED
    failure = verdict.first_failure
    assert failure is not None
    assert failure.hint
    assert failure.code is not None
    with pytest.raises(SecurityError) as caught:
        security.require(*bench.read())
    assert caught.value.code == failure.code
    assert caught.value.hint == failure.hint
    assert caught.value.plugin == verdict.plugin
    assert failure.name in caught.value.message
    return failure.name, failure.code


def test_a_signed_and_listed_plugin_is_trusted(bench: Bench) -> None:
    security = bench.trusted()
    verdict = security.require(*bench.read())
    assert verdict.allowed
    assert verdict.trust_level is TrustLevel.TRUSTED
    assert verdict.first_failure is None
    assert tuple(item.name for item in verdict.checks) == CHECK_NAMES
    assert {item.outcome for item in verdict.checks} == {CheckOutcome.OK}
    assert verdict.tier == "user"
    assert verdict.key_ids == (bench.signer.public_key.key_id,)
    assert verdict.entry is not None
    assert verdict.entry.name == "acme.filter"
    shown = json.loads(json.dumps(verdict.to_dict()))
    assert shown["allowed"] is True
    assert shown["trust_level"] == "trusted"
    assert [item["name"] for item in shown["checks"]] == list(CHECK_NAMES)


def test_an_unsigned_plugin(bench: Bench) -> None:
    security = bench.trusted()
    bench.envelope_path.unlink()
    assert refusal(bench, security) == ("signature_present", "signature.missing")
    with pytest.raises(UntrustedPlugin, match=r"there is no filter\.py\.sig"):
        security.require(*bench.read())
    verdict = security.verify(*bench.read())
    assert verdict.first_failure is not None
    assert verdict.first_failure.hint == f"pluginapi sign {bench.plugin} --key KEY"


def test_a_signature_by_an_unknown_key(bench: Bench) -> None:
    security = bench.trusted()
    bench.sign(bench.stranger)
    assert refusal(bench, security) == ("key_known", "key.unknown")
    security.add_public_key(bench.stranger.public_key)
    # The entry still names the other key.
    assert refusal(bench, security) == ("hash_listed", "trust.entry_mismatch")


def test_a_revoked_key_known_or_removed(bench: Bench) -> None:
    security = bench.trusted()
    security.revoke_key(bench.signer.public_key, "laptop stolen")
    assert refusal(bench, security) == ("key_not_revoked", "key.revoked")
    with pytest.raises(UntrustedPlugin, match="laptop stolen"):
        security.require(*bench.read())
    security.remove_public_key(bench.signer.public_key)
    assert refusal(bench, security) == ("key_not_revoked", "key.revoked")
    with pytest.raises(TrustListError) as caught:
        security.add_public_key(bench.signer.public_key)
    assert caught.value.code == "key.revoked"


def test_a_valid_signature_of_a_file_that_is_not_listed(bench: Bench) -> None:
    security = bench.trusted()
    security.remove_trusted_plugin(hash_file(bench.plugin))
    assert refusal(bench, security) == ("hash_listed", "trust.not_listed")
    security.trust_plugin(*bench.read(), note="again")
    assert security.require(*bench.read()).trust_level is TrustLevel.TRUSTED


def test_a_revoked_file(bench: Bench) -> None:
    security = bench.trusted()
    security.revoke_hash(hash_file(bench.plugin), "backdoor")
    assert refusal(bench, security) == ("hash_not_revoked", "trust.hash_revoked")
    with pytest.raises(UntrustedPlugin, match="backdoor"):
        security.trust_plugin(*bench.read())
    assert not security.is_trusted_hash(hash_file(bench.plugin))


def test_a_changed_file(bench: Bench) -> None:
    security = bench.trusted()
    bench.write_plugin(SOURCE + "\n# changed\n")
    assert refusal(bench, security) == ("statement_matches", "signature.mismatch")


def test_a_signature_of_another_version_or_name_of_the_same_bytes(bench: Bench) -> None:
    security = bench.trusted()
    file, manifest = bench.read()
    for what, other in (
        ("version", PluginManifest(
            name=manifest.name, version=PluginVersion(9, 9, 9), author="a", kind=PluginKind.PYTHON
        )),
        ("name", PluginManifest(
            name="acme.other", version=manifest.version, author="a", kind=PluginKind.PYTHON
        )),
    ):  # fmt: skip
        bench.envelope_path.write_bytes(sign_plugin(file, other, bench.signer))
        assert refusal(bench, security) == ("statement_matches", "signature.mismatch")
        with pytest.raises(InvalidSignature, match=f"the signed {what} is"):
            security.require(*bench.read())


def test_an_entry_that_disagrees_with_the_file(bench: Bench) -> None:
    security = bench.trusted()
    good = security.get_plugin_info(hash_file(bench.plugin))
    assert good is not None
    for changes in ({"name": "acme.other"}, {"version": "9.9.9"}, {"key_id": "0" * 32}):
        fields = {"hash": good.hash, "name": good.name, "version": good.version}
        fields |= {"key_id": good.key_id, **changes}
        security.add_trusted_plugin(TrustedPluginEntry(**fields))
        assert refusal(bench, security) == ("hash_listed", "trust.entry_mismatch")
    security.add_trusted_plugin(good)
    assert security.require(*bench.read()).allowed


def test_every_flipped_bit_of_the_signature_is_refused_under_any_policy(bench: Bench) -> None:
    strict = bench.trusted()
    lax = bench.security(only_trusted=False)
    file, manifest = bench.read()
    good = file.envelope
    assert good is not None
    for security in (strict, lax):
        allowed = FakeFile(file.path, file.sha3_512, file.size, good)
        assert security.verify(allowed, manifest).trust_level is TrustLevel.TRUSTED
        for position in range(len(good) * 8):
            flipped = bytearray(good)
            flipped[position // 8] ^= 1 << (position % 8)
            fake = FakeFile(file.path, file.sha3_512, file.size, bytes(flipped))
            verdict = security.verify(fake, manifest)
            assert not verdict.allowed, position
            failure = verdict.first_failure
            assert failure is not None
            assert failure.code in {
                "signature.malformed",
                "signature.not_canonical",
                "signature.invalid",
                "signature.mismatch",
                "key.unknown",
            }


def test_a_raw_signature_does_not_load_a_plugin(bench: Bench) -> None:
    security = bench.trusted()
    bench.envelope_path.write_bytes(bench.signer.sign(bench.plugin.read_bytes()))
    assert refusal(bench, security) == ("signature_wellformed", "signature.malformed")
    with pytest.raises(InvalidSignature):
        security.require(*bench.read())


def test_a_forged_signature_of_a_known_key(bench: Bench) -> None:
    security = bench.trusted()
    envelope = json.loads(bench.envelope_path.read_bytes())
    theirs = json.loads(bench.sign(bench.stranger))
    envelope["signatures"][0]["sig"] = theirs["signatures"][0]["sig"]
    envelope["payload"] = theirs["payload"]
    bench.envelope_path.write_bytes(json.dumps(envelope, separators=(",", ":")).encode() + b"\n")
    assert refusal(bench, security) == ("signature_valid", "signature.invalid")


def test_several_signers(bench: Bench) -> None:
    security = bench.trusted()
    envelope = bench.envelope_path.read_bytes()
    bench.envelope_path.write_bytes(countersign(envelope, bench.stranger))
    assert security.require(*bench.read()).key_ids == (bench.signer.public_key.key_id,)
    security.add_public_key(bench.stranger.public_key)
    assert len(security.require(*bench.read()).key_ids) == 2
    # A revoked signer spoils the file for all, even when the others are good.
    security.revoke_key(bench.stranger.public_key)
    assert refusal(bench, security) == ("key_not_revoked", "key.revoked")


# -- Policy


def test_without_only_trusted_an_unsigned_plugin_loads_untrusted(bench: Bench) -> None:
    bench.create_list()
    strict, lax = bench.security(), bench.security(only_trusted=False)
    assert refusal(bench, strict) == ("signature_present", "signature.missing")
    verdict = lax.require(*bench.read())
    assert verdict.allowed
    assert verdict.trust_level is TrustLevel.UNTRUSTED
    # What is missing is still told.
    by_name = {item.name: item for item in verdict.checks}
    assert by_name["signature_present"].code == "signature.missing"
    assert by_name["hash_listed"].code == "trust.not_listed"
    assert by_name["hash_listed"].outcome is CheckOutcome.SKIPPED


def test_without_only_trusted_a_signed_but_unlisted_plugin_loads_untrusted(bench: Bench) -> None:
    security = bench.trusted()
    security.remove_trusted_plugin(hash_file(bench.plugin))
    verdict = bench.security(only_trusted=False).require(*bench.read())
    assert (verdict.allowed, verdict.trust_level) == (True, TrustLevel.UNTRUSTED)
    assert verdict.key_ids == (bench.signer.public_key.key_id,)


def test_without_only_trusted_a_bad_signature_and_a_revocation_still_refuse(bench: Bench) -> None:
    bench.trusted()
    lax = bench.security(only_trusted=False)
    assert lax.require(*bench.read()).trust_level is TrustLevel.TRUSTED
    bench.sign(bench.stranger)
    assert refusal(bench, lax) == ("key_known", "key.unknown")
    bench.envelope_path.write_bytes(b"{}")
    assert refusal(bench, lax) == ("signature_wellformed", "signature.malformed")
    bench.sign()
    lax.revoke_key(bench.signer.public_key)
    assert refusal(bench, lax) == ("key_not_revoked", "key.revoked")
    bench.envelope_path.unlink()
    assert lax.require(*bench.read()).allowed
    lax.revoke_hash(hash_file(bench.plugin))
    assert refusal(bench, lax) == ("hash_not_revoked", "trust.hash_revoked")


def test_a_plugin_larger_than_the_policy_allows(bench: Bench) -> None:
    security = bench.trusted()
    file, manifest = bench.read()
    size = security.policy.max_plugin_bytes
    fits = FakeFile(file.path, file.sha3_512, size, file.envelope)
    assert security.verify(fits, manifest).allowed
    too_large = FakeFile(file.path, file.sha3_512, size + 1, file.envelope)
    with pytest.raises(SecurityError) as caught:
        security.require(too_large, manifest)
    assert caught.value.code == "policy.too_large"


@pytest.mark.parametrize(
    "values",
    [
        {"only_trusted": 1},
        {"max_plugin_bytes": 0},
        {"max_plugin_bytes": 2**32 + 1},
        {"max_plugin_bytes": True},
        {"max_plugin_bytes": "1"},
        {"trust_list_path": 7},
    ],
)
def test_policies_out_of_bounds(values: dict[str, object]) -> None:
    with pytest.raises(SecurityError) as caught:
        SecurityPolicy(**values)  # type: ignore[arg-type]
    assert caught.value.code == "policy.invalid"


def test_the_default_policy() -> None:
    policy = SecurityPolicy()
    assert policy.to_dict() == {
        "only_trusted": True,
        "trust_list_path": "data/plugin_trust_list.enc",
        "max_plugin_bytes": 256 * 1024 * 1024,
    }
    assert PluginSecurity().policy == policy
    assert SecurityPolicy(trust_list_path=None).to_dict()["trust_list_path"] is None


# -- Tiers


def pinned(bench: Bench) -> PluginSecurity:
    bench.sign()
    file, manifest = bench.read()
    entry = TrustedPluginEntry(
        hash=file.sha3_512,
        name=manifest.name,
        version=str(manifest.version),
        key_id=bench.signer.public_key.key_id,
    )
    return bench.security(
        hardcoded_trusted_plugins=[entry],
        hardcoded_public_keys=[bench.signer.public_key.with_label("built in")],
    )


def test_what_the_host_pinned_is_trusted_without_an_entry_in_the_list(bench: Bench) -> None:
    bench.create_list()
    security = pinned(bench)
    verdict = security.require(*bench.read())
    assert (verdict.trust_level, verdict.tier) == (TrustLevel.TRUSTED, "hardcoded")
    assert (security.hardcoded_trust_count, security.user_trust_count) == (1, 0)
    # The label does not matter: keys are compared by their bytes.
    assert security.is_public_key_allowed(bench.signer.public_key)


def test_what_the_host_pinned_cannot_be_removed_but_can_be_revoked(bench: Bench) -> None:
    bench.create_list()
    security = pinned(bench)
    attempts: list[Callable[[], None]] = [
        lambda: security.remove_trusted_plugin(hash_file(bench.plugin)),
        lambda: security.remove_public_key(bench.signer.public_key),
    ]
    for attempt in attempts:
        with pytest.raises(TrustListError) as caught:
            attempt()
        assert caught.value.code == "trust.hardcoded"
        assert "pluginapi trust revoke" in str(caught.value.hint)
    security.revoke_key(bench.signer.public_key)
    assert refusal(bench, security) == ("key_not_revoked", "key.revoked")
    assert not security.is_public_key_allowed(bench.signer.public_key)


def test_a_pinned_file_can_be_revoked(bench: Bench) -> None:
    bench.create_list()
    security = pinned(bench)
    assert security.require(*bench.read()).allowed
    security.revoke_hash(hash_file(bench.plugin))
    assert refusal(bench, security) == ("hash_not_revoked", "trust.hash_revoked")


def test_a_host_without_a_list_knows_what_it_pinned(bench: Bench) -> None:
    bench.sign()
    file, manifest = bench.read()
    entry = TrustedPluginEntry(
        hash=file.sha3_512,
        name=manifest.name,
        version=str(manifest.version),
        key_id=bench.signer.public_key.key_id,
    )
    security = PluginSecurity(
        SecurityPolicy(trust_list_path=None),
        hardcoded_trusted_plugins=[entry],
        hardcoded_public_keys=[bench.signer.public_key],
    )
    security.initialize()
    assert security.require(file, manifest).trust_level is TrustLevel.TRUSTED
    assert security.trust_list is None
    assert security.user_trust_count == 0
    with pytest.raises(TrustListError) as caught:
        security.add_public_key(bench.stranger.public_key)
    assert caught.value.code == "trust_list.missing"


# -- The list


def test_a_host_with_a_list_path_and_no_list_does_not_start(bench: Bench) -> None:
    security = bench.security()
    with pytest.raises(TrustListError) as caught:
        security.initialize()
    assert caught.value.code == "trust_list.missing"
    with pytest.raises(TrustListError):
        security.verify(*bench.read())
    bench.create_list()
    security.initialize()


def test_a_list_without_a_key(bench: Bench) -> None:
    security = PluginSecurity(
        SecurityPolicy(trust_list_path=bench.list_path), state_dir=bench.state_dir
    )
    with pytest.raises(TrustListError) as caught:
        security.initialize()
    assert caught.value.code == "trust_list.missing"
    bench.create_list()
    with pytest.raises(TrustListError) as caught:
        security.initialize()
    assert caught.value.code == "trust_list.key_needed"


def test_a_wrong_key_stops_every_verdict(bench: Bench) -> None:
    bench.trusted()
    bench.trust_key = TrustKey.generate()
    security = bench.security(only_trusted=False)
    attempts: list[Callable[[], object]] = [
        security.initialize,
        lambda: security.verify(*bench.read()),
    ]
    for attempt in attempts:
        with pytest.raises(TrustListError) as caught:
            attempt()
        assert caught.value.code == "trust_list.cannot_decrypt"


def test_a_revocation_by_another_process_counts_at_once(bench: Bench) -> None:
    security = bench.trusted()
    assert security.require(*bench.read()).allowed
    before = security.trust_list
    assert security.trust_list is before
    TrustList.update(
        bench.list_path,
        bench.trust_key,
        lambda made: made.revoke_hash(hash_file(bench.plugin)),
        state_dir=bench.state_dir,
    )
    assert refusal(bench, security) == ("hash_not_revoked", "trust.hash_revoked")
    assert security.trust_list is not before


def test_a_list_damaged_or_rolled_back_while_running_stops_every_verdict(bench: Bench) -> None:
    security = bench.trusted()
    assert security.require(*bench.read()).allowed
    older = bench.list_path.read_bytes()
    security.revoke_key(bench.signer.public_key)
    newer = bench.list_path.read_bytes()
    bench.list_path.write_bytes(older)
    for _ in range(2):
        with pytest.raises(TrustListError) as caught:
            security.verify(*bench.read())
        assert caught.value.code == "trust_list.rolled_back"
    bench.list_path.unlink()
    with pytest.raises(TrustListError) as caught:
        security.verify(*bench.read())
    assert caught.value.code == "trust_list.missing"
    bench.list_path.write_bytes(newer)
    bench.list_path.chmod(0o600)
    assert refusal(bench, security) == ("key_not_revoked", "key.revoked")


def test_queries(bench: Bench) -> None:
    security = bench.trusted()
    sha3_512 = security.calculate_hash(bench.plugin)
    assert security.is_trusted_hash(sha3_512)
    assert not security.is_trusted_hash("0" * 128)
    info = security.get_plugin_info(sha3_512)
    assert info is not None
    assert (info.name, info.version) == ("acme.filter", "1.2.3")
    assert security.get_plugin_info("0" * 128) is None
    assert security.user_trust_count == 1
    assert security.hardcoded_trust_count == 0
    assert security.is_public_key_allowed(bench.signer.public_key)
    assert not security.is_public_key_allowed(bench.stranger.public_key)
    security.remove_public_key(bench.signer.public_key.key_id)
    assert not security.is_public_key_allowed(bench.signer.public_key)


def test_only_a_file_signed_by_a_known_key_can_be_listed(bench: Bench) -> None:
    bench.create_list()
    security = bench.security(only_trusted=False)
    with pytest.raises(UntrustedPlugin) as caught:
        security.trust_plugin(*bench.read())
    assert caught.value.code == "signature.missing"
    bench.sign()
    with pytest.raises(UntrustedPlugin) as caught:
        security.trust_plugin(*bench.read())
    assert caught.value.code == "key.unknown"
    security.add_public_key(bench.signer.public_key)
    assert security.trust_plugin(*bench.read(), note="reviewed").note == "reviewed"


def test_raw_signatures_by_allowed_keys(bench: Bench) -> None:
    security = bench.trusted()
    key, signature = bench.signer.public_key, bench.signer.sign(b"message")
    security.verify_signature(b"message", signature, key)
    with pytest.raises(InvalidSignature):
        security.verify_signature(b"massage", signature, key)
    with pytest.raises(UntrustedPlugin) as caught:
        security.verify_signature(
            b"message", bench.stranger.sign(b"message"), bench.stranger.public_key
        )
    assert caught.value.code == "key.unknown"
    security.revoke_key(key)
    with pytest.raises(UntrustedPlugin) as caught:
        security.verify_signature(b"message", signature, key)
    assert caught.value.code == "key.revoked"


# -- By path


def test_a_plugin_by_its_path(bench: Bench) -> None:
    security = bench.trusted()
    assert security.verify_plugin(bench.plugin).allowed
    verdict = security.validate_plugin(
        str(bench.plugin), name="acme.filter", level=TrustLevel.TRUSTED
    )
    assert verdict.trust_level is TrustLevel.TRUSTED
    with pytest.raises(UntrustedPlugin) as caught:
        security.validate_plugin(bench.plugin, name="acme.other")
    assert caught.value.code == "trust.name_mismatch"
    with pytest.raises(PluginError):
        security.verify_plugin(bench.directory / "none.py")
    bench.envelope_path.unlink()
    assert not security.verify_plugin(bench.plugin).allowed
    with pytest.raises(UntrustedPlugin):
        security.validate_plugin(bench.plugin)


def test_a_trust_level_can_be_demanded(bench: Bench) -> None:
    bench.create_list()
    lax = bench.security(only_trusted=False)
    assert lax.validate_plugin(bench.plugin).trust_level is TrustLevel.UNTRUSTED
    with pytest.raises(UntrustedPlugin) as caught:
        lax.validate_plugin(bench.plugin, level=TrustLevel.TRUSTED)
    assert caught.value.code == "trust.level"


def test_a_revoked_stranger_is_named_as_revoked(bench: Bench) -> None:
    security = bench.trusted()
    stranger = SigningKeyPair(b"\x07" * 32)
    security.revoke_key(stranger.public_key.key_id)
    bench.sign(stranger)
    assert refusal(bench, security) == ("key_not_revoked", "key.revoked")
