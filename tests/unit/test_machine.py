"""The resources of the machine: limits of a container come first; out-of-memory kills are counted."""

from pathlib import Path

import psutil
import pytest

from tabtune_core import machine
from tabtune_core.machine import core_quota, disk_of, machine_memory, network_file_system, oom_kills

GIGABYTE = 10**9


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", own := tmp_path / "cgroup")
    monkeypatch.setattr(machine, "CGROUPS", root := tmp_path / "fs")
    return own, root


def test_without_a_group_limit_the_machines_own_values_apply(groups):
    free, whole = machine_memory()
    assert whole == psutil.virtual_memory().total
    assert 0 < free < whole


def test_in_version_2_the_lowest_limit_of_the_parent_groups_counts(groups):
    own, root = groups
    own.write_text("0::/pod/run\n")
    write(
        root / "pod",
        memory__max=f"{GIGABYTE}\n",
        memory__current=f"{GIGABYTE // 2}\n",
        memory__stat="anon 5\ninactive_file 100000000\n",
    )
    write(root / "pod" / "run", memory__max="max\n", memory__current="7\n")
    assert machine_memory() == (6 * 10**8, GIGABYTE)


def test_version_1_has_a_folder_for_memory_and_a_container_sees_its_own_as_the_root(groups):
    own, root = groups
    own.write_text("8:memory:/docker/abc\n0::/\n")
    write(
        root / "memory",
        memory__limit_in_bytes=f"{GIGABYTE}\n",
        memory__usage_in_bytes="0\n",
        memory__stat="total_inactive_file 0\n",
    )
    assert machine_memory() == (GIGABYTE, GIGABYTE)


def test_out_of_memory_kills_are_counted(groups, tmp_path, monkeypatch):
    own, root = groups
    own.write_text("0::/pod\n")
    monkeypatch.setattr(machine, "VMSTAT", vmstat := tmp_path / "vmstat")
    assert oom_kills() is None
    vmstat.write_text("oom_kill 2\noom_kill_more 9\n")
    assert oom_kills() == 2
    write(root / "pod", memory__events="oom 4\noom_kill 3\noom_group_kill 0\n")
    assert oom_kills() == 5


def test_a_missing_path_has_the_disk_of_its_first_existing_parent(tmp_path):
    disk = disk_of(tmp_path / "not" / "there")
    assert disk == disk_of(tmp_path) or abs(disk.free_bytes - disk_of(tmp_path).free_bytes) < 10**9
    assert tmp_path.is_relative_to(disk.mount)
    assert disk_of(Path("/proc")).mount == Path("/proc")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"pod/cpu.max": "max 100000\n"}, None),
        ({"pod/cpu.max": "250000 100000\n"}, 2.5),
        ({"cpu.max": "50000 100000\n", "pod/cpu.max": "250000 100000\n"}, 0.5),
        ({"cpu/pod/cpu.cfs_quota_us": "-1\n", "cpu/pod/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/pod/cpu.cfs_quota_us": "300000\n", "cpu/pod/cpu.cfs_period_us": "100000\n"}, 3.0),
    ],
)
def test_the_cpu_quota_is_the_lowest_of_the_parent_groups(groups, files, cores):
    own, root = groups
    own.write_text("4:cpu,cpuacct:/pod\n0::/pod\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert core_quota() == cores


MOUNTED = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:40 / {home} rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2
31 30 254:1 / {home}/local rw,relatime - xfs /dev/vdb rw
32 21 0:41 / {home}/with\\040space rw - fuse.sshfs me@server: rw
33 21 0:42 / {home}/twice rw - ext4 /dev/vdc rw
34 21 0:43 / {home}/twice rw - cifs //server/share rw
not a valid line
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("", "nfs4"),
        ("deep/er", "nfs4"),
        ("local", None),
        ("local/deep", None),
        ("locally", "nfs4"),
        ("with space/x", "fuse.sshfs"),
        ("twice", "cifs"),
        ("local/link", "nfs4"),
        ("../elsewhere", None),
    ],
)
def test_a_network_file_system_is_recognised_by_the_mount_of_the_folder(tmp_path, monkeypatch, place, kind):
    home = tmp_path.resolve() / "home"
    (home / "local").mkdir(parents=True)
    (home / "local" / "link").symlink_to(home)
    (tmp_path / "mounts").write_text(MOUNTED.format(home=home))
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "mounts")
    found = network_file_system(home / place)
    assert (found and found[0]) == kind


def test_the_disk_of_a_bound_folder_is_that_folder(tmp_path, monkeypatch):
    (tmp_path / "mounts").write_text(
        f"9 1 8:1 / / rw - ext4 /dev/a rw\n10 9 8:1 /x {tmp_path.resolve()} ro - ext4 /dev/a rw\n"
    )
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "mounts")
    assert disk_of(tmp_path / "runs").mount == tmp_path.resolve()


def test_without_a_list_of_mounts_no_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "none")
    assert network_file_system(tmp_path) is None
