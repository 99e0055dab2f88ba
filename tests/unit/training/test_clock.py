"""A run's own time, on a fake clock: what counts, what is excluded and what is charged."""

import numpy as np
import pytest

from tabtune_core.data.datasets import add_sample
from tabtune_core.engine.experiment import run_experiment
from tabtune_core.events import MemorySampled
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.training import best_checkpoint, last_state, train_phase
from tabtune_core.training.array_cache import SharedArrays
from tabtune_core.training.clock import OwnClock, disturbed


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


def test_excluded_time_does_not_count_even_while_it_passes(time):
    clock = OwnClock(time)
    time.now += 3
    with clock.aside():
        time.now += 10
        assert clock.seconds == 3
        with clock.aside():
            time.now += 20
        time.now += 30
        assert clock.seconds == 3
    time.now += 4
    assert clock.seconds == 7


def test_waiting_for_a_core_is_not_run_time_but_still_ends_at_the_limit(time):
    waits = Time()
    clock = OwnClock(time, waits)
    time.now += 10
    waits.now += 7
    with clock.aside():
        time.now += 5
        waits.now += 4
    assert (clock.seconds, clock.wall_seconds, clock.waited_seconds) == (3, 15, 11)
    assert (clock.is_past(14), clock.is_past(14.1)) == (True, False)


def test_a_resumed_run_has_the_seconds_of_both_processes(time):
    clock = OwnClock(time)
    clock.go_on(8.0, 3.0, 20.0, 6.0)
    time.now += 1
    assert (clock.seconds, clock.charged_seconds, clock.wall_seconds) == (9, 3, 21)
    assert (clock.is_past(15), clock.is_past(15.1)) == (True, False)


@pytest.mark.parametrize("busy", [(0, 9), (9, 0), (9, 9)])
def test_a_busy_machine_changes_the_time_of_neither_a_cold_nor_a_warm_run(tmp_path, time, busy):
    """However busy it was when an array was computed and when it was read."""
    waits, told = Time(), []
    for wait in busy:
        clock = OwnClock(time, waits)

        def make(wait=wait):
            time.now += 4 + wait
            waits.now += wait
            return np.zeros(2)

        SharedArrays(tmp_path, clock=clock).get(["x"], make)
        told.append(clock.seconds)
    assert told == [4, 4]


@pytest.mark.parametrize(
    ("threads", "said"),
    [
        ([(9.0, 2.0), (3.0, 1.0)], "computed for 12 s and waited 3 s"),
        ([(20.0, 1.5)], None),
        ([(1.0, 0.9)], None),
        ([(9.0, 1.0)], "computed for 9 s and waited 1 s"),
    ],
)
def test_a_run_that_waited_for_cores_reports_it(tmp_path, threads, said):
    for number, (ran, waited) in enumerate(threads):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "schedstat").write_text(f"{round(ran * 1e9)} {round(waited * 1e9)} 7\n")
    (tmp_path / "ended").mkdir()
    (tmp_path / "ended" / "schedstat").write_text("")
    note = disturbed(tmp_path)
    assert note is None if said is None else said in note.text


@pytest.mark.parametrize(("limit", "steps", "seconds"), [(None, 6, 6.3), (3.05, 3, 3.2)])
def test_run_seconds_count_only_steps_and_evaluations(tmp_path, monkeypatch, time, limit, steps, seconds):
    def taking(duration, do):
        def done(*positional, **named):
            time.now += duration
            return do(*positional, **named)

        return done

    monkeypatch.setattr(OwnClock.__init__, "__defaults__", (time, lambda: 0.0))
    monkeypatch.setattr("tabtune_core.training.clock._ran_and_waited", lambda file: (0.0, 0.0))
    for where in (best_checkpoint, last_state):
        monkeypatch.setattr(where, "write_state", taking(1000, where.write_state))
    plain_step = train_phase.plain_step
    monkeypatch.setattr(train_phase, "plain_step", lambda *given, **named: taking(1, plain_step(*given, **named)))
    monkeypatch.setattr(train_phase, "_evaluate", taking(0.1, train_phase._evaluate))
    table, train = add_sample(tmp_path, "iris").id, TrainSettings(steps=6, eval_every=2, time_limit=limit)
    settings = RunSettings(dataset=table, target="species", device="cpu", strategy="base-ft", train=train)
    (tmp_path / "run").mkdir()
    stop = taking(1000, lambda: None)

    def emit(event):
        time.now += 1000 * (not isinstance(event, MemorySampled))  # these come from another thread

    result = run_experiment(settings, home=tmp_path, run_dir=tmp_path / "run", emit=emit, stop_request=stop)
    assert (result.steps_done, result.train_seconds) == (steps, pytest.approx(seconds))
