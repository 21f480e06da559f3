"""Finding control groups in what /proc of other machines says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi.errors import SandboxConfigError, SandboxUnavailable
from pluginapi.sandbox.cgroups import CgroupConfig, CgroupLayout, Hierarchy, read_layout, v1, v2
from pluginapi.sandbox.cgroups.hierarchy import choose_parent

pytestmark = pytest.mark.vm

V2 = """\
24 1 0:22 / /proc rw,nosuid - proc proc rw
30 23 0:26 / {root} rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
"""
V1 = """\
31 23 0:28 / {root} rw - tmpfs tmpfs rw,mode=755
35 31 0:32 / {root}/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / {root}/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / {root}/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / {root}/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""


def proc_of(tmp_path: Path, mounts: str, groups: str) -> Path:
    proc = tmp_path / "proc"
    proc.mkdir(parents=True)
    (proc / "mountinfo").write_text(mounts.format(root=tmp_path / "cg"))
    (proc / "cgroup").write_text(groups)
    return proc


def group(path: Path, controllers: str = "", handed_on: str = "") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "cgroup.controllers").write_text(controllers)
    (path / "cgroup.subtree_control").write_text(handed_on)
    return path


def test_version_2(tmp_path: Path) -> None:
    own = group(tmp_path / "cg/user.slice/app.scope", "cpu io memory pids")
    layout = read_layout(proc_of(tmp_path, V2, "0::/user.slice/app.scope\n"))
    assert layout.kind == "v2"
    assert layout.unified is not None
    assert layout.unified.own == own
    assert layout.of("memory") == layout.unified
    with pytest.raises(SandboxUnavailable, match="has the controller 'rdma'") as none:
        layout.of("rdma")
    assert none.value.code == "sandbox.cgroup_controller"
    assert none.value.details["layer"] == "cgroup"


def test_what_was_not_handed_on_yet_is_there(tmp_path: Path) -> None:
    group(tmp_path / "cg", "cpu memory")
    group(tmp_path / "cg/delegated/host")
    layout = read_layout(proc_of(tmp_path, V2, "0::/delegated/host\n"))
    assert layout.of("memory") == layout.unified


def test_version_1(tmp_path: Path) -> None:
    text = "4:memory:/jobs/7\n3:cpu,cpuacct:/\n2:blkio:/\n1:name=systemd:/x\n"
    layout = read_layout(proc_of(tmp_path, V1, text))
    assert layout.kind == "v1"
    assert layout.unified is None
    assert layout.of("memory").own == tmp_path / "cg/memory/jobs/7"
    assert layout.of("cpu") == layout.of("cpuacct")
    assert layout.of("io").mount == tmp_path / "cg/blkio"


def test_both(tmp_path: Path) -> None:
    mounts = V1 + "41 31 0:38 / {root}/unified rw,relatime - cgroup2 cgroup2 rw\n"
    group(tmp_path / "cg/unified", "hugetlb")
    text = "4:memory:/\n3:cpu,cpuacct:/\n0::/\n"
    layout = read_layout(proc_of(tmp_path, mounts, text))
    assert layout.kind == "hybrid"
    assert layout.of("memory").version == 1
    assert layout.of("hugetlb").version == 2
    assert layout.unified is not None


def test_a_container_sees_its_own_part(tmp_path: Path) -> None:
    mounts = V1.replace("0:32 / ", "0:32 /docker/abc ")
    text = "4:memory:/docker/abc/inner\n3:cpu,cpuacct:/elsewhere\n"
    layout = read_layout(proc_of(tmp_path, mounts, text))
    assert layout.of("memory").own == tmp_path / "cg/memory/inner"
    outside = read_layout(proc_of(tmp_path / "two", mounts, "4:memory:/docker/abcd\n"))
    assert outside.kind == "none"


def test_blanks_in_paths(tmp_path: Path) -> None:
    mounts = "30 23 0:26 / /a\\040b\\134c rw - cgroup cgroup rw,pids\n"
    layout = read_layout(proc_of(tmp_path, mounts, "4:pids:/\n"))
    assert layout.of("pids").mount == Path("/a b\\c")


def test_no_proc(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable) as none:
        read_layout(tmp_path / "none")
    assert none.value.code == "sandbox.cgroup_layout"


@given(mounts=st.text(max_size=300), groups=st.text(max_size=300))
def test_nonsense_is_no_layout(
    tmp_path_factory: pytest.TempPathFactory, mounts: str, groups: str
) -> None:
    proc = tmp_path_factory.mktemp("proc")
    (proc / "mountinfo").write_text(mounts, "utf-8", newline="")
    (proc / "cgroup").write_text(groups, "utf-8", newline="")
    assert isinstance(read_layout(proc), CgroupLayout)


