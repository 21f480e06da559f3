"""A scan finds of every file what inspecting it alone finds, whatever lies beside it."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import native, pyz
from pluginapi import (
    PluginError,
    PluginLoader,
    PluginSecurity,
    SecurityPolicy,
    SigningKeyPair,
    TrustedPluginEntry,
    TrustListError,
)
from pluginapi.errors import InvalidSignature
from pluginapi.manifest import PluginKind
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginContents, PluginFile, contents_of
from pluginapi.reading import FileReader, PythonReader, ReadFile, make_reader
from pluginapi.registry import find_plugin_files
from pluginapi.security import PluginSignature, countersign, sign_plugin
from pluginapi.security.ed25519 import verify_batch
from support import Forge

SOURCE = """
from pluginapi import make_plugin

@make_plugin(name={name!r}, version="1.2.{number}", author="Tests")
class Plugin:
    pass
"""


class Zoo:
    """A directory with a plugin in every state that a check can find it in."""

    def __init__(self, root: Path) -> None:
        self.forge = Forge(root)
        self.other = SigningKeyPair.generate()
        self.pinned = SigningKeyPair.generate()
        self.stranger = SigningKeyPair.generate()
        self.revoked = SigningKeyPair.generate()
        self.directory = self.forge.plugins
        self.hardcoded: list[TrustedPluginEntry] = []
        self.expected: dict[str, str | None] = {}
        self._list = self.forge.security()
        self._list.add_public_key(self.other.public_key)
        for make in (
            self._good,
            self._unsigned,
            self._mismatched,
            self._revoked_hash,
            self._revoked_key,
            self._unknown_key,
            self._corrupted,
            self._wrong_signature,
            self._malformed,
            self._several_signers,
            self._second_signer_lies,
            self._hardcoded_file,
            self._not_listed,
            self._listed_for_another_key,
            self._no_manifest,
            self._no_python,
            self._empty,
            self._no_file,
            self._native,
            self._zipped,
        ):
            for number in range(3):
                make(f"{make.__name__.strip('_').replace('_', '-')}-{number}", number)
        self._list.revoke_key(self.revoked.public_key, "lost")

    def paths(self) -> list[Path]:
        return find_plugin_files(self.directory)

    def security(self, *, only_trusted: bool = True) -> PluginSecurity:
        return PluginSecurity(
            SecurityPolicy(only_trusted=only_trusted, trust_list_path=self.forge.trust_list_path),
            trust_key=self.forge.trust_key,
            hardcoded_trusted_plugins=self.hardcoded,
            hardcoded_public_keys=[self.pinned.public_key],
            state_dir=self.forge.state_dir,
        )

    def _write(self, name: str, number: int, code: str | None, data: bytes | None = None) -> Path:
        path = self.directory / f"{name}.py"
        source = SOURCE.format(name=name, number=number) + "#" * (5000 * number)
        path.write_bytes(source.encode() if data is None else data)
        self.expected[path.name] = code
        return path

    def _sign(self, path: Path, key: SigningKeyPair, *, listed: bool = True) -> Path:
        file = PluginFile.open(path)
        manifest = read_manifest(file)
        envelope(path).write_bytes(sign_plugin(file, manifest, key))
        if listed:
            self._list.trust_plugin(PluginFile.open(path), manifest)
        return path

    def _signed(self, name: str, number: int, code: str | None) -> Path:
        return self._sign(self._write(name, number, code), self.forge.key)

    def _good(self, name: str, number: int) -> None:
        self._signed(name, number, None)

    def _unsigned(self, name: str, number: int) -> None:
        self._write(name, number, "signature.missing")

    def _mismatched(self, name: str, number: int) -> None:
        path = self._signed(name, number, "signature.mismatch")
        path.write_bytes(path.read_bytes() + b"# changed\n")

    def _revoked_hash(self, name: str, number: int) -> None:
        path = self._signed(name, number, "trust.hash_revoked")
        self._list.revoke_hash(PluginFile.open(path).sha3_512, "leaks")

    def _revoked_key(self, name: str, number: int) -> None:
        self._sign(self._write(name, number, "key.revoked"), self.revoked, listed=False)

    def _unknown_key(self, name: str, number: int) -> None:
        self._sign(self._write(name, number, "key.unknown"), self.stranger, listed=False)

    def _corrupted(self, name: str, number: int) -> None:
        path = self._signed(name, number, "signature.not_canonical")
        envelope(path).write_bytes(envelope(path).read_bytes() + b"\n")

    def _wrong_signature(self, name: str, number: int) -> None:
        path = self._signed(name, number, "signature.invalid")
        edit_signature(path, lambda made: made[:40] + bytes([made[40] ^ 1]) + made[41:])

    def _malformed(self, name: str, number: int) -> None:
        envelope(self._write(name, number, "signature.malformed")).write_bytes(b"{}")

    def _several_signers(self, name: str, number: int) -> None:
        path = self._signed(name, number, None)
        content = envelope(path).read_bytes()
        for key in (self.other, self.stranger, self.pinned):
            content = countersign(content, key)
        envelope(path).write_bytes(content)

    def _second_signer_lies(self, name: str, number: int) -> None:
        path = self._signed(name, number, "signature.invalid")
        both = PluginSignature.decode(countersign(envelope(path).read_bytes(), self.other))
        first, second = both.signatures
        lying = type(second)(second.key_id, first.signature)
        envelope(path).write_bytes(PluginSignature(both.statement, (first, lying)).encode())

    def _hardcoded_file(self, name: str, number: int) -> None:
        path = self._sign(self._write(name, number, None), self.pinned, listed=False)
        self.hardcoded.append(
            TrustedPluginEntry(
                hash=PluginFile.open(path).sha3_512,
                name=name,
                version=f"1.2.{number}",
                key_id=self.pinned.public_key.key_id,
            )
        )

    def _not_listed(self, name: str, number: int) -> None:
        self._sign(self._write(name, number, "trust.not_listed"), self.forge.key, listed=False)

    def _listed_for_another_key(self, name: str, number: int) -> None:
        path = self._signed(name, number, "trust.entry_mismatch")
        self._sign(path, self.other, listed=False)

    def _no_manifest(self, name: str, number: int) -> None:
        self._write(name, number, "manifest.missing", b"x = 1\n")

    def _no_python(self, name: str, number: int) -> None:
        self._write(name, number, "manifest.syntax", b"def (\n")

    def _empty(self, name: str, number: int) -> None:
        self._write(name, number, "file.empty", b"")

    def _no_file(self, name: str, number: int) -> None:
        (self.directory / f"{name}.py").mkdir()
        self.expected[f"{name}.py"] = "file.not_regular"

    def _native(self, name: str, number: int) -> None:
        path = self.directory / f"{name}.so"
        path.write_bytes(manifested(name) + b"\0" * (70_000 * number))
        self.expected[path.name] = None
        self._sign(path, self.other)

    def _zipped(self, name: str, number: int) -> None:
        path = self.directory / f"{name}.pyz"
        path.write_bytes(pyz({"plugin.py": SOURCE.format(name=name, number=number)}))
        self.expected[path.name] = None
        self._sign(path, self.other)


def manifested(name: str) -> bytes:
    return native({"name": name, "version": "1.2.0", "author": "Tests"})


def envelope(path: Path) -> Path:
    return path.with_name(f"{path.name}.sig")


def edit_signature(path: Path, change: Callable[[bytes], bytes]) -> None:
    decoded = PluginSignature.decode(envelope(path).read_bytes())
    (made,) = decoded.signatures
    changed = type(made)(made.key_id, change(made.signature))
    envelope(path).write_bytes(PluginSignature(decoded.statement, (changed,)).encode())


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("zoo"))


def alone(loader: PluginLoader, path: Path) -> object:
    try:
        return loader.inspect(path).finding
    except PluginError as err:
        return shown(err)


def shown_of(result: object) -> object:
    return shown(result) if isinstance(result, PluginError) else result


def shown(error: PluginError) -> object:
    return type(error), error.to_dict()


@pytest.mark.parametrize("only_trusted", [True, False])
@pytest.mark.parametrize(
    "sizes",
    [(4 << 20, 512, 4096), (1, 512, 4096), (20_000, 3, 7), (4 << 20, 512, 1)],
)
def test_a_scan_finds_what_inspecting_alone_finds(
    zoo: Zoo,
    monkeypatch: pytest.MonkeyPatch,
    only_trusted: bool,
    sizes: tuple[int, int, int],
) -> None:
    chunk_bytes, chunk_files, batch_files = sizes
    monkeypatch.setattr("pluginapi.scan._CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr("pluginapi.scan._CHUNK_FILES", chunk_files)
    monkeypatch.setattr("pluginapi.scan._BATCH_FILES", batch_files)
    loader = PluginLoader(zoo.security(only_trusted=only_trusted))
    paths = [*zoo.paths(), zoo.directory / "missing.py", zoo.directory / "text.txt"]
    random.Random(chunk_bytes).shuffle(paths)
    results = list(loader.inspect_many(paths))
    assert [path for path, _ in results] == paths
    for path, result in results:
        assert shown_of(result) == alone(loader, path), path.name


def test_each_state_is_told_by_its_code(zoo: Zoo) -> None:
    found = dict(PluginLoader(zoo.security()).inspect_many(zoo.paths()))
    codes = {}
    for path, result in found.items():
        error = result if isinstance(result, PluginError) else result.verdict.error()
        codes[path.name] = None if error is None else error.code
    assert codes == zoo.expected


def test_many_verdicts_are_those_of_each_alone(zoo: Zoo) -> None:
    loader, security = PluginLoader(zoo.security()), zoo.security()
    readable = []
    for path in zoo.paths():
        try:
            inspection = loader.inspect(path)
        except PluginError:
            continue
        readable.append((inspection.file, inspection.manifest))
    random.Random(1).shuffle(readable)
    together = security.verify_many(readable)
    assert together == [security.verify(*plugin) for plugin in readable]
    assert len(together) > 40
    assert security.verify_many([]) == []


def test_one_batch_of_signatures_for_the_whole_directory(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    def counted(items: object) -> list[bool]:
        listed = list(items)  # type: ignore[call-overload]
        batches.append(len(listed))
        return verify_batch(listed)

    monkeypatch.setattr("pluginapi.security.checks.verify_batch", counted)
    list(PluginLoader(zoo.security()).inspect_many(zoo.paths()))
    (size,) = batches
    assert size > 30


def test_a_batch_that_refuses_what_verify_accepts_refuses(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pluginapi.security.checks.verify_batch", lambda items: [False for _ in items]
    )
    verdict = PluginLoader(zoo.security()).inspect(zoo.directory / "good-0.py").verdict
    failure = verdict.first_failure
    assert failure is not None
    assert (failure.name, failure.code) == ("signature_valid", "signature.invalid")
    assert "refused among others and accepted alone" in failure.found
    assert isinstance(verdict.error(), InvalidSignature)


def test_an_unreadable_trust_list_ends_the_scan(zoo: Zoo, tmp_path: Path) -> None:
    security = PluginSecurity(SecurityPolicy(trust_list_path=tmp_path / "none.enc"))
    loader = PluginLoader(security)
    with pytest.raises(TrustListError):
        list(loader.inspect_many(zoo.paths()))
    # Nothing is judged, so nothing is asked of the list.
    assert len(list(loader.inspect_many([tmp_path / "none.py"]))) == 1
    assert list(loader.inspect_many([])) == []


def test_no_more_than_two_chunks_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(PluginContents):
        alive = 0
        most = 0

        def __init__(self, *_: object) -> None:
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)

        def __del__(self) -> None:
            Counted.alive -= 1

    monkeypatch.setattr(
        "pluginapi.scan.contents_of",
        lambda path, kind, read: Counted(*contents_of(path, kind, read)),
    )
    monkeypatch.setattr("pluginapi.scan._CHUNK_BYTES", 50_000)
    paths = []
    for number in range(60):
        paths.append(tmp_path / f"p{number}.py")
        paths[-1].write_text(SOURCE.format(name="p", number=number) + "#" * 10_000)
    policy = SecurityPolicy(only_trusted=False, trust_list_path=None)
    results = list(PluginLoader(PluginSecurity(policy)).inspect_many(paths))
    assert all(not isinstance(result, PluginError) for _, result in results)
    assert 5 <= Counted.most <= 10  # Five files a chunk.
    assert Counted.alive == 0


@pytest.mark.parametrize("source", [SOURCE, "x = 1 #{name}{number}", "def ( #{name}{number}"])
def test_the_memory_of_two_chunks_serves_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    made: list[FileReader] = []

    def counted() -> FileReader:
        made.append(make_reader())
        return made[-1]

    monkeypatch.setattr("pluginapi.scan.make_reader", counted)
    monkeypatch.setattr("pluginapi.scan._CHUNK_BYTES", 50_000)
    paths = []
    for number in range(60):
        paths.append(tmp_path / f"p{number}.{'py' if number % 2 else 'so'}")
        text = source.format(name="p", number=number)
        paths[-1].write_text(text + "#" * 10_000)
    policy = SecurityPolicy(only_trusted=False, trust_list_path=None)
    # Kept: an error must not hold on to what it is about.
    results = list(PluginLoader(PluginSecurity(policy)).inspect_many(paths))
    assert len(results) == len(paths)
    assert len(made) == 2
    assert all(reader.is_free for reader in made)


def test_a_scan_goes_on_while_the_bytes_of_a_chunk_are_held(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def holding(path: Path, kind: PluginKind, read: ReadFile) -> PluginContents:
        held.append((path, read.data))
        return contents_of(path, kind, read)

    loader = PluginLoader(zoo.security())
    expected = list(loader.inspect_many(zoo.paths()))
    monkeypatch.setattr("pluginapi.scan.contents_of", holding)
    monkeypatch.setattr("pluginapi.scan._CHUNK_BYTES", 20_000)
    found = list(loader.inspect_many(zoo.paths()))
    assert [shown_of(result) for _, result in found] == [shown_of(item) for _, item in expected]
    assert len(held) > 40
    assert all(bytes(data) == path.read_bytes() for path, data in held)


def test_a_scan_with_the_reader_in_python_finds_the_same(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = PluginLoader(zoo.security())
    paths = [*zoo.paths(), zoo.directory / "missing.py", Path("a\0b.py"), Path("a\ud800.py")]
    expected = list(loader.inspect_many(paths))
    monkeypatch.setattr("pluginapi.scan.make_reader", PythonReader)
    monkeypatch.setattr("pluginapi.scan._CHUNK_BYTES", 20_000)
    found = list(loader.inspect_many(paths))
    assert [path for path, _ in found] == [path for path, _ in expected] == paths
    assert [shown_of(result) for _, result in found] == [shown_of(item) for _, item in expected]


def test_a_signal_ends_the_scan_and_no_thread_stays(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    path = tmp_path / "large.so"
    path.write_bytes(manifested("large"))
    os.truncate(path, 200 << 20)  # Sparse: takes most of a second to hash.
    policy = SecurityPolicy(only_trusted=False, trust_list_path=None)
    loader = PluginLoader(PluginSecurity(policy))
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Stop):
            list(loader.inspect_many([path] * 50))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not [t for t in threading.enumerate() if t.name.startswith("pluginapi-hash")]


def test_an_abandoned_scan_leaves_no_thread(zoo: Zoo) -> None:
    results = PluginLoader(zoo.security()).inspect_many(zoo.paths())
    next(results)
    del results
    assert not [t for t in threading.enumerate() if t.name.startswith("pluginapi-hash")]
