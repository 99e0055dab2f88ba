"""Cores in shares: how many runs and threads, which cores are next, and that a process stays on its cores."""

import json
import subprocess
import sys

import pytest

from tabtune_core.errors import SettingError
from tabtune_core.execution import cores
from tabtune_core.execution.cores import Shares, divide


@pytest.fixture
def machine(monkeypatch):
    """Sets the cores of the machine and the CPU quota of its control group."""

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def has(number, quota=None):
        monkeypatch.setattr(cores, "_cores", lambda: tuple(range(number)))
        monkeypatch.setattr(cores, "core_quota", lambda: quota)

    return has


@pytest.mark.parametrize(
    ("asked", "parallel", "threads"),
    [
        ((None, None), 4, 4),
        ((2, None), 2, 8),
        ((None, 2), 8, 2),
        ((3, 2), 3, 2),
        ((5, None), 5, 3),
    ],
)
def test_unset_values_follow_from_the_cores(machine, asked, parallel, threads):
    machine(16)
    shares = divide(*asked)
    assert (shares.parallel, shares.threads, len(shares.cores)) == (parallel, threads, 16)
    assert shares.pinned


@pytest.mark.parametrize(("told", "threads"), [("2", 2), ("3,1", 3), ("40", 4), ("no", 4)])
def test_a_run_has_at_most_the_threads_that_the_environment_allows(machine, monkeypatch, told, threads):
    machine(16)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert (divide().parallel, divide().threads) == (16 // threads, threads)
    assert divide(2).threads == 8


def test_more_threads_than_cores_are_refused(machine):
    machine(4)
    for asked, runs in (((None, 5), "1 with --threads 5"), ((5, None), "5 with --threads 1")):
        with pytest.raises(SettingError, match=f"--parallel {runs} takes 5 cores, and runs here can have 4"):
            divide(*asked)


def test_a_container_with_a_cpu_quota_pins_no_run(machine):
    machine(64, quota=2.5)
    shares = divide()
    assert (shares.parallel * shares.threads, shares.pinned) == (2, False)
    machine(64, quota=0.5)
    assert (divide().parallel, divide().threads) == (1, 1)


def test_each_share_has_its_own_cores_and_their_number_is_limited():
    shares = Shares((0, 1, 2, 3, 4), parallel=2, threads=2)
    first = shares.next([])
    second = shares.next([first])
    assert [first, second] == ["cpu:0-1", "cpu:2-3"]
    assert shares.next([first, second]) is None
    assert shares.next([second]) == "cpu:0-1"


def test_threads_of_one_physical_core_are_adjacent(tmp_path, monkeypatch):
    for core, siblings in enumerate(["0,4", "1,5", "2,6", "3,7"] * 2):
        folder = tmp_path / f"cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(cores, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(8)))
    assert cores._cores() == (0, 4, 1, 5, 2, 6, 3, 7)


PROGRAM = """
import json, os, sys, threading
import numpy, torch
from tabtune_core.execution.cores import stay_on
core = min(os.sched_getaffinity(0))
torch.set_num_threads(2)
stay_on({core}, 1)
import threadpoolctl
seen = []
thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
thread.start(), thread.join()
pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
print(json.dumps([sorted(os.sched_getaffinity(0)) == [core], torch.get_num_threads(), seen, sorted(set(pools)), os.environ["OMP_NUM_THREADS"]]))
"""


def test_a_process_is_held_to_its_cores_and_threads_in_every_library():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == [True, 1, [1], [1], "1"]