class TestDelegation:
    def test_a_group_that_hands_controllers_on(self, tmp_path: Path) -> None:
        own = group(tmp_path / "own", "memory pids", "memory pids")
        hierarchy = Hierarchy(2, frozenset({"memory", "pids"}), tmp_path, own)
        assert choose_parent(hierarchy, ["memory"], None) == own

    def test_one_that_can_be_asked_to(self, tmp_path: Path) -> None:
        own = group(tmp_path / "own", "memory pids", "pids")
        hierarchy = Hierarchy(2, frozenset({"memory", "pids"}), tmp_path, own)
        assert choose_parent(hierarchy, ["memory", "pids"], None) == own
        assert (own / "cgroup.subtree_control").read_text() == "+memory"

    def test_the_one_above(self, tmp_path: Path) -> None:
        above = group(tmp_path / "above", "memory", "memory")
        own = group(above / "own", "cpu")
        hierarchy = Hierarchy(2, frozenset({"cpu"}), tmp_path, own)
        assert choose_parent(hierarchy, ["memory"], None) == above

    def test_none(self, tmp_path: Path) -> None:
        own = group(tmp_path / "above/own", "cpu")
        group(tmp_path / "above", "cpu")
        hierarchy = Hierarchy(2, frozenset({"cpu"}), tmp_path, own)
        with pytest.raises(SandboxUnavailable) as none:
            choose_parent(hierarchy, ["memory"], None)
        assert none.value.code == "sandbox.cgroup_delegation"
        assert str(own) in none.value.message
        assert str(own.parent) in none.value.message
        assert "it has no memory" in none.value.message
        assert "Delegate=yes" in str(none.value.hint)

    def test_the_one_that_is_wanted(self, tmp_path: Path) -> None:
        own = group(tmp_path / "own", "memory", "memory")
        wanted = group(tmp_path / "wanted", "memory", "memory")
        hierarchy = Hierarchy(2, frozenset({"memory"}), tmp_path, own)
        assert choose_parent(hierarchy, ["memory"], wanted) == wanted
        with pytest.raises(SandboxUnavailable, match="there is no such group"):
            choose_parent(hierarchy, ["memory"], tmp_path / "none")


class TestBounds:
    @pytest.mark.parametrize(
        "bounds",
        [
            {"memory_limit_bytes": 1},
            {"memory_limit_bytes": True},
            {"pids_limit": 0},
            {"cpu_quota_us": 10},
            {"cpu_period_us": 0},
            {"cpu_weight": 10_001},
            {"io_weight": 0},
            {"swap_limit_bytes": 0},
            {"memory_limit_bytes": "100M"},
        ],
    )
    def test_what_is_out_of_bounds(self, bounds: dict[str, int]) -> None:
        with pytest.raises(SandboxConfigError, match=next(iter(bounds))):
            CgroupConfig(**bounds)

    def test_the_controllers_that_they_need(self) -> None:
        assert CgroupConfig().controllers == frozenset()
        full = CgroupConfig(
            memory_limit_bytes=1 << 20,
            swap_limit_bytes=0,
            cpu_quota_us=1000,
            cpu_weight=1,
            pids_limit=1,
            io_weight=1,
        )
        assert full.controllers == {"memory", "cpu", "pids", "io"}

    def test_version_2_as_files(self, tmp_path: Path) -> None:
        names = ("memory.max", "memory.oom.group", "memory.swap.max", "cpu.max", "cpu.weight")
        for name in (*names, "pids.max", "io.weight"):
            (tmp_path / name).write_text("max")
        config = CgroupConfig(
            memory_limit_bytes=64 << 20,
            swap_limit_bytes=0,
            cpu_quota_us=50_000,
            cpu_weight=200,
            pids_limit=20,
            io_weight=50,
        )
        v2.apply(tmp_path, config)
        assert (tmp_path / "memory.oom.group").read_text() == "1"
        assert (tmp_path / "cpu.max").read_text() == "50000 100000"
        assert v2.limits(tmp_path) == {
            "memory_limit_bytes": 64 << 20,
            "swap_limit_bytes": 0,
            "cpu_quota_us": 50_000,
            "cpu_period_us": 100_000,
            "cpu_weight": 200,
            "pids_limit": 20,
            "io_weight": 50,
        }
        (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
        (tmp_path / "cpu.stat").write_text("usage_usec 77\nnr_throttled 3\n")
        assert v2.events(tmp_path).oom_kills == 1
        assert v2.events(tmp_path).throttled_periods == 3
        assert v2.usage(tmp_path).cpu_us == 77

    @pytest.mark.parametrize(
        ("weight", "disk"), [(1, 10), (50, 50), (100, 100), (5050, 550), (10_000, 1000)]
    )
    def test_weights_of_disks_in_version_1(self, tmp_path: Path, weight: int, disk: int) -> None:
        (tmp_path / "blkio.weight").write_text("")
        v1.apply({"io": tmp_path}, CgroupConfig(io_weight=weight))
        assert (tmp_path / "blkio.weight").read_text() == str(disk)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SandboxUnavailable, match=r"have no memory\.max") as none:
            v2.apply(tmp_path / "none", CgroupConfig(memory_limit_bytes=1 << 20))
        assert none.value.code == "sandbox.cgroup_file"
