"""What ``[sandboxing]`` of `pluginapi.toml` says, and what it comes to for one plugin."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pluginapi.errors import InvalidManifest, SandboxConfigError
from pluginapi.network_target import NetworkTarget

if TYPE_CHECKING:
    from pluginapi.config_reader import Table
    from pluginapi.limits import ResourceLimits
    from pluginapi.manifest import PluginManifest
    from pluginapi.sandbox.cgroups import CgroupConfig
    from pluginapi.sandbox.config import SandboxConfig

__all__ = [
    "CgroupsConfig",
    "SandboxFilesConfig",
    "SandboxNetworkConfig",
    "SandboxingConfig",
    "read_sandboxing",
]

_MODES: Final = ("strict", "minimal")
_SECCOMP: Final = ("strict", "basic", "moderate", "permissive")
_NETWORK: Final = ("isolated", "restricted", "full")
_PATHS: Final = ("read_only_paths", "writable_paths", "overlay_paths")
_MIB: Final = 1 << 20
# What a worker takes besides what its plugin allocates; processes.md has the figures.
_WORKER_BYTES: Final = 64 * _MIB
_WORKER_THREADS: Final = 8
_PERIOD_US: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupsConfig:
    """Bound the control group of a sandboxed plugin: ``[sandboxing.cgroups]``.

    Attributes:
        enabled: Whether there is one. Where nobody may make control groups, set it to false.
        memory_limit_mb: Memory in MiB, or None for the plugin's own heap limit and 64 MiB.
        cpu_quota_percent: Share of one processor in percent, above 100 for several.
        max_pids: Processes and threads, or None for the plugin's own thread limit and 8.
    """

    enabled: bool = True
    memory_limit_mb: int | None = None
    cpu_quota_percent: int = 100
    max_pids: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFilesConfig:
    """Offer files of the host to plugins that ask for them: ``[sandboxing.filesystem]``.

    Attributes:
        read_only_paths: What may be read, and what is below it.
        writable_paths: What may be written too.
        overlay_paths: Directories that may be written, each plugin's changes being its own, in
            memory, and gone when it ends.
        overlay_bytes: Size of the changes to one of them.
        root_path: A directory with a system that plugins see in place of the host's, or None.
        tmp_bytes: Size of each plugin's own /tmp.
    """

    read_only_paths: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()
    overlay_paths: tuple[str, ...] = ()
    overlay_bytes: int = 64 * _MIB
    root_path: str | None = None
    tmp_bytes: int = 64 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxNetworkConfig:
    """Offer the network to plugins that ask for it: ``[sandboxing.network]``.

    Attributes:
        mode: ``isolated``; ``restricted`` to what is named in ``allow``, for plugins that ask for
            these destinations; or ``full``, for plugins that ask for all of it. Those that ask for
            less get less.
        allow: Destinations as `NetworkTarget.parse` reads them.
        publish: Ports that plugins may listen on, ``[ADDRESS:[HOST_PORT:]]PORT``: of 127.0.0.1 and
            the same port where nothing else is said.
        verify_tls_names: Whether connections to names have to be TLS and ask for that name.
        allow_encrypted_hello: Whether they may hide another name in an encrypted ClientHello.
        link: Whether plugins that ask for addresses get a link, for UDP and for TCP; it takes root.
    """

    mode: str = "isolated"
    allow: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    link: bool = False
    verify_tls_names: bool = False
    allow_encrypted_hello: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxingConfig:
    """Say how plugins are confined in processes of their own: ``[sandboxing]``.

    Attributes:
        enabled: Whether they are. Each layer must be had then, or the plugin does not start.
        mode: ``strict`` (every layer), or ``minimal``: what there is where nobody may make
            namespaces.
        seccomp: The system calls that plugins may make: ``strict``, ``basic``, ``moderate`` or
            ``permissive``.
        cgroups: Bounds of the control group.
        filesystem: What of the file system plugins may ask for.
        network: What of the network they may ask for.
    """

    enabled: bool = False
    mode: str = "strict"
    seccomp: str = "moderate"
    cgroups: CgroupsConfig = field(default_factory=CgroupsConfig)
    filesystem: SandboxFilesConfig = field(default_factory=SandboxFilesConfig)
    network: SandboxNetworkConfig = field(default_factory=SandboxNetworkConfig)

    def for_plugin(self, manifest: PluginManifest, limits: ResourceLimits) -> SandboxConfig | None:
        """Return what confines a plugin, or None when nothing is to.

        Args:
            manifest: What the plugin says that it needs.
            limits: Its limits in force.

        Raises:
            SandboxError: With code ``sandbox.not_granted`` when it needs what is not offered.
        """
        if not self.enabled:
            return None
        from pluginapi.sandbox.config import (  # noqa: PLC0415 - hosts without a sandbox need none
            FilesystemConfig,
            NetworkConfig,
            NetworkMode,
            Overlay,
            SandboxConfig,
        )
        from pluginapi.sandbox.grants import granted  # noqa: PLC0415
        from pluginapi.sandbox.network.publishing import PublishedPort  # noqa: PLC0415
        from pluginapi.sandbox.seccomp import SeccompMode  # noqa: PLC0415

        offered = self.filesystem
        files = FilesystemConfig(
            read_only_paths=offered.read_only_paths,
            writable_paths=offered.writable_paths,
            overlays=tuple(Overlay(path, offered.overlay_bytes) for path in offered.overlay_paths),
            root_path=offered.root_path,
            tmp_size_bytes=offered.tmp_bytes,
        )
        seccomp = SeccompMode(self.seccomp)
        if self.mode == "minimal":
            offer = SandboxConfig.without_namespaces(filesystem=files, seccomp=seccomp)
        else:
            mode = NetworkMode(self.network.mode)
            offer = SandboxConfig(
                seccomp=seccomp,
                filesystem=files,
                cgroup=self._cgroup(limits),
                enable_network_namespace=mode is not NetworkMode.FULL,
                network=NetworkConfig(
                    mode=mode,
                    allow=tuple(map(NetworkTarget.parse, self.network.allow)),
                    publish=tuple(map(PublishedPort.parse, self.network.publish)),
                    link=self.network.link,
                    verify_tls_names=self.network.verify_tls_names,
                    allow_encrypted_hello=self.network.allow_encrypted_hello,
                    max_connections=min(limits.max_connections, 1 << 20),
                ),
            )
        return granted(manifest.requirements, offer, manifest.name)

    def _cgroup(self, limits: ResourceLimits) -> CgroupConfig | None:
        from pluginapi.sandbox.cgroups import CgroupConfig  # noqa: PLC0415

        bounds = self.cgroups
        if not bounds.enabled:
            return None
        memory = (
            limits.max_heap_bytes + _WORKER_BYTES
            if bounds.memory_limit_mb is None
            else bounds.memory_limit_mb * _MIB
        )
        return CgroupConfig(
            memory_limit_bytes=memory,
            cpu_quota_us=bounds.cpu_quota_percent * _PERIOD_US // 100,
            cpu_period_us=_PERIOD_US,
            pids_limit=limits.max_threads + _WORKER_THREADS
            if bounds.max_pids is None
            else bounds.max_pids,
        )


def read_sandboxing(table: Table) -> SandboxingConfig:
    """Read ``[sandboxing]``.

    Raises:
        ConfigError: The message names the line and the key.
    """
    default = SandboxingConfig()
    groups, files, network = (table.table(name) for name in ("cgroups", "filesystem", "network"))
    root = files.optional_path("root_path")
    config = SandboxingConfig(
        enabled=table.boolean("enabled", default.enabled),
        mode=table.choice("mode", default.mode, _MODES),
        seccomp=table.choice("seccomp", default.seccomp, _SECCOMP),
        cgroups=CgroupsConfig(
            enabled=groups.boolean("enabled", default.cgroups.enabled),
            memory_limit_mb=groups.optional_integer("memory_limit_mb", 1, 1024 * 1024),
            cpu_quota_percent=groups.integer(
                "cpu_quota_percent", default.cgroups.cpu_quota_percent, 1, 100_000
            ),
            max_pids=groups.optional_integer("max_pids", 1, 4_194_304),
        ),
        filesystem=SandboxFilesConfig(
            read_only_paths=files.texts("read_only_paths"),
            writable_paths=files.texts("writable_paths"),
            overlay_paths=files.texts("overlay_paths"),
            overlay_bytes=files.size(
                "overlay_bytes", default.filesystem.overlay_bytes, 4096, 1 << 40
            ),
            root_path=None if root is None else str(root),
            tmp_bytes=files.size("tmp_bytes", default.filesystem.tmp_bytes, 4096, 1 << 40),
        ),
        network=SandboxNetworkConfig(
            mode=network.choice("mode", default.network.mode, _NETWORK),
            allow=network.texts("allow"),
            publish=network.texts("publish"),
            link=network.boolean("link", default.network.link),
            verify_tls_names=network.boolean("verify_tls_names", False),
            allow_encrypted_hello=network.boolean("allow_encrypted_hello", False),
        ),
    )
    for each in (groups, files, network, table):
        each.refuse_unknown()
    if not config.enabled:
        return config
    if sys.platform != "linux":
        raise table.error(
            "enabled",
            f"the sandbox needs Linux, this is {sys.platform}",
            "set enabled to false, and load only plugins that you trust as much as the host itself",
            "config.sandbox_unavailable",
        )
    _check_paths(files, config)
    _check_network(network, config)
    return config


def _check_network(table: Table, config: SandboxingConfig) -> None:
    for number, text in enumerate(config.network.allow):
        try:
            NetworkTarget.parse(text)
        except InvalidManifest as err:
            raise table.item_error("allow", number, err.message, err.hint or "") from err
    offered = config.network
    if (
        not (offered.allow or offered.publish or offered.link or offered.verify_tls_names)
        and offered.mode != "restricted"
    ):
        return
    from pluginapi.sandbox.network.publishing import PublishedPort  # noqa: PLC0415 - as above

    for number, text in enumerate(offered.publish):
        try:
            PublishedPort.parse(text)
        except SandboxConfigError as err:
            raise table.item_error("publish", number, err.message, err.hint or "") from err
    if config.mode == "minimal":
        raise table.error(
            "mode" if offered.mode == "restricted" else "allow" if offered.allow else "publish",
            'the mode of the sandbox is "minimal", in which nothing restricts the network',
            'use mode = "strict" in [sandboxing]',
        )
    from pluginapi.sandbox.config import NetworkConfig, NetworkMode  # noqa: PLC0415 - as above

    if config.network.mode == "restricted" and config.seccomp == "strict":
        raise table.error(
            "mode",
            'seccomp is "strict", in which no socket can be made',
            'use seccomp = "basic", "moderate" or "permissive" in [sandboxing]',
        )
    try:
        NetworkConfig(
            mode=NetworkMode(config.network.mode),
            allow=tuple(map(NetworkTarget.parse, config.network.allow)),
            publish=tuple(map(PublishedPort.parse, config.network.publish)),
            link=offered.link,
            verify_tls_names=offered.verify_tls_names,
        )
    except SandboxConfigError as err:
        raise table.error(
            "allow" if offered.allow else "publish", err.message, err.hint or ""
        ) from err


def _check_paths(table: Table, config: SandboxingConfig) -> None:
    from pluginapi.sandbox.config import FilesystemConfig  # noqa: PLC0415 - as above

    files = config.filesystem
    for key in _PATHS:
        for number, path in enumerate(getattr(files, key)):
            try:
                FilesystemConfig(read_only_paths=(path,))
            except SandboxConfigError as err:
                raise table.item_error(key, number, err.message, err.hint or "") from err
    every = tuple(path for key in _PATHS for path in getattr(files, key))
    for key, given in (
        ("root_path", {"root_path": files.root_path}),
        ("writable_paths", {"read_only_paths": every}),
    ):
        try:
            FilesystemConfig(**given)
        except SandboxConfigError as err:
            raise table.error(key, err.message, err.hint or "") from err
    for key in ("overlay_paths", "root_path"):
        if getattr(files, key) and config.mode == "minimal":
            raise table.error(
                key,
                'the mode is "minimal", in which files are seen where they are',
                'use mode = "strict"; "minimal" has read_only_paths and writable_paths',
            )
