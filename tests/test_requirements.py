from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import InvalidManifest
from pluginapi.requirements import (
    FilesystemAccess,
    FilesystemRequirement,
    NetworkAccess,
    NetworkRequirement,
    NetworkTarget,
    PluginRequirements,
)

HOST = NetworkTarget.domain("api.example.com")


def refused(make: Any, *arguments: Any, **keywords: Any) -> None:
    with pytest.raises(InvalidManifest) as caught:
        make(*arguments, **keywords)
    assert caught.value.code == "manifest.requirement"
    assert caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "*.example.com",
        "localhost",
        "a-b.example.com",
        "_dmarc.example.com",
        "xn--bcher-kva.example",
        "a" * 63 + ".com",
        ".".join(["a" * 49] * 5),
    ],
)
def test_domains(name: str) -> None:
    assert str(NetworkTarget.domain(name)) == name
    assert NetworkTarget.domain(name.upper() + ".") == NetworkTarget.domain(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*",
        "*.",
        "a..b",
        ".example.com",
        "-a.example.com",
        "a-.example.com",
        "a b.com",
        "a/b.com",
        "http://example.com",
        "user@example.com",
        "example.com:443",
        "a.*.com",
        "**.com",
        "300.300.300.300",
        "1.2.3",
        "a" * 64 + ".com",
        ".".join(["a" * 63] * 4),
        "a\n.com",
        "a\0.com",
    ],
)
def test_other_domains_are_refused(name: str) -> None:
    refused(NetworkTarget.domain, name)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("192.0.2.7", "192.0.2.7"), ("2001:DB8::7", "2001:db8::7"), ("::1", "::1")],
)
def test_addresses(text: str, normal: str) -> None:
    assert str(NetworkTarget.ip(text)) == normal


@pytest.mark.parametrize("text", ["", "192.0.2", "192.0.2.256", "192.0.2.0/24", "a.com", "::g"])
def test_other_addresses_are_refused(text: str) -> None:
    refused(NetworkTarget.ip, text)


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("bücher.example", "xn--bcher-kva.example"),  # RFC 3492, and registered since 2003
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("straße.de", "xn--strae-oqa.de"),  # IDNA 2008 keeps it, IDNA 2003 made it "strasse"
        ("faß。de", "xn--fa-hia.de"),  # UTS 46 maps the ideographic full stop
    ],
)
def test_names_in_other_scripts_become_what_the_network_carries(name: str, normal: str) -> None:
    assert NetworkTarget.domain(name).host == normal
    assert NetworkTarget.parse(name).host == normal


@pytest.mark.parametrize(
    "name", ["☃☃.*", "a\u200db.com", "*.\u3002", "ü" * 64 + ".com", "\ud800.de"]
)
def test_names_that_no_registry_takes_are_refused(name: str) -> None:
    refused(NetworkTarget.domain, name)


def test_addresses_from_one_to_another() -> None:
    target = NetworkTarget.range("192.0.2.7", "192.0.2.9", 53, "udp")
    assert str(target) == "192.0.2.7-192.0.2.9:53/udp"
    assert NetworkTarget.parse(str(target)) == target
    assert [str(each) for each in target.addresses or ()] == ["192.0.2.7", "192.0.2.9"]
    for first, last in (
        ("192.0.2.9", "192.0.2.7"),
        ("192.0.2.9", "::1"),
        ("a", "b"),
        ("fe80::1%eth0", "fe80::2%eth0"),
    ):
        refused(NetworkTarget.range, first, last)


@pytest.mark.parametrize(
    "text",
    [
        "example.com",
        "*.example.com:443",
        "example.com:53/udp",
        "192.0.2.7/udp",
        "192.0.2.0/24",
        "192.0.2.0/24:443",
        "[2001:db8::7]:443",
        "2001:db8::/32",
        "[2001:db8::/32]:443/udp",
        "2001:db8::1-2001:db8::f",
        "[2001:db8::1-2001:db8::f]:1",
        "1-2.example",
    ],
)
def test_what_a_target_is_written_as_is_read_back(text: str) -> None:
    target = NetworkTarget.parse(text)
    assert str(target) == text
    assert NetworkTarget.parse(str(target)) == target
    assert NetworkTarget(target.host, target.port, target.protocol) == target
    assert target.is_domain == ("example" in text)


@pytest.mark.parametrize(
    "text",
    ["", ":1", "a:b", "a:", "a:0", "a:65536", "a:1:2", "[::1]", "[::1]:", "[a", "a/tcp", "/udp", 3],
)
def test_other_texts_are_no_targets(text: Any) -> None:
    refused(NetworkTarget.parse, text)


def test_a_protocol_is_one_of_two() -> None:
    refused(NetworkTarget, "example.com", 1, "sctp")


def test_ranges() -> None:
    assert str(NetworkTarget.cidr("192.0.2.0/24")) == "192.0.2.0/24"
    assert str(NetworkTarget.cidr("2001:DB8::/32", 443)) == "[2001:db8::/32]:443"
    for wrong in ("192.0.2.1/24", "192.0.2.0/33", "", "example.com/24"):
        refused(NetworkTarget.cidr, wrong)


@pytest.mark.parametrize("port", [1, 443, 65_535])
def test_ports(port: int) -> None:
    assert str(NetworkTarget.domain("example.com", port)) == f"example.com:{port}"
    assert str(NetworkTarget.ip("::1", port)) == f"[::1]:{port}"


