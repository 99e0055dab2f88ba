"""The scores, on cases that can be computed by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tabtune_core.metrics import METRICS, ROW_MEANS, Interval, metrics_of, rarer_class, score_all

TRUTH = np.array([0, 0, 1, 1])
PERFECT = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
COIN = np.full((4, 2), 0.5)
WRONG_ONCE = np.array([[0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])


@pytest.mark.parametrize(
    ("name", "perfect", "coin"),
    [
        ("log_loss", 0, np.log(2)),
        ("brier", 0, 0.5),
        ("ece", 0, 0),
        ("roc_auc", 1, 0.5),
        ("accuracy", 1, 0.5),
        ("mcc", 1, 0),
    ],
)
def test_a_perfect_and_a_guessing_model_have_their_known_scores(name, perfect, coin):
    assert METRICS[name].function(TRUTH, PERFECT) == pytest.approx(perfect, abs=1e-9)
    assert METRICS[name].function(TRUTH, COIN) == pytest.approx(coin, abs=1e-9)


def test_scores_match_values_computed_by_hand():
    scores = score_all(TRUTH, WRONG_ONCE)
    assert scores["accuracy"] == scores["balanced_accuracy"] == 0.75
    assert scores["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.8, 0.9]).mean())
    assert scores["brier"] == pytest.approx(np.mean([0.08, 0.72, 0.08, 0.02]))
    assert scores["ece"] == pytest.approx((0.2 + 0.2 + 0.1 + 0.6) / 4), "0.8 twice right, 0.9 right, 0.6 wrong"
    assert scores["roc_auc"] == 1.0


def test_r2_needs_targets_that_differ():
    for rows in (0, 1, 5):
        assert np.isnan(METRICS["r2"].function(np.full(rows, 3.0), np.arange(float(rows))))
    assert METRICS["r2"].function(np.arange(5.0), np.full(5, 2.0)) == 0


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_rank_scores_use_the_classes_that_have_rows_and_need_two(name):
    score, p_NK = METRICS[name].function, np.random.default_rng(0).dirichlet(np.ones(4), size=40)
    y_N = np.arange(40) % 3
    one_by_one = [score((y_N == k).astype(int), np.column_stack([1 - p_NK[:, k], p_NK[:, k]])) for k in range(3)]
    assert score(y_N, p_NK) == pytest.approx(np.mean(one_by_one))
    assert np.isnan(score(np.array([0, 0]), COIN[:2]))


def test_average_precision_is_that_of_the_class_that_is_rarer_in_the_table_also_where_it_is_not_in_a_part():
    y_N, p_N = np.array([0, 1, 1, 1]), np.array([0.6, 0.5, 0.9, 0.8])
    p_NK = np.column_stack([1 - p_N, p_N])
    assert rarer_class(np.array(["no"] * 9 + ["yes"] * 8 + [None] * 9), ["no", "yes"]) == 1
    assert score_all(y_N, p_NK, rarer=1)["average_precision"] == pytest.approx(average_precision_score(y_N, p_N))
    assert score_all(y_N, p_NK)["average_precision"] == pytest.approx(average_precision_score(1 - y_N, 1 - p_N))


def test_non_finite_probabilities_have_no_score():
    assert all(np.isnan(score) for score in score_all(TRUTH, np.where(PERFECT == 1, np.nan, PERFECT)).values())


def test_certainty_in_a_wrong_class_gives_a_finite_loss():
    assert 30 < METRICS["log_loss"].function(np.array([1]), np.array([[1.0, 0.0]])) < 40


def test_better_knows_the_direction_and_prefers_a_number_to_nan():
    assert METRICS["accuracy"].better(0.9, 0.8)
    assert METRICS["log_loss"].better(0.1, 0.2)
    assert METRICS["log_loss"].better(0.1, float("nan"))
    assert not METRICS["log_loss"].better(float("nan"), 0.1)


@pytest.mark.parametrize("name", ROW_MEANS)
def test_a_mean_over_rows_is_the_score(name):
    draw = np.random.default_rng(0)
    y_N, numbers_N, p_NK = draw.integers(3, size=40), draw.normal(size=40), draw.dirichlet(np.ones(3), size=40)
    predicted = p_NK if METRICS[name].task == "classification" else numbers_N
    of_row, of_mean = ROW_MEANS[name]
    assert float(of_mean(of_row(y_N, predicted).mean())) == pytest.approx(METRICS[name].function(y_N, predicted))


@pytest.mark.parametrize("name", metrics_of("classification"))
def test_a_score_that_uses_only_the_predicted_class_says_so(name):
    draw = np.random.default_rng(0)
    y_N, p_NK = draw.integers(3, size=60), draw.dirichlet((1, 1, 1), size=60)
    sharper_NK = p_NK**3 / (p_NK**3).sum(axis=1, keepdims=True)
    same = METRICS[name].function(y_N, p_NK) == METRICS[name].function(y_N, sharper_NK)
    assert same == (Interval.OF_THE_CLASS in METRICS[name].interval)
