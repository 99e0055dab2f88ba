"""A few steps tell how long a run takes, before the first one."""

import json

import numpy as np
import pandas as pd
import pytest

from tabtune_core.analysis.runtime_estimate import TrainedOn, came_from, measured_paces, not_known, train_seconds
from tabtune_core.data.datasets import add_dataset, get_dataset, load_frame
from tabtune_core.data.task import plan_split
from tabtune_core.execution.jobs.measure_pace import measure_pace
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_what_was_measured_is_the_time_of_these_runs(tmp_path, task):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    frame["y"] = np.where(frame["a"] > 0, "up", "down") if task == "classification" else frame["a"] ** 2
    table = add_dataset(tmp_path, frame.to_csv(index=False).encode(), "t.csv").id
    run = RunSettings(dataset=table, target="y", task=task, train=TrainSettings(steps=50, eval_every=25), device="cpu")
    runs = SweepSettings(run=run, ranks=(2, 4)).expand()
    sizes = plan_split(load_frame(tmp_path, table), run)
    trained_on = TrainedOn.plan(sizes, features=3, classes=2 if task == "classification" else 0, on_gpu=False)
    asked = not_known(runs, [], trained_on)
    assert [one.strategy for one in asked] == ["peft", "base-ft"]  # one of each kind, whatever the rank
    assert train_seconds(runs, [], trained_on) is None

    (tmp_path / "job").mkdir()
    result = json.loads(json.dumps(measure_pace(tmp_path, tmp_path / "job", settings=[one.to_dict() for one in asked])))
    paces = measured_paces([result])
    estimate = train_seconds(runs, paces, trained_on)
    assert estimate.seconds == pytest.approx(50 * (2 * paces[0].seconds_a_step + paces[1].seconds_a_step))
    assert min(pace.seconds_a_step for pace in paces) > 0
    assert came_from(estimate) == "from a measurement of a few steps on this machine"
    assert not_known(runs, paces, trained_on) == []
    assert get_dataset(tmp_path, table).rows == 120


def test_a_result_of_another_version_is_no_pace():
    assert measured_paces([{}, {"measured": [{"settings": {"odd": 1}}]}, {"measured": [{"seconds_a_step": 1.0}]}]) == []
