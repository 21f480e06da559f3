"""The broker: decides what plugins connect to, and has it done on their behalf."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from pluginapi._native import _broker
from pluginapi.errors import SandboxError, SandboxUnavailable
from pluginapi.network_target import NetworkTarget, Protocol
from pluginapi.sandbox.network.client_hello import ClientHellos
from pluginapi.sandbox.network.descriptors import receive_descriptor
from pluginapi.sandbox.network.name_server import Question, read_question
from pluginapi.sandbox.network.names import SyntheticNames
from pluginapi.sandbox.network.publishing import listening_socket
from pluginapi.sandbox.network.refusals import NetworkCounts, Refusal, Refusals
from pluginapi.sandbox.network.relay import Relay
from pluginapi.sandbox.network.resolver import Resolution, Resolver
from pluginapi.sandbox.network.rules import NetworkRules, special_kind
from pluginapi.sandbox.network.sockets import Traffic, open_sockets

if TYPE_CHECKING:
    from pluginapi.sandbox.config import NetworkConfig

__all__ = ["Door", "NetworkBroker"]

_RESOLVING_THREADS: Final = 8
_MOST_RESOLVING: Final = 32
_MOST_BYTES: Final = 1024
_ALLOWED_ADDRESS_SECONDS: Final = 3600.0

_log = logging.getLogger("pluginapi.sandbox.network")


class Door:
    """What one plugin process connects through; `NetworkBroker.open` makes it. Thread-safe.

    Attributes:
        plugin: The plugin, for messages.
        config: What it may connect to.
    """

    def __init__(
        self, broker: NetworkBroker, plugin: str, config: NetworkConfig, name_server: int
    ) -> None:
        self.plugin = plugin
        self.config = config
        self.rules = NetworkRules(config.allow)
        self.names = SyntheticNames()
        self.refusals = Refusals()
        self.name_server = socket.socket(fileno=name_server)
        self.number = 0
        self.watched = 0
        self.resolving = 0
        self._broker = broker
        self._lock = threading.Lock()
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._closed = False
        self._seen: dict[int, Traffic] = {}
        self._gone = Traffic(0, 0)

    @property
    def descriptor(self) -> int:
        """What the process sends its listener over, while it is being started."""
        return self._theirs.fileno()

    def started(self) -> None:
        """Serve the process, which has been started.

        Raises:
            SandboxError: With code ``sandbox.failed`` when it has not sent its listener.
        """
        listener = receive_descriptor(self._ours, "the listener of a plugin's filter")
        self._ours.close()
        self._theirs.close()
        self._broker.serve(self, listener)

    def counts(self) -> NetworkCounts:
        """Return how its connects went."""
        return self._broker.counts(self)

    def look(self, still: dict[int, Traffic]) -> int:
        """Take note of what went over the connections that are open; return how many there are."""
        with self._lock:
            closed = self._seen.keys() - still.keys()
            self._gone = _sum([self._gone, *(self._seen[inode] for inode in closed)])
            self._seen = still
        return len(still)

    def traffic(self) -> Traffic:
        """Return what went over all connections, as far as it was seen."""
        with self._lock:
            return _sum([self._gone, *self._seen.values()])

    def close(self) -> None:
        """Serve it no more; idempotent. Connections that it has stay."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._broker.dismiss(self)
        self._ours.close()
        self._theirs.close()
        self.name_server.close()

    def abandon(self) -> None:
        """Let go of it in a process that was forked from the host."""
        self._closed = True
        for each in (self._ours, self._theirs, self.name_server):
            each.close()


def _sum(traffic: list[Traffic]) -> Traffic:
    return Traffic(sum(each.sent for each in traffic), sum(each.received for each in traffic))


class _Asked(NamedTuple):
    """A connect that waits for what is decided."""

    door: Door
    token: int
    address: bytes
    host: str
    port: int
    protocol: Protocol


