"""Reference models without pretrained weights: a linear model and gradient boosting, both scikit-learn's.

In: encoded training rows, categories first. Out: a model fitted to all of them, whose penalty or number of rounds was
chosen within them. Shape letters: N rows, F features, K classes.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.encoding import Target
from tabtune_core.data.target_checks import far_of
from tabtune_core.settings import Strategy
from tabtune_core.wording import counted, number

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

Array = NDArray[np.float64]
Predict = Callable[[Array], Array]

MOST_CELLS = 2_000_000
"""Most training rows times features (times the classes if more than two): some seconds on two cores."""
FEWEST_ROWS = 1_000
"""Rows that are used even if the table is so wide that MOST_CELLS allows fewer."""
CELLS_OF_FOLDS = 200_000
"""Up to so many cells, the setting is chosen by cross-validation; for larger tables one fold is enough."""
FOLDS = 5
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Ridge's alpha, and 1 / C of logistic regression, on standardised columns."""
LEVELS = 30
"""Most columns of the linear model per category; other values, and those of fewer than RARE rows, share one."""
RARE = 5
LEVELS_OF_TREES = 250
"""scikit-learn's boosting takes at most 255."""
MOST_ROUNDS = 200
ROUNDS_AT_ONCE = 20
LEAF_ROWS, LEAF_SHARE = 20, 5
"""Fewest rows of a leaf: scikit-learn's default, or a fifth of the rows, as else no tree could split fewer than 40."""
PATIENCE = 2
"""Boosting stops after this many times ROUNDS_AT_ONCE without a better score."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A fitted model."""

    predict: Predict
    """Maps features to probabilities ``(N, K)``, classes by id, or numbers ``(N,)``."""
    description: str
    """A sentence about the model and the chosen setting."""


