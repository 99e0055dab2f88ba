"""The curves of a run: read incrementally, bounded in size, and faithful after thinning."""

import numpy as np
import pandas as pd

from tabtune_core.analysis import run_curves
from tabtune_core.analysis.run_curves import MOST, RunCurves
from tabtune_core.events import Evaluated, MemorySampled, Resumed, RunPlanned, StepDone, to_json
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.runs import RunStore


def running(store):
    store.add_sweep([RunSettings(dataset="d", target="y")])
    return store.claim(1, None).id


def tell(store, run_id, events, began=0.0):
    """Appends the events in one call, with times a second apart."""
    rows = [(run_id, began + place, *to_json(event)) for place, event in enumerate(events)]
    with store._together():
        store._connection.executemany("INSERT INTO events (run, time, kind, payload) VALUES (?, ?, ?, ?)", rows)


def step(number, loss=0.5):
    return StepDone(number, loss, 1.5, 2e-4, number * 0.5)


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
        tell(
            store,
            run_id,
            [step(place + 1, float(losses[place])) for place in range(10_000 * part, 10_000 * (part + 1))],
        )
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
