"""The context rows of a pipeline's predictions: every labelled row given to fit, also those withheld to validate."""

import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from small_table import small_table

from tabtune_core import TabularPipeline
from tabtune_core.data.arrays import Labels, prepare_arrays
from tabtune_core.data.task import make_context
from tabtune_core.data.values import column_kind
from tabtune_core.engine.adapted_model import predict_rows
from tabtune_core.errors import LabelError
from tabtune_core.events import Note, RunPlanned
from tabtune_core.metrics import score_all
from tabtune_core.models.base import with_module

ROWS, LABELS = small_table(60)
NEW = small_table(20, seed=1)[0]
PARAMS = {"inference": {"device": "cpu"}, "peft": {"device": "cpu", "steps": 1, "peft_config": {"r": 2}}}


def fit(strategy, X, y, task="classification", model="tabicl-mini", **params):
    return TabularPipeline(model, strategy, {**PARAMS[strategy], **params}, task=task).fit(X, y)


@cache
def plain(strategy):
    return fit(strategy, ROWS, LABELS)


def with_all(pipeline, X, labels, rows):
    """Predicts with these context rows, encoded as in a run on a table."""
    frame = X.assign(y=labels)
    context = make_context(frame, np.array(labels, dtype=object), rows, {name: column_kind(X[name]) for name in X}, "y")
    return predict_rows(with_module(pipeline._base, pipeline._adapters.module), NEW, context, views=1)


def notes(pipeline):
    return [event.text for event in pipeline.history if isinstance(event, Note)]


@pytest.mark.parametrize("strategy", ["inference", "peft"])
def test_the_context_of_predictions_is_every_labelled_row(strategy):
    y = LABELS.astype(object)
    y[[3, 50]] = None
    pipeline = fit(strategy, ROWS, y)
    labelled = np.setdiff1d(np.arange(60), [3, 50])
    assert pipeline.context_rows_.tolist() == labelled.tolist()
    np.testing.assert_allclose(pipeline.predict_proba(NEW), with_all(pipeline, ROWS, y, labelled), atol=1e-6)
    without = np.abs(pipeline.predict_proba(NEW) - with_all(pipeline, ROWS, y, labelled[:45])).max()
    assert without > 1e-3, "the context rows must matter, or any would pass"
    assert pipeline.result.final_context_rows == 58


def test_scores_are_of_the_withheld_rows_with_only_training_rows_as_context():
    pipeline = plain("peft")
    y = pd.Series(LABELS)
    table = prepare_arrays(ROWS, y, Labels.of(y, "classification"), pipeline.settings(), max_classes=None)
    x_N, y_N = ROWS.iloc[table.split.validation], table.context.labels.transform(list(LABELS[table.split.validation]))
    model = with_module(pipeline._base, pipeline._adapters.module)
    assert pipeline.result.validation == pytest.approx(score_all(y_N, predict_rows(model, x_N, table.context, views=1)))
    (plan,) = [event for event in pipeline.history if isinstance(event, RunPlanned)]
    assert pipeline.result.scored_context_rows == len(table.split.train) == plan.context_rows < 60
    assert re.findall(r"\d+", notes(pipeline)[-1]) == ["60", "48"]


def test_zero_shot_withholds_nothing_and_claims_no_score():
    pipeline = plain("inference")
    result, (plan,) = pipeline.result, [event for event in pipeline.history if isinstance(event, RunPlanned)]
    assert (plan.train_rows, plan.validation_rows, plan.context_rows) == (60, 0, 60)
    assert (result.validation, result.zero_shot_validation, result.test) == ({}, {}, {})
    assert (result.growth_memory_bytes, result.scored_context_rows) == (None, None)
    assert "No rows were withheld, so no score was measured." in notes(pipeline)[-1]


def test_a_limited_context_keeps_the_share_of_each_class():
    y = np.repeat(["often", "seldom"], [48, 12])
    trained, pipeline, again, other = (
        fit(strategy, ROWS, y, predict_context_rows=20, seed=seed)
        for strategy, seed in (("peft", 0), ("inference", 0), ("inference", 0), ("inference", 1))
    )
    for one in (trained, pipeline):
        shown = y[one.context_rows_]
        assert len(set(one.context_rows_)) == len(shown) == 20
        assert 1 <= (shown == "seldom").sum() <= 8
        assert any("Predictions use 20 of the 60 labelled rows as context rows." in note for note in notes(one))
    assert again.context_rows_.tolist() == pipeline.context_rows_.tolist() != other.context_rows_.tolist()


def few(rows, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(size=rows), "b": rng.choice(["x", "y"], rows)})


@pytest.mark.parametrize(("model", "y"), [("tabicl-mini", [0, 0, 1]), ("tabdpt-mini", ["a"] * 4 + ["only once"])])
def test_few_rows_and_classes_with_one_row_are_enough_for_a_context(model, y):
    X = few(len(y))
    pipeline = fit("inference", X, y, model=model)
    assert pipeline.context_rows_.tolist() == list(range(len(y)))
    p = pipeline.predict_proba(X)
    assert p.shape == (len(y), len(set(y)))
    assert p.sum(axis=1) == pytest.approx(1)


def test_few_regression_rows_are_enough_for_a_context_but_not_for_validation():
    X, y = few(4), [1.5, 2.5, 7.0, np.nan]
    pipeline = fit("inference", X, y, "regression")
    assert pipeline.context_rows_.tolist() == [0, 1, 2]
    assert np.isfinite(pipeline.predict(X)).all()
    with pytest.raises(LabelError, match="has 3 values; regression needs at least 10 to train, validate and test on"):
        fit("peft", X, y, "regression")


def test_a_limited_regression_context_has_small_and_large_values():
    X, y = few(60), np.arange(60.0)
    shown = y[fit("inference", X, y, "regression", predict_context_rows=20).context_rows_]
    assert len(shown) == 20
    assert shown.min() < 20 < 40 < shown.max()


def test_a_trained_pipelines_context_has_the_class_too_rare_for_validation():
    y = np.where(np.arange(60) == 59, "once", LABELS)
    pipeline = fit("peft", ROWS, y)
    assert 59 in pipeline.context_rows_
    assert pipeline.predict_proba(NEW).shape == (20, 3)
