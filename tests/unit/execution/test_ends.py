"""One death, one way back: a worker takes its runs along, and the next one resumes them; no two processes write a run."""

import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from worker_program import open_worker, queue, start_worker, wait_for_end, wait_until, working

from tabtune_core.execution.processes import identity_of, is_alive, kill
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.runs import RunStore


@pytest.fixture
def sleeper():
    """A program that leads a process group, as runs do."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def begun(store, target="waiting"):
    (run_id,) = queue(store, target)
    wait_until(lambda: store.events(run_id))
    return store.run(run_id)


def suspend(pid):
    """Stops a process, and waits until it has: one with several threads goes on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def finish(store):
    """Lets the next worker end everything."""
    (store.home / "go").touch()
    assert start_worker(store.home, "exit-when-idle").wait(timeout=60) == 0


def test_a_killed_worker_takes_its_run_and_job_along_and_the_next_one_resumes_the_run(store):
    with working(store) as worker:
        job = store.add_job("waiting", {"number": 1})
        helper = store.job_dir(job) / "helper"
        wait_until(lambda: helper.exists() and helper.read_text())
        run, row = begun(store), store.job(job)
        worker.kill()
        worker.wait()
        wait_until(lambda: not is_alive(run.pid, run.identity) and not is_alive(row.pid, row.identity))
        wait_until(lambda: identity_of(int(helper.read_text())) is None)
        assert (store.run(run.id).status, store.job(job).status) == ("running", "running")
    finish(store)
    ended = store.run(run.id)
    assert (ended.status, ended.resumptions, store.job(job).status) == ("finished", 1, "interrupted")
    assert ended.pid != run.pid
    assert "Its worker had ended" in store.events(run.id, ["Note"])[0].event.text
    assert len(store.events(run.id, ["StepDone"])) == 1, "no step is there twice"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_end_queues_its_run_again(store, number):
    with working(store, "no-resume") as worker:
        run = begun(store)
        worker.send_signal(number)
        assert worker.wait(timeout=60) == 0
        assert not is_alive(run.pid, run.identity)
        assert store.run(run.id).status == "queued"
    finish(store)
    assert store.run(run.id).status == "finished"


def test_a_suspended_run_of_a_killed_worker_is_killed_before_its_copy_starts(store):
    with working(store) as worker:
        run = begun(store)
        suspend(run.pid)
        worker.kill()
        worker.wait()
        assert psutil.Process(run.pid).status() == psutil.STATUS_STOPPED
        finish(store)
        assert identity_of(run.pid) is None
    assert (store.run(run.id).status, store.run(run.id).resumptions) == ("finished", 1)


def test_a_killed_forkserver_ends_its_run_and_the_same_worker_resumes_it(store):
    with working(store, "exit-when-idle") as worker:
        run = begun(store)
        psutil.Process(run.pid).parent().kill()
        wait_until(lambda: not is_alive(run.pid, run.identity))
        (store.home / "go").touch()
        assert worker.wait(timeout=60) == 0
    assert (store.run(run.id).status, store.run(run.id).resumptions) == ("finished", 1)


def test_a_pid_alone_proves_nothing(store, sleeper):
    """Rows of processes that have ended, whose pid another program has: no signal is sent."""
    for place in ("run", "job"):
        written = f"{float(identity_of(sleeper.pid)) - 3600:.2f}"
        (run_id,) = queue(store, "quick")
        store.add_job("double", {"number": 1})
        if place == "run":
            store.claim(sleeper.pid, written, run_id)
        store.claim_job(sleeper.pid, written)
    finish(store)
    assert {run.status for run in store.runs()} == {"finished"}
    assert sleeper.poll() is None
    for identity in (None, "", "1 boot pid:[1]"):
        assert not is_alive(sleeper.pid, identity)
    assert not is_alive(None, identity_of(sleeper.pid)) and not is_alive(2**40, "1.0")


def test_a_process_is_known_by_its_creation_time_also_as_a_zombie_and_suspended(sleeper):
    written = identity_of(sleeper.pid)
    assert is_alive(sleeper.pid, written) and is_alive(sleeper.pid, f"{float(written) + 1:.2f}")
    suspend(sleeper.pid)
    assert kill(sleeper.pid, written)
    assert psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE
    assert not is_alive(sleeper.pid, written) and identity_of(sleeper.pid) is None


def test_a_run_whose_worker_ends_again_and_again_is_left_to_a_person(store):
    (run_id,) = queue(store, "quick")
    one = open_worker(store)
    for resumptions in range(20):
        store.claim(1, None, run_id)
        one.reconcile()
        assert (store.run(run_id).status, store.run(run_id).resumptions) == ("queued", resumptions + 1)
    store.claim(1, None, run_id)
    one.reconcile()
    assert store.run(run_id).status == "interrupted"


def test_rows_that_cannot_be_read_can_be_deleted(store):
    (run_id,) = queue(store, "quick")
    store.claim(1, None)
    store._write("UPDATE runs SET settings = '{'")
    open_worker(store).reconcile()
    assert [unread.id for unread in store.unreadable()] == [run_id]
    store.delete(run_id)
    assert store.unreadable() == []


def test_a_cancelled_run_of_a_killed_worker_is_not_resumed(store):
    with working(store) as worker:
        run = begun(store)
        worker.kill()
        worker.wait()
        store.ask(run.id, "cancel")
    finish(store)
    assert store.run(run.id).status == "cancelled"
    assert [path.name for path in store.run_dir(run.id).iterdir()] == ["log.txt"]


def test_a_suspended_run_goes_on_and_can_be_cancelled(store):
    with working(store):
        run = begun(store)
        suspend(run.pid)
        job = store.add_job("double", {"number": 1})
        wait_until(lambda: store.job(job).status in JOB_ENDED)
        assert store.run(run.id).status == "running"
        store.ask(run.id, "cancel")
        assert wait_for_end(store, run.id).status == "cancelled"


def swapped(home):
    shutil.copytree(home.rename(home.with_name("away")), home)


@pytest.mark.parametrize("leave", [shutil.rmtree, swapped])
def test_a_worker_and_its_run_end_with_their_workspace(tmp_path, leave):
    store = RunStore(tmp_path / "home")
    with working(store) as worker:
        run = begun(store)
        leave(store.home)
        assert worker.wait(timeout=30) == 0
        wait_until(lambda: not is_alive(run.pid, run.identity))


@pytest.mark.skipif(not os.path.exists("/proc/self/oom_score_adj"), reason="only Linux has the score")
def test_the_system_kills_runs_before_the_worker_if_memory_runs_out(store):
    def score(pid):
        with open(f"/proc/{pid}/oom_score_adj") as file:
            return int(file.read())

    with working(store) as busy:
        assert score(begun(store).pid) == min(1000, score(busy.pid) + 500)
