"""Counts and comparisons of predictions, row by row, and the threshold of a rare class."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from tabtune_core.analysis.prediction_diagnostics import (
    confusion,
    errors,
    flip_counts,
    flips,
    movers,
    reliability,
    together,
)
from tabtune_core.analysis.threshold import STEPS, best_threshold, counts_at, is_imbalanced
from tabtune_core.metrics import METRICS
from tabtune_core.store.predictions import Predictions


def of_classes(y, p, rows=None, names="abc"):
    p = np.array(p, dtype=float)
    return Predictions(
        np.arange(len(y)) if rows is None else np.array(rows), np.array(y), p, tuple(names[: p.shape[1]])
    )


@pytest.fixture
def sure():
    return of_classes([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])


def test_a_confusion_matrix_has_labels_in_rows(sure):
    found = confusion(sure).set_index(["label", "predicted"])["rows"]
    assert found.to_dict() == {("a", "a"): 1, ("a", "b"): 1, ("b", "a"): 0, ("b", "b"): 2}


def test_the_bin_gaps_add_up_to_the_calibration_error():
    rng = np.random.default_rng(0)
    found = of_classes(rng.integers(3, size=200), rng.dirichlet([1, 1, 1], size=200))
    bins = reliability(found).dropna()
    gap = (bins["rows"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / bins["rows"].sum()
    assert bins["rows"].sum() == 200
    assert gap == pytest.approx(METRICS["ece"].function(found.y_N, found.predicted))


def test_a_flip_is_a_shared_row_with_a_changed_class(sure):
    other = of_classes([0, 1, 1, 0], [[0.6, 0.4], [0.7, 0.3], [0.1, 0.9], [0.5, 0.5]], rows=[1, 2, 3, 9])
    changed = flips(together(sure, other))
    assert changed["row"].tolist() == [1, 2]
    assert changed["second_right"].tolist() == [True, False]
    assert changed["first_confidence"].tolist() == [0.6, 0.8]
    assert flip_counts(changed) == {"right": 1, "wrong": 1, "still": 0}


def test_numeric_predictions_move_by_second_minus_first():
    first, second = (
        Predictions(np.arange(3), np.array([1.0, 2.0, 3.0]), np.array(p)) for p in ([1.0, 2.0, 3.5], [1.1, 0.0, 3.0])
    )
    moved = movers(together(first, second), most=2)
    assert moved["row"].tolist() == [1, 2]
    assert moved["move"].tolist() == [-2.0, -0.5]
    assert errors(second)["error"].tolist() == pytest.approx([0.1, -2.0, 0.0])


@pytest.fixture
def rare():
    """Predictions of 500 rows, of which a tenth are of class 0."""
    rng = np.random.default_rng(0)
    y_N = (rng.random(500) > 0.1).astype(int)
    p_N = 1 / (1 + np.exp(2.5 - 2 * (y_N == 0) + rng.normal(size=500)))
    return Predictions(np.arange(500), y_N, np.column_stack([p_N, 1 - p_N]), ("yes", "no"), rarer=0)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.9])
def test_counts_are_scikit_learns(rare, threshold):
    counts, truth, flagged = counts_at(rare, threshold), rare.y_N == 0, rare.predicted[:, 0] >= threshold
    of = {"zero_division": np.nan}
    assert counts.precision == pytest.approx(precision_score(truth, flagged, **of), nan_ok=True)
    assert counts.recall == pytest.approx(recall_score(truth, flagged))
    assert counts.f1 == pytest.approx(f1_score(truth, flagged))


def test_the_best_threshold_has_the_highest_f1(rare):
    highest = max(f1_score(rare.y_N == 0, rare.predicted[:, 0] >= step) for step in STEPS)
    assert counts_at(rare, best_threshold(rare)).f1 == pytest.approx(highest)
    assert best_threshold(rare) < 0.5


def test_only_a_rare_class_of_two_has_one(rare):
    half = Predictions(rare.rows_N, rare.rows_N % 2, rare.predicted, rare.classes, rarer=0)
    several = Predictions(rare.rows_N, rare.y_N, rare.predicted, ("a", "b"))
    assert [is_imbalanced(one) for one in (rare, half, several)] == [True, False, False]
