"""Frames for charts: what has ended is read once, and the parts fit together."""

import dataclasses

import pandas as pd
import pytest
import seeding

from dashboard import queries
from dashboard.formatting import labels
from dashboard.queries import frames
from tabtune_core.store.runs import RunStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path))
    return RunStore(tmp_path)


def told(sweep, store, kind):
    return queries.frame(kind, store.runs(sweep))


def test_what_has_ended_is_not_read_again_while_another_run_goes_on(store, monkeypatch):
    sweep, runs = seeding.going_sweep(store)
    read = []

    def count(kind):
        make = queries.FRAMES[kind]
        return lambda store, ids: read.extend(ids) or make(store, ids)

    monkeypatch.setattr(frames, "FRAMES", {kind: count(kind) for kind in queries.FRAMES})
    now = 1e9
    monkeypatch.setattr(frames.time, "time", lambda: now)
    for _ in range(3):
        for kind in queries.FRAMES:
            told(sweep, store, kind)
        now += 1
    assert {run.id: read.count(run.id) for run in runs} == {run.id: 12 if run is runs[3] else 4 for run in runs}


@pytest.mark.parametrize("kind", queries.FRAMES)
def test_parts_give_the_same_as_one_read_of_all(store, kind):
    sweep, _ = seeding.going_sweep(store)
    runs = store.runs(sweep)
    whole = queries.FRAMES[kind](store, [run.id for run in runs])
    names = {run.id: run.name for run in runs}
    parts = told(sweep, store, kind)
    assert list(parts["run"].cat.categories) == list(names.values())
    sort = [name for name in ("run", "step", "start_seconds", "seconds") if name in parts]
    one = whole.assign(run=whole["run"].map(names)).sort_values(sort, ignore_index=True)
    pd.testing.assert_frame_equal(parts.astype({"run": "str"}).sort_values(sort, ignore_index=True), one)


def test_runs_of_several_models_are_told_apart(store):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    assert set(labels(store.runs()).values()) == {"Zero-shot", "Full fine-tuning", "LoRA r=2"}
    seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,), task="regression"))
    assert labels(store.runs())[runs[2].id] == "LoRA r=2 · tabicl-mini"
    assert len(set(labels(store.runs()).values())) == 6


def test_runs_of_two_sweeps_are_told_apart_by_what_differs(store):
    sweep = seeding.sweep_settings(store.home, ranks=(2,))
    other = dataclasses.replace(sweep, run=dataclasses.replace(sweep.run, lora=dataclasses.replace(sweep.run.lora, dropout=0.2)))
    for one in (sweep, other):
        seeding.queue(store, dataclasses.replace(one, full_fine_tuning=False))
    assert list(labels(store.runs()).values()) == ["Zero-shot", "LoRA r=2, dropout 0.05", "Zero-shot (2)", "LoRA r=2, dropout 0.2"]


@pytest.mark.parametrize("kind", queries.FRAMES)
def test_a_sweep_that_has_told_nothing_is_an_empty_frame(store, kind):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    assert len(told(sweep, store, kind)) == 0
    assert len(told(sweep, store, kind)["run"].cat.categories) == len(runs)
