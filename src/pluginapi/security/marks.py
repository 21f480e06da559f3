"""Remember which trust lists were seen, so that an older or another one is noticed.

Two small files per list stand in a state directory outside the list's own: the *mark* holds the
highest counter ever seen for a list id, the *pin* holds the list id that stood at a path. Both are
authenticated with a key derived from the trust key, so that only its holder can make or lower
them. Deleting them all takes the memory away: the next list is then a first use.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pluginapi.errors import IoError, TrustListError
from pluginapi.security.files import FileLock, FileRules, make_private_directory, replace_file

__all__ = ["SeenLists", "default_state_dir"]

_MARK: Final = struct.Struct("<8s16sQ")
_MARK_MAGIC: Final = b"PASEENM\x01"
_PIN: Final = struct.Struct("<8s32s16s")
_PIN_MAGIC: Final = b"PASEENP\x01"
_MAC_BYTES: Final = 32
_LOCK_SECONDS: Final = 10.0

_RULES: Final = FileRules(
    error=TrustListError,
    prefix="trust_list",
    missing="trust_list.missing",
    what="record of trust lists",
    limit=4096,
    private=False,
    missing_hint="pluginapi trust restore",
)
_HINT_RESTORE: Final = (
    "if you put it there yourself, accept it with `pluginapi trust restore`; "
    "if not, find out who changed it"
)


def default_state_dir() -> Path:
    r"""Return where this user's programs keep state that outlives them.

    ``$XDG_STATE_HOME/pluginapi`` or ``~/.local/state/pluginapi`` (XDG Base Directory 0.8),
    ``~/Library/Application Support/pluginapi`` on macOS, ``%LOCALAPPDATA%\pluginapi`` on Windows.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "pluginapi"
    variable, fallback = (
        ("LOCALAPPDATA", Path("AppData") / "Local")
        if sys.platform == "win32"
        else ("XDG_STATE_HOME", Path(".local") / "state")
    )
    chosen = os.environ.get(variable, "")
    # The XDG specification says that a relative path is invalid and is to be ignored.
    base = Path(chosen) if Path(chosen).is_absolute() else Path.home() / fallback
    return base / "pluginapi"


