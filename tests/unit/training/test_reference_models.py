"""References: what scikit-learn's models learn from any kind of columns, and what they never see."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Ridge

from tabtune_core.training import reference_models
from tabtune_core.training.reference_models import fit_reference, most_rows

RNG = np.random.default_rng(0)
ROWS = 240
KIND = RNG.integers(-1, 3, ROWS)
SIZE = RNG.normal(size=ROWS)
MIXED = np.column_stack([KIND, np.where(RNG.random(ROWS) < 0.1, np.nan, SIZE), RNG.normal(size=ROWS)]).astype(float)
NUMBERS = 3.0 * (KIND == 1) + SIZE
CLASSES = np.digitize(NUMBERS, [0.0, 2.0])


@pytest.mark.parametrize("strategy", ["linear", "boosting"])
def test_class_probabilities_are_in_id_order_and_repeatable_by_seed(strategy):
    p_NK, again_NK = (
        fit_reference(strategy, MIXED[:160], CLASSES[:160], categories=1, classes=3, seed=4).predict(MIXED[160:])
        for _ in range(2)
    )
    np.testing.assert_array_equal(p_NK, again_NK)
    assert p_NK.shape == (80, 3)
    np.testing.assert_allclose(p_NK.sum(axis=1), 1)
    assert np.mean(p_NK.argmax(axis=1) == CLASSES[160:]) > 0.7


@pytest.mark.parametrize("strategy", ["linear", "boosting"])
def test_unseen_categories_and_empty_columns_can_be_predicted(strategy):
    x_NF = np.column_stack([MIXED, np.full(ROWS, np.nan)])
    fitted = fit_reference(strategy, x_NF[KIND >= 0], CLASSES[KIND >= 0], categories=1, classes=3, seed=0)
    assert np.isfinite(fitted.predict(x_NF[KIND < 0])).all()


def test_real_tables_reach_the_known_scores_of_these_models():
    x_NF, y_N = load_breast_cancer(return_X_y=True)
    train, test = np.arange(len(y_N)) % 3 != 0, np.arange(len(y_N)) % 3 == 0
    for strategy, least in (("linear", 0.96), ("boosting", 0.93)):
        fitted = fit_reference(strategy, x_NF[train], y_N[train], categories=0, classes=2, seed=0)
        assert np.mean(fitted.predict(x_NF[test]).argmax(axis=1) == y_N[test]) > least
    x_NF, y_N = load_diabetes(return_X_y=True)
    train, test = np.arange(len(y_N)) % 3 != 0, np.arange(len(y_N)) % 3 == 0
    for strategy in ("linear", "boosting"):
        fitted = fit_reference(strategy, x_NF[train], y_N[train], categories=0, classes=0, seed=0)
        assert np.mean((fitted.predict(x_NF[test]) - y_N[test]) ** 2) < 0.7 * y_N[test].var()


def test_all_rows_are_fitted_after_the_penalty_is_chosen():
    x_NF, y_N = load_diabetes(return_X_y=True)
    fitted = fit_reference("linear", x_NF, y_N, categories=0, classes=0, seed=0)
    penalty = float(fitted.description.split("the penalty ")[1].split(",")[0])
    standardised = (x_NF - x_NF.mean(axis=0)) / x_NF.std(axis=0)
    np.testing.assert_allclose(fitted.predict(x_NF), Ridge(alpha=penalty).fit(standardised, y_N).predict(standardised))


def test_a_large_table_is_sampled_and_tuned_on_one_fold(monkeypatch):
    assert most_rows(20, 2) == 100_000
    assert most_rows(20, 10) == 10_000
    monkeypatch.setattr(reference_models, "CELLS_OF_FOLDS", 100)
    linear = fit_reference("linear", MIXED, NUMBERS, categories=1, classes=0, seed=0)
    assert "on a fifth of the training rows" in linear.description


def test_a_constant_is_the_share_of_each_class_or_the_mean_without_values_far_from_the_others():
    x_NF, shape = np.zeros((6, 1)), {"categories": 0, "seed": 0}
    shares = fit_reference("constant", x_NF, np.array([0, 0, 0, 0, 1, 1]), classes=2, **shape)
    assert shares.predict(x_NF[:1]).tolist() == [pytest.approx([2 / 3, 1 / 3])]
    mean = fit_reference("constant", x_NF, np.array([10.0, 11, 12, 13, 14, 1e11]), classes=0, **shape)
    assert (
        mean.predict(x_NF[:2]).tolist() == [12, 12] and "without 1 value far from the others, 12." in mean.description
    )


@pytest.mark.parametrize("strategy", ["linear", "boosting"])
def test_rows_without_any_value_are_answered_with_the_shares_of_the_classes(strategy):
    y_N = np.arange(60) % 3 == 0
    fitted = fit_reference(strategy, np.full((60, 2), np.nan), y_N.astype(int), categories=0, classes=2, seed=0)
    np.testing.assert_allclose(fitted.predict(np.full((3, 2), np.nan)), [[2 / 3, 1 / 3]] * 3, atol=0.02)
