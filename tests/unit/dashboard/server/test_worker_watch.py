"""A worker that cannot stay up is said and not started for ever; one that stays is left alone."""

import pytest

from dashboard.server.worker_watch import LOG_LINES, LOOK_SECONDS, MOST_STARTS, WorkerWatch
from tabtune_core.execution import lock as worker_lock


class World:
    """A clock, whether the worker lives, and how often one was started."""

    def __init__(self):
        self.now, self.alive, self.starts = 100.0, False, 0

    def start(self, home, **more):
        self.starts += not self.alive


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(worker_lock, "worker_alive", lambda home: world.alive)
    monkeypatch.setattr(worker_lock, "ensure_worker", world.start)
    return world


@pytest.fixture
def watch(world, tmp_path):
    return WorkerWatch(tmp_path, clock=lambda: world.now)


def test_where_none_runs_one_is_started_and_given_time(world, watch):
    for _ in range(10):
        assert watch.look() is None
        world.now += LOOK_SECONDS / 11
    assert world.starts == 1


def test_one_that_is_not_there_later_is_said_with_its_last_words(world, watch, tmp_path):
    (tmp_path / "worker.log").write_text("\n".join(f"line {i}" for i in range(50)))
    watch.look()
    world.now += LOOK_SECONDS
    trouble = watch.look()
    assert trouble.log == tmp_path / "worker.log"
    assert trouble.last_lines.splitlines() == [f"line {i}" for i in range(50 - LOG_LINES, 50)]


def test_it_is_not_started_for_ever(world, watch):
    for _ in range(1000):
        watch.look()
        world.now += 1
    assert world.starts == MOST_STARTS
    assert watch.look().starts == MOST_STARTS


def test_a_person_may_have_it_started_again(world, watch):
    for _ in range(100):
        watch.look()
        world.now += 1
    watch.start()
    assert world.starts == MOST_STARTS + 1
    assert watch.look() is None


def test_one_that_lives_is_no_trouble_and_is_replaced_when_it_dies_later(world, watch):
    watch.look()
    world.now, world.alive = world.now + LOOK_SECONDS, True
    assert watch.look() is None
    world.now, world.alive = world.now + 1000, False
    assert watch.look() is None
    assert world.starts == 2
