"""The lock of a workspace: one worker holds it, and a file beside it says which."""

import os
import subprocess
import sys
import time

import pytest
from worker_program import wait_until

from tabtune_core.errors import ClusterError, MovedError, StoreError
from tabtune_core.execution import child
from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution.identity import identity_of
from tabtune_core.execution.lock import HOLDER, WorkerLock, ensure_worker, is_stopped, stop_workers, worker_of
from tabtune_core.execution.service import run_worker
from tabtune_core.store.runs import RunStore


def test_the_lock_is_held_by_one_and_can_be_taken_after_the_release(tmp_path):
    assert worker_of(tmp_path) is None
    first, second = WorkerLock(tmp_path), WorkerLock(tmp_path)
    assert first.take()
    assert not second.take(0.05)
    worker = worker_of(tmp_path)
    assert (worker.pid, worker.identity) == (os.getpid(), identity_of(os.getpid()))
    assert worker.since == pytest.approx(time.time(), abs=60) and not worker.suspended
    first.release()
    assert worker_of(tmp_path) is None, "whatever the file says"
    assert second.take()


def test_the_lock_of_a_killed_holder_is_free(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tabtune_core.execution.lock import WorkerLock; "
        "lock = WorkerLock(Path(sys.argv[1])); print(lock.take(), flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout.readline() == b"True\n"
        assert worker_of(tmp_path).pid == holder.pid
        assert not WorkerLock(tmp_path).take(0.05)
        holder.kill()
    assert worker_of(tmp_path) is None
    assert WorkerLock(tmp_path).take()


@pytest.mark.parametrize("content", [b"", b"7", b'{"pid": "x"}', b'{"pid": -1}', b'{"other": 1}', b"\xff", b"[" * 4096])
def test_a_damaged_description_of_a_worker_still_means_a_worker(tmp_path, content):
    held = WorkerLock(tmp_path)
    held.take()
    (tmp_path / HOLDER).write_bytes(content)
    assert worker_of(tmp_path) == worker_lock.Holder()


def test_a_lock_that_cannot_be_opened_names_its_workspace(tmp_path):
    with pytest.raises(StoreError, match=f"No worker can run in the workspace {tmp_path / 'none'}"):
        WorkerLock(tmp_path / "none")


def test_no_second_worker_is_started_and_an_earlier_stop_is_taken_back(tmp_path, monkeypatch):
    held = WorkerLock(tmp_path)
    held.take()
    monkeypatch.setattr(worker_lock.subprocess, "Popen", pytest.fail)
    stop_workers(tmp_path)
    ensure_worker(tmp_path)
    assert not is_stopped(tmp_path)


def test_a_worker_is_started_if_none_runs_and_ends_when_idle(tmp_path):
    RunStore(tmp_path)
    ensure_worker(tmp_path, exit_when_idle=True)
    log = tmp_path / "worker.log"
    wait_until(lambda: "drains" in log.read_text())
    wait_until(lambda: worker_of(tmp_path) is None)
    assert "Traceback" not in log.read_text()


def test_a_worker_that_a_program_started_ends_when_idle_once_that_program_has_ended(tmp_path):
    RunStore(tmp_path)
    program = "import sys; from pathlib import Path; from tabtune_core.execution.lock import ensure_worker, worker_of\n"
    program += "home = Path(sys.argv[1]); ensure_worker(home)\nwhile not worker_of(home): pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE) as starter:
        wait_until(lambda: (there := worker_of(tmp_path)) and there.pid)
        time.sleep(1)
        assert worker_of(tmp_path), "it waits for work"
        starter.kill()
    wait_until(lambda: worker_of(tmp_path) is None)


@pytest.mark.parametrize(
    "start",
    [
        ensure_worker,
        lambda home: run_worker(home, started_by=os.getpid()),
        lambda home: child.run_child(home, "0a", "fake_experiment", None),
        lambda home: child.job_child(home, "0a", "fake_jobs"),
    ],
)
def test_a_process_that_a_program_starts_for_a_workspace_that_was_moved_makes_no_other(tmp_path, monkeypatch, start):
    monkeypatch.setattr(child, "_stand_apart", lambda: None)
    monkeypatch.setattr(child, "_end_with_worker", lambda: None)
    for home in (tmp_path / "moved", tmp_path):  # the latter is what an unmounted disk leaves
        with pytest.raises((MovedError, SystemExit), match=f"workspace {home} was moved"):
            start(home)
    assert list(tmp_path.iterdir()) == []


def test_while_a_worker_is_starting_no_other_is_started(tmp_path, monkeypatch):
    RunStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as slow:
        started = []
        monkeypatch.setattr(worker_lock.subprocess, "Popen", lambda command, **more: started.append(command) or slow)
        for _ in range(20):
            ensure_worker(tmp_path)
        assert len(started) == 1
        slow.communicate(b"\n")
        ensure_worker(tmp_path)
        assert len(started) == 2


def test_a_program_does_not_start_a_worker_that_a_person_has_just_stopped(tmp_path):
    RunStore(tmp_path).add_job("predict", {})
    stop_workers(tmp_path)
    ensure_worker(tmp_path, unless_stopped=True)
    assert not (tmp_path / "worker.log").exists()
    run_worker(tmp_path, exit_when_idle=True, started_by=os.getpid())
    assert is_stopped(tmp_path)
    assert RunStore(tmp_path).jobs(status="queued") != []


def test_only_the_worker_opens_an_executor_and_releases_the_lock_if_that_fails(tmp_path):
    RunStore(tmp_path)
    held = []

    def refuse(*given):
        held.append(worker_of(tmp_path) is not None)
        raise ClusterError("There is no cluster.")

    other = WorkerLock(tmp_path)
    assert other.take()
    run_worker(tmp_path, executor=refuse)
    assert held == []
    other.release()
    with pytest.raises(ClusterError, match=r"There is no cluster\."):
        run_worker(tmp_path, executor=refuse)
    assert held == [True]
    assert WorkerLock(tmp_path).take()
