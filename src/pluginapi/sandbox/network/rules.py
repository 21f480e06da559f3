"""Which destinations a list of targets allows, and what of a request an offer grants."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pluginapi.network_target import NetworkTarget, Protocol, normal_name

__all__ = ["NetworkRules", "meet", "special_kind"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# The special-purpose registries of IANA (RFC 6890 and its updates), and where clouds serve what
# their machines know of themselves. The first that holds names an address.
_SPECIAL: Final[tuple[tuple[_Network, str], ...]] = tuple(
    (ipaddress.ip_network(network), kind)
    for kind, networks in (
        (
            "metadata",
            (
                "169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 100.100.100.200/32 "
                "192.0.0.192/32 fd00:ec2::254/128 fd00:ec2::23/128 fd20:ce::254/128"
            ),
        ),
        ("unspecified", "0.0.0.0/8 ::/128"),
        ("loopback", "127.0.0.0/8 ::1/128"),
        ("link-local", "169.254.0.0/16 fe80::/10"),
        ("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10 64:ff9b:1::/48"),
        ("shared", "100.64.0.0/10"),
        ("multicast", "224.0.0.0/4 ff00::/8"),
        (
            "reserved",
            (
                "192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 "
                "203.0.113.0/24 240.0.0.0/4 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 "
                "2002::/16"  # 6to4, which RFC 7526 takes out of use
            ),
        ),
    )
    for network in networks.split()
)
# Addresses that have an IPv4 address in them: the network, and how many bits are right of it.
_EMBEDDING: Final = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),
        ("::/96", 0),
        ("::ffff:0:0:0/96", 0),
        ("64:ff9b::/96", 0),
        ("64:ff9b:1::/48", 0),
        ("2002::/16", 80),
    )
)
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")


def special_kind(address: str) -> str | None:
    """Return what kind of special address it is, or None for one of the public Internet.

    IPv6 addresses that have an IPv4 address in them (mapped, translated, 6to4, Teredo) are also
    what that one is. A name of the public DNS that leads to any of these is how a plugin would be
    led into the host's own network (DNS rebinding).

    Returns:
        ``loopback``, ``private``, ``link-local``, ``metadata``, ``shared``, ``multicast``,
        ``unspecified`` or ``reserved``: RFC 6890.

    Raises:
        ValueError: It is no address.
    """
    return _special(ipaddress.ip_address(address))


def _special(address: _Address) -> str | None:
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "link-local"
        for embedded in _embedded(address):
            if (kind := _special(embedded)) is not None:
                return kind
    for network, kind in _SPECIAL:
        if address.version == network.version and address in network:
            return kind
    return None


def _embedded(address: ipaddress.IPv6Address) -> Iterable[ipaddress.IPv4Address]:
    number = int(address)
    if number < 2:  # noqa: PLR2004 - ::  and ::1 are not IPv4 addresses
        return
    for network, shift in _EMBEDDING:
        if address in network:
            yield ipaddress.IPv4Address(number >> shift & 0xFFFF_FFFF)
    if address in _TEREDO:
        yield ipaddress.IPv4Address(~number & 0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """Answer whether a destination is allowed; immutable and thread-safe.

    Attributes:
        targets: What is allowed; nothing else is.
    """

    targets: tuple[NetworkTarget, ...] = ()
    _exact: dict[str, tuple[NetworkTarget, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _below: dict[str, tuple[NetworkTarget, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _ranges: tuple[tuple[_Address, _Address, NetworkTarget], ...] = field(
        default=(), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        ranges = []
        for target in self.targets:
            if (found := target.addresses) is not None:
                ranges.append((*found, target))
                continue
            wildcard = target.host.startswith("*.")
            known = self._below if wildcard else self._exact
            name = target.host.removeprefix("*.")
            known[name] = (*known.get(name, ()), target)
        object.__setattr__(self, "_ranges", tuple(ranges))

    def match_name(self, name: str, port: int, protocol: Protocol = "tcp") -> NetworkTarget | None:
        """Return the target that allows a name, or None.

        The name alone counts, never an address that it has: two names on one address are two
        destinations. It is brought to its normal form first; what is no name is not allowed.
        """
        try:
            normal = normal_name(name)
        except ValueError:
            return None
        for target in self._exact.get(normal, ()):
            if _fits(target, port, protocol):
                return target
        rest = normal
        while "." in rest:
            rest = rest.partition(".")[2]
            for target in self._below.get(rest, ()):
                if _fits(target, port, protocol):
                    return target
        return None

    def knows_name(self, name: str) -> bool:
        """Tell whether a name is allowed at any port."""
        try:
            normal = normal_name(name)
        except ValueError:
            return False
        parts = normal.split(".")
        return normal in self._exact or any(
            ".".join(parts[start:]) in self._below for start in range(1, len(parts))
        )

    def match_address(
        self, address: str, port: int, protocol: Protocol = "tcp"
    ) -> NetworkTarget | None:
        """Return the target that allows an address as such, or None.

        An IPv4 address that is written as an IPv6 one (``::ffff:192.0.2.7``) is the IPv4 address.

        Raises:
            ValueError: It is no address.
        """
        wanted = ipaddress.ip_address(address)
        if isinstance(wanted, ipaddress.IPv6Address) and wanted.ipv4_mapped is not None:
            wanted = wanted.ipv4_mapped
        for first, last, target in self._ranges:
            if (
                wanted.version == first.version
                and int(first) <= int(wanted) <= int(last)
                and _fits(target, port, protocol)
            ):
                return target
        return None

    def admits(self, address: str, port: int, protocol: Protocol = "tcp") -> bool:
        """Tell whether a name may lead to an address: a public one, or one that is listed."""
        return (
            special_kind(address) is None or self.match_address(address, port, protocol) is not None
        )


def _fits(target: NetworkTarget, port: int, protocol: Protocol) -> bool:
    return target.protocol == protocol and target.port in (None, port)


def meet(wanted: NetworkTarget, offered: NetworkTarget) -> NetworkTarget | None:
    """Return the destinations that are of both, as a target, or None when there are none.

    A domain and an address have nothing in common, whatever the domain resolves to.
    """
    if wanted.protocol != offered.protocol:
        return None
    if None not in (wanted.port, offered.port) and wanted.port != offered.port:
        return None
    host = _meet_hosts(wanted, offered)
    port = wanted.port if wanted.port is not None else offered.port
    return None if host is None else NetworkTarget(host, port, wanted.protocol)


def _meet_hosts(wanted: NetworkTarget, offered: NetworkTarget) -> str | None:
    one, other = wanted.addresses, offered.addresses
    if one is not None and other is not None:
        if one[0].version != other[0].version:
            return None
        first, last = max(one[0], other[0], key=int), min(one[1], other[1], key=int)
        for given, found in ((wanted, one), (offered, other)):
            if found == (first, last):
                return given.host
        return f"{first}-{last}" if int(first) <= int(last) else None
    if one is not None or other is not None:
        return None
    for narrow, wide in ((wanted.host, offered.host), (offered.host, wanted.host)):
        if narrow == wide or (wide.startswith("*.") and narrow.endswith(wide[1:])):
            return narrow
    return None
