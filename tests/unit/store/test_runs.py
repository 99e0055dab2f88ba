"""The run store: the queue, events, results, jobs, and what deleting removes."""

import json
import math
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from seeding import claim_all

from tabtune_core.errors import StoreError
from tabtune_core.events import Evaluated, Note, PhaseStarted, Resumed, RunFinished, StepDone
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.run_row import RETRYABLE
from tabtune_core.store.runs import default_home

ROOT = Path(__file__).parents[3]
TRAIN = TrainSettings(learning_rate=3e-4)
SETTINGS = RunSettings(dataset="d", target="y", lora=LoraSettings(rank=4, targets=("decoder",)), train=TRAIN)
SCORES = [{"log_loss": value} for value in (math.nan, 0.5, 0.6, 0.7)]
RESULT = RunFinished("finished", 3, 5, True, *SCORES, 1.0, 0.1, 10, 5, "resident", 4, 100, None)


def running(store):
    store.add_sweep([SETTINGS])
    return store.claim(1, None).id


def ended(store, status):
    run_id = running(store)
    store.finish(run_id, status)
    return run_id


def test_a_sweep_is_queued_in_the_order_it_was_given(store):
    sweep, ids = store.add_sweep([SETTINGS, RunSettings(dataset="d", target="y", strategy="inference")], "mine")
    runs = store.runs(sweep)
    assert [run.id for run in runs] == ids
    assert [run.name for run in runs] == ["LoRA r=4", "Zero-shot"]
    assert {run.status for run in runs} == {"queued"}
    assert runs[0].settings == SETTINGS
    assert store.sweeps()[0].name == "mine"


def test_each_queued_run_is_claimed_by_one_process_only(store):
    _, ids = store.add_sweep([SETTINGS] * 40)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        claims = [claim for claims in pool.map(claim_all, [store.home] * 2) for claim in claims]
    assert sorted(claims) == sorted(ids)


def test_events_come_back_in_order_and_can_be_read_incrementally(store):
    run_id = running(store)
    events = [PhaseStarted("train"), StepDone(1, 0.5, 1.0, 2e-4, 0.1), Note("hello"), StepDone(2, 0.4, 1.0, 2e-4, 0.2)]
    for event in events:
        store.append(run_id, event)
    stored = store.events(run_id)
    assert [one.event for one in stored] == events
    assert [one.event for one in store.events(run_id, after=stored[1].seq)] == events[2:]
    assert [one.event for one in store.events(run_id, ["StepDone"])] == [events[1], events[3]]
    assert store.last(run_id, "StepDone").event == events[3]
    assert store.last(run_id, "RunFailed") is None


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_a_retry_is_a_new_run_at_the_end_of_the_queue_with_the_same_settings(store, status):
    run_id = ended(store, status)
    _, (waiting,) = store.add_sweep([SETTINGS])
    again = store.retry(run_id)
    old, new = store.run(run_id), store.run(again)
    assert (old.status, old.retried_as) == (status, again)
    assert (new.status, new.sweep, new.name, new.settings) == ("queued", old.sweep, old.name, old.settings)
    assert [store.claim(1, None).id, store.claim(1, None).id] == [waiting, again]


def test_deleting_removes_the_row_the_events_the_folder_and_an_empty_sweep(store):
    run_id = ended(store, "failed")
    store.append(run_id, Note("hello"))
    folder = store.run_dir(run_id)
    (folder / "inner").mkdir(parents=True)
    store.delete(run_id)
    assert not folder.exists()
    assert (store.runs(), store.sweeps(), store.fields([run_id], "Note")) == ([], [], [])


def with_events(store, number):
    run_id = ended(store, "failed")
    rows = [(run_id, 1.0, "Note", json.dumps({"text": "x" * 200, "severity": "info"}))] * number
    with store._together():
        store._connection.executemany("INSERT INTO events (run, time, kind, payload) VALUES (?, ?, ?, ?)", rows)
    return run_id


def test_deleting_frees_space(store):
    kept, gone = with_events(store, 10), with_events(store, 9_000)
    folder = store.run_dir(gone)
    folder.mkdir(parents=True)
    (folder / "adapter.zip").write_bytes(bytes(500_000))
    files = [store.home / f"runs.sqlite{end}" for end in ("", "-wal")]
    before = sum(file.stat().st_size for file in files)
    store.delete(gone)
    assert before - sum(file.stat().st_size for file in files) > 2_000_000
    assert files[1].stat().st_size == 0
    assert len(store.events(kept)) == 10


def test_deleting_the_last_run_of_a_table_removes_the_shared_arrays(store):
    first, last = ended(store, "finished"), ended(store, "finished")
    shared = store.home / "shared"
    shared.mkdir()
    (shared / "stage.npz").write_bytes(bytes(1_000))
    store.delete(first)
    assert len(list(shared.iterdir())) == 1
    store.delete(last)
    assert list(shared.iterdir()) == []


