"""How far a difference of scores may be off: scores with groups of table rows left out, and the interval that follows from them.

In: predictions of held-out rows of one or more seeds. Out: a difference with its 95 % interval, or how many rows it would take.
Letters: N rows, M rows of all seeds, U units (rows that an interval counts as one), G groups of units, S seeds, K classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, stdtrit

from tabtune_core.metrics import ROW_MEANS, Interval, Metric, ranked_classes
from tabtune_core.settings import SplitBy
from tabtune_core.store.predictions import Predictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def without_groups(metric: Metric, y_N: NDArray[np.generic], predicted: Floats, group_N: Ints, groups: int) -> Floats:
    """Computes the score of predictions ``(N, K)`` or ``(N,)`` without each group, ``(G,)``; NaN where it is not defined."""
    if metric.name in _OF_COUNTS:
        return _OF_COUNTS[metric.name](_counts_without(np.asarray(y_N, dtype=np.int64), predicted, group_N, groups))
    if metric.name in _OF_RANKS:
        label_N = np.asarray(y_N, dtype=np.int64)
        ranked = ranked_classes(metric.name, label_N, predicted.shape[1])
        each = [_OF_RANKS[metric.name](label_N == k, predicted[:, k], group_N, groups) for k in ranked]
        return np.mean(each, axis=0) if each else np.full(groups, math.nan)
    kept_GN = (group_N != g for g in range(groups))
    return np.array([metric.function(y_N[kept_N], predicted[kept_N]) if kept_N.any() else math.nan for kept_N in kept_GN])


def _area(own_N: NDArray[np.bool_], p_N: Floats, group_N: Ints, groups: int) -> Floats:
    """ROC AUC without each group, from the pairs that each row takes part in (DeLong et al. 1988, equations 4 and 5).

    Pairs within one group are counted at the mean of all pairs.
    """
    above, below = int(own_N.sum()), int((~own_N).sum())
    won_N = np.empty(len(p_N))  # pairs of a row of the class with one of another class that the first wins; a tie counts half
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
    """Average precision without each group: for each row of the class, the share of the class among rows at least as high; their mean."""
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
    return np.asarray((right_G * rows_G - (true_GK * said_GK).sum(axis=1)) / np.sqrt(np.where(spread_G > 0, spread_G, np.inf)))


def _balanced_accuracy(counts_GKK: Floats) -> Floats:
    true_GK, right_GK = counts_GKK.sum(axis=2), np.diagonal(counts_GKK, axis1=1, axis2=2)
    return np.asarray((right_GK / np.maximum(true_GK, 1)).sum(axis=1) / (true_GK > 0).sum(axis=1))


_OF_COUNTS = {"balanced_accuracy": _balanced_accuracy, "f1_weighted": _f1_weighted, "mcc": _matthews}
"""Metrics that are computed from the counts of classes."""
_OF_RANKS = {"roc_auc": _area, "average_precision": _average_precision}
"""Metrics of one class against the rest."""


def one_row(metric: Metric, y_N: NDArray[np.generic], predicted: Floats) -> float:
    """Returns what a perfect score of classes or ranks loses if one row of the rarest class is predicted wrongly; 0 for other scores."""
    if metric.interval == Interval.PLAIN:
        return 0.0
    said_N = np.array(y_N, dtype=np.int64)
    counts_K = np.bincount(said_N)
    rarest = int(np.where(counts_K, counts_K, len(said_N) + 1).argmin())
    counts_K[rarest] = 0
    if not counts_K.any():
        return 0.0
    said_N[np.flatnonzero(said_N == rarest)[0]] = counts_K.argmax()
    return 1 - metric.function(np.asarray(y_N, dtype=np.int64), np.eye(predicted.shape[1])[said_N])


GROUPS, FEW_GROUPS = 200, 40
"""Most groups; fewer units are left out one at a time. FEW_GROUPS applies if the metric is recomputed without each group."""
BLOCKS, BLOCK_ROWS = 10, 8
"""Under a split by time: most blocks, and fewest rows of a block. If the differences of neighbours correlate (autoregressive, 0.5), at
least 93 % of intervals contain the truth from 40 rows on; with 20 blocks of 80 rows, 90 %."""
FEWEST_ROWS, FEWEST = 30, 5
"""Fewest rows; and fewest groups, blocks of time or, if the score is a mean over classes, rows of each class. With fewer, intervals of
skewed differences contain the truth too rarely (with 20 rows in 93 % of cases for the RMSE of prices), or are too wide to be of use."""
OF_FAR_TARGETS, NEAR = "", 0.02
"""In a regression, FEWEST rows must have a target that is not near the median: as far as this share of the largest distance. Where nearly
all targets are 0, the errors of the few others decide."""
MOST_TURNED = 2_000
"""Rows from which the mean effect of one row is computed."""
LEAST_ROWS = 1.5
"""Least standard error of a score of classes or probabilities, as rows that change: where all rows of a class behave alike, the interval is
3 rows wide, the rule of three (Hanley and Lippman-Hand 1983, Journal of the American Medical Association 249, 1743-1745)."""


@dataclass(frozen=True, slots=True)
class TooFew:
    """What the held-out rows have too few of for an interval."""

    of: SplitBy
    """Rows (``random``), groups, or blocks of time."""
    of_class: str | None
    """Only those that have rows of this class count, or of OF_FAR_TARGETS; None: all count."""
    found: int
    """Effective number: unequal ones count as fewer equal ones, and copies as one row."""
    needed: int
    there: int
    """Their number, of any size."""


@dataclass(frozen=True, slots=True)
class Replicates:
    """A score on some rows, and on the rows that remain without each group."""

    score: float
    without_G: Floats
    here_G: NDArray[np.bool_]
    """Which groups have any of the rows."""
    rows: Predictions
    predicted: Floats
    """Those that are scored, ``(N, K)`` or ``(N,)``; empty for the score 0."""
    groups: "RowGroups"

    def of_nothing(self) -> "Replicates":
        """Returns the score 0 on the same rows: the difference to it is the score itself."""
        return Replicates(0.0, np.zeros_like(self.without_G), self.here_G, self.rows, np.empty(0), self.groups)


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over seeds, positive where the first is better."""

    value: float
    error: float
    """Standard error."""
    freedom: float
    """Degrees of freedom of the noise of the rows, from the scarcest kind of them."""
    skew: float = 0.0
    """Skewness of the distribution of such differences."""
    of_seed: float = math.nan
    """Variance of the difference under one seed that comes from its rows."""
    between_seeds: float = 0.0
    """Variance between seeds beyond that."""
    seeds: int = 1
    shared: float | None = None
    """Share of ``of_seed`` that more seeds do not reduce, because their test rows are the same; None: not known from one seed."""
    choices: int = 1
    """Number of differences from which this one was chosen on the same rows: the interval allows for it (Bonferroni; Dunn 1961, Journal of
    the American Statistical Association 56, 52-64)."""

    @property
    def quantile(self) -> float:
        """Half width in standard errors: Student's intervals of rows and of seeds, combined in proportion to their variances.

        Howe 1974, Journal of the American Statistical Association 69, 789-794.
        """
        return self._joined(lambda freedom: float(stdtrit(freedom, 1 - 0.025 / self.choices)))

    @property
    def detectable(self) -> float:
        """The true difference whose interval does not hold 0 in 80 % of cases."""
        quantile = self._joined(lambda freedom: float(nctdtrinc(freedom, 0.2, stdtrit(freedom, 1 - 0.025 / self.choices))))
        return self.half + (quantile - self.quantile) * self.error

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return min(self.value - self.error * quantile for quantile in (self.quantile, self._corrected(self.quantile)))

    @property
    def high(self) -> float:
        """Upper end."""
        return max(self.value - self.error * quantile for quantile in (-self.quantile, self._corrected(-self.quantile)))

    @property
    def half(self) -> float:
        """Distance from the value to the end of the interval nearer to 0, which decides whether the value is beyond noise."""
        return self.value - self.low if self.value > 0 else self.high - self.value

    def _joined(self, of: Callable[[float], float]) -> float:
        of_seeds = self.between_seeds / self.seeds / self.error**2 if self.error else 0.0
        return math.sqrt((1 - of_seeds) * of(self.freedom) ** 2 + of_seeds * of(max(self.seeds - 1, 1)) ** 2)

    def _corrected(self, quantile: float) -> float:
        """Corrects for skew (Hall 1992, Journal of the Royal Statistical Society B 54, 221-228: the inverse of the transformation g1).

        It at most doubles the half width: of a skew that is large for the number of rows, g1 makes up to five times Student's.
        """
        if abs(self.skew) < 1e-6:
            return quantile
        most = 2 * abs(quantile)
        return min(max(3 / self.skew * (math.cbrt(1 + self.skew * (quantile - self.skew / 6)) - 1), -most), most)


