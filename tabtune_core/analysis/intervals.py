"""How far a mean over seeds, or a score on resampled rows, may be off, and the columns that say so."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from tabtune_core.data.splits import SplitName

GAINS: dict[str, SplitName] = {"gain": "validation", "test_gain": "test"}
"""Column of leaderboards that holds a gain over zero-shot -> the part that it was measured on."""
PLUS_MINUS = "± is the distance to the end of a 95 % interval that is nearer to 0"
"""Explains ± wherever scores are compared: an interval over rows is corrected for skew, so its ends may be at different
distances.
"""


def half_width(column: str) -> str:
    """Returns the name of the column that holds the ± of each number in ``column``: see ``PLUS_MINUS``.

    >>> half_width("test_gain")
    'test_gain_half_width'
    """
    return f"{column}_half_width"


def half_interval(values: Sequence[float], choices: int = 1) -> float:
    """Half the width of Student's 95 % interval of the mean; NaN for fewer than two values.

    ``choices`` is the number of means from which this one was chosen: the interval allows for it, as in ``Difference``.

    >>> round(half_interval([1.0, 2.0, 3.0]), 3)
    2.484
    """
    n = len(values)
    return math.nan if n < 2 else float(stdtrit(n - 1, 1 - 0.025 / choices) * np.std(values, ddof=1) / math.sqrt(n))


def half_intervals(deviation: pd.DataFrame, number: pd.DataFrame) -> pd.DataFrame:
    """Computes ``half_interval`` for many means at once, from their standard deviations (ddof 1) and numbers of values."""  # noqa: E501
    n = number.where(number >= 2).to_numpy(dtype=np.float64)
    return deviation.mul(stdtrit(n - 1, 0.975) / np.sqrt(n))
