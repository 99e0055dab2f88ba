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
from tabtune_core.data.task import plan_split
from tabtune_core.execution.jobs import measure_pace as measure
from tabtune_core.execution.jobs.measure_pace import measure_pace
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.training import train_phase


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
    sizes = plan_split(load_frame(tmp_path, table), run)[0]
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
