"""Worker processes with real runs and jobs that are really killed and cancelled; only their computation is a fake."""

import os
from unittest.mock import Mock

import psutil
import pytest
from worker_program import open_worker, queue, start_worker, wait_for_end, wait_until, working

from tabtune_core.execution import processes
from tabtune_core.execution.job_lanes import JobLanes
from tabtune_core.execution.lock import worker_of
from tabtune_core.execution.processes import forkserver, is_alive
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.runs import RunStore


@pytest.fixture(scope="module")
def drained(tmp_path_factory):
    """A store with runs and jobs that failed in every way, one after another, under one worker."""
    store = RunStore(tmp_path_factory.mktemp("drained"))
    queue(store, "quick", "broken", "refused", "greedy", "killed", "lingering", "unlucky", "quick")
    for kind in ("double", "refused", "greedy", "killed", "broken"):
        store.add_job(kind, {"number": 4} if kind == "double" else {})
    assert start_worker(store.home, "exit-when-idle").wait(timeout=60) == 0
    return store


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    store = RunStore(tmp_path_factory.mktemp("live"))
    with working(store):
        wait_until(lambda: worker_of(store.home))
        yield store


def run_of(store, target):
    return next(run for run in store.runs() if run.settings.target == target)


def log_of(store, run):
    return (store.run_dir(run.id) / "log.txt").read_text()


