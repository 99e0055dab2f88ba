"""Computes scores without each group of rows in one pass, where a metric allows it.

Letters: N rows, K classes, G groups.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tabtune_core.metrics import Interval, Metric, ranked_classes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def without_groups(
    metric: Metric, y_N: NDArray[np.generic], predicted: Floats, group_N: Ints, groups: int, *, rarer: int | None = None
) -> Floats:
    """Computes the score of predictions ``(N, K)`` or ``(N,)`` without each group, ``(G,)``; NaN where it is not
    defined.

    ``rarer`` is that of ``Metric.score``.
    """
    if metric.name in OF_COUNTS:
        return OF_COUNTS[metric.name](_counts_without(np.asarray(y_N, dtype=np.int64), predicted, group_N, groups))
    if metric.name in OF_RANKS:
        label_N = np.asarray(y_N, dtype=np.int64)
        ranked = ranked_classes(metric.name, label_N, predicted.shape[1], rarer)
        each = [OF_RANKS[metric.name](label_N == k, predicted[:, k], group_N, groups) for k in ranked]
        return np.mean(each, axis=0) if each else np.full(groups, math.nan)
    kept_GN = (group_N != g for g in range(groups))
    score = metric.function
    return np.array([score(y_N[kept_N], predicted[kept_N]) if kept_N.any() else math.nan for kept_N in kept_GN])


def _area(own_N: NDArray[np.bool_], p_N: Floats, group_N: Ints, groups: int) -> Floats:
    """ROC AUC without each group, from the pairs that each row takes part in (DeLong et al. 1988, equations 4 and 5).

    Pairs within one group are counted at the mean of all pairs.
    """
    above, below = int(own_N.sum()), int((~own_N).sum())
    won_N = np.empty(len(p_N))  # pairs with a row of another class that a row of the class wins; a tie counts half
    won_N[own_N] = _below(p_N[own_N], p_N[~own_N])
    won_N[~own_N] = above - _below(p_N[~own_N], p_N[own_N])
    area = won_N[own_N].sum() / (above * below)
    above_G = np.bincount(group_N[own_N], minlength=groups)
    below_G = np.bincount(group_N[~own_N], minlength=groups)
    pairs_G = above * below * area - np.bincount(group_N, won_N, groups) + area * above_G * below_G
    return np.asarray(pairs_G / ((above - above_G) * (below - below_G)))


def _below(p_N: Floats, others: Floats) -> Floats:
    """Counts how many of ``others`` are below each of ``p_N``; equal ones count half."""
    ordered = np.sort(others)
    return np.asarray((np.searchsorted(ordered, p_N, "left") + np.searchsorted(ordered, p_N, "right")) / 2)


def _average_precision(own_N: NDArray[np.bool_], p_N: Floats, group_N: Ints, groups: int) -> Floats:
    """Average precision without each group: the mean share of the class among rows at least as high."""
    order = np.argsort(-p_N, kind="stable")
    own_N, group_N, down_N = own_N[order], group_N[order], -p_N[order]
    last_N = np.searchsorted(down_N, down_N, side="right") - 1  # place of the last row with the same probability
    without_G = np.empty(groups)
    for g in range(groups):
        kept_N = group_N != g
        right_N, above_N = np.cumsum(own_N & kept_N), np.cumsum(kept_N)
        ends = last_N[own_N & kept_N]
        without_G[g] = (right_N[ends] / above_N[ends]).sum() / len(ends)
    return without_G


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
    covariance_G = right_G * rows_G - (true_GK * said_GK).sum(axis=1)
    return np.asarray(covariance_G / np.sqrt(np.where(spread_G > 0, spread_G, np.inf)))


def _balanced_accuracy(counts_GKK: Floats) -> Floats:
    true_GK, right_GK = counts_GKK.sum(axis=2), np.diagonal(counts_GKK, axis1=1, axis2=2)
    return np.asarray((right_GK / np.maximum(true_GK, 1)).sum(axis=1) / (true_GK > 0).sum(axis=1))


OF_COUNTS = {"balanced_accuracy": _balanced_accuracy, "f1_weighted": _f1_weighted, "mcc": _matthews}
"""Metrics that are computed from the counts of classes."""
OF_RANKS = {"roc_auc": _area, "average_precision": _average_precision}
"""Metrics of one class against the rest."""


def one_row(metric: Metric, y_N: NDArray[np.generic], predicted: Floats, rarer: int | None = None) -> float:
    """Returns what a perfect score of classes or ranks loses with one row of the rarest class wrong, else 0."""
    if metric.interval == Interval.PLAIN:
        return 0.0
    said_N = np.array(y_N, dtype=np.int64)
    counts_K = np.bincount(said_N)
    rarest = int(np.where(counts_K, counts_K, len(said_N) + 1).argmin())
    counts_K[rarest] = 0
    if not counts_K.any():
        return 0.0
    said_N[np.flatnonzero(said_N == rarest)[0]] = counts_K.argmax()
    return 1 - metric.score(np.asarray(y_N, dtype=np.int64), np.eye(predicted.shape[1])[said_N], rarer=rarer)
