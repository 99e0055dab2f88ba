"""What a worker does with rows whose process may not be its own: it sends no signal, and leaves no row running forever."""

import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from worker_program import queue, start_worker, wait_for_end, wait_until, working

from tabtune_core.errors import StoreError
from tabtune_core.execution import worker
from tabtune_core.execution.identity import found, identity_of
from tabtune_core.execution.lock import WorkerLock, worker_of
from tabtune_core.execution.service import end_everything, open_worker
from tabtune_core.store.runs import RunStore

CLOCK = """
import os, psutil, sys, time
booted, now = psutil.boot_time(), time.time
def shift():
    return 3600 if os.path.exists(sys.argv[1] + "/clock-is-set") else 0
psutil._pslinux.BOOT_TIME = None
psutil.boot_time = psutil._pslinux.boot_time = lambda *_: booted + shift()
time.time = lambda: now() + shift()
"""
"""Sets the clock forward by an hour once a file exists."""
IMPATIENT = "from tabtune_core.execution import worker as early\nearly.SILENT_SECONDS = 0.3\n"


@pytest.fixture
def stranger():
    """An unrelated program that leads a process group, as runs do."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def elsewhere(pid, place):
    """The identity of an earlier process with this pid (0), of one before a restart (1) or in another container (2)."""
    parts = identity_of(pid).split()
    return " ".join([*parts[:place], f"{parts[place]}0", *parts[place + 1 :]])


def running_row(store, pid, identity):
    (run_id,) = queue(store, "quick")
    store.claim(pid, identity)
    return run_id


def let_it_look(store):
    """Waits for a job: the worker checks everything that runs between two jobs."""
    for _ in range(2):
        job = store.add_job("double", {"number": 1})
        wait_until(lambda job=job: store.job(job).ended)
        assert store.job(job).status == "finished"


def test_setting_the_clock_leaves_everything_running(store):
    (run_id,) = queue(store, "waiting")
    with working(store, before=CLOCK) as busy:
        wait_until(lambda: store.events(run_id))
        began = store.run(run_id)
        (store.home / "clock-is-set").touch()
        let_it_look(store)
        assert store.run(run_id).status == "running"
        assert worker_of(store.home).pid == busy.pid
        busy.kill()
        busy.wait()
        with working(store, before=CLOCK):  # adopts the run under the new clock
            let_it_look(store)
            (store.home / "go").touch()
            ended = wait_for_end(store, run_id)
            assert (ended.status, ended.pid, ended.identity) == ("finished", began.pid, began.identity)


def test_a_run_that_has_certainly_ended_is_interrupted_without_a_signal(store, stranger):
    """Its pid was reused, or the machine was restarted."""
    runs = [running_row(store, stranger.pid, elsewhere(stranger.pid, place)) for place in (0, 1)]
    assert start_worker(store.home, "exit-when-idle", "no-resume").wait(timeout=60) == 0
    assert [store.run(run_id).status for run_id in runs] == ["interrupted", "interrupted"]
    assert stranger.poll() is None


def test_a_doubtful_run_or_job_is_closed_without_a_signal_once_its_heartbeat_stops(store, stranger):
    """The rows are of an earlier version or of another container."""
    identities = (None, elsewhere(stranger.pid, 2))
    runs = [running_row(store, stranger.pid, identity) for identity in identities * 2]
    for run_id in runs[2:]:
        store.ask(run_id, "cancel")
    job_id = store.add_job("double", {})
    store.claim_job(stranger.pid, identities[1])
    with working(store, "no-resume", before=IMPATIENT):
        ended = [wait_for_end(store, run_id).status for run_id in runs]
        wait_until(lambda: store.job(job_id).ended)
    assert (ended, store.job(job_id).status) == (["interrupted"] * 2 + ["cancelled"] * 2, "interrupted")
    assert stranger.poll() is None


def test_ending_everything_in_a_copy_ends_nothing_of_the_original(store, stranger, tmp_path_factory):
    run_id = running_row(store, stranger.pid, identity_of(stranger.pid))
    job_id = store.add_job("double", {})
    store.claim_job(stranger.pid, identity_of(stranger.pid))
    copy = RunStore(shutil.copytree(store.home, tmp_path_factory.mktemp("other") / "copy"))
    assert end_everything(copy.home) == []
    assert stranger.poll() is None
    assert (copy.run(run_id).status, copy.job(job_id).status) == ("queued", "interrupted")
    assert (store.run(run_id).pid, store.job(job_id).pid) == (stranger.pid, stranger.pid)


def test_an_unreadable_run_is_closed_once_its_heartbeat_stops_and_can_be_deleted(store, stranger, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    run_id = running_row(store, stranger.pid, None)
    store._write("UPDATE runs SET settings = '{'")
    working = open_worker(store, WorkerLock(store.home), experiment="fake_experiment", jobs="fake_jobs", resume=False)
    for beaten in (True, False):
        working.reconcile()
        now[0] += worker.SILENT_SECONDS + 1
        if beaten:
            store.beat(run_id)
        assert [unread.status for unread in store.unreadable()] == ["running"]
    with pytest.raises(StoreError, match="is running; cancel it before deleting it"):
        store.delete(run_id)
    working.reconcile()
    assert [unread.status for unread in store.unreadable()] == ["interrupted"]
    store.delete(run_id)
    assert store.unreadable() == []
    assert stranger.poll() is None


def test_a_doubtful_run_continues_while_its_heartbeat_moves(store, stranger, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    run_id = running_row(store, stranger.pid, None)
    working = open_worker(store, WorkerLock(store.home), experiment="fake_experiment", jobs="fake_jobs", resume=False)
    working.reconcile()
    for _ in range(3):
        store.beat(run_id)
        working.look_at(working.tasks[0])
        now[0] += worker.SILENT_SECONDS - 1
        working.look_at(working.tasks[0])
        assert store.run(run_id).status == "running"
    now[0] += 2
    working.look_at(working.tasks[0])
    assert store.run(run_id).status == "interrupted"
    assert working.tasks == []


def test_a_run_of_another_executor_is_left_alone_until_a_person_gives_it_up(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    (run_id,) = queue(store, "quick")
    store.claim(1, None, executor="another", node="far", slot="cuda:0")
    working = open_worker(store, WorkerLock(store.home), experiment="fake_experiment", jobs="fake_jobs", resume=False)
    for beats in (True, False):
        if beats:
            store.beat(run_id)
        now[0] += worker.SILENT_SECONDS - 1
        working.reconcile()
        assert (store.run(run_id).status, working.tasks) == ("running", [])
    (note,) = store.events(run_id, ["Note"])
    assert "The run was started by the executor 'another'" in note.event.text
    store.ask(run_id, "cancel")
    working.reconcile()
    assert store.run(run_id).status == "cancelled"


def test_a_silent_run_of_this_machine_is_closed_by_a_worker_of_a_cluster(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    (run_id,) = queue(store, "quick")
    store.claim(1, None, executor="local", node="here", slot="cpu")
    working = open_worker(store, WorkerLock(store.home), experiment="fake_experiment", jobs="fake_jobs", resume=False)
    working.executor.name = "ray"
    working.reconcile()
    assert store.run(run_id).status == "running"
    now[0] += worker.SILENT_SECONDS + 1
    working.reconcile()
    assert store.run(run_id).status == "interrupted"
    assert "carried out on this machine, and has given no sign of life" in store.run(run_id).error


def test_a_process_whose_run_was_given_to_another_process_ends_itself(store, stranger):
    (run_id,) = queue(store, "waiting")
    with working(store) as busy:
        wait_until(lambda: store.events(run_id))
        busy.kill()  # another worker takes the run for dead
        busy.wait()
        first = store.run(run_id)
        store.set_process(run_id, stranger.pid, identity_of(stranger.pid))
        wait_until(lambda: found(first.pid, first.identity) == "gone")
        assert (store.run(run_id).status, store.run(run_id).pid) == ("running", stranger.pid)


def test_a_suspended_run_does_not_count_as_dead_and_can_be_cancelled(store):
    (run_id,) = queue(store, "waiting")
    with working(store):
        wait_until(lambda: store.events(run_id))
        run = store.run(run_id)
        os.kill(run.pid, signal.SIGSTOP)
        wait_until(lambda: psutil.Process(run.pid).status() == psutil.STATUS_STOPPED)
        let_it_look(store)
        assert store.run(run_id).status == "running"
        store.ask(run_id, "cancel")
        assert wait_for_end(store, run_id).status == "cancelled"
        assert found(run.pid, run.identity) == "gone"


@pytest.mark.skipif(not os.path.exists("/proc/self/oom_score_adj"), reason="only Linux has the score")
def test_the_system_kills_runs_before_the_worker_if_memory_runs_out(store):
    def score(pid):
        with open(f"/proc/{pid}/oom_score_adj") as file:
            return int(file.read())

    (run_id,) = queue(store, "waiting")
    with working(store) as busy:
        wait_until(lambda: store.events(run_id))
        assert score(store.run(run_id).pid) == min(1000, score(busy.pid) + 500)
        (store.home / "go").touch()
        wait_for_end(store, run_id)