def test_gpus_are_numbered_as_on_the_pages_despite_the_environment(monkeypatch):
    monkeypatch.setattr(os, "environ", {"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "OMP_WAIT_POLICY": "ACTIVE"})
    forkserver("fake_experiment", "fake_jobs")
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_queue_is_drained_in_order_and_no_failure_stops_it(drained):
    runs = drained.runs()
    started = [run.started for run in runs]
    ended = ["finished", "failed", "failed", "failed", "interrupted", "finished", "finished", "finished"]
    assert [run.status for run in runs] == ended
    assert started == sorted(started)
    assert runs[0].result.validation == {"log_loss": 0.5}
    assert "The fake was here." in log_of(drained, runs[0])
    assert [run for run in runs if is_alive(run.pid, run.identity)] == [], "no process is left behind"


def test_an_error_is_a_sentence_in_the_row_and_a_traceback_only_in_the_log(drained):
    run = run_of(drained, "broken")
    assert run.error == "Something unexpected happened (RuntimeError: boom). The trace is in the run's log."
    assert "break_down" in log_of(drained, run)
    assert drained.last(run.id, "RunFailed").event.message == run.error
    assert run_of(drained, "refused").error == "No linear layer under nowhere. Modules that have some: decoder."
    error = run_of(drained, "greedy").error
    assert error.startswith("There was not enough memory. Lower context_rows (now 512), then batch_size (now 256)")


def test_a_killed_run_resumes_automatically_once_and_keeps_its_events(drained):
    again, run = run_of(drained, "killed"), run_of(drained, "unlucky")
    assert again.resumptions == 1 and "signal 9" in again.error
    assert [stored.event.step for stored in drained.events(again.id, ["StepDone"])] == [1]
    assert (run.error, run.resumed) == (None, "Started anew after an interruption")
    (note,) = [stored.event.text for stored in drained.events(run.id, ["Note"])]
    assert note.startswith("The run was interrupted, and starts anew, because it had saved no state. ")
    assert "was killed (signal 9), most often because memory ran out." in note
    assert len(drained.events(run.id, ["StepDone"])) == 1


def test_a_worker_with_no_resume_leaves_a_killed_run_to_a_person(tmp_path):
    store = RunStore(tmp_path)
    (run_id,) = queue(store, "unlucky")
    assert start_worker(store.home, "exit-when-idle", "no-resume").wait(timeout=60) == 0
    assert store.run(run_id).status == "interrupted"
    store.resume(run_id)
    assert start_worker(store.home, "exit-when-idle", "no-resume").wait(timeout=60) == 0
    assert store.run(run_id).status == "finished"


def test_a_run_whose_process_cannot_be_started_is_interrupted_with_the_reason(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    (run_id,) = queue(store, "quick")
    one = open_worker(store)
    start = Mock(side_effect=[EOFError(), OSError(11, "Resource temporarily unavailable"), EOFError()])
    monkeypatch.setattr(one.executor, "context", Mock(**{"Process.return_value.start": start}))
    monkeypatch.setattr(processes, "AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.3)
    assert one.start_next()
    run = store.run(run_id)
    assert (run.status, one.tasks, start.call_count) == ("interrupted", [], 3)
    assert "memory may be short" in run.error
    store.resume(run_id)
    assert start_worker(store.home, "exit-when-idle").wait(timeout=60) == 0
    assert store.run(run_id).status == "finished"


def test_stop_keeps_the_best_and_cancel_discards_all_but_the_log(live):
    stopped, cancelled = queue(live, "obedient", "obedient")
    for run_id, wish in ((stopped, "stop"), (cancelled, "cancel")):
        wait_until(lambda run_id=run_id: live.events(run_id))
        live.ask(run_id, wish)
    runs = [wait_for_end(live, run_id) for run_id in (stopped, cancelled)]
    assert [run.status for run in runs] == ["stopped", "cancelled"]
    assert [run.result is not None for run in runs] == [True, False]
    left = [sorted(path.name for path in live.run_dir(run.id).iterdir()) for run in runs]
    assert left == [["adapter.zip", "log.txt"], ["log.txt"]]


def test_an_unresponsive_run_is_still_cancelled(live):
    (run_id,) = queue(live, "deaf")
    wait_until(lambda: live.events(run_id))
    live.ask(run_id, "cancel")
    run = wait_for_end(live, run_id)
    assert (run.status, run.resumptions) == ("cancelled", 0)
    assert not is_alive(run.pid, run.identity)
    assert [path.name for path in live.run_dir(run_id).iterdir()] == ["log.txt"]


def job_of(store, kind):
    return store.jobs(kind)[0]


def test_a_job_leaves_its_result_and_files(drained):
    job = job_of(drained, "double")
    assert (job.status, job.result, job.error) == ("finished", {"twice": 8}, None)
    assert (drained.job_dir(job.id) / "left.txt").read_text() == "here"


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("refused", "failed", "Choose another."),
        ("killed", "interrupted", "memory ran out"),
        ("broken", "failed", "KeyError"),
        ("greedy", "failed", "There was not enough memory. Wait until other runs have ended"),
    ],
)
def test_a_failed_job_reports_the_reason_and_stops_no_other(drained, kind, status, said):
    job = job_of(drained, kind)
    assert job.status == status
    assert said in job.error


def test_a_job_does_not_wait_for_a_run_that_trains(live):
    run = queue(live, "obedient")[0]
    wait_until(lambda: live.run(run).status == "running")
    job = live.add_job("double", {"number": 1})
    wait_until(lambda: live.job(job).status == "finished")
    assert live.run(run).status == "running"
    live.ask(run, "cancel")
    wait_for_end(live, run)


def begun(store, kind):
    """Starts a job and waits until it has written a file and started a process; returns its id and that process."""
    job_id = store.add_job(kind, {"number": 1})
    helper = store.job_dir(job_id) / "helper"
    wait_until(lambda: helper.exists() and helper.read_text())
    return job_id, psutil.Process(int(helper.read_text()))


def ended(store, job_id):
    wait_until(lambda: store.job(job_id).status in JOB_ENDED)
    return store.job(job_id)


def left_by(store, job_id):
    return {path.name for path in store.job_dir(job_id).iterdir()}


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_prediction_runs_beside_a_curve_and_the_next_curve_waits_until_both_are_cancelled(live):
    first, _ = begun(live, "rank_curve")
    second = live.add_job("rank_curve", {"number": 2})
    prediction, helper = begun(live, "predict")
    assert [live.job(job).status for job in (first, second, prediction)] == ["running", "queued", "running"]
    live.cancel_job(second)
    assert (live.job(second).status, live.job(second).started) == ("cancelled", None)
    for job_id in (first, prediction):
        live.cancel_job(job_id)
        job = ended(live, job_id)
        assert (job.status, job.result, job.error) == ("cancelled", None, None)
        assert not is_alive(job.pid, job.identity)
        assert left_by(live, job_id) == {"log.txt"}
    wait_until(lambda: is_gone(helper))


def test_a_job_whose_process_cannot_be_started_is_interrupted_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.0)
    store = RunStore(tmp_path)
    job_id = store.add_job("double", {"number": 1})
    lanes = JobLanes(store, Mock(**{"Process.return_value.start.side_effect": EOFError()}), "fake_jobs")
    lanes.look()
    job = store.job(job_id)
    assert (job.status, lanes.going) == ("interrupted", [])
    assert "memory may be short" in job.error