class SeenLists:
    """The marks and pins in one state directory.

    Every method may be called from several processes and threads at once.

    Args:
        directory: Made with mode 0700 when it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "trust-lists"

    def check(self, path: Path, list_id: bytes, counter: int, key: bytes) -> None:
        """Compare a list that was just decrypted with what was seen, and remember it.

        Raises:
            TrustListError: With code ``trust_list.rolled_back``, ``trust_list.replaced`` or
                ``trust_list.state`` (a record is damaged or cannot be written).
        """
        seen = self._compare(path, list_id, counter, key)
        if seen != counter:
            with self._locked():
                # Another reader may have got further in the meantime.
                self._compare(path, list_id, counter, key)
                self._write(path, list_id, counter, key)

    def accept(self, path: Path, list_id: bytes, counter: int, key: bytes) -> None:
        """Remember a list whatever was seen before: the operator wants this one."""
        with self._locked():
            self._write(path, list_id, counter, key)

    def highest(self, list_id: bytes, key: bytes) -> int:
        """Return the highest counter seen for a list, or 0 when no readable mark says one."""
        try:
            return self._read_mark(list_id, key) or 0
        except TrustListError as err:
            if err.code != "trust_list.state":
                raise
            return 0

    def was_seen(self, path: Path) -> bool:
        """Tell whether there ever was a trust list at this path."""
        return self._pin_path(path).exists()

    def prepare(self) -> None:
        """Make sure that the directory can be written, before anything depends on it."""
        with self._locked():
            return

    def _compare(self, path: Path, list_id: bytes, counter: int, key: bytes) -> int | None:
        """Return the counter on record when the pin is on record too, else None."""
        pinned = self._read_pin(path, list_id, key)
        seen = self._read_mark(list_id, key)
        if seen is not None and counter < seen:
            raise TrustListError(
                f"{path} is an older copy: its counter is {counter}, and {seen} was seen before",
                code="trust_list.rolled_back",
                hint=_HINT_RESTORE,
                path=str(path),
                counter=counter,
                seen=seen,
            )
        return seen if pinned else None

    def _read_mark(self, list_id: bytes, key: bytes) -> int | None:
        path = self._mark_path(list_id)
        record = self._read(path, _MARK.size)
        if record is None:
            return None
        magic, found, counter = _MARK.unpack(_authentic(path, record, key))
        if magic != _MARK_MAGIC or found != list_id:
            raise _damaged(path)
        return int(counter)

    def _read_pin(self, path: Path, list_id: bytes, key: bytes) -> bool:
        file = self._pin_path(path)
        record = self._read(file, _PIN.size)
        if record is None:
            return False
        magic, where, found = _PIN.unpack_from(record)
        if found != list_id:
            # Looked at first: a pin of another list is authenticated with another key.
            raise _replaced(path)
        _authentic(file, record, key)
        if magic != _PIN_MAGIC or where != _path_hash(path):
            raise _damaged(file)
        return True

    def _read(self, path: Path, size: int) -> bytes | None:
        try:
            record, _ = _RULES.read(path)
        except TrustListError as err:
            if err.code == "trust_list.missing":
                return None
            raise _damaged(path) from err
        if len(record) != size + _MAC_BYTES:
            raise _damaged(path)
        return record

    def _write(self, path: Path, list_id: bytes, counter: int, key: bytes) -> None:
        mark = _MARK.pack(_MARK_MAGIC, list_id, counter)
        pin = _PIN.pack(_PIN_MAGIC, _path_hash(path), list_id)
        try:
            replace_file(self._mark_path(list_id), mark + _mac(mark, key), 0o600)
            replace_file(self._pin_path(path), pin + _mac(pin, key), 0o600)
        except OSError as err:
            raise self._unusable(err) from err

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            make_private_directory(self._directory)
            with FileLock(self._directory / "lock", _LOCK_SECONDS, self._lock_timeout):
                yield
        except IoError:
            raise
        except OSError as err:
            raise self._unusable(err) from err

    def _lock_timeout(self) -> TrustListError:
        return TrustListError(
            f"another process held {self._directory} for {_LOCK_SECONDS:g} seconds",
            code="trust_list.locked",
            hint="try again; if it lasts, find the process with `fuser` on the lock file",
        )

    def _unusable(self, err: OSError) -> TrustListError:
        return TrustListError(
            f"the record of trust lists in {self._directory} cannot be kept: {err.strerror}",
            code="trust_list.state",
            hint="make that directory writable, or set another as state_dir",
            path=str(self._directory),
        )

    def _mark_path(self, list_id: bytes) -> Path:
        return self._directory / f"{list_id.hex()}.mark"

    def _pin_path(self, path: Path) -> Path:
        return self._directory / f"{_path_hash(path).hex()}.pin"


def _path_hash(path: Path) -> bytes:
    return hashlib.sha3_256(os.fsencode(path)).digest()


def _mac(body: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=_MAC_BYTES).digest()


def _authentic(path: Path, record: bytes, key: bytes) -> bytes:
    body, mac = record[:-_MAC_BYTES], record[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(body, key)):
        raise _damaged(path)
    return body


def _damaged(path: Path) -> TrustListError:
    return TrustListError(
        f"{path}, the record of the trust list seen before, is damaged or made with another key",
        code="trust_list.state",
        hint=_HINT_RESTORE,
        path=str(path),
    )


def _replaced(path: Path) -> TrustListError:
    return TrustListError(
        f"another trust list stands at {path} than before",
        code="trust_list.replaced",
        hint=_HINT_RESTORE,
        path=str(path),
    )
