"""Say whether a plugin may connect to a destination, and which line of whom would let it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pluginapi.network_target import NetworkTarget
from pluginapi.requirements import NetworkAccess, PluginRequirements
from pluginapi.sandbox.network.rules import NetworkRules

if TYPE_CHECKING:
    from pluginapi.sandboxing import SandboxingConfig

__all__ = ["ConnectExplanation", "explain_connect"]


@dataclass(frozen=True, slots=True)
class ConnectExplanation:
    """Whether a plugin may connect somewhere.

    Attributes:
        destination: Where to.
        allowed: Whether it may.
        requested: The target of the manifest that asks for it, or None.
        offered: The target of the operator's that offers it, or None.
        reason: Why, in a sentence.
        remedy: What would allow it, or an empty text.
    """

    destination: NetworkTarget
    allowed: bool
    requested: NetworkTarget | None
    offered: NetworkTarget | None
    reason: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-representable values."""
        return {
            "destination": str(self.destination),
            "allowed": self.allowed,
            "requested": None if self.requested is None else str(self.requested),
            "offered": None if self.offered is None else str(self.offered),
            "reason": self.reason,
            "remedy": self.remedy,
        }


def explain_connect(
    destination: NetworkTarget, needs: PluginRequirements, sandboxing: SandboxingConfig
) -> ConnectExplanation:
    """Say whether a plugin may connect to a destination; resolves no name.

    Args:
        destination: A name or an address, with a port.
        needs: What the plugin's manifest asks for.
        sandboxing: What its operator offers.
    """
    access = needs.network.access
    requested = _match(needs.network.allowed_targets, destination)
    offered = _match(map(NetworkTarget.parse, sandboxing.network.allow), destination)

    def answer(reason: str, remedy: str = "", *, allowed: bool = False) -> ConnectExplanation:
        return ConnectExplanation(destination, allowed, requested, offered, reason, remedy)

    if not sandboxing.enabled:
        return answer(
            "nothing restricts plugins: [sandboxing] enabled is false",
            "to restrict them: [sandboxing] enabled = true",
            allowed=True,
        )
    if access is NetworkAccess.NONE or (access is NetworkAccess.RESTRICTED and requested is None):
        asked = "asks for no network" if access is NetworkAccess.NONE else "does not ask for it"
        return answer(
            f"the plugin's manifest {asked}, and what is not asked for is not given",
            "its author adds it to the manifest: "
            f"network=NetworkRequirement.restricted(NetworkTarget.parse('{destination}'))",
        )
    if sandboxing.network.mode == "full":
        return answer("the operator offers all of the network", allowed=True)
    if access is NetworkAccess.FULL:
        return answer(
            "the plugin asks for all of the network, and the operator does not offer that: it "
            "does not load",
            '[sandboxing.network] mode = "full"; or its author names what it needs',
        )
    if sandboxing.network.mode == "isolated" or offered is None:
        return answer(
            "the operator does not offer it",
            f"[sandboxing.network] mode = \"restricted\", allow = ['{destination}']",
        )
    reason = "asked for by the manifest, offered by the operator"
    if destination.is_domain:
        reason += "; its addresses are looked at when it connects"
    return answer(reason, allowed=True)


def _match(targets: Iterable[NetworkTarget], destination: NetworkTarget) -> NetworkTarget | None:
    rules = NetworkRules(tuple(targets))
    port, protocol = destination.port or 0, destination.protocol
    if destination.is_domain:
        return rules.match_name(destination.host, port, protocol)
    return rules.match_address(destination.host, port, protocol)