def test_processes_may_open_a_new_workspace_at_the_same_time(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from "
        "tabtune_core.store.runs import RunStore; "
    )
    program += f"RunStore(Path({str(tmp_path / 'new')!r})).sweeps()"
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4


def test_the_workspace_can_be_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("TABTUNE_HOME")
    assert default_home() == Path.home() / ".tabtune"


def test_a_queued_run_moved_to_the_front_is_claimed_next(store):
    _, (first, second) = store.add_sweep([SETTINGS, SETTINGS])
    store.move_to_front(second)
    assert store.claim(1, None).id == second
    with pytest.raises(StoreError, match="is running; only a queued run can be moved"):
        store.move_to_front(second)


def test_a_name_a_note_and_the_archive_flag_are_kept(store):
    run_id = ended(store, "cancelled")
    store.rename(run_id, "mine")
    store.annotate(run_id, "odd; try again")
    store.archive(run_id)
    run = store.run(run_id)
    assert (run.name, run.note, run.archived) == ("mine", "odd; try again", True)
    store.archive(run_id, False)
    assert not store.run(run_id).archived


def test_deleting_a_run_deletes_its_jobs(store):
    gone, kept = ended(store, "failed"), ended(store, "failed")
    about = [store.add_job("export", {"run": run_id}) for run_id in (gone, kept)]
    folder = store.job_dir(about[0])
    folder.mkdir(parents=True)
    store.claim_job(1, None)
    with pytest.raises(StoreError, match=rf"A running job \(export\) uses run '{gone}'.*Cancel it on its page"):
        store.delete(gone)
    store.finish_job(about[0], "finished", result={})
    store.delete(gone)
    assert [job.id for job in store.jobs()] == [about[1]]
    assert not folder.exists()


def test_each_job_is_claimed_once(store):
    jobs = [store.add_job("double", {"number": number}) for number in (1, 2)]
    claimed = [store.claim_job(1, None) for _ in range(3)]
    assert [job and job.id for job in claimed] == [*jobs, None]
    with pytest.raises(StoreError, match="is running"):
        store.delete_job(jobs[0])
    store.finish_job(jobs[0], "finished", result={"a": 1})
    store.finish_job(jobs[0], "failed", error="too late")
    assert ((job := store.job(jobs[0])).status, job.result, job.error) == ("finished", {"a": 1}, None)
    store.delete_job(jobs[0])
    assert [job.id for job in store.jobs()] == [jobs[1]]


@pytest.mark.parametrize("change", ["rename", "annotate", "archive", "delete"])
def test_marks_change_with_what_a_list_shows(store, change):
    run_id = ended(store, "failed")
    before = store.marks()
    assert store.marks() == before
    getattr(store, change)(run_id, *({"rename": ["new"], "annotate": ["seen"]}.get(change, [])))
    assert store.marks() != before


def interrupted(store, *, saved):
    run_id, scores = running(store), {"log_loss": 0.5}
    told = [Note("of the first process"), PhaseStarted("train")]
    told += [Evaluated(0, "validation", scores, True, 0.0), Evaluated(0, "test", scores, False, 0.0)]
    told += [StepDone(step, math.nan, 1.0, 1e-4, step) for step in range(1, 6)]
    told += [Evaluated(4, "validation", {"log_loss": math.inf}, True, 4.0), Evaluated(0, "test", scores, False, 4.0)]
    for event in told:
        store.append(run_id, event)
    if saved:
        (store.run_dir(run_id) / STATES).mkdir(parents=True)
        (store.run_dir(run_id) / STATES / LAST_STATE).touch()
    store.finish(run_id, "interrupted", error="The run's process was killed.")
    return run_id


def test_resuming_keeps_events_up_to_the_saved_state_and_drops_later_steps(store):
    run_id = interrupted(store, saved=True)
    store.resume(run_id)
    store.begin_again(run_id)
    told = [stored.event for stored in store.events(run_id)]
    assert [event.step for event in told if not isinstance(event, Note)] == [0, 0, 1, 2, 3, 4, 5, 4]
    note = told[-1].text
    assert note == "The run was interrupted, and goes on from its last saved state. The run's process was killed."
    assert store.run(run_id).error is None
    store.append(run_id, Resumed(3))
    assert [stored.event.step for stored in store.events(run_id, ["StepDone", "Evaluated"])] == [0, 0, 1, 2, 3]
    for step in (4, 5):
        store.append(run_id, StepDone(step, 0.5, 1.0, 1e-4, step))
    assert [values["step"] for values in store.fields([run_id], "StepDone")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((), "Started anew after an interruption"),
        ((40,), "Resumed at step 40 after an interruption"),
        ((40, 80), "Resumed at step 40 and 80 after an interruption"),
    ],
)
def test_a_resumed_run_states_where_it_continued(store, steps, said):
    run_id = interrupted(store, saved=True)
    assert store.run(run_id).resumed == ""
    store.resume(run_id)
    store.finish(run_id, "finished", result=replace(RESULT, resumed_steps=steps))
    assert store.run(run_id).resumed == said
