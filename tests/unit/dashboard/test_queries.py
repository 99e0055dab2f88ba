"""Frames for charts: ended runs are read once, and the parts fit together."""

import dataclasses
import threading
import types

import pandas as pd
import pytest
import seeding

from dashboard import queries
from dashboard.formatting import labels, moment
from dashboard.queries import curves
from dashboard.queries.curves import Shared
from tabtune_core.analysis.curves import frame_of
from tabtune_core.analysis.run_curves import KINDS
from tabtune_core.data.datasets import add_dataset, delete_dataset
from tabtune_core.errors import TableError
from tabtune_core.settings import RunSettings, SweepSettings
from tabtune_core.store.runs import RunStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path))
    return RunStore(tmp_path)


def told(sweep, store, kind):
    return queries.frame(kind, store.runs(sweep))


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances only when a test says so."""
    now = types.SimpleNamespace(seconds=1e6)
    monkeypatch.setattr(curves, "time", types.SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def read(monkeypatch):
    """Pairs (run, kind) of every event that is parsed for a curve."""
    events, fields = [], RunStore.fields

    def note(store, run_ids, kind, **more):
        rows = fields(store, run_ids, kind, **more)
        events.extend([(*run_ids, kind)] * len(rows) * ("after" in more))
        return rows

    monkeypatch.setattr(RunStore, "fields", note)
    return events


def test_a_sweep_or_table_that_was_deleted_after_it_was_listed_is_no_key_error(store):
    sweep = seeding.finished_sweep(store, ranks=(2,))
    (run, *_), (table,) = store.runs(), queries.tables()
    for other in store.runs():
        store.delete(other.id)
    delete_dataset(store.home, table)
    assert (queries.sweeps()[run.sweep].name, sweep in queries.sweeps()) == ("", False)
    with pytest.raises(TableError, match="Add the file again"):
        queries.tables()[table]


def test_every_event_is_read_once_however_often_pages_refresh(store, clock, read):
    sweep, runs = seeding.going_sweep(store)
    for step in (26, 27):
        for kind in KINDS:
            told(sweep, store, kind)
        runs[3].step(step)
        clock.seconds += 1
    assert len(told(sweep, store, "steps").query("run == @runs[3].settings.label")) == 27
    written = [
        (run.id, kind)
        for run in runs
        for kind in ("StepDone", "Evaluated", "MemorySampled")
        for _ in store.fields([run.id], kind)
    ]
    assert sorted(read) == sorted(written)


def test_within_a_second_all_tabs_see_the_same_and_an_ended_run_is_read_to_its_end_at_once(store, clock):
    sweep, runs = seeding.going_sweep(store)
    before = told(sweep, store, "steps")
    runs[3].step(26)
    assert told(sweep, store, "steps") is before
    clock.seconds += 1
    assert len(told(sweep, store, "steps")) == len(before) + 1
    samples = told(sweep, store, "memory")
    runs[3].end()
    assert len(told(sweep, store, "memory")) == len(samples) + 1


def test_reading_in_parts_gives_the_same_as_reading_all(store):
    sweep, _ = seeding.going_sweep(store)
    names = {run.id: run.name for run in store.runs(sweep)}
    for kind in KINDS:
        whole, parts = frame_of(store, list(names), kind), told(sweep, store, kind)
        assert list(parts["run"].cat.categories) == list(names.values())
        sort = [name for name in ("run", "step", "start_seconds", "seconds") if name in parts]
        one = whole.assign(run=whole["run"].map(names)).sort_values(sort, ignore_index=True)
        pd.testing.assert_frame_equal(parts.astype({"run": "str"}).sort_values(sort, ignore_index=True), one)


def test_runs_of_several_models_are_distinguished(store):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    assert set(labels(store.runs()).values()) == {"Zero-shot", "Full fine-tuning", "LoRA r=2"}
    seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,), task="regression"))
    assert labels(store.runs())[runs[2].id] == "LoRA r=2 · tabicl-mini"
    assert len(set(labels(store.runs()).values())) == 6


def test_runs_of_two_sweeps_are_distinguished_by_their_differences(store):
    sweep = seeding.sweep_settings(store.home, ranks=(2,))
    other = dataclasses.replace(
        sweep, run=dataclasses.replace(sweep.run, lora=dataclasses.replace(sweep.run.lora, dropout=0.2))
    )
    for one in (sweep, other):
        seeding.queue(store, dataclasses.replace(one, full_fine_tuning=False))
    runs = store.runs()
    first, second = (dataclasses.replace(run, ended=run.created + 3600 * n) for n, run in enumerate(runs[::2], 1))
    named = labels([first, runs[1], second, runs[3]])
    ended = [f"Zero-shot, {moment(run.ended)}" for run in (first, second)]
    assert list(named.values()) == [ended[0], "LoRA r=2, dropout 0.05", ended[1], "LoRA r=2, dropout 0.2"]


def test_a_sweep_without_events_is_an_empty_frame(store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    for kind in KINDS:
        frame = told(sweep, store, kind)
        assert (len(frame), len(frame["run"].cat.categories)) == (0, len(runs))


def test_a_finding_about_a_split_counts_the_rows_that_the_settings_allow(store):
    file = store.home / "table.csv"
    file.write_text("group,x,y\n" + "".join(f"{i // 3},{i * 7 % 13},{'ab'[i * 5 % 7 % 2]}\n" for i in range(400)))
    run = RunSettings(
        dataset=add_dataset(store.home, file, file.name).id, target="y", split_by="group", split_column="group"
    )
    fewer = SweepSettings(run=run.changed(validation_rows=10, test_rows=12))
    assert "validates on 10 rows of 8 groups, tests on 12 rows" in queries.split_findings(fewer)[0].message
    assert "validates on 79 rows of 27 groups, tests on 81" in queries.split_findings(SweepSettings(run=run))[0].message


def test_a_value_that_many_ask_for_at_once_is_made_once():
    held, made, found = Shared(), [], []

    def make():
        made.append(1)
        return "value"

    threads = [threading.Thread(target=lambda: found.append(held.get("key", make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, made) == (["value"] * 8, [1])


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])  # Streamlit ends a script in the second way
def test_an_error_is_raised_and_the_next_request_tries_again(error):
    def fail():
        raise error

    held = Shared()
    with pytest.raises(error):
        held.get("key", fail)
    assert held.get("key", lambda: "value") == "value"