class NetworkBroker:
    """Connect on behalf of plugins, as their rules allow. Thread-safe.

    One thread serves all plugins; it starts with the first. Names are resolved by a few others.

    Args:
        resolver: Resolves names; None for one of this machine's name servers.

    Raises:
        SandboxUnavailable: Before Linux 5.14.
    """

    def __init__(self, resolver: Resolver | None = None) -> None:
        try:
            self._core = _broker.Broker()
        except OSError as err:
            raise SandboxUnavailable(
                f"a network of named destinations takes Linux 5.14 or newer: {err.strerror}",
                layer="network",
                hint="use NetworkMode.ISOLATED, or a newer kernel",
            ) from err
        self._relay = Relay()
        self.resolver = Resolver() if resolver is None else resolver
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._doors: dict[int, Door] = {}
        self._name_servers: dict[int, Door] = {}
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def open(self, plugin: str, config: NetworkConfig, name_server: int) -> Door:
        """Return what a process that is about to be started connects through.

        Args:
            plugin: The plugin.
            config: What it may connect to.
            name_server: The socket on which it finds its name server; it is taken.
        """
        return Door(self, plugin, config, name_server)

    def serve(self, door: Door, listener: int) -> None:
        """Serve a door whose process has been started; the listener is taken."""
        number = self._core.add(listener, door.config.max_connections)
        with self._lock:
            door.number = number
            self._doors[number] = door
            door.watched = next(self._numbers)
            self._name_servers[door.watched] = door
            self._core.watch(door.name_server.fileno(), door.watched)
            if self._thread is None and not self._closed:
                self._pool = ThreadPoolExecutor(_RESOLVING_THREADS, "pluginapi-resolve")
                self._thread = threading.Thread(
                    target=self._run, name="pluginapi-network", daemon=True
                )
                self._thread.start()

    def dismiss(self, door: Door) -> None:
        """Serve a door no more."""
        with self._lock:
            self._doors.pop(door.number, None)
            if self._name_servers.pop(door.watched, None) is not None:
                self._core.unwatch(door.name_server.fileno())
        self._core.remove(door.number)

    def counts(self, door: Door) -> NetworkCounts:
        """Return how the connects of a door went."""
        connected, failed, refused = self._core.counts(door.number) or (0, 0, 0)
        still = self._open_connections(door)
        sent, received = door.traffic()
        reasons = door.refusals.reasons()
        return NetworkCounts(connected, failed, refused, still, sent, received, reasons)

    def close(self) -> None:
        """Serve nobody any more; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread, pool = self._thread, self._pool
            doors = tuple(self._doors.values())
        for door in doors:
            door.close()
        self._core.wake()
        if thread is not None:
            thread.join()
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        self._relay.close()

    def abandon(self) -> None:
        """Let go of it in a process that was forked from the host."""
        self._closed = True
        self._lock = threading.Lock()
        self._relay.abandon()
        for door in self._doors.values():
            door.abandon()
        self._doors = {}
        self._name_servers = {}

    # ---- On the broker's thread ----

    def _run(self) -> None:
        while not self._closed:
            kind, number, token, address, port, udp = self._core.run()
            try:
                if kind == _broker.READABLE:
                    self._read_questions(number)
                elif kind in (_broker.ASKED, _broker.FULL):
                    self._asked(number, token, address, port, udp=udp)
                elif kind == _broker.BINDS:
                    self._binds(number, token, address, port, udp=udp)
                elif kind == _broker.GONE:
                    self._core.remove(number)
            except Exception:  # noqa: BLE001 - one plugin's trouble must not end the others' network
                _log.exception("serving the network of a plugin failed")
                if token:
                    self._core.refuse(token, errno.EACCES)

    def _asked(self, number: int, token: int, address: bytes, port: int, *, udp: bool) -> None:
        door = self._doors.get(number)
        if door is None:
            self._core.refuse(token, errno.EACCES)
            return
        name = door.names.name_of(address)
        host = str(ipaddress.ip_address(address)) if name is None else name
        asked = _Asked(door, token, address, host, port, "udp" if udp else "tcp")
        if udp and not door.config.link:
            self._refuse(asked, "network.protocol", "the broker connects TCP alone")
        elif udp and name is not None:
            self._refuse(asked, "network.protocol", "over UDP addresses are reached, not names")
        elif name is not None:
            self._asked_by_name(asked)
        elif SyntheticNames.is_synthetic(address):
            reason = "the address stood for a name that was looked up too long ago"
            self._refuse(asked, "network.not_allowed", reason)
        elif door.rules.match_address(host, port, asked.protocol) is None:
            reason = "no rule allows this address"
            self._refuse(asked, "network.not_allowed", reason, listed=True)
        elif door.config.link:
            # Their own socket, over their link: the firewall counts.
            expires = time.monotonic_ns() + int(_ALLOWED_ADDRESS_SECONDS * 1e9)
            self._core.connect(token, [(address, port)], expires, own=True)
        else:
            self._connect(asked, (host,), _ALLOWED_ADDRESS_SECONDS)

    def _binds(self, number: int, token: int, address: bytes, port: int, *, udp: bool) -> None:
        """Give a listening socket of the host's for a port that is published."""
        door = self._doors.get(number)
        if door is None:
            self._core.refuse(token, errno.EACCES)
            return
        protocol: Protocol = "udp" if udp else "tcp"
        host = str(ipaddress.ip_address(address))
        asked = _Asked(door, token, address, host, port, protocol)
        found = next((each for each in door.config.publish if each.port == port and not udp), None)
        if found is None:
            self._refuse(asked, "network.not_published", "no port of it is published as this one")
            return
        try:
            with listening_socket(found) as listening:
                self._core.give(token, listening.fileno(), connected=False)
        except OSError as err:
            reason = f"{found} of the host: {err.strerror}"
            self._refuse(asked, "network.listen", reason, number=err.errno or errno.EADDRINUSE)

    def _asked_by_name(self, asked: _Asked) -> None:
        rules, name, port = asked.door.rules, asked.host, asked.port
        if rules.match_name(name, port) is None:
            reason = "no rule allows this name" + (" at this port" * rules.knows_name(name))
            self._refuse(asked, "network.not_allowed", reason, listed=True)
            return

        def resolved(found: Resolution) -> None:
            admitted = tuple(each for each in found.addresses if rules.admits(each, port))
            if admitted and asked.door.config.verify_tls_names:
                self._relayed(asked, admitted)
                return
            if admitted:
                self._connect(asked, admitted, found.seconds)
                return
            address = found.addresses[0]
            reason = (
                f"it resolves to {address}, a {special_kind(address)} address, which has to be "
                "listed itself"
            )
            self._refuse(asked, "network.rebinding", reason)

        def failed(err: SandboxError) -> None:
            unknown = err.code == "network.unknown_name"
            number = errno.EHOSTUNREACH if unknown else errno.ENETUNREACH
            self._refuse(asked, err.code, err.message, number=number)

        if not self._resolve(asked.door, name, resolved, failed):
            reason = "too many of its names are being looked up"
            self._refuse(asked, "network.too_many", reason, number=errno.EAGAIN)

    def _refuse(
        self,
        asked: _Asked,
        code: str,
        reason: str,
        *,
        listed: bool = False,
        number: int = errno.EACCES,
    ) -> None:
        """Refuse a connect, and take note; ``listed`` says that a target would allow it."""
        # First: who is refused may ask why.
        self._note(asked, code, reason, listed=listed)
        self._core.refuse(asked.token, number)

    @staticmethod
    def _note(asked: _Asked, code: str, reason: str, *, listed: bool = False) -> None:
        door, _, address, host, port, protocol = asked
        allow = NetworkTarget(host, port or None, protocol) if listed else None
        refusal = Refusal(
            door.plugin, host, address, port, protocol, code, reason, allow, time.time()
        )
        door.refusals.add(refusal)

    def _connect(self, asked: _Asked, addresses: tuple[str, ...], seconds: float) -> None:
        if self._is_full(asked):
            return
        packed = [(ipaddress.ip_address(each).packed, asked.port) for each in addresses]
        expires = time.monotonic_ns() + int(seconds * 1e9) if seconds > 0 else 0
        self._core.connect(asked.token, packed[: _broker.MOST_ADDRESSES], expires)

    def _relayed(self, asked: _Asked, addresses: tuple[str, ...]) -> None:
        """Connect in a way that lets what is sent be looked at."""
        door = asked.door
        if self._is_full(asked):
            return

        def connected(theirs: socket.socket) -> bool:
            return self._core.give(asked.token, theirs.fileno(), connected=True) == 0

        def refused(reason: str) -> None:
            self._note(asked, "network.tls_name", reason)

        self._relay.connect(
            [(each, asked.port) for each in addresses],
            ClientHellos(asked.host, allow_encrypted=door.config.allow_encrypted_hello),
            connected=connected,
            failed=lambda number: self._core.refuse(asked.token, number or errno.ECONNREFUSED),
            refused=refused,
        )

    def _is_full(self, asked: _Asked) -> bool:
        """Refuse a connect of who has as many connections as it may."""
        most = asked.door.config.max_connections
        if len(self._core.sockets(asked.door.number, most)) < most:
            return False
        try:
            if self._open_connections(asked.door) < most:
                return False
            reason = f"it has {most} connections open, as many as it may (max_connections)"
        except SandboxError as err:
            reason = f"it has made {most}, as many as it may (max_connections), and {err.message}"
        self._refuse(asked, "network.too_many", reason, number=errno.EMFILE)
        return True

    def _open_connections(self, door: Door) -> int:
        """Count the connections of a door, and forget those that are closed."""
        most = door.config.max_connections
        known = self._core.sockets(door.number, most)
        still = open_sockets() if known else {}
        for inode in known:
            if inode not in still:
                self._core.closed(door.number, inode)
        return door.look({inode: still[inode] for inode in known if inode in still})

    def _resolve(
        self,
        door: Door,
        name: str,
        resolved: Callable[[Resolution], object],
        failed: Callable[[SandboxError], object],
    ) -> bool:
        """Resolve a name on another thread; False when too many of the door's are being."""
        with self._lock:
            if self._pool is None or door.resolving >= _MOST_RESOLVING:
                return False
            door.resolving += 1
            pool = self._pool

        def work() -> None:
            try:
                try:
                    found = self.resolver.resolve(name)
                except SandboxError as err:
                    failed(err)
                else:
                    resolved(found)
            except Exception as err:  # noqa: BLE001 - as above: nobody waits for the result
                _log.exception("resolving a name for plugin %s failed", door.plugin)
                # But the plugin waits for its answer; where it has one already, this is none.
                what = SandboxError(f"a fault of the broker: {err}", code="network.resolve")
                failed(what)
            finally:
                with self._lock:
                    door.resolving -= 1

        try:
            pool.submit(work)
        except RuntimeError:  # It is shut down.
            return False
        return True

    # ---- Names ----

    def _read_questions(self, number: int) -> None:
        door = self._name_servers.get(number)
        if door is None:
            return
        try:
            data, sender = door.name_server.recvfrom(_MOST_BYTES)
        except OSError:
            # Taken by nobody else: it was not there after all, or the door is being closed.
            return
        question = read_question(data)
        if question is not None:
            self._answer(door, question, sender)

    def _answer(self, door: Door, question: Question, sender: tuple[str, int]) -> None:
        def send(data: bytes) -> None:
            # Without room for it, or when the plugin is gone, it asks again or does not.
            with contextlib.suppress(OSError):
                door.name_server.sendto(data, sender)

        name = question.name
        if question.wants_reason:
            wanted = question.refused
            latest = door.refusals.latest()[-1:] if wanted is None else [door.refusals.of(*wanted)]
            refusal = next(iter(latest), None)
            send(question.reason("nothing was refused" if refusal is None else refusal.message))
        elif question.is_local:
            local = question.wants_address
            send(question.address(b"\x7f\0\0\1") if local else question.nothing())
        elif not door.rules.knows_name(name):
            # It may be connected to by nobody, which connecting says better than this could.
            by_address = question.wants_address
            refused = door.names.refused(name)
            send(question.address(refused, 0) if by_address else question.nothing())
        elif not self._resolve(
            door,
            name,
            lambda _: send(self._allowed(door, question)),
            lambda err: send(
                question.unknown() if err.code == "network.unknown_name" else question.failed()
            ),
        ):
            send(question.failed())

    @staticmethod
    def _allowed(door: Door, question: Question) -> bytes:
        """Answer for a name that exists and may be connected to."""
        if not question.wants_address:
            return question.nothing()
        address = door.names.allowed(question.name)
        return question.failed() if address is None else question.address(address)
