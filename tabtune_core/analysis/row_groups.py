"""Groups of held-out rows, and scores without each of them.

In: predictions of held-out rows of one or more seeds. Out: for each seed a score and its replicates, or what the rows
have too few of.
Letters: N rows, M rows of all seeds, U units (rows that an interval counts as one), G groups of units, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabtune_core.analysis.scores_without import OF_COUNTS, OF_RANKS, Floats, Ints, one_row, without_groups
from tabtune_core.metrics import ROW_MEANS, Interval, Metric, Task
from tabtune_core.settings import SplitBy
from tabtune_core.store.predictions import Predictions

GROUPS, FEW_GROUPS = 200, 40
"""Most groups; fewer units are left out one at a time.

FEW_GROUPS applies if the metric is recomputed without each group.
"""
BLOCKS, BLOCK_ROWS, BLOCK_POINTS = 10, 8, (3, 2)
"""Under a split by time: most blocks, and fewest rows and points in time of a block (two points if there were too few
blocks otherwise). If the differences of neighbours correlate (autoregressive, 0.5), at least 93 % of intervals contain
the truth from 40 rows on; with 20 blocks of 80 rows, 90 %. Where a day has 20 rows and days correlate (0.8), with 20
blocks of a day each, also 90 %.
"""
FEWEST_ROWS, FEWEST = 30, 5
"""Fewest rows; and fewest groups, blocks of time or, if the score is a mean over classes, rows of each class. With
fewer, intervals of skewed differences contain the truth too rarely (with 20 rows in 93 % of cases for the RMSE of
prices), or are too wide to be of use.
"""
PROXY: dict[Task, str] = {"classification": "log_loss", "regression": "rmse"}
"""The score whose rows tell how long errors last, for scores that are no means over rows."""
ENOUGH = 2
"""Independent moments a block that leave its interval as it is."""
OF_FAR_TARGETS, NEAR = "", 0.02
"""In a regression, FEWEST rows must have a target that is not near the median: as far as this share of the largest
distance. Where nearly all targets are 0, the errors of the few others decide.
"""


@dataclass(frozen=True, slots=True)
class TooFew:
    """What the held-out rows have too few of for an interval."""

    of: SplitBy
    """Rows (``random``), groups, or blocks of time."""
    of_class: str | None
    """Only those that have rows of this class count, or of OF_FAR_TARGETS; None: all count."""
    effective: int
    """Their number: unequal ones count as fewer equal ones, and copies as one row."""
    needed: int


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


class RowGroups:
    """Groups of held-out rows, the same under every seed; rows that belong together share one."""

    def __init__(self, parts: Sequence[Predictions], metric: Metric) -> None:
        """``parts`` are predictions of one held-out part, one per seed, to be scored by ``metric``."""
        self.metric = metric
        units = [part.units_N for part in parts if part.units_N is not None]
        known = len(units) == len(parts)
        self.split_by: SplitBy = parts[0].split_by if known else "random"
        self._rows, first = np.unique(np.concatenate([part.rows_N for part in parts]), return_index=True)
        unit_M = np.unique(np.concatenate(units)[first] if known else self._rows, return_inverse=True)[1]
        self._moment_M = unit_M
        if self.split_by == "time":
            unit_M = _blocks(unit_M)
        quick = metric.name in (*ROW_MEANS, *OF_COUNTS, *OF_RANKS)  # no loop over the groups, or a quick one
        number = int(unit_M.max()) + 1
        self.number = min(GROUPS if quick else FEW_GROUPS, number)
        mixed_U = np.random.default_rng(0).permutation(number)  # neighbouring units may be alike
        self._group = (mixed_U % self.number)[unit_M]
        fewest = FEWEST_ROWS if self.split_by == "random" else FEWEST
        counts: list[tuple[str | None, float, int]] = [(None, _equal(unit_M), fewest)]
        y_M = np.concatenate([part.y_N for part in parts])[first]
        if metric.task == "regression":
            counts.append((OF_FAR_TARGETS, _equal(unit_M[_far(y_M, squared=metric.name != "mae")]), FEWEST))
        for part in parts if Interval.OVER_CLASSES in metric.interval else ():
            unit_N = unit_M[np.searchsorted(self._rows, part.rows_N)]
            counts += [(part.classes[k], _equal(unit_N[part.y_N == k]), FEWEST) for k in np.unique(part.y_N)]
        few = [TooFew(self.split_by, name, round(units), needed) for name, units, needed in counts]
        lacking = [one for one in few if one.effective < one.needed]
        self.too_few = min(lacking, key=lambda few: few.effective / few.needed, default=None)
        self.freedom = min(_equal(self._group), *(units for _, units, _ in counts)) - 1
        self._unit_M, self._rows_of_unit = unit_M, len(unit_M) / _equal(unit_M)
        whole = self.split_by == "random" or metric.task == "regression"
        self._correlation = 1.0 if whole else correlation(y_M, unit_M)
        self.one_row = max(one_row(metric, part.y_N, part.predicted, part.rarer) for part in parts)

    def of(self, rows_N: Ints) -> Ints:
        """Returns the group of each row."""
        return self._group[np.searchsorted(self._rows, rows_N)]

    def together(self, first: Replicates, second: Replicates) -> float:
        """Effective number of rows that can be wrong at once."""
        share, both = self._correlation, [each for each in (first, second) if each.predicted.size]
        if self.split_by == "group" and self.metric.task == "classification":
            unit_N, more = self._unit_M[np.searchsorted(self._rows, first.rows.rows_N)], round(self._rows_of_unit)
            wrong = [each.predicted.argmax(axis=1) != each.rows.y_N for each in both]
            units = [unit_N + place * len(self._rows) for place in range(len(both))]
            another = np.full(more, len(both) * len(self._rows))
            unit_M = np.unique(np.concatenate([*units, another]), return_inverse=True)[1]
            share = max(share, correlation(np.concatenate([*wrong, np.ones(more, bool)]).astype(int), unit_M))
        return 1 + share * (self._rows_of_unit - 1)

    def lasting(self, both: Sequence[tuple[Replicates, Replicates]]) -> tuple[float, float]:
        """How far errors that last longer than a block widen the variance, and how many moments count as independent.

        Moments are autoregressive; their correlation is corrected for its bias (Marriott and Pope 1954, Biometrika 41,
        390-402). Blocks that hold enough of them stay as they are.
        """
        moments, blocks = int(self._moment_M.max()) + 1, int(self._unit_M.max()) + 1
        if self.split_by != "time" or self.too_few:
            return 1.0, math.inf
        of_row, _ = ROW_MEANS.get(self.metric.name) or ROW_MEANS[PROXY[self.metric.task]]
        move_U = np.zeros(moments)
        for pair in both:
            moment_N = self._moment_M[np.searchsorted(self._rows, pair[0].rows.rows_N)]
            sides = [of_row(one.rows.y_N, one.predicted) if one.predicted.size else 0.0 for one in pair]
            move_N = np.asarray(sides[0] - sides[1], dtype=np.float64)
            move_U += np.bincount(moment_N, move_N - move_N.mean(), moments)
        move_U -= move_U.mean()
        spread = float((move_U**2).sum())
        if not spread:
            return 1.0, math.inf
        lag = float((move_U[1:] * move_U[:-1]).sum()) / spread
        lag = min(max((moments * lag + 1) / (moments - 3), 0.0), 0.99)
        effective = max(moments * (1 - lag) / (1 + lag), 1.0)
        if effective >= ENOUGH * blocks:
            return 1.0, math.inf
        block_U = self._unit_M[np.unique(self._moment_M, return_index=True)[1]]
        of_blocks = blocks / (blocks - 1) * float((np.bincount(block_U, move_U) ** 2).sum())
        of_moments = spread * moments / effective / (1 - 1 / max(effective, 1.5))
        return max(of_moments / of_blocks, 1.0) if of_blocks else 1.0, effective

    def leave_out(self, rows: Predictions, predicted: Floats) -> Replicates:
        """Scores predictions of ``rows`` without each group; a group without such rows gets the full score."""
        metric, y_N, group_N, G = self.metric, rows.y_N, self.of(rows.rows_N), self.number
        rows_G = np.bincount(group_N, minlength=G)
        with np.errstate(invalid="ignore", divide="ignore"):
            if metric.name in ROW_MEANS:
                of_row, of_mean = ROW_MEANS[metric.name]
                values_N = of_row(y_N, predicted)
                score = float(of_mean(values_N.mean()))
                without_G = of_mean((values_N.sum() - np.bincount(group_N, values_N, G)) / (len(y_N) - rows_G))
            else:
                # the last group is empty: the full score
                *without, score = without_groups(metric, y_N, predicted, group_N, G + 1, rarer=rows.rarer)
                without_G = np.array(without)
        return Replicates(score, np.where(rows_G > 0, without_G, score), rows_G > 0, rows, predicted, self)


def _blocks(unit_M: Ints) -> Ints:
    """Returns the block of each row from its place in time; rows of one place stay together."""
    rows_U, most = np.bincount(unit_M), max(min(BLOCKS, len(unit_M) // BLOCK_ROWS), 1)

    def of(blocks: int) -> Ints:
        return np.unique((np.cumsum(rows_U) - rows_U / 2) * blocks // len(unit_M), return_inverse=True)[1]

    for points in BLOCK_POINTS:
        for blocks in range(most, FEWEST - 1, -1):
            if np.bincount(block_U := of(blocks)).min() >= points:
                return block_U[unit_M]
    return of(min(most, FEWEST - 1))[unit_M]


def _equal(unit_M: Ints) -> float:
    """Effective number of units of equal size (Kish 1965, Survey Sampling, section 11.7)."""
    rows_U = np.bincount(unit_M).astype(np.float64)
    return float(rows_U.sum() ** 2 / max((rows_U**2).sum(), 1))


def _far(y_M: Floats, *, squared: bool) -> NDArray[np.bool_]:
    """Returns which numbers are not near the median; of absolute errors, a few outliers do not decide."""
    distance_M = np.abs(y_M - np.median(y_M))
    largest = distance_M.max() if squared else np.sort(distance_M)[-min(FEWEST, len(y_M))]
    return np.asarray(distance_M > NEAR * largest)


def correlation(label_M: Ints, unit_M: Ints) -> float:
    """Returns how alike the labels of a unit are, from 0 (as if drawn from all) to 1: their intraclass correlation
    (Fleiss and Cuzick 1979, Applied Psychological Measurement 3, 537-542), and 1 if all rows have the same label.
    """
    counts_UK = np.zeros((int(unit_M.max()) + 1, int(label_M.max()) + 1))
    np.add.at(counts_UK, (unit_M, label_M), 1)
    rows_U, total = counts_UK.sum(axis=1), len(label_M)
    share_K = counts_UK.sum(axis=0) / total
    unlike = total - (counts_UK**2 / rows_U[:, None]).sum()  # rows that differ from others of their unit
    differ = (total - len(rows_U)) * (1 - (share_K**2).sum())
    return float(np.clip(1 - unlike / differ, 0, 1)) if differ else 1.0
