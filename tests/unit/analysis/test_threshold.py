"""The threshold of a rare class: what scikit-learn counts, chosen where its F1 is highest."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from tabtune_core.analysis.threshold import STEPS, best_threshold, counts_at, is_imbalanced
from tabtune_core.store.predictions import Predictions


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
