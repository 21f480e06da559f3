from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pluginapi.errors import PluginError, TrustListError
from pluginapi.security import (
    ListedKey,
    SigningKeyPair,
    TrustedPluginEntry,
    TrustKey,
    TrustList,
    default_state_dir,
    sha3_512,
)
from pluginapi.security.files import FileLock
from pluginapi.security.marks import SeenLists
from tiny_disk import run_on_tiny_disk

from .trust_bench import Bench

KEY = SigningKeyPair(b"\x01" * 32).public_key
OTHER = SigningKeyPair(b"\x02" * 32).public_key


def entry(number: int = 0, **changes: str) -> TrustedPluginEntry:
    fields = {
        "hash": sha3_512(b"%d" % number).hexdigest(),
        "name": f"acme.plugin{number}",
        "version": "1.0.0",
        "key_id": KEY.key_id,
        "added_at": "2026-11-23T08:15:00Z",
    }
    return TrustedPluginEntry(**{**fields, **changes})


def refusal_of(bench: Bench, *, key: TrustKey | None = None) -> TrustListError:
    """Load the list, which must be refused, and leave every byte as it was."""
    before = bench.list_path.read_bytes() if bench.list_path.is_file() else None
    with pytest.raises(TrustListError) as caught:
        TrustList.load(bench.list_path, key or bench.trust_key, state_dir=bench.state_dir)
    with pytest.raises(TrustListError) as again:
        TrustList.update(
            bench.list_path,
            key or bench.trust_key,
            lambda made: made.add_plugin(entry(99)),
            state_dir=bench.state_dir,
        )
    assert again.value.code == caught.value.code
    assert caught.value.hint
    assert (bench.list_path.read_bytes() if bench.list_path.is_file() else None) == before
    return caught.value


def update(bench: Bench, number: int) -> TrustList:
    return TrustList.update(
        bench.list_path,
        bench.trust_key,
        lambda made: made.add_plugin(entry(number)),
        state_dir=bench.state_dir,
    )


# -- Content


