"""Several runs at once under one worker: real processes, each on its own cores, in the order of the queue."""

import os
import signal
from unittest.mock import Mock

import psutil
import pytest
from small_table import small_table
from worker_program import queue, wait_until, working

from tabtune_core.data.datasets import add_dataset, load_frame
from tabtune_core.data.task import features_of, plan_split
from tabtune_core.events import Note
from tabtune_core.execution import child, local
from tabtune_core.execution.cores import Shares, cores_of
from tabtune_core.execution.local import LocalExecutor
from tabtune_core.execution.processes import Watched, forkserver
from tabtune_core.machine import PROCESS_BYTES, machine_memory
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.memory.estimate import Sizes, with_shown_rows
from tabtune_core.training.memory.fitting import need_of as need_of_plan

CORES = len(os.sched_getaffinity(0))
needs_two = pytest.mark.skipif(CORES < 2, reason="two runs have cores of their own on a machine with two")


def begun(store, *run_ids):
    wait_until(lambda: all(store.events(run_id) for run_id in run_ids))
    return [store.run(run_id) for run_id in run_ids]


@needs_two
def test_the_requested_number_of_runs_is_active_and_the_others_wait_in_order(store):
    ids = queue(store, *["waiting"] * 5)
    with working(store, "exit-when-idle", "parallel=2") as worker:
        begun(store, *ids[:2])
        assert [store.run(run_id).status for run_id in ids] == ["running"] * 2 + ["queued"] * 3
        (store.home / "go").touch()
        assert worker.wait(timeout=60) == 0
    runs = [store.run(run_id) for run_id in ids]
    assert [run.status for run in runs] == ["finished"] * len(ids)
    assert [run.started for run in runs] == sorted(run.started for run in runs)
    assert {(run.executor, run.node) for run in runs} == {("local", os.uname().nodename)}


@needs_two
def test_each_run_and_its_children_are_held_to_the_cores_and_threads_of_its_slot(store):
    ids = queue(store, "waiting", "waiting")
    with working(store, "parallel=2", "threads=1") as worker:
        runs = begun(store, *ids)
        held = [cores_of(run.slot, ()) for run in runs]
        assert [len(cores) for cores in held] == [1, 1]
        assert held[0] != held[1]
        assert [set(psutil.Process(run.pid).cpu_affinity()) for run in runs] == held
        assert [set(psutil.Process(run.pid).children()[0].cpu_affinity()) for run in runs] == held
        for run, cores in zip(runs, held, strict=True):
            assert f"Cores: {sorted(cores)} Threads: 1" in (store.run_dir(run.id) / "log.txt").read_text()
        assert psutil.Process(worker.pid).cpu_affinity() == sorted(os.sched_getaffinity(0))


@needs_two
def test_a_killed_run_does_not_affect_the_other_and_resumes_automatically(store):
    first, second = queue(store, "waiting", "waiting")
    with working(store, "exit-when-idle", "parallel=2") as worker:
        before, other = begun(store, first, second)
        os.kill(before.pid, signal.SIGKILL)
        wait_until(lambda: (run := store.run(first)).resumptions and run.pid not in (None, before.pid) and run.identity)
        again = store.run(first)
        assert (again.status, again.slot) == ("running", before.slot)
        assert (store.run(second).status, store.run(second).pid) == ("running", other.pid)
        (store.home / "go").touch()
        assert worker.wait(timeout=60) == 0
    assert [store.run(run_id).status for run_id in (first, second)] == ["finished", "finished"]
    assert [store.run(run_id).resumptions for run_id in (first, second)] == [1, 0]


@needs_two
def test_a_run_that_does_not_fit_beside_the_others_waits_and_starts_alone(store):
    first, heavy, behind = queue(store, "waiting", "quick", "quick")
    needs = "from tabtune_core.execution import local\nlocal.estimated = lambda _, run: 1e18 if run.target == 'quick' else 1\n"
    with working(store, "exit-when-idle", "parallel=2", before=needs) as worker:
        begun(store, first)
        job = store.add_job("double", {"number": 1})
        wait_until(lambda: store.job(job).ended)
        assert [store.run(run_id).status for run_id in (first, heavy, behind)] == ["running", "queued", "queued"]
        (store.home / "go").touch()
        assert worker.wait(timeout=60) == 0
    one, two, three = map(store.run, (first, heavy, behind))
    assert one.ended <= two.started
    assert two.ended <= three.started


@pytest.mark.parametrize(
    ("grown", "free", "starts"),
    [(0, 19, True), (0, 18, False), (10, 13, True), (10, 12, False), (99, 8, True)],
    ids=["not grown", "too little free", "half grown", "still too little free", "grown beyond the estimate"],
)
def test_memory_is_reserved_for_running_runs_to_grow_as_estimated(store, monkeypatch, grown, free, starts):
    queue(store, "quick", "quick")
    needs = iter([6.0, 10.0 - 1.0])
    monkeypatch.setattr(local, "estimated", lambda store, run: next(needs))
    monkeypatch.setattr(local, "_resident", lambda pid: grown // 2)
    monkeypatch.setattr(local, "machine_memory", lambda: (free, 100))
    executor = LocalExecutor(
        store, forkserver("fake_experiment", "fake_jobs"), "fake_experiment", shares=Shares((0, 1), 2, 1)
    )
    run = store.claim(1, "1.0", slot="cpu:0")
    going = [Watched(run.id, Mock(pid=1), "cpu:0")]
    assert (executor.place(store.runs(status="queued"), going) is not None) is starts


def test_the_note_is_among_the_events_of_the_run(store, monkeypatch):
    monkeypatch.setattr(child, "disturbed", lambda: Note("It waited.", "warning"))
    (run_id,) = queue(store, "quick")
    store.claim(os.getpid(), "1.0")
    store.run_dir(run_id).mkdir(parents=True)
    monkeypatch.syspath_prepend(os.path.join(os.path.dirname(__file__), "../../fakes"))
    from fake_experiment import run_experiment

    child._carry_out(store, run_id, lambda *given, **named: run_experiment(*given, **named, given=None, fresh=None))
    assert store.run(run_id).status == "finished"
    assert [stored.event.text for stored in store.events(run_id, ["Note"])] == ["It waited."]


@pytest.mark.parametrize("strategy", ["inference", "base-ft", "peft"])
def test_the_need_of_a_run_equals_the_estimate_before_its_launch_without_opening_the_table(store, strategy):
    frame, labels = small_table(400)
    table = add_dataset(store.home, frame.assign(kept=labels).to_csv(index=False).encode(), "table.csv")
    run = RunSettings(dataset=table.id, target="kept", device="cpu").with_strategy(strategy)
    features = features_of(table.columns, run)
    shown = with_shown_rows(run, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
    sizes = Sizes.plan(shown, plan_split(load_frame(store.home, run.dataset), run)[0], features=features, classes=2)
    known, missing, reference = store.add_sweep([run, run.changed(dataset="0" * 64), run.with_strategy("linear")])[1]
    need_of = local.needs_of(store)
    assert need_of(known) == pytest.approx(need_of_plan([run], get_card(run.model), sizes, on_gpu=False).most, rel=0.01)
    assert [need_of(run_id) for run_id in (missing, reference, "deleted")] == [PROCESS_BYTES] * 3
