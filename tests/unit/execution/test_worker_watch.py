"""A worker that cannot stay up is reported and not started forever; one that stays is left alone."""

import itertools
import os
import signal
import subprocess
import sys
import threading

import pytest

from tabtune_core.errors import ShortageError
from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution import worker_watch
from tabtune_core.execution.identity import identity_of
from tabtune_core.execution.lock import Holder, stop_workers
from tabtune_core.execution.worker_watch import LOG_LINES, LONGEST_SECONDS, LOOK_SECONDS, STEADY_SECONDS, WorkerWatch
from tabtune_core.store.runs import RunStore


class World:
    """A clock, the living worker, and the number of starts."""

    def __init__(self):
        self.now, self.worker, self.starts = 100.0, None, 0

    def start(self, home, **more):
        self.starts += self.worker is None


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(worker_lock, "worker_of", lambda home: world.worker)
    monkeypatch.setattr(worker_lock, "ensure_worker", world.start)
    return world


@pytest.fixture
def watch(world, tmp_path):
    return WorkerWatch(tmp_path, clock=lambda: world.now)


def test_a_missing_worker_is_started_and_given_time(world, watch):
    for _ in range(10):
        assert watch.look() is None
        world.now += LOOK_SECONDS / 11
    assert world.starts == 1


def test_a_worker_that_did_not_stay_is_reported_with_the_end_of_its_log(world, watch, tmp_path):
    (tmp_path / "worker.log").write_text("\n".join(f"line {i}" for i in range(50)))
    watch.look()
    world.now += LOOK_SECONDS
    trouble = watch.look()
    assert trouble.log == tmp_path / "worker.log"
    assert trouble.last_lines.splitlines() == [f"line {i}" for i in range(50 - LOG_LINES, 50)]


@pytest.mark.parametrize("lives_seconds", [0, 3, STEADY_SECONDS - 1])
def test_a_worker_that_keeps_dying_is_reported_and_started_less_and_less_often(world, watch, lives_seconds):
    started = []
    for second in range(4_000):
        watch.look()
        world.now += 1
        if world.starts > len(started):
            started.append(second)
        world.worker = Holder(7, None, "this") if second - started[-1] < lives_seconds else None
    pauses = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= LONGEST_SECONDS - lives_seconds
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
        for world.worker in [Holder(7, None, "this")] * 9:
            world.now += STEADY_SECONDS / 8
            assert watch.look() is None
        world.now, world.worker = world.now + LOOK_SECONDS, None


def test_the_server_checks_the_worker_while_something_waits_and_stops_at_its_end(world, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_watch, "TURN_SECONDS", 0.01)
    store, looked = RunStore(tmp_path), threading.Event()
    monkeypatch.setattr(worker_lock, "ensure_worker", lambda home, **more: looked.set())
    with worker_watch.watched(store):
        assert not looked.wait(0.2), "nothing waits yet"
        store.add_job("predict", {})
        assert looked.wait(10)
    assert "worker-watch" not in [thread.name for thread in threading.enumerate()]


def test_a_shortage_that_prevents_a_worker_is_reported_until_it_ends(world, watch, monkeypatch):
    def fails(home, **more):
        raise ShortageError("Too many files are open.", "files")

    with monkeypatch.context() as patch:
        patch.setattr(worker_lock, "ensure_worker", fails)
        for _ in range(3):
            assert watch.look().what == "Too many files are open."
            world.now += 1
    world.now += LOOK_SECONDS
    watch.look()
    assert world.starts == 1


def test_a_worker_stopped_by_a_person_is_started_only_by_a_person(world, watch, tmp_path):
    stop_workers(tmp_path)
    for _ in range(100):
        assert watch.look().why == "stopped"
        world.now += 1
    assert world.starts == 0
    watch.start()
    assert world.starts == 1


def test_a_suspended_worker_is_reported_and_no_other_is_started(world, watch):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        world.worker = Holder(process.pid, identity_of(process.pid), "this")
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert watch.look().why == "suspended"
        process.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        assert watch.look() is None
        process.kill()
    assert world.starts == 0
