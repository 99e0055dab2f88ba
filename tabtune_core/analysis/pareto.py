"""Which runs are worth their cost: the Pareto front over any of their numbers, and what fits within limits.

In: the leaderboard. Out: which of its rows. A row without a number on an axis is on no front and within no limit.
"""

from collections.abc import Mapping

import pandas as pd

COST_NOISE = {"memory_bytes": (2.5e6, 0.02), "seconds": (0.0, 0.17)}
"""End of a column's name -> how far repeats of one configuration differed: an amount, and a share of the cost."""


def costs_differ(column: str, first: float, second: float) -> bool:
    """Whether two costs differ beyond the noise of repeats; False if one is unknown.

    >>> costs_differ("train_seconds", 10.0, 11.5), costs_differ("train_seconds", 10.0, 13.0)
    (False, True)
    """
    return abs(first - second) > max(_noise(column, first), _noise(column, second))


def _noise(column: str, value: float) -> float:
    least, share = next((noise for end, noise in COST_NOISE.items() if column.endswith(end)), (0.0, 0.0))
    return max(least, share * value)


def front(board: pd.DataFrame, smaller_is_better: Mapping[str, bool]) -> "pd.Series[bool]":
    """Marks rows unless another row is at least as good on every axis and better on one; ``smaller_is_better`` has the
    axes (columns).

    Each row is compared with all others, which is fast enough for the runs of a sweep. Letters: N rows, D axes.
    """
    costs = pd.DataFrame(
        {name: board[name].astype("float64") * (1 if smaller else -1) for name, smaller in smaller_is_better.items()}
    )
    costs_ND = costs.to_numpy()
    best = [not ((costs_ND <= row).all(axis=1) & (costs_ND < row).any(axis=1)).any() for row in costs_ND]
    return costs.notna().all(axis=1) & pd.Series(best, index=board.index, dtype=bool)


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
    return known.sort_values(
        [score, "trainable_parameters"], ascending=[not higher_is_better, True], kind="stable"
    ).iloc[0]