class RowGroups:
    """Puts the rows of held-out parts into groups: rows that belong together share a group, which is the same under every seed."""

    def __init__(self, parts: Sequence[Predictions], metric: Metric) -> None:
        """``parts`` are predictions of one held-out part, one per seed, to be scored by ``metric``."""
        self.metric = metric
        units = [part.units_N for part in parts if part.units_N is not None]
        known = len(units) == len(parts)
        self.split_by: SplitBy = parts[0].split_by if known else "random"
        self._rows, first = np.unique(np.concatenate([part.rows_N for part in parts]), return_index=True)
        unit_M = np.unique(np.concatenate(units)[first] if known else self._rows, return_inverse=True)[1]
        if self.split_by == "time":
            unit_M = _blocks(unit_M)
        quick = metric.name in (*ROW_MEANS, *_OF_COUNTS, *_OF_RANKS)  # no loop over the groups, or a quick one
        number = int(unit_M.max()) + 1
        self.number = min(GROUPS if quick else FEW_GROUPS, number)
        self._group = (np.random.default_rng(0).permutation(number) % self.number)[unit_M]  # neighbouring units may be alike
        counts: list[tuple[str | None, tuple[float, int], int]] = [
            (None, _equal(unit_M), FEWEST_ROWS if self.split_by == "random" else FEWEST)
        ]
        y_M = np.concatenate([part.y_N for part in parts])[first]
        if metric.task == "regression":
            counts.append((OF_FAR_TARGETS, _equal(unit_M[_far(y_M, squared=metric.name != "mae")]), FEWEST))
        for part in parts if Interval.OVER_CLASSES in metric.interval else ():
            unit_N = unit_M[np.searchsorted(self._rows, part.rows_N)]
            counts += [(part.classes[k], _equal(unit_N[part.y_N == k]), FEWEST) for k in np.unique(part.y_N)]
        few = [one for one in counts if round(one[1][0]) < one[2]]
        lacking = [TooFew(self.split_by, name, round(found), needed, there) for name, (found, there), needed in few]
        self.too_few = min(lacking, key=lambda few: few.found / few.needed, default=None)
        self.freedom = min(_equal(self._group)[0], *(found for _, (found, _), _ in counts)) - 1
        together = 1.0 if self.split_by == "random" or metric.task == "regression" else alike(y_M, unit_M)
        self.together = 1 + together * (len(unit_M) / _equal(unit_M)[0] - 1)
        """Rows that may be wrong together: the copies of a row, and as many of a group or block as its labels are alike."""
        self.one_row = max(one_row(metric, part.y_N, part.predicted) for part in parts)

    def of(self, rows_N: Ints) -> Ints:
        """Returns the group of each row."""
        return self._group[np.searchsorted(self._rows, rows_N)]

    def leave_out(self, rows: Predictions, predicted: Floats) -> Replicates:
        """Scores predictions ``(N, K)`` or ``(N,)`` of ``rows`` without each group; a group without such rows gets the full score."""
        metric, y_N, group_N, G = self.metric, rows.y_N, self.of(rows.rows_N), self.number
        rows_G = np.bincount(group_N, minlength=G)
        with np.errstate(invalid="ignore", divide="ignore"):
            if metric.name in ROW_MEANS:
                of_row, of_mean = ROW_MEANS[metric.name]
                values_N = of_row(y_N, predicted)
                score = float(of_mean(values_N.mean()))
                without_G = of_mean((values_N.sum() - np.bincount(group_N, values_N, G)) / (len(y_N) - rows_G))
            else:
                *without, score = without_groups(metric, y_N, predicted, group_N, G + 1)  # the last group is empty: the full score
                without_G = np.array(without)
        return Replicates(score, np.where(rows_G > 0, without_G, score), rows_G > 0, rows, predicted, self)


