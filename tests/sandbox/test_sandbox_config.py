"""What a sandbox may be configured as, and what a plugin gets of what is offered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pluginapi.config import HostConfig
from pluginapi.errors import ConfigError, SandboxConfigError, SandboxError, SandboxUnavailable
from pluginapi.limits import ResourceLimits
from pluginapi.manifest import PluginManifest
from pluginapi.requirements import (
    FilesystemRequirement,
    NetworkRequirement,
    NetworkTarget,
    PluginRequirements,
)
from pluginapi.sandbox.capabilities import CapabilitiesConfig
from pluginapi.sandbox.config import (
    BindMount,
    FilesystemConfig,
    NetworkConfig,
    NetworkMode,
    Overlay,
    SandboxConfig,
)
from pluginapi.sandbox.grants import granted
from pluginapi.sandbox.policy import Policy
from pluginapi.sandbox.seccomp import SeccompMode
from pluginapi.sandbox.user_ids import UserId

FULL = NetworkConfig(mode=NetworkMode.FULL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"network": FULL},
        {"enable_network_namespace": False},
        {"hostname": "a b"},
        {"hostname": ""},
        {"seccomp": "moderate"},
        {"landlock_minimum_abi": 0},
        {"user_ids": (0, 10)},
        {"user_ids": (1 << 32, 1)},
        {"capabilities": CapabilitiesConfig(no_new_privs=False)},
    ],
)
def test_contradictions_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(SandboxConfigError) as caught:
        SandboxConfig(**wrong)
    assert caught.value.code == "sandbox.config"
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"read_only_paths": ("relative",)},
        {"read_only_paths": ("/a/../b",)},
        {"read_only_paths": ("/a/",)},
        {"read_only_paths": ("/a\0b",)},
        {"read_only_paths": "/data"},
        {"writable_paths": ("/",)},
        {"writable_paths": ("/proc/sys",)},
        {"writable_paths": ("/tmp/x",)},
        {"read_only_paths": ("/data",), "writable_paths": ("/data",)},
        {"tmp_size_bytes": 0},
        {"tmp_inodes": 0},
        {"root_path": "root"},
        {"root_path": "/"},
        {"read_only_paths": ("/data",), "overlays": (Overlay("/data"),)},
    ],
)
def test_paths_that_cannot_be_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(SandboxConfigError):
        FilesystemConfig(**wrong)


@pytest.mark.parametrize("wrong", [("data",), ("/tmp",), ("/data", 0), ("/data", 1 << 20, 1)])
def test_an_overlay_is_checked(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(SandboxConfigError):
        Overlay(*wrong)


def test_a_bind_mount_is_checked() -> None:
    with pytest.raises(SandboxConfigError):
        BindMount("data", "/data")
    with pytest.raises(SandboxConfigError):
        BindMount("/data", "/dev/data")


def test_namespaces_without_any_right_to_them() -> None:
    config = SandboxConfig(enable_user_namespace=False)
    with pytest.raises(SandboxUnavailable) as caught:
        Policy(config, "command", privileged=False)
    assert caught.value.details["layer"] == "user namespace"
    Policy(config, "command", privileged=True)
    Policy(SandboxConfig.without_namespaces(), "command", privileged=False)


@pytest.mark.parametrize(
    "files",
    [
        FilesystemConfig(overlays=(Overlay("/data"),)),
        FilesystemConfig(root_path="/srv/root"),
        FilesystemConfig(bind_mounts=(BindMount("/a", "/b"),)),
    ],
)
def test_files_that_take_a_mount_namespace(files: FilesystemConfig) -> None:
    SandboxConfig(filesystem=files)
    with pytest.raises(SandboxConfigError, match="enable_mount_namespace"):
        SandboxConfig.without_namespaces(filesystem=files)


def offer(**changes: Any) -> SandboxConfig:
    files = FilesystemConfig(
        read_only_paths=("/data",),
        writable_paths=("/vol",),
        overlays=(Overlay("/scratch", 1 << 20),),
    )
    return replace(SandboxConfig(filesystem=files), **changes)


def test_what_is_not_asked_for_is_not_given() -> None:
    given = granted(PluginRequirements(), offer(), "acme.a")
    assert given.filesystem.read_only_paths == given.filesystem.writable_paths == ()
    assert given.filesystem.overlays == ()
    open_ = offer(network=FULL, enable_network_namespace=False)
    assert granted(PluginRequirements(), open_, "acme.a").network.mode is NetworkMode.ISOLATED


def test_what_is_asked_for_and_offered_is_given() -> None:
    needs = PluginRequirements(filesystem=FilesystemRequirement.read_only("/data/a", "/vol/b"))
    assert granted(needs, offer(), "acme.a").filesystem.read_only_paths == ("/data/a", "/vol/b")
    needs = PluginRequirements(filesystem=FilesystemRequirement.read_write("/vol/b", "/scratch/c"))
    given = granted(needs, offer(), "acme.a").filesystem
    assert given.writable_paths == ("/vol/b",)
    assert given.overlays == (Overlay("/scratch/c", 1 << 20),)
    needs = PluginRequirements(filesystem=FilesystemRequirement.read_only("/scratch"))
    given = granted(needs, offer(), "acme.a").filesystem
    assert (given.read_only_paths, given.overlays) == (("/scratch",), ())
    needs = PluginRequirements(network=NetworkRequirement.full())
    open_ = offer(network=FULL, enable_network_namespace=False)
    assert granted(needs, open_, "acme.a").network.mode is NetworkMode.FULL


@pytest.mark.parametrize(
    ("needs", "line"),
    [
        (
            PluginRequirements(filesystem=FilesystemRequirement.read_only("/etc")),
            'read_only_paths = ["/etc"]',
        ),
        (
            PluginRequirements(filesystem=FilesystemRequirement.read_only("/database")),
            'read_only_paths = ["/database"]',
        ),
        (
            PluginRequirements(filesystem=FilesystemRequirement.read_write("/data/a")),
            'writable_paths = ["/data/a"]',
        ),
        (PluginRequirements(network=NetworkRequirement.full()), 'mode = "full"'),
        (
            PluginRequirements(
                network=NetworkRequirement.restricted(NetworkTarget.domain("example.com"))
            ),
            'allow = ["example.com"]',
        ),
    ],
)
def test_what_is_not_offered_is_refused(needs: PluginRequirements, line: str) -> None:
    with pytest.raises(SandboxError) as caught:
        granted(needs, offer(), "acme.a")
    assert caught.value.code == "sandbox.not_granted"
    assert caught.value.plugin == "acme.a"
    assert line in (caught.value.hint or "")


def test_user_ids_are_nobody_elses() -> None:
    ids = [UserId(name, 0x5041_0000, 4) for name in ("a", "b", "c", "d")]
    assert {each.uid for each in ids} == {0x5041_0000 + number for number in range(4)}
    with pytest.raises(SandboxError) as caught:
        UserId("e", 0x5041_0000, 4)
    assert caught.value.code == "sandbox.user_ids"
    freed = ids[2].uid
    ids[2].release()
    again = UserId("c", 0x5041_0000, 4)
    assert again.uid == freed
    for each in (*ids, again):
        each.release()


def restricted(*texts: str) -> PluginRequirements:
    targets = map(NetworkTarget.parse, texts)
    return PluginRequirements(network=NetworkRequirement.restricted(*targets))


def offered(*texts: str) -> SandboxConfig:
    network = NetworkConfig(
        mode=NetworkMode.RESTRICTED,
        allow=tuple(map(NetworkTarget.parse, texts)),
        max_connections=7,
    )
    return offer(network=network)


@pytest.mark.parametrize(
    ("wanted", "given", "found"),
    [
        (["a.example"], ["a.example"], ["a.example"]),
        (["a.example"], ["*.example:443", "a.example:80"], ["a.example:443", "a.example:80"]),
        (["*.example:443"], ["a.example"], ["a.example:443"]),
        (["192.0.2.7", "a.example"], ["*.example", "192.0.2.0/24"], ["192.0.2.7", "a.example"]),
    ],
)
def test_what_of_the_network_is_asked_for_and_offered_is_given(
    wanted: list[str], given: list[str], found: list[str]
) -> None:
    config = granted(restricted(*wanted), offered(*given), "acme.a")
    assert config.network.mode is NetworkMode.RESTRICTED
    assert [str(target) for target in config.network.allow] == found
    assert config.network.max_connections == 7
    assert config.enable_network_namespace
    full = offer(network=FULL, enable_network_namespace=False)
    assert [str(each) for each in granted(restricted(*wanted), full, "a").network.allow] == wanted
    assert granted(PluginRequirements(), offered(*given), "a").network == NetworkConfig()


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (["a.example", "b.example"], ["a.example"]),
        (["a.example:443"], ["a.example:80"]),
        (["192.0.2.7"], ["a.example"]),
        (["a.example/udp"], ["a.example"]),
    ],
)
def test_a_destination_that_is_not_offered_is_refused(wanted: list[str], given: list[str]) -> None:
    with pytest.raises(SandboxError) as caught:
        granted(restricted(*wanted), offered(*given), "acme.a")
    assert caught.value.code == "sandbox.not_granted"
    assert wanted[-1] in caught.value.message


def test_a_network_is_restricted_where_there_are_namespaces() -> None:
    with pytest.raises(SandboxError, match="no namespaces"):
        granted(restricted("a.example"), SandboxConfig.without_namespaces(), "acme.a")
    with pytest.raises(SandboxConfigError):
        SandboxConfig(network=NetworkConfig(mode=NetworkMode.RESTRICTED), seccomp=None)
    with pytest.raises(SandboxConfigError):
        SandboxConfig(
            network=NetworkConfig(mode=NetworkMode.RESTRICTED), seccomp=SeccompMode.STRICT
        )


NETWORK = """
[isolation]
mode = "process"
[sandboxing]
enabled = true
[sandboxing.network]
mode = "restricted"
allow = ["api.example.com:443", "*.example.org", "192.0.2.0/24"]
"""


def test_the_network_of_the_file(tmp_path: Path) -> None:
    config = HostConfig.from_text(NETWORK, tmp_path).sandboxing
    needs = restricted("a.example.org:80", "api.example.com").network
    found = config.for_plugin(plain_manifest(network=needs), ResourceLimits(max_connections=3))
    assert found is not None
    assert [str(each) for each in found.network.allow] == [
        "a.example.org:80",
        "api.example.com:443",
    ]
    assert found.network.max_connections == 3


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('"*.example.org"', '"**.example.org"', 8),
        ('"*.example.org"', '"a.example:53/udp"', 8),
        ('"restricted"', '"isolated"', 8),
        ('"restricted"', '"some"', 7),
        ("enabled = true", 'enabled = true\nmode = "minimal"', 8),
        ("enabled = true", 'enabled = true\nseccomp = "strict"', 8),
    ],
)
def test_mistakes_in_the_network_of_the_file(tmp_path: Path, old: str, new: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        HostConfig.from_text(NETWORK.replace(old, new), tmp_path)
    assert caught.value.message.startswith(f"pluginapi.toml:{line}: ")


TOML = """
[isolation]
mode = "process"
[sandboxing]
enabled = true
seccomp = "basic"
[sandboxing.cgroups]
cpu_quota_percent = 50
[sandboxing.filesystem]
read_only_paths = ["/data"]
writable_paths = ["/vol"]
overlay_paths = ["/scratch"]
overlay_bytes = "2 MiB"
root_path = "/srv/root"
tmp_bytes = "1 MiB"
"""


def plain_manifest(**needs: Any) -> PluginManifest:
    from pluginapi.manifest import PluginKind
    from pluginapi.version import PluginVersion

    return PluginManifest(
        name="acme.a",
        version=PluginVersion.parse("1.0.0"),
        author="acme",
        kind=PluginKind.PYTHON,
        requirements=PluginRequirements(**needs),
    )


def test_what_the_file_says(tmp_path: Path) -> None:
    config = HostConfig.from_text(TOML, tmp_path).sandboxing
    needs = FilesystemRequirement.read_only("/data/a")
    limits = ResourceLimits(max_heap_bytes=100 << 20, max_threads=3)
    found = config.for_plugin(plain_manifest(filesystem=needs), limits)
    assert found is not None
    assert found.seccomp is SeccompMode.BASIC
    assert found.filesystem.read_only_paths == ("/data/a",)
    assert found.filesystem.tmp_size_bytes == 1 << 20
    assert found.filesystem.root_path == "/srv/root"
    needs = FilesystemRequirement.read_write("/scratch")
    found = config.for_plugin(plain_manifest(filesystem=needs), limits)
    assert found is not None
    assert found.filesystem.overlays == (Overlay("/scratch", 2 << 20),)
    assert found.cgroup is not None
    assert found.cgroup.memory_limit_bytes == 164 << 20
    assert found.cgroup.pids_limit == 11
    assert found.cgroup.cpu_quota_us == 50_000
    off = HostConfig.from_text("", tmp_path).sandboxing
    assert off.for_plugin(plain_manifest(), limits) is None


def test_the_minimal_mode_of_the_file(tmp_path: Path) -> None:
    text = TOML.replace("enabled = true", 'enabled = true\nmode = "minimal"')
    for key in ("overlay_paths", "root_path"):
        with pytest.raises(ConfigError, match=key):
            HostConfig.from_text(text, tmp_path)
        text = "\n".join(line for line in text.splitlines() if not line.startswith(key))
    config = HostConfig.from_text(text, tmp_path).sandboxing
    found = config.for_plugin(plain_manifest(), ResourceLimits())
    assert found is not None
    assert not found.enable_mount_namespace
    assert found.cgroup is None


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('mode = "process"', 'mode = "in-process"', 5),
        ('read_only_paths = ["/data"]', 'read_only_paths = ["data"]', 10),
        ('writable_paths = ["/vol"]', 'writable_paths = ["/data"]', 11),
        ('overlay_paths = ["/scratch"]', 'overlay_paths = ["/tmp"]', 12),
        ('overlay_bytes = "2 MiB"', 'overlay_bytes = "2"', 13),
        ('root_path = "/srv/root"', 'root_path = "/proc"', 14),
        ('seccomp = "basic"', 'seccomp = "none"', 6),
        ("cpu_quota_percent = 50", "cpu_quota = 50", 8),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, old: str, new: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        HostConfig.from_text(TOML.replace(old, new), tmp_path)
    assert caught.value.message.startswith(f"pluginapi.toml:{line}: ")
