"""Halving of learning rates: which runs go on from a rung, and that no run is lost between two rungs."""

import os
import signal

import pytest
from fakes.fake_experiment import BEST_RATE, EVALUATED_EVERY, STEPS, train_steadily
from worker_program import start_worker, wait_for_end, wait_until

from tabtune_core.events import Evaluated
from tabtune_core.execution.halving import advance, call_back
from tabtune_core.settings import RunSettings
from tabtune_core.settings.sweep import RUNGS, SweepSettings

RUNG_STEPS = [EVALUATED_EVERY * round(share * STEPS / EVALUATED_EVERY) for share in RUNGS]
RUN = RunSettings(dataset="d", target="racing")


def race(store, *rates, ranks=(2,), **more):
    sweep = SweepSettings(
        run=RUN, ranks=ranks, learning_rates=rates, zero_shot=False, full_fine_tuning=False, references=False, **more
    )
    _, ids = store.add_sweep(sweep.expand(), halving=sweep.halves)
    runs = map(store.run, ids)
    return {(run.settings.lora.rank, run.settings.learning_rate): run.id for run in runs}


def statuses(store, ids):
    return [store.run(one).status for one in ids]


def at_a_rung(store, run_id, *losses, status=None):
    """Lets a queued run come to its next rung, or end there with a status."""
    store.claim(1, None, run_id, node="here")
    for step, loss in enumerate(losses, start=1):
        store.append(run_id, Evaluated(step, "validation", {"log_loss": loss}, False, 0.0))
    if status:
        store.finish(run_id, status)
    else:
        store.wait(run_id)


def test_each_rank_has_its_best_rate_trained_to_the_end_and_the_others_stop_at_rungs(tmp_path, store):
    ids = race(store, 1e-4, 3e-4, BEST_RATE * 2, 1e-2, ranks=(2, 4))
    assert start_worker(tmp_path, "exit-when-idle", "parallel=2").wait(timeout=120) == 0
    for rank in (2, 4):
        own = [ids[rank, rate] for rate in (1e-4, 3e-4, BEST_RATE * 2, 1e-2)]
        assert statuses(store, own) == ["outrun", "outrun", "finished", "outrun"]
        assert [store.run(one).rung for one in own] == [0, 1, len(RUNGS), 0]
        for one, last in zip(own, (RUNG_STEPS[0], RUNG_STEPS[1], STEPS, RUNG_STEPS[0]), strict=True):
            steps = [stored.event.step for stored in store.events(one, ["StepDone"])]
            assert steps == list(range(1, last + 1))
        assert not any((store.run_dir(one) / "states").exists() for one in own)
    told, folder = [], tmp_path / "alone"
    folder.mkdir()
    alone = train_steadily(folder, told.append, rate=BEST_RATE * 2)
    best = store.run(ids[2, BEST_RATE * 2])
    assert (best.result.test, best.resumed) == (alone.test, "")
    assert [stored.event for stored in store.events(best.id, ["StepDone", "Evaluated"])] == told


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_between_rungs_loses_no_run(tmp_path, store, how):
    ids = list(race(store, 1e-4, BEST_RATE, 1e-2).values())
    for _ in range(4):
        worker = start_worker(tmp_path, "exit-when-idle")
        before = store.marks()
        wait_until(lambda before=before, worker=worker: store.marks() != before or worker.poll() is not None)
        os.kill(worker.pid, how)
        worker.wait(timeout=60)
    start_worker(tmp_path, "exit-when-idle").wait(timeout=120)
    assert wait_for_end(store, ids[1]).status == "finished"
    assert statuses(store, ids) == ["outrun", "finished", "outrun"]
    steps = [stored.event.step for stored in store.events(ids[1], ["StepDone"])]
    assert steps == list(range(1, STEPS + 1))


def test_a_rung_waits_for_every_rival_and_for_processes_that_end(store):
    first, second, third = race(store, 1e-4, 1e-3, 1e-2).values()
    at_a_rung(store, first, 0.3)
    at_a_rung(store, second, 0.2)
    advance(store)
    assert statuses(store, (first, second, third)) == ["waiting", "waiting", "queued"]
    assert (store.run(first).node, store.run(first).slot, store.run(first).pid) == ("here", "", None)
    at_a_rung(store, third, float("nan"))
    advance(store, {third})
    assert statuses(store, (first, second, third)) == ["waiting"] * 3
    advance(store)
    assert statuses(store, (first, second, third)) == ["queued", "queued", "outrun"]


@pytest.mark.parametrize("status", ["diverged", "failed", "cancelled", "interrupted", "stopped"])
def test_a_rival_that_ended_without_a_whole_training_neither_wins_nor_blocks(store, status):
    first, second, third = race(store, 1e-4, 1e-3, 1e-2).values()
    at_a_rung(store, first, 0.1, status=status)
    at_a_rung(store, second, 0.4, 0.3)
    at_a_rung(store, third, 0.5, 0.2)
    advance(store)
    assert statuses(store, (first, second, third)) == [status, "queued", "queued"]
    at_a_rung(store, second, 0.4)
    at_a_rung(store, third, 0.5)
    advance(store)
    assert statuses(store, (first, second, third)) == [status, "outrun", "queued"]


def test_a_race_is_within_one_sweep_one_seed_and_one_configuration(store):
    ids = race(store, 1e-4, 1e-3, ranks=(2, 4), seeds=(0, 1))
    assert {store.run(one).rung for one in ids.values()} == {0}
    runs = store.runs()
    for run in runs:
        at_a_rung(store, run.id, 0.1 * run.settings.lora.rank + run.settings.seed + run.settings.learning_rate)
    advance(store)
    going = [run for run in store.runs(status="queued")]
    assert {(run.settings.lora.rank, run.settings.seed, run.settings.learning_rate) for run in going} == {
        (rank, seed, 1e-4) for rank in (2, 4) for seed in (0, 1)
    }
    assert {run.rung for run in going} == {len(RUNGS)}  # alone, it pauses no more


def test_the_next_best_rate_is_called_back_once_the_best_has_diverged(store):
    first, second, third = race(store, 1e-4, 1e-3, 1e-2).values()
    for one, loss in ((first, 0.1), (second, 0.2), (third, 0.3)):
        at_a_rung(store, one, loss)
    advance(store)
    at_a_rung(store, first, 0.1)
    at_a_rung(store, second, 0.2)
    advance(store)
    at_a_rung(store, first, 0.1, status="diverged")
    call_back(store, first)
    assert statuses(store, (first, second, third)) == ["diverged", "queued", "outrun"]
    assert store.run(second).rung == len(RUNGS)
    at_a_rung(store, second, 0.1, status="finished")
    call_back(store, second)
    assert statuses(store, (first, second, third)) == ["diverged", "finished", "outrun"]


@pytest.mark.parametrize("wish", ["stop", "cancel"])
def test_a_run_that_waits_can_be_stopped_and_cancelled_but_not_deleted(store, wish):
    first, _, _ = race(store, 1e-4, 1e-3, 1e-2).values()
    at_a_rung(store, first, 0.3)
    with pytest.raises(Exception, match="waiting"):
        store.delete(first)
    states = store.run_dir(first) / "states"
    states.mkdir(parents=True)
    (states / "last.pt").touch()
    store.ask(first, wish)
    run = store.run(first)
    assert (run.status, run.wish) == (("queued", "stop") if wish == "stop" else ("cancelled", None))
