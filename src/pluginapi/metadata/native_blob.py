r"""Find and read the manifest that the C macro puts into the data of a native plugin.

The frame, all integers little-endian:

====== ===== =========================================================
offset bytes
====== ===== =========================================================
0      16    ``\x89PLUGINAPI-MAN\r\n``
16     1     format, 1
17     1     major version of the C ABI
18     1     minor version of the C ABI
19     1     reserved, 0
20     4     length of the JSON in bytes, at most 65 536
24     n     JSON (RFC 8259), UTF-8
24+n   8     ``\x1aPLGEND\n``
====== ===== =========================================================

It is found by its first 16 bytes wherever the linker puts it, so that ELF, PE and Mach-O need no
parser. Exactly one complete frame must exist.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pluginapi._native._reading import find
from pluginapi.errors import InvalidManifest, InvalidResourceLimits
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginKind
from pluginapi.metadata.build import build_manifest
from pluginapi.requirements import (
    FilesystemAccess,
    FilesystemRequirement,
    NetworkAccess,
    NetworkRequirement,
    NetworkTarget,
    PluginRequirements,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pluginapi.manifest import PluginManifest

__all__ = ["MAX_BLOB_JSON_BYTES", "encode_native_blob", "read_native_blob"]

MAX_BLOB_JSON_BYTES: Final = 64 * 1024
"""The largest JSON of a native manifest, 64 KiB."""

_MAGIC: Final = b"\x89PLUGINAPI-MAN\r\n"
_END: Final = b"\x1aPLGEND\n"
_HEADER: Final = struct.Struct("<16sBBBBI")
_FORMAT: Final = 1
_MAX_MAGICS: Final = 64
_MAX_DEPTH: Final = 16

_FIELDS: Final = frozenset(
    {
        "name",
        "version",
        "author",
        "description",
        "resource_limits",
        "requirements",
        "dependencies",
    }
)
_REQUIRED: Final = ("name", "version", "author")
# Every string of the JSON, so that brackets inside text do not count as nesting. A string without
# end matches up to the end of the text: so no byte is looked at twice. The parser refuses it.
_STRINGS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)


def read_native_blob(data: bytes | memoryview) -> PluginManifest:
    """Read the manifest of a native plugin from the bytes of the library.

    Takes time proportional to the size of the library, whatever is in it.

    Raises:
        InvalidManifest: There is no frame (``manifest.missing``), more than one
            (``manifest.ambiguous``), or its content is malformed.
    """
    abi, text = _find(data)
    fields = _parse(text)
    for name in _REQUIRED:
        if name not in fields:
            raise _field(f"the field {name!r} is missing", "name, version and author are required")
    if not fields.keys() <= _FIELDS:
        _only(fields, _FIELDS, "the manifest")
    return build_manifest(
        name=fields["name"],
        version=fields["version"],
        author=fields["author"],
        description=fields.get("description"),
        resource_limits=_limits(fields.get("resource_limits")),
        requirements=_requirements(fields.get("requirements")),
        dependencies=_dependencies(fields.get("dependencies")),
        kind=PluginKind.NATIVE,
        abi=abi,
    )


def encode_native_blob(fields: Mapping[str, Any], *, abi: tuple[int, int] = (1, 0)) -> bytes:
    """Return the framed bytes for a manifest given as JSON values.

    For languages that do not use the C macro: put the result into a constant of the library. The
    result is read back before it is returned, so what would be refused later is refused now.

    Raises:
        InvalidManifest: As `read_native_blob`.
    """
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    blob = _HEADER.pack(_MAGIC, _FORMAT, *abi, 0, len(text)) + text + _END
    read_native_blob(blob)
    return blob


def _find(data: bytes | memoryview) -> tuple[tuple[int, int], bytes]:
    """Return the ABI version and the JSON of the only complete frame."""
    frames: list[tuple[tuple[int, int], bytes]] = []
    defect = None
    at = find(data, _MAGIC)
    for _ in range(_MAX_MAGICS):
        if at < 0:
            break
        found = _frame(data, at)
        if isinstance(found, str):
            defect = defect or f"at byte {at}: {found}"
        else:
            frames.append(found)
        at = find(data, _MAGIC, at + 1)
    if at >= 0 or len(frames) > 1:
        raise InvalidManifest(
            f"the library contains {len(frames) if at < 0 else 'too many'} manifest frames",
            code="manifest.ambiguous",
            hint="use PA_MANIFEST once in the whole library",
        )
    if frames:
        return frames[0]
    if defect is not None:
        raise InvalidManifest(
            f"the manifest frame {defect}",
            hint="build the plugin again with the PA_MANIFEST of this version's pluginapi.h",
        )
    raise InvalidManifest(
        "the library contains no manifest",
        code="manifest.missing",
        hint="add PA_MANIFEST(...) of pluginapi.h to the plugin, and keep the linker from "
        "dropping it",
    )


def _frame(data: bytes | memoryview, at: int) -> tuple[tuple[int, int], bytes] | str:
    """Return the content of the frame at this offset, or what is wrong with it."""
    if at + _HEADER.size > len(data):
        return "the header is cut off"
    _, layout, major, minor, reserved, length = _HEADER.unpack_from(data, at)
    if layout != _FORMAT:
        return f"format {layout}, this version reads {_FORMAT}"
    if reserved:
        return f"the reserved byte is {reserved}"
    if length > MAX_BLOB_JSON_BYTES:
        return f"{length} bytes of JSON, more than {MAX_BLOB_JSON_BYTES}"
    start = at + _HEADER.size
    if data[start + length : start + length + len(_END)] != _END:
        return f"no end mark after {length} bytes of JSON"
    return (major, minor), bytes(data[start : start + length])


def _parse(raw: bytes) -> dict[str, Any]:
    """Parse strict JSON: UTF-8, bounded nesting, no repeated key, no NaN."""
    flat = _parse_flat(raw)
    return _parse_any(raw) if flat is None else flat


def _parse_flat(raw: bytes) -> dict[str, Any] | None:
    """Parse what most manifests are, texts by name, in a fraction of the time.

    None says nothing about the JSON. A repeated key is noticed by its colon: there are as many as
    keys at least.
    """
    try:
        fields = _FLAT.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return fields if raw.count(b":") == len(fields) else None


def _parse_any(raw: bytes) -> dict[str, Any]:
    # So few brackets cannot be nested any deeper.
    if raw.count(b"[") + raw.count(b"{") > _MAX_DEPTH:
        _check_depth(raw)
    try:
        value = _JSON.decode(raw.decode())
    except InvalidManifest:
        raise
    except (ValueError, RecursionError) as err:
        raise InvalidManifest(
            f"the manifest is not JSON in UTF-8: {err}",
            code="manifest.syntax",
            hint='write {"name": "acme.filter", "version": "1.0.0", "author": "Acme"}',
        ) from err
    return _object(value, "the manifest")


def _check_depth(raw: bytes) -> None:
    depth = deepest = 0
    for bracket in re.findall(rb"[][{}]", _STRINGS.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise InvalidManifest(
            f"the JSON of the manifest is nested {deepest} deep, more than {_MAX_DEPTH}",
            code="manifest.too_deep",
            hint="remove what is not a field of the manifest",
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _field(f"the key {key[:80]!r} is given twice", "give every key once")
        result[key] = value
    return result


def _no_constant(name: str) -> Any:
    raise _field(f"{name} is not JSON", "write a whole number")


_FLAT: Final = msgspec.json.Decoder(dict[str, str])
_JSON: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _limits(value: Any) -> ResourceLimits | None:
    if value is None:
        return None
    given = _object(value, "resource_limits")
    _only(given, ResourceLimits.BOUNDS, "resource_limits")
    try:
        return ResourceLimits(**given)
    except InvalidResourceLimits as err:
        raise InvalidManifest(
            f"resource_limits: {err.message}", code=err.code, hint=err.hint, **err.details
        ) from err


def _requirements(value: Any) -> PluginRequirements | None:
    if value is None:
        return None
    given = _object(value, "requirements")
    _only(
        given,
        ("network", "filesystem", "context_read", "context_write", "services"),
        "requirements",
    )
    network = _object(given.get("network", {}), "network")
    _only(network, ("access", "allowed_targets", "listen_ports"), "network")
    files = _object(given.get("filesystem", {}), "filesystem")
    _only(files, ("access", "allowed_paths"), "filesystem")
    targets = _texts(network.get("allowed_targets", []), "allowed_targets")
    return PluginRequirements(
        network=NetworkRequirement(
            NetworkAccess(_choice(network, [item.value for item in NetworkAccess])),
            tuple(map(NetworkTarget.parse, targets)),
            _ports(network.get("listen_ports", [])),
        ),
        filesystem=FilesystemRequirement(
            FilesystemAccess(_choice(files, [item.value for item in FilesystemAccess])),
            _texts(files.get("allowed_paths", []), "allowed_paths"),
        ),
        context_read=_texts(given.get("context_read", []), "context_read"),
        context_write=_texts(given.get("context_write", []), "context_write"),
        services=_texts(given.get("services", []), "services"),
    )


def _dependencies(value: Any) -> dict[str, Any] | None:
    return None if value is None else _object(value, "dependencies")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _field(f"{what} is not a JSON object", "write it in braces: {...}")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _field(f"{what} is not a JSON array of strings", 'write ["...", "..."]')
    return tuple(value)


def _ports(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise _field("listen_ports is not a JSON array of numbers", "write [8080]")
    return tuple(value)


def _choice(given: dict[str, Any], names: list[str]) -> str:
    access = given.get("access", "none")
    if access not in names:
        raise _field(f"access is {str(access)[:80]!r}", f"write one of {', '.join(names)}")
    return str(access)


def _only(given: Mapping[str, Any], allowed: Any, what: str) -> None:
    unknown = next((key for key in given if key not in allowed), None)
    if unknown is not None:
        raise _field(
            f"{what} has the unknown key {unknown[:80]!r}",
            f"the keys are {', '.join(sorted(allowed))}",
        )


def _field(message: str, hint: str) -> InvalidManifest:
    return InvalidManifest(message, code="manifest.field", hint=hint)
