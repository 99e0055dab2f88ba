"""How far a difference of scores may be off: scores with groups of table rows left out, and the interval that they give.

In: predictions of held-out rows of one or more seeds. Out: a difference with half the width of its 95 % interval.
Letters: N rows, K classes, G groups of table rows, S seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from tabtune_core.metrics import ROW_MEANS, Metric

GROUPS, FEW_GROUPS = 200, 40
"""At most; fewer rows are left out one at a time. Few, where the metric is computed anew without each group."""
OF_THE_CLASS = ("accuracy", "balanced_accuracy", "f1_weighted", "mcc")
"""Metrics that see only the predicted class: few rows may make all of a difference."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Replicates:
    """A score on some rows, and on what is left of them without each group."""

    score: float
    without_G: Floats
    rows_G: NDArray[np.int64]
    """How many of the rows are in each group."""
    rows_N: NDArray[np.int64]
    """Their numbers in the table."""

    def of_nothing(self) -> "Replicates":
        """The score 0 on the same rows: the difference to it is the score itself."""
        return Replicates(0.0, np.zeros_like(self.without_G), self.rows_G, self.rows_N)


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over seeds, positive where the first is better."""

    value: float
    error: float
    """Standard error; NaN where it is not known."""
    half: float
    """Half the width of the 95 % interval."""
    of_seed: float = math.nan
    """Variance of the difference under one seed that comes from its rows."""
    between_seeds: float = 0.0
    """Variance between seeds beyond that."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.value + self.half


UNKNOWN = Difference(math.nan, math.nan, math.nan)


