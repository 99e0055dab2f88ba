"""Counts and comparisons of predictions, row by row."""

import numpy as np
import pytest

from tabtune_core.analysis.prediction_diagnostics import (
    confusion,
    errors,
    flip_counts,
    flips,
    movers,
    reliability,
    together,
)
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
