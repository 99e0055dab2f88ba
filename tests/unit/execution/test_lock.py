import os
import subprocess
import sys
import time

import psutil
import pytest

from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution.lock import WorkerLock, ensure_worker, pid_alive, started_at, worker_alive


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


def test_a_process_that_runs_is_alive_and_one_that_was_collected_is_not(sleeper):
    began = started_at(sleeper.pid)
    assert pid_alive(sleeper.pid, began)
    sleeper.kill()
    sleeper.wait()
    assert not pid_alive(sleeper.pid, began)


def test_another_process_under_the_same_pid_is_not_the_one_we_mean(sleeper):
    assert not pid_alive(sleeper.pid, started_at(sleeper.pid) - 60)


def test_a_zombie_is_dead(sleeper):
    began = started_at(sleeper.pid)
    sleeper.kill()
    wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE)
    assert not pid_alive(sleeper.pid, began)


@pytest.mark.parametrize(("pid", "began"), [(None, None), (None, 1.0), (1, None)])
def test_a_row_without_a_process_has_none_alive(pid, began):
    assert not pid_alive(pid, began)


def test_the_lock_is_held_by_one_and_can_be_taken_after_the_release(tmp_path):
    first, second = WorkerLock(tmp_path), WorkerLock(tmp_path)
    assert first.take()
    assert not second.take()
    assert worker_alive(tmp_path)
    first.release()
    assert not worker_alive(tmp_path)
    assert second.take()


def test_a_lock_whose_holder_was_killed_is_free(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from tabtune_core.execution.lock import WorkerLock; "
        "print(WorkerLock(Path(sys.argv[1])).take(), flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # the lock must stay referenced, or the descriptor would be closed by chance and not by the kill
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout.readline() == b"True\n"
        assert worker_alive(tmp_path)
        assert not WorkerLock(tmp_path).take()
        holder.kill()
    assert not worker_alive(tmp_path)
    assert WorkerLock(tmp_path).take()


def test_without_a_lock_file_there_is_no_worker(tmp_path):
    assert not worker_alive(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{"])
def test_a_lock_file_that_says_nothing_means_no_worker(tmp_path, content):
    (tmp_path / "worker.lock").write_bytes(content)
    assert not worker_alive(tmp_path)


def test_no_second_worker_is_started(tmp_path, monkeypatch):
    WorkerLock(tmp_path).take()
    monkeypatch.setattr(worker_lock.subprocess, "Popen", pytest.fail)
    ensure_worker(tmp_path)


def test_a_worker_is_started_where_none_runs_and_ends_when_idle(tmp_path):
    ensure_worker(tmp_path / "new", exit_when_idle=True)
    log = tmp_path / "new" / "worker.log"
    wait_until(lambda: "drains" in log.read_text())
    wait_until(lambda: not worker_alive(tmp_path / "new"))
    assert "Traceback" not in log.read_text()
