"""The lock of a workspace: one worker holds it, a file beside it says which, and one that ends is started again."""

import itertools
import os
import subprocess
import sys
import threading
import time

import pytest
from worker_program import wait_until

from tabtune_core.cli.main import main
from tabtune_core.errors import ClusterError, MovedError, ShortageError, StoreError
from tabtune_core.execution import child, lock, service
from tabtune_core.execution.local import LocalExecutor
from tabtune_core.execution.lock import HOLDER, WorkerLock, ensure_worker, is_stopped, stop_workers, worker_of
from tabtune_core.execution.service import run_worker
from tabtune_core.store.runs import RunStore


def test_the_lock_is_held_by_one_and_can_be_taken_after_the_release(tmp_path):
    assert worker_of(tmp_path) is None
    first, second = WorkerLock(tmp_path), WorkerLock(tmp_path)
    assert first.take()
    assert not second.take(0.05)
    assert worker_of(tmp_path) == os.getpid()
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
        assert worker_of(tmp_path) == holder.pid
        assert not WorkerLock(tmp_path).take(0.05)
        holder.kill()
    assert WorkerLock(tmp_path).take()


@pytest.mark.parametrize("content", [b"", b"x", b"\xff"])
def test_a_damaged_description_of_a_worker_still_means_a_worker(tmp_path, content):
    held = WorkerLock(tmp_path)
    held.take()
    (tmp_path / HOLDER).write_bytes(content)
    assert worker_of(tmp_path) == 0


def test_a_lock_that_cannot_be_opened_names_its_workspace(tmp_path):
    with pytest.raises(StoreError, match=f"No worker can run in the workspace {tmp_path / 'none'}"):
        WorkerLock(tmp_path / "none")


def test_a_worker_is_started_if_none_runs_and_ends_when_idle(tmp_path):
    RunStore(tmp_path)
    ensure_worker(tmp_path, exit_when_idle=True)
    wait_until(lambda: "drains" in (tmp_path / "worker.log").read_text())
    wait_until(lambda: worker_of(tmp_path) is None)
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_a_worker_that_a_program_started_ends_when_idle_once_that_program_has_ended(tmp_path):
    RunStore(tmp_path)
    program = "import sys; from pathlib import Path; from tabtune_core.execution.lock import ensure_worker, worker_of\n"
    program += "home = Path(sys.argv[1]); ensure_worker(home)\nwhile not worker_of(home): pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE) as starter:
        wait_until(lambda: worker_of(tmp_path))
        time.sleep(1)
        assert worker_of(tmp_path), "it waits for work"
        starter.kill()
    wait_until(lambda: worker_of(tmp_path) is None)


STARTS = (
    ensure_worker,
    lambda home: run_worker(home, started_by=os.getpid()),
    lambda home: child.run_child(home, "0a", "fake_experiment", None),
    lambda home: child.job_child(home, "0a", "fake_jobs"),
)


@pytest.mark.parametrize("start", STARTS)
def test_a_process_that_a_program_starts_for_a_workspace_that_was_moved_makes_no_other(tmp_path, monkeypatch, start):
    monkeypatch.setattr(child, "_stand_apart", lambda: None)
    monkeypatch.setattr(child, "_end_with_worker", lambda: None)
    for home in (tmp_path / "moved", tmp_path):  # the latter is what an unmounted disk leaves
        with pytest.raises((MovedError, SystemExit), match=f"workspace {home} was moved"):
            start(home)
    assert list(tmp_path.iterdir()) == []


def test_while_a_worker_runs_or_is_starting_no_other_is_started(tmp_path, monkeypatch):
    RunStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as slow:
        started = []
        monkeypatch.setattr(lock.subprocess, "Popen", lambda command, **more: started.append(command) or slow)
        for _ in range(20):
            ensure_worker(tmp_path)
        assert len(started) == 1
        slow.communicate(b"\n")
        ensure_worker(tmp_path)
        assert len(started) == 2
        held = WorkerLock(tmp_path)
        held.take()
        stop_workers(tmp_path)
        ensure_worker(tmp_path)
        assert not is_stopped(tmp_path) and len(started) == 2


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


