from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pluginapi.errors import TrustListError
from pluginapi.security.files import FileLock, create_file, make_private_directory, replace_file


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def open_descriptors() -> int:
    place = Path("/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd")
    return sum(1 for _ in place.iterdir())


def failing_write(_descriptor: int, _data: object) -> int:
    raise OSError(5, "Input/output error")


def test_a_replaced_file_has_the_new_bytes_and_mode(tmp_path: Path) -> None:
    target = tmp_path / "list"
    target.write_bytes(b"old")
    replace_file(target, b"new" * 100_000, 0o600)
    assert target.read_bytes() == b"new" * 100_000
    assert target.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["list"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "list"
    target.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing_write)
        with pytest.raises(OSError, match="Input/output"):
            replace_file(target, b"new", 0o600)
        with pytest.raises(OSError, match="Input/output"):
            create_file(tmp_path / "key", b"new", 0o600)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["list"]


def test_a_rename_that_fails_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_file(target, b"new", 0o600)
    assert names(tmp_path) == ["directory"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    create_file(tmp_path / "key", bytes(range(100)), 0o600)
    assert (tmp_path / "key").read_bytes() == bytes(range(100))


def test_a_private_directory_is_made_once(tmp_path: Path) -> None:
    target = tmp_path / "one" / "two"
    make_private_directory(target)
    assert target.stat().st_mode & 0o777 == 0o700
    target.chmod(0o750)
    make_private_directory(target)
    assert target.stat().st_mode & 0o777 == 0o750


def timed_out() -> TrustListError:
    return TrustListError("held", code="trust_list.locked")


def test_a_lock_excludes_and_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    before = open_descriptors()
    with FileLock(path, 0, timed_out):
        for _ in range(3):
            with pytest.raises(TrustListError), FileLock(path, 0, timed_out):
                pytest.fail("two holders")
    with FileLock(path, 0, timed_out):
        assert path.stat().st_mode & 0o777 == 0o600
    assert open_descriptors() == before


def test_a_waiter_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held, got = threading.Event(), threading.Event()

    def waiter() -> None:
        held.wait(30)
        with FileLock(path, 30, timed_out):
            got.set()

    thread = threading.Thread(target=waiter)
    thread.start()
    with FileLock(path, 0, timed_out):
        held.set()
        assert not got.wait(0.1)
    thread.join(30)
    assert got.is_set()


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), FileLock(tmp_path / "lock", 0, timed_out):
        pytest.fail("followed")
    assert not victim.exists()
