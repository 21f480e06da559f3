"""Rules of the kernel's firewall as bytes: nf_tables over netlink, without a program for it.

One table is the host's own, and nobody else's is ever touched. The kernel removes it with the
socket that made it, however the host ends (NFT_TABLE_F_OWNER, Linux 5.12). What its chains let
through other tables may still refuse.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from pluginapi.errors import SandboxUnavailable
from pluginapi.network_target import NetworkTarget
from pluginapi.sandbox.network.netlink import ACK, CREATE, Netlink, attribute, message, nested, text

__all__ = ["Firewall", "permission"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NETLINK_NETFILTER: Final = 12
_INET: Final = 1  # NFPROTO_INET
_IPV4: Final = 2
_IPV6: Final = 10
_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN: Final = 16
_BATCH_END: Final = 17
# enum nf_tables_msg_types
_NEW_TABLE, _NEW_CHAIN, _DEL_CHAIN, _NEW_RULE = 0, 3, 5, 6
_NEW_SET, _NEW_ELEMENT, _DEL_ELEMENT = 9, 12, 14
_OWNER: Final = 2  # NFT_TABLE_F_OWNER
_APPEND: Final = 0x800
# Hooks and priorities of <linux/netfilter.h>
_INPUT, _FORWARD, _POSTROUTING = 1, 2, 4
_FILTER, _SOURCE_NAT = 0, 100
_DROP, _ACCEPT = 0, 1
_GOTO: Final = -4
_VERDICT, _REGISTER = 0, 1
_EQ, _NEQ = 0, 1
# enum nft_meta_keys
_IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 6, 7, 15, 16
_NETWORK, _TRANSPORT = 1, 2
_ESTABLISHED_OR_RELATED: Final = 2 | 4
_MAP: Final = 8
_NAME_SIZE: Final = 16  # IFNAMSIZ
_VERDICTS: Final = 0xFFFF_FF00  # NFT_DATA_VERDICT
_ICMPX: Final = 2
_ADMIN_PROHIBITED: Final = 3
_PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
# type of ICMPv6: neighbour solicitation and advertisement, RFC 4861
_NEIGHBOURS: Final = (135, 136)
_PLUGINS: Final = "plugins"
_MOST_KNOWN: Final = 256
# Where the addresses of a link go in what is kept: nobody has these (RFC 5737, RFC 3849).
_STANDS_FOR: Final[dict[int, _Address]] = {
    4: ipaddress.IPv4Address("192.0.2.237"),
    6: ipaddress.IPv6Address("2001:db8:5041:4e44:5354:4e44:5354:4e44"),
}


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!i" if value < 0 else "!I", value))


def _message(kind: int, flags: int, *attributes: bytes) -> bytes:
    body = struct.pack("!BBH", _INET, 0, 0) + b"".join(attributes)
    return message(_SUBSYSTEM << 8 | kind, flags, body)


def _batch(messages: Iterable[bytes]) -> list[bytes]:
    """Return messages as one transaction: all of them, or none."""
    border = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
    return [message(_BATCH_BEGIN, 0, border), *messages, message(_BATCH_END, 0, border)]


# ---- Expressions ----


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes))


def _meta(key: int) -> bytes:
    return _expression("meta", _be32(2, key), _be32(1, _REGISTER))


def _payload(base: int, offset: int, size: int) -> bytes:
    return _expression(
        "payload", _be32(1, _REGISTER), _be32(2, base), _be32(3, offset), _be32(4, size)
    )


def _compare(operator: int, value: bytes) -> bytes:
    return _expression(
        "cmp", _be32(1, _REGISTER), _be32(2, operator), nested(3, attribute(1, value))
    )


def _within(first: bytes, last: bytes) -> bytes:
    if first == last:
        return _compare(_EQ, first)
    return _expression(
        "range",
        _be32(1, _REGISTER),
        _be32(2, _EQ),
        nested(3, attribute(1, first)),
        nested(4, attribute(1, last)),
    )


def _masked(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        _be32(1, _REGISTER),
        _be32(2, _REGISTER),
        _be32(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, b"\0" * len(mask))),
    )


def _verdict(code: int, chain: str = "") -> bytes:
    return nested(2, _be32(1, code), *([text(2, chain)] if chain else []))


def _end(code: int) -> bytes:
    return _expression("immediate", _be32(1, _VERDICT), nested(2, _verdict(code)))


def _replies() -> list[bytes]:
    """Match packets of connections that are known."""
    state = _expression("ct", _be32(2, 0), _be32(1, _REGISTER))
    mask = struct.pack("=I", _ESTABLISHED_OR_RELATED)
    return [state, _masked(mask), _compare(_NEQ, b"\0" * 4)]


def _family(version: int) -> list[bytes]:
    return [_meta(_NFPROTO), _compare(_EQ, bytes([_IPV4 if version == 4 else _IPV6]))]  # noqa: PLR2004


def _source(version: int) -> bytes:
    return _payload(_NETWORK, *((12, 4) if version == 4 else (8, 16)))  # noqa: PLR2004


def _destination(version: int) -> bytes:
    return _payload(_NETWORK, *((16, 4) if version == 4 else (24, 16)))  # noqa: PLR2004


def _allows(target: NetworkTarget) -> list[bytes]:
    """Match what a target allows, which is one with addresses."""
    assert target.addresses is not None  # noqa: S101 - names are not of the firewall
    first, last = target.addresses
    found = [
        *_family(first.version),
        _destination(first.version),
        _within(first.packed, last.packed),
        _meta(_L4PROTO),
        _compare(_EQ, bytes([_PROTOCOLS[target.protocol]])),
    ]
    if target.port is not None:
        found += [_payload(_TRANSPORT, 2, 2), _compare(_EQ, struct.pack("!H", target.port))]
    return found


def permission(
    addresses: Sequence[_Address],
    targets: Iterable[NetworkTarget],
    most: int,
) -> list[list[bytes]]:
    """Return the rules of one plugin, each a list of expressions.

    Args:
        addresses: The plugin's own; what pretends to come from others is dropped.
        targets: What is allowed, by addresses; names are left to the broker.
        most: How many connections at a time.
    """
    rules = [
        [*_family(own.version), _source(own.version), _compare(_NEQ, own.packed), _end(_DROP)]
        for own in addresses
    ]
    refused = _expression("reject", _be32(1, _ICMPX), attribute(2, bytes([_ADMIN_PROHIBITED])))
    rules.append([*_replies(), _end(_ACCEPT)])
    # More connections than these: NFT_CONNLIMIT_F_INV.
    rules.append([_expression("connlimit", _be32(1, most), _be32(2, 1)), refused])
    rules += [[*_allows(target), _end(_ACCEPT)] for target in targets if not target.is_domain]
    rules.append([refused])
    return rules


class Firewall:
    """The host's table: nothing passes from or to its links but what is permitted. Not thread-safe.

    Args:
        name: Of the table.
        prefix: With which the names of all links begin, and of nothing else.
        networks: Those that the links' addresses are of; their packets leave as the host's.

    Raises:
        SandboxUnavailable: The kernel has no nf_tables, or one before Linux 5.12, or the host is
            not root in its network.
    """

    def __init__(
        self,
        name: str,
        prefix: str,
        networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
    ) -> None:
        self._name = name
        self._known: dict[object, bytes] = {}
        try:
            self._netlink = Netlink(_NETLINK_NETFILTER)
        except OSError as err:
            raise self._unavailable(str(err.strerror)) from err
        failed = self._netlink.attempt(*_batch(self._base(prefix.encode(), networks)))
        if failed is not None:
            self._netlink.close()
            number, told = failed
            why = f"errno {errno.errorcode.get(number, number)}" + (f", {told}" if told else "")
            raise self._unavailable(why)

    @staticmethod
    def _unavailable(why: str) -> SandboxUnavailable:
        return SandboxUnavailable(
            f"a table of the firewall cannot be made: {why}",
            layer="network",
            hint="links take root, nf_tables and Linux 5.12; without them leave `link` off: names "
            "and addresses over TCP go through the broker",
        )

    def permit(
        self,
        link: str,
        addresses: Sequence[_Address],
        targets: Iterable[NetworkTarget],
        most: int,
    ) -> None:
        """Let a link reach targets.

        Raises:
            SandboxError: With code ``network.netlink``.
        """
        targets = tuple(targets)
        stand_ins = [_STANDS_FOR[each.version] for each in addresses]
        key = (targets, most, len(link), *stand_ins)
        known = self._known.get(key)
        if known is None:
            known = self._permission("#" * len(link), stand_ins, targets, most)
            if any(known.count(each.packed) != 1 for each in stand_ins):
                # A target has the bytes of what stands for an address: nothing to replace them in.
                known = self._permission("#" * len(link), addresses, targets, most)
            else:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = known
        name = link.encode()
        batch = known.replace(b"#" * len(name), name)
        if key in self._known:
            for stand_in, own in zip(stand_ins, addresses, strict=True):
                batch = batch.replace(stand_in.packed, own.packed)
        self._netlink.ask(f"the rules of {link} cannot be installed", batch, awaited=1)

    def _permission(
        self,
        link: str,
        addresses: Sequence[_Address],
        targets: Iterable[NetworkTarget],
        most: int,
    ) -> bytes:
        """Return the transaction that lets a link reach targets."""
        rules = permission(addresses, targets, most)
        chain = _message(_NEW_CHAIN, CREATE, text(1, self._name), text(3, link))
        return b"".join(
            _batch(
                [
                    chain,
                    *(self._rule(link, rule) for rule in rules),
                    self._element(_NEW_ELEMENT, CREATE | ACK, link),
                ]
            )
        )

    def forbid(self, link: str) -> None:
        """Let a link reach nothing any more.

        Raises:
            SandboxError: With code ``network.netlink``.
        """
        self._netlink.ask(
            f"the rules of {link} cannot be removed",
            *_batch(
                [
                    self._element(_DEL_ELEMENT, 0, link),
                    _message(_DEL_CHAIN, ACK, text(1, self._name), text(3, link)),
                ]
            ),
        )

    def close(self) -> None:
        """Remove the table; idempotent."""
        self._netlink.close()

    def _rule(self, chain: str, expressions: Iterable[bytes], flags: int = 0) -> bytes:
        return _message(
            _NEW_RULE,
            CREATE | _APPEND | flags,
            text(1, self._name),
            text(2, chain),
            nested(4, *expressions),
        )

    def _element(self, kind: int, flags: int, link: str) -> bytes:
        key = nested(1, attribute(1, link.encode().ljust(_NAME_SIZE, b"\0")))
        data = nested(2, _verdict(_GOTO, link))
        return _message(
            kind,
            flags,
            text(1, self._name),
            text(2, _PLUGINS),
            nested(3, nested(1, key, *([data] if kind == _NEW_ELEMENT else []))),
        )

    def _base(
        self,
        prefix: bytes,
        networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
    ) -> Iterable[bytes]:
        table = text(1, self._name)
        yield _message(_NEW_TABLE, CREATE, table, _be32(2, _OWNER))
        yield _message(
            _NEW_SET,
            CREATE,
            table,
            text(2, _PLUGINS),
            _be32(3, _MAP),
            _be32(4, 41),  # nft's own number for the names of interfaces, which it shows them by
            _be32(5, _NAME_SIZE),
            _be32(6, _VERDICTS),
            _be32(7, 0),
            _be32(10, 1),
            # For programs that show it: the names are texts, not numbers.
            attribute(13, bytes([0, 4]) + struct.pack("=I", 1)),
        )
        for chain, hook, priority, kind in (
            ("input", _INPUT, _FILTER, "filter"),
            ("forward", _FORWARD, _FILTER, "filter"),
            ("postrouting", _POSTROUTING, _SOURCE_NAT, "nat"),
        ):
            where = nested(4, _be32(1, hook), _be32(2, priority))
            yield _message(
                _NEW_CHAIN, CREATE, table, text(3, chain), where, _be32(5, _ACCEPT), text(7, kind)
            )
        from_link = [_meta(_IIFNAME), _compare(_EQ, prefix)]
        to_link = [_meta(_OIFNAME), _compare(_EQ, prefix)]
        decide = [
            _meta(_IIFNAME),
            _expression("lookup", text(1, _PLUGINS), _be32(2, _REGISTER), _be32(3, _VERDICT)),
        ]
        neighbours = [
            _meta(_L4PROTO),
            _compare(_EQ, bytes([socket.IPPROTO_ICMPV6])),
            _payload(_TRANSPORT, 0, 1),
            _within(bytes([_NEIGHBOURS[0]]), bytes([_NEIGHBOURS[1]])),
        ]
        yield self._rule("input", [*from_link, *neighbours, _end(_ACCEPT)])
        yield self._rule("input", [*from_link, *decide])
        yield self._rule("input", [*from_link, _end(_DROP)])
        yield self._rule("forward", [*to_link, *_replies(), _end(_ACCEPT)])
        yield self._rule("forward", [*to_link, _end(_DROP)])
        yield self._rule("forward", [*from_link, *decide])
        rules = [
            ("forward", [*from_link, _end(_DROP)]),
            *(
                (
                    "postrouting",
                    [
                        *_family(network.version),
                        _source(network.version),
                        _masked(network.netmask.packed),
                        _compare(_EQ, network.network_address.packed),
                        _expression("masq"),
                    ],
                )
                for network in networks
            ),
        ]
        for number, (chain, expressions) in enumerate(rules, 1):
            yield self._rule(chain, expressions, ACK if number == len(rules) else 0)