def test_the_executor_is_this_machine_or_what_the_environment_or_the_command_line_says(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(service, "run_worker", lambda home, *, executor, **more: opened.append(executor))
    assert main(["worker", "--home", str(tmp_path)]) == 0
    monkeypatch.setenv("TABTUNE_WORKER", "--executor ray --address a:1")
    for flags in ([], ["--address", "b:2"]):
        assert main(["worker", "--home", str(tmp_path), *flags]) == 0
    assert opened[0].func is LocalExecutor
    assert [one.args for one in opened[1:]] == [("a:1",), ("b:2",)]


class World:
    """A clock, the living worker, and the number of starts."""

    def __init__(self):
        self.now, self.worker, self.starts = 100.0, None, 0

    def start(self, home, **more):
        self.starts += self.worker is None


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(lock, "worker_of", lambda home: world.worker)
    monkeypatch.setattr(lock, "ensure_worker", world.start)
    return world


@pytest.fixture
def watch(world, tmp_path):
    return lock.WorkerWatch(tmp_path, clock=lambda: world.now)


def test_a_missing_worker_is_given_time_and_reported_with_the_end_of_its_log_if_it_did_not_stay(world, watch):
    watch.log.write_text("\n".join(f"line {i}" for i in range(50)))
    for _ in range(10):
        assert watch.look() is None
        world.now += lock.LOOK_SECONDS / 10
    assert world.starts == 1
    world.now += 1
    trouble = watch.look()
    assert (trouble.why, trouble.log) == ("ended", watch.log)
    assert trouble.last_lines.splitlines() == [f"line {i}" for i in range(50 - lock.LOG_LINES, 50)]


@pytest.mark.parametrize("lives_seconds", [0, lock.LOOK_SECONDS - 1])
def test_a_worker_that_keeps_dying_is_reported_and_started_again_and_again(world, watch, lives_seconds):
    started = []
    for second in range(400):
        watch.look()
        world.now += 1
        if world.starts > len(started):
            started.append(second)
        world.worker = 7 if second - started[-1] < lives_seconds else None
    assert {later - earlier for earlier, later in itertools.pairwise(started)} == {lock.LOOK_SECONDS}
    world.worker = None
    trouble = watch.look()
    assert (trouble.why, trouble.starts) == ("ended", len(started))
    watch.start()
    assert world.starts == len(started) + 1
    assert watch.look() is None


def test_a_worker_that_stayed_up_is_replaced_at_once_when_it_dies(world, watch):
    for turn in range(1, 20):
        assert watch.look() is None
        assert world.starts == turn
        for world.worker in [7] * 9:
            world.now += lock.LOOK_SECONDS / 8
            assert watch.look() is None
        world.worker = None


def test_the_server_checks_the_worker_while_something_waits_and_stops_at_its_end(tmp_path, monkeypatch):
    store, looked = RunStore(tmp_path), threading.Event()
    monkeypatch.setattr(lock, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(lock, "ensure_worker", lambda home, **more: looked.set())
    with lock.watched(store):
        assert not looked.wait(0.2), "nothing waits yet"
        store.add_job("predict", {})
        assert looked.wait(10)
    assert "worker-watch" not in [thread.name for thread in threading.enumerate()]


def test_a_shortage_that_prevents_a_worker_is_reported_until_it_ends(world, watch, monkeypatch):
    def fails(home, **more):
        raise ShortageError("The disk is full.", "room")

    with monkeypatch.context() as patch:
        patch.setattr(lock, "ensure_worker", fails)
        for _ in range(3):
            assert watch.look().what == "The disk is full."
            world.now += 1
    world.now += lock.LOOK_SECONDS
    watch.look()
    assert world.starts == 1


def test_a_stopped_worker_is_reported_and_started_only_by_a_person(world, watch, tmp_path):
    stop_workers(tmp_path)
    for _ in range(100):
        assert watch.look().why == "stopped"
        world.now += 1
    assert world.starts == 0
    watch.start()
    assert world.starts == 1
