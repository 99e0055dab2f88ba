"""Which run goes where: a GPU or cores of its own, one run at a time on each."""

import json
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest
from worker_program import queue, start_worker, wait_for_end, working

from tabtune_core.errors import SettingError
from tabtune_core.execution import cores, local
from tabtune_core.execution.cores import Shares, divide, name_of
from tabtune_core.execution.local import LocalExecutor, slots_of
from tabtune_core.execution.processes import Watched
from tabtune_core.store.runs import RunStore

GPUS = """
from tabtune_core import gpus
from fake_nvml import Driver
gpus.pynvml, gpus.installed_now = Driver({names}), lambda package: "2.9.1+cu128"
"""
NONE, ONE, TWO = (GPUS.format(names=", ".join(f"'GPU-{place}'" for place in range(count))) for count in (0, 1, 2))


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def run_all(home, gpus, targets, devices=()):
    """Runs ``targets`` to their end; returns the store and their rows in the order of the queue."""
    store = RunStore(home)
    ids = queue(store, *targets, devices=devices)
    assert start_worker(home, "exit-when-idle", before=gpus).wait(timeout=60) == 0
    return store, [store.run(run_id) for run_id in ids]


def overlap(one, other):
    return one.started < other.ended and other.started < one.ended


def told(store, run):
    return (store.run_dir(run.id) / "log.txt").read_text().split("Device: ")[1].split()[0]


def test_two_gpus_run_two_runs_at_a_time_each_on_its_own_gpu(tmp_path):
    store, runs = run_all(tmp_path, TWO, ["partner", "partner"])
    assert [run.status for run in runs] == ["finished", "finished"]
    assert overlap(*runs)
    assert sorted(run.slot for run in runs) == sorted(told(store, run) for run in runs) == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("gpus", "slot", "device"), [(ONE, "cuda:0", "cuda:0"), (NONE, name_of(os.sched_getaffinity(0)), "cpu")]
)
def test_one_gpu_or_none_runs_one_run_at_a_time(tmp_path, gpus, slot, device):
    store, (first, second) = run_all(tmp_path, gpus, ["quick", "quick"])
    assert first.ended <= second.started
    assert [first.slot, second.slot] == [slot, slot]
    assert [told(store, first), told(store, second)] == [device, device]


def test_a_run_waits_for_the_gpu_that_it_names_without_blocking_others(tmp_path):
    store = RunStore(tmp_path)
    holder, waiting, behind = queue(store, "waiting", "quick", "quick", devices=["cuda:1", "cuda:1", "auto"])
    with working(store, "exit-when-idle", before=TWO) as worker:
        assert wait_for_end(store, behind).slot == "cuda:0"
        assert [store.run(holder).status, store.run(waiting).status] == ["running", "queued"]
        (tmp_path / "go").touch()
        assert worker.wait(timeout=60) == 0
        assert store.run(waiting).slot == "cuda:1"
        assert store.run(waiting).started >= store.run(holder).ended


def queued(store, *devices):
    queue(store, *["quick"] * len(devices), devices=devices)
    return store.runs(status="queued")


@pytest.fixture
def executor(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "count_cards", lambda: 0)
    return LocalExecutor(RunStore(tmp_path), None, "fake_experiment", shares=Shares((4, 5), 1, 2))


def place(executor, cards, queued, *taken):
    """Returns the run that starts next beside those on the taken slots of a machine with so many GPUs, and its slot."""
    executor.cards = cards
    placement = executor.place(queued, [Watched("", Mock(pid=0), slot) for slot in taken])
    return placement and (placement.run, placement.slot)


def test_a_run_without_a_preference_leaves_the_gpu_that_another_run_names(executor):
    runs = queued(executor.store, "auto", "cuda")
    assert place(executor, 2, runs) == (runs[0], "cuda:1")
    assert place(executor, 2, runs[1:], "cuda:1") == (runs[1], "cuda:0")


def test_a_lost_gpu_is_given_no_run_but_no_run_moves_to_the_cpu(executor, monkeypatch):
    runs = queued(executor.store, "auto", "auto")
    monkeypatch.setattr(local, "count_cards", lambda: 1)
    assert place(executor, 2, runs) == (runs[0], "cuda:0")
    assert place(executor, 2, runs[1:], "cuda:0") is None
    monkeypatch.setattr(local, "count_cards", lambda: 0)
    assert place(executor, 2, runs) == (runs[0], "cuda:0")


def test_a_run_that_does_not_fit_is_not_overtaken_on_the_cpu_but_leaves_no_gpu_idle(executor, monkeypatch):
    runs = queued(executor.store, "cpu", "cpu", "cuda")
    monkeypatch.setattr(executor, "_fits", lambda beside, run: run is not runs[0])
    assert place(executor, 1, runs) == (runs[2], "cuda:0")
    assert place(executor, 1, runs[:2]) is None


@pytest.mark.parametrize("device", ["cuda:2", "tpu", "cuda:-1"])
def test_a_run_on_a_missing_device_starts_and_reports_it_itself(device):
    assert slots_of(device, 2) == ["cpu"]


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
    [((None, None), 4, 4), ((2, None), 2, 8), ((None, 2), 8, 2), ((3, 2), 3, 2), ((5, None), 5, 3)],
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
