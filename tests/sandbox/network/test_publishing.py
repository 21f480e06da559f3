"""How published ports are written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi import NetworkRequirement, PluginRequirements
from pluginapi.errors import InvalidManifest, SandboxConfigError, SandboxError
from pluginapi.sandbox.config import NetworkConfig, NetworkMode, SandboxConfig
from pluginapi.sandbox.grants import granted
from pluginapi.sandbox.network.publishing import PublishedPort, listening_socket


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080", PublishedPort(8080, "127.0.0.1", 8080)),
        ("0.0.0.0:8080", PublishedPort(8080, "0.0.0.0", 8080)),  # noqa: S104
        ("192.0.2.1:80:8080", PublishedPort(8080, "192.0.2.1", 80)),
        ("[::1]:8080", PublishedPort(8080, "::1", 8080)),
        ("[2001:DB8::1]:80:8080", PublishedPort(8080, "2001:db8::1", 80)),
    ],
)
def test_forms(text: str, port: PublishedPort) -> None:
    assert PublishedPort.parse(text) == port
    assert PublishedPort.parse(str(port)) == port


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "65536",
        "8080 ",
        "-1",
        "::1:80",
        "[::1]",
        "[::1:80",
        "1.2.3:80",
        "1.2.3.4:0:80",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(SandboxConfigError, match="published port"):
        PublishedPort.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_port_or_one_error(text: str) -> None:
    try:
        port = PublishedPort.parse(text)
    except SandboxConfigError:
        return
    assert PublishedPort.parse(str(port)) == port


@given(st.ip_addresses(), st.integers(1, 65535), st.integers(1, 65535))
def test_every_port_reads_back(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, host_port: int
) -> None:
    made = PublishedPort(port, str(address), host_port)
    assert PublishedPort.parse(str(made)) == made


def test_a_listening_socket_listens_on_its_address_alone() -> None:
    with listening_socket(PublishedPort(1, "127.0.0.1", 0x7FFF)) as made:
        assert made.getsockname() == ("127.0.0.1", 0x7FFF)
        with pytest.raises(OSError, match="in use"):
            listening_socket(PublishedPort(1, "127.0.0.1", 0x7FFF))


def test_ports_are_granted_as_asked_for_and_offered() -> None:
    offer = SandboxConfig(
        network=NetworkConfig(
            mode=NetworkMode.RESTRICTED, publish=(PublishedPort(80), PublishedPort(81))
        )
    )
    needs = PluginRequirements(network=NetworkRequirement.restricted(listen_ports=(81,)))
    assert granted(needs, offer, "acme.a").network.publish == (PublishedPort(81),)
    assert granted(PluginRequirements(), offer, "acme.a").network.publish == ()
    other = PluginRequirements(network=NetworkRequirement.restricted(listen_ports=(82,)))
    with pytest.raises(SandboxError) as refused:
        granted(other, offer, "acme.a")
    assert refused.value.code == "sandbox.not_granted"
    assert 'publish = ["82"]' in str(refused.value.hint)


@pytest.mark.parametrize(
    "ports",
    [(PublishedPort(80), PublishedPort(80)), ("80",), tuple(map(PublishedPort, range(1, 99)))],
)
def test_what_cannot_be_published(ports: tuple[PublishedPort, ...]) -> None:
    with pytest.raises(SandboxConfigError):
        NetworkConfig(mode=NetworkMode.RESTRICTED, publish=ports)
    with pytest.raises(SandboxConfigError):
        NetworkConfig(publish=(PublishedPort(80),))
    with pytest.raises(InvalidManifest):
        NetworkRequirement(listen_ports=(80,))
