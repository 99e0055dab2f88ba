"""Finds the held-out rows that a confidence interval counts as one unit: of one group, of one time, or copies.

Rows with equal numbers form a unit. Shape letters: T rows of the table, N held-out rows of a part, F columns.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.ordered_splits import split_values
from tabtune_core.data.splits import Rows
from tabtune_core.data.task import Prepared
from tabtune_core.data.values import with_column
from tabtune_core.settings import RunSettings

BY_CHANCE = 1.5
"""Up to this ratio of equal pairs to those expected by chance, equal rows are not copies: the table has few values."""


def units_of(table: Prepared, settings: RunSettings) -> NDArray[np.int64]:
    """Returns the unit of each row ``(T,)``: its group, the rank of its time (-1 where missing), or one for all copies.

    In a split at random, each training row is its own unit.
    """
    if settings.split_by != "random":
        assert settings.split_column is not None
        values = split_values(table.frame, settings.split_column, settings.split_by)
        return np.asarray(pd.factorize(values, sort=settings.split_by == "time")[0], dtype=np.int64)
    units_T = np.arange(len(table.frame))
    used = [name for name, kind in table.kinds.items() if kind != "ignored" and name != settings.target]
    for rows in (table.split.validation, table.split.test):
        units_T[rows] = copies(with_column(table.frame[used].iloc[rows], settings.target, table.labels[rows]), rows)
    return units_T


def copies(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int64]:
    """Returns a number for each row ``(N,)``, equal for rows that agree everywhere; ``rows`` if that is by chance."""
    odd_F = 2 * np.random.default_rng(0).integers(2**62, size=frame.shape[1], dtype=np.uint64) + 1
    hashes_FN = [
        pd.util.hash_pandas_object(frame.iloc[:, f], index=False).to_numpy() * odd for f, odd in enumerate(odd_F)
    ]
    whole_N = np.stack(hashes_FN).sum(axis=0)
    equal, expected = _pairs(whole_N), 0.0
    for hash_N in hashes_FN:
        agree = _pairs(hash_N) / max(math.comb(len(rows), 2), 1)
        if agree < 1:  # estimated from the pairs that agree in all other columns
            expected = max(expected, (_pairs(whole_N - hash_N) - equal) * agree / (1 - agree))
    return rows if 0 < equal <= BY_CHANCE * expected else np.asarray(whole_N.view(np.int64))


def _pairs(values_N: NDArray[np.uint64]) -> float:
    """Counts the equal pairs."""
    counts = np.unique(values_N, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / 2)