def most_rows(features: int, classes: int) -> int:
    """Returns the most training rows that are fitted in seconds; a larger table is sampled.

    >>> most_rows(20, 2), most_rows(20, 10), most_rows(5_000, 0)
    (100000, 10000, 1000)
    """
    return max(FEWEST_ROWS, MOST_CELLS // (max(features, 1) * _weights_a_feature(classes)))


def _weights_a_feature(classes: int) -> int:
    """Returns the weights per feature: one per class if there are more than two."""
    return classes if classes > 2 else 1


def fit_reference(
    strategy: Strategy, x_NF: Array, y_N: Target, *, categories: int, classes: int, seed: int
) -> Reference:
    """Chooses the setting of 'linear' (logistic or ridge regression) or 'boosting', and fits it to all rows.

    The first ``categories`` features are category ids (-1 if missing or unknown), the others numbers (nan if missing).
    ``y_N`` are class ids, every class among them, or numbers if ``classes`` is 0.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1 if x_NF.size <= CELLS_OF_FOLDS else None):  # of few cells, threads wait for each other
        fit = {"linear": _linear, "boosting": _boosting, "constant": _constant}[strategy]
        return fit(x_NF, y_N, categories, classes, seed)


def _constant(x_NF: Array, y_N: Target, categories: int, classes: int, seed: int) -> Reference:
    if classes:
        answer_K = np.bincount(y_N.astype(np.int64), minlength=classes) / len(y_N)
        description = "A constant: the shares of the classes in the training rows."
        return Reference(lambda x_NF: np.tile(answer_K, (len(x_NF), 1)), description)
    far_N = far_of(y_N.astype(np.float64))
    answer = float(y_N[~far_N].astype(np.float64).mean())
    without = f" without {counted(int(far_N.sum()), 'value')} far from the others" if far_N.any() else ""
    description = f"A constant: the mean of the training rows{without}, {number(answer)}."
    return Reference(lambda x_NF: np.full(len(x_NF), answer), description)


def _linear(x_NF: Array, y_N: Target, categories: int, classes: int, seed: int) -> Reference:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        folds = list(_folds(x_NF, y_N, classes, seed))
        losses = [
            sum(
                _loss(_fit_linear(x_NF[fit], y_N[fit], categories, classes, candidate)(x_NF[held_out]), y_N[held_out])
                for fit, held_out in folds
            )
            for candidate in PENALTIES
        ]
        penalty = PENALTIES[int(np.argmin(losses))]
        predict = _fit_linear(x_NF, y_N, categories, classes, penalty)
    name = "Logistic regression" if classes else "Ridge regression"
    return Reference(predict, f"{name} on standardised columns, with the penalty {penalty:g}, chosen {_how(folds)}.")


def _fit_linear(x_NF: Array, y_N: Target, categories: int, classes: int, penalty: float) -> Predict:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=LEVELS, min_frequency=RARE)
    filled = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    numbers = make_pipeline(filled, StandardScaler())
    ids, others = list(range(categories)), list(range(categories, x_NF.shape[1]))
    columns = ColumnTransformer([("one_hot", one_hot, ids), ("numbers", numbers, others)])
    model = LogisticRegression(C=1 / penalty, max_iter=200) if classes else Ridge(alpha=penalty)
    whole = make_pipeline(columns, model).fit(x_NF, y_N)
    predict: Predict = whole.predict_proba if classes else whole.predict
    return predict


def _boosting(x_NF: Array, y_N: Target, categories: int, classes: int, seed: int) -> Reference:
    folds = list(_folds(x_NF, y_N, classes, seed))
    curves = [_curve(x_NF, y_N, fit, held_out, categories, classes, seed) for fit, held_out in folds]
    shortest = min(map(len, curves), default=0)
    rounds = 1 + int(np.argmin(np.sum([curve[:shortest] for curve in curves], axis=0))) if shortest else ROUNDS_AT_ONCE
    columns, model = _trees(categories, classes, rounds, seed, len(y_N))
    encoded_NF = columns.fit_transform(x_NF)
    known_F = np.isfinite(encoded_NF).any(axis=0)  # boosting cannot bin a column of missing values only
    model.fit(np.where(known_F, encoded_NF, 0.0), y_N)
    ask = model.predict_proba if classes else model.predict
    description = f"Gradient boosting with {counted(rounds, 'round')}, chosen {_how(folds)}."
    return Reference(lambda x_NF: np.asarray(ask(np.where(known_F, columns.transform(x_NF), 0.0))), description)


def _curve(
    x_NF: Array,
    y_N: Target,
    fit: NDArray[np.int64],
    held_out: NDArray[np.int64],
    categories: int,
    classes: int,
    seed: int,
) -> list[float]:
    """Returns the loss on the held-out rows after each round, until it stops improving."""
    columns, model = _trees(categories, classes, ROUNDS_AT_ONCE, seed, len(fit))
    model.set_params(warm_start=True)
    fitted_NF, held_out_NF = columns.fit_transform(x_NF[fit]), columns.transform(x_NF[held_out])
    known_F = np.isfinite(fitted_NF).any(axis=0)
    fitted_NF, held_out_NF = (np.where(known_F, one_NF, 0.0) for one_NF in (fitted_NF, held_out_NF))
    curve: list[float] = []
    for rounds in range(ROUNDS_AT_ONCE, MOST_ROUNDS + 1, ROUNDS_AT_ONCE):
        model.set_params(max_iter=rounds).fit(fitted_NF, y_N[fit])
        staged = model.staged_predict_proba(held_out_NF) if classes else model.staged_predict(held_out_NF)
        curve = [_loss(predicted, y_N[held_out]) for predicted in staged]
        if rounds - int(np.argmin(curve)) > PATIENCE * ROUNDS_AT_ONCE:
            break
    return curve


def _trees(categories: int, classes: int, rounds: int, seed: int, rows: int) -> "tuple[ColumnTransformer, Any]":
    """Returns the preprocessing of category ids, and the boosting model for so many rows."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.preprocessing import OrdinalEncoder

    ids = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=LEVELS_OF_TREES)
    columns = ColumnTransformer([("ids", ids, list(range(categories)))], remainder="passthrough")
    model = (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(
        max_iter=rounds,
        min_samples_leaf=min(LEAF_ROWS, max(2, rows // LEAF_SHARE)),
        early_stopping=False,
        categorical_features=list(range(categories)) or None,
        random_state=seed,
    )
    return columns, model


def _folds(x_NF: Array, y_N: Target, classes: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields rows to fit and rows held out; a class keeps its share in each fold, or one row stays in."""
    rng = np.random.default_rng([seed, 2])
    order_N = rng.permutation(len(y_N))
    fold_N = np.empty(len(y_N), dtype=np.int64)
    if classes:
        order_N = order_N[np.argsort(y_N[order_N], kind="stable")]
    fold_N[order_N] = np.arange(len(y_N)) % FOLDS
    if classes:
        fold_N[np.bincount(y_N.astype(np.int64), minlength=classes)[y_N.astype(np.int64)] < 2] = -1
    for fold in range(FOLDS if x_NF.size * _weights_a_feature(classes) <= CELLS_OF_FOLDS else 1):
        if np.any(fold_N == fold):
            yield np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)


def _loss(predicted: Array, y_N: Target) -> float:
    """Computes the log-loss of probabilities or the mean squared error of numbers."""
    if predicted.ndim == 1:
        return float(np.mean((predicted - y_N) ** 2))
    return float(-np.mean(np.log(np.maximum(predicted[np.arange(len(y_N)), y_N.astype(np.int64)], 1e-15))))


def _how(folds: Sequence[object]) -> str:
    several = f"by {FOLDS}-fold cross-validation inside the training rows"
    return several if len(folds) > 1 else "on a fifth of the training rows"
