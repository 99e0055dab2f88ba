"""The context rows that are most like a row, in the features that a model is given.

Shape letters: C context rows, F features.
"""

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.task import Context

Floats = NDArray[np.float64]


def nearest(context: Context, row_F: Floats, most: int) -> tuple[NDArray[np.intp], Floats]:
    """Places in the context, nearest first, and their distances.

    A distance is the root of the mean squared difference of the features, a number in standard deviations of the context. Two categories
    that differ are 1 apart, and so is a missing number from a known one.
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
