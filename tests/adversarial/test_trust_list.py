"""The trust list under attack and under bad luck: keys, backups, writers and full disks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pluginapi import ConfigError, PluginHost, TrustKey, TrustList, TrustListError
from pluginapi.security import PluginSecurity, SecurityPolicy, sha3_512
from tiny_disk import run_on_tiny_disk

from .arena import Arena, check_error


async def host_does_not_start(arena: Arena, *codes: str) -> None:
    """Check that a host refuses to start at all, and that it leaves the list alone."""
    path = arena.forge.trust_list_path
    before = path.read_bytes() if path.is_file() else None
    host = PluginHost.from_config(arena.config)
    with pytest.raises(TrustListError) as caught:
        await host.start()
    check_error(caught.value, codes)
    assert not host.started
    assert host.registry.plugin_count() == 0
    assert arena.steps() == ""
    assert (path.read_bytes() if path.is_file() else None) == before


async def host_starts(arena: Arena) -> None:
    async with PluginHost.from_config(arena.config) as host:
        assert host.registry.is_loaded("victim")
    assert arena.steps()
    arena.mark.unlink()


async def test_a_wrong_raw_key(arena: Arena) -> None:
    arena.armed()
    arena.key_file.write_bytes(bytes(32))
    await host_does_not_start(arena, "trust_list.cannot_decrypt")
    arena.key_file.write_bytes(bytes(range(32)))
    await host_starts(arena)


async def test_a_wrong_passphrase(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = TrustKey.from_passphrase("right", ops=1, memory_kib=8192)
    forge = arena.forge
    path = arena.root / "by-passphrase.enc"
    TrustList.create(path, secret, state_dir=forge.state_dir)
    victim = arena.armed()

    def trust(trust_list: TrustList) -> None:
        trust_list.add_key(forge.key.public_key)
        entry = forge.security().get_plugin_info(sha3_512(victim.read_bytes()).hexdigest())
        assert entry is not None
        trust_list.add_plugin(entry)

    TrustList.update(path, secret, trust, state_dir=forge.state_dir)
    before = path.read_bytes()
    text = arena.config.read_text()
    text = text.replace("trust.enc", path.name).replace("file:trust.key", "env:TEST_SECRET")
    arena.config.write_text(text.replace("trust_key_form = 'raw'\n", ""))

    monkeypatch.delenv("TEST_SECRET", raising=False)
    with pytest.raises(ConfigError) as caught:
        PluginHost.from_config(arena.config)
    check_error(caught.value, ("config.trust_key",))
    for wrong in ("wrong", "Right", "right ", "right\n"):
        monkeypatch.setenv("TEST_SECRET", wrong)
        host = PluginHost.from_config(arena.config)
        with pytest.raises(TrustListError) as refused:
            await host.start()
        check_error(refused.value, ("trust_list.cannot_decrypt",))
        assert path.read_bytes() == before
    assert arena.steps() == ""
    monkeypatch.setenv("TEST_SECRET", "right")
    await host_starts(arena)

    done = run_command(arena, path, "wrong", "trust", "list")
    assert done.returncode == 1
    assert "trust_list.cannot_decrypt" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "wrong" not in done.stdout
    assert run_command(arena, path, "right", "trust", "list").returncode == 0


def run_command(
    arena: Arena, path: Path, passphrase: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if "TRUST" not in key}
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("pluginapi")),
            *arguments,
            *("--trust-list", str(path)),
            *arena.state_option,
        ],
        env={**environment, "PLUGINAPI_TRUST_PASSPHRASE": passphrase},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:92])


def readable_by_others(path: Path) -> None:
    path.chmod(0o644)


def other_file(path: Path) -> None:
    path.write_bytes(b"-----BEGIN PUBLIC KEY-----\n" * 10)


def sparse_4_gib(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4 * 1024**3)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


DAMAGE: dict[Callable[[Path], None], tuple[str, ...]] = {
    missing: ("trust_list.missing",),
    empty: ("trust_list.format", "trust_list.truncated"),
    truncated: ("trust_list.cannot_decrypt",),
    header_only: ("trust_list.truncated",),
    readable_by_others: ("trust_list.permissions",),
    other_file: ("trust_list.format",),
    sparse_4_gib: ("trust_list.too_large",),
    fifo: ("trust_list.invalid", "trust_list.format"),
    directory: ("trust_list.invalid", "trust_list.format"),
}


@pytest.mark.parametrize(("damage", "codes"), DAMAGE.items(), ids=[d.__name__ for d in DAMAGE])
async def test_a_damaged_list_is_never_an_empty_one(
    arena: Arena, damage: Callable[[Path], None], codes: tuple[str, ...]
) -> None:
    victim = arena.armed()
    path = arena.forge.trust_list_path
    sound = path.read_bytes()
    registry = arena.registry()
    registry.scan_directory(arena.plugins)
    await registry.load_plugin(arena.bystander)
    if damage is sparse_4_gib:
        damage(path)
        host = PluginHost.from_config(arena.config)
        with pytest.raises(TrustListError) as refused:
            await host.start()
        check_error(refused.value, codes)
    else:
        damage(path)
        await host_does_not_start(arena, *codes)
    # A registry that runs already judges nothing by what it remembers of the list.
    with pytest.raises(TrustListError) as caught:
        await registry.load_plugin(victim)
    check_error(caught.value, codes)
    with pytest.raises(TrustListError):
        registry.scan_directory(arena.plugins)
    assert registry.total_plugin_count() == 2
    assert registry.is_loaded("bystander")
    assert arena.steps() == ""
    said = arena.command("list", arena.plugins, *arena.state_option)
    assert said["error"]["code"] in codes
    assert said["error"]["hint"]

    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(sound)
    await host_starts(arena)
    await registry.load_plugin(victim)
    assert len((await registry.unload_all()).unloaded) == 2


async def test_an_older_list_put_back(arena: Arena) -> None:
    victim = arena.armed()
    path = arena.forge.trust_list_path
    backup = path.read_bytes()
    await host_starts(arena)
    security = arena.forge.security()
    security.revoke_hash(sha3_512(victim.read_bytes()).hexdigest(), "a back door")
    await arena.refused(victim, "trust.hash_revoked")

    # The attack: the list from before the revocation.
    path.write_bytes(backup)
    await host_does_not_start(arena, "trust_list.rolled_back")
    with pytest.raises(TrustListError) as caught:
        security.verify_plugin(victim)
    check_error(caught.value, ("trust_list.rolled_back",))
    said = arena.command("explain", victim, *arena.state_option)
    assert said["error"]["code"] == "trust_list.rolled_back"
    with pytest.raises(TrustListError):
        security.add_public_key(arena.forge.key.public_key)
    assert path.read_bytes() == backup
    assert arena.steps() == ""

    # The control: a host that never saw the newer list cannot know, and runs the plugin.
    stranger = PluginSecurity(
        SecurityPolicy(trust_list_path=path),
        trust_key=arena.forge.trust_key,
        state_dir=arena.root / "other state",
    )
    assert stranger.verify_plugin(victim).allowed


async def test_another_list_in_its_place(arena: Arena) -> None:
    victim = arena.armed(trust=False)
    path = arena.forge.trust_list_path
    sound = path.read_bytes()
    other = arena.root / "other.enc"
    TrustList.create(other, arena.forge.trust_key, state_dir=arena.root / "other state")
    path.write_bytes(other.read_bytes())
    await host_does_not_start(arena, "trust_list.replaced")
    path.write_bytes(sound)
    await arena.refused(victim, "trust.not_listed")


def test_two_commands_that_write_at_once_lose_nothing(arena: Arena) -> None:
    paths = [arena.armed(f"p{number}", trust=False) for number in range(6)]
    environment = {
        **os.environ,
        "PLUGINAPI_TRUST_LIST": str(arena.forge.trust_list_path),
        "PLUGINAPI_TRUST_KEY": bytes(range(32)).hex(),
    }
    command = [str(Path(sys.executable).with_name("pluginapi")), "trust", "add"]
    writers = [
        subprocess.Popen(
            [*command, str(path), *arena.state_option], env=environment, stdout=subprocess.DEVNULL
        )
        for path in paths
    ]
    assert [writer.wait(120) for writer in writers] == [0] * len(paths)
    listed = arena.trusted()[1]["plugins"]
    names = sorted(entry["name"] for entry in listed)
    assert names == ["bystander", "p0", "p1", "p2", "p3", "p4", "p5"]
    leftovers = [path.name for path in arena.root.iterdir() if ".tmp" in path.name]
    assert leftovers == []
    assert arena.steps() == ""


FULL_DISK = """
import errno, os, shutil, subprocess, sys
from pathlib import Path

