"""A name server for tests: its answers are what the test says, wrong ones too."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Records: TypeAlias = list[tuple[str, int, str]]
"""Kind, time to live, value."""
Zone: TypeAlias = Mapping[str, Records | Callable[[], Records]]


class DnsServer:
    """Answer from a zone, over UDP and TCP, on threads of its own.

    Attributes:
        zone: Names in lower case without final dot; what is not there does not exist.
        asked: The questions, "name KIND", in their order.
        spoil: Changes an answer before it is sent over UDP; None in return sends nothing.
    """

    def __init__(self, zone: Zone, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.zone = dict(zone)
        self.asked: list[str] = []
        self.spoil: Callable[[bytes], bytes | None] = lambda data: data
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(address)
        self.address: tuple[str, int] = self._udp.getsockname()
        self._tcp = socket.create_server(self.address)
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        # A close alone does not end a wait.
        for each in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def answer(self, data: bytes) -> dns.message.Message:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        response = dns.message.make_response(query, recursion_available=True)
        response.use_edns(False)
        if name not in self.zone:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return response
        for owner, (found, ttl, value) in self._chain(name, kind):
            response.answer.append(dns.rrset.from_text(owner + ".", ttl, "IN", found, value))
        return response

    def _chain(self, name: str, kind: str) -> Iterator[tuple[str, tuple[str, int, str]]]:
        for _ in range(20):
            records = self.zone.get(name, [])
            records = records() if callable(records) else records
            alias = next((record for record in records if record[0] == "CNAME"), None)
            if alias is None:
                yield from ((name, record) for record in records if record[0] == kind)
                return
            yield name, alias
            name = alias[2].removesuffix(".")

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, sender = self._udp.recvfrom(4096)
                if not data:
                    return
                answer = self.spoil(self.answer(data).to_wire(max_size=65535))
                if answer is not None:
                    self._udp.sendto(answer, sender)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._tcp.accept()
                with taken:
                    (size,) = struct.unpack("!H", taken.recv(2, socket.MSG_WAITALL))
                    answer = self.answer(taken.recv(size, socket.MSG_WAITALL)).to_wire()
                    taken.sendall(struct.pack("!H", len(answer)) + answer)


def truncated(data: bytes) -> bytes:
    """Return an answer that says it was cut off, and has nothing."""
    message = dns.message.from_wire(data)
    message.answer = []
    message.flags |= dns.flags.TC
    return message.to_wire()
