"""Context rows at prediction: their setting, the return to zero-shot, and the curve over them, with trained runs."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from made_run import mixed_csv
from runs_here import carried_out
from sklearn.metrics import average_precision_score

from tabtune_core import TabularPipeline, load_adapter
from tabtune_core.analysis.context_rows import curve_frame, in_words, runs_of_curve
from tabtune_core.data.datasets import add_dataset, add_sample, load_frame
from tabtune_core.data.prediction_rows import keep_rows
from tabtune_core.events import Evaluated, Note, RunPlanned
from tabtune_core.execution.jobs.context_curve import context_curve
from tabtune_core.execution.jobs.predict import predict
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.jobs import read_progress
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_folder import WEIGHTS_FILE
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


@pytest.fixture
def gaining(home):
    """Full fine-tuning and LoRA on a table where a few steps help."""
    train, rank = TrainSettings(steps=4, eval_every=2, learning_rate=5e-3), LoraSettings(rank=4)
    lora = RunSettings(dataset=add_sample(home, "iris").id, target="species", lora=rank, train=train, device="cpu")
    full = dataclasses.replace(lora, strategy="base-ft", train=dataclasses.replace(train, learning_rate=1e-4))
    return full, lora


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


def test_every_strategy_is_scored_with_the_set_number_of_context_rows_and_a_package_rebuilds_them(
    store, settings, home
):
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
        assert not (store.run_dir(done.id) / WEIGHTS_FILE).exists()
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
    tests, context = frame.iloc[-60:].reset_index(drop=True), frame.iloc[:180]
    predicted = read_predictions(store, zero.id, "test")
    own = average_precision_score(predicted.y_N, predicted.predicted[:, 1])
    assert own != pytest.approx(average_precision_score(1 - predicted.y_N, predicted.predicted[:, 0]), abs=0.05)
    measured = [scores["average_precision"] for scores in (zero.result.test, lora.result.zero_shot_test)]
    assert measured == pytest.approx([own, own], abs=1e-5)

    curve = curve_frame(context_curve(home, tmp_path, runs=[lora.id]))
    whole = curve[(curve["strategy"] == "inference") & (curve["context_rows"] == len(context))]
    assert whole["test_average_precision"].tolist() == pytest.approx([own], abs=1e-5)

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


def test_the_curve_ends_at_the_runs_own_scores(store, gaining, home, tmp_path):
    full, lora = gaining
    runs = carried_out(store, untrained(lora), full, lora, lora.changed(rank=2, steps=1, eval_every=1))
    best = min(runs[2:], key=lambda one: one.result.validation["log_loss"])
    by_strategy = {"inference": runs[0], "base-ft": runs[1], "peft": best}
    assert all(by_strategy[strategy].result.best_step for strategy in ("base-ft", "peft")), "there must be an effect"
    chosen = runs_of_curve(store, runs, "log_loss")
    assert [one.id for one in chosen] == [by_strategy["base-ft"].id, by_strategy["peft"].id]

    answer = context_curve(home, tmp_path, runs=[one.id for one in chosen])
    assert json.loads(json.dumps(answer)) == answer
    assert str(read_progress(tmp_path)) == "14 of 15 predictions of the curve"
    curve = curve_frame(answer)
    assert curve["context_rows"].tolist() == [64, 90] * 3
    for strategy, own in by_strategy.items():
        last = curve[(curve["strategy"] == strategy) & (curve["context_rows"] == 90)].iloc[0]
        for part in ("validation", "test"):
            assert last[f"{part}_log_loss"] == pytest.approx(getattr(own.result, part)["log_loss"], abs=1e-5)
    assert (curve["predict_seconds"] > 0).all()
    assert (curve["growth_memory_bytes"] >= 0).all()
    assert "instead of 64" in in_words(curve, "log_loss")


@pytest.mark.parametrize(
    ("model", "task", "target"),
    [
        ("tabicl-mini", "classification", "verdict"),
        pytest.param("tabicl-mini", "regression", "weight", marks=pytest.mark.slow),
        pytest.param("tabdpt-mini", "classification", "verdict", marks=pytest.mark.slow),
        pytest.param("mitra-mini", "regression", "weight", marks=pytest.mark.slow),
    ],
)
def test_every_point_of_the_curve_equals_a_run_with_that_many_context_rows(store, home, tmp_path, model, task, target):
    """On a table with words, dates and missing cells; the trained state is the one returned with all context rows."""
    pytest.importorskip("autogluon.tabular" if model == "mitra-mini" else "torch", reason="Mitra needs AutoGluon")
    train = TrainSettings(steps=2, eval_every=1, context_rows=40, views=2)
    dataset = add_dataset(home, mixed_csv(rows=200), "mixed.csv").id
    what = {"dataset": dataset, "target": target, "task": task, "model": model, "device": "cpu"}
    lora = RunSettings(**what, lora=LoraSettings(rank=2), train=train)
    runs = carried_out(store, untrained(lora.changed(predict_context_rows=64)), untrained(lora), lora)
    curve = curve_frame(context_curve(home, tmp_path, runs=[runs[2].id])).set_index(["strategy", "context_rows"])
    assert list(curve.index) == [(strategy, rows) for strategy in ("inference", "peft") for rows in (64, 120)]
    for place, one in zip([("inference", 64), ("inference", 120), ("peft", 120)], runs, strict=True):
        for part in ("validation", "test"):
            own = getattr(one.result, part)
            point = {metric: curve.loc[place, f"{part}_{metric}_first"] for metric in own}
            assert point == pytest.approx(own, abs=1e-6)
