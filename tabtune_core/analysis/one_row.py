"""What is shown beside the prediction of a row: an interval for predicted numbers, and the context rows most like it.

In: errors of one model on the held-out rows of a run; a context. Out: an interval; places in the context.
Shape letters: C context rows, F features, N validation rows, M test rows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.task import Context

SHARE = 0.9
"""Share of the true values that the interval should contain."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval in the target's unit, the same around every prediction."""

    below: float
    """How far it reaches below a prediction."""
    above: float
    held: float | None
    """Share of the test rows whose true value it contains; None without test rows."""


def interval(errors_N: Floats, test_errors_M: Floats) -> Interval | None:
    """Computes it from validation errors (truth minus prediction), None if these are too few; test errors check it.

    Split conformal prediction that leaves out equal shares at both ends: Lei et al. 2018, Journal of the American
    Statistical Association 113, 1094-1111. The validation rows also chose the checkpoint, so it is a little too narrow;
    ``held`` shows by how much.

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


def nearest(context: Context, row_F: Floats, most: int) -> tuple[NDArray[np.intp], Floats]:
    """Returns the places of the ``most`` nearest context rows, nearest first, and their distances.

    A distance is the root of the mean squared difference of the features, numbers in standard deviations of the
    context. Two different categories are 1 apart, and so are a missing and a known number.
    """
    categories = len(context.encoder.categories)
    known_CF = np.ma.masked_invalid(context.x_CF)
    deviation_F = known_CF.std(axis=0).filled(0)
    apart_CF = np.abs(context.x_CF - row_F) / np.where(deviation_F > 0, deviation_F, 1)
    apart_CF[:, :categories] = context.x_CF[:, :categories] != row_F[:categories]
    missing_CF = np.isnan(context.x_CF) ^ np.isnan(row_F)
    distance_C = np.sqrt(np.mean(np.where(missing_CF, 1.0, np.nan_to_num(apart_CF)) ** 2, axis=1))
    places = np.argsort(distance_C, kind="stable")[:most]
    return places, distance_C[places]
