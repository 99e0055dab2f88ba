"""How far predictions of numbers lie from the truth, as the held-out rows of a run show.

In: what one model predicted for the validation and the test rows of a run. Out: an interval around every prediction of that model.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARE = 0.9
"""Of the true values that the interval is to hold."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """In the target's unit, the same around every prediction."""

    below: float
    """How far it reaches below a prediction."""
    above: float
    held: float | None
    """Share of the test rows whose true value it holds; None without test rows."""


def interval(errors_N: Floats, test_errors_M: Floats) -> Interval | None:
    """From errors, truth less prediction, of the validation rows N; those of the test rows M only check it. None where rows are too few.

    Split conformal with half of what is left out at each end: Lei et al. 2018, Journal of the American Statistical Association 113,
    1094-1111. The validation rows also chose the checkpoint, which makes it a little too narrow; ``held`` shows by how much.

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
