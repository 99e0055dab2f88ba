"""How far a difference of scores may be off: the interval that follows from the scores without each group of rows.

In: scores of one or more seeds with their replicates. Out: a difference with its 95 % interval, or what there is too
little of.
Letters: N rows, G groups of rows, S seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from tabtune_core.analysis.row_groups import Replicates, RowGroups, TooFew
from tabtune_core.analysis.scores_without import Floats
from tabtune_core.metrics import ROW_MEANS, Interval

MOST_TURNED = 2_000
"""Rows from which the mean effect of one row is computed."""
LEAST_ROWS = 1.5
"""Least standard error of a score of classes or probabilities, as rows that change: where all rows of a class behave
alike, the interval is 3 rows wide, the rule of three (Hanley and Lippman-Hand 1983, Journal of the American Medical
Association 249, 1743-1745).
"""


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
    between_seeds: float = 0.0
    """Variance between seeds beyond that."""
    seeds: int = 1
    choices: int = 1
    """Number of differences of which this one was chosen; the interval allows for it (Dunn 1961, JASA 56, 52-64)."""

    @property
    def quantile(self) -> float:
        """Half width in standard errors: Student's intervals of rows and of seeds, combined by their variances.

        Howe 1974, Journal of the American Statistical Association 69, 789-794.
        """
        of_seeds = self.between_seeds / self.seeds / self.error**2 if self.error else 0.0
        of_rows, seeds = (stdtrit(freedom, 1 - 0.025 / self.choices) for freedom in (self.freedom, self.seeds - 1 or 1))
        return math.sqrt((1 - of_seeds) * of_rows**2 + of_seeds * seeds**2)

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
        """Distance from the value to the end of the interval nearer to 0."""
        return self.value - self.low if self.value > 0 else self.high - self.value

    def _corrected(self, quantile: float) -> float:
        """Corrects for skew by the inverse of g1 (Hall 1992, Journal of the Royal Statistical Society B 54, 221-228).

        It at most doubles the half width: of a large skew, g1 makes up to five times Student's.
        """
        if abs(self.skew) < 1e-6:
            return quantile
        most = 2 * abs(quantile)
        return min(max(3 / self.skew * (math.cbrt(1 + self.skew * (quantile - self.skew / 6)) - 1), -most), most)


def difference(first: Sequence[Replicates | None], second: Sequence[Replicates | None]) -> Difference | TooFew | None:
    """Computes how much better ``first`` is than ``second`` on the same rows, as a mean over seeds, one entry per seed.

    TooFew if there are too few rows for an interval; None if an entry is None, or a score is not finite.

    The error is the jackknife's over groups of table rows (Efron and Stein 1981, The Annals of Statistics 9, 586-596):
    a row that several seeds held out is left out of all of them at once, since it is one row. The variance between
    seeds beyond the noise of their rows, which comes from split and initialization, is added. Metrics of the predicted
    class get half a row more in each direction, as in Agresti and Min 2005 (Statistics in Medicine 24, 729-740), and
    where predictions differ, the error is at least LEAST_ROWS. So it is for log-loss and Brier score, because rows
    without an error do not tell how many errors there are, and for ranks if no row changes the score. The interval
    joins Student's and the one corrected for skew; its degrees of freedom are the number of seeds minus one, and the
    number of groups or of units of the scarcest kind minus one. Errors that last longer than a block of time widen it.
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
        groups.together(a, b) * (groups.one_row if metric.interval else _turned(a, b)) if differ else 0.0
        for (a, b), differ in zip(both, differ_S, strict=True)
    ]
    pull_G = _pull(without_SG.mean(axis=0), rounding)
    one_row = max(one_row_S) if metric.interval else float(np.mean(one_row_S))
    rows = _variance(pull_G, groups, one_row * of_rows)
    of_seeds = zip(without_SG, both, one_row_S, strict=True)
    each = float(
        np.mean([_variance(_pull(without_G[a.here_G], rounding), groups, one) for without_G, (a, _), one in of_seeds])
    )
    own = max(each - rows, 0.0) * seeds / max(seeds - 1, 1)  # row noise that seeds do not share
    between = float(value_S.var(ddof=1)) - own if seeds > 1 else 0.0
    between = between if between > 0 and math.sqrt(between) > rounding else 0.0
    wider, moments = groups.lasting(both)
    total = rows * wider + between / seeds
    error, value = math.sqrt(total), float(value_S.mean())
    skew = float(((pull_G / error) ** 3).sum()) if error else 0.0
    freedom = min(groups.freedom, max(moments - 1, 1.0))
    return Difference(value if abs(value) > rounding else 0.0, error, freedom, skew, between, seeds)


def _pull(without_G: Floats, rounding: float) -> Floats:
    """How far each group moves the score."""
    pull_G = without_G.mean() - without_G
    return np.where(np.abs(pull_G) > rounding, pull_G, 0.0)


def _turned(first: Replicates, second: Replicates) -> float:
    """Returns how much a difference of log-losses or Brier scores moves if one row has its most likely other class.

    It is a mean over rows, weighted by how much each moves it: an error that no row shows falls where the models
    differ. It is 0 for other scores, and for the difference to nothing, which errors only make worse.
    """
    metric, number = first.groups.metric, len(first.rows.y_N)
    if metric.task == "regression" or metric.name not in ROW_MEANS or not second.predicted.size:
        return 0.0
    of_row, _ = ROW_MEANS[metric.name]
    some = slice(None, None, max(number // MOST_TURNED, 1))
    y_N, both = first.rows.y_N[some], [each.predicted[some] for each in (first, second)]
    other_N = np.where(y_N[:, None] == np.arange(both[0].shape[1]), -1.0, sum(both)).argmax(axis=1)
    moves = [of_row(other_N, predicted) - of_row(y_N, predicted) for predicted in both]
    move_N = np.abs(moves[0] - moves[1])
    return float((move_N**2).sum() / move_N.sum() / number) if move_N.any() else 0.0


def _variance(pull_G: Floats, groups: RowGroups, one_row: float) -> float:
    """The variance of the score; ``one_row`` is how much one row can move it unseen, 0 if it cannot."""
    interval = groups.metric.interval
    variance = (1 - 1 / len(pull_G)) * float((pull_G**2).sum())
    if Interval.OF_THE_CLASS in interval and groups.split_by == "random":
        variance += float((pull_G**2).max())
    if variance and Interval.OVER_CLASSES in interval and Interval.OF_THE_CLASS not in interval:
        return variance
    return max(variance, (LEAST_ROWS * one_row) ** 2)