def _blocks(unit_M: Ints) -> Ints:
    """Returns the block of each row from its place in time; rows of one place stay together."""
    blocks, rows_U = max(min(BLOCKS, len(unit_M) // BLOCK_ROWS), 1), np.bincount(unit_M)
    block_U = (np.cumsum(rows_U) - rows_U / 2) * blocks // len(unit_M)
    return np.unique(block_U[unit_M], return_inverse=True)[1]


def _equal(unit_M: Ints) -> tuple[float, int]:
    """Effective number: how many units of equal size are as informative as these (Kish 1965, Survey Sampling, section 11.7).

    Also returns how many there are.
    """
    rows_U = np.bincount(unit_M).astype(np.float64)
    return float(rows_U.sum() ** 2 / max((rows_U**2).sum(), 1)), int(np.count_nonzero(rows_U))


def _far(y_M: Floats, *, squared: bool) -> NDArray[np.bool_]:
    """Returns which numbers are not near the median. Of absolute errors, unlike squared ones, a few outliers do not decide."""
    distance_M = np.abs(y_M - np.median(y_M))
    largest = distance_M.max() if squared else np.sort(distance_M)[-min(FEWEST, len(y_M))]
    return np.asarray(distance_M > NEAR * largest)


def alike(label_M: Ints, unit_M: Ints) -> float:
    """Returns how alike the labels of a unit are, from 0 (as if drawn from all) to 1: their intraclass correlation (Fleiss and Cuzick 1979,
    Applied Psychological Measurement 3, 537-542), and 1 if all rows have the same label.
    """
    counts_UK = np.zeros((int(unit_M.max()) + 1, int(label_M.max()) + 1))
    np.add.at(counts_UK, (unit_M, label_M), 1)
    rows_U, total = counts_UK.sum(axis=1), len(label_M)
    share_K = counts_UK.sum(axis=0) / total
    apart = total - (counts_UK**2 / rows_U[:, None]).sum()  # rows that differ from others of their unit
    differ = (total - len(rows_U)) * (1 - (share_K**2).sum())
    return float(np.clip(1 - apart / differ, 0, 1)) if differ else 1.0


def difference(first: Sequence[Replicates | None], second: Sequence[Replicates | None]) -> Difference | TooFew | None:
    """Computes how much better ``first`` is than ``second`` on the same rows, as a mean over seeds, one entry per seed.

    TooFew if there are too few rows for an interval; None if an entry is None, or a score is not finite.

    The error is the jackknife's over groups of table rows (Efron and Stein 1981, The Annals of Statistics 9, 586-596): a row that several
    seeds held out is left out of all of them at once, since it is one row. The variance between seeds beyond the noise of their rows, which
    comes from split and initialization, is added. Metrics of the predicted class get half a row more in each direction, as in Agresti and
    Min 2005 (Statistics in Medicine 24, 729-740), and where predictions differ, the error is at least LEAST_ROWS. So it is for log-loss and
    Brier score, because rows without an error do not tell how many errors there are, and for ranks if no row changes the score. The
    interval joins Student's and the one corrected for skew; its degrees of freedom are the number of seeds minus one, and the number of
    groups or of units of the scarcest kind minus one.
    """
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if len(both) < max(len(first), 1):
        return None
    groups, seeds = both[0][0].groups, len(both)
    metric = groups.metric
    if groups.too_few:
        return groups.too_few
    value_S = np.array([metric.ahead(a.score, b.score) for a, b in both])
    without_SG = np.array([metric.ahead(a.without_G, b.without_G) for a, b in both])
    rounding = float(max(metric.rounding(a.score, b.score) for a, b in both))
    if not np.isfinite(without_SG).all():
        return None
    differ_S = [not np.array_equal(a.predicted, b.predicted) for a, b in both]
    rows_S = [a.rows.rows_N for a, _ in both]
    of_rows = sum(map(len, rows_S)) / len(np.unique(np.concatenate(rows_S))) / seeds
    one_row_S = [
        groups.together * (groups.one_row if metric.interval else _turned(a, b)) if differ else 0.0
        for (a, b), differ in zip(both, differ_S, strict=True)
    ]
    pull_G = _pull(without_SG.mean(axis=0), rounding)
    one_row = max(one_row_S) if metric.interval else float(np.mean(one_row_S))
    rows = _variance(pull_G, groups, one_row * of_rows)
    of_seeds = zip(without_SG, both, one_row_S, strict=True)
    each = float(np.mean([_variance(_pull(without_G[a.here_G], rounding), groups, one) for without_G, (a, _), one in of_seeds]))
    own = max(each - rows, 0.0) * seeds / max(seeds - 1, 1)  # row noise that seeds do not share
    between = float(value_S.var(ddof=1)) - own if seeds > 1 else 0.0
    between = between if between > 0 and math.sqrt(between) > rounding else 0.0
    total = rows + between / seeds
    shared = 1 - min(own / each, 1.0) if seeds > 1 and each else None
    error, value = math.sqrt(total), float(value_S.mean())
    skew = float(((pull_G / error) ** 3).sum()) if error else 0.0
    return Difference(value if abs(value) > rounding else 0.0, error, groups.freedom, skew, each, between, seeds, shared)


def _pull(without_G: Floats, rounding: float) -> Floats:
    """How far each group moves the score."""
    pull_G = without_G.mean() - without_G
    return np.where(np.abs(pull_G) > rounding, pull_G, 0.0)


def _turned(first: Replicates, second: Replicates) -> float:
    """Returns how much a difference of log-losses or Brier scores moves on average if one row has another class, the most likely one.

    It is 0 for other scores, and for the difference to nothing: the ± of a score is its distance to a better one; errors make it worse.
    """
    metric, number = first.groups.metric, len(first.rows.y_N)
    if metric.task == "regression" or metric.name not in ROW_MEANS or not second.predicted.size:
        return 0.0
    of_row, _ = ROW_MEANS[metric.name]
    some = slice(None, None, max(number // MOST_TURNED, 1))
    y_N, both = first.rows.y_N[some], [each.predicted[some] for each in (first, second)]
    other_N = np.where(y_N[:, None] == np.arange(both[0].shape[1]), -1.0, sum(both)).argmax(axis=1)
    moves = [of_row(other_N, predicted) - of_row(y_N, predicted) for predicted in both]
    return float(np.abs(moves[0] - moves[1]).mean() / number)


def _variance(pull_G: Floats, groups: RowGroups, one_row: float) -> float:
    """The variance of the score; ``one_row`` is how much one row can move it unseen, 0 if it cannot."""
    interval = groups.metric.interval
    variance = (1 - 1 / len(pull_G)) * float((pull_G**2).sum())
    if Interval.OF_THE_CLASS in interval and groups.split_by == "random":
        variance += float((pull_G**2).max())
    if variance and Interval.OVER_CLASSES in interval and Interval.OF_THE_CLASS not in interval:
        return variance
    return max(variance, (LEAST_ROWS * one_row) ** 2)
