"""The resources of the machine: limits of a container come first."""

from types import SimpleNamespace

import psutil
import pytest

from tabtune_core import machine
from tabtune_core.machine import core_quota, disk_of, machine_memory, network_file_system

GIGABYTE = 10**9


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Writes files of control groups; this process is in /pod/run."""
    monkeypatch.setattr(machine, "CGROUP", own := tmp_path / "cgroup")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    own.write_text("0::/pod/run\n")

    def write(name, text):
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)

    return write


def test_without_a_group_limit_the_machines_own_values_apply(group):
    free, whole = machine_memory()
    assert whole == psutil.virtual_memory().total
    assert 0 < free < whole
    assert core_quota() is None


def test_the_lowest_limit_of_the_parent_groups_counts(group):
    group("pod/memory.max", f"{GIGABYTE}\n")
    group("pod/memory.current", f"{GIGABYTE // 2}\n")
    group("pod/memory.stat", "anon 5\ninactive_file 100000000\n")
    group("pod/run/memory.max", "max\n")
    group("pod/run/memory.current", "7\n")
    assert machine_memory() == (6 * 10**8, GIGABYTE)
    group("cpu.max", "max 100000\n")
    group("pod/cpu.max", "50000 100000\n")
    group("pod/run/cpu.max", "250000 100000\n")
    assert core_quota() == 0.5


def test_a_missing_path_has_the_disk_of_its_first_existing_parent(tmp_path):
    free, total = disk_of(tmp_path / "not" / "there")
    assert total == disk_of(tmp_path)[1] and 0 <= free <= total


@pytest.mark.parametrize(
    ("place", "kind"),
    [("home", "nfs4"), ("home/deep", "nfs4"), ("home/local/x", None), ("home/locally", "nfs4"), ("home/twice", "cifs")],
)
def test_a_network_file_system_is_recognised_by_the_mount_of_the_folder(tmp_path, monkeypatch, place, kind):
    root = tmp_path.resolve()
    mounts = {"/": "ext4", f"{root}/home": "nfs4", f"{root}/home/local": "xfs"}
    parts = [SimpleNamespace(mountpoint=mount, fstype=name) for mount, name in mounts.items()]
    parts += [SimpleNamespace(mountpoint=f"{root}/home/twice", fstype=name) for name in ("ext4", "cifs")]
    monkeypatch.setattr(machine.psutil, "disk_partitions", lambda all: parts)
    mount = network_file_system(tmp_path / place)
    assert (mount and mount[0]) == kind
