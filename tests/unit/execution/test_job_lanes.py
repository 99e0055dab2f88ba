"""Jobs under a real worker, with real processes: side by side, and cancelled."""

from unittest.mock import Mock

import psutil
import pytest
from worker_program import wait_until, working

from tabtune_core.execution import processes
from tabtune_core.execution.job_lanes import JobLanes
from tabtune_core.execution.lock import worker_of
from tabtune_core.execution.processes import is_alive
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.runs import RunStore


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A store with a worker."""
    store = RunStore(tmp_path_factory.mktemp("live"))
    with working(store):
        wait_until(lambda: worker_of(store.home))
        yield store


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
