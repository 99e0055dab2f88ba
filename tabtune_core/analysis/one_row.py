"""What is shown beside the prediction of a row: an interval for predicted numbers.

In: errors of one model on the held-out rows of a run. Out: an interval.
Shape letters: N validation rows, M test rows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
