"""The curves of runs: read incrementally, bounded in size, faithful after thinning, and means of groups."""

import dataclasses
import itertools
import math
import types

import numpy as np
import pandas as pd
import pytest

from tabtune_core.analysis import run_curves
from tabtune_core.analysis.curves import frame_of, progress
from tabtune_core.analysis.run_curves import BINS, KINDS, MOST, RunCurves, group_means
from tabtune_core.events import Evaluated, MemorySampled, PhaseStarted, Resumed, RunPlanned, StepDone, to_json
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.runs import RunStore

PLAN = RunPlanned("cpu", 20, 60, 20, 20, 40, 15, 4, ("a", "b"), 100, 10, (), {})


def running(store, *events, **settings):
    store.add_sweep([RunSettings(dataset="d", target="y", **settings)])
    run_id = store.claim(1, None).id
    for event in events:
        store.append(run_id, event)
    return run_id


def step(number, loss=0.5):
    return StepDone(number, loss, 1.5, 2e-4, number * 0.5)


def test_steps_of_several_runs_share_one_frame(store):
    first, second = running(store, step(1), step(2, math.inf)), running(store, step(1, math.nan))
    frame = frame_of(store, [first, second], "steps")
    assert list(frame.columns) == ["run", "step", "seconds", "loss", "gradient_norm", "learning_rate"]
    assert frame.groupby("run")["step"].apply(list).to_dict() == {first: [1, 2], second: [1]}
    assert frame.set_index(["run", "step"])["loss"].loc[[(first, 2), (second, 1)]].map(str).tolist() == ["inf", "nan"]


def test_an_unreadable_meter_is_nan_and_not_zero(store):
    frame = frame_of(
        store, [running(store, MemorySampled("train", 5, nvml_device_bytes=None, torch_allocated_bytes=7))], "memory"
    )
    row = frame.iloc[0]
    assert (row["phase"], row["resident_bytes"], row["torch_allocated_bytes"]) == ("train", 5, 7)
    assert np.isnan(row["nvml_device_bytes"])
    assert 0 <= row["seconds"] < 60


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("runs", [0, 1])
def test_without_events_a_frame_is_empty_and_has_its_columns(store, kind, runs):
    frame = frame_of(store, [running(store) for _ in range(runs)], kind)
    assert len(frame) == 0
    assert "run" in frame.columns


@pytest.fixture
def two_seconds_an_event(monkeypatch):
    """By the clock of the store; the run's own clock counts half a second per step."""
    seconds = itertools.count(1000.0, 2.0)
    clock = types.SimpleNamespace(time=lambda: next(seconds))
    for module in ("runs", "event_log"):
        monkeypatch.setattr(f"tabtune_core.store.{module}.time", clock)


def test_time_left_is_wall_time_and_known_after_five_steps(store, two_seconds_an_event):
    run_id = running(store, PLAN, PhaseStarted("train"), *map(step, range(1, 5)))
    early = progress(store, store.run(run_id))
    store.append(run_id, step(5))
    late = progress(store, store.run(run_id))
    assert (early.done_steps, early.total_steps, early.phase, early.eta_seconds) == (4, 20, "train", None)
    assert (late.done_steps, late.eta_seconds) == (5, pytest.approx(2 * 15))


def test_time_left_of_a_resumed_run_uses_the_steps_of_its_current_process(store, two_seconds_an_event):
    run_id = running(store, *map(step, range(1, 9)))
    store.requeue(run_id, "Killed.")
    store.claim(1, "1")
    for event in (PLAN, PhaseStarted("train"), Resumed(8), *map(step, range(9, 13))):
        store.append(run_id, event)
    assert progress(store, store.run(run_id)).eta_seconds is None
    store.append(run_id, step(13))
    # five steps of two seconds each, and two seconds for the event that it was resumed
    run = store.run(run_id)
    for one in (run, dataclasses.replace(run, resumptions=0, rung=1)):
        assert progress(store, one).eta_seconds == pytest.approx((PLAN.steps - 13) * 12 / 5)


def test_a_meter_reading_carries_the_last_completed_step(store):
    looks = (MemorySampled("load", 5), step(1), step(2), MemorySampled("train", 6), step(3), MemorySampled("train", 7))
    assert frame_of(store, [running(store, *looks)], "memory")["step"].tolist() == [0, 2, 3]


def tell(store, run_id, events, began=0.0):
    """Appends the events in one call, with times a second apart."""
    rows = [(run_id, began + place, *to_json(event)) for place, event in enumerate(events)]
    with store._together():
        store._connection.executemany("INSERT INTO events (run, time, kind, payload) VALUES (?, ?, ?, ?)", rows)


