"""Launch checks find, before a sweep is queued, exactly what would stop its runs."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tabtune_core.analysis.launch_checks import (
    on_unequal_gpus,
    stopped_by_request,
    stopped_by_table,
    too_large,
    what_stops,
)
from tabtune_core.data.datasets import add_dataset, get_dataset
from tabtune_core.data.table import read_table
from tabtune_core.data.task import prepare
from tabtune_core.errors import TabTuneError
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.training.memory.estimate import with_shown_rows
from tabtune_core.training.memory.fitting import DeviceMemory

RUN = {"dataset": "d", "target": "y"}


def drawn_table(rng: np.random.Generator) -> tuple[pd.DataFrame, dict]:
    """Draws a small table, often one that cannot be trained on, and how it is to be predicted."""
    rows = int(rng.integers(2, 40))
    target = rng.choice(["classes", "numbers", "one", "gaps"])
    y = {
        "classes": rng.choice(list("abcd"), rows, p=[0.5, 0.3, 0.15, 0.05]),
        "numbers": np.round(rng.normal(size=rows), 3),
        "one": np.full(rows, "a"),
        "gaps": np.where(rng.random(rows) < 0.8, None, rng.choice(["a", "b"], rows)),
    }[target]
    frame = pd.DataFrame({"y": y, "n": rng.normal(size=rows), "g": rng.choice([*"pqrs"], rows), "day": np.arange(rows)})
    if rng.random() < 0.3:
        frame = frame[["y", "g"]].assign(g=[f"note {i} of somebody, who wrote at length" for i in range(rows)])
    by = str(rng.choice(["random", "time", "group"]))
    column = {"random": None, "time": "day", "group": "g"}[by]
    shares = {"validation_share": float(rng.choice([0.2, 0.5])), "test_share": float(rng.choice([0.2, 0.5]))}
    task = "regression" if target == "numbers" and rng.random() < 0.8 else "classification"
    return frame, {"task": task, "split_by": by, "split_column": column if column in (None, *frame) else "g", **shares}


def fails(frame, columns, run):
    try:
        prepare(frame, columns, run, max_classes=10)
    except TabTuneError as error:
        return str(error)
    return ""


def test_checks_stop_exactly_the_sweeps_whose_runs_would_fail():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(60):
        frame, how = drawn_table(rng)
        try:
            table = read_table(frame.to_csv(index=False).encode())
        except TabTuneError:
            continue
        runs = SweepSettings(run=RunSettings(**RUN, **how), seeds=(0, 1)).expand()
        stops = [str(error) for error in stopped_by_table(table.frame, table.columns, runs)]
        failed = {fails(table.frame, table.columns, run) for run in runs} - {""}
        assert bool(stops) == bool(failed), (how, stops, failed)
        assert failed <= set(stops)
        seen |= {error.split("'")[0] for error in failed} | {how["split_by"] if not failed else ""}
    assert {"random", "time", "group"} <= seen  # of each kind, some could start
    assert len(seen) > 6


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"device": "cuda:7"}, "The device 'cuda:7' was requested, but this machine has 0 CUDA GPUs"),
        ({"device": "tpu"}, "There is no device 'tpu': runs use NVIDIA GPUs or the CPU"),
        ({"checkpoint": "/nowhere/weights.ckpt"}, "There is no checkpoint at /nowhere/weights.ckpt"),
        ({"train": TrainSettings(amp="bf16")}, "needs a CUDA GPU, and these runs would use the CPU"),
        ({"device": "cpu", "train": TrainSettings(amp="bf16")}, "needs a CUDA GPU, and these runs would use the CPU"),
    ],
)
def test_a_missing_capability_is_reported_once_per_sweep(monkeypatch, more, sentence):
    monkeypatch.setattr("tabtune_core.gpus.count_cards", lambda: 0)
    monkeypatch.setattr("tabtune_core.analysis.launch_checks.count_cards", lambda: 0)
    monkeypatch.setattr("tabtune_core.gpus.is_untold", lambda name: False)
    (stop,) = stopped_by_request(SweepSettings(run=RunSettings(**RUN, **more)).expand())
    assert pytest.raises(type(stop), match=sentence).matches(stop)


def test_all_reasons_are_found_at_once_and_a_good_sweep_has_none(tmp_path):
    frame = pd.DataFrame({"y": ["a", "b"] * 30, "n": range(60)})
    dataset = add_dataset(tmp_path, frame.to_csv(index=False).encode(), "t.csv")
    run = RunSettings(dataset=dataset.id, target="y")
    assert what_stops(tmp_path, SweepSettings(run=run).expand()) == []
    assert too_large(tmp_path, SweepSettings(run=run).expand()) is None
    odd = RunSettings(dataset=dataset.id, target="z", device="tpu")
    assert [str(stop)[:9] for stop in what_stops(tmp_path, SweepSettings(run=odd).expand())] == [
        "The table",
        "There is ",
    ]
    assert get_dataset(tmp_path, dataset.id).rows == 60


def test_a_run_that_needs_too_much_memory_starts_if_asked_to(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.analysis.launch_checks.machine_memory", lambda: (10**6, 2 * 10**6))
    monkeypatch.setattr("tabtune_core.analysis.launch_checks.card_memory", list)
    frame = pd.DataFrame({"y": ["a", "b"] * 30, "n": range(60)})
    dataset = add_dataset(tmp_path, frame.to_csv(index=False).encode(), "t.csv")
    runs = SweepSettings(run=RunSettings(dataset=dataset.id, target="y")).expand()
    assert what_stops(tmp_path, runs) == []
    assert "as estimated; the CPU has 0.0 GB in all" in str(too_large(tmp_path, runs))


@pytest.mark.parametrize("gigabytes", [(2, 80), (80, 2)])
def test_on_unequal_gpus_the_smallest_decides_for_all_runs_of_a_sweep(tmp_path, monkeypatch, gigabytes):
    cards = [(size * 10**9, size * 10**9) for size in gigabytes]
    monkeypatch.setattr("tabtune_core.analysis.launch_checks.card_memory", lambda: cards)
    frame = pd.DataFrame({"y": ["a", "b"] * 20_000, **{f"n{place}": range(40_000) for place in range(40)}})
    dataset = add_dataset(tmp_path, frame.to_csv(index=False).encode(), "t.csv")
    run = RunSettings(dataset=dataset.id, target="y", model="tabicl-v2")
    assert DeviceMemory.of("auto", (1, 1), cards).all_bytes == 2e9
    equal = on_unequal_gpus(tmp_path, SweepSettings(run=run).expand())
    (rows,) = {one.train.predict_context_rows for one in equal}
    alone = with_shown_rows(run, features=40, memory_bytes=2 * 10**9, on_gpu=True).train.predict_context_rows
    assert (
        rows
        == alone
        < with_shown_rows(run, features=40, memory_bytes=8 * 10**10, on_gpu=True).train.predict_context_rows
    )
    named = SweepSettings(run=dataclasses.replace(run, device="cuda:1")).expand()
    assert on_unequal_gpus(tmp_path, named) == named  # it has one GPU
    cards[:] = [cards[0]] * 2
    assert on_unequal_gpus(tmp_path, [run]) == [run]
