"""The names that plugins may connect to, resolved by the host: never by the plugin."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from pluginapi.errors import SandboxError

__all__ = ["Resolution", "Resolver"]

_MOST_NAMES: Final = 4096
_MOST_ADDRESSES: Final = 8
_HOSTS: Final = Path("/etc/hosts")
_HOSTS_SECONDS: Final = 5.0
_KINDS: Final = ("A", "AAAA")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name led to.

    Attributes:
        addresses: IPv4 addresses, then IPv6 addresses; 8 at most.
        seconds: For how long it may be used again, by the smallest time to live on the way; 0 is
            for this once.
        canonical: The name that has the addresses, at the end of the aliases.
    """

    addresses: tuple[str, ...]
    seconds: float
    canonical: str


class Resolver:
    """Ask name servers, and remember their answers for as long as these say. Thread-safe.

    The operator's file of hosts goes first. No names are completed by a search list: a name is
    what was decided on.

    Args:
        servers: Addresses and ports of name servers, in place of those of ``/etc/resolv.conf``.
        hosts: The file of hosts, or None for none.
        timeout: Seconds for all tries of one name.
    """

    def __init__(
        self,
        servers: Sequence[tuple[str, int]] | None = None,
        *,
        hosts: Path | None = _HOSTS,
        timeout: float = 5.0,
    ) -> None:
        self._servers = servers
        self._hosts = hosts
        self._timeout = timeout
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._made: dns.resolver.Resolver | None = None
        self._cache = dns.resolver.LRUCache(_MOST_NAMES)
        self._known_hosts: dict[str, list[str]] = {}
        self._read_hosts_at = -1.0

    def resolve(self, name: str) -> Resolution:
        """Return the addresses of a name, which is in its normal form. Blocks.

        Raises:
            SandboxError: With code ``network.unknown_name`` when there is no such name, or it has
                no address; ``network.resolve`` when it could not be found out.
        """
        listed = self._listed(name)
        if listed:
            return Resolution(tuple(listed[:_MOST_ADDRESSES]), _HOSTS_SECONDS, name)
        with self._lock:
            turn = self._asking.setdefault(name, threading.Lock())
        with turn:
            try:
                return self._ask(name)
            finally:
                with self._lock:
                    self._asking.pop(name, None)

    def forget(self) -> None:
        """Forget all answers, and what the configuration of this machine was."""
        self._cache.flush()
        with self._lock:
            self._made = None
            self._read_hosts_at = -1.0

    def _ask(self, name: str) -> Resolution:
        addresses: list[str] = []
        seconds = float("inf")
        canonical = name
        failure: Exception | None = None
        for kind in _KINDS:
            try:
                answer = self._client().resolve(
                    dns.name.from_text(name), kind, search=False, lifetime=self._timeout
                )
            except dns.resolver.NXDOMAIN as err:
                raise _unknown(name, "there is no such name") from err
            except dns.resolver.NoAnswer:
                continue
            except dns.exception.DNSException as err:
                failure = err
                continue
            addresses += [record.address for record in answer]
            seconds = min(seconds, answer.expiration - time.time())
            canonical = answer.canonical_name.to_text(omit_final_dot=True).lower()
        if not addresses:
            if failure is not None:
                raise SandboxError(
                    f"the addresses of {name} could not be found out: {failure}",
                    code="network.resolve",
                    layer="network",
                    hint="see that the host itself can resolve it: /etc/resolv.conf",
                ) from failure
            raise _unknown(name, "it has no address")
        found = tuple(dict.fromkeys(addresses))[:_MOST_ADDRESSES]
        return Resolution(found, max(0.0, seconds), canonical)

    def _client(self) -> dns.resolver.Resolver:
        with self._lock:
            if self._made is None:
                made = dns.resolver.Resolver(configure=self._servers is None)
                if self._servers is not None:
                    made.nameservers = [
                        dns.nameserver.Do53Nameserver(address, port)
                        for address, port in self._servers
                    ]
                made.cache = self._cache
                self._made = made
            return self._made

    def _listed(self, name: str) -> list[str]:
        """Return what the file of hosts says of a name."""
        if self._hosts is None:
            return []
        now = time.monotonic()
        with self._lock:
            if self._read_hosts_at < 0 or now - self._read_hosts_at > _HOSTS_SECONDS:
                self._known_hosts = _read_hosts(self._hosts)
                self._read_hosts_at = now
            return self._known_hosts.get(name, [])


def _read_hosts(path: Path) -> dict[str, list[str]]:
    """Read a file of hosts, hosts(5): the first name of a line and its aliases."""
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        with contextlib.suppress(ValueError):
            normal = str(ipaddress.ip_address(address))
            for name in names:
                known = found.setdefault(name.lower().removesuffix("."), [])
                if normal not in known:
                    known.append(normal)
    return found


def _unknown(name: str, why: str) -> SandboxError:
    return SandboxError(
        f"{name} cannot be connected to: {why}",
        code="network.unknown_name",
        layer="network",
        hint="see how the plugin spells it, and what the host's name server knows of it",
    )
