"""Destinations of the network by name, address or range, in one normal form each."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pluginapi.errors import InvalidManifest

__all__ = ["NetworkTarget", "Protocol", "normal_name"]

Protocol: TypeAlias = Literal["tcp", "udp"]

_MAX_DOMAIN_CHARS: Final = 253
_MAX_LABEL_CHARS: Final = 63
_MAX_PORT: Final = 65_535
_MAX_PORT_DIGITS: Final = 5
_MAX_TEXT_CHARS: Final = 1024
_UDP: Final = "/udp"
_EXAMPLES: Final = (
    "write 'api.example.com', '*.example.com', '192.0.2.7', '192.0.2.0/24' or '192.0.2.7-192.0.2.9'"
)

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _refuse(message: str, hint: str) -> InvalidManifest:
    return InvalidManifest(message, code="manifest.requirement", hint=hint)


def normal_name(name: str) -> str:
    """Return a domain name in lower case, without its final dot, and in ASCII.

    Names in other scripts become what the network carries: IDNA 2008 with the mapping of UTS 46.

    Raises:
        ValueError: It is no domain name.
    """
    if not isinstance(name, str) or len(name) > _MAX_TEXT_CHARS:
        raise ValueError(f"{name!r:.80} is no domain name")
    plain = name
    if not name.isascii():
        import idna  # noqa: PLC0415 - nearly all names are ASCII

        wildcard, rest = ("*.", name[2:]) if name.startswith("*.") else ("", name)
        try:
            plain = wildcard + idna.encode(rest, uts46=True).decode("ascii")
        except UnicodeError as err:
            raise ValueError(f"{name!r:.80} is no domain name: {err}") from err
    plain = plain.lower().removesuffix(".")
    if not _is_domain(plain):
        raise ValueError(f"{name!r:.80} is no domain name")
    return plain


@dataclass(frozen=True, slots=True)
class NetworkTarget:
    """Name one destination: a domain, an address or several, and optionally one port.

    Use the constructors `domain`, `ip`, `cidr`, `range` and `parse`; the plain constructor takes an
    already normalised ``host``. A domain is what a plugin connects to **by name**: the addresses
    that it has today are no destinations of their own.

    Attributes:
        host: ``api.example.com``, ``*.example.com`` (every name below ``example.com``; never
            ``example.com`` itself, and never ``evilexample.com``), ``192.0.2.7``, ``192.0.2.0/24``
            or ``192.0.2.7-192.0.2.9``.
        port: The only port allowed, or None for every port.
        protocol: ``tcp`` or ``udp``.

    Raises:
        InvalidManifest: With code ``manifest.requirement``, from each way to make one.
    """

    host: str
    port: int | None = None
    protocol: Protocol = "tcp"

    def __post_init__(self) -> None:
        if self.port is not None and (
            type(self.port) is not int or not 1 <= self.port <= _MAX_PORT
        ):
            raise _refuse(
                f"port {self.port!r} is not from 1 to 65535", "give a port number or None"
            )
        if self.protocol not in ("tcp", "udp"):
            raise _refuse(f"protocol {self.protocol!r:.80} is unknown", "write 'tcp' or 'udp'")
        if not isinstance(self.host, str) or not (
            _is_domain(self.host) or _addresses(self.host) is not None
        ):
            raise _refuse(
                f"network target {self.host!r:.300} is neither a domain, an address nor a range",
                _EXAMPLES,
            )

    @classmethod
    def domain(
        cls, name: str, port: int | None = None, protocol: Protocol = "tcp"
    ) -> NetworkTarget:
        """Name a domain, exactly or as ``*.suffix``.

        Case and a final dot do not matter; other scripts than ASCII are encoded, RFC 5891.
        """
        try:
            return cls(normal_name(name), port, protocol)
        except ValueError as err:
            raise _refuse(f"{name!r:.300} is no domain name", _EXAMPLES) from err

    @classmethod
    def ip(cls, address: str, port: int | None = None, protocol: Protocol = "tcp") -> NetworkTarget:
        """Name one IPv4 or IPv6 address."""
        try:
            return cls(str(_address(address)), port, protocol)
        except ValueError as err:
            raise _refuse(
                f"{address!r} is not an IP address", "write '192.0.2.7' or '2001:db8::7'"
            ) from err

    @classmethod
    def cidr(
        cls, network: str, port: int | None = None, protocol: Protocol = "tcp"
    ) -> NetworkTarget:
        """Name the addresses of a network in CIDR notation (RFC 4632)."""
        try:
            return cls(str(ipaddress.ip_network(network)), port, protocol)
        except ValueError as err:
            raise _refuse(f"{network!r} is not an address range", "write '192.0.2.0/24'") from err

    @classmethod
    def range(
        cls, first: str, last: str, port: int | None = None, protocol: Protocol = "tcp"
    ) -> NetworkTarget:
        """Name the addresses from one to another, both included."""
        try:
            return cls(f"{_address(first)}-{_address(last)}", port, protocol)
        except ValueError as err:
            raise _refuse(
                f"{first!r} and {last!r} are not two addresses",
                "write '192.0.2.7' and '192.0.2.9'",
            ) from err

    @classmethod
    def parse(cls, text: str) -> NetworkTarget:
        """Read what ``str(target)`` writes: ``host``, ``host:port``, ``host:port/udp``.

        An IPv6 address with a port is in brackets: ``[2001:db8::7]:443``.
        """
        if not isinstance(text, str) or len(text) > _MAX_TEXT_CHARS:
            raise _refuse(f"network target {text!r:.80} is no text of this kind", _EXAMPLES)
        protocol: Protocol = "udp" if text.endswith(_UDP) else "tcp"
        rest = text.removesuffix(_UDP)
        host, separator, port = rest, "", ""
        if rest.startswith("["):
            host, separator, port = rest[1:].partition("]:")
            if not separator:
                host = rest
        elif rest.count(":") == 1:
            host, separator, port = rest.partition(":")
        number: int | None = None
        if separator:
            if not (port.isascii() and port.isdigit() and len(port) <= _MAX_PORT_DIGITS):
                raise _refuse(
                    f"network target {text[:80]!r} has no port number", "write 'host:443'"
                )
            number = int(port)
        span = host.split("-") if host.count("-") == 1 else []
        if ":" in host or _addresses(host) is not None:
            if span and all(_is_address(each) for each in span):
                return cls.range(span[0], span[1], number, protocol)
            if "/" in host:
                return cls.cidr(host, number, protocol)
            return cls.ip(host, number, protocol)
        return cls.domain(host, number, protocol)

    @property
    def is_domain(self) -> bool:
        """Whether it names a domain, not addresses."""
        return _addresses(self.host) is None

    @property
    def addresses(self) -> tuple[_Address, _Address] | None:
        """The first and the last address, or None of a domain."""
        return _addresses(self.host)

    def __str__(self) -> str:
        host = self.host
        if self.port is not None:
            host = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        return host + (_UDP if self.protocol == "udp" else "")


def _address(text: str) -> _Address:
    address = ipaddress.ip_address(text)
    if getattr(address, "scope_id", None) is not None:
        raise ValueError("an address with the name of an interface")
    return address


def _is_address(text: str) -> bool:
    try:
        _address(text)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> tuple[_Address, _Address] | None:
    """Return the first and the last address that a host in its normal form stands for, or None."""
    first, dash, last = host.partition("-")
    try:
        if dash:
            low, high = _address(first), _address(last)
            if low.version != high.version or int(low) > int(high):
                return None
            return (low, high) if host == f"{low}-{high}" else None
        network = ipaddress.ip_network(host)
    except ValueError:
        return None
    if host not in (str(network), str(network.network_address)):
        return None
    return network.network_address, network.broadcast_address


def _is_domain(host: str) -> bool:
    name = host.removeprefix("*.")
    if not 0 < len(name) <= _MAX_DOMAIN_CHARS:
        return False
    labels = name.split(".")
    # An all-numeric last label would make "300.300.300.300" a domain; no top-level domain is one.
    if labels[-1].isdigit():
        return False
    return all(
        0 < len(label) <= _MAX_LABEL_CHARS
        and label[0] != "-" != label[-1]
        and all(
            char.isascii() and (char.isalnum() or char in "-_") and not char.isupper()
            for char in label
        )
        for label in labels
    )