def test_a_new_list_is_empty_private_and_read_back(bench: Bench) -> None:
    made = bench.create_list()
    assert (made.counter, len(made.plugins), len(made.keys)) == (1, 0, 0)
    assert stat.S_IMODE(bench.list_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(bench.list_path.parent.stat().st_mode) == 0o700
    loaded = bench.load_list()
    assert (loaded.list_id, loaded.counter, loaded.path) == (made.list_id, 1, bench.list_path)
    assert "counter=1" in repr(loaded)


def test_everything_put_in_comes_out(bench: Bench) -> None:
    bench.create_list()

    def change(made: TrustList) -> None:
        made.add_plugin(entry(1, note="a\nnote"))
        made.add_plugin(entry(2))
        made.add_key(KEY.with_label("Acme"), note="from their site")
        made.add_key(OTHER)
        made.revoke_key(OTHER, "stolen")
        made.revoke_hash(entry(3).hash, "backdoor")

    saved = TrustList.update(bench.list_path, bench.trust_key, change, state_dir=bench.state_dir)
    loaded = bench.load_list()
    assert loaded.to_dict() == saved.to_dict()
    assert loaded.plugins == {entry(1).hash: entry(1, note="a\nnote"), entry(2).hash: entry(2)}
    assert loaded.keys[KEY.key_id].public_key == KEY
    assert loaded.keys[KEY.key_id].public_key.label == "Acme"
    assert loaded.keys[KEY.key_id].note == "from their site"
    assert loaded.revoked_keys[OTHER.key_id].reason == "stolen"
    assert loaded.revoked_hashes[entry(3).hash].reason == "backdoor"
    shown = loaded.to_dict()
    assert shown["counter"] == 2
    assert [one["key_id"] for one in shown["keys"]] == [KEY.key_id, OTHER.key_id]
    raw = bench.list_path.read_bytes()
    assert b"acme" not in raw
    assert bench.trust_key.to_hex() not in str(shown)


def test_removing_and_revoking(bench: Bench) -> None:
    made = bench.create_list()
    made.add_plugin(entry(1))
    made.add_key(KEY)
    assert made.remove_plugin(entry(1).hash) == entry(1)
    assert made.remove_key(KEY).key_id == KEY.key_id
    attempts: list[Callable[[], object]] = [
        lambda: made.remove_plugin(entry(1).hash),
        lambda: made.remove_key(KEY.key_id),
    ]
    for attempt in attempts:
        with pytest.raises(TrustListError) as caught:
            attempt()
        assert caught.value.code == "trust.not_found"
        assert caught.value.hint
    made.revoke_key(KEY.key_id, "first")
    made.revoke_key(KEY, "second")
    made.revoke_hash(entry(1).hash, "first")
    made.revoke_hash(entry(1).hash, "second")
    assert made.revoked_keys[KEY.key_id].reason == "first"
    assert made.revoked_hashes[entry(1).hash].reason == "first"
    with pytest.raises(TrustListError) as caught:
        made.add_key(KEY)
    assert caught.value.code == "key.revoked"
    with pytest.raises(TrustListError) as caught:
        made.add_plugin(entry(1))
    assert caught.value.code == "trust.hash_revoked"


@pytest.mark.parametrize(
    "changes",
    [
        {"hash": "00"},
        {"hash": sha3_512(b"").hexdigest().upper()},
        {"name": "Acme"},
        {"version": "1"},
        {"key_id": "00"},
        {"key_id": KEY.key_id.upper()},
        {"note": "n" * 1025},
        {"note": "\x1b[2J"},
        {"added_at": "yesterday"},
    ],
)
def test_entries_out_of_bounds(changes: dict[str, str]) -> None:
    with pytest.raises(TrustListError) as caught:
        entry(**changes)  # type: ignore[arg-type]
    assert caught.value.code == "trust.entry_invalid"


def test_revocations_and_keys_out_of_bounds(bench: Bench) -> None:
    made = bench.create_list()
    attempts: list[Callable[[], None]] = [
        lambda: made.revoke_key("nonsense"),
        lambda: made.revoke_hash("nonsense"),
        lambda: made.revoke_hash(entry().hash, "\x00"),
        lambda: made.add_key(KEY, note="\x00"),
    ]
    for attempt in attempts:
        with pytest.raises(TrustListError) as caught:
            attempt()
        assert caught.value.code == "trust.entry_invalid"


# -- Keys


def test_a_passphrase_locks_a_list(bench: Bench) -> None:
    def key(text: str) -> TrustKey:
        return TrustKey.from_passphrase(text, ops=1, memory_kib=8192)

    bench.trust_key = key("correct")
    bench.create_list()
    update(bench, 1)
    bench.trust_key = TrustKey.from_passphrase("correct")  # Its own parameters are not used.
    assert len(bench.load_list().plugins) == 1
    assert refusal_of(bench, key=key("wrong")).code == "trust_list.cannot_decrypt"
    assert refusal_of(bench, key=TrustKey.generate()).code == "trust_list.key_kind"
    assert len(bench.load_list().plugins) == 1


def test_a_wrong_raw_key_never_gives_an_empty_list(bench: Bench) -> None:
    bench.create_list()
    update(bench, 1)
    error = refusal_of(bench, key=TrustKey.generate())
    assert error.code == "trust_list.cannot_decrypt"
    assert "wrong, or the file is damaged" in error.message
    assert len(bench.load_list().plugins) == 1


# -- Damage


def test_every_flipped_bit_of_a_list_is_an_error_and_changes_nothing(bench: Bench) -> None:
    bench.create_list()
    update(bench, 1)
    good = bench.list_path.read_bytes()
    codes = set()
    for position in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << (position % 8)
        bench.list_path.write_bytes(flipped)
        with pytest.raises(TrustListError) as caught:
            bench.load_list()
        assert caught.value.hint
        codes.add(caught.value.code)
        assert bench.list_path.read_bytes() == flipped
    assert codes == {
        "trust_list.format",
        "trust_list.version",
        "trust_list.kdf",
        "trust_list.cannot_decrypt",
    }
    bench.list_path.write_bytes(good)
    assert len(bench.load_list().plugins) == 1


def test_every_flipped_bit_of_a_passphrase_header_is_an_error(bench: Bench) -> None:
    bench.trust_key = TrustKey.from_passphrase("correct", ops=1, memory_kib=8192)
    bench.create_list()
    good = bench.list_path.read_bytes()
    codes = set()
    # The parameters themselves (bytes 20 to 27) would cost seconds each: some of them suffice.
    positions = [
        *range(20 * 8),
        20 * 8 + 1,
        20 * 8 + 4,
        20 * 8 + 5,
        24 * 8 + 31,
        *range(28 * 8, 92 * 8),
    ]
    for position in positions:
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << (position % 8)
        bench.list_path.write_bytes(flipped)
        with pytest.raises(TrustListError) as caught:
            bench.load_list()
        codes.add(caught.value.code)
    assert codes == {
        "trust_list.format",
        "trust_list.version",
        "trust_list.kdf",
        "trust_list.cannot_decrypt",
    }
    bench.list_path.write_bytes(good)
    bench.load_list()


def test_every_truncation_is_an_error(bench: Bench) -> None:
    bench.create_list()
    good = bench.list_path.read_bytes()
    codes = set()
    for length in range(len(good)):
        bench.list_path.write_bytes(good[:length])
        with pytest.raises(TrustListError) as caught:
            bench.load_list()
        codes.add(caught.value.code)
    assert codes == {"trust_list.format", "trust_list.truncated", "trust_list.cannot_decrypt"}
    bench.list_path.write_bytes(good + b"\0")
    assert refusal_of(bench).code == "trust_list.cannot_decrypt"


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_files_give_clean_errors(bench: Bench, data: bytes) -> None:
    bench.list_path.parent.mkdir(exist_ok=True)
    for content in (data, b"\x89PLUGINAPI-TRL\r\n\x01" + data):
        bench.list_path.write_bytes(content)
        bench.list_path.chmod(0o600)
        with pytest.raises(TrustListError) as caught:
            bench.load_list()
        assert caught.value.code.startswith("trust_list.")


def test_content_of_another_shape_is_an_error(bench: Bench) -> None:
    made = bench.create_list()
    keys = bench.trust_key.derive(made._parameters, made._list_id)
    from nacl import bindings

    for content in (b"{}", b"[]", b"\xff", b'{"plugins":[{"hash":"00"}]}', b"[" * 5000):
        header = bench.list_path.read_bytes()[:92]
        sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            content, header, header[68:92], keys.encryption
        )
        bench.list_path.write_bytes(header + sealed)
        assert refusal_of(bench).code == "trust_list.invalid"


