"""Predictions of held-out rows: chunks and views change how the model is called, never the question."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tabtune_core.data.splits import Split
from tabtune_core.data.task import Prepared, make_context
from tabtune_core.settings import TrainSettings
from tabtune_core.training import scoring
from tabtune_core.training.scoring import HeldOut, ModelRows, Scorer


class Shown:
    """Records its inputs.

    Predicts a class with probability 0.8 from the sign of the first column it sees, or that column itself.
    """

    def __init__(self):
        self.module, self.seen, self.read = torch.nn.Identity(), [], 0

    def predict(self, x_CF, y_C, x_QF, classes):
        self.seen.append((x_CF, y_C, x_QF))
        if not classes:
            return x_QF[:, 0].astype(float)
        p_QK = np.full((len(x_QF), classes), 0.2 / (classes - 1))
        p_QK[:, y_C[0]] = 0.8
        return p_QK

    def read_context(self, x_CF, y_C, classes):
        self.read += 1
        return lambda x_QF: self.predict(x_CF, y_C, x_QF, classes)


X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([2, 0, 1, 1])


def test_the_class_ids_of_every_view_are_mapped_back_and_context_and_query_columns_get_the_same_permutation():
    """The first context row has class 2 in every view, whatever its id there."""
    model = Shown()
    predicted = Scorer(X, Y, 3, views=5).predict(model, X)
    np.testing.assert_allclose(predicted, [[0.1, 0.1, 0.8]] * 4, atol=1e-12)
    assert len({tuple(y_C) for _, y_C, _ in model.seen}) > 1
    for x_CF, _, x_QF in model.seen:
        np.testing.assert_array_equal(x_CF, x_QF)
    assert len({tuple(x_CF[0]) for x_CF, _, _ in model.seen}) > 1


def test_regression_views_are_averaged_and_scored_with_regression_metrics():
    plain = Scorer(X, Y.astype(float), 0).predict(Shown(), X)
    scores = HeldOut(np.arange(4), X, X[:, 0].astype(float), None).score(plain)
    assert scores == {"rmse": 0.0, "mae": 0.0, "r2": 1.0}
    model = Shown()
    predicted = Scorer(X, Y.astype(float), 0, views=3).predict(model, X[:1])
    assert predicted == pytest.approx(np.mean([x_QF[0, 0] for *_, x_QF in model.seen]))


def test_chunks_change_no_prediction_report_their_rows_and_read_the_context_once_in_each_view():
    many, model, told = Scorer(X, Y, 3, views=2, rows_at_once=100).predict(Shown(), X), Shown(), []
    np.testing.assert_array_equal(
        Scorer(X, Y, 3, views=2, rows_at_once=3, progress=told.append).predict(model, X), many
    )
    assert (model.read, told) == (2, [3, 1, 3, 1])
    np.testing.assert_array_equal(Scorer(X, Y, 3).predict(model, X[:2]), model.predict(X, Y, X[:2], 3))
    assert [Scorer(X, Y, classes).predict(Shown(), X[:0]).shape for classes in (3, 0)] == [(0, 3), (0,)]


def test_a_kept_context_predicts_as_a_new_one_and_is_read_once():
    model, scorer = Shown(), Scorer(X, Y, 3, views=2)
    ask = scorer.keep(model)
    for rows in (X, X[:1]):
        np.testing.assert_array_equal(ask(rows), scorer.predict(Shown(), rows))
    assert model.read == 2


def test_a_module_that_trains_predicts_in_evaluation_mode_and_then_trains_on():
    model, modes = Shown(), []
    model.module.register_forward_hook(lambda module, *_: modes.append(module.training))
    predict = model.predict
    model.predict = lambda *given: (model.module(None), predict(*given))[1]
    for training in (True, False):
        model.module.train(training)
        Scorer(X, Y, 3).predict(model, X)
        assert model.module.training == training
    assert modes == [False, False]


@pytest.mark.parametrize("number", [1, 3, 8])
def test_many_rows_are_read_in_blocks(number, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_ROWS", 3)
    rows = pd.DataFrame(np.arange(2 * number).reshape(-1, 2))
    shown = scoring.Shown(SimpleNamespace(encoder=SimpleNamespace(transform=np.asarray)), lambda x_NF: 2 * x_NF, None)
    np.testing.assert_array_equal(shown.read(rows), 2 * rows)
    none = scoring.Shown(shown.context, shown.normalise, Scorer(X, Y, 3)).read(rows[:0])
    assert none.shape == (0, X.shape[1])


def test_labelled_rows_are_the_requested_ones_with_their_targets():
    frame, labels = (
        pd.DataFrame({"a": np.arange(6.0), "word": ["x", "y"] * 3}),
        np.array(["no", "yes", "no", "yes", "yes", "no"], object),
    )
    context = make_context(frame, labels, np.arange(4), {"a": "number", "word": "category"})
    shown = scoring.Shown(context, lambda x_NF: x_NF, None)
    part = shown.read_labelled(frame, labels, np.array([5, 1]))
    np.testing.assert_array_equal(part.x_NF, context.encoder.transform(frame.iloc[[5, 1]]))
    assert (part.rows_N.tolist(), part.y_N.tolist()) == ([5, 1], [0, 1])
    more = np.array(["no", "yes", "no", "no", "no", None], object)
    contexts = [make_context(frame, y, np.arange(4), {"a": "number"}) for y in (labels, more, more[[1, 0, 1, 0, 1, 1]])]
    assert [one.rarer for one in (part, *contexts)] == [1, 1, 1, 0]


def test_a_model_gets_the_rows_of_each_part_that_has_some():
    frame, labels = pd.DataFrame({"a": np.arange(8.0)}), np.array(["no", "yes"] * 4, object)
    train, none = np.arange(6), np.arange(0)
    context = make_context(frame, labels, train[:4], {"a": "number"})
    split = Split(train, np.array([6, 7]), none, context.rows)
    model = SimpleNamespace(fit_preprocessing=lambda x_CF: lambda x_NF: x_NF - x_CF.mean())
    table = Prepared(frame, labels, split, context, {"a": "number"})
    rows = ModelRows.of(table, model, TrainSettings())
    assert (rows.x_NF[:, 0].tolist(), rows.y_N.tolist()) == ([-1.5, -0.5, 0.5, 1.5, 2.5, 3.5], [0, 1, 0, 1, 0, 1])
    assert (rows.scorer.x_CF[:, 0].tolist(), rows.scorer.classes) == ([-1.5, -0.5, 0.5, 1.5], 2)
    assert rows.evaluator is rows.scorer
    assert [(name, part.rows_N.tolist()) for name, part in rows.held_out.items()] == [("validation", [6, 7])]


@pytest.mark.parametrize("classes", [3, 0])
def test_an_evaluation_samples_a_large_context_and_uses_a_small_one_whole(classes):
    y_C = (np.arange(2_100) % 3) if classes else np.arange(2_100.0)
    whole = Scorer(y_C[:, None].astype(np.float32), y_C, classes)
    fewer = scoring._fewer(whole)
    assert (len(fewer.y_C), len(set(fewer.y_C))) == (2_048, classes or 2_048)
    np.testing.assert_array_equal(fewer.x_CF[:, 0], fewer.y_C)
    small = Scorer(X, Y, 3)
    assert scoring._fewer(small) is small
