"""References beside a foundation model: the same rows and files, a place on the board, and no weights."""

import numpy as np
import pandas as pd
import pytest
from made_run import mixed_csv
from runs_here import of, run_here

from tabtune_core.data.datasets import add_dataset
from tabtune_core.engine import references
from tabtune_core.errors import Cancelled
from tabtune_core.events import Evaluated, MemorySampled, Note, PhaseDone, RunPlanned, from_json, to_json
from tabtune_core.settings import REFERENCES, RunSettings, TrainSettings
from tabtune_core.store.predictions import ZERO_SHOT
from tabtune_core.store.run_folder import PREDICTIONS_FILE


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def settings(home, strategy, task="classification", **others):
    dataset = add_dataset(home, mixed_csv(120), "mixed.csv")
    target = "verdict" if task == "classification" else "weight"
    values = {"dataset": dataset.id, "target": target, "task": task, "strategy": strategy, "device": "cpu", **others}
    return RunSettings(train=TrainSettings(context_rows=20, test_rows=20), **values)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("strategy", REFERENCES)
def test_a_reference_is_a_run_without_an_adapter_and_weights(home, strategy, task):
    result, events, folder = run_here(settings(home, strategy, task), home)
    (plan,) = of(RunPlanned, events)
    assert (plan.device[:3], plan.steps, plan.train_rows, plan.total_parameters, plan.layers) == ("cpu", 0, 72, 0, ())
    assert [done.phase for done in of(PhaseDone, events)] == ["load", "train", "evaluate", "save"]
    evaluated = [(one.split, one.scores) for one in of(Evaluated, events)]
    assert evaluated == [("validation", result.validation), ("test", result.test)]
    assert of(MemorySampled, events)
    assert [from_json(*to_json(event)) for event in events] == events
    assert (result.outcome, result.zero_shot_validation, result.adapter_bytes) == ("finished", {}, None)
    assert result.train_seconds > result.predict_seconds > 0
    assert result.growth_memory_bytes is not None
    score, least = ("r2", -0.2) if task == "regression" else ("roc_auc", 0.49)
    if strategy == "constant":
        assert least < result.validation[score] <= least + 0.2
    else:
        assert result.validation[score] > least + 0.3
        assert "chosen by 5-fold cross-validation inside the training rows" in of(Note, events)[-1].text
    assert [path.name for path in folder.iterdir()] == [PREDICTIONS_FILE]


def test_references_and_models_have_the_same_validation_and_test_rows(home):
    folders = [run_here(settings(home, name), home)[2] for name in ("inference", *REFERENCES)]
    frames = [pd.read_parquet(folder / PREDICTIONS_FILE) for folder in folders]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame[["split", "row", "label"]], frames[0][["split", "row", "label"]])
        assert list(frame) == [name for name in frames[0] if not name.startswith(ZERO_SHOT)]


def test_held_out_rows_never_reach_the_fit(home, monkeypatch):
    seen = []
    fit = references.fit_reference

    def watched(strategy, x_NF, y_N, **others):
        seen.append(x_NF)
        return fit(strategy, x_NF, y_N, **others)

    monkeypatch.setattr(references, "fit_reference", watched)
    asked = settings(home, "boosting")
    _, events, folder = run_here(asked, home)
    held = pd.read_parquet(folder / PREDICTIONS_FILE)["row"]
    assert len(seen[0]) == of(RunPlanned, events)[0].train_rows == 120 - 24 - 24
    assert len(set(held)) == 24 + 20


def test_a_cancelled_reference_ends_without_a_result(home):
    with pytest.raises(Cancelled):
        run_here(settings(home, "linear"), home, stop_request=lambda: "cancel")


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_a_nearly_perfect_score_of_boosting_alone_names_the_columns_behind_it(home, wrong):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=600), "fee": rng.normal(size=600)})
    late = (frame["fee"].abs() < 0.7) ^ (rng.random(600) < wrong)  # no linear model sees that
    frame["late"] = np.where(late, "yes", "no")
    dataset = add_dataset(home, frame.to_csv(index=False).encode(), "late.csv")
    asked = RunSettings(dataset=dataset.id, target="late", strategy="boosting", device="cpu")
    warnings = [note.text for note in of(Note, run_here(asked, home)[1]) if note.severity == "warning"]
    assert [("'fee'" in text, "'age'" in text) for text in warnings] == [(True, False)] * (not wrong)