def test_steps_that_a_resumed_run_repeats_are_removed_from_its_curves(store):
    run_id = running(store)
    held = store.run_dir(run_id) / STATES / LAST_STATE
    held.parent.mkdir(parents=True)
    held.touch()
    plan = RunPlanned("cpu", 9, 1, 1, 1, 1, 1, 1, (), 1, 1, (), {})
    score = Evaluated(2, "validation", {"accuracy": 0.5}, True, 1.0)
    tell(store, run_id, [plan, MemorySampled("load", 5), step(1), step(2), score, step(3)])
    curves = RunCurves(store, run_id).read_on()
    store.requeue(run_id, "killed")
    store.claim(2, None)
    store.begin_again(run_id)
    curves.read_on()
    for told in ([plan, MemorySampled("load", 6)], [Resumed(2)], [step(3, 0.25), step(4)]):
        for event in told:
            store.append(run_id, event)
        curves.read_on()
        for name, frame in RunCurves(store, run_id).read_on().frames.items():
            pd.testing.assert_frame_equal(curves.frames[name], frame)
    assert curves.frames["steps"]["step"].tolist() == [1, 2, 3, 4]
    assert curves.frames["steps"]["loss"].tolist()[2] == 0.25
    assert curves.frames["memory"]["resident_bytes"].tolist() == [6]


def test_only_new_events_are_parsed(store, monkeypatch):
    run_id = running(store)
    curves, parsed, told = RunCurves(store, run_id), [], RunStore.fields

    def note(*given, **more):
        parsed.extend(told(*given, **more))
        return told(*given, **more)

    monkeypatch.setattr(RunStore, "fields", note)
    tell(store, run_id, [step(1), step(2)])
    before = curves.read_on().version("steps")
    assert curves.read_on().version("steps") == before
    tell(store, run_id, [step(3)])
    assert curves.read_on().version("steps") > before
    assert [values["step"] for values in parsed] == [1, 2, 3]


def test_a_very_long_run_is_thinned_but_keeps_its_ends_and_extremes(store):
    run_id = running(store)
    losses = np.random.default_rng(0).normal(1, 0.1, 30_000)
    losses[[777, 15_555]] = (-3.0, 9.0)
    curves = RunCurves(store, run_id)
    for part in range(3):
        tell(store, run_id, [step(at + 1, float(losses[at])) for at in range(10_000 * part, 10_000 * (part + 1))])
        curves.read_on()
    steps = curves.frames["steps"]
    assert MOST / 4 < len(steps) <= MOST
    assert (steps["step"].iloc[0], steps["step"].iloc[-1]) == (1, 30_000)
    assert {777 + 1, 15_555 + 1} <= set(steps["step"])
    assert steps["step"].is_monotonic_increasing
    np.testing.assert_array_equal(steps["loss"], losses[steps["step"] - 1], "every point is a real step")


def test_thinning_ends_for_curves_that_cannot_be_halved(store, monkeypatch):
    monkeypatch.setattr(run_curves, "MOST", 4)
    run_id = running(store)
    tell(store, run_id, [MemorySampled(("train", "evaluate")[number % 2], number) for number in range(50)])
    assert len(RunCurves(store, run_id).read_on().frames["memory"]) == 50


def frame(**columns):
    rows = pd.DataFrame(columns)
    return rows.assign(run=pd.Categorical(rows["run"], categories=["b", "a", "never"]))


def test_a_group_has_its_mean_minimum_and_maximum_at_each_step():
    rows = frame(run=["a", "a", "a", "b"], step=[1, 1, 2, 1], seconds=[1.0, 3.0, 5.0, 7.0], loss=[0.2, 0.6, 0.5, 9.0])
    means = group_means(rows, "step")
    assert means["run"].tolist() == ["b", "a", "a"]
    assert means[["step", "seconds"]].to_numpy().tolist() == [[1, 7], [1, 2], [2, 5]]
    np.testing.assert_allclose(means[["loss_low", "loss", "loss_high"]], [[9, 9, 9], [0.2, 0.4, 0.6], [0.5, 0.5, 0.5]])
    assert list(means["run"].cat.categories) == ["b", "a", "never"]


def test_a_non_finite_loss_leaves_a_gap():
    means = group_means(frame(run=["a", "a"], step=[1, 1], loss=[np.inf, 1.0]), "step")
    assert means["loss"].isna().all()


def test_samples_at_different_seconds_are_averaged_in_equal_intervals():
    seconds = np.concatenate([np.arange(0, 100, 0.1), np.arange(0.05, 100, 0.1)])
    rows = frame(run="a", seconds=seconds, resident_bytes=np.repeat([2e6, 4e6], 1000))
    means = group_means(rows.assign(run=pd.Categorical(rows["run"])), "seconds")
    assert len(means) == BINS + 1
    np.testing.assert_allclose(means["resident_bytes"][1:-1], 3e6, rtol=0.2)
    assert means["seconds"].is_monotonic_increasing
