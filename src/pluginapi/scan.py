"""Read, hash, verify and judge many plugin files as one pipeline.

The files are read in order, a few MiB ahead of what is being hashed. Other threads hash what was
read, many files at once, while this one reads manifests and decodes signatures; then the
signatures of all files are verified in one batch. What comes out for a file is what
`PluginLoader.inspect` finds of it, except for its bytes, which are gone by then: memory does not
grow with the size of the directory by more than what is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from pluginapi.errors import PluginError
from pluginapi.manifest import PluginKind, PluginManifest
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginContents, contents_of, plugin_kind
from pluginapi.reading import ReadFile, make_reader
from pluginapi.security.hashing import HashingPool, PendingHashes
from pluginapi.security.verdict import Verdict

if TYPE_CHECKING:
    from pluginapi.security import PluginSecurity
    from pluginapi.security.checks import Judging

__all__ = ["Finding", "scan_files"]

# A chunk ends with the file that takes it over this. Two are in memory at a time: they stay in the
# caches between reading and hashing, and use the memory of those before them.
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_CHUNK_FILES: Final = 512
# More files, or signature files of more bytes, are verified as several batches: what is kept of
# them meanwhile is bounded, and a larger batch costs no less for each.
_BATCH_FILES: Final = 4096
_BATCH_ENVELOPE_BYTES: Final = 16 * 1024 * 1024


class Finding(msgspec.Struct, frozen=True, gc=False):
    """Hold what is known of a plugin file whose bytes were read, judged and let go.

    Attributes:
        path: Where the bytes were read from.
        sha3_512: The SHA3-512 of those bytes, 128 lower-case hexadecimal digits.
        size: How many they were.
        modified: Time of the last change of the file in seconds since the epoch.
        manifest: What the plugin says about itself.
        verdict: Whether it may be loaded, and why.
    """

    path: Path
    sha3_512: str
    size: int
    modified: float
    manifest: PluginManifest
    verdict: Verdict


class _Hashed(msgspec.Struct, frozen=True, gc=False):
    """A file between hash and verdict; a `VerifiableFile`."""

    path: Path
    sha3_512: str
    size: int
    envelope: bytes | None
    modified: float
    manifest: PluginManifest


_Read: TypeAlias = "tuple[Path, PluginContents | PluginError]"
# The place as text is made once; a path whose suffix is no plugin's has none and is not opened.
_Named: TypeAlias = "tuple[Path, str, PluginKind] | tuple[Path, None, PluginError]"


def scan_files(
    paths: Iterable[Path], security: PluginSecurity
) -> Iterator[tuple[Path, Finding | PluginError]]:
    """Give for each path, in their order, what was found or the error that refuses the file.

    An error of one file does not keep the others from being read. No byte of any is run. Closing
    the iterator, or an exception in the calling thread, ends the work of the other threads.

    Raises:
        TrustListError: When the trust list cannot be read: no file can be judged then.
    """
    batch = _Batch(security)
    with HashingPool() as pool:
        earlier: _Chunk | None = None
        for read in _read_in_chunks(paths, security.policy.max_plugin_bytes):
            chunk = _Chunk(read, pool)
            del read  # Its memory is used again when `chunk` and `earlier` have let it go.
            if earlier is not None:
                batch.add(earlier)
            earlier = chunk
            if batch.is_full:
                yield from batch.judged()
        if earlier is not None:
            batch.add(earlier)
    yield from batch.judged()


def _read_in_chunks(paths: Iterable[Path], max_bytes: int) -> Iterator[list[_Read]]:
    named = map(_named, paths)
    waiting: list[_Named] = []
    readers = [make_reader(), make_reader()]
    while waiting := [*waiting, *islice(named, _CHUNK_FILES - len(waiting))]:
        # The reader of the chunk before the last. What held on to its files is gone, unless
        # whoever asked for the last one kept it.
        reader = readers.pop(0)
        readers.append(reader if reader.is_free else make_reader())
        places = [place for _, place, _ in waiting if place is not None]
        read = readers[-1].read(places, max_bytes, _CHUNK_BYTES)
        chunk = list(_contents(waiting, iter(read)))
        del waiting[: len(chunk)], read
        yield chunk
        del chunk


def _named(path: Path) -> _Named:
    try:
        return path, str(path), plugin_kind(path)
    except PluginError as err:
        return path, None, _kept(err)


def _contents(named: Iterable[_Named], read: Iterator[ReadFile | PluginError]) -> Iterator[_Read]:
    """Give for each path what was read of it, as far as was read."""
    for path, _, kind in named:
        if isinstance(kind, PluginError):
            yield path, kind
            continue
        found = next(read, None)
        if found is None:
            return
        if isinstance(found, PluginError):
            yield path, _kept(found)
            continue
        try:
            yield path, contents_of(path, kind, found)
        except PluginError as err:
            yield path, _kept(err)


def _kept(error: PluginError) -> PluginError:
    """Take the frames out of an error that is kept: they hold on to the bytes of the file."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


class _Chunk:
    """Files whose hashes are under way and whose manifests were read meanwhile."""

    def __init__(self, read: list[_Read], pool: HashingPool) -> None:
        self._read = read
        self._hashes: PendingHashes = pool.begin(
            contents.data for _, contents in read if isinstance(contents, PluginContents)
        )
        self._manifests = [
            _manifest(contents) if isinstance(contents, PluginContents) else contents
            for _, contents in read
        ]

    def results(self) -> Iterator[tuple[Path, _Hashed | PluginError]]:
        hashes = iter(self._hashes.result())
        for (path, contents), manifest in zip(self._read, self._manifests, strict=True):
            if isinstance(contents, PluginError):
                yield path, contents
                continue
            digest = next(hashes)
            if isinstance(manifest, PluginError):
                yield path, manifest
                continue
            size = len(contents.data)
            envelope, modified = contents.envelope, contents.modified
            yield path, _Hashed(path, digest, size, envelope, modified, manifest)


def _manifest(contents: PluginContents) -> PluginManifest | PluginError:
    try:
        return read_manifest(contents)
    except PluginError as err:
        return _kept(err)


class _Batch:
    """Files that wait for the verification of their signatures."""

    def __init__(self, security: PluginSecurity) -> None:
        self._security = security
        self._results: list[tuple[Path, _Hashed | PluginError]] = []
        self._judging: Judging | None = None
        self._envelope_bytes = 0

    @property
    def is_full(self) -> bool:
        return len(self._results) >= _BATCH_FILES or self._envelope_bytes >= _BATCH_ENVELOPE_BYTES

    def add(self, chunk: _Chunk) -> None:
        for path, result in chunk.results():
            self._results.append((path, result))
            if isinstance(result, PluginError):
                continue
            if self._judging is None:
                self._judging = self._security.judging()
            self._judging.add(result, result.manifest)
            self._envelope_bytes += len(result.envelope or b"")

    def judged(self) -> Iterator[tuple[Path, Finding | PluginError]]:
        results, judging = self._results, self._judging
        self._results, self._judging, self._envelope_bytes = [], None, 0
        verdicts = iter([] if judging is None else judging.verdicts())
        for path, result in results:
            if isinstance(result, PluginError):
                yield path, result
            else:
                yield (
                    path,
                    Finding(
                        path,
                        result.sha3_512,
                        result.size,
                        result.modified,
                        result.manifest,
                        next(verdicts),
                    ),
                )
