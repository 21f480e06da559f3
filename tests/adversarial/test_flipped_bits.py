"""One bit flipped anywhere: in a plugin, in a signature, in a trust list."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from native_build import compile_plugin
from pluginapi import InvalidManifest, PluginError, PluginStatus, TrustList, TrustListError
from pluginapi.security import PluginSecurity, SecurityPolicy

from .arena import Arena, check_error

SMALL = """\
from pluginapi import make_plugin
open({mark!r}, "w").close()
@make_plugin(name="small", version="1.0.0", author="a")
class P: pass
"""


def flips(data: bytes, bits: Iterator[int] | range) -> Iterator[bytes]:
    for bit in bits:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


@pytest.fixture
def small(arena: Arena) -> Path:
    path = arena.plugins / "small.py"
    path.write_text(SMALL.format(mark=str(arena.mark)))
    arena.forge.sign(path)
    arena.forge.trust(path)
    return path


async def test_every_flipped_bit_of_a_python_plugin(arena: Arena, small: Path) -> None:
    registry = arena.registry()
    sound = small.read_bytes()
    before = arena.trusted()
    found: Counter[str] = Counter()
    for data in flips(sound, range(len(sound) * 8)):
        small.write_bytes(data)
        with pytest.raises(PluginError) as caught:
            await registry.load_plugin(small)
        error = caught.value
        # What still has a manifest is refused for its signature, the rest for its manifest.
        unreadable = isinstance(error, InvalidManifest)
        check_error(error, (error.code,) if unreadable else ("signature.mismatch",))
        found[error.code.partition(".")[0]] += 1
        assert arena.steps() == ""
        assert not arena.mark.exists()
    assert found["signature"] > 100
    assert found["manifest"] > 100
    assert found.total() == len(sound) * 8
    assert arena.trusted() == before
    assert registry.plugin_count() == 0

    small.write_bytes(sound)
    await registry.load_plugin(small)
    assert arena.mark.exists()
    await registry.unload_all()


async def test_flipped_bits_of_a_native_plugin(arena: Arena) -> None:
    path = compile_plugin(
        "constructor.c", arena.plugins / "native.so", f'-DMARK_PATH="{arena.mark}"'
    )
    arena.forge.sign(path)
    arena.forge.trust(path)
    sound = path.read_bytes()
    registry = arena.registry()
    positions = random.Random(4711).sample(range(len(sound) * 8), 400)
    headers = list(range(64 * 8))
    blob = sound.index(b"\x89PLUGINAPI-MAN") * 8
    manifest = list(range(blob, blob + 150 * 8))
    found: Counter[str] = Counter()
    for data in flips(sound, iter(headers + manifest + positions)):
        path.write_bytes(data)
        with pytest.raises(PluginError) as caught:
            await registry.load_plugin(path)
        group = caught.value.code.partition(".")[0]
        assert group in {"file", "manifest", "signature"} or caught.value.code == (
            "platform.unsupported"
        )
        check_error(caught.value, (caught.value.code,))
        found[group] += 1
        assert not arena.mark.exists(), data
    assert all(found[group] > 10 for group in ("file", "manifest", "signature"))
    assert found.total() == 512 + 1200 + 400

    path.write_bytes(sound)
    await registry.load_plugin(path)
    assert arena.mark.exists()
    await registry.unload_all()


def test_every_flipped_bit_of_a_signature(arena: Arena, small: Path) -> None:
    registry = arena.registry()
    envelope = small.with_name("small.py.sig")
    sound = envelope.read_bytes()
    before = arena.trusted()
    found: Counter[str] = Counter()
    for data in flips(sound, range(len(sound) * 8)):
        envelope.write_bytes(data)
        info = registry.discover_plugin(small)
        assert info.status is PluginStatus.UNTRUSTED
        assert info.error is not None
        check_error(
            info.error,
            (
                "signature.malformed",
                "signature.not_canonical",
                "signature.invalid",
                "signature.mismatch",
                "key.unknown",
            ),
        )
        found[info.error.code] += 1
    assert found.total() == len(sound) * 8
    assert found["signature.invalid"] >= 64 * 8 * 0.7
    assert found["key.unknown"] > 0
    assert arena.trusted() == before
    envelope.write_bytes(sound)
    assert registry.discover_plugin(small).status is PluginStatus.AVAILABLE


async def test_flipped_bits_of_a_signature_at_load(arena: Arena, small: Path) -> None:
    envelope = small.with_name("small.py.sig")
    sound = envelope.read_bytes()
    registry = arena.registry()
    for data in flips(sound, range(3, len(sound) * 8, 41)):
        envelope.write_bytes(data)
        with pytest.raises(PluginError) as caught:
            await registry.load_plugin(small)
        assert caught.value.code.partition(".")[0] in {"signature", "key"}
        assert caught.value.hint
        assert not arena.mark.exists()
    envelope.write_bytes(sound)
    await registry.load_plugin(small)
    assert arena.mark.exists()
    await registry.unload_all()


def test_every_flipped_bit_of_a_trust_list(arena: Arena, small: Path) -> None:
    forge = arena.forge
    sound = forge.trust_list_path.read_bytes()
    content = arena.trusted()[1]
    policy = SecurityPolicy(trust_list_path=forge.trust_list_path)
    found: Counter[str] = Counter()
    for data in flips(sound, range(len(sound) * 8)):
        forge.trust_list_path.write_bytes(data)
        security = PluginSecurity(policy, trust_key=forge.trust_key, state_dir=forge.state_dir)
        with pytest.raises(TrustListError) as caught:
            security.verify_plugin(small)
        check_error(caught.value, (caught.value.code,))
        assert caught.value.code.startswith("trust_list.")
        found[caught.value.code] += 1
        # A damaged list is not written over, whoever wants to add to it.
        assert forge.trust_list_path.read_bytes() == data
    assert found.total() == len(sound) * 8
    assert found["trust_list.cannot_decrypt"] > len(sound) * 4
    forge.trust_list_path.write_bytes(sound)
    assert arena.trusted() == (sound, content)


async def test_a_running_host_with_a_flipped_bit_in_its_list(arena: Arena, small: Path) -> None:
    forge = arena.forge
    registry = arena.registry()
    registry.scan_directory(arena.plugins)
    known = registry.get_all_plugins()
    await registry.load_plugin_by_name("bystander")
    sound = forge.trust_list_path.read_bytes()
    for data in flips(sound, range(5, len(sound) * 8, 97)):
        forge.trust_list_path.write_bytes(data)
        with pytest.raises(TrustListError):
            await registry.load_plugin_by_name("small")
        with pytest.raises(TrustListError):
            registry.scan_directory(arena.plugins)
        with pytest.raises(TrustListError):
            registry.discover_plugin(small)
        with pytest.raises(TrustListError):
            forge.security()
        assert [info.name for info in registry.get_all_plugins()] == [info.name for info in known]
        assert registry.is_loaded("bystander")
        assert not arena.mark.exists()
    forge.trust_list_path.write_bytes(sound)
    assert (
        len(
            TrustList.load(
                forge.trust_list_path, forge.trust_key, state_dir=forge.state_dir
            ).plugins
        )
        == 2
    )
    await registry.load_plugin_by_name("small")
    assert arena.mark.exists()
    await registry.unload_all()


def test_the_command_with_a_flipped_bit_in_the_list(arena: Arena, small: Path) -> None:
    path = arena.forge.trust_list_path
    sound = path.read_bytes()
    (damaged,) = flips(sound, range(len(sound) * 8 - 3, len(sound) * 8 - 2))
    path.write_bytes(damaged)
    for arguments in (["explain", small], ["list", arena.plugins], ["trust", "list"]):
        said = arena.command(*arguments, *arena.state_option)
        assert said["error"]["code"] == "trust_list.cannot_decrypt"
        assert said["error"]["hint"]
    assert path.read_bytes() == damaged
    path.write_bytes(sound)
    for arguments in (["explain", small], ["list", arena.plugins], ["trust", "list"]):
        arena.command(*arguments, *arena.state_option, code=0)
