"""The lock of a workspace: one worker holds it, and its file says which."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from worker_program import wait_until

from tabtune_core.cli import worker_command
from tabtune_core.errors import MovedError, StoreError
from tabtune_core.execution import child
from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution.identity import identity_of
from tabtune_core.execution.lock import WorkerLock, ask_to_leave, ensure_worker, is_stopped, stop_workers, worker_of
from tabtune_core.execution.service import run_worker
from tabtune_core.store.runs import RunStore


def test_the_lock_is_held_by_one_and_can_be_taken_after_the_release(tmp_path):
    first, second = WorkerLock(tmp_path), WorkerLock(tmp_path)
    assert first.take()
    assert not second.take()
    assert worker_of(tmp_path)
    first.release()
    assert not worker_of(tmp_path)
    assert second.take()


def test_the_lock_of_a_killed_holder_is_free(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tabtune_core.execution.lock import WorkerLock; "
        "print(WorkerLock(Path(sys.argv[1])).take(), flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout.readline() == b"True\n"
        assert worker_of(tmp_path)
        assert not WorkerLock(tmp_path).take()
        holder.kill()
    assert not worker_of(tmp_path)
    assert WorkerLock(tmp_path).take()


def test_without_a_lock_file_there_is_no_worker(tmp_path):
    assert not worker_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{"])
def test_an_empty_lock_file_means_no_worker(tmp_path, content):
    (tmp_path / "worker.lock").write_bytes(content)
    assert not worker_of(tmp_path)


def test_no_second_worker_is_started(tmp_path, monkeypatch):
    held = WorkerLock(tmp_path)
    held.take()
    monkeypatch.setattr(worker_lock.subprocess, "Popen", pytest.fail)
    ensure_worker(tmp_path)


def test_a_worker_is_started_if_none_runs_and_ends_when_idle(tmp_path):
    RunStore(tmp_path / "new")
    ensure_worker(tmp_path / "new", exit_when_idle=True)
    log = tmp_path / "new" / "worker.log"
    wait_until(lambda: "drains" in log.read_text())
    wait_until(lambda: not worker_of(tmp_path / "new"))
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    "start",
    [
        ensure_worker,
        lambda home: run_worker(home, unless_stopped=True),
        lambda home: child.run_child(home, "0a", "fake_experiment", None),
        lambda home: child.job_child(home, "0a", "fake_jobs"),
    ],
)
def test_a_process_that_a_program_starts_for_a_workspace_that_was_moved_makes_no_other(tmp_path, monkeypatch, start):
    monkeypatch.setattr(child, "_stand_apart", lambda: None)
    for home in (tmp_path / "moved", tmp_path):  # the latter is what an unmounted disk leaves
        with pytest.raises((MovedError, SystemExit), match=f"workspace {home} was moved"):
            start(home)
    assert list(tmp_path.iterdir()) == []


def test_while_a_worker_is_starting_no_other_is_started(tmp_path, monkeypatch):
    RunStore(tmp_path)
    waiting = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(waiting, stdin=subprocess.PIPE) as slow,
        subprocess.Popen(waiting, stdin=subprocess.PIPE) as second,
    ):
        made = iter([slow, second])
        started = []
        monkeypatch.setattr(
            worker_lock.subprocess, "Popen", lambda command, **more: started.append(command) or next(made)
        )
        for _ in range(20):
            ensure_worker(tmp_path)
        assert len(started) == 1
        slow.communicate(b"\n")
        ensure_worker(tmp_path)
        assert len(started) == 2
        second.communicate(b"\n")


def test_the_lock_file_identifies_its_holder(tmp_path):
    held = WorkerLock(tmp_path)
    held.take()
    worker = worker_of(tmp_path)
    assert (worker.pid, worker.identity) == (os.getpid(), identity_of(os.getpid()))
    assert worker.since == pytest.approx(time.time(), abs=60)
    assert not worker.outdated
    assert not worker.suspended


def test_a_worker_with_other_code_is_outdated(tmp_path, monkeypatch):
    held = WorkerLock(tmp_path)
    held.take()
    monkeypatch.setattr(worker_lock, "code_version", lambda: "0.1.0+other")
    assert worker_of(tmp_path).outdated


def test_a_lock_of_an_earlier_version_is_outdated_and_its_worker_cannot_be_asked(tmp_path):
    held = WorkerLock(tmp_path)
    held.take()
    (tmp_path / "worker.lock").write_text(json.dumps({"pid": os.getpid(), "process_started": 1.0}))
    worker = worker_of(tmp_path)
    assert worker.pid == os.getpid()
    assert worker.outdated
    assert not ask_to_leave(tmp_path, worker)


@pytest.mark.parametrize("identity", ["1 another-boot pid:[1]", None])
def test_a_held_lock_has_a_worker_no_matter_where_it_was_started(tmp_path, identity):
    held = WorkerLock(tmp_path)
    held.take()
    (tmp_path / "worker.lock").write_text(json.dumps({"pid": 4194300, "identity": identity, "version": "1"}))
    assert worker_of(tmp_path) is not None


def test_a_free_lock_has_no_worker_whatever_its_file_says(tmp_path):
    told = {"pid": os.getpid(), "identity": identity_of(os.getpid()), "version": "1"}
    (tmp_path / "worker.lock").write_text(json.dumps(told))
    assert worker_of(tmp_path) is None


def test_only_the_intended_worker_is_asked_to_leave(tmp_path):
    held = WorkerLock(tmp_path)
    held.take()
    assert not held.asked_to_leave()
    ask_to_leave(tmp_path, worker_lock.Holder(1, "1 boot pid:[1]"))
    assert not held.asked_to_leave()
    assert ask_to_leave(tmp_path, worker_of(tmp_path))
    assert held.asked_to_leave()


def test_the_worker_that_this_process_started_ends_when_its_queue_is_empty_and_no_other_is_asked(tmp_path, monkeypatch):
    held = WorkerLock(tmp_path)
    held.take()
    worker_lock.let_go(tmp_path)
    assert not held.asked_to_leave(when_idle=True), "a person started it"
    RunStore(tmp_path / "new")
    ensure_worker(tmp_path / "new")
    wait_until(lambda: (there := worker_of(tmp_path / "new")) and there.pid)
    worker_lock.let_go(tmp_path / "new")
    wait_until(lambda: worker_of(tmp_path / "new") is None)
    monkeypatch.setitem(worker_lock._started, tmp_path, SimpleNamespace(pid=os.getpid(), poll=lambda: None))
    ask_to_leave(tmp_path, worker_of(tmp_path))
    worker_lock.let_go(tmp_path)
    assert held.asked_to_leave(), "a request to end at once stays"
    (tmp_path / "worker.leave").write_bytes(b"\xff\xfe")
    worker_lock.let_go(tmp_path)
    assert held.asked_to_leave(when_idle=True) and not held.asked_to_leave(), "its runs are not left behind"


def test_a_damaged_request_asks_nobody_to_leave(tmp_path):
    held = WorkerLock(tmp_path)
    held.take()
    (tmp_path / "worker.leave").write_bytes(b"\xff\xfe")
    assert not held.asked_to_leave()


@pytest.mark.parametrize(
    "content",
    [
        b"7",
        b"[]",
        b'{"pid": "x"}',
        b'"pid identity"',
        b'{"pid": -1}',
        b'{"version": []}',
        b'{"since": 1e300}',
        b"\xff",
        b"[" * 4096,
    ],
)
def test_a_damaged_lock_file_of_a_worker_still_means_a_worker_and_names_no_process(tmp_path, content):
    held = WorkerLock(tmp_path)
    held.take()
    (tmp_path / "worker.lock").write_bytes(content)
    assert worker_of(tmp_path) == worker_lock.Holder()
    with pytest.raises(StoreError, match=rf"{tmp_path}/worker\.lock does not say which process the worker is"):
        worker_command._see_off(tmp_path, worker_of(tmp_path))


def test_starting_a_worker_revokes_an_earlier_stop(tmp_path):
    held = WorkerLock(tmp_path)
    held.take()  # no second worker starts
    stop_workers(tmp_path)
    assert is_stopped(tmp_path)
    ensure_worker(tmp_path)
    assert not is_stopped(tmp_path)


def test_a_lock_that_cannot_be_opened_names_its_workspace(tmp_path):
    (tmp_path / "worker.lock").mkdir()
    with pytest.raises(StoreError, match=f"No worker can run in the workspace {tmp_path}"):
        WorkerLock(tmp_path)


def test_a_program_does_not_start_a_worker_that_a_person_has_just_stopped(tmp_path):
    RunStore(tmp_path).add_job("predict", {})
    stop_workers(tmp_path)
    ensure_worker(tmp_path, unless_stopped=True)
    assert not (tmp_path / "worker.log").exists()
    run_worker(tmp_path, exit_when_idle=True, unless_stopped=True)
    assert is_stopped(tmp_path)
    assert RunStore(tmp_path).jobs(status="queued") != []
