"""What a plugin gets of what its operator offers: no more than it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from pluginapi.errors import SandboxError
from pluginapi.network_target import NetworkTarget
from pluginapi.requirements import (
    FilesystemAccess,
    NetworkAccess,
    NetworkRequirement,
    PluginRequirements,
)
from pluginapi.sandbox.config import NetworkConfig, NetworkMode, Overlay, SandboxConfig
from pluginapi.sandbox.network.rules import meet

__all__ = ["granted"]


def granted(needs: PluginRequirements, offer: SandboxConfig, plugin: str) -> SandboxConfig:
    """Return the sandbox of one plugin.

    What the plugin does not ask for it does not get, though it is offered. The paths of
    ``bind_mounts`` and of the system are its all the same: they are not its to ask for.

    Args:
        needs: What the plugin says that it needs.
        offer: What its operator offers, at most.
        plugin: Its name.

    Raises:
        SandboxError: With code ``sandbox.not_granted`` when it needs what is not offered; the hint
            has the lines that would offer it.
    """
    writable, overlays = _writable(needs, offer, plugin)
    files = replace(
        offer.filesystem,
        read_only_paths=_readable(needs, offer, plugin),
        writable_paths=writable,
        overlays=overlays,
    )
    network = _network(needs, offer, plugin)
    return replace(
        offer,
        filesystem=files,
        network=network,
        enable_network_namespace=network.mode is not NetworkMode.FULL,
    )


def _readable(needs: PluginRequirements, offer: SandboxConfig, plugin: str) -> tuple[str, ...]:
    if needs.filesystem.access is not FilesystemAccess.READ_ONLY:
        return ()
    files = offer.filesystem
    for path in needs.filesystem.allowed_paths:
        overlaid = (overlay.path for overlay in files.overlays)
        if not _covered(path, (*files.read_only_paths, *files.writable_paths, *overlaid)):
            raise _refused(plugin, f"to read {path}", "filesystem", f'read_only_paths = ["{path}"]')
    return tuple(dict.fromkeys(needs.filesystem.allowed_paths))


def _writable(
    needs: PluginRequirements, offer: SandboxConfig, plugin: str
) -> tuple[tuple[str, ...], tuple[Overlay, ...]]:
    """Return what it may write, and what it may write without the host seeing it."""
    if needs.filesystem.access is not FilesystemAccess.READ_WRITE:
        return (), ()
    writable: list[str] = []
    overlays: list[Overlay] = []
    for path in dict.fromkeys(needs.filesystem.allowed_paths):
        over = next(
            (each for each in offer.filesystem.overlays if _covered(path, [each.path])), None
        )
        if _covered(path, offer.filesystem.writable_paths):
            writable.append(path)
        elif over is not None:
            overlays.append(replace(over, path=path))
        else:
            raise _refused(plugin, f"to write {path}", "filesystem", f'writable_paths = ["{path}"]')
    return tuple(writable), tuple(overlays)


def _covered(path: str, offered: Iterable[str]) -> bool:
    wanted = PurePosixPath(path)
    return any(wanted.is_relative_to(each) for each in offered)


def _network(needs: PluginRequirements, offer: SandboxConfig, plugin: str) -> NetworkConfig:
    access = needs.network.access
    offered = offer.network
    if access is NetworkAccess.RESTRICTED:
        return _restricted(needs.network, offer, plugin)
    if access is NetworkAccess.FULL:
        if offered.mode is NetworkMode.FULL:
            return NetworkConfig(mode=NetworkMode.FULL)
        raise _refused(plugin, "all of the network", "network", 'mode = "full"')
    # What it does not ask for it does not get, where namespaces may be made.
    return NetworkConfig() if _can_be_isolated(offer) else NetworkConfig(mode=offered.mode)


def _restricted(wanted: NetworkRequirement, offer: SandboxConfig, plugin: str) -> NetworkConfig:
    """Return what of its targets is offered: of each something, or the plugin cannot work."""
    targets = wanted.allowed_targets
    if not _can_be_isolated(offer):
        raise SandboxError(
            f"plugin {plugin} needs the network restricted to named destinations, and nothing "
            "restricts it where no namespaces are made",
            code="sandbox.not_granted",
            plugin=plugin,
            layer="network",
            hint='use mode = "strict" in [sandboxing]',
        )
    offered = offer.network
    allowed: list[NetworkTarget] = []
    for target in targets:
        if target.protocol == "udp" and (target.is_domain or not offered.link):
            raise SandboxError(
                f"plugin {plugin} needs {target}, and the broker connects TCP alone",
                code="sandbox.not_granted",
                plugin=plugin,
                layer="network",
                hint="UDP takes a link (root), `link = true` in [sandboxing.network], and targets "
                "that are addresses",
            )
        if offered.mode is NetworkMode.FULL:
            found = [target]
        else:
            found = [both for each in offered.allow if (both := meet(target, each)) is not None]
        if not found:
            line = f'mode = "restricted", allow = ["{target}"]'
            raise _refused(plugin, f"to connect to {target}", "network", line)
        allowed += found
    published = {each.port: each for each in offered.publish}
    for port in wanted.listen_ports:
        if port not in published:
            line = f'mode = "restricted", publish = ["{port}"]'
            raise _refused(plugin, f"to listen on port {port}", "network", line)
    return NetworkConfig(
        mode=NetworkMode.RESTRICTED,
        allow=tuple(dict.fromkeys(allowed)),
        publish=tuple(published[port] for port in dict.fromkeys(wanted.listen_ports)),
        verify_tls_names=offered.verify_tls_names,
        allow_encrypted_hello=offered.allow_encrypted_hello,
        link=offered.link and any(not target.is_domain for target in allowed),
        max_connections=offered.max_connections,
    )


def _can_be_isolated(offer: SandboxConfig) -> bool:
    """Tell whether namespaces may be made: where one of the others is."""
    return offer.enable_mount_namespace or offer.enable_pid_namespace


def _refused(plugin: str, what: str, section: str, line: str) -> SandboxError:
    return SandboxError(
        f"plugin {plugin} needs {what}, which its operator does not offer",
        code="sandbox.not_granted",
        plugin=plugin,
        layer=section,
        hint=f"to offer it, add to pluginapi.toml: [sandboxing.{section}] {line}",
    )
