"""Context rows at prediction: their setting, and the return to zero-shot, with trained runs."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from runs_here import carried_out
from sklearn.metrics import average_precision_score

from tabtune_core import TabularPipeline, load_adapter
from tabtune_core.data.datasets import add_dataset, load_frame
from tabtune_core.data.prediction_rows import keep_rows
from tabtune_core.events import Evaluated, Note, RunPlanned
from tabtune_core.execution.jobs.predict import predict
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.store.predictions import read_predictions
from tabtune_core.training import scoring, train_phase

ROWS = 300


def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3)).round(3)
    verdict = np.where(x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=ROWS) > 0, "up", "down")
    return pd.DataFrame(x, columns=["a", "b", "c"]).assign(verdict=verdict).to_csv(index=False).encode()


@pytest.fixture
def home(store):
    return store.home


@pytest.fixture
def settings(home):
    train = TrainSettings(steps=2, eval_every=1, learning_rate=2e-3, context_rows=40)
    return RunSettings(dataset=add_dataset(home, table(), "table.csv").id, target="verdict", train=train, device="cpu")


@pytest.fixture(autouse=True)
def not_verified(unverified):
    """No run here is verified in a fresh process."""


def of(kind, store, run):
    return [stored.event for stored in store.events(run.id, [kind.__name__])]


def untrained(settings):
    return dataclasses.replace(settings.changed(learning_rate=None), strategy="inference")


def test_predictions_use_all_training_rows_steps_the_set_number_and_packages_store_it(store, settings, home):
    (done,) = carried_out(store, settings)
    (plan,) = of(RunPlanned, store, done)
    assert (plan.train_rows, plan.context_rows, plan.train_context_rows) == (180, 180, 40)
    assert plan.evaluation_context_rows == 180
    assert (done.result.context_rows, done.result.train_context_rows) == (180, 40)
    adapted = load_adapter(store.run_dir(done.id) / "adapter.zip")
    assert adapted.settings.train.predict_context_rows >= 2048
    assert len(adapted.context(load_frame(home, settings.dataset)).rows) == 180


def test_every_strategy_is_scored_with_the_set_number_of_context_rows_and_packages_rebuild_them(store, settings, home):
    few = settings.changed(predict_context_rows=50)
    zero, lora = carried_out(store, untrained(few), few)
    assert [zero.result.context_rows, lora.result.context_rows] == [50, 50]
    assert lora.result.zero_shot_test == pytest.approx(zero.result.test, abs=1e-6)
    assert zero.result.train_context_rows is None
    adapted, frame = load_adapter(store.run_dir(lora.id) / "adapter.zip"), load_frame(home, settings.dataset)
    context = adapted.context(frame)  # checks the hash
    assert adapted.split(frame).context.tolist() == context.rows.tolist()
    assert len(context.rows) == 50


def test_evaluations_with_fewer_context_rows_are_noted_and_scores_use_all(store, settings, monkeypatch):
    monkeypatch.setattr(scoring, "EVALUATION_ROWS", 30)
    done, zero = carried_out(store, settings, untrained(settings))
    (plan,) = of(RunPlanned, store, done)
    assert (plan.evaluation_context_rows, plan.context_rows) == (30, 180)
    assert any("Evaluations during training use 30 context rows" in note.text for note in of(Note, store, done))
    first = next(event for event in of(Evaluated, store, done) if event.step == 0)
    assert first.scores["log_loss"] != pytest.approx(done.result.zero_shot_validation["log_loss"], abs=1e-4)
    assert done.result.zero_shot_validation == pytest.approx(zero.result.validation, abs=1e-6)


def test_a_state_that_is_better_only_in_evaluations_is_replaced_by_zero_shot(store, settings, home, monkeypatch):
    """Training ruins the model while faked evaluations improve at every step; zero-shot must still be returned."""
    monkeypatch.setattr(scoring, "EVALUATION_ROWS", 30)
    praise = iter(np.linspace(1e-3, 1e-4, 10).tolist())
    monkeypatch.setattr(train_phase, "_evaluate", lambda session: dict.fromkeys(("log_loss", "accuracy"), next(praise)))
    for strategy in ("base-ft", "peft"):
        ruin = dataclasses.replace(settings.changed(learning_rate=0.5, clip_norm=0.0), strategy=strategy)
        (done,) = carried_out(store, ruin)
        assert [event.best for event in of(Evaluated, store, done) if event.split == "validation"] == [True] * 3
        assert done.result.best_step == 0
        assert done.result.validation == done.result.zero_shot_validation
        assert done.result.test == done.result.zero_shot_test
        assert any("not with all context rows of predictions" in note.text for note in of(Note, store, done))
    adapted, frame = load_adapter(store.run_dir(done.id) / "adapter.zip"), load_frame(home, settings.dataset)
    test = frame.iloc[adapted.split(frame).test]
    p_NK = adapted.predict_proba(test, context=adapted.context(frame))
    accuracy = np.mean(np.array(adapted.classes)[p_NK.argmax(1)] == test["verdict"])
    assert accuracy == pytest.approx(done.result.zero_shot_test["accuracy"])


def test_average_precision_is_that_of_the_tables_rarer_class_wherever_it_is_shown(store, settings, home, tmp_path):
    rng = np.random.default_rng(0)
    first, last = (rng.permutation(np.repeat(["no", "yes"], counts)) for counts in ([160, 80], [20, 40]))
    days = pd.date_range("2024-01-01", periods=ROWS)
    frame = pd.DataFrame({"x": rng.normal(size=ROWS), "day": days, "y": [*first, *last]})
    dataset = add_dataset(home, frame.to_csv(index=False).encode(), "shift.csv").id
    asked = dataclasses.replace(settings, dataset=dataset, target="y", split_by="time", split_column="day")
    zero, lora = carried_out(store, untrained(asked), asked)
    tests = frame.iloc[-60:].reset_index(drop=True)
    predicted = read_predictions(store, zero.id, "test")
    own = average_precision_score(predicted.y_N, predicted.predicted[:, 1])
    assert own != pytest.approx(average_precision_score(1 - predicted.y_N, predicted.predicted[:, 0]), abs=0.05)
    measured = [scores["average_precision"] for scores in (zero.result.test, lora.result.zero_shot_test)]
    assert measured == pytest.approx([own, own], abs=1e-5)

    (tmp_path / "job").mkdir()
    rows, adapters = keep_rows(home, tests.assign(day=pd.to_datetime(tests["day"]))), [{"id": lora.id, "title": "lora"}]
    shown = predict(home, tmp_path / "job", rows=rows, adapters=adapters, table=dataset, device="cpu")
    assert shown["models"][0]["scores"]["average_precision"] == pytest.approx(own, abs=1e-5)

    fewer = {"device": "cpu", "predict_context_rows": 160}  # as many rows of each class
    pipeline = TabularPipeline("tabicl-mini", "inference", fewer).fit(frame.drop(columns="y")[:240], frame["y"][:240])
    expected = average_precision_score(tests["y"] == "yes", pipeline.predict_proba(tests.drop(columns="y"))[:, 1])
    pipeline.save(tmp_path / "pipeline.zip")
    for one in (pipeline, TabularPipeline.load(tmp_path / "pipeline.zip", device="cpu")):
        scores = one.evaluate(tests.drop(columns="y"), tests["y"])
        assert scores["average_precision"] == pytest.approx(expected, abs=1e-5)
