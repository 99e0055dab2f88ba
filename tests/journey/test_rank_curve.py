"""The rank curve of a really trained run: both its ends are scores of the run itself."""

import dataclasses
import json

import pytest

from tabtune_core.data.datasets import add_sample
from tabtune_core.engine import experiment
from tabtune_core.errors import AdapterError
from tabtune_core.execution.jobs.truncate_rank import rank_curve
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.jobs import read_progress
from tabtune_core.store.runs import RunStore

CASES = [
    ({"rank": 4}, 4),
    ({"rank": 2, "use_dora": True, "bias": "lora_only"}, 2),
    ({"rank": 2, "init_lora_weights": "pissa"}, 4),
]
"""LoRA settings with the rank of their update."""


@pytest.fixture
def trained(tmp_path, unverified):
    """Trains a run in this process and returns its id."""
    store = RunStore(tmp_path)
    train = TrainSettings(steps=4, eval_every=2, learning_rate=5e-3)
    settings = RunSettings(dataset=add_sample(tmp_path, "iris").id, target="species", train=train, device="cpu")

    def run(model="tabicl-mini", **lora):
        slower = dataclasses.replace(train, learning_rate=5e-4)  # principal directions need smaller steps
        asked = dataclasses.replace(
            settings, model=model, lora=LoraSettings(**lora), train=slower if "init_lora_weights" in lora else train
        )
        _, (run_id,) = store.add_sweep([asked])
        store.claim(1, None)
        folder = store.run_dir(run_id)
        folder.mkdir(parents=True)
        emit = lambda event: store.append(run_id, event)  # noqa: E731
        result = experiment.run_experiment(asked, home=tmp_path, run_dir=folder, emit=emit, stop_request=lambda: None)
        store.finish(run_id, "finished", result=result)
        return run_id, result

    return tmp_path, run


@pytest.mark.parametrize(("lora", "width"), CASES, ids=["plain", "dora and biases", "pissa"])
def test_the_curve_ends_at_the_runs_own_scores_and_begins_at_zero_shot(trained, lora, width):
    home, run = trained
    run_id, result = run(**lora)
    assert result.best_step > 0, "the update must be one that moves the scores"
    found = rank_curve(home, home, run=run_id)
    assert found["ranks"] == [rank for rank in (0, 1, 2, 4) if rank <= width]
    for part, own, zero_shot in (
        ("validation", result.validation, result.zero_shot_validation),
        ("test", result.test, result.zero_shot_test),
    ):
        assert found[part][0] == pytest.approx(zero_shot, abs=1e-6)
        assert found[part][-1] == pytest.approx(own, abs=1e-5)
        assert found[part][-1]["log_loss"] != pytest.approx(zero_shot["log_loss"], abs=1e-3)
    assert (found["beside"] > 0) == ("bias" in lora)
    layer = found["layers"][0]
    assert len(layer["singular_values"]) == width
    assert 0 < layer["update_norm"] < layer["weight_norm"]
    assert json.loads(json.dumps(found)) == found
    assert read_progress(home).share == (len(found["ranks"]) - 1) / len(found["ranks"])


def test_factors_of_an_embedding_are_no_tensors_beside_the_update(trained):
    home, run = trained
    run_id, _ = run(model="tabdpt-mini", rank=2)
    assert rank_curve(home, home, run=run_id)["beside"] == 0


def test_a_run_without_an_update_is_refused(tmp_path):
    store = RunStore(tmp_path)
    _, (run_id,) = store.add_sweep([RunSettings(dataset="any", target="any", strategy="inference")])
    with pytest.raises(AdapterError, match="Zero-shot has no low-rank update"):
        rank_curve(tmp_path, tmp_path, run=run_id)
