from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradwire_server.machine import available_memory, available_processors

MIB = 1 << 20
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine(root: Path, *, mounts: str, groups: str, files: dict[str, str]) -> Path:
    """A root directory that says these things about cgroups."""
    for name, text in {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


VERSION_2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
VERSION_1 = (
    "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:29 {inside} /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 {inside} /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory\n"
)


def test_the_tightest_cgroup_on_the_way_up_counts(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        mounts=VERSION_2,
        groups="0::/kubepods/pod1/box\n",
        files={
            "sys/fs/cgroup/kubepods/pod1/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kubepods/pod1/box/memory.max": "max\n",
            "sys/fs/cgroup/kubepods/pod1/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/kubepods/pod1/memory.max": f"{512 * MIB}\n",
            "sys/fs/cgroup/kubepods/memory.max": f"{900 * MIB}\n",
        },
    )
    assert available_processors(root) == 1
    assert available_memory(root) == 512 * MIB


def test_version_1_is_read_where_the_container_is_mounted(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        mounts=VERSION_1.format(inside="/docker/abc"),
        groups="9:name=systemd:/docker/abc\n5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
        files={
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{256 * MIB}\n",
        },
    )
    assert available_processors(root) == 1
    assert available_memory(root) == 256 * MIB


@pytest.mark.parametrize(
    ("mounts", "groups", "files"),
    [
        ("", "", {}),
        (VERSION_2, "0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"}),
        (
            VERSION_1.format(inside="/"),
            "5:memory:/\n3:cpu,cpuacct:/\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
        ),
    ],
    ids=["no cgroups", "version 2", "version 1"],
)
def test_without_limits_the_machine_is_what_there_is(
    tmp_path: Path, mounts: str, groups: str, files: dict[str, str]
) -> None:
    root = machine(tmp_path, mounts=mounts, groups=groups, files=files)
    assert available_processors(root) == PROCESSORS
    assert available_memory(root) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_part_of_a_processor_counts_as_one_and_more_than_there_are_as_all(tmp_path: Path) -> None:
    for quota, expected in (("1000", 1), ("100000", 1), ("100000000", PROCESSORS)):
        files = {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
        assert available_processors(machine(tmp_path, mounts=VERSION_2, groups="0::/\n", files=files)) == expected


def test_the_descriptor_limit_is_raised_as_far_as_allowed() -> None:
    code = """
import resource
from gradwire_server.machine import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
        == "300 (300, 300)\n"
    )
