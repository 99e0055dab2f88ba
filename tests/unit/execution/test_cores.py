"""Cores in shares: how many runs and threads, which cores are next, and a process that stays on its own."""

import json
import subprocess
import sys

import pytest

from tabtune_core.errors import SettingError
from tabtune_core.execution import cores
from tabtune_core.execution.cores import Shares, cores_of, divide, name_of


@pytest.fixture
def machine(monkeypatch):
    """Sets what the machine has: its cores, and of how many the control group gives it the time."""

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def has(number, quota=None):
        monkeypatch.setattr(cores, "_cores", lambda: tuple(range(number)))
        monkeypatch.setattr(cores, "core_quota", lambda: quota)

    return has


@pytest.mark.parametrize(
    ("asked", "parallel", "threads"),
    [((None, None), 4, 4), ((2, None), 2, 8), ((None, 2), 8, 2), ((3, 2), 3, 2), ((32, None), 32, 1), ((5, None), 5, 3)],
)
def test_what_is_left_open_follows_from_the_cores(machine, asked, parallel, threads):
    machine(16)
    shares = divide(*asked)
    assert (shares.parallel, shares.threads, len(shares.cores)) == (parallel, threads, 16)
    assert shares.pinned


@pytest.mark.parametrize(("told", "threads"), [("2", 2), ("3,1", 3), ("16", 4), ("40", 4), ("", 4), ("no", 4), ("0", 4)])
def test_a_run_has_no_more_threads_than_the_environment_lets_any_program_have(machine, monkeypatch, told, threads):
    machine(16)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert (divide().parallel, divide().threads) == (16 // threads, threads)
    assert divide(2).threads == 8


def test_more_at_once_than_the_cores_carry_is_a_warning_and_less_is_none(machine):
    machine(4)
    assert "5 runs at once with 1 thread each are too many for 4 cores" in divide(5).warning
    assert "2 runs at once with 3 threads each" in divide(2, 3).warning
    assert divide(2).warning is None


def test_more_threads_than_cores_are_refused(machine):
    machine(4)
    with pytest.raises(SettingError, match="--threads is 5, and a run here can have 4 cores"):
        divide(None, 5)


def test_a_container_with_the_time_of_some_cores_holds_no_run_to_any(machine):
    machine(64, quota=2.5)
    shares = divide()
    assert (shares.parallel * shares.threads, shares.pinned) == (2, False)
    machine(64, quota=0.5)
    assert (divide().parallel, divide().threads) == (1, 1)


def test_each_share_has_cores_of_its_own_and_there_is_none_beyond_them():
    shares = Shares((0, 1, 2, 3, 4), parallel=2, threads=2)
    first = shares.next([])
    second = shares.next([first])
    assert [first, second] == ["cpu:0-1", "cpu:2-3"]
    assert shares.next([first, second]) is None
    assert shares.next([second]) == "cpu:0-1"


def test_what_an_earlier_worker_gave_out_is_respected():
    shares = Shares((0, 1, 2, 3), parallel=4, threads=1)
    assert shares.next(["cpu:0-2"]) == "cpu:3"
    assert shares.next(["cpu"]) is None
    assert Shares((0, 1, 2, 3), parallel=2, threads=2).next(["cpu:1"]) == "cpu:0,2"


def test_more_runs_than_cores_are_spread_evenly():
    shares, going = Shares((0, 1), parallel=4, threads=1), []
    for _ in range(4):
        going.append(shares.next(going))
    assert sorted(going) == ["cpu:0", "cpu:0", "cpu:1", "cpu:1"]
    assert shares.next(going) is None


def test_a_core_that_another_program_keeps_busy_is_taken_last():
    shares = Shares((0, 1, 2), parallel=3, threads=1)
    assert shares.next([], busy=[99.0, 3.0, 2.0]) == "cpu:1"
    assert shares.next(["cpu:1", "cpu:2"], busy=[99.0, 99.0, 99.0]) == "cpu:0"


def test_threads_of_one_physical_core_stand_side_by_side(tmp_path, monkeypatch):
    for core, siblings in enumerate(["0,4", "1,5", "2,6", "3,7"] * 2):
        folder = tmp_path / f"cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(cores, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(8)))
    assert cores._cores() == (0, 4, 1, 5, 2, 6, 3, 7)


@pytest.mark.parametrize("held", [{0}, {1, 2, 3}, {0, 2, 3, 9}])
def test_a_slots_name_says_its_cores(held):
    assert cores_of(name_of(held), ()) == held


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


def test_a_process_stays_on_its_cores_with_so_many_threads_in_every_library():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == [True, 1, [1], [1], "1"]
