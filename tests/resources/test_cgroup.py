"""What control groups leave to a process, from trees of files as kernels and containers show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurp_leader.resources.cgroup import Cgroups, CpuLimit, MemoryLimit

MIB = 2**20
V2_MOUNT = "30 23 0:26 {top} /sys/fs/cgroup ro,nosuid shared:4 - cgroup2 cgroup rw,nsdelegate\n"
V1_MOUNT = "{number} 31 0:{number} {top} /sys/fs/cgroup/{folder} rw,relatime - cgroup cgroup rw,{controllers}\n"
OTHER_MOUNT = "23 28 0:21 / /proc rw,relatime shared:12 - proc proc rw\n"


def tree(root: Path, files: dict[str, str]) -> Cgroups:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Cgroups(root)


def v2(root: Path, group: str, files: dict[str, str], top: str = "/") -> Cgroups:
    return tree(
        root,
        {
            "proc/self/cgroup": f"0::{group}\n",
            "proc/self/mountinfo": OTHER_MOUNT + V2_MOUNT.format(top=top),
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
        },
    )


def v1(root: Path, group: str, files: dict[str, str], top: str = "/", apart: bool = False) -> Cgroups:
    mounts = [("memory", "memory"), ("cpu", "cpu"), ("cpuacct", "cpuacct")] if apart else [("memory", "memory")]
    mounts += [] if apart else [("cpu,cpuacct", "cpu,cpuacct")]
    return tree(
        root,
        {
            "proc/self/cgroup": f"5:memory:{group}\n"
            + (f"4:cpuacct:{group}\n3:cpu:{group}\n" if apart else f"3:cpu,cpuacct:{group}\n")
            + "1:name=systemd:/\n0::/\n",
            "proc/self/mountinfo": OTHER_MOUNT
            + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            + "".join(
                V1_MOUNT.format(number=32 + index, folder=folder, controllers=controllers, top=top)
                for index, (folder, controllers) in enumerate(mounts)
            ),
            **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
        },
    )


V2_LIMITS = {
    "memory.max": f"{512 * MIB}\n",
    "memory.current": f"{300 * MIB}\n",
    "memory.stat": f"anon {200 * MIB}\ninactive_file {44 * MIB}\n",
    "cpu.max": "200000 100000\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\n",
}
V1_MEMORY = {
    "memory.limit_in_bytes": f"{512 * MIB}\n",
    "memory.usage_in_bytes": f"{300 * MIB}\n",
    "memory.stat": f"inactive_file 1\ntotal_inactive_file {44 * MIB}\n",
}
V1_CPU = {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}
MEMORY = [MemoryLimit(512 * MIB, 256 * MIB)]


def test_version_2_in_a_container_of_its_own(tmp_path: Path) -> None:
    groups = v2(tmp_path, "/", V2_LIMITS)
    assert groups.memory() == MEMORY
    assert groups.cpu() == [CpuLimit(2.0, 2.5)]


def test_version_2_counts_the_limits_of_groups_above(tmp_path: Path) -> None:
    below = {f"a.slice/b.service/{name}": text for name, text in V2_LIMITS.items()}
    above = {
        "a.slice/memory.max": f"{256 * MIB}",
        "a.slice/memory.current": "7",
        "a.slice/memory.stat": "",
        "a.slice/cpu.max": "max 100000",
    }
    groups = v2(tmp_path, "/a.slice/b.service", below | above)
    assert groups.memory() == [*MEMORY, MemoryLimit(256 * MIB, 7)]
    assert groups.cpu() == [CpuLimit(2.0, 2.5)]


def test_version_2_without_limits(tmp_path: Path) -> None:
    groups = v2(tmp_path, "/", {"memory.max": "max\n", "cpu.max": "max 100000\n"})
    assert groups.memory() == []
    assert groups.cpu() == []


def test_a_group_that_only_the_host_sees_is_the_top_of_what_is_mounted(tmp_path: Path) -> None:
    groups = v2(tmp_path, "/docker/0123", V2_LIMITS, top="/docker/0123")
    assert groups.memory() == MEMORY
    assert v2(tmp_path, "/..", V2_LIMITS).memory() == MEMORY
    assert v2(tmp_path, "/gone", V2_LIMITS).memory() == MEMORY


def test_a_group_of_the_host_is_no_group_of_the_same_name_within_a_container(tmp_path: Path) -> None:
    namesake = {"system.slice/memory.max": "1", "system.slice/memory.current": "1", "system.slice/memory.stat": ""}
    groups = v2(tmp_path, "/system.slice", V2_LIMITS | namesake, top="/docker/0123")
    assert groups.memory() == MEMORY


def test_a_group_within_what_is_mounted_is_found_by_the_rest_of_its_name(tmp_path: Path) -> None:
    below = {f"worker/{name}": text for name, text in V2_LIMITS.items()}
    assert v2(tmp_path, "/docker/0123/worker", below, top="/docker/0123").memory() == MEMORY


def test_version_1(tmp_path: Path) -> None:
    files = {f"memory/docker/0123/{name}": text for name, text in V1_MEMORY.items()}
    files |= {f"cpu,cpuacct/docker/0123/{name}": text for name, text in V1_CPU.items()}
    files |= {"cpu,cpuacct/docker/0123/cpuacct.usage": "2500000000\n"}
    files |= {"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}
    groups = v1(tmp_path, "/docker/0123", files)
    assert groups.memory() == MEMORY
    assert groups.cpu() == [CpuLimit(0.5, 2.5)]


def test_version_1_in_a_container_that_sees_its_own_group_only(tmp_path: Path) -> None:
    files = {f"memory/{name}": text for name, text in V1_MEMORY.items()}
    files |= {f"cpu,cpuacct/{name}": text for name, text in V1_CPU.items()} | {"cpu,cpuacct/cpuacct.usage": "1000"}
    groups = v1(tmp_path, "/docker/0123", files, top="/docker/0123")
    assert groups.memory() == MEMORY
    assert groups.cpu() == [CpuLimit(0.5, 1e-6)]


def test_version_1_may_count_processor_time_elsewhere(tmp_path: Path) -> None:
    files = {f"cpu/one/{name}": text for name, text in V1_CPU.items()} | {"cpuacct/one/cpuacct.usage": "2500000000"}
    groups = v1(tmp_path, "/one", files, apart=True)
    assert groups.cpu() == [CpuLimit(0.5, 2.5)]


def test_where_there_are_no_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert Cgroups(tmp_path).memory() == []
    assert Cgroups(tmp_path).cpu() == []
    tree(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": OTHER_MOUNT})
    assert Cgroups(tmp_path).memory() == []


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "no line of this kind\n"},
        {"sys/fs/cgroup/memory.max": "many\n"},
        {"sys/fs/cgroup/memory.current": "\n"},
        {"sys/fs/cgroup/memory.stat": "inactive_file few\n"},
    ],
)
def test_what_cannot_be_read_is_an_error_for_the_caller(tmp_path: Path, files: dict[str, str]) -> None:
    v2(tmp_path, "/", V2_LIMITS)
    with pytest.raises((OSError, ValueError)):
        tree(tmp_path, files).memory()
