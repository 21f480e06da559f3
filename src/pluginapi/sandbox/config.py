"""What a sandbox is to be: which layers it has, and their bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Final, Self

from pluginapi.errors import SandboxConfigError
from pluginapi.network_target import NetworkTarget
from pluginapi.sandbox.capabilities import CapabilitiesConfig
from pluginapi.sandbox.cgroups import CgroupConfig
from pluginapi.sandbox.network.publishing import PublishedPort
from pluginapi.sandbox.rlimits import RlimitsConfig
from pluginapi.sandbox.seccomp import SeccompFilter, SeccompMode

__all__ = [
    "BindMount",
    "FilesystemConfig",
    "NetworkConfig",
    "NetworkMode",
    "Overlay",
    "SandboxConfig",
]

_MIB: Final = 1 << 20
_MOST_PLACES: Final = 128
_MOST_TARGETS: Final = 256
_MOST_PORTS: Final = 64
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MOST_UID: Final = (1 << 32) - 2
_LANDLOCK_ABIS: Final = range(1, 100)
# The sandbox's own; what is mounted there is not the operator's.
_RESERVED: Final = ("/proc", "/dev", "/sys", "/tmp")  # noqa: S108 - of the sandbox


def _refuse(message: str, hint: str) -> SandboxConfigError:
    return SandboxConfigError(message, hint=hint)


def _check_path(what: str, path: object, *, target: bool) -> None:
    """Refuse what is no absolute path in its plain form, and the places of the sandbox's own."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise _refuse(f"{what} is {path!r}, which is no absolute path", "name it from the root")
    plain = str(PurePosixPath(path))
    if plain != path or ".." in PurePosixPath(path).parts or path.startswith("//"):
        raise _refuse(
            f"{what} is {path!r}, not a path in its plain form",
            f"write it without '..', '.', '//' and a slash at its end, like {plain!r}",
        )
    if not target:
        return
    if path == "/" or any(path == own or path.startswith(own + "/") for own in _RESERVED):
        raise _refuse(
            f"{what} is {path!r}, where the sandbox has files of its own",
            "choose another place; /tmp is writable as it is",
        )


