import itertools
import math
import types

import numpy as np
import pytest

from tabtune_core.analysis.curves import frame_of, progress
from tabtune_core.analysis.run_curves import KINDS
from tabtune_core.events import MemorySampled, PhaseDone, PhaseStarted, Resumed, RunPlanned, StepDone
from tabtune_core.settings import RunSettings

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


def test_a_phase_has_its_peaks_and_a_running_phase_has_no_end(store):
    run_id = running(
        store,
        PhaseStarted("load"),
        PhaseDone("load", 0.1, {"resident": 9, "nvml_device": None}, 3),
        PhaseStarted("train"),
    )
    frame = frame_of(store, [run_id], "phases").set_index("phase")
    assert (frame.loc["load", "peak_resident_bytes"], frame.loc["load", "growth_bytes"]) == (9, 3)
    assert frame.loc["load", "end_seconds"] >= frame.loc["load", "start_seconds"]
    assert np.isnan(frame.loc["load", "peak_nvml_device_bytes"])
    assert np.isnan(frame.loc["train", "end_seconds"])


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
    assert progress(store, store.run(run_id)).eta_seconds == pytest.approx((PLAN.steps - 13) * 12 / 5)


def test_a_meter_reading_carries_the_last_completed_step(store):
    looks = (MemorySampled("load", 5), step(1), step(2), MemorySampled("train", 6), step(3), MemorySampled("train", 7))
    assert frame_of(store, [running(store, *looks)], "memory")["step"].tolist() == [0, 2, 3]
