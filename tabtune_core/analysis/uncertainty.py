"""How sure a prediction is: intervals of numbers, and sets of classes.

In: one model's predictions of a run's held-out rows. Out: what the validation rows give, and its check on test rows.
Shape letters: N validation rows, M test rows, K classes. The validation rows also chose the checkpoint, so intervals
and sets are a little too small; ``held`` shows by how much.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabtune_core.store.predictions import Predictions

SHARE = 0.9
"""Share of the true values that an interval or a set should contain."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval in the target's unit, the same around every prediction."""

    below: float
    """How far it reaches below a prediction."""
    above: float
    held: float | None
    """Share of the test rows whose true value it contains; None without test rows."""


@dataclass(frozen=True, slots=True)
class ClassSet:
    """The likeliest class, and all classes of at least some probability."""

    least: float
    """The smallest probability of a class in the set, 0 to 1."""
    held: float | None
    """Share of the test rows whose class is in their set; None without test rows."""


def of_held_out(validation: Predictions, test: Predictions, *, before: bool = False) -> Interval | ClassSet | None:
    """Returns an interval for numbers or a set for classes; ``before``: of the model before training.

    None without predictions before training, or with too few validation rows.
    """
    predicted, checked = (one.zero_shot if before else one.predicted for one in (validation, test))
    if predicted is None or checked is None:
        return None
    if not validation.classes:
        return interval(validation.y_N - predicted, test.y_N - checked)
    return class_set(_of_truth(predicted, validation), _of_truth(checked, test), checked.max(axis=1, initial=0))


def interval(errors_N: Floats, test_errors_M: Floats) -> Interval | None:
    """Computes it from validation errors (truth minus prediction), None if these are too few; test errors check it.

    Split conformal prediction that leaves out equal shares at both ends: Lei et al. 2018, Journal of the American
    Statistical Association 113, 1094-1111.

    >>> interval(np.linspace(-1.0, 2.0, 39), np.array([0.0, 1.9, 3.0, 1.0]))
    Interval(below=0.9210526315789473, above=1.9210526315789473, held=0.75)
    """
    rank, rows = math.ceil((len(errors_N) + 1) * (1 + SHARE) / 2), len(errors_N)
    if rank > rows:
        return None
    ordered = np.sort(errors_N)
    below, above = max(-float(ordered[rows - rank]), 0.0), max(float(ordered[rank - 1]), 0.0)
    held = float(np.mean((-below <= test_errors_M) & (test_errors_M <= above))) if len(test_errors_M) else None
    return Interval(below, above, held)


def class_set(true_N: Floats, test_true_M: Floats, test_largest_M: Floats) -> ClassSet | None:
    """Computes it from the probabilities of the true classes, None if these are too few; those of test rows check it.

    Least ambiguous sets, which here always have the likeliest class: Sadinle et al. 2019, Journal of the American
    Statistical Association 114, 223-234.

    >>> class_set(np.linspace(0.05, 0.95, 19), np.array([0.1, 0.04, 0.6]), np.array([0.9, 0.9, 0.6]))
    ClassSet(least=0.1, held=0.6666666666666666)
    """
    rank = math.ceil((len(true_N) + 1) * SHARE)
    if rank > len(true_N):
        return None
    least = float(np.sort(true_N)[len(true_N) - rank])
    held = float(np.mean((test_true_M >= least) | (test_true_M == test_largest_M))) if len(test_true_M) else None
    return ClassSet(least, held)


def _of_truth(predicted_NK: Floats, rows: Predictions) -> Floats:
    return np.asarray(predicted_NK[np.arange(len(predicted_NK)), rows.y_N.astype(np.int64)])
