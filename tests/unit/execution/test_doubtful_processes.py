"""What a worker does with rows whose process is not its own for certain: it signals nothing, and leaves no row running for ever."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from worker_program import end, queue, start_worker, wait_for_end, wait_until

from tabtune_core.errors import StoreError
from tabtune_core.execution import worker
from tabtune_core.execution.identity import found, identity_of
from tabtune_core.execution.lock import WorkerLock, worker_of
from tabtune_core.execution.service import open_worker

CLOCK = """
import os, psutil, sys, time
booted, now = psutil.boot_time(), time.time
def shift():
    return 3600 if os.path.exists(sys.argv[1] + "/clock-is-set") else 0
psutil._pslinux.BOOT_TIME = None
psutil.boot_time = psutil._pslinux.boot_time = lambda *_: booted + shift()
time.time = lambda: now() + shift()
"""
"""A machine whose clock is put forward by an hour once there is a file."""
IMPATIENT = "from tabtune_core.execution import worker as early\nearly.SILENT_SECONDS = 0.3\n"


@pytest.fixture
def stranger():
    """Another program, which leads a process group as runs do."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def elsewhere(pid, place):
    """The identity of a process that had this pid in another life of the machine (1) or another container (2), or one earlier (0)."""
    parts = identity_of(pid).split()
    return " ".join([*parts[:place], f"{parts[place]}0", *parts[place + 1 :]])


def running_row(store, pid, identity):
    (run_id,) = queue(store, "quick")
    store.claim(pid, identity)
    return run_id


def let_it_look(store):
    """A worker looks at all that runs between two jobs."""
    for _ in range(2):
        job = store.add_job("double", {"number": 1})
        wait_until(lambda job=job: store.job(job).ended)
        assert store.job(job).status == "finished"


def test_a_clock_that_is_set_leaves_everything_running(store):
    (run_id,) = queue(store, "waiting")
    busy = start_worker(store.home, before=CLOCK)
    try:
        wait_until(lambda: store.events(run_id))
        began = store.run(run_id)
        (store.home / "clock-is-set").touch()
        let_it_look(store)
        assert store.run(run_id).status == "running"
        assert worker_of(store.home).pid == busy.pid
        busy.kill()
        busy.wait()
        busy = start_worker(store.home, before=CLOCK)  # adopts it under the new clock
        let_it_look(store)
        (store.home / "go").touch()
        ended = wait_for_end(store, run_id)
        assert (ended.status, ended.pid, ended.identity) == ("finished", began.pid, began.identity)
    finally:
        end(store, busy)


def test_a_run_that_is_over_for_certain_is_interrupted_and_nothing_is_signalled(store, stranger):
    """Its pid was given anew, or the machine started anew."""
    runs = [running_row(store, stranger.pid, elsewhere(stranger.pid, place)) for place in (0, 1)]
    assert start_worker(store.home, "exit-when-idle", "no-resume").wait(timeout=60) == 0
    assert [store.run(run_id).status for run_id in runs] == ["interrupted", "interrupted"]
    assert stranger.poll() is None


def test_what_is_in_doubt_ends_when_its_heartbeat_stays_out_and_nothing_is_signalled(store, stranger):
    """Of an earlier version, or of another container."""
    identities = (None, elsewhere(stranger.pid, 2))
    runs = [running_row(store, stranger.pid, identity) for identity in identities * 2]
    for run_id in runs[2:]:
        store.ask(run_id, "cancel")
    job_id = store.add_job("double", {})
    store.claim_job(stranger.pid, identities[1])
    busy = start_worker(store.home, "no-resume", before=IMPATIENT)
    try:
        ended = [wait_for_end(store, run_id).status for run_id in runs]
        wait_until(lambda: store.job(job_id).ended)
    finally:
        end(store, busy)
    assert (ended, store.job(job_id).status) == (["interrupted"] * 2 + ["cancelled"] * 2, "interrupted")
    assert stranger.poll() is None


def test_a_run_that_cannot_be_read_ends_when_its_heartbeat_stays_out_so_that_it_can_be_deleted(store, stranger, monkeypatch):
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


def test_a_run_in_doubt_goes_on_as_long_as_its_heartbeat_moves(store, stranger, monkeypatch):
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


def test_a_run_of_this_machine_that_is_silent_under_a_worker_of_a_cluster_is_closed(store, monkeypatch):
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


def test_a_process_whose_run_was_given_to_another_ends_itself(store, stranger):
    (run_id,) = queue(store, "waiting")
    busy = start_worker(store.home)
    try:
        wait_until(lambda: store.events(run_id))
        busy.kill()  # whoever took the run for dead is another one
        busy.wait()
        first = store.run(run_id)
        store.set_process(run_id, stranger.pid, identity_of(stranger.pid))
        wait_until(lambda: found(first.pid, first.identity) == "gone")
        assert (store.run(run_id).status, store.run(run_id).pid) == ("running", stranger.pid)
    finally:
        end(store, busy)


def test_a_suspended_run_is_not_taken_for_dead_and_can_be_cancelled(store):
    (run_id,) = queue(store, "waiting")
    busy = start_worker(store.home)
    try:
        wait_until(lambda: store.events(run_id))
        run = store.run(run_id)
        os.kill(run.pid, signal.SIGSTOP)
        wait_until(lambda: psutil.Process(run.pid).status() == psutil.STATUS_STOPPED)
        let_it_look(store)
        assert store.run(run_id).status == "running"
        store.ask(run_id, "cancel")
        assert wait_for_end(store, run_id).status == "cancelled"
        assert found(run.pid, run.identity) == "gone"
    finally:
        end(store, busy)


@pytest.mark.skipif(not os.path.exists("/proc/self/oom_score_adj"), reason="only Linux has the score")
def test_runs_go_before_the_worker_where_memory_ends(store):
    def score(pid):
        with open(f"/proc/{pid}/oom_score_adj") as file:
            return int(file.read())

    (run_id,) = queue(store, "waiting")
    busy = start_worker(store.home)
    try:
        wait_until(lambda: store.events(run_id))
        assert score(store.run(run_id).pid) == min(1000, score(busy.pid) + 500)
        (store.home / "go").touch()
        wait_for_end(store, run_id)
    finally:
        end(store, busy)