disk, source, state, command, key = map(Path, sys.argv[1:6])
path = disk / "trust.enc"
shutil.copy(source / "trust.enc", path)
path.chmod(0o600)
os.environ["PLUGINAPI_TRUST_KEY"] = key.read_bytes().hex()
before = path.read_bytes()

def add():
    done = subprocess.run(
        [command, "trust", "add", source / "plugins" / "victim.py", "--trust-list", path,
         "--state-dir", state], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr

filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
try:
    while True:
        os.write(filler, b"x" * 64)
except OSError as err:
    assert err.errno == errno.ENOSPC, err
code, said = add()
assert code == 1, code
print(said.splitlines()[0])
assert "hint:" in said, said
assert path.read_bytes() == before, "the old list changed"
left = {name for name in os.listdir(disk) if not name.endswith(".lock")}
assert left == {"filler", "trust.enc"}, left
os.close(filler)
os.unlink(disk / "filler")
code, said = add()
assert code == 0, said
print(path.read_bytes() != before)
"""


def test_a_full_disk_while_the_command_saves(arena: Arena) -> None:
    arena.armed(trust=False)
    command = Path(sys.executable).with_name("pluginapi")
    # The copy has another path and therefore a record of its own.
    state = arena.root / "state on a roomy disk"
    disk = arena.root / "disk"
    refused, changed = run_on_tiny_disk(
        disk, FULL_DISK, *map(str, (disk, arena.root, state, command, arena.key_file))
    )
    assert "trust_list.not_saved" in refused
    assert changed == "True"
    assert arena.steps() == ""
