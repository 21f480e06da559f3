"""Versions of plugins: three-part semantic versions with PEP 440 ranges."""

from __future__ import annotations

from functools import lru_cache, total_ordering
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from pluginapi.errors import InvalidManifest

__all__ = ["PluginVersion", "check_version", "parse_version_range"]

_RELEASE_PARTS: Final = 3
_MAX_VERSION_CHARS: Final = 64
_MAX_RANGE_CHARS: Final = 256
_MAX_PART: Final = 2**32 - 1


@total_ordering
class PluginVersion:
    """Hold one version, ``major.minor.patch`` with an optional pre-release and build part.

    Ordering follows PEP 440, which agrees with Semantic Versioning 2.0.0 for the forms accepted
    here: ``1.0.0-rc.1 < 1.0.0``. Instances are immutable, hashable and safe to share between
    threads.
    """

    __slots__ = ("_text", "_version")

    def __init__(self, major: int, minor: int, patch: int) -> None:
        self._text = f"{major}.{minor}.{patch}"
        self._version = _parse(self._text)

    @classmethod
    def parse(cls, text: str) -> PluginVersion:
        """Read a version from text.

        Raises:
            InvalidManifest: With code ``manifest.version`` when the text has not exactly three
                numbers of 32 bits each, or a pre-release part that PEP 440 does not know.
        """
        version = _parse(text)
        self = cls.__new__(cls)
        self._version = version
        self._text = text
        return self

    from_string = parse

    @property
    def major(self) -> int:
        """The first number: changes when the plugin breaks its users."""
        return self._version.major

    @property
    def minor(self) -> int:
        """The second number."""
        return self._version.minor

    @property
    def patch(self) -> int:
        """The third number."""
        return self._version.micro

    def matches(self, version_range: str) -> bool:
        """Tell whether this version lies in a range such as ``>=1.2,<3``.

        Pre-releases match only a range that names one, as PEP 440 says.
        """
        allowed = parse_version_range(version_range)
        # Said outright: by default some releases of packaging let a lone pre-release pass.
        return allowed.contains(self._version, prereleases=bool(allowed.prereleases))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"PluginVersion.parse({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PluginVersion) and self._version == other._version

    def __lt__(self, other: PluginVersion) -> bool:
        if not isinstance(other, PluginVersion):
            return NotImplemented
        return self._version < other._version

    def __hash__(self) -> int:
        return hash(self._version)


def check_version(text: str) -> None:
    """Refuse a text that `PluginVersion.parse` does not read.

    Raises:
        InvalidManifest: With code ``manifest.version``.
    """
    _parse(text)


def parse_version_range(text: str) -> SpecifierSet:
    """Read a version range such as ``>=2.1,<3`` (PEP 440); an empty text matches everything.

    Raises:
        InvalidManifest: With code ``manifest.version`` when it is malformed, or longer than 256
            characters.
    """
    if not isinstance(text, str) or len(text) > _MAX_RANGE_CHARS:
        raise InvalidManifest(
            f"a version range is not a text of at most {_MAX_RANGE_CHARS} characters",
            code="manifest.version",
            hint="write it as comparisons joined by commas, for example '>=2.1,<3'",
        )
    try:
        return SpecifierSet(text)
    except InvalidSpecifier as err:
        raise InvalidManifest(
            f"version range {text!r} cannot be read",
            code="manifest.version",
            hint="write it as comparisons joined by commas, for example '>=2.1,<3'",
        ) from err


def _parse(text: object) -> Version:
    if not isinstance(text, str) or len(text) > _MAX_VERSION_CHARS:
        raise _invalid(str(text)[:_MAX_VERSION_CHARS])
    return _parse_short(text)


# The same few versions come again and again: in a manifest, its signed statement and its entry in
# the trust list, and from one release of many plugins.
@lru_cache(maxsize=1024)
def _parse_short(text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion as err:
        raise _invalid(text) from err
    release = version.release
    if len(release) != _RELEASE_PARTS or version.epoch or max(release) > _MAX_PART:
        raise _invalid(text)
    return version


def _invalid(text: str) -> InvalidManifest:
    return InvalidManifest(
        f"version {text!r} is not of the form MAJOR.MINOR.PATCH",
        code="manifest.version",
        hint="write three numbers, for example '1.4.0' or '1.4.0-rc.1'",
    )
