"""What is tried, and what a tier cannot stop.

The numbers are those of the classes of escapes that docs/reference/escapes.md lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TIERS: Final = ("root", "rootless", "minimal")


@dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        name: With the number of its class in front.
        args: Of the attack; names in braces are replaced.
        open_in: The tiers in which it succeeds.
        why: Why it does.
        runs_on: Only on this machine, as `platform.machine` calls it.
        by_plugin: Whether a native plugin tries it too.
        plugin_is_stopped: Whether it fails then, in all tiers: plugins may do less than programs.
    """

    name: str
    args: tuple[str, ...]
    open_in: tuple[str, ...] = ()
    why: str = ""
    runs_on: str = ""
    by_plugin: bool = True
    plugin_is_stopped: bool = False


_LANDLOCK = "Landlock does not look at it, and there is no mount namespace"
_NO_GROUP = "there is no control group"

CASES: Final = (
    Case("01-read-the-program-of-the-host", ("read", "/proc/{host}/exe")),
    # A worker has its channel open; tests/process looks at what else.
    Case("02-find-open-descriptors", ("descriptors",), by_plugin=False),
    Case("03-enter-a-namespace-of-the-host", ("enter", "/proc/{host}/ns/net")),
    Case("04-type-into-a-terminal", ("type",)),
    Case("05-read-a-key-of-the-host", ("key", "pluginapi-escape")),
    Case("06-make-an-io-uring", ("ring",)),
    Case("07-call-by-the-old-gate", ("old-gate",), runs_on="x86_64"),
    Case("08-make-a-user-namespace", ("unshare", "0x10000000")),
    Case("08-make-a-network-namespace", ("unshare", "0x50000000")),
    Case("09-clone3-into-a-user-namespace", ("clone3", "0x10000000")),
    Case("10-write-below-a-read-only-path", ("create", "{shown}/new")),
    Case("11-mount", ("mount", "tmpfs", "/tmp")),
    Case("12-read-a-file-of-the-host", ("read", "{secret}")),
    Case("12-write-a-file-of-the-host", ("write", "{secret}")),
    Case("13-trace-a-process", ("trace", "{host}")),
    Case("13-read-the-memory-of-a-process", ("peek", "{host}", "{address}")),
    Case("13-signal-a-process", ("signal", "{host}")),
    Case("13-see-a-process", ("see", "{host}"), ("minimal",), _LANDLOCK),
    Case("14-dump-core", ("core",)),
    Case("15-write-a-setting-of-the-kernel", ("write", "/proc/sys/kernel/core_pattern")),
    Case("16-connect-to-an-abstract-socket", ("abstract", "{abstract}")),
    Case("16-connect-to-a-socket-with-a-path", ("unix", "{socket}")),
    Case("17-socket-to-the-kernel", ("socket", "16", "3", "0")),
    Case("17-socket-to-the-hypervisor", ("socket", "40", "1", "0")),
    Case("18-change-the-mode-of-a-file", ("chmod", "{secret}"), ("minimal",), _LANDLOCK),
    Case("18-multipath-tcp", ("socket", "2", "1", "262")),
    Case("18-tcp-fast-open", ("tcp", "{tcp}", "0x20000000")),
    Case("19-take-memory", ("memory", "400"), ("rootless", "minimal"), _NO_GROUP),
    Case("19-fill-a-file-system", ("fill", "/tmp/pluginapi-escape", "80")),
    Case("19-take-processes", ("fork", "100"), ("rootless", "minimal"), _NO_GROUP),
    Case("28-mount-control-groups", ("mount", "cgroup2", "/tmp")),
    Case("28-read-control-groups", ("read", "/sys/fs/cgroup")),
    Case(
        "33-execute-from-memory",
        ("memory-exec",),
        TIERS,
        "a program may execute programs; a plugin may not",
        plugin_is_stopped=True,
    ),
    Case("34-send-a-datagram", ("datagram", "{udp}")),
    Case("34-connect-by-tcp", ("tcp", "{tcp}", "0")),
)
