"""What a plugin gets of what its operator offers: no more than it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from pluginapi.errors import SandboxError
from pluginapi.requirements import FilesystemAccess, NetworkAccess, PluginRequirements
from pluginapi.sandbox.config import NetworkConfig, NetworkMode, Overlay, SandboxConfig

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
    mode = _network(needs, offer, plugin)
    return replace(
        offer,
        filesystem=files,
        network=NetworkConfig(mode=mode),
        enable_network_namespace=mode is NetworkMode.ISOLATED,
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


def _network(needs: PluginRequirements, offer: SandboxConfig, plugin: str) -> NetworkMode:
    access = needs.network.access
    if access is NetworkAccess.RESTRICTED:
        raise SandboxError(
            f"plugin {plugin} needs the network restricted to named destinations, which is no part "
            "of this version",
            code="sandbox.not_granted",
            plugin=plugin,
            layer="network",
            hint="run it outside of the sandbox, by [isolation.plugin] and without [sandboxing], "
            "if you trust it as the host itself",
        )
    if access is NetworkAccess.FULL and offer.network.mode is not NetworkMode.FULL:
        raise _refused(plugin, "all of the network", "network", 'mode = "full"')
    if access is NetworkAccess.NONE and _can_be_isolated(offer):
        return NetworkMode.ISOLATED
    return offer.network.mode


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
