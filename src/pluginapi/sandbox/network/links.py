"""Links: a pair of virtual interfaces from the host into a plugin's network, and what may pass.

What a plugin sends over its link is routed by the host and leaves as the host's (masquerade); the
firewall lets pass what is permitted and replies to it, and nothing between plugins.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import itertools
import logging
import os
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from pluginapi.errors import SandboxError, SandboxUnavailable
from pluginapi.network_target import NetworkTarget
from pluginapi.sandbox.network.netlink import (
    ACK,
    CREATE,
    EXCLUSIVE,
    Netlink,
    attribute,
    message,
    nested,
    text,
)
from pluginapi.sandbox.network.nftables import Firewall

if TYPE_CHECKING:
    from pluginapi.sandbox.config import NetworkConfig

__all__ = ["Link", "Links", "check_forwarding"]

_NETLINK_ROUTE: Final = 0
_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
_UP: Final = 1
_NO_DAD: Final = 2  # IFA_F_NODAD: nobody else can have it
_MAIN, _STATIC, _UNICAST = 254, 4, 1
_CLONE_NEWNET: Final = 0x4000_0000
_PLUGIN_SIDE: Final = "link0"
# RFC 6598: what is between carriers and their customers; each link has two addresses of it.
_IPV4: Final = ipaddress.IPv4Network("100.127.0.0/16")
# RFC 4193, with a random number.
_IPV6: Final = ipaddress.IPv6Network("fd70:6c75:6769:1::/64")
_MOST_LINKS: Final = 1 << 15
_ATTEMPTS: Final = 64
_LETTERS: Final = "ghijklmnopqrstuvwxyz"
_FORWARDING: Final = {
    4: ("/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
    6: ("/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
}

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_instances = itertools.count()
_log = logging.getLogger("pluginapi.sandbox.network")


def _has_ipv6() -> bool:
    return Path(_FORWARDING[6][0]).exists()


def check_forwarding(targets: Sequence[NetworkTarget]) -> None:
    """Make sure that the host routes what plugins send to targets over links.

    Raises:
        SandboxUnavailable: It does not, for a family of addresses that one of them has.
    """
    versions = {target.addresses[0].version for target in targets if target.addresses is not None}
    for version in sorted(versions):
        path, name = _FORWARDING[version]
        try:
            forwards = Path(path).read_text("ascii").strip() == "1"
        except FileNotFoundError:
            forwards = False
        if not forwards:
            raise SandboxUnavailable(
                f"plugins have links, and this host does not route IPv{version}: {name} is not 1",
                layer="network",
                hint=f"sysctl -w {name}=1; or leave `link` off: TCP goes through the broker",
            )


@dataclass(frozen=True, slots=True)
class Link:
    """A link into a plugin's network; its interfaces go with that network.

    Attributes:
        name: Of the host's interface.
        addresses: The plugin's own, of each family.
    """

    name: str
    addresses: tuple[_Address, ...]


class Links:
    """Make links and say what may pass them. Thread-safe.

    Raises:
        SandboxUnavailable: The host is not root in its network, or its kernel has no nf_tables.
    """

    def __init__(self) -> None:
        number = next(_instances)
        # No digit of the other number: no prefix is the beginning of another one.
        letters = (
            _LETTERS[number // len(_LETTERS) % len(_LETTERS)],
            _LETTERS[number % len(_LETTERS)],
        )
        self._prefix = f"pl{os.getpid():x}{''.join(letters)}-"
        networks = (_IPV4, _IPV6) if _has_ipv6() else (_IPV4,)
        self._firewall = Firewall(f"pluginapi_{os.getpid()}_{number}", self._prefix, networks)
        self._routes = Netlink(_NETLINK_ROUTE)
        # Hosts on one machine begin at different places.
        self._numbers = itertools.count(os.getpid() * 61)
        self._lock = threading.Lock()

    def make(self, pidfd: int, allowed: NetworkConfig) -> Link:
        """Make a link into the network of a process, and let pass what is allowed by address.

        Raises:
            SandboxError: With code ``network.netlink`` when it could not be made.
        """
        network = _network_of(pidfd)
        try:
            for _ in range(_ATTEMPTS):
                number = next(self._numbers) % _MOST_LINKS
                with self._lock:
                    made = self._make(number, network)
                if made is not None:
                    self._permit(made, allowed)
                    return made
        finally:
            os.close(network)
        raise SandboxError(
            f"none of {_ATTEMPTS} names for a link is free",
            code="network.netlink",
            layer="network",
            hint="see `ip link`; links go with their plugins",
        )

    def _make(self, number: int, network: int) -> Link | None:
        """Make a link of a number; None when there is one."""
        name = f"{self._prefix}{number:04x}"
        peer = nested(
            1,  # VETH_INFO_PEER
            struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0),
            text(3, _PLUGIN_SIDE),
            attribute(28, struct.pack("=I", network)),  # IFLA_NET_NS_FD
        )
        failed = self._routes.attempt(
            message(
                _NEW_LINK,
                ACK | CREATE | EXCLUSIVE,
                struct.pack("=BBHiII", 0, 0, 0, 0, _UP, _UP)
                + text(3, name)
                + nested(18, text(1, "veth"), nested(2, peer)),
            )
        )
        if failed is not None:
            if failed[0] == errno.EEXIST:
                return None
            raise _failed("a link cannot be made", failed)
        inside, theirs = _inside(network)
        with inside:
            return self._address(name, number, theirs, inside)

    def _address(self, name: str, number: int, theirs: int, inside: Netlink) -> Link:
        """Give both ends of a link their addresses, and the plugin's the way to everywhere."""
        ours = socket.if_nametoindex(name)
        addresses: list[_Address] = []
        here: list[bytes] = []
        up = struct.pack("=BBHiII", 0, 0, 0, theirs, _UP, _UP)
        there: list[bytes] = [message(_NEW_LINK, ACK, up)]
        for family, pool in ((socket.AF_INET, _IPV4), (socket.AF_INET6, _IPV6)):
            if family == socket.AF_INET6 and not _has_ipv6():
                continue
            host, plugin = pool[2 * number], pool[2 * number + 1]
            addresses.append(plugin)
            prefix = pool.max_prefixlen - 1
            here.append(_address(family, ours, host, prefix))
            there.append(_address(family, theirs, plugin, prefix))
            there.append(
                message(
                    _NEW_ROUTE,
                    ACK | CREATE,
                    struct.pack("=8BI", family, 0, 0, 0, _MAIN, _STATIC, 0, _UNICAST, 0)
                    + attribute(5, host.packed)
                    + attribute(4, struct.pack("=i", theirs)),
                )
            )
        self._routes.ask(f"the addresses of {name} cannot be set", *here)
        inside.ask(f"the addresses inside of {name} cannot be set", *there)
        return Link(name, tuple(addresses))

    def _permit(self, link: Link, config: NetworkConfig) -> None:
        targets = [target for target in config.allow if not target.is_domain]
        with self._lock:
            self._firewall.permit(link.name, link.addresses, targets, config.max_connections)

    def forbid(self, link: Link) -> None:
        """Let a link reach nothing any more; what fails is logged, the link goes all the same."""
        try:
            with self._lock:
                self._firewall.forbid(link.name)
        except SandboxError as err:
            _log.error("rules of a plugin stay in the firewall, without their link: %s", err)

    def close(self) -> None:
        """Remove the rules; idempotent. Links that are there reach nothing any more."""
        self._firewall.close()
        self._routes.close()