@pytest.mark.parametrize("port", [0, -1, 65_536, True, "443", 1.0])
def test_other_ports_are_refused(port: Any) -> None:
    refused(NetworkTarget.domain, "example.com", port)


@pytest.mark.parametrize("host", [None, 3, b"example.com", "Example.com"])
def test_the_plain_constructor_takes_normalised_text_only(host: Any) -> None:
    refused(NetworkTarget, host)
    assert NetworkTarget("example.com") == NetworkTarget.domain("Example.com")


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_one_clear_error(text: str) -> None:
    for make in (NetworkTarget.domain, NetworkTarget.ip, NetworkTarget.cidr):
        try:
            target = make(text)
        except InvalidManifest:
            continue
        assert NetworkTarget(target.host) == target
    try:
        target = NetworkTarget.parse(text)
    except InvalidManifest:
        return
    assert NetworkTarget.parse(str(target)) == target


def test_network_access_and_targets_go_together() -> None:
    assert NetworkRequirement.none().access is NetworkAccess.NONE
    assert NetworkRequirement.full().access is NetworkAccess.FULL
    assert NetworkRequirement.restricted(HOST).allowed_targets == (HOST,)
    refused(NetworkRequirement.restricted)
    refused(NetworkRequirement, NetworkAccess.NONE, (HOST,))
    refused(NetworkRequirement, NetworkAccess.FULL, (HOST,))
    refused(NetworkRequirement.restricted, "api.example.com")


def test_the_number_of_targets_is_bounded() -> None:
    assert len(NetworkRequirement.restricted(*[HOST] * 256).allowed_targets) == 256
    refused(NetworkRequirement.restricted, *[HOST] * 257)


@pytest.mark.parametrize("path", ["/", "/data", "/data/a b", "/data/..a", "/" + "x" * 4095])
def test_paths(path: str) -> None:
    assert FilesystemRequirement.read_only(path).allowed_paths == (path,)
    assert FilesystemRequirement.read_write(path).access is FilesystemAccess.READ_WRITE


@pytest.mark.parametrize(
    "path",
    ["", "data", "./data", "~/data", "/data/../etc", "/..", "/a\0b", "/" + "x" * 4096, None, b"/a"],
)
def test_other_paths_are_refused(path: Any) -> None:
    refused(FilesystemRequirement.read_only, path)
    refused(FilesystemRequirement.read_write, path)


def test_file_access_and_paths_go_together() -> None:
    assert FilesystemRequirement.none().allowed_paths == ()
    refused(FilesystemRequirement.read_only)
    refused(FilesystemRequirement.read_write)
    refused(FilesystemRequirement, FilesystemAccess.NONE, ("/data",))
    assert len(FilesystemRequirement.read_only(*["/a"] * 256).allowed_paths) == 256
    refused(FilesystemRequirement.read_only, *["/a"] * 257)


def test_the_default_asks_for_nothing() -> None:
    assert PluginRequirements().to_dict() == {
        "network": {"access": "none", "allowed_targets": [], "listen_ports": []},
        "filesystem": {"access": "none", "allowed_paths": []},
        "context_read": [],
        "context_write": [],
        "services": [],
    }


def test_requirements_as_plain_values() -> None:
    requirements = PluginRequirements(
        network=NetworkRequirement.restricted(NetworkTarget.domain("example.com", 443)),
        filesystem=FilesystemRequirement.read_only("/data"),
        context_read=("Logger",),
        context_write=("acme.count",),
        services=["database.fetch"],  # type: ignore[arg-type]
    )
    assert requirements.to_dict() == {
        "network": {
            "access": "restricted",
            "allowed_targets": ["example.com:443"],
            "listen_ports": [],
        },
        "filesystem": {"access": "read_only", "allowed_paths": ["/data"]},
        "context_read": ["Logger"],
        "context_write": ["acme.count"],
        "services": ["database.fetch"],
    }


@pytest.mark.parametrize("name", ["network", "filesystem"])
def test_requirements_of_another_type_are_refused(name: str) -> None:
    refused(PluginRequirements, **{name: None})
    refused(PluginRequirements, **{name: "full"})


@pytest.mark.parametrize("name", ["context_read", "context_write"])
def test_context_keys_are_a_bounded_list_of_names(name: str) -> None:
    names = tuple(f"key{index}" for index in range(256))
    assert getattr(PluginRequirements(**{name: list(names)}), name) == names  # type: ignore[arg-type]
    for wrong in ((*names, "more"), ("",), (3,)):
        refused(PluginRequirements, **{name: wrong})


def test_services_are_a_bounded_list_of_methods() -> None:
    names = tuple(f"acme.cache-{index}.get_{index}" for index in range(256))
    assert PluginRequirements(services=names).services == names
    assert PluginRequirements(services=("a.b",)).services == ("a.b",)
    for wrong in (
        (*names, "a.b"),
        "a.b",
        (3,),
        ("a",),
        ("a.",),
        (".b",),
        ("a.b.",),
        ("a..b",),
        ("a._b",),
        ("a.b c",),
        ("a.b\n",),
        ("a.*",),
        ("a.b-c",),
        (f"{'a' * 129}.b",),
        (f"a.{'b' * 65}",),
    ):
        refused(PluginRequirements, services=wrong)
