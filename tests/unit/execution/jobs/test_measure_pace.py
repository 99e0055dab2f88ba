"""A few measured steps predict how long a run takes."""

import json
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from tabtune_core.analysis.runtime_estimate import (
    TrainedOn,
    came_from,
    growth_ratio,
    measured_paces,
    not_known,
    train_seconds,
)
from tabtune_core.data.datasets import add_dataset, get_dataset, load_frame
from tabtune_core.data.task import plan_split, prepare
from tabtune_core.devices import name_of
from tabtune_core.execution.jobs import measure_pace as measure
from tabtune_core.execution.jobs.measure_pace import measure_pace
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.training import train_phase
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.estimate import Sizes, estimate_memory
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.plan import Plan
from tabtune_core.training.session import Environment


@pytest.mark.parametrize(("task", "most_seconds"), [("classification", 60), ("regression", 0)])
def test_the_measured_times_are_those_of_the_runs(tmp_path, monkeypatch, task, most_seconds):
    evaluated = Mock(wraps=train_phase._evaluate)
    monkeypatch.setattr(train_phase, "_evaluate", evaluated)
    monkeypatch.setattr(measure, "MOST_SECONDS", most_seconds)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    frame["y"] = np.where(frame["a"] > 0, "up", "down") if task == "classification" else frame["a"] ** 2
    table = add_dataset(tmp_path, frame.to_csv(index=False).encode(), "t.csv").id
    run = RunSettings(dataset=table, target="y", task=task, train=TrainSettings(steps=50, eval_every=25), device="cpu")
    runs = SweepSettings(run=run, ranks=(2, 4)).expand()
    sizes = plan_split(load_frame(tmp_path, table), run)
    trained_on = TrainedOn.plan(sizes, features=3, classes=2 if task == "classification" else 0, on_gpu=False)
    asked = not_known(runs, [], trained_on)
    assert [one.strategy for one in asked] == ["base-ft", "peft"]  # one of each strategy, whatever the rank
    assert train_seconds(runs, [], trained_on) is None

    (tmp_path / "job").mkdir()
    result = json.loads(json.dumps(measure_pace(tmp_path, tmp_path / "job", settings=[one.to_dict() for one in asked])))
    assert evaluated.call_count == (2 if most_seconds else 0), "a step that uses up the seconds is the only one"
    paces = measured_paces([result])
    estimate = train_seconds(runs, paces, trained_on)
    assert estimate.seconds == pytest.approx(50 * (paces[0].seconds_a_step + 2 * paces[1].seconds_a_step))
    assert min(pace.seconds_a_step for pace in paces) > 0
    assert min(growth_ratio(paces, trained_on, run) for run in asked) > 0
    assert growth_ratio([], trained_on, asked[0]) is None
    assert came_from(estimate) == "from a measurement of a few steps on this machine"
    assert not_known(runs, paces, trained_on) == []
    assert get_dataset(tmp_path, table).rows == 120


def test_steps_of_a_wide_table_are_measured_on_fewer_rows(tmp_path, monkeypatch):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 30))).add_prefix("x").assign(y=np.arange(200) % 2)
    table = add_dataset(tmp_path, frame.to_csv(index=False).encode(), "t.csv").id
    asked = RunSettings(dataset=table, target="y", device="cpu")
    monkeypatch.setattr(measure, "MOST_CELLS", 30 * 76)
    trained = Mock(wraps=measure.train_model)
    monkeypatch.setattr(measure, "train_model", trained)
    (measured,) = measure_pace(tmp_path, tmp_path / "job", settings=[asked.to_dict()])["measured"]
    session = trained.call_args.args[0]
    assert (session.rows.size.context, session.rows.size.query) == (50, 25), "a tenth of 512 and 256"
    (pace,) = measured_paces([{"measured": [measured]}])
    assert (pace.size.context, pace.size.query, pace.growth_ratio, pace.seconds_a_step > 0) == (90, 30, None, True)


def test_a_result_of_another_version_is_not_used_as_a_pace():
    assert measured_paces([{}, {"measured": [{"settings": {"odd": 1}}]}, {"measured": [{"seconds_a_step": 1.0}]}]) == []


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("strategy", "lora", "train"),
    [
        ("peft", {"use_dora": True, "targets": ("late_layers",)}, {}),
        (
            "peft",
            {"bias": "all", "targets": ("column_embeddings",)},
            {"episode_set": 2, "views": 2, "optimizer": "sgd"},
        ),
    ],
    ids=str,
)
def test_a_few_steps_predict_the_memory_of_another_rank_on_a_smaller_table(tmp_path, gpu, strategy, lora, train):
    rng, runs = np.random.default_rng(0), []
    for rows, rank in ((500, 2), (300, 8)):
        frame = pd.DataFrame(rng.normal(size=(rows, 6))).add_prefix("x").assign(y=np.arange(rows) % 3)
        table = add_dataset(tmp_path, frame.to_csv(index=False).encode(), "t.csv").id
        length = TrainSettings(steps=4, eval_every=2, **train)
        adapter = LoraSettings(rank=rank, **lora)
        runs.append(
            RunSettings(dataset=table, target="y", strategy=strategy, lora=adapter, train=length, device=name_of(gpu))
        )
    (tmp_path / "job").mkdir()
    paces = measured_paces([measure_pace(tmp_path, tmp_path / "job", settings=[runs[0].to_dict()])])
    sizes = plan_split(load_frame(tmp_path, table), runs[1])
    ratio = growth_ratio(paces, TrainedOn.plan(sizes, features=6, classes=3, on_gpu=True), runs[1])
    told = (
        ratio
        * estimate_memory(
            runs[1], get_card(runs[1].model), Sizes.plan(runs[1], sizes, features=6, classes=3), on_gpu=True
        ).growth
    )

    with MemoryMeter(gpu, lambda event: None) as meter:
        columns = get_dataset(tmp_path, table).columns
        environment = Environment(
            meter=meter, folder=tmp_path / "run", emit=lambda event: None, shared=tmp_path / "shared"
        )
        plan = Plan.of(runs[1], features=6, device=gpu)
        result = fit(
            plan, lambda: prepare(load_frame(tmp_path, table), columns, plan.shown, max_classes=None), environment
        ).result
    assert told == pytest.approx(result.growth_memory_bytes, rel=0.2)