def test_keys_in_a_list_are_checked_as_keys() -> None:
    for key in ("00" * 32, "nonsense", KEY.to_hex().upper()):
        with pytest.raises(TrustListError) as caught:
            ListedKey(key=key)
        assert caught.value.code == "trust.entry_invalid"
    assert ListedKey(key=KEY.to_hex()).public_key == KEY


def test_reserved_header_bytes_are_zero(bench: Bench) -> None:
    bench.create_list()
    good = bench.list_path.read_bytes()
    bench.list_path.write_bytes(good[:18] + b"\1" + good[19:])
    assert refusal_of(bench).code == "trust_list.format"


# -- The file


def test_missing_lists_are_named_with_the_command_that_makes_one(bench: Bench) -> None:
    error = refusal_of(bench)
    assert error.code == "trust_list.missing"
    assert "pluginapi trust init" in str(error.hint)
    assert "before" not in error.message
    bench.create_list()
    bench.list_path.unlink()
    error = refusal_of(bench)
    assert error.code == "trust_list.missing"
    assert "there was one before" in error.message


def test_a_list_is_never_made_over_another_file(bench: Bench) -> None:
    bench.create_list()
    before = bench.list_path.read_bytes()
    with pytest.raises(TrustListError) as caught:
        bench.create_list()
    assert caught.value.code == "trust_list.exists"
    assert bench.list_path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_list_that_others_can_touch_is_refused(bench: Bench, mode: int) -> None:
    bench.create_list()
    bench.list_path.chmod(mode)
    error = refusal_of(bench)
    assert error.code == "trust_list.permissions"
    assert error.hint == f"chmod 600 {bench.list_path}"
    bench.list_path.chmod(0o600)
    bench.load_list()


def test_files_that_cannot_be_lists(bench: Bench) -> None:
    bench.list_path.parent.mkdir()
    os.mkfifo(bench.list_path, 0o600)
    assert refusal_of(bench).code == "trust_list.invalid"
    bench.list_path.unlink()
    with bench.list_path.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    bench.list_path.chmod(0o600)
    assert_code(bench, "trust_list.too_large")


def assert_code(bench: Bench, code: str) -> None:
    with pytest.raises(TrustListError) as caught:
        bench.load_list()
    assert caught.value.code == code


