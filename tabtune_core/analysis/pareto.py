"""Which runs are worth their cost: the Pareto front over any of their numbers, and what fits within limits.

In: the leaderboard. Out: which of its rows. A row without a number on an axis is on no front and within no limit.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.analysis.intervals import half_width

COST_NOISE = {"memory_bytes": (2.5e6, 0.02), "seconds": (0.0, 0.17)}
"""End of a column's name -> how far repeats of one configuration differed: an amount, and a share of the cost."""


def costs_differ(column: str, first: float, second: float) -> bool:
    """Whether two costs differ beyond the noise of repeats; False if one is unknown.

    >>> costs_differ("train_seconds", 10.0, 11.5), costs_differ("train_seconds", 10.0, 13.0)
    (False, True)
    """
    return bool(abs(first - second) > cost_noise(column, np.array([first, second])).max())


def cost_noise(column: str, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns how far repeats of runs with these costs differ."""
    least, share = next((noise for end, noise in COST_NOISE.items() if column.endswith(end)), (0.0, 0.0))
    return np.asarray(np.maximum(least, share * values_N))


def front(board: pd.DataFrame, smaller_is_better: Mapping[str, bool], *, score_noise: float = 0.0) -> "pd.Series[bool]":
    """Marks rows unless another row is as good on every axis and better on one, beyond noise.

    ``smaller_is_better`` has the axes (columns); ``score_noise`` is that of a validation score, costs have their own.
    Rows that are no better than the constant reference are never marked. Letters: N rows, one of N others.
    """
    known_N, worse_NN, better_NN = np.ones(len(board), bool), *np.zeros((2, len(board), len(board)), bool)
    guesses_N = (board["strategy"] == "constant").to_numpy() if "strategy" in board else ~known_N
    for name, smaller in smaller_is_better.items():
        value_N = board[name].to_numpy(dtype=np.float64)
        cost_N, scored = value_N * (1 if smaller else -1), name.startswith("validation_")
        noise_N = np.full(len(board), score_noise) if scored else cost_noise(name, value_N)
        with np.errstate(invalid="ignore"):
            ahead_NN = cost_N[:, None] - cost_N  # of the others, by column
        tied_NN = np.maximum(noise_N[:, None], noise_N)
        worse_NN |= ~(ahead_NN >= -tied_NN)
        better_NN |= ahead_NN > tied_NN
        known_N &= ~np.isnan(value_N)
        if scored and not np.isnan(cost_N[guesses_N]).all():
            known_N &= cost_N < np.nanmin(cost_N[guesses_N])
    return pd.Series(known_N & ~(better_NN & ~worse_NN).any(axis=1), index=board.index, dtype=bool)


def score_noise(configurations: pd.DataFrame) -> float:
    """Returns how far validation scores of a sweep differ by noise: the median ± behind the best LoRA; 0 if unknown."""
    half = configurations[half_width("lora_gap")] if len(configurations) else pd.Series(dtype="float64")
    half = half[half > 0]
    return float(half.median()) if len(half) else 0.0


def within_limits(board: pd.DataFrame, limits: Mapping[str, float]) -> "pd.Series[bool]":
    """Marks rows whose numbers are known and at most the limit in every limited column."""
    inside = pd.Series(True, index=board.index)
    for name, most in limits.items():
        inside &= (board[name].astype("float64") <= most).fillna(False)
    return inside


def best_of(board: pd.DataFrame, score: str, *, higher_is_better: bool) -> pd.Series | None:
    """Returns the best score's row, among equal ones that with the fewest parameters; None without a score."""
    known = board.dropna(subset=[score])
    if known.empty:
        return None
    by, ascending = [score, "trainable_parameters"], [not higher_is_better, True]
    return known.sort_values(by, ascending=ascending, kind="stable").iloc[0]
