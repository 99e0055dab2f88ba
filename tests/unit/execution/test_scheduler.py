"""Which run goes where: two GPUs carry out two runs at a time, one GPU one."""

import os
from unittest.mock import Mock

import pytest
from worker_program import queue, start_worker, wait_for_end, working

from tabtune_core.execution import local
from tabtune_core.execution.cores import Shares, name_of
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
    """Returns the device that the run's process was given."""
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