def test_a_list_too_large_to_be_read_again_is_not_saved(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create_list()
    monkeypatch.setattr("pluginapi.security.trust_list.MAX_TRUST_LIST_BYTES", 1000)
    with pytest.raises(TrustListError) as caught:
        TrustList.update(
            bench.list_path,
            bench.trust_key,
            lambda made: made.add_plugin(entry(1, note="n" * 1000)),
            state_dir=bench.state_dir,
        )
    assert caught.value.code == "trust_list.too_large"
    assert len(bench.load_list().plugins) == 0
    update(bench, 2)


def test_a_link_to_a_list_stays_a_link(bench: Bench) -> None:
    bench.create_list()
    link = bench.directory / "link.enc"
    link.symlink_to(bench.list_path)
    real, bench.list_path = bench.list_path, link
    update(bench, 1)
    assert link.is_symlink()
    bench.list_path = real
    assert len(bench.load_list().plugins) == 1


# -- Older and other lists


def test_an_older_copy_is_detected_until_it_is_accepted(bench: Bench) -> None:
    bench.create_list()
    update(bench, 1)
    older = bench.list_path.read_bytes()
    TrustList.update(
        bench.list_path,
        bench.trust_key,
        lambda made: made.revoke_hash(entry(1).hash),
        state_dir=bench.state_dir,
    )
    bench.list_path.write_bytes(older)
    error = refusal_of(bench)
    assert error.code == "trust_list.rolled_back"
    assert error.details["counter"] == 2
    assert error.details["seen"] == 3
    assert "pluginapi trust restore" in str(error.hint)
    restored = TrustList.restore(bench.list_path, bench.trust_key, state_dir=bench.state_dir)
    assert restored.counter == 4
    assert list(bench.load_list().plugins) == [entry(1).hash]
    bench.list_path.write_bytes(older)
    assert refusal_of(bench).code == "trust_list.rolled_back"


def test_an_older_copy_at_another_path_is_detected(bench: Bench) -> None:
    bench.create_list()
    older = bench.list_path.read_bytes()
    update(bench, 1)
    bench.list_path = bench.directory / "copy.enc"
    bench.list_path.write_bytes(older)
    bench.list_path.chmod(0o600)
    assert refusal_of(bench).code == "trust_list.rolled_back"


def test_a_newer_copy_is_accepted_and_remembered(bench: Bench) -> None:
    bench.create_list()
    older = bench.list_path.read_bytes()
    elsewhere = bench.directory / "other-state"
    TrustList.update(
        bench.list_path,
        bench.trust_key,
        lambda made: made.add_plugin(entry(1)),
        state_dir=elsewhere,
    )
    assert bench.load_list().counter == 2
    bench.list_path.write_bytes(older)
    assert refusal_of(bench).code == "trust_list.rolled_back"


@pytest.mark.parametrize("locked_with", ["raw key", "passphrase"])
def test_another_list_at_the_same_path_is_detected(bench: Bench, locked_with: str) -> None:
    if locked_with == "passphrase":
        bench.trust_key = TrustKey.from_passphrase("correct", ops=1, memory_kib=8192)
    bench.create_list()
    mine = bench.list_path
    bench.list_path = bench.directory / "other.enc"
    bench.create_list()
    mine.write_bytes(bench.list_path.read_bytes())
    bench.list_path = mine
    error = refusal_of(bench)
    assert error.code == "trust_list.replaced"
    assert "pluginapi trust restore" in str(error.hint)
    TrustList.restore(bench.list_path, bench.trust_key, state_dir=bench.state_dir)
    bench.load_list()


@pytest.mark.parametrize("kind", ["mark", "pin"])
def test_every_flipped_bit_of_the_record_is_an_error(bench: Bench, kind: str) -> None:
    bench.create_list()
    (record,) = (bench.state_dir / "trust-lists").glob(f"*.{kind}")
    good = record.read_bytes()
    for position in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << (position % 8)
        record.write_bytes(flipped)
        with pytest.raises(TrustListError) as caught:
            bench.load_list()
        assert caught.value.code in {"trust_list.state", "trust_list.replaced"}
        assert "pluginapi trust restore" in str(caught.value.hint)
    for damaged in (b"", good[:-1], good + b"\0", b"x" * 5000):
        record.write_bytes(damaged)
        assert refusal_of(bench).code == "trust_list.state"
    TrustList.restore(bench.list_path, bench.trust_key, state_dir=bench.state_dir)
    assert bench.load_list().counter == 2


def test_records_of_another_list_or_path_do_not_pass(bench: Bench) -> None:
    bench.create_list()
    mine = bench.list_path
    bench.list_path = bench.directory / "other.enc"
    bench.create_list()
    records = bench.state_dir / "trust-lists"
    for kind in ("mark", "pin"):
        one, other = sorted(records.glob(f"*.{kind}"))
        kept = one.read_bytes()
        one.write_bytes(other.read_bytes())
        codes = set()
        for path in (mine, bench.list_path):
            bench.list_path = path
            try:
                bench.load_list()
            except TrustListError as err:
                codes.add(err.code)
        assert len(codes) == 1
        one.write_bytes(kept)


def test_a_state_directory_that_cannot_be_written_is_an_error_before_anything_is_saved(
    bench: Bench,
) -> None:
    bench.create_list()
    update(bench, 1)
    before = bench.list_path.read_bytes()
    bench.state_dir = bench.directory / "file"
    bench.state_dir.write_text("in the way")
    assert_code_or_io(bench)
    with pytest.raises(PluginError):
        update(bench, 2)
    assert bench.list_path.read_bytes() == before


def assert_code_or_io(bench: Bench) -> None:
    with pytest.raises(PluginError) as caught:
        bench.load_list()
    assert caught.value.code in {"trust_list.state", "io.failed"}
    assert caught.value.hint


def test_where_the_record_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_state_dir() == tmp_path / ".local" / "state" / "pluginapi"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_state_dir() == tmp_path / ".local" / "state" / "pluginapi"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert default_state_dir() == tmp_path / "xdg" / "pluginapi"
    made = TrustList.create(tmp_path / "list.enc", TrustKey.generate())
    assert (tmp_path / "xdg" / "pluginapi" / "trust-lists" / f"{made.list_id}.mark").exists()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_state_dir() == tmp_path / "Library" / "Application Support" / "pluginapi"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_state_dir() == tmp_path / "local" / "pluginapi"


def test_a_reader_that_was_overtaken_does_not_lower_the_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look at the record and the lock, another process gets further."""
    bench.create_list()
    older = bench.list_path.read_bytes()
    elsewhere, here = bench.directory / "other-state", bench.state_dir
    bench.state_dir = elsewhere
    newer = update(bench, 1)
    assert newer.counter == 2
    newest = update(bench, 2)
    bench.state_dir = here
    seen = SeenLists(here)
    mark = bench.trust_key.derive(newest._parameters, newest._list_id).mark
    compare = SeenLists._compare

    def late(self: SeenLists, *arguments: Any) -> int | None:
        found = compare(self, *arguments)
        monkeypatch.setattr(SeenLists, "_compare", compare)
        self.accept(bench.list_path, newest._list_id, 3, mark)
        return found

    monkeypatch.setattr(SeenLists, "_compare", late)
    with pytest.raises(TrustListError) as caught:
        seen.check(bench.list_path, newest._list_id, 2, mark)
    assert caught.value.code == "trust_list.rolled_back"
    assert bench.load_list().counter == 3
    bench.list_path.write_bytes(older)
    assert refusal_of(bench).code == "trust_list.rolled_back"


def test_a_list_in_a_directory_that_cannot_be_made_is_a_clean_error(bench: Bench) -> None:
    (bench.directory / "data").write_text("in the way")
    with pytest.raises(TrustListError) as caught:
        bench.create_list()
    assert caught.value.code == "trust_list.not_saved"
    assert caught.value.hint


# -- Writers


def test_a_list_changed_meanwhile_is_a_conflict(bench: Bench) -> None:
    bench.create_list()
    mine, theirs = bench.load_list(), bench.load_list()
    theirs.add_plugin(entry(1))
    theirs.save(bench.trust_key, state_dir=bench.state_dir)
    mine.add_plugin(entry(2))
    with pytest.raises(TrustListError) as caught:
        mine.save(bench.trust_key, state_dir=bench.state_dir)
    assert caught.value.code == "trust_list.conflict"
    assert list(bench.load_list().plugins) == [entry(1).hash]
    theirs.add_plugin(entry(2))
    theirs.save(bench.trust_key, state_dir=bench.state_dir)
    assert list(bench.load_list().plugins) == [entry(1).hash, entry(2).hash]


def test_a_change_that_raises_saves_nothing(bench: Bench) -> None:
    bench.create_list()

    def change(made: TrustList) -> None:
        made.add_plugin(entry(1))
        made.remove_key(KEY)

    with pytest.raises(TrustListError, match="no key"):
        TrustList.update(bench.list_path, bench.trust_key, change, state_dir=bench.state_dir)
    assert bench.load_list().counter == 1


def test_a_held_lock_is_waited_for_and_then_reported(bench: Bench) -> None:
    bench.create_list()
    lock = bench.list_path.with_name(bench.list_path.name + ".lock")
    with FileLock(lock, 1.0, AssertionError), pytest.raises(TrustListError) as caught:
        TrustList.update(
            bench.list_path,
            bench.trust_key,
            lambda made: made.add_plugin(entry(1)),
            state_dir=bench.state_dir,
            lock_timeout=0.05,
        )
    assert caught.value.code == "trust_list.locked"
    assert caught.value.hint
    assert len(update(bench, 1).plugins) == 1


def test_threads_lose_nothing(bench: Bench) -> None:
    bench.create_list()
    threads = [
        threading.Thread(target=lambda base=base: [update(bench, base + n) for n in range(5)])
        for base in (0, 100, 200, 300)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    loaded = bench.load_list()
    assert len(loaded.plugins) == 20
    assert loaded.counter == 21


WRITER = """
import sys
from pathlib import Path
from pluginapi.security import TrustKey, TrustList, TrustedPluginEntry, sha3_512

path, state, base, key_id = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
key = TrustKey.from_bytes(bytes(range(32)))
for number in range(base, base + 20):
    made = TrustedPluginEntry(
        hash=sha3_512(b"%d" % number).hexdigest(), name=f"p{number}", version="1.0.0", key_id=key_id
    )
    TrustList.update(
        path, key, lambda found: found.add_plugin(made), state_dir=state, lock_timeout=60
    )
"""


def test_two_processes_writing_at_once_lose_nothing(bench: Bench) -> None:
    bench.create_list()
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER,
                str(bench.list_path),
                str(bench.state_dir),
                str(base),
                KEY.key_id,
            ]
        )
        for base in (0, 1000)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    loaded = bench.load_list()
    assert len(loaded.plugins) == 40
    assert loaded.counter == 41
    leftovers = [path.name for path in bench.list_path.parent.iterdir() if ".tmp" in path.name]
    assert leftovers == []


# -- A full disk

FULL_DISK = """
import errno, os, sys
from pathlib import Path
from pluginapi.errors import TrustListError
from pluginapi.security import TrustKey, TrustList, TrustedPluginEntry, sha3_512

disk, roomy, full = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
key = TrustKey.from_bytes(bytes(range(32)))
path = (disk if full == "list" else roomy) / "list.enc"
state = (disk if full == "state" else roomy) / "state"

def save(number):
    made = TrustedPluginEntry(
        hash=sha3_512(b"%d" % number).hexdigest(), name="acme", version="1.0.0", key_id="0" * 32
    )
    TrustList.update(path, key, lambda found: found.add_plugin(made), state_dir=state)

TrustList.create(path, key, state_dir=state)
save(0)
before = path.read_bytes()
names = sorted(os.listdir(path.parent))
filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
try:
    while True:
        os.write(filler, b"x" * 512)
except OSError as err:
    assert err.errno == errno.ENOSPC, err
try:
    save(1)
    sys.exit("saving on a full disk succeeded")
except TrustListError as err:
    print(err.code, "|", err.message)
    assert err.hint
if full == "list":
    assert path.read_bytes() == before, "the old list changed"
    assert sorted(set(os.listdir(path.parent)) - {"filler"}) == names, "something was left behind"
    assert len(TrustList.load(path, key, state_dir=state).plugins) == 1
os.close(filler)
os.unlink(disk / "filler")
save(2)
print(len(TrustList.load(path, key, state_dir=state).plugins))
"""


def in_tiny_disk(bench: Bench, full: str) -> list[str]:
    disk, roomy = bench.directory / "disk", bench.directory / "roomy"
    roomy.mkdir()
    return run_on_tiny_disk(disk, FULL_DISK, str(disk), str(roomy), full)


def test_a_full_disk_keeps_the_old_list(bench: Bench) -> None:
    refused, plugins = in_tiny_disk(bench, "list")
    assert refused.startswith("trust_list.not_saved | ")
    assert "No space left on device" in refused
    # The one from before the disk was full, and the one after there was space again.
    assert plugins == "2"


def test_a_full_disk_under_the_record_is_reported_and_recovers(bench: Bench) -> None:
    refused, plugins = in_tiny_disk(bench, "state")
    assert refused.startswith("trust_list.state | ")
    assert "No space left on device" in refused
    # The list itself was written before its counter could be remembered.
    assert plugins == "3"
