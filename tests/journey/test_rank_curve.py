"""The rank curve of a really trained run: both its ends are scores of the run itself."""

import json

import numpy as np
import pandas as pd
import pytest
from runs_here import carried_out

from tabtune_core.data.datasets import add_dataset, add_sample
from tabtune_core.errors import AdapterError
from tabtune_core.execution.jobs.column_importance import column_importance
from tabtune_core.execution.jobs.truncate_rank import rank_curve
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.jobs import read_progress

CASES = [
    ({"rank": 4}, 4),
    ({"rank": 2, "use_dora": True, "bias": "lora_only"}, 2),
    ({"rank": 2, "init_lora_weights": "pissa"}, 4),
]
"""LoRA settings with the rank of their update."""


@pytest.fixture
def trained(store, unverified):
    """Trains a run in this process; returns it with its curve."""
    dataset = add_sample(store.home, "iris").id

    def train(model="tabicl-mini", **lora):
        rate = 5e-4 if "init_lora_weights" in lora else 5e-3  # principal directions need smaller steps
        train = TrainSettings(steps=4, eval_every=2, learning_rate=rate)
        what = {"dataset": dataset, "target": "species", "model": model, "device": "cpu"}
        (run,) = carried_out(store, RunSettings(**what, lora=LoraSettings(**lora), train=train))
        return run.result, rank_curve(store.home, store.home, run=run.id)

    return train


@pytest.mark.parametrize(("lora", "width"), CASES, ids=["plain", "dora and biases", "pissa"])
def test_the_curve_ends_at_the_runs_own_scores_and_begins_at_zero_shot(trained, store, lora, width):
    result, curve = trained(**lora)
    assert result.best_step > 0, "the update must be one that moves the scores"
    assert curve["ranks"] == [rank for rank in (0, 1, 2, 4) if rank <= width]
    for part in ("validation", "test"):
        own, zero_shot = getattr(result, part), getattr(result, f"zero_shot_{part}")
        assert curve[part][0] == pytest.approx(zero_shot, abs=1e-6)
        assert curve[part][-1] == pytest.approx(own, abs=1e-5)
        assert curve[part][-1]["log_loss"] != pytest.approx(zero_shot["log_loss"], abs=1e-3)
    assert curve["needed"] and all(1 <= needed <= width for needed in curve["needed"])
    assert json.loads(json.dumps(curve)) == curve
    assert read_progress(store.home)[0] == (len(curve["ranks"]) - 1) / len(curve["ranks"])


def test_a_run_without_an_update_is_refused(store):
    _, (run_id,) = store.add_sweep([RunSettings(dataset="any", target="any", strategy="inference")])
    with pytest.raises(AdapterError, match="Zero-shot has no low-rank update"):
        rank_curve(store.home, store.home, run=run_id)


def test_shuffling_a_column_shows_what_the_model_uses(store, unverified, monkeypatch):
    monkeypatch.setattr("tabtune_core.execution.jobs.column_importance.MOST_ROWS", 20)  # fewer than test rows
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"noise": rng.normal(size=240), "says": rng.normal(size=240)})
    frame["label"] = np.where(frame["says"] > 0, "yes", "no")
    frame = frame.sort_values("label").rename(columns={"noise": "self"})  # as pandas' assign would refuse
    table = add_dataset(store.home, frame.to_csv(index=False).encode(), "t.csv").id
    settings = RunSettings(dataset=table, target="label", model="tabicl-mini", device="cpu", lora=LoraSettings(rank=2))
    (run,) = carried_out(store, settings.changed(steps=4, eval_every=2))
    found = column_importance(store.home, store.home, run=run.id)
    assert [column["name"] for column in found["columns"]] == ["says", "self"]
    says, noise = (column["lora"] for column in found["columns"])
    assert says[0] > says[1] > 0
    assert abs(noise[0]) < 0.1 * says[0]
    assert found["columns"][0]["base"] != found["columns"][0]["lora"]
    assert json.loads(json.dumps(found)) == found