def _address(family: int, index: int, address: _Address, prefix: int) -> bytes:
    return message(
        _NEW_ADDRESS,
        ACK | CREATE | EXCLUSIVE,
        struct.pack("=4BI", family, prefix, 0, 0, index)
        + attribute(2, address.packed)
        + attribute(1, address.packed)
        + attribute(8, struct.pack("=I", _NO_DAD)),
    )


def _network_of(pidfd: int) -> int:
    """Return a descriptor of the network of a process, which is not reaped before it is closed."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text("ascii").splitlines()
    pid = next(line.split()[1] for line in lines if line.startswith("Pid:"))
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _inside(network: int) -> tuple[Netlink, int]:
    """Return a socket of netlink in another network, and the number of the link's end there."""
    found: list[tuple[Netlink, int]] = []
    failed: list[OSError] = []

    def enter() -> None:
        # A thread of its own, which ends there: the network of the others stays.
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.setns(network, _CLONE_NEWNET) == 0:
                index = socket.if_nametoindex(_PLUGIN_SIDE)
                found.append((Netlink(_NETLINK_ROUTE), index))
            else:
                failed.append(OSError(ctypes.get_errno(), "setns"))
        except OSError as err:
            failed.append(err)

    thread = threading.Thread(target=enter, name="pluginapi-link", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise _failed("the network of a plugin cannot be entered", (failed[0].errno or 0, ""))
    return found[0]


def _failed(what: str, failed: tuple[int, str]) -> SandboxError:
    number, told = failed
    return SandboxError(
        f"{what}: {os.strerror(number)}" + (f" ({told})" if told else ""),
        code="network.netlink",
        layer="network",
        hint="links take root, veth and nf_tables; without them leave `link` off: names and "
        "addresses over TCP go through the broker",
        errno=number,
    )