def _check_number(what: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise _refuse(
            f"{what} is {value!r}, not a number from {least} to {most}", "choose one within these"
        )


class NetworkMode(Enum):
    """How much of the network a plugin has."""

    ISOLATED = "isolated"
    """None: a network namespace of its own, in which there is nothing."""
    RESTRICTED = "restricted"
    """Named destinations alone."""
    FULL = "full"
    """The host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Say what a plugin has of the network.

    Attributes:
        mode: How much.
        allow: With ``RESTRICTED``, where it may connect to, over TCP. A name stands for itself: not
            for the addresses that it has, which other names may have too, and not for addresses of
            this machine and its neighbours, which have to be listed as such.
        publish: With ``RESTRICTED``, the ports that it may listen on, and where on this host they
            are.
        link: With ``RESTRICTED``, whether the plugin has a link to the host's network, through
            which it reaches addresses that are allowed as such, over UDP too. It takes root,
            nf_tables, and a host that routes. Names go through the broker all the same.
        verify_tls_names: With ``RESTRICTED``, whether connections to names have to be TLS, and to
            ask for the name that was connected to. They are relayed then, at the host's cost.
        allow_encrypted_hello: Whether they may send an encrypted ClientHello, in which another name
            can be; some clients send one that means nothing.
        max_connections: With ``RESTRICTED``, how many connections it may make at a time.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` when a value is out of bounds.
    """

    mode: NetworkMode = NetworkMode.ISOLATED
    allow: tuple[NetworkTarget, ...] = ()
    publish: tuple[PublishedPort, ...] = ()
    link: bool = False
    verify_tls_names: bool = False
    allow_encrypted_hello: bool = False
    max_connections: int = 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", tuple(self.allow))
        object.__setattr__(self, "publish", tuple(self.publish))
        if not all(isinstance(port, PublishedPort) for port in self.publish):
            raise _refuse(
                "what is published is not made of PublishedPort",
                "write publish=(PublishedPort(80),)",
            )
        ports = [port.port for port in self.publish]
        if len(set(ports)) != len(ports) or len(ports) > _MOST_PORTS:
            raise _refuse(
                f"a port is published twice, or more than {_MOST_PORTS} are", "name each port once"
            )
        if not all(isinstance(target, NetworkTarget) for target in self.allow):
            raise _refuse(
                "what is allowed of the network is not made of NetworkTarget",
                'write allow=(NetworkTarget.domain("api.example.com", 443),)',
            )
        if len(self.allow) > _MOST_TARGETS:
            raise _refuse(
                f"{len(self.allow)} destinations are allowed, more than {_MOST_TARGETS}",
                "name fewer, broader ones",
            )
        restricts = self.allow or self.publish or self.link or self.verify_tls_names
        if restricts and self.mode is not NetworkMode.RESTRICTED:
            raise _refuse(
                "destinations, ports, a link or a check are named, and the network is "
                f"{self.mode.value}",
                "they go with NetworkMode.RESTRICTED",
            )
        udp = next((target for target in self.allow if target.protocol == "udp"), None)
        if udp is not None and (udp.is_domain or not self.link):
            raise _refuse(
                f"{udp} is allowed, and the broker connects TCP alone",
                "name addresses, or a range of them, and use link=True (which takes root)",
            )
        _check_number("max_connections", self.max_connections, 0, 1 << 20)


@dataclass(frozen=True, slots=True)
class BindMount:
    """Show a file or directory of the host at another place.

    Attributes:
        source: An absolute path of the host; links are followed when the sandbox is made.
        target: Where the plugin finds it.
        readonly: Whether it may only be read, the mounts below it too.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` for what is no absolute path in its plain
            form, or a target where the sandbox has files of its own.
    """

    source: str
    target: str
    readonly: bool = True

    def __post_init__(self) -> None:
        _check_path("the source of a bind mount", self.source, target=False)
        _check_path("the target of a bind mount", self.target, target=True)


@dataclass(frozen=True, slots=True)
class Overlay:
    """Show a directory of the host where it is, and keep the changes to it in memory.

    Each process has changes of its own, that are gone when it ends; the directory of the host stays
    as it is. At its top everybody may make files. A host that is root runs plugins as users that
    own nothing: what is there already can be changed as far as it lets them.

    Attributes:
        path: An absolute path of the host.
        size_bytes: Bytes of the changes, which are memory.
        inodes: Files among them, those that were changed with them.

    Raises:
        SandboxConfigError: As of `BindMount`; or a number is out of bounds.
    """

    path: str
    size_bytes: int = 64 * _MIB
    inodes: int = 4096

    def __post_init__(self) -> None:
        _check_path("the path of an overlay", self.path, target=True)
        _check_number("size_bytes", self.size_bytes, 4096, 1 << 40)
        # What holds the layers, and the layers.
        _check_number("inodes", self.inodes, 8, 1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemConfig:
    """Say what a plugin sees of the file system: nothing but what is named here.

    Whatever is shown has no device files and no set-user-id programs; what is writable cannot be
    executed. There is always a /proc of the plugin's own processes alone, a /dev with null, zero,
    full, random and urandom, and an empty /tmp; there is no /sys.

    Attributes:
        read_only_paths: Files and directories of the host that are shown where they are.
        writable_paths: Those that may be written, too. A host that is root runs plugins as users
            that own nothing: they must be let write there.
        bind_mounts: What is shown at another place.
        overlays: What may be written without the host seeing it.
        root_path: A directory of the host with a system of its own, or None. What is in it is shown
            at the root, read-only, but for dev, proc, sys and tmp; and nothing of the host's system
            is. Other paths are shown in it where it has a place for them, or none above it.
        system_paths: Whether what programs need is shown, read-only: /usr and what links there, the
            cache of the dynamic loader, certificates. Not with ``root_path``.
        tmp_size_bytes: Bytes of /tmp, which are memory.
        tmp_inodes: Files in /tmp.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` when a value is out of bounds.
    """

    read_only_paths: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()
    bind_mounts: tuple[BindMount, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    root_path: str | None = None
    system_paths: bool = True
    tmp_size_bytes: int = 64 * _MIB
    tmp_inodes: int = 4096

    def __post_init__(self) -> None:
        for name in ("read_only_paths", "writable_paths"):
            paths = getattr(self, name)
            if isinstance(paths, str):
                raise _refuse(f"{name} is one text", "write a list of paths")
            object.__setattr__(self, name, tuple(paths))
            for path in getattr(self, name):
                _check_path(f"a path of {name}", path, target=True)
        object.__setattr__(self, "bind_mounts", tuple(self.bind_mounts))
        object.__setattr__(self, "overlays", tuple(self.overlays))
        if self.root_path is not None:
            _check_path("root_path", self.root_path, target=True)
        places = [
            *self.read_only_paths,
            *self.writable_paths,
            *(mount.target for mount in self.bind_mounts),
            *(overlay.path for overlay in self.overlays),
        ]
        if len(places) > _MOST_PLACES:
            raise _refuse(
                f"{len(places)} paths are shown, more than {_MOST_PLACES}",
                "show a directory above several of them",
            )
        twice = {place for place in places if places.count(place) > 1}
        if twice:
            raise _refuse(
                f"more than one thing is shown at {', '.join(sorted(twice))}",
                "name each place once",
            )
        _check_number("tmp_size_bytes", self.tmp_size_bytes, 4096, 1 << 40)
        _check_number("tmp_inodes", self.tmp_inodes, 1, 1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """Say what confines a plugin's process.

    Each layer that is asked for is there, or the plugin does not start: `SandboxUnavailable` says
    which one cannot be had, why, and what would change that.

    Attributes:
        enable_pid_namespace: Sees no process but its own, all of which end with it.
        enable_network_namespace: Has a network of its own, with nothing in it.
        enable_mount_namespace: Sees of the file system what ``filesystem`` says.
        enable_ipc_namespace: Shares no System V objects and message queues.
        enable_uts_namespace: Has a host name of its own.
        enable_user_namespace: Whether the process is in a user namespace of its own. Namespaces
            take the rights of root or a user namespace: None takes one for all plugins where the
            host is not root, False never takes one.
        cgroup: Bounds of all its processes together; None sets none.
        seccomp: The system calls that it may make; None allows all.
        capabilities: What it keeps of the rights of root: nothing.
        filesystem: What it sees of the file system.
        network: What it has of the network.
        enable_landlock: A second wall around files, that does not depend on mounts.
        landlock_minimum_abi: The version of Landlock that the kernel must have. Without a mount
            namespace it is 3 at least, without a PID or network namespace 6.
        rlimits: Bounds of each process.
        hostname: The name in its UTS namespace.
        user_ids: The first and the number of the user ids of which each plugin gets one, where the
            host is root; nobody else's.

    Raises:
        SandboxConfigError: With code ``sandbox.config`` when values contradict each other.
    """

    enable_pid_namespace: bool = True
    enable_network_namespace: bool = True
    enable_mount_namespace: bool = True
    enable_ipc_namespace: bool = True
    enable_uts_namespace: bool = True
    enable_user_namespace: bool | None = None
    cgroup: CgroupConfig | None = field(
        default_factory=lambda: CgroupConfig(memory_limit_bytes=256 * _MIB, pids_limit=64)
    )
    seccomp: SeccompMode | SeccompFilter | None = SeccompMode.MODERATE
    capabilities: CapabilitiesConfig = field(default_factory=CapabilitiesConfig)
    filesystem: FilesystemConfig = field(default_factory=FilesystemConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    enable_landlock: bool = True
    landlock_minimum_abi: int = 1
    rlimits: RlimitsConfig = field(default_factory=RlimitsConfig)
    hostname: str = "plugin"
    user_ids: tuple[int, int] = (0x5041_0000, 65_536)

    def __post_init__(self) -> None:
        self._check_types()
        full = self.network.mode is NetworkMode.FULL
        if full == self.enable_network_namespace:
            raise _refuse(
                f"the network is {self.network.mode.value}, and enable_network_namespace is "
                f"{self.enable_network_namespace}",
                "the full network is the host's, any other takes a namespace of its own: "
                "change one of the two",
            )
        if self.network.mode is NetworkMode.RESTRICTED and self.seccomp in (
            None,
            SeccompMode.STRICT,
        ):
            raise _refuse(
                "the network is restricted, and seccomp is "
                + ("strict" if self.seccomp is SeccompMode.STRICT else "off"),
                "connects are found by a filter that lets sockets be made: use "
                "SeccompMode.BASIC, MODERATE or PERMISSIVE",
            )
        files = self.filesystem
        if not self.enable_mount_namespace and (
            files.bind_mounts or files.overlays or files.root_path is not None
        ):
            raise _refuse(
                "bind_mounts, overlays and root_path change what is seen where, which takes "
                "enable_mount_namespace",
                "leave it on; without it there are read_only_paths and writable_paths",
            )
        if self.seccomp is None and not self.capabilities.no_new_privs and not self.enable_landlock:
            return
        if not self.capabilities.no_new_privs:
            raise _refuse(
                "no_new_privs is off, and seccomp or Landlock is on",
                "leave no_new_privs on: both would let set-user-id programs be misled",
            )

    def _check_types(self) -> None:
        if self.seccomp is not None and not isinstance(self.seccomp, SeccompMode | SeccompFilter):
            raise _refuse(
                f"seccomp is {self.seccomp!r}", "use a SeccompMode, a SeccompFilter or None"
            )
        if not _HOSTNAME.fullmatch(self.hostname):
            raise _refuse(
                f"the hostname is {self.hostname!r}", "use 1 to 63 letters, digits and hyphens"
            )
        _check_number("landlock_minimum_abi", self.landlock_minimum_abi, 1, _LANDLOCK_ABIS[-1])
        first, count = self.user_ids
        _check_number("the first of user_ids", first, 1, _MOST_UID)
        _check_number("the number of user_ids", count, 1, _MOST_UID - first + 1)

    @classmethod
    def without_namespaces(cls, **changes: Any) -> Self:
        """Return what there is where nobody may make namespaces: Landlock, seccomp, limits.

        It is weaker: processes of the same user are seen, though neither signalled nor traced; the
        network is the host's; names and dates of all files are seen. Landlock must have version 6.

        Args:
            changes: Attributes that are to be others.
        """
        given: dict[str, Any] = {
            "enable_pid_namespace": False,
            "enable_network_namespace": False,
            "enable_mount_namespace": False,
            "enable_ipc_namespace": False,
            "enable_uts_namespace": False,
            "enable_user_namespace": False,
            "cgroup": None,
            "network": NetworkConfig(mode=NetworkMode.FULL),
        }
        return cls(**(given | changes))