class RowGroups:
    """The table rows of some held-out parts in groups of one size: a row is in the same group under every seed."""

    def __init__(self, parts: Sequence[NDArray[np.int64]], metric: Metric) -> None:
        """``parts`` are numbers of rows in the table, one array a seed; ``metric`` is what the groups are left out of."""
        self._rows = np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)
        quick = metric.name in (*ROW_MEANS, *_OF_COUNTS, "roc_auc")
        self.number = min(GROUPS if quick else FEW_GROUPS, len(self._rows))
        self._group = np.random.default_rng(0).permutation(len(self._rows)) % max(self.number, 1)  # rows that lie together may be alike

    def of(self, rows_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """The group of each row."""
        groups: NDArray[np.int64] = self._group[np.searchsorted(self._rows, rows_N)]
        return groups

    def leave_out(self, metric: Metric, rows_N: NDArray[np.int64], y_N: NDArray[np.generic], predicted: Floats) -> Replicates:
        """The score of predictions ``(N, K)`` or ``(N,)`` without each group; the score itself without a group that has no row here."""
        group_N, G = self.of(rows_N), self.number
        rows_G = np.bincount(group_N, minlength=G)
        if metric.name in ROW_MEANS:
            of_row, of_mean = ROW_MEANS[metric.name]
            values_N = of_row(y_N, predicted)
            score = float(of_mean(values_N.mean()))
            with np.errstate(invalid="ignore", divide="ignore"):
                without_G = of_mean((values_N.sum() - np.bincount(group_N, values_N, G)) / (len(y_N) - rows_G))
            return Replicates(score, np.where(rows_G > 0, without_G, score), rows_G, rows_N)
        score = metric.function(y_N, predicted)
        without_G = np.full(G, score)
        if metric.name in _OF_COUNTS:
            without_G = _OF_COUNTS[metric.name](_counts_without(np.asarray(y_N, dtype=np.int64), predicted, group_N, G))
        elif metric.name == "roc_auc" and not math.isnan(score):
            without_G = _areas(np.asarray(y_N, dtype=np.int64), predicted, group_N, G)
        else:
            for g in np.flatnonzero(rows_G):
                kept_N = group_N != g
                without_G[g] = metric.function(y_N[kept_N], predicted[kept_N]) if kept_N.any() else math.nan
        return Replicates(score, np.where(rows_G > 0, without_G, score), rows_G, rows_N)


def _areas(y_N: NDArray[np.int64], p_NK: Floats, group_N: NDArray[np.int64], groups: int) -> Floats:
    """ROC AUC without each group, ``(G,)``, from the pairs that each row takes part in (DeLong et al. 1988, equations 4 and 5).

    Pairs within one group are counted at the mean of all pairs.
    """
    classes = [1] if p_NK.shape[1] == 2 else range(p_NK.shape[1])
    areas = []
    for k in classes:
        own_N, p_N = y_N == k, p_NK[:, k]
        above, below = int(own_N.sum()), int((~own_N).sum())
        won_N = np.empty(len(y_N))  # pairs with rows of other classes in which the row of the class is above; half of a tie
        won_N[own_N] = _below(p_N[own_N], p_N[~own_N])
        won_N[~own_N] = above - _below(p_N[~own_N], p_N[own_N])
        area = won_N[own_N].sum() / (above * below)
        above_G = np.bincount(group_N[own_N], minlength=groups)
        below_G = np.bincount(group_N[~own_N], minlength=groups)
        pairs_G = above * below * area - np.bincount(group_N, won_N, groups) + area * above_G * below_G
        with np.errstate(invalid="ignore", divide="ignore"):
            areas.append(pairs_G / ((above - above_G) * (below - below_G)))
    return np.asarray(np.mean(areas, axis=0), dtype=np.float64)


def _below(p_N: Floats, others: Floats) -> Floats:
    """How many of the others are below each; equal ones count half."""
    ordered = np.sort(others)
    return np.asarray((np.searchsorted(ordered, p_N, "left") + np.searchsorted(ordered, p_N, "right")) / 2)


def _counts_without(y_N: NDArray[np.int64], p_NK: Floats, group_N: NDArray[np.int64], groups: int) -> Floats:
    """Rows by true and predicted class, ``(G, K, K)``, without each group."""
    K = p_NK.shape[1]
    cell_N = (group_N * K + y_N) * K + p_NK.argmax(axis=1)
    counts_GKK = np.bincount(cell_N, minlength=groups * K * K).reshape(groups, K, K)
    return np.asarray(counts_GKK.sum(axis=0) - counts_GKK, dtype=np.float64)


def _f1_weighted(counts_GKK: Floats) -> Floats:
    true_GK, right_GK = counts_GKK.sum(axis=2), np.diagonal(counts_GKK, axis1=1, axis2=2)
    f1_GK = 2 * right_GK / np.maximum(true_GK + counts_GKK.sum(axis=1), 1)
    return np.asarray((f1_GK * true_GK).sum(axis=1) / true_GK.sum(axis=1))


def _matthews(counts_GKK: Floats) -> Floats:
    true_GK, said_GK = counts_GKK.sum(axis=2), counts_GKK.sum(axis=1)
    right_G, rows_G = np.trace(counts_GKK, axis1=1, axis2=2), true_GK.sum(axis=1)
    spread_G = (rows_G**2 - (true_GK**2).sum(axis=1)) * (rows_G**2 - (said_GK**2).sum(axis=1))
    return np.asarray((right_G * rows_G - (true_GK * said_GK).sum(axis=1)) / np.sqrt(np.where(spread_G > 0, spread_G, np.inf)))


def _balanced_accuracy(counts_GKK: Floats) -> Floats:
    true_GK, right_GK = counts_GKK.sum(axis=2), np.diagonal(counts_GKK, axis1=1, axis2=2)
    return np.asarray((right_GK / np.maximum(true_GK, 1)).sum(axis=1) / (true_GK > 0).sum(axis=1))


_OF_COUNTS = {"balanced_accuracy": _balanced_accuracy, "f1_weighted": _f1_weighted, "mcc": _matthews}
"""Metrics that are read off the counts of classes."""


def difference(first: Sequence[Replicates | None], second: Sequence[Replicates | None], metric: Metric) -> Difference:
    """The mean over seeds of how much better ``first`` is than ``second`` on the same rows, one entry a seed; UNKNOWN where one is None.

    The error is the jackknife's over groups of table rows (Efron and Stein 1981, The Annals of Statistics 9, 586-596): a row that several
    seeds held out is left out of all of them at once, since it is one row. To it is added what the differences of the seeds vary by beyond
    the noise of their rows, the luck of split and start. Metrics of the predicted class get half a row more in each direction, as in
    Agresti and Min 2005 (Statistics in Medicine 24, 729-740). The interval is Student's with one degree less than there are groups.
    """
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not both or len(both) < len(first):
        return UNKNOWN
    value_S = np.array([metric.sign * (a.score - b.score) for a, b in both])
    without_SG = np.array([metric.sign * (a.without_G - b.without_G) for a, b in both])
    here_SG = np.array([a.rows_G > 0 for a, _ in both])
    value, half_row = float(value_S.mean()), metric.name in OF_THE_CLASS
    rows = _variance(without_SG.mean(axis=0), half_row=half_row)
    each = float(np.mean([_variance(without_G[here_G], half_row=half_row) for without_G, here_G in zip(without_SG, here_SG, strict=True)]))
    own = 1 - _shared([a.rows_N for a, _ in both])  # rows that all seeds have make their differences vary by nothing
    between = max(0.0, float(value_S.var(ddof=1)) - each * own) if len(value_S) > 1 else 0.0
    error, groups = math.sqrt(rows + between / len(value_S)), here_SG.shape[1]
    return Difference(value, error, float(stdtrit(groups - 1, 0.975)) * error, each, between) if math.isfinite(error) else UNKNOWN


def _shared(rows_SN: Sequence[NDArray[np.int64]]) -> float:
    """Mean share of its rows that a seed has in common with another one."""
    pairs = [len(np.intersect1d(a, b)) / max(len(a), len(b), 1) for a, b in combinations(rows_SN, 2)]
    return float(np.mean(pairs)) if pairs else 0.0


def _variance(without_G: Floats, *, half_row: bool) -> float:
    """The jackknife's; groups without which the score is not defined, as where a class would be gone, are passed over."""
    known_G = without_G[np.isfinite(without_G)]
    if len(known_G) < 2:
        return math.nan
    squares_G = (known_G - known_G.mean()) ** 2
    return float((len(known_G) - 1) / len(known_G) * squares_G.sum() + half_row * squares_G.max())
