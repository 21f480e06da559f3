"""The manifest frame in native libraries."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import FIELDS, elf, native
from pluginapi.errors import InvalidManifest, PluginError
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginDependency, PluginKind, PluginManifest
from pluginapi.metadata import native_blob, read_manifest
from pluginapi.metadata.native_blob import (
    MAX_BLOB_JSON_BYTES,
    encode_native_blob,
    read_native_blob,
)
from pluginapi.plugin_file import PluginFile
from pluginapi.requirements import (
    FilesystemRequirement,
    NetworkRequirement,
    NetworkTarget,
    PluginRequirements,
)
from pluginapi.version import PluginVersion

MAGIC = b"\x89PLUGINAPI-MAN\r\n"
END = b"\x1aPLGEND\n"


def frame(
    text: bytes, *, header: tuple[int, int, int, int] = (1, 1, 0, 0), end: bytes = END
) -> bytes:
    return MAGIC + bytes(header) + struct.pack("<I", len(text)) + text + end


def refused(data: bytes) -> InvalidManifest:
    with pytest.raises(InvalidManifest) as caught:
        read_native_blob(data)
    assert caught.value.hint
    return caught.value


def with_fields(**fields: Any) -> bytes:
    return frame(json.dumps({**FIELDS, **fields}).encode())


def test_reads_every_field() -> None:
    manifest = read_native_blob(
        b"code"
        + with_fields(
            description="Blocks things.",
            resource_limits={"max_threads": 2, "max_heap_bytes": 1 << 20},
            requirements={
                "network": {
                    "access": "restricted",
                    "allowed_targets": [
                        "api.example.com:443",
                        "*.example.org",
                        "192.0.2.0/24",
                        "[2001:db8::7]:8080",
                        "2001:db8::8",
                    ],
                    "listen_ports": [8080],
                },
                "filesystem": {"access": "read_only", "allowed_paths": ["/data"]},
                "context_read": ["Logger"],
                "context_write": ["Configuration"],
                "services": ["database.fetch"],
            },
            dependencies={
                "acme.base": ">=1,<2",
                "acme.more": {"version_range": ">=2", "optional": True},
                "acme.any": {},
            },
        )
        + b"code"
    )
    assert manifest == PluginManifest(
        name="acme.guard",
        version=PluginVersion(1, 2, 3),
        author="Acme",
        kind=PluginKind.NATIVE,
        description="Blocks things.",
        resource_limits=ResourceLimits(max_threads=2, max_heap_bytes=1 << 20),
        requirements=PluginRequirements(
            network=NetworkRequirement.restricted(
                NetworkTarget("api.example.com", 443),
                NetworkTarget("*.example.org"),
                NetworkTarget("192.0.2.0/24"),
                NetworkTarget("2001:db8::7", 8080),
                NetworkTarget("2001:db8::8"),
                listen_ports=(8080,),
            ),
            filesystem=FilesystemRequirement.read_only("/data"),
            context_read=("Logger",),
            context_write=("Configuration",),
            services=("database.fetch",),
        ),
        dependencies=(
            PluginDependency("acme.base", ">=1,<2"),
            PluginDependency("acme.more", ">=2", optional=True),
            PluginDependency("acme.any"),
        ),
        abi=(1, 0),
    )


def test_minimal_manifest_through_a_file() -> None:
    manifest = read_manifest(PluginFile.from_bytes("guard.so", native()))
    assert manifest.to_dict()["requirements"] == PluginRequirements().to_dict()
    assert (manifest.abi, manifest.entry, manifest.resource_limits) == ((1, 0), None, None)
    nulls = with_fields(
        description=None, resource_limits=None, requirements=None, dependencies=None
    )
    assert read_native_blob(nulls) == manifest


def test_the_abi_is_reported_not_judged() -> None:
    blob = frame(json.dumps(FIELDS).encode(), header=(1, 9, 7, 0))
    assert read_native_blob(blob).abi == (9, 7)
    assert read_native_blob(encode_native_blob(FIELDS, abi=(2, 3))).abi == (2, 3)


def test_none_and_several() -> None:
    assert refused(elf()).code == "manifest.missing"
    assert refused(native() + native()).code == "manifest.ambiguous"
    other = with_fields(name="acme.other")
    assert refused(native() + other).code == "manifest.ambiguous"


def test_a_magic_number_alone_does_not_hide_the_frame() -> None:
    blob = with_fields()
    assert read_native_blob(MAGIC + blob + MAGIC).name == "acme.guard"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (MAGIC, "cut off"),
        (frame(b"{}", header=(2, 1, 0, 0)), "format 2"),
        (frame(b"{}", header=(1, 1, 0, 1)), "reserved byte"),
        (frame(b" " * (MAX_BLOB_JSON_BYTES + 1)), "more than 65536"),
        (frame(b"{}", end=b"no  end"), "no end mark"),
        (with_fields()[:-1], "no end mark"),
    ],
)
def test_damaged_frame_says_where(data: bytes, words: str) -> None:
    err = refused(b"abc" + data)
    assert err.code == "manifest.invalid"
    assert words in str(err)
    assert "at byte 3" in str(err)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "manifest.syntax"),
        (b"{", "manifest.syntax"),
        (b'{"name": "', "manifest.syntax"),
        (b'{"name": "\\', "manifest.syntax"),
        (b'{"name": "\xff"}', "manifest.syntax"),
        (b'{"name": "a"} x', "manifest.syntax"),
        (b"\xef\xbb\xbf{}", "manifest.syntax"),
        (b'{"a": ' + b"9" * 5000 + b"}", "manifest.syntax"),
        (b"[]", "manifest.field"),
        (b"null", "manifest.field"),
        (b'{"name": NaN}', "manifest.field"),
        (b'{"name": "a", "name": "b"}', "manifest.field"),
        (b"[" * 17 + b"]" * 17, "manifest.too_deep"),
        (b"[" * 65536, "manifest.too_deep"),
        (b'{"a":' * 10000, "manifest.too_deep"),
        (b'{"name": "a", "version": "1.0.0"}', "manifest.field"),
        (b'{"name": "\\ud800", "version": "1.0.0", "author": "A"}', "manifest.name"),
        (b'{"name": "a", "version": "\\ud800", "author": "A"}', "manifest.version"),
    ],
)
def test_json_is_read_strictly(text: bytes, code: str) -> None:
    assert refused(frame(text)).code == code


TEXTS = st.text(max_size=8) | st.sampled_from(['":', '"', "\\", "a:b", "{", "\x00", "\ud800"])


@given(
    st.lists(st.tuples(TEXTS, TEXTS | st.none() | st.integers() | st.floats()), max_size=6),
    st.sampled_from(["%s:%s", "%s :%s", '%s:%s,"a":1', "%s:%s}"]),
    st.booleans(),
)
def test_the_short_way_through_json_gives_what_the_long_one_gives(
    pairs: list[tuple[str, Any]], form: str, plain: bool
) -> None:
    items = [form % (json.dumps(k), json.dumps(v, ensure_ascii=plain)) for k, v in pairs]
    raw = "{" + ",".join(items) + "}"
    data = raw.encode(errors="surrogatepass")
    short = native_blob._parse_flat(data)
    if short is not None:
        assert short == native_blob._parse_any(data)


def test_most_manifests_take_the_short_way() -> None:
    raw = json.dumps({"name": "acme.a", "version": "1.0.0", "author": "A"}).encode()
    assert native_blob._parse_flat(raw) == json.loads(raw)
    assert native_blob._parse_flat(b'{"name":"a","name":"b"}') is None


def test_brackets_in_text_are_no_nesting() -> None:
    text = "[{" * 100 + '\\"[['
    assert read_native_blob(with_fields(description=text)).description == text


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"color": "red"}, "manifest.field"),
        ({"name": "Bad Name"}, "manifest.name"),
        ({"name": 5}, "manifest.name"),
        ({"version": "1.0"}, "manifest.version"),
        ({"version": 1}, "manifest.field"),
        ({"author": ""}, "manifest.invalid"),
        ({"description": 5}, "manifest.invalid"),
        ({"resource_limits": []}, "manifest.field"),
        ({"resource_limits": {"max_tea": 1}}, "manifest.field"),
        ({"resource_limits": {"max_threads": 0}}, "limits.invalid"),
        ({"resource_limits": {"max_threads": 1.5}}, "limits.invalid"),
        ({"resource_limits": {"max_threads": True}}, "limits.invalid"),
        ({"requirements": "all"}, "manifest.field"),
        ({"requirements": {"gpu": {}}}, "manifest.field"),
        ({"requirements": {"network": {"access": "some"}}}, "manifest.field"),
        ({"requirements": {"network": {"access": []}}}, "manifest.field"),
        ({"requirements": {"network": {"access": "restricted"}}}, "manifest.requirement"),
        (
            {"requirements": {"network": {"access": "none", "listen_ports": [80]}}},
            "manifest.requirement",
        ),
        (
            {"requirements": {"network": {"access": "restricted", "listen_ports": [0]}}},
            "manifest.requirement",
        ),
        (
            {"requirements": {"network": {"access": "restricted", "listen_ports": ["80"]}}},
            "manifest.field",
        ),
        ({"requirements": {"network": {"allowed_targets": "x"}}}, "manifest.field"),
        ({"requirements": {"network": {"allowed_targets": ["a:b"]}}}, "manifest.requirement"),
        ({"requirements": {"network": {"allowed_targets": ["a:999999"]}}}, "manifest.requirement"),
        ({"requirements": {"network": {"allowed_targets": ["!"]}}}, "manifest.requirement"),
        ({"requirements": {"filesystem": {"allowed_paths": [1]}}}, "manifest.field"),
        ({"requirements": {"context_read": "Logger"}}, "manifest.field"),
        ({"requirements": {"services": "database.fetch"}}, "manifest.field"),
        ({"requirements": {"services": ["database"]}}, "manifest.requirement"),
        ({"dependencies": ["acme.base"]}, "manifest.field"),
        ({"dependencies": {"acme.base": 1}}, "manifest.field"),
        ({"dependencies": {"acme.base": "what"}}, "manifest.version"),
        ({"dependencies": {"acme.base": ">=" + "9" * 5000}}, "manifest.field"),
        ({"dependencies": {"acme.base": {"optional": 1}}}, "manifest.field"),
        ({"dependencies": {"acme.base": {"from": "x"}}}, "manifest.field"),
        ({"dependencies": {"acme.guard": ""}}, "manifest.invalid"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], code: str) -> None:
    assert refused(with_fields(**fields)).code == code


def test_200_mb_of_magic_numbers_take_linear_time() -> None:
    # The search ends at the 65th candidate; the positive control has its only frame at the end.
    assert refused(MAGIC * (200_000_000 // len(MAGIC))).code == "manifest.ambiguous"
    almost = MAGIC[:-1] * (50_000_000 // len(MAGIC[:-1]))
    assert refused(almost).code == "manifest.missing"
    assert read_native_blob(almost + with_fields()).name == "acme.guard"


def test_strings_without_end_take_linear_time() -> None:
    assert refused(frame(b'"\\' * 32_000)).code == "manifest.syntax"
    assert refused(frame(b'\\"' * 32_000)).code == "manifest.syntax"
    keys = ",".join(f'"{number}":1' for number in range(6000))
    assert refused(frame(f"{{{keys}}}".encode())).code == "manifest.field"


def test_encoding_refuses_what_reading_would() -> None:
    with pytest.raises(InvalidManifest):
        encode_native_blob({**FIELDS, "color": "red"})
    assert read_native_blob(encode_native_blob({**FIELDS, "author": "Ünal"})).author == "Ünal"


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes(data: bytes, framed: bool) -> None:
    try:
        manifest = read_native_blob(frame(data) if framed else MAGIC + data)
    except PluginError as err:
        assert err.hint  # noqa: PT017 - a value or a refusal
    else:
        assert isinstance(manifest, PluginManifest)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from(["description", "resource_limits", "requirements", "dependencies"]),
        json_values
        | st.dictionaries(st.sampled_from(["network", "max_threads", "a"]), json_values),
    )
)
def test_any_json(fields: dict[str, Any]) -> None:
    try:
        manifest = read_native_blob(with_fields(**fields))
    except PluginError as err:
        assert err.hint  # noqa: PT017 - a value or a refusal
    else:
        assert manifest.name == "acme.guard"
