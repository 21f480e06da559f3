"""What the name server says that a plugin finds in its network."""

from __future__ import annotations

import socket
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from pluginapi.network_target import normal_name

__all__ = ["REASON_NAME", "Question", "read_question"]

REASON_NAME: Final = "refused.pluginapi.invalid"
"""A TXT query for this name says why the plugin's latest connect was refused; for
``<port>.<address in hex>.`` before it, why the latest one to that address was (RFC 6761: no name
below ``invalid`` exists)."""

_MOST_BYTES: Final = 512
_LOCAL: Final = "localhost"
_TEXT: Final = 255
_REASON_TTL: Final = 0
_NAME_TTL: Final = 60


class Question:
    """One question of a plugin, and the answers to it as bytes.

    Attributes:
        name: What is asked for, in its normal form.
        wants_address: Whether an IPv4 address is asked for.
        wants_reason: Whether it is the reason of the latest refusal.
        is_local: Whether the name is the plugin's own host's.
    """

    def __init__(
        self, query: dns.message.Message, name: str, kind: dns.rdatatype.RdataType
    ) -> None:
        self._query = query
        self.name = name
        self._kind = kind

    @property
    def wants_address(self) -> bool:
        """Whether an IPv4 address is asked for."""
        return self._kind == dns.rdatatype.A

    @property
    def wants_reason(self) -> bool:
        """Whether it is the reason of the latest refusal."""
        name = self.name
        return self._kind == dns.rdatatype.TXT and (
            name == REASON_NAME or name.endswith("." + REASON_NAME)
        )

    @property
    def refused(self) -> tuple[bytes, int] | None:
        """The address and the port whose refusal is asked for; None is the latest one's."""
        port, _, address = self.name.removesuffix(REASON_NAME).rstrip(".").partition(".")
        try:
            return bytes.fromhex(address), int(port)
        except ValueError:
            return None

    @property
    def is_local(self) -> bool:
        """Whether the name is that of the loopback, RFC 6761."""
        return self.name == _LOCAL or self.name.endswith("." + _LOCAL)

    def address(self, address: bytes, ttl: int = _NAME_TTL) -> bytes:
        """Answer with an IPv4 address."""
        return self._answer("A", socket.inet_ntop(socket.AF_INET, address), ttl)

    def reason(self, text: str) -> bytes:
        """Answer with a text."""
        plain = text.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        parts = [plain[at : at + _TEXT] for at in range(0, min(len(plain), 3 * _TEXT), _TEXT)]
        return self._answer("TXT", " ".join(f'"{part}"' for part in parts or [""]), _REASON_TTL)

    def nothing(self) -> bytes:
        """Answer that the name has nothing of this kind."""
        return self._finish(dns.rcode.NOERROR)

    def unknown(self) -> bytes:
        """Answer that there is no such name."""
        return self._finish(dns.rcode.NXDOMAIN)

    def failed(self) -> bytes:
        """Answer that it could not be found out."""
        return self._finish(dns.rcode.SERVFAIL)

    def _answer(self, kind: str, text: str, ttl: int) -> bytes:
        response = self._response(dns.rcode.NOERROR)
        asked = self._query.question[0].name
        response.answer.append(dns.rrset.from_text(asked, ttl, "IN", kind, text))
        return response.to_wire()

    def _finish(self, code: dns.rcode.Rcode) -> bytes:
        return self._response(code).to_wire()

    def _response(self, code: dns.rcode.Rcode) -> dns.message.Message:
        response = dns.message.make_response(self._query, recursion_available=True)
        response.set_rcode(code)
        return response


def read_question(data: bytes) -> Question | None:
    """Read what a plugin has sent to its name server; None when it is no question at all.

    Bounded by 512 bytes. Raises nothing for whatever bytes there are.
    """
    if len(data) > _MOST_BYTES:
        return None
    try:
        query = dns.message.from_wire(data, ignore_trailing=True)
        if (
            query.flags & dns.flags.QR
            or query.opcode() != dns.opcode.QUERY
            or len(query.question) != 1
            or query.question[0].rdclass != dns.rdataclass.IN
        ):
            return None
        asked = query.question[0]
        name = normal_name(asked.name.to_text(omit_final_dot=True))
    except (dns.exception.DNSException, ValueError):
        return None
    return Question(query, name, asked.rdtype)
