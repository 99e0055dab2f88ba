"""What the machine gives: a container's limit before the machine's, and ends for memory that are counted."""

from pathlib import Path

import psutil
import pytest

from tabtune_core.machine import disk_of, machine_memory, oom_kills

GIGABYTE = 10**9


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def groups(tmp_path):
    return tmp_path / "cgroup", tmp_path / "fs"


def test_the_machine_has_what_it_has_where_no_group_has_a_limit(groups):
    free, whole = machine_memory(*groups)
    assert whole == psutil.virtual_memory().total
    assert 0 < free < whole


def test_the_lowest_limit_of_the_groups_around_counts_in_version_2(groups):
    own, root = groups
    own.write_text("0::/pod/run\n")
    write(root / "pod", memory__max=f"{GIGABYTE}\n", memory__current=f"{GIGABYTE // 2}\n", memory__stat="anon 5\ninactive_file 100000000\n")
    write(root / "pod" / "run", memory__max="max\n", memory__current="7\n")
    assert machine_memory(*groups) == (6 * 10**8, GIGABYTE)


def test_version_1_has_a_folder_for_memory_and_a_container_sees_its_own_as_the_root(groups):
    own, root = groups
    own.write_text("8:memory:/docker/abc\n0::/\n")
    write(root / "memory", memory__limit_in_bytes=f"{GIGABYTE}\n", memory__usage_in_bytes="0\n", memory__stat="total_inactive_file 0\n")
    assert machine_memory(*groups) == (GIGABYTE, GIGABYTE)


def test_ends_for_memory_are_counted(groups, tmp_path):
    own, root = groups
    own.write_text("0::/pod\n")
    vmstat = tmp_path / "vmstat"
    assert oom_kills(*groups, vmstat) is None
    vmstat.write_text("oom_kill 2\noom_kill_more 9\n")
    assert oom_kills(*groups, vmstat) == 2
    write(root / "pod", memory__events="oom 4\noom_kill 3\noom_group_kill 0\n")
    assert oom_kills(*groups, vmstat) == 5


def test_a_disk_is_that_of_the_first_folder_above_that_is_there(tmp_path):
    disk = disk_of(tmp_path / "not" / "there")
    assert disk == disk_of(tmp_path) or abs(disk.free_bytes - disk_of(tmp_path).free_bytes) < 10**9
    assert tmp_path.is_relative_to(disk.mount)
    assert disk_of(Path("/proc")).mount == Path("/proc")
